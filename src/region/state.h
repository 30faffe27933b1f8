/* state.h: the state of a block, out of line (debug and secure builds): two bits for each granule
 * of 16 bytes, so that a free of anything but the start of a block in use is found at the call.
 *
 *             live   remote
 *   free       0       0
 *   in use     1       0
 *   freed      1       1     by a thread that does not own the page, until the owner collects it
 *
 * Rules (matters of order: test/model/test_states.cpp, and the mutants that break them; that no
 * listed block is live: page_broken_rule):
 *   T1  only the owner of a block's page changes `live`; any thread sets `remote`, the owner clears
 *       it
 *   T2  whoever frees remotely marks first and looks at `live` afterwards; whoever makes a block
 *       free clears `live` first and `remote` afterwards
 */
#ifndef REGION_STATE_H
#define REGION_STATE_H
#include "base/base.h"

// Two bits for each granule, together because they are used together (debug and secure builds).
struct states {
    ATOMIC(uint64_t) live;   // [owner of the page] a block that is out begins here
    ATOMIC(uint64_t) remote; // [any] that block was freed by another thread
};

// Where the state of a block is.
struct state {
    struct states *states;
    uint64_t bit;
};

static always_inline bool state_is_live(struct state state)
{
    return (atomic_load_explicit(&state.states->live, memory_order_relaxed) & state.bit) != 0;
}

static always_inline bool state_is_freed_remotely(struct state state)
{
    return (atomic_load_explicit(&state.states->remote, memory_order_relaxed) & state.bit) != 0;
}

static always_inline bool state_is_free(struct state state)
{
    uint64_t live = atomic_load_explicit(&state.states->live, memory_order_relaxed);
    uint64_t remote = atomic_load_explicit(&state.states->remote, memory_order_relaxed);
    return ((live | remote) & state.bit) == 0;
}

// The block is out, and nobody is freeing it.
static always_inline bool state_is_in_use(struct state state)
{
    return state_is_live(state) && !state_is_freed_remotely(state);
}

// Only the owner of the block's page writes `live`; plain stores would do but for remote readers.
static always_inline void state_set_live(struct state state, bool is_live)
{
    uint64_t bits = atomic_load_explicit(&state.states->live, memory_order_relaxed);
    bits = is_live ? bits | state.bit : bits & ~state.bit;
    atomic_store_explicit(&state.states->live, bits, memory_order_relaxed);
}

// Marks a block as freed by a thread that does not own it; false when it was marked already. Before
// anything else is done with the block, so that of two frees at the same instant one is refused.
static inline bool state_mark_freed_remotely(struct state state)
{
    // acquire: pairs with the release below, so that the block is seen dead if it died before.
    // release: a block's users are done with it before its mark is seen by the collector
    return (atomic_fetch_or_explicit(&state.states->remote, state.bit, memory_order_acq_rel) &
            state.bit) == 0;
}

static inline void state_unmark_freed_remotely(struct state state)
{
    atomic_fetch_and_explicit(&state.states->remote, ~state.bit, memory_order_release);
}

// The block is in use, and nobody else is freeing it: this free is the one that counts.
static always_inline bool state_take(struct state state, bool is_own)
{
    if (is_own) {
        if (unlikely(!state_is_in_use(state))) return false;
        state_set_live(state, false);
        return true;
    }
    // T2: mark first, then look: while a live block is marked its page stays what it is
    if (!state_mark_freed_remotely(state)) return false;
    if (state_is_live(state)) return true;
    state_unmark_freed_remotely(state);
    return false;
}

// The block is free again, whoever freed it. Owner only. `live` first: whoever finds the other mark
// gone, and sets it, then finds the block dead.
static inline void state_clear(struct state state)
{
    state_set_live(state, false);
    state_unmark_freed_remotely(state);
}

#endif
