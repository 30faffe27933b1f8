#include "region/purge.h"
#include "core/options.h"
#include "core/stats.h"
#include "os/fork.h"
#include "os/os.h"

DEFINE_DATA(ATOMIC(bool) purge_goes_on)
static ATOMIC(uint64_t) purge_last_ms; // when a round ended
static ATOMIC(int) purge_is_busy; // 1: some thread is making a step
static unsigned purge_arena;      // [busy] arena at which the round goes on
// Steps, and calls of purge_all, that have begun and that have ended: while they are not the same,
// some slices may be nobody's and not free
static ATOMIC(uint32_t) purge_begun, purge_ended;

// Takes those of `wanted` that are still free away from claimers.
static uint64_t purge_take_bits(struct chunk *chunk, uint64_t wanted)
{
    // acquire: pairs with the release in arena_free_bits
    return atomic_fetch_and_explicit(&chunk->free, ~wanted, memory_order_acquire) & wanted;
}

// What a step is after.
enum purge_what {
    PURGE_OLD,   // free since the last round
    PURGE_FREE,  // whatever its age
    PURGE_REPEAT // and though the OS was told to drop it when it wants to
};

// What is left to a step, and what it found.
struct purge_turn {
    enum purge_what what;
    unsigned runs;  // to be given back
    bool has_work;  // something was done, or can be in the next round
    size_t bytes;   // that were given back
};

struct purge_result {
    uint64_t purged;  // reads as zeroes now
    uint64_t advised; // the OS drops it when it wants to, or refused
};

// Debug and secure builds: those of free slices are all none, which is what reads as zeroes.
static void purge_states(const struct arena *arena, size_t slice, size_t count)
{
    uintptr_t first = (uintptr_t)&arena->states[slice * STATES_OF_SLICE];
    uintptr_t last = (uintptr_t)&arena->states[(slice + count) * STATES_OF_SLICE];
    uintptr_t start = bits_align_up(first, os_page_bytes());
    uintptr_t end = bits_align_down(last, os_page_bytes());
    if (start < end) ignore_result(os_purge((void *)start, end - start));
}

// Purges each run of `taken`, at most *runs of them.
static struct purge_result purge_runs(const struct arena *arena, size_t index, uint64_t taken,
                                      unsigned *runs)
{
    struct purge_result result = {0, 0};
    while (taken != 0 && *runs > 0) {
        unsigned first = bits_lowest(taken), count = bits_trailing_ones(taken >> first);
        uint64_t run = bits_ones(count) << first;
        void *start = arena_slice_start(arena, index * CHUNK_SLICES + first);
        bool is_purged = os_purge(start, (size_t)count << SLICE_SHIFT);
        if (is_purged) result.purged |= run;
        else result.advised |= run;
        if (CFG_STATES && is_purged) purge_states(arena, index * CHUNK_SLICES + first, count);
        taken &= ~run;
        --*runs;
    }
    return result;
}

static void purge_chunk(struct arena *arena, size_t index, struct purge_turn *turn)
{
    struct chunk *chunk = &arena->chunks[index];
    uint64_t dirty = atomic_load_explicit(&chunk->dirty, memory_order_relaxed);
    uint64_t old = dirty & atomic_load_explicit(&chunk->free, memory_order_relaxed);
    if (turn->what == PURGE_OLD) old &= atomic_load_explicit(&chunk->aging, memory_order_relaxed);
    // once is enough, also where the OS refused
    if (turn->what != PURGE_REPEAT)
        old &= ~atomic_load_explicit(&chunk->advised, memory_order_relaxed);
    bool is_pinned = atomic_load_explicit(&chunk->kind, memory_order_relaxed) == CHUNK_PINNED;
    if (is_pinned) old = 0;
    if (old != 0) {
        uint64_t taken = purge_take_bits(chunk, old);
        // read again: it may have been used and given back clean meanwhile
        uint64_t still_dirty = taken & atomic_load_explicit(&chunk->dirty, memory_order_relaxed);
        struct purge_result result = purge_runs(arena, index, still_dirty, &turn->runs);
        chunk_change(&chunk->dirty, result.purged, false);
        chunk_change(&chunk->advised, result.advised, true);
        arena_free_bits(arena, index, taken); // whoever claims these sees that they are clean (A4)
        size_t count = bits_popcount64(result.purged);
        size_t bytes = count << SLICE_SHIFT;
        turn->bytes += bytes;
        atomic_fetch_sub_explicit(&arena->dirty_free, count, memory_order_relaxed);
        stats_remove(STAT_committed, (int64_t)bytes);
        stats_add(STAT_reset, (int64_t)bytes);
        turn->has_work = true;
    }
    uint64_t young = atomic_load_explicit(&chunk->dirty, memory_order_relaxed) &
                     atomic_load_explicit(&chunk->free, memory_order_relaxed);
    // A claim between these loads and the store leaves a bit of aging set for a slice in use: it
    // only makes that slice look one round older when it comes back.
    atomic_store_explicit(&chunk->aging, young, memory_order_relaxed);
    young &= ~atomic_load_explicit(&chunk->advised, memory_order_relaxed);
    if (young != 0 && !is_pinned) turn->has_work = true;
}

static bool purge_is_worthwhile(const struct arena *arena)
{
    return atomic_load_explicit(&arena->dirty_free, memory_order_relaxed) != 0;
}

static bool purge_any_is_worthwhile(void)
{
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        const struct arena *arena = arena_at(i);
        if (arena == NULL) return false;
        if (purge_is_worthwhile(arena)) return true;
    }
    return false;
}

// One bounded piece of the round; true when the round is complete.
static bool purge_step(struct purge_turn *turn)
{
    for (unsigned visited = 0; visited < PURGE_STEP_CHUNKS && turn->runs > 0;) {
        struct arena *arena = arena_at(purge_arena);
        if (arena == NULL) {
            purge_arena = 0;
            return true;
        }
        if (!purge_is_worthwhile(arena) || arena->purge_cursor >= window_mapped_chunks(arena)) {
            arena->purge_cursor = 0;
            purge_arena++;
            continue;
        }
        purge_chunk(arena, arena->purge_cursor++, turn);
        visited++;
    }
    return false;
}

static void purge_note_begin(void)
{
    atomic_fetch_add_explicit(&purge_begun, 1, memory_order_relaxed);
    // release: pairs with the fence in purge_wait_for_others, so that who misses slices that are
    // taken from here on knows why
    atomic_thread_fence(memory_order_release);
}

static void purge_note_end(void)
{
    // release: pairs with the acquire in purge_search_begins, so that what was taken is seen free
    atomic_fetch_add_explicit(&purge_ended, 1, memory_order_release);
}

uint32_t purge_search_begins(void)
{
    return atomic_load_explicit(&purge_ended, memory_order_acquire);
}

bool purge_wait_for_others(uint32_t *search)
{
    atomic_thread_fence(memory_order_acquire); // pairs with the release in purge_note_begin
    // all that had begun had ended before the search (in a child of a fork the count of those that
    // ended may run ahead)
    uint32_t begun = atomic_load_explicit(&purge_begun, memory_order_relaxed);
    if ((int32_t)(begun - *search) <= 0) return false;
    prim_wait(&purge_ended, *search, 1); // not at all when one has ended meanwhile
    *search = purge_search_begins();
    return true;
}

// false: another thread is at it, or might be for all that is known in a fresh child (G2).
static bool purge_begin(void)
{
    // relaxed, first: so that those who come meanwhile only read. acquire: pairs with purge_end;
    // steps follow one another
    if (fork_is_fresh() || atomic_load_explicit(&purge_is_busy, memory_order_relaxed) != 0 ||
        atomic_exchange_explicit(&purge_is_busy, 1, memory_order_acquire) != 0)
        return false;
    purge_note_begin();
    return true;
}

static void purge_end(void)
{
    purge_note_end();
    atomic_store_explicit(&purge_is_busy, 0, memory_order_release);
}

static struct purge_turn purge_turn_after(long delay_ms)
{
    struct purge_turn turn = {delay_ms == 0 ? PURGE_FREE : PURGE_OLD, PURGE_STEP_RUNS, false, 0};
    return turn;
}

// relaxed: a hint. Written only when it changes, because all threads read it.
static void purge_set_goes_on(bool goes_on)
{
    if (atomic_load_explicit(&purge_goes_on, memory_order_relaxed) != goes_on)
        atomic_store_explicit(&purge_goes_on, goes_on, memory_order_relaxed);
}

void purge_tick(void)
{
    long delay_ms = options_get(OPTION_purge_delay);
    if (delay_ms < 0 || !purge_any_is_worthwhile()) {
        purge_set_goes_on(false);
        return;
    }
    uint64_t now = prim_clock_ms();
    // Another thread's round may end after `now`. It counts as long ago when it ended far in the
    // future: by another clock, as a helper's is.
    const uint64_t soon_ms = 1000;
    uint64_t passed_ms = now - atomic_load_explicit(&purge_last_ms, memory_order_relaxed);
    if (passed_ms < (uint64_t)delay_ms || passed_ms > UINT64_MAX - soon_ms) return;
    if (!purge_begin()) return;
    struct purge_turn turn = purge_turn_after(delay_ms);
    bool is_complete = purge_step(&turn);
    if (is_complete) atomic_store_explicit(&purge_last_ms, now, memory_order_relaxed);
    purge_set_goes_on(!is_complete);
    purge_end();
}

void purge_relieve(size_t slices)
{
    if (!purge_any_is_worthwhile() || !purge_begin()) return;
    struct purge_turn turn = {PURGE_FREE, PURGE_STEP_RUNS + (unsigned)slices, false, 0};
    size_t steps = slices / PURGE_STEP_RUNS + 2; // one may do no more than end a round
    do ignore_result(purge_step(&turn)); // the round goes on where it was, or begins anew
    while (--steps > 0 && turn.runs > 0 && turn.bytes <= slices << SLICE_SHIFT);
    purge_end();
}

// The next step begins a round: the last one may have ended in the midst of it, because nothing was
// left that is free.
static void purge_rewind(void)
{
    purge_arena = 0;
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) return;
        arena->purge_cursor = 0;
    }
}

bool purge_step_now(bool is_first, bool *is_complete)
{
    long delay_ms = options_get(OPTION_purge_delay);
    *is_complete = true;
    purge_set_goes_on(false); // it is the helper's now
    if (delay_ms < 0 || !purge_any_is_worthwhile()) return false;
    if (!purge_begin()) return true;
    if (is_first) purge_rewind();
    struct purge_turn turn = purge_turn_after(delay_ms);
    *is_complete = purge_step(&turn);
    if (*is_complete) // and so it is too early for the others, should the helper end
        atomic_store_explicit(&purge_last_ms, prim_helper_clock_ms(), memory_order_relaxed);
    purge_end();
    return turn.has_work;
}

size_t purge_all(void)
{
    size_t bytes = 0;
    purge_note_begin();
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) break;
        size_t chunks = window_mapped_chunks(arena);
        for (size_t index = 0; index < chunks; index++) {
            struct purge_turn turn = {PURGE_REPEAT, CHUNK_SLICES, false, 0};
            purge_chunk(arena, index, &turn);
            bytes += turn.bytes;
        }
    }
    purge_note_end();
    return bytes;
}

void purge_after_fork(void)
{
    uint32_t begun = atomic_load_explicit(&purge_begun, memory_order_relaxed);
    atomic_store_explicit(&purge_ended, begun, memory_order_relaxed);
    atomic_store_explicit(&purge_is_busy, 0, memory_order_relaxed);
}
