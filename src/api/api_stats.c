// Statistics: gathering the numbers, starting anew, and those about the whole process.
#include "api/api_stats.h"
#include "heap/ring.h"
#include "mimalloc.h"

static_assert((int)STATS_CLASSES == (int)CLASS_COUNT + 1, "each size class, and large blocks");

// --- reading -------------------------------------------------------------------------------------

// relaxed: each word counts for itself. So while threads have some in their tallies, more may have
// been removed than added.
struct stats_values stats_read(struct stats_level *level)
{
    struct stats_values values;
    values.peak = atomic_load_explicit(&level->peak, memory_order_relaxed);
    values.added = atomic_load_explicit(&level->added, memory_order_relaxed);
    values.removed = atomic_load_explicit(&level->removed, memory_order_relaxed);
    values.current = atomic_load_explicit(&level->current, memory_order_relaxed);
    if (values.current < 0) values.current = 0;
    return values;
}

struct stats_values stats_read_classes(void)
{
    struct stats_values sum = {0, 0, 0, 0};
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        struct stats_values values = stats_read(stats_block_class(size_class));
        sum.peak += values.peak;
        sum.added += values.added;
        sum.removed += values.removed;
        sum.current += values.current;
    }
    return sum;
}

// The peak that the system tells may be older than what is resident now.
static void stats_read_usage(struct prim_usage *usage)
{
    prim_usage_read(usage);
    if (usage->peak_resident_bytes < usage->resident_bytes) {
        usage->peak_resident_bytes = usage->resident_bytes;
    }
}

static bool stats_add_cut(struct page *page, void *arg)
{
    struct stats_numbers *numbers = (struct stats_numbers *)arg;
    if (page->size_class < CLASS_COUNT) numbers->class_cut[page->size_class] += page->capacity;
    return true;
}

// A thread adds its counters to those of the process when it ends.
static void stats_add_thread(struct local_heap *main, void *arg)
{
    uint64_t *counter = (uint64_t *)arg;
    counter[COUNT_slow_paths] += main->heartbeat;
    counter[COUNT_remote_chains] += main->ring.chains;
    counter[COUNT_remote_blocks] += main->ring.chain_blocks;
}

static void stats_gather_counters(uint64_t *counter)
{
    for (int id = 0; id < STATS_COUNTER_COUNT; id++) {
        counter[id] = atomic_load_explicit(&stats_process()->counter[id], memory_order_relaxed);
    }
    thread_visit_all(stats_add_thread, counter);
    // Below zero: after a reset, in a forked child, where threads are gone that were counted then.
    for (int id = 0; id < STATS_COUNTER_COUNT; id++) {
        if (counter[id] > INT64_MAX) counter[id] = 0;
    }
}

// A cut block is with the program or free. Other threads may change both between the two walks: no
// difference may fall below zero.
static void stats_gather_free(struct stats_numbers *numbers)
{
    (void)walk_all_pages(stats_add_cut, numbers);
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        size_t live = numbers->totals.class_blocks[size_class];
        if (numbers->class_cut[size_class] < live) numbers->class_cut[size_class] = live;
        size_t free = numbers->class_cut[size_class] - live;
        numbers->free_bytes += free * class_block_bytes(size_class);
    }
}

cold void stats_gather(struct stats_numbers *numbers)
{
    memset((void *)numbers, 0, sizeof *numbers);
    walk_count(&numbers->totals);
    stats_gather_free(numbers);
    stats_gather_counters(numbers->counter);
    stats_read_usage(&numbers->usage);
}

// --- one thread ----------------------------------------------------------------------------------

struct stats_owned {
    struct local_heap      *main;
    struct stats_of_thread *thread;
};

static bool stats_is_named(const struct local_heap *main, const struct page *page)
{
    const struct local_heap *named = page_named_by(page_owner(page));
    while (main != NULL && main != named) main = main->next_of_thread;
    return main != NULL;
}

static bool stats_add_owned(struct page *page, void *arg)
{
    const struct stats_owned *owned = (const struct stats_owned *)arg;
    if (!stats_is_named(owned->main, page)) return true;
    if (remote_is_parked(page)) {
        owned->thread->pages_parked++;
        return true;
    }
    size_t waiting = remote_waiting(page), out = page->out;
    size_t blocks = out > waiting ? out - waiting : 0;
    owned->thread->pages++;
    owned->thread->blocks += blocks;
    owned->thread->bytes += blocks * page->block_bytes;
    return true;
}

static void stats_drop_blocks(struct stats_of_thread *thread, size_t blocks, size_t block_bytes)
{
    thread->blocks -= blocks;
    thread->bytes -= blocks * block_bytes;
}

static cold void stats_drop_ring(struct local_heap *main, void *arg)
{
    const struct stats_owned *owned = (const struct stats_owned *)arg;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        const struct page *page = main->ring.slot[i].page;
        if (page == NULL || remote_is_parked(page) || !stats_is_named(owned->main, page)) continue;
        stats_drop_blocks(owned->thread, main->ring.slot[i].count, page->block_bytes);
    }
}

static void stats_drop_loaded(struct stats_of_thread *thread, const struct local_heap *part)
{
    for (unsigned size_class = 0; size_class < local_heap_owned_classes(part); size_class++) {
        const struct page *page = part->own[size_class].current;
        if (page == NULL) continue;
        unsigned count = page_list_count(page, local_heap_first(part, size_class));
        // else it changed: another thread ends the heap
        if (count <= page->reserved) stats_drop_blocks(thread, count, page->block_bytes);
    }
}

cold void stats_gather_thread(struct stats_of_thread *thread)
{
    struct local_heap *heap = thread_heap();
    memset((void *)thread, 0, sizeof *thread);
    if (!thread_is_ready(heap)) return;

    struct stats_owned owned = {heap->main, thread};
    thread->slow_paths = owned.main->heartbeat;
    thread->remote_chains = owned.main->ring.chains;
    thread->remote_blocks = owned.main->ring.chain_blocks;
    (void)walk_all_pages(stats_add_owned, &owned);
    thread_visit_all(stats_drop_ring, &owned);
    const struct local_heap *part = owned.main;
    for (; part != NULL; part = part->next_of_thread) stats_drop_loaded(thread, part);
}

// --- public --------------------------------------------------------------------------------------

// Threads that still run count on (the number of slow paths is a clock, too), so the process's
// counters begin as far below zero as these have come.
cold void mi_stats_reset(void)
{
    uint64_t running[STATS_COUNTER_COUNT];
    memset(running, 0, sizeof running);
    stats_reset();
    thread_visit_all(stats_add_thread, running);
    for (int id = 0; id < STATS_COUNTER_COUNT; id++) {
        if (running[id] != 0) stats_count((enum stats_counter_id)id, 0 - running[id]);
    }
}

// Reports read the counters of all threads. What only this thread knows is what waits in its ring.
void mi_stats_merge(void)
{
    struct local_heap *heap = thread_heap();
    if (thread_is_ready(heap)) ring_flush(&heap->main->ring); // what is in its cache is counted
}

static void stats_put(size_t *place, uint64_t value)
{
    if (place != NULL) *place = value > SIZE_MAX ? SIZE_MAX : (size_t)value;
}

cold void mi_process_info(size_t *elapsed_msecs, size_t *user_msecs, size_t *system_msecs,
                          size_t *current_rss, size_t *peak_rss, size_t *current_commit,
                          size_t *peak_commit, size_t *page_faults)
{
    struct prim_usage usage;
    stats_read_usage(&usage);
    struct stats_values commit = stats_read(&stats_process()->level[STAT_committed]);
    stats_put(elapsed_msecs, usage.elapsed_ms);
    stats_put(user_msecs, usage.user_ms);
    stats_put(system_msecs, usage.system_ms);
    stats_put(current_rss, usage.resident_bytes);
    stats_put(peak_rss, usage.peak_resident_bytes);
    stats_put(current_commit, (uint64_t)commit.current);
    stats_put(peak_commit, (uint64_t)commit.peak);
    stats_put(page_faults, usage.major_faults);
}
