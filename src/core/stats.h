/* stats.h: counters of what happened. Counted where it happens (never on the fast path), printed in
 * api/.
 *
 * A `level` has a current value, a peak and totals of what was added and taken away; a `counter`
 * only grows. All are process-wide relaxed atomics, and any thread can read them. What happens to
 * pages is too frequent for words that all threads write: a thread collects STATS_BATCH of these
 * events in a tally of its own first. Until then others do not see them; it does itself.
 * Rules (see stats_broken_rule):
 *   S1  current == total added - total removed, at quiescence
 *   S2  peak >= current, and peak was reached at some moment (it may miss a peak that two threads
 *       made together)
 *   S3  a tally is added to the process's before its thread ends (test/unit/test_stats.c). What
 *       threads that vanish in a fork have in theirs is lost to the child
 */
#ifndef CORE_STATS_H
#define CORE_STATS_H
#include "base/base.h"

// The first STATS_TALLIED_LEVELS and STATS_TALLIED_COUNTERS are tallied.
#define STATS_LEVELS(X) \
    X(page_bytes)   /* bytes of slices in pages */ \
    X(pages)        /* pages in use */ \
    X(pages_parked) /* pages without an owner: full, or left by a thread that ended */ \
    X(shared_bytes) /* bytes of slices in pages of classes that are shared */ \
    X(reserved)     /* bytes of address space held for blocks */ \
    X(committed)    /* bytes that may be resident: handed out or not yet purged */ \
    X(reset)        /* bytes given back to the OS, in all: reuse takes nothing away */ \
    X(large)        /* bytes in blocks that have a run of slices of their own */ \
    X(arenas)       /* windows of address space ("segments") */ \
    X(heaps)        /* first-class heaps */ \
    X(threads)      /* threads that allocated */ \
    X(metadata)     /* bytes of our own structures that may be resident */

#define STATS_COUNTERS(X) \
    X(page_extends) X(page_adopts) X(page_claims) X(mmap_calls) X(munmap_calls) X(access_calls) \
    X(purge_calls) X(guard_calls) X(move_calls) X(large_blocks) X(slow_paths) X(remote_chains) \
    X(remote_blocks) X(fork_children) X(guards_thinned) X(faults)

enum { STATS_TALLIED_LEVELS = 4, STATS_TALLIED_COUNTERS = 3, STATS_BATCH = 64 };

struct stats_level { ATOMIC(int64_t) current, peak, added, removed; };

enum stats_level_id {
#define X(name) STAT_##name,
    STATS_LEVELS(X)
#undef X
    STATS_LEVEL_COUNT
};
enum stats_counter_id {
#define X(name) COUNT_##name,
    STATS_COUNTERS(X)
#undef X
    STATS_COUNTER_COUNT
};

struct stats {
    struct stats_level level[STATS_LEVEL_COUNT];
    ATOMIC(uint64_t)   counter[STATS_COUNTER_COUNT];
};

// Added and removed since the tally was last added to the process's, and the highest difference.
struct stats_change { int64_t added, removed, peak; };
// [owner] zeroes when there is nothing in it
struct stats_tally {
    struct stats_change level[STATS_TALLIED_LEVELS];
    uint64_t            counter[STATS_TALLIED_COUNTERS];
    unsigned            events;
};

// How the calling thread's tally is found, by the floor that knows threads; NULL: it has none.
typedef struct stats_tally *stats_tally_finder(void);
INTERNAL void stats_set_tally_finder(stats_tally_finder *finder);
// Adds it to the process's, and empties it. Its owner only.
INTERNAL void stats_add_tally(struct stats_tally *tally);

static inline void stats_tally_event(struct stats_tally *tally)
{
    if (unlikely(++tally->events == STATS_BATCH)) stats_add_tally(tally);
}

// The same as stats_add, stats_remove and stats_count for who has the thread's tally at hand.
static inline void stats_tally_add(struct stats_tally *tally, enum stats_level_id id,
                                   int64_t amount)
{
    struct stats_change *change = &tally->level[id];
    change->added += amount;
    if (change->peak < change->added - change->removed)
        change->peak = change->added - change->removed;
    stats_tally_event(tally);
}

static inline void stats_tally_remove(struct stats_tally *tally, enum stats_level_id id,
                                      int64_t amount)
{
    tally->level[id].removed += amount;
    stats_tally_event(tally);
}

static inline void stats_tally_count(struct stats_tally *tally, enum stats_counter_id id,
                                     uint64_t amount)
{
    tally->counter[id] += amount;
    stats_tally_event(tally);
}

INTERNAL void stats_add(enum stats_level_id id, int64_t amount);    // amount >= 0
INTERNAL void stats_remove(enum stats_level_id id, int64_t amount); // amount >= 0
INTERNAL void stats_count(enum stats_counter_id id, uint64_t amount);
INTERNAL int64_t stats_current(enum stats_level_id id);
// With the calling thread's tally added.
INTERNAL struct stats *stats_process(void);

// Blocks, only counted with CFG_STAT_BLOCKS: per size class in bytes of blocks, and what was asked
// for.
enum { STATS_CLASSES = 114 }; // the last: blocks with a run of slices of their own
INTERNAL void stats_block_added(unsigned size_class, size_t block_bytes, size_t requested_bytes);
INTERNAL void stats_block_removed(unsigned size_class, size_t block_bytes, size_t requested_bytes);
INTERNAL struct stats_level *stats_block_class(unsigned size_class);
INTERNAL struct stats_level *stats_requested(void);
// NULL while S1 and S2 hold. Only when no other thread counts.
INTERNAL const char *stats_broken_rule(const struct stats_level *level);
// peaks and totals start anew at the current values; counters at 0
INTERNAL void stats_reset(void);

#endif
