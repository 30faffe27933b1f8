/* test_cache_pass.c: the block that went by a cache last, and waits for the next one. */
#include "shared_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/walk.h"
#include "mimalloc.h"

enum { BYTES = 1100, STEP_BYTES = 300, SIZES = 40, MAX_BLOCKS = 4096, KIB = 1024, NOW_MS = 1000 };
static void *blocks[MAX_BLOCKS];
static unsigned freed; // of them, from the first one on

static struct local_heap *start(void)
{
    start_quietly();
    fake_prim_set_clock_ms(NOW_MS);
    struct local_heap *main = thread_ready(thread_heap())->main;
    for (unsigned i = 0; i < MAX_BLOCKS; i++) blocks[i] = mi_malloc(BYTES + i % SIZES * STEP_BYTES);
    thread_collect(thread_heap(), true);
    return main;
}

// Frees until a block goes by.
static void free_some(const struct local_heap *main)
{
    do {
        EXPECT(freed < MAX_BLOCKS);
        mi_free(blocks[freed++]);
    } while (main->cache.passing.page == NULL || main->cache.passing.block != blocks[freed - 1]);
}

static struct page *page_of_waiting(const struct local_heap *main)
{
    const struct cache_passing *waiting = &main->cache.passing;
    EXPECT(waiting->page == page_of(waiting->block));
    EXPECT(main->cache.only_frees);
    return waiting->page;
}

// One block is waiting; the return value's page has it when the caller has done what it does.
static struct local_heap *start_with_waiting(void)
{
    struct local_heap *main = start();
    free_some(main);
    expect_rules(main);
    return main;
}

static void waits_for_next(void)
{
    struct local_heap *main = start_with_waiting();
    for (unsigned i = 0; i < 100; i++) {
        struct page *page = page_of_waiting(main);
        unsigned before = remote_waiting(page);
        free_some(main);
        EXPECT(page->block_bytes == 0 || remote_waiting(page) > before); // 0: it was the last
    }
    expect_rules(main);
}

static void waits_for_review(void)
{
    struct local_heap *main = start_with_waiting();
    struct page *page = page_of_waiting(main);
    unsigned before = remote_waiting(page);
    cache_review(&main->cache, main->list, NOW_MS);
    EXPECT_EQ(remote_waiting(page), before + 1);
    EXPECT(main->cache.passing.page == NULL);
    cache_review(&main->cache, main->list, NOW_MS);
    EXPECT_EQ(remote_waiting(page), before + 1);
    expect_rules(main);
}

static void waits_for_flush(void)
{
    struct local_heap *main = start_with_waiting();
    for (; freed < MAX_BLOCKS; freed++) mi_free(blocks[freed]);
    EXPECT(main->cache.passing.page != NULL);
    expect_nothing_left();
    EXPECT(main->cache.passing.page == NULL);
}

static void *free_all(void *unused)
{
    for (unsigned i = 0; i < MAX_BLOCKS; i++) mi_free(blocks[i]);
    EXPECT(thread_heap()->main->cache.passing.page != NULL);
    return unused;
}

static void waits_for_end(void)
{
    ignore_result(start());
    run_thread(free_all, NULL);
    expect_nothing_left();
}

TEST(cache_lets_a_block_that_goes_by_wait_for_the_next_one) { IN_CHILD(waits_for_next()); }
TEST(cache_review_and_flush_return_the_block_that_waits)
{
    IN_CHILD(waits_for_review());
    IN_CHILD(waits_for_flush());
}
TEST(cache_of_a_thread_that_ends_keeps_no_block_that_waits) { IN_CHILD(waits_for_end()); }

static void counted(void)
{
    struct local_heap *main = start();
    for (; freed < MAX_BLOCKS / 4 * 3; freed++) mi_free(blocks[freed]); // no bin has much by then
    free_some(main);
    size_t size_class = page_of_waiting(main)->size_class;
    size_t bytes = cache_bytes(&main->cache, main->list);
    size_t count = local_heap_count_cached(main, size_class);
    struct walk_totals totals, after;
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, MAX_BLOCKS - freed);
    cache_review(&main->cache, main->list, NOW_MS);
    walk_count(&after);
    EXPECT_EQ(after.blocks, totals.blocks);
    EXPECT_EQ(local_heap_count_cached(main, size_class), count - 1);
    EXPECT_EQ(cache_bytes(&main->cache, main->list), bytes - class_block_bytes(size_class));
}

TEST(cache_block_that_waits_counts_as_cached) { IN_CHILD(counted()); }

// What waits may be all that keeps its page.
static void long_ones(void)
{
    void *large[8];
    struct local_heap *main = start();
    for (unsigned i = 0; i < 8; i++) large[i] = mi_malloc(3 * (size_t)CACHE_WAIT_BYTES);
    thread_collect(thread_heap(), true);
    free_some(main);
    for (unsigned i = 0; i < 8; i++) {
        mi_free(large[i]);
        const struct page *page = main->cache.passing.page;
        EXPECT(page == NULL || page->block_bytes <= CACHE_WAIT_BYTES);
    }
    expect_rules(main);
}

TEST(cache_lets_no_long_block_wait) { IN_CHILD(long_ones()); }

// --- H6, broken on purpose -----------------------------------------------------------------------

static void expect_broken(const struct local_heap *main)
{
    EXPECT_TEXT(local_heap_broken_rule(main), "H6: what goes by the cache is not for it");
}

static void not_for_it(void)
{
    struct local_heap *main = start_with_waiting();
    struct cache_passing before = main->cache.passing;
    main->cache.passing.page = page_of(blocks[MAX_BLOCKS - 1]);
    if (main->cache.passing.page != before.page) expect_broken(main);
    main->cache.passing = before;
    main->cache.passing.block = (struct block *)(void *)&freed;
    expect_broken(main);
    main->cache.passing.block = (struct block *)(void *)((char *)before.block + CLASS_STEP_BYTES);
    expect_broken(main);
    if (!CFG_STATES) return;
    main->cache.passing.page = page_of(blocks[MAX_BLOCKS - 1]);
    main->cache.passing.block = (struct block *)blocks[MAX_BLOCKS - 1]; // in use
    expect_broken(main);
}

TEST(cache_H6_notices_a_block_that_waits_and_is_not_for_it) { IN_CHILD(not_for_it()); }

// It was freed twice at the same instant, and handed out since.
static void in_use_again(void)
{
    struct fault_count faults = {EAGAIN, 0};
    struct local_heap *main = start_with_waiting();
    hooks_set_error(count_fault, &faults);
    struct page *page = page_of_waiting(main);
    unsigned before = remote_waiting(page);
    state_set(arena_state_at(main->cache.passing.block), STATE_IN_USE);
    cache_review(&main->cache, main->list, NOW_MS);
    report_if_left();
    EXPECT(faults.count == 1 && main->cache.passing.page == NULL);
    EXPECT_EQ(remote_waiting(page), before);
}

TEST(cache_does_not_return_a_block_that_is_in_use_again)
{
    if (CFG_STATES) IN_CHILD(in_use_again());
}
