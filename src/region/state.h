/* state.h: the states of blocks, out of line (debug and secure builds). So a free of anything but a
 * block in use is found at the call, and a list that leads to anything but free blocks when malloc
 * takes from it. Each granule of memory has a byte; a block's state is that of its first granule,
 * and where it lies depends on the address alone, not on the page.
 *
 *   none    no block begins here, or it is not cut yet
 *   in use  with the program
 *   free    not in use yet, or freed by the owner of its page: listed, in a hole, in a cache, or on
 *           its way from one of these places to another
 *   freed   the same, but another thread has freed it
 *
 *   none         -> free     its page cuts it
 *   free, freed  -> in use   malloc hands it out
 *   in use       -> free     the owner of its page frees it
 *   in use       -> freed    another thread does
 *   any          -> none     its page is released
 *
 * Rules (T1 and T2 are matters of order: test/model/test_states.cpp, and the mutants that break
 * them; T3: page_broken_rule, test_page.c and test_holes.c):
 *   T1  a block that is in use changes its state by compare-and-swap only, so that of several frees
 *       one counts; but the owner of its page, who frees it, just stores, and so does the only
 *       thread that there is (core/alone.h)
 *   T2  any other state is changed by whoever has the block: the owner of its page, or the thread
 *       in whose cache it is
 *   T3  what is neither free nor freed is not handed out, nor listed anew (page/holes.h), and a
 *       page, or part of one, that seems to be empty is not given back while a block there is in
 *       use. So no two blocks in use overlap, not even after a block was freed twice at the same
 *       instant, by the owner of its page and by another thread, and both frees counted
 */
#ifndef REGION_STATE_H
#define REGION_STATE_H
#include "core/alone.h"

enum state_kind { STATE_NONE = 0, STATE_FREE = 1, STATE_IN_USE = 2, STATE_FREED = 3 };

struct state { ATOMIC(uint8_t) kind; };

static always_inline bool state_is(const struct state *state, enum state_kind kind)
{
    return atomic_load_explicit(&state->kind, memory_order_relaxed) == kind;
}

// Free or freed. (They are told apart where a free has to be undone, and in rings.)
static always_inline bool state_is_idle(const struct state *state)
{
    return (atomic_load_explicit(&state->kind, memory_order_relaxed) & 1) != 0;
}

// T2: by whoever has the block.
static always_inline void state_set(struct state *state, enum state_kind kind)
{
    // release: pairs with the acquire in state_take. Who finds the block in use then sees its page
    // as it is now
    atomic_store_explicit(&state->kind, (uint8_t)kind, memory_order_release);
}

// Whoever has the block hands it out: false when it is none, or in use already.
static always_inline bool state_hand_out(struct state *state)
{
    if (unlikely(!state_is_idle(state))) return false;
    state_set(state, STATE_IN_USE);
    return true;
}

// T1: the owner of its page frees the block: false when it is not in use.
static always_inline bool state_free(struct state *state)
{
    if (unlikely(!state_is(state, STATE_IN_USE))) return false;
    state_set(state, STATE_FREE);
    return true;
}

// Anybody frees the block: true when it is in use, and this free the one that counts. Before
// anything else is done with the block; from then on its page stays what it is.
static always_inline bool state_take(struct state *state)
{
    uint8_t kind = STATE_IN_USE;
    if (alone_is_here()) {
        if (!state_is(state, STATE_IN_USE)) return false;
        atomic_store_explicit(&state->kind, STATE_FREED, memory_order_relaxed);
        return true;
    }
    // acquire: pairs with the release in state_set
    return atomic_compare_exchange_strong_explicit(&state->kind, &kind, STATE_FREED,
                                                   memory_order_acquire, memory_order_relaxed);
}

// It was another block than was meant: back, unless its page was destroyed meanwhile.
static inline void state_untake(struct state *state)
{
    uint8_t kind = STATE_FREED;
    ignore_result(atomic_compare_exchange_strong_explicit(
        &state->kind, &kind, STATE_IN_USE, memory_order_release, memory_order_relaxed));
}

#endif
