/* state.h: the state of a block, out of line (debug and secure builds): two bits, so that a free of
 * a block that is not in use is found at the call. Those of a page lie together, in the order of
 * its blocks, so that they take few cache lines.
 *
 *             live   remote
 *   free       0       0
 *   in use     1       0
 *   freed      1       1     by a thread that does not own the page, until the owner collects it;
 *                            or it waits in a thread's cache (heap/cache.h), or in the depot
 *
 * Rules (matters of order: test/model/test_states.cpp, and the mutants that break them; that no
 * listed block is live: page_broken_rule):
 *   T1  only the owner of a block's page changes `live`; any thread sets `remote`; the owner clears
 *       it, or the thread in whose cache the block is
 *   T2  whoever frees remotely marks first and looks at `live` afterwards; whoever makes a block
 *       free clears `live` first and `remote` afterwards
 */
#ifndef REGION_STATE_H
#define REGION_STATE_H
#include "base/base.h"

// Of 64 blocks that follow each other. Both together because they are used together.
struct states {
    ATOMIC(uint64_t) live;   // [owner of the page] a block that is out begins here
    ATOMIC(uint64_t) remote; // [any] that block was freed by another thread
};

// Where the state of a block is.
struct state {
    struct states *states;
    size_t index; // number of the block: bit index % 64 of both words
};

// Of the block with that number in the page whose states begin at `first`.
static always_inline struct state state_at(struct states *first, size_t index)
{
    struct state state = {first + index / 64, index};
    return state;
}

static always_inline bool state_has(uint64_t word, struct state state)
{
    return (word >> state.index % 64 & 1) != 0;
}

static always_inline uint64_t state_mask(struct state state)
{
    return UINT64_C(1) << state.index % 64;
}

static always_inline uint64_t state_live(struct state state)
{
    return atomic_load_explicit(&state.states->live, memory_order_relaxed);
}

static always_inline uint64_t state_remote(struct state state)
{
    return atomic_load_explicit(&state.states->remote, memory_order_relaxed);
}

static always_inline bool state_is_live(struct state state)
{
    return state_has(state_live(state), state);
}

static always_inline bool state_is_freed_remotely(struct state state)
{
    return state_has(state_remote(state), state);
}

// The block is out, and nobody is freeing it.
static always_inline bool state_is_in_use(struct state state)
{
    return state_is_live(state) && !state_is_freed_remotely(state);
}

// Only the owner of the block's page writes `live`, so it needs no read-modify-write.
static always_inline void state_write_live(struct state state, uint64_t live)
{
    // release: pairs with the acquire in state_take_from_others. Who finds the block alive then
    // sees its page as it is now
    atomic_store_explicit(&state.states->live, live, memory_order_release);
}

static always_inline void state_set_live(struct state state, bool is_live)
{
    uint64_t live = state_live(state);
    state_write_live(state, is_live ? live | state_mask(state) : live & ~state_mask(state));
}

// Marks a block as freed by a thread that does not own it; false when it was marked already. Before
// anything else is done with the block, so that of two frees at the same instant one is refused.
static inline bool state_mark_freed_remotely(struct state state)
{
    // acquire: pairs with the release in state_unmark, so that the block is seen dead if it died
    // before. release: a block's users are done with it before its mark is seen by the collector
    uint64_t before = atomic_fetch_or_explicit(&state.states->remote, state_mask(state),
                                               memory_order_acq_rel);
    return !state_has(before, state);
}

// Of all blocks in `mask`.
static inline void state_unmark(struct states *states, uint64_t mask)
{
    atomic_fetch_and_explicit(&states->remote, ~mask, memory_order_release);
}

// The owner hands the block out: false when it is not free.
static always_inline bool state_hand_out(struct state state)
{
    uint64_t live = state_live(state);
    if (unlikely(state_has(live | state_remote(state), state))) return false;
    state_write_live(state, live | state_mask(state));
    return true;
}

// The owner frees the block: false when it is not in use.
static always_inline bool state_take_own(struct state state)
{
    uint64_t live = state_live(state);
    if (unlikely(!state_has(live & ~state_remote(state), state))) return false;
    state_write_live(state, live & ~state_mask(state));
    return true;
}

// Another thread frees the block: true when it is in use, and this free the one that counts. T2:
// mark first, then look; while a live block is marked its page stays what it is.
static inline bool state_take_from_others(struct state state)
{
    if (!state_mark_freed_remotely(state)) return false;
    // acquire: pairs with the release in state_write_live
    uint64_t live = atomic_load_explicit(&state.states->live, memory_order_acquire);
    if (state_has(live, state)) return true;
    state_unmark(state.states, state_mask(state));
    return false;
}

// A free block goes into a thread's cache. Owner only. The mark first, so that no free of it counts
// once it is live. false: it was marked already, by a free without a right that will find it dead;
// then it stays so, and is not to be handed out, for that free is not over.
static inline must_use bool state_lay_up(struct state state)
{
    if (!state_mark_freed_remotely(state)) return false;
    state_set_live(state, true);
    return true;
}

static inline bool state_is_laid_up(struct state state)
{
    return state_is_live(state) && state_is_freed_remotely(state);
}

// A block is handed out from a thread's cache: false when it was not laid up there.
static inline bool state_hand_out_laid_up(struct state state)
{
    if (!state_is_laid_up(state)) return false;
    state_unmark(state.states, state_mask(state));
    return true;
}

// The block is free again, whoever freed it. Owner only. `live` first: whoever finds the other mark
// gone, and sets it, then finds the block dead.
static inline void state_clear(struct state state)
{
    state_set_live(state, false);
    state_unmark(state.states, state_mask(state));
}

#endif
