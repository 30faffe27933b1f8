#include "core/stats.h"
#include "core/alone.h"
#include "core/helper.h"

DEFINE_DATA(ATOMIC(uintptr_t) helper_start)
DEFINE_DATA(ATOMIC(uintptr_t) helper_end)
DEFINE_DATA(ATOMIC(bool) alone_no_more)

// All accesses are relaxed: each word counts for itself, and no other data hangs on it.
static struct stats stats_of_process;
static ATOMIC(stats_tally_finder *) stats_finder;

static void stats_raise_peak(struct stats_level *level, int64_t current)
{
    int64_t peak = atomic_load_explicit(&level->peak, memory_order_relaxed);
    while (peak < current) {
        if (atomic_compare_exchange_weak_explicit(&level->peak, &peak, current,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return;
        }
    }
}

static void stats_level_change(struct stats_level *level, struct stats_change change)
{
    int64_t amount = change.added - change.removed;
    int64_t before = atomic_fetch_add_explicit(&level->current, amount, memory_order_relaxed);
    if (change.added != 0)
        atomic_fetch_add_explicit(&level->added, change.added, memory_order_relaxed);
    if (change.removed != 0)
        atomic_fetch_add_explicit(&level->removed, change.removed, memory_order_relaxed);
    stats_raise_peak(level, before + change.peak);
}

static void stats_level_add(struct stats_level *level, int64_t amount)
{
    struct stats_change change = {amount, 0, amount};
    stats_level_change(level, change);
}

static void stats_level_remove(struct stats_level *level, int64_t amount)
{
    struct stats_change change = {0, amount, -amount};
    stats_level_change(level, change);
}

// --- tallies -------------------------------------------------------------------------------------

void stats_set_tally_finder(stats_tally_finder *finder)
{
    atomic_store_explicit(&stats_finder, finder, memory_order_relaxed);
}

static struct stats_tally *stats_own_tally(void)
{
    if (helper_is_here()) return NULL;
    stats_tally_finder *finder = atomic_load_explicit(&stats_finder, memory_order_relaxed);
    return finder != NULL ? finder() : NULL;
}

void stats_add_tally(struct stats_tally *tally)
{
    for (int id = 0; id < STATS_TALLIED_LEVELS; id++)
        stats_level_change(&stats_of_process.level[id], tally->level[id]);
    for (int id = 0; id < STATS_TALLIED_COUNTERS; id++) {
        atomic_fetch_add_explicit(&stats_of_process.counter[id], tally->counter[id],
                                  memory_order_relaxed);
    }
    memset(tally, 0, sizeof *tally);
}

static void stats_flush(void)
{
    struct stats_tally *tally = stats_own_tally();
    if (tally != NULL && tally->events != 0) stats_add_tally(tally);
}

// The tally that takes events of this kind. Others must not even look: the purge helper has no
// thread-locals.
static struct stats_tally *stats_tally_for(bool is_tallied)
{
    return is_tallied ? stats_own_tally() : NULL;
}

struct stats *stats_process(void)
{
    stats_flush();
    return &stats_of_process;
}

// --- counting ------------------------------------------------------------------------------------

void stats_add(enum stats_level_id id, int64_t amount)
{
    struct stats_tally *tally = stats_tally_for((int)id < STATS_TALLIED_LEVELS);
    if (tally == NULL) {
        stats_level_add(&stats_of_process.level[id], amount);
        return;
    }
    stats_tally_add(tally, id, amount);
}

void stats_remove(enum stats_level_id id, int64_t amount)
{
    struct stats_tally *tally = stats_tally_for((int)id < STATS_TALLIED_LEVELS);
    if (tally == NULL) {
        stats_level_remove(&stats_of_process.level[id], amount);
        return;
    }
    stats_tally_remove(tally, id, amount);
}

void stats_count(enum stats_counter_id id, uint64_t amount)
{
    struct stats_tally *tally = stats_tally_for((int)id < STATS_TALLIED_COUNTERS);
    if (tally == NULL) {
        atomic_fetch_add_explicit(&stats_of_process.counter[id], amount, memory_order_relaxed);
        return;
    }
    stats_tally_count(tally, id, amount);
}

int64_t stats_current(enum stats_level_id id)
{
    return atomic_load_explicit(&stats_of_process.level[id].current, memory_order_relaxed);
}

// --- blocks: debug builds ------------------------------------------------------------------------

static data_apart struct stats_level stats_of_classes[STATS_CLASSES];
static struct stats_level stats_of_requests;

struct stats_level *stats_block_class(unsigned size_class) { return &stats_of_classes[size_class]; }
struct stats_level *stats_requested(void) { return &stats_of_requests; }

void stats_block_added(unsigned size_class, size_t block_bytes, size_t requested_bytes)
{
    stats_level_add(&stats_of_classes[size_class], (int64_t)block_bytes);
    stats_level_add(&stats_of_requests, (int64_t)requested_bytes);
}

void stats_block_removed(unsigned size_class, size_t block_bytes, size_t requested_bytes)
{
    stats_level_remove(&stats_of_classes[size_class], (int64_t)block_bytes);
    stats_level_remove(&stats_of_requests, (int64_t)requested_bytes);
}

static void stats_reset_level(struct stats_level *level)
{
    int64_t current = atomic_load_explicit(&level->current, memory_order_relaxed);
    atomic_store_explicit(&level->peak, current, memory_order_relaxed);
    atomic_store_explicit(&level->added, current, memory_order_relaxed); // keeps S1
    atomic_store_explicit(&level->removed, 0, memory_order_relaxed);
}

void stats_reset(void)
{
    stats_flush();
    for (int id = 0; id < STATS_LEVEL_COUNT; id++) stats_reset_level(&stats_of_process.level[id]);
    for (int id = 0; id < STATS_CLASSES; id++) stats_reset_level(&stats_of_classes[id]);
    stats_reset_level(&stats_of_requests);
    for (int id = 0; id < STATS_COUNTER_COUNT; id++) {
        atomic_store_explicit(&stats_of_process.counter[id], 0, memory_order_relaxed);
    }
}

const char *stats_broken_rule(const struct stats_level *level)
{
    int64_t current = atomic_load_explicit(&level->current, memory_order_relaxed);
    int64_t added = atomic_load_explicit(&level->added, memory_order_relaxed);
    int64_t removed = atomic_load_explicit(&level->removed, memory_order_relaxed);
    if (current != added - removed) return "S1: the totals do not make the current value";
    if (atomic_load_explicit(&level->peak, memory_order_relaxed) < current)
        return "S2: the peak is below the current value";
    return NULL;
}
