/* parts_test.h: what the tests of heaps and their parts share. */
#ifndef TEST_UNIT_PARTS_TEST_H
#define TEST_UNIT_PARTS_TEST_H
#include "unit_test.h"
#include "heap/heap.h"

static inline struct local_heap *main_heap(void) { return thread_heap()->main; }

static inline unsigned part_count(void)
{
    unsigned count = 0;
    heap_visit_all_parts(count_item, &count);
    return count;
}

// Nothing is left but the kept page of a class, and collecting takes that, too.
static inline void expect_nothing_left(void)
{
    thread_collect(thread_heap(), true);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    expect_arena_rules();
}

#endif
