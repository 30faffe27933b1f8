// Huge OS pages that are reserved by mi_reserve_huge_os_pages: made up, of ordinary ones.
#include "unit_test.h"
#include "mimalloc.h"

static const int64_t gib = (int64_t)1 << 30;

static void start(void)
{
    start_quietly();
    fake_prim_make_up_large();
}

static void reserve_all(void)
{
    size_t got = 77;
    start();
    int64_t before = level_now(STAT_reserved);
    EXPECT_EQ(mi_reserve_huge_os_pages(2, 0, &got), 0);
    EXPECT_EQ(got, 2);
    EXPECT_EQ(level_now(STAT_reserved) - before, 2 * gib);
    EXPECT_EQ(mi_reserve_huge_os_pages(0, 0, &got), 0);
    EXPECT_EQ(got, 0);
    char *block = (char *)mi_malloc((size_t)100 << 20); // no more is mapped for it
    EXPECT(block != NULL);
    EXPECT_EQ(level_now(STAT_reserved) - before, 2 * gib);
    mi_free(block);
}

TEST(huge_pages_are_reserved_and_used) { IN_CHILD(reserve_all()); }

static void refuse_the_second(void)
{
    size_t got = 77;
    start();
    fake_prim_fail_from(FAKE_PRIM_map_large, 2, ENOMEM);
    EXPECT_EQ(mi_reserve_huge_os_pages(3, 0, &got), ENOMEM);
    EXPECT_EQ(got, 1);
    fake_prim_fail_from(FAKE_PRIM_map_large, 1, ENOMEM);
    EXPECT_EQ(mi_reserve_huge_os_pages(3, 0, &got), ENOMEM);
    EXPECT_EQ(got, 0);
    EXPECT_EQ(mi_reserve_huge_os_pages(3, 0, NULL), ENOMEM);
}

TEST(huge_pages_that_the_system_refuses_are_told) { IN_CHILD(refuse_the_second()); }

static void take_a_second(void) { fake_prim_advance_clock_ms(1000); }

static void run_out_of_time(void)
{
    size_t got = 77;
    start();
    fake_prim_set_clock_ms(5000);
    fake_prim_on(FAKE_PRIM_map_large, take_a_second);
    EXPECT_EQ(mi_reserve_huge_os_pages(3, 1.5, &got), ETIMEDOUT);
    EXPECT_EQ(got, 2);
}

TEST(huge_pages_end_when_the_time_is_up) { IN_CHILD(run_out_of_time()); }
