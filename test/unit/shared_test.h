/* shared_test.h: what the tests of shared pages and of caches share. */
#ifndef TEST_UNIT_SHARED_TEST_H
#define TEST_UNIT_SHARED_TEST_H
#include "unit_test.h"
#include "heap/local_heap.h"
#include "page/depot.h"

static inline size_t class_of_request(size_t bytes)
{
    return class_of(bytes + BLOCK_PADDING_BYTES);
}

// In the cache, whatever list it is on.
static inline size_t cached_bytes(const struct local_heap *main)
{
    size_t bytes = 0;
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        bytes += local_heap_count_cached(main, size_class) * class_block_bytes(size_class);
    return bytes;
}

static inline void expect_rules(const struct local_heap *main)
{
    EXPECT_TEXT(local_heap_broken_rule(main), NULL);
    EXPECT_TEXT(depot_broken_rule(), NULL);
}

// With nothing in use: no cache and no depot keeps a page.
static inline void expect_nothing_left(void)
{
    struct local_heap *main = thread_heap()->main;
    thread_collect(thread_heap(), true);
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        EXPECT(*local_heap_list(main, size_class) == NULL && depot_count(size_class) == 0);
    EXPECT_EQ(cached_bytes(main), 0);
    EXPECT(main->cache.held_bytes == 0 && main->cache.room_bytes == 0);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    expect_rules(main);
    expect_arena_rules();
}

#endif
