/* test_cache_corners.c: cache and depot where numbers or links are not what they should be. */
#include "unit_test.h"
#include "core/hooks.h"
#include "heap/cache.h"
#include "mimalloc.h"
#include "page/depot.h"

// --- pages that other threads have added and not told of yet -------------------------------------

enum { CLASS = 64, BYTES = 5000 };
static struct block *blocks[256];

static void below_zero(void)
{
    unsigned count = 0;
    start_quietly();
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) EXPECT(depot_take(CLASS).first == NULL);
    stats_remove(STAT_page_bytes, (int64_t)DEPOT_SLOTS * DEPOT_SLOT_SHARE_BYTES);
    for (unsigned i = 0; i < 6; i++) {
        struct page *page = new_page(CLASS, 0);
        page_share(page);
        count += take_every_block(page, blocks + count);
        retire_park(page, false);
    }
    for (unsigned i = 0; i < count; i++) {
        block_set_next(blocks[i], NULL, &page_of(blocks[i])->key);
        struct depot_chain chain = {blocks[i], 1};
        depot_put(CLASS, chain);
        EXPECT(depot_count(CLASS) <= DEPOT_SLOTS && depot_count(CLASS + 1) == 0);
    }
    depot_drain();
    EXPECT_EQ(used_slices(), 0);
}

TEST(depot_fills_no_slot_beyond_the_last_while_pages_count_less_than_none)
{
    IN_CHILD(below_zero());
}

// --- a thread that begins with a free ------------------------------------------------------------

static void *allocate_one(void *place)
{
    *(void **)place = mi_malloc(BYTES);
    return NULL;
}

static void begins_with_a_free(void)
{
    void *block;
    start_quietly();
    run_thread(allocate_one, &block);
    mi_free(block);
    struct local_heap *main = thread_heap()->main;
    unsigned long long before = main->heartbeat;
    for (unsigned i = 0; i < 2 * CACHE_BEATS; i++) mi_free(mi_malloc(BYTES));
    EXPECT(main->heartbeat > before);
}

TEST(shared_blocks_leave_the_slow_path_its_turn_in_a_thread_that_begins_with_a_free)
{
    IN_CHILD(begins_with_a_free());
}

// --- the first block of a list is where an overwritten link led ----------------------------------

static void count_fault(int code, void *arg)
{
    (void)code;
    ++*(int *)arg;
}

static void begin_astray(void)
{
    start_quietly();
    void *first = mi_malloc(BYTES), *second = mi_malloc(BYTES);
    thread_collect(true);
    mi_free(second);
    mi_free(first);
    *(uintptr_t *)first = 0x4141414141414140;
    EXPECT(mi_malloc(BYTES) == first);
}

// Later than any review of the thread itself.
static const uint64_t LATE_MS = UINT64_C(1) << 40;

static void collect(void) { thread_collect(true); }
static void end(void) { thread_done(); }
static void review(void)
{
    struct local_heap *main = thread_heap()->main;
    for (unsigned i = 0; i < 10; i++) {
        cache_review(&main->cache, main->list, LATE_MS + i * CACHE_REVIEW_MS);
    }
}
static void overflow(void)
{
    options_set(OPTION_memory_limit, 1);
    mi_free(mi_malloc(3000));
    thread_collect(true); // if it was another list's turn
}

static void astray(void (*then)(void), bool goes_on)
{
    int faults = 0;
    if (goes_on) hooks_set_error(count_fault, &faults);
    begin_astray();
    then();
    EXPECT(faults > 0);
}

TEST(cache_reports_a_first_block_that_is_none)
{
    static void (*const what[])(void) = {collect, end, review, overflow};
    for (unsigned i = 0; CFG_STATES && i < 4; i++) {
        EXPECT_DEATH(astray(what[i], false), "corrupted free list");
        IN_CHILD(astray(what[i], true));
    }
}
