/* Who owns a slice, and what is in it: the real arena, purge and pool, over one chunk of memory, in
 * all interleavings.
 *
 * What must hold in every run:
 *   a slice or an item has one user at a time, who knows all that its last user did (M2)
 *   A4  a free slice that is not dirty reads as zeroes, and so does what is claimed as such
 *   slices and bytes that are counted are those that are there, once nobody is at it
 */
#define MI_ONE_OBJECT 1
#include "base/base.h"
#include "base/chacha.h"
#include "core/options.h"
#include "core/random.h"
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"

// --- what lies below -----------------------------------------------------------------------------

enum { SLICES = 3, ITEM_BYTES = 64, ITEMS = 16 };

alignas(1 << 16) static char regions_memory[SLICES][1 << 16];
alignas(64) static char regions_items[ITEMS * (ITEM_BYTES + sizeof(uint32_t)) + 2 * 4096];
static int64_t regions_levels[STATS_LEVEL_COUNT];

static void stats_add(enum stats_level_id id, int64_t amount) { regions_levels[id] += amount; }
static void stats_remove(enum stats_level_id id, int64_t amount) { regions_levels[id] -= amount; }
static void stats_count(enum stats_counter_id, uint64_t) {}
static int64_t stats_current(enum stats_level_id id) { return regions_levels[id]; }
static void report_verbose_later(const char *) {}
static long options_get(enum option option) { return option == OPTION_disallow_os_alloc; }
static size_t options_get_bytes(enum option) { return 0; }
static bool limit_is_below(enum option, int64_t) { return false; }
static void limit_ask_system(void) {}
static void random_init(struct chacha *) {}
static uint32_t chacha_below(struct chacha *, uint32_t) { return 0; }
static size_t os_page_bytes(void) { return 4096; }
static const struct prim_info *os_info(void) { return NULL; }
static void *os_map(size_t, size_t) { return NULL; }
static void *os_map_large(void *, size_t, size_t, int, bool *) { return NULL; }
static bool os_map_at(void *, size_t, bool *) { return false; }
static void os_advise(void *, size_t, size_t) {}
static void os_release(void *, size_t) {}
// Both are for who searches in vain and then looks for others that purge: none does here.
static void prim_wait(ATOMIC(uint32_t) *, uint32_t, uint32_t) {}
static void atomic_thread_fence(int) {}
static bool os_open(void *, size_t) { return true; }
static void *os_reserve(size_t, size_t) { return regions_items; }

// A slice is one word here: what it holds.
static uint64_t *regions_word(size_t slice) { return (uint64_t *)(void *)regions_memory[slice]; }

static size_t regions_slice_of(const void *start)
{
    return (size_t)((const char *)start - regions_memory[0]) / sizeof(regions_memory[0]);
}

static bool os_purge(void *start, size_t bytes)
{
    size_t first = regions_slice_of(start), count = bytes / sizeof(regions_memory[0]);
    for (size_t i = first; i < first + count; i++) *regions_word(i) = 0;
    return true;
}

static uint64_t prim_clock_ms(void) { return 1; }
static uint64_t prim_helper_clock_ms(void) { return 1; }
static bool fork_is_fresh(void) { return false; }

// --- the real sources ----------------------------------------------------------------------------

#include "region/window.c"
#include "region/search.c"
#include "region/arena.c"
#include "region/purge.c"
#include "region/pool.c"

// --- before and after the threads ----------------------------------------------------------------

static struct chunk regions_chunk;
alignas(DESCRIPTOR_BYTES) static char regions_descriptors[SLICES][DESCRIPTOR_BYTES]; // blank (A2)
static uint32_t regions_is_used[SLICES];
static struct pool regions_pool;
static uint32_t regions_item_is_used[ITEMS];

// Slices 0 and 1 are dirty, slice 2 is clean; all are free.
static void start_slices()
{
    model_watch(regions_memory, sizeof(regions_memory));
    model_watch(regions_is_used, sizeof(regions_is_used));
    model_clear((void *)&arena_main, sizeof(arena_main));
    model_clear((void *)&regions_chunk, sizeof(regions_chunk));
    model_clear(regions_is_used, sizeof(regions_is_used));
    model_clear(regions_levels, sizeof(regions_levels));
    arena_main.base = (uintptr_t)regions_memory;
    arena_main.span_units = sizeof(regions_memory) >> GRANULE_SHIFT;
    arena_main.mapped = CHUNK_SLICES;
    arena_main.capacity = CHUNK_SLICES;
    arena_main.chunks = &regions_chunk;
    arena_main.descriptors = regions_descriptors[0];
    regions_chunk.free = bits_ones(SLICES);
    regions_chunk.dirty = regions_chunk.aging = 3;
    arena_main.dirty_free = 2;
    regions_levels[STAT_committed] = 2 * SLICE_BYTES;
    for (size_t i = 0; i < SLICES; i++) *regions_word(i) = i < 2 ? 0xd1 : 0;
    model_name(&regions_chunk.free, 8, "free");
    model_name(&regions_chunk.dirty, 8, "dirty");
    model_name(&regions_chunk.aging, 8, "aging");
    model_name(&arena_main.dirty_free, 8, "count of dirty ones");
    model_name(&arena_main.first_free, 8, "first free");
    model_name(&arena_main.mapped, 8, "mapped");
    model_name(&arena_main.span_units, 8, "span");
}

static void finish_slices()
{
    uint64_t free = atomic_load_explicit(&regions_chunk.free, memory_order_relaxed);
    uint64_t dirty = atomic_load_explicit(&regions_chunk.dirty, memory_order_relaxed);
    int64_t used = 0;
    for (size_t i = 0; i < SLICES; i++) {
        bool is_free = (free >> i & 1) != 0, is_dirty = (dirty >> i & 1) != 0;
        used += regions_is_used[i];
        if (is_free == (regions_is_used[i] != 0)) model_fail("a slice is lost, or free and used");
        if (is_free && !is_dirty && *regions_word(i) != 0) model_fail("A4: a clean slice is not");
    }
    int64_t dirty_free = bits_popcount64(free & dirty);
    if (dirty_free != (int64_t)atomic_load_explicit(&arena_main.dirty_free, memory_order_relaxed))
        model_fail("the free dirty slices are miscounted");
    if (regions_levels[STAT_committed] != (used + dirty_free) * SLICE_BYTES)
        model_fail("S1: the committed bytes are miscounted");
}

static void start_pool()
{
    static const char *const links[] = {"link 0", "link 1", "link 2"};
    model_watch(regions_item_is_used, sizeof(regions_item_is_used));
    model_watch(regions_items, ITEMS * ITEM_BYTES);
    model_clear((void *)&regions_pool, sizeof(regions_pool));
    model_clear(regions_items, sizeof(regions_items));
    model_clear(regions_item_is_used, sizeof(regions_item_is_used));
    regions_pool.item_bytes = ITEM_BYTES;
    bool is_new;
    void *one = pool_take(&regions_pool, &is_new), *two = pool_take(&regions_pool, &is_new);
    pool_put(&regions_pool, one);
    pool_put(&regions_pool, two);
    model_name(&regions_pool.head, 8, "head");
    model_name(&regions_pool.used, 4, "used");
    for (uint32_t i = 0; i < 3; i++) model_name(pool_link(&regions_pool, i), 4, links[i]);
}

static void finish_pool()
{
    bool is_new;
    uint32_t used = 0, taken = 0;
    for (uint32_t i = 0; i < ITEMS; i++) used += regions_item_is_used[i];
    for (;; taken++) {
        const char *item = (const char *)pool_take(&regions_pool, &is_new);
        if (is_new) break; // the list is empty
        if (regions_item_is_used[(item - regions_items) / ITEM_BYTES]++ != 0)
            model_fail("an item is free and used, or free twice");
    }
    if (used + taken != pool_used(&regions_pool) - 1) model_fail("an item is lost");
}

// --- what threads do -----------------------------------------------------------------------------

// NULL when there is no such run.
static void *claim(size_t count)
{
    bool is_zero;
    void *start = arena_claim(count, SLICE_BYTES, &is_zero);
    if (start == NULL) return NULL;
    size_t first = regions_slice_of(start);
    for (size_t i = first; i < first + count; i++) {
        if (regions_is_used[i]++ != 0) model_fail("a slice has two owners");
        if (is_zero && *regions_word(i) != 0) model_fail("A4: claimed as zeroes, but is not");
    }
    *regions_word(first) = 0x11;
    return start;
}

static void release(void *start, size_t count, bool touched)
{
    if (start == NULL) return;
    size_t first = regions_slice_of(start);
    for (size_t i = first; i < first + count; i++) {
        regions_is_used[i] = 0;
        if (!touched) *regions_word(i) = 0;
    }
    arena_release(start, count, touched);
}

static void claim_1() { claim(1); }
static void claim_2() { claim(2); }
static void claim_and_release_1() { release(claim(1), 1, true); }
static void claim_and_release_2() { release(claim(2), 2, true); }
static void claim_and_release_clean() { release(claim(1), 1, false); }
static void purge_everything() { ignore_result(purge_all() != 0); }

static void purge_twice_by_age()
{
    struct purge_turn turn = {PURGE_OLD, 8, false, 0};
    purge_chunk(&arena_main, 0, &turn);
    purge_chunk(&arena_main, 0, &turn);
}

static void *take()
{
    bool is_new;
    char *item = (char *)pool_take(&regions_pool, &is_new);
    if (regions_item_is_used[(item - regions_items) / ITEM_BYTES]++ != 0)
        model_fail("an item has two users");
    *(uint64_t *)(void *)item = model_thread();
    return item;
}

static void put(void *item)
{
    if (*(uint64_t *)item != model_thread()) model_fail("an item was changed by another thread");
    regions_item_is_used[((char *)item - regions_items) / ITEM_BYTES] = 0;
    pool_put(&regions_pool, item);
}

static void take_one() { take(); }
static void take_and_put() { put(take()); }
static void take_two_and_put_the_first()
{
    void *first = take();
    take();
    put(first);
}

static const struct model_scenario regions_scenarios[] = {
    {"two take and put items", 2, start_pool, {take_two_and_put_the_first, take_and_put},
     finish_pool, 1, 0, 0, 0},
    {"items, a list that comes back (L1)", 2, start_pool, {take_one, take_two_and_put_the_first},
     finish_pool, 0, 1, 0, 0},
    {"three take and put items", 3, start_pool,
     {take_and_put, take_two_and_put_the_first, take_one}, finish_pool, 0, 0, 3, 3000},
    {"two claim", 2, start_slices, {claim_2, claim_and_release_1}, finish_slices, 0, 0, 0, 0},
    {"a claim and a purge", 2, start_slices, {claim_and_release_1, purge_everything}, finish_slices,
     0, 1, 0, 0},
    {"a clean release and a purge", 2, start_slices, {claim_and_release_clean, purge_everything},
     finish_slices, 0, 0, 0, 0},
    {"a claim and purges by age", 2, start_slices, {claim_and_release_2, purge_twice_by_age},
     finish_slices, 0, 0, 4, 3000},
    {"two purges and a claim", 3, start_slices, {purge_everything, purge_everything, claim_2},
     finish_slices, 0, 0, 3, 3000},
    {"two claims and a purge", 3, start_slices,
     {claim_and_release_1, claim_and_release_2, purge_everything}, finish_slices, 0, 0, 2, 5000},
    {"claims, dirty and clean, and a purge", 3, start_slices,
     {claim_1, claim_and_release_clean, purge_everything}, finish_slices, 0, 0, 2, 5000},
};

int main()
{
    for (const struct model_scenario &scenario : regions_scenarios) model_explore(&scenario);
    return 0;
}
