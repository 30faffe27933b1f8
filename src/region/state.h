/* state.h: the state of a block, out of line (debug and secure builds): a byte, so that a free of a
 * block that is not in use is found at the call.
 *
 *   free    in its page: listed, in a hole, or not cut yet
 *   in use  with the program
 *   freed   on its way back to its page, in a thread's cache, or in the depot
 *
 *   free   -> in use   the owner of the page hands it out
 *   in use -> free     the owner frees it
 *   in use -> freed    another thread frees it, or it is freed into a cache
 *   freed  -> free     the owner collects it
 *   free   -> freed    it goes from its page into a cache
 *   freed  -> in use   it is handed out of a cache
 *
 * Rules (matters of order: test/model/test_states.cpp, and the mutants that break them; that no
 * listed block is in use: page_broken_rule):
 *   T1  a block that is in use changes its state by compare-and-swap only, so that of several frees
 *       one counts; but the owner of its page, who frees it, just stores
 *   T2  any other state is changed by whoever has the block: the owner of its page, or the thread
 *       in whose cache it is
 */
#ifndef REGION_STATE_H
#define REGION_STATE_H
#include "base/base.h"

enum state_kind { STATE_FREE = 0, STATE_IN_USE = 1, STATE_FREED = 2 };

struct state { ATOMIC(uint8_t) kind; };

// The side memory has a group of states for so many slices: those of blocks 0 to 1023 of each of
// them, then those of blocks 1024 to 2047, and so on. Few pages have so many blocks, so that of
// most groups a quarter is touched.
enum {
    STATE_GROUP_SLICES = 4,
    STATE_RUN = 1024, // blocks of a page whose states follow each other
    STATE_STEP = STATE_GROUP_SLICES * STATE_RUN // from one such run to the next
};

// Of the block with that number in the page whose states begin at `first`.
static always_inline struct state *state_at(struct state *first, size_t index)
{
    return first + index + index / STATE_RUN * (STATE_STEP - STATE_RUN);
}

static always_inline bool state_is(const struct state *state, enum state_kind kind)
{
    return atomic_load_explicit(&state->kind, memory_order_relaxed) == kind;
}

// T2: by whoever has the block.
static always_inline void state_set(struct state *state, enum state_kind kind)
{
    // release: pairs with the acquire in state_take. Who finds the block in use then sees its page
    // as it is now
    atomic_store_explicit(&state->kind, (uint8_t)kind, memory_order_release);
}

// Whoever has the block changes its state: false when it is another one than it should be.
static always_inline bool state_change(struct state *state, enum state_kind from,
                                       enum state_kind to)
{
    if (unlikely(!state_is(state, from))) return false;
    state_set(state, to);
    return true;
}

// Anybody frees the block: true when it is in use, and this free the one that counts. Before
// anything else is done with the block; while it is freed its page stays what it is.
static always_inline bool state_take(struct state *state)
{
    uint8_t kind = STATE_IN_USE;
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
