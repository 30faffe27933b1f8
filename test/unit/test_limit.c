#include "unit_test.h"
#include "region/limit.h"
#include "mimalloc.h"

enum { SLICES = 8, KIB_PER_SLICE = SLICE_BYTES / 1024, CLASS = 40 };
static const uint64_t begin_ms = 1000000;

// Nothing goes back by itself.
static void start(void)
{
    fake_prim_reset();
    fake_prim_set_clock_ms(begin_ms);
    thread_start_process();
    options_set(OPTION_purge_delay, -1);
}

static char *claim(size_t count)
{
    bool is_zero;
    char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_zero);
    for (size_t i = 0; memory != NULL && i < count; i++) memory[i * SLICE_BYTES] = 1;
    return memory;
}

static void hard(void)
{
    start();
    EXPECT(!limit_is_exceeded(OPTION_memory_limit_hard));
    options_set(OPTION_memory_limit_hard, SLICES * KIB_PER_SLICE);
    char *memory = claim(SLICES);
    EXPECT(memory != NULL && !limit_is_exceeded(OPTION_memory_limit_hard)); // so much, no more
    EXPECT(claim(1) == NULL);
    EXPECT_EQ(level_now(STAT_committed), SLICES * SLICE_BYTES);
    int64_t reserved = level_now(STAT_reserved);
    EXPECT(claim(1000 * SLICES) == NULL);
    EXPECT_EQ(level_now(STAT_reserved), reserved); // nothing is mapped in vain
    arena_release(memory + SLICE_BYTES, 1, true);
    EXPECT(claim(1) == memory + SLICE_BYTES); // what was used counts already
    expect_arena_rules();
}

TEST(limit_hard_refuses_what_would_go_above_it) { IN_CHILD(hard()); }

static void hard_in_place(void)
{
    bool is_zero;
    start();
    char *memory = claim(SLICES);
    options_set(OPTION_memory_limit_hard, SLICES * KIB_PER_SLICE);
    EXPECT(!arena_claim_at(&arena_main, memory + SLICES * SLICE_BYTES, 1, &is_zero));
    EXPECT_EQ(level_now(STAT_committed), SLICES * SLICE_BYTES);
    options_set(OPTION_memory_limit_hard, (SLICES + 1) * KIB_PER_SLICE);
    EXPECT(arena_claim_at(&arena_main, memory + SLICES * SLICE_BYTES, 1, &is_zero) && is_zero);
    expect_arena_rules();
}

TEST(limit_hard_refuses_to_extend_a_run) { IN_CHILD(hard_in_place()); }

// A run of slices that count already and of some that do not, where the OS takes nothing back.
static void mixed(bool is_lazy)
{
    start();
    if (is_lazy) options_set(OPTION_reset_decommits, 0);
    fake_prim_fail_from(FAKE_PRIM_purge, 1, EINVAL);
    EXPECT(claim(SLICES / 2) != NULL);
    arena_release(claim(SLICES / 2), SLICES / 2, true);
    options_set(OPTION_memory_limit_hard, (SLICES + 2) * KIB_PER_SLICE);
    EXPECT(claim(SLICES) == NULL);
    EXPECT_EQ(level_now(STAT_committed), SLICES * SLICE_BYTES);
    EXPECT_EQ(arena_main.dirty_free, SLICES / 2);
    EXPECT(claim(SLICES / 2 + 2) != NULL);
    expect_arena_rules();
}

TEST(limit_hard_that_refuses_a_claim_leaves_what_counts_as_it_was)
{
    IN_CHILD(mixed(false));
    IN_CHILD(mixed(true));
}

// What the OS drops when it wants to would count for good.
static void hard_and_lazy(void)
{
    start();
    options_set(OPTION_reset_decommits, 0);
    arena_release(claim(SLICES), SLICES, true);
    EXPECT_EQ(purge_all(), 0);
    options_set(OPTION_memory_limit_hard, SLICES * KIB_PER_SLICE);
    EXPECT_EQ(purge_all(), SLICES * SLICE_BYTES);
    EXPECT_EQ(level_now(STAT_committed), 0);
    expect_arena_rules();
}

TEST(limit_hard_has_the_OS_take_memory_back_at_once) { IN_CHILD(hard_and_lazy()); }

static void at_release(void)
{
    start();
    char *memory = claim(SLICES);
    struct page *page = new_page(CLASS, 0);
    arena_release(memory, SLICES, true);
    options_set(OPTION_memory_limit, KIB_PER_SLICE);
    EXPECT_EQ(purged_runs(), 0);
    page_release(page); // by whoever comes by, and of whatever age
    EXPECT_EQ(level_now(STAT_committed), 0);
    EXPECT_EQ(memory[0], 0);
    expect_arena_rules();
}

static void at_claim(void)
{
    start();
    char *memory = claim(2 * SLICES);
    arena_release(memory, SLICES, true);
    options_set(OPTION_memory_limit, SLICES * KIB_PER_SLICE);
    struct page *page = new_page(CLASS, 0);
    EXPECT(level_now(STAT_committed) <= (SLICES + page->slices) * SLICE_BYTES);
}

static void below(void)
{
    start();
    options_set(OPTION_memory_limit, 100 * KIB_PER_SLICE);
    char *memory = claim(SLICES);
    struct page *page = new_page(CLASS, 0);
    arena_release(memory, SLICES, true);
    page_release(page);
    EXPECT_EQ(purged_runs(), 0);
    EXPECT(level_now(STAT_committed) > 0);
}

// A block that grows where it is claims slices, too.
static void at_growth(void)
{
    start();
    char *block = (char *)mi_malloc(2 * SLICES * SLICE_BYTES); // a large one
    char *behind = claim(4 * SLICES);
    EXPECT(block != NULL && behind != NULL);
    arena_release(behind, 4 * SLICES, true);
    options_set(OPTION_memory_limit, 4 * SLICES * KIB_PER_SLICE);
    EXPECT(mi_realloc(block, 3 * SLICES * SLICE_BYTES) == block);
    EXPECT(level_now(STAT_committed) <= 4 * SLICES * SLICE_BYTES);
}

// What the OS drops when it wants to would be above the limit for good.
static void below_it_again(void)
{
    start();
    options_set(OPTION_reset_decommits, 0);
    options_set(OPTION_memory_limit, SLICES * KIB_PER_SLICE);
    char *memory = claim(2 * SLICES);
    struct page *page = new_page(CLASS, 0);
    arena_release(memory, 2 * SLICES, true);
    EXPECT(limit_is_exceeded(OPTION_memory_limit));
    page_release(page);
    EXPECT(!limit_is_exceeded(OPTION_memory_limit));
    expect_arena_rules();
}

TEST(limit_gives_free_memory_back_above_it_and_only_there)
{
    IN_CHILD(at_release());
    IN_CHILD(at_claim());
    IN_CHILD(at_growth());
    IN_CHILD(below());
    IN_CHILD(below_it_again());
}

// The OS does not take it: so what is counted does not fall, and it is told once.
static void refused(void)
{
    start();
    char *memory = claim(SLICES);
    arena_release(memory, SLICES, true);
    fake_prim_fail_from(FAKE_PRIM_purge, 1, EINVAL);
    options_set(OPTION_memory_limit, 1);
    for (int i = 0; i < 5; i++) page_release(new_page(CLASS, 0));
    EXPECT(fake_prim_count(FAKE_PRIM_purge) >= 1 && fake_prim_count(FAKE_PRIM_purge) <= 6);
}

TEST(limit_does_not_tell_the_OS_twice) { IN_CHILD(refused()); }

static void of_system(void)
{
    start();
    fake_prim_set_limit(8 * SLICES * SLICE_BYTES); // of which we take seven eighths
    options_set(OPTION_memory_limit_hard, -1);
    EXPECT(claim(7 * SLICES) != NULL);
    EXPECT(claim(1) == NULL);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_memory_limit), 1);
}

static void without_one(void)
{
    start();
    fake_prim_fail_from(FAKE_PRIM_memory_limit, 1, ENOENT);
    options_set(OPTION_memory_limit_hard, -1);
    EXPECT(claim(SLICES) != NULL);
}

// As with all files open that the process may open.
static void not_now(void)
{
    start();
    fake_prim_set_limit(8 * SLICES * SLICE_BYTES);
    fake_prim_fail_from(FAKE_PRIM_memory_limit, 1, EMFILE);
    options_set(OPTION_memory_limit_hard, -1);
    EXPECT(claim(1) != NULL);
    fake_prim_fail_from(FAKE_PRIM_memory_limit, 0, 0);
    EXPECT(claim(7 * SLICES - 1) != NULL);
    EXPECT(claim(1) == NULL);
}

TEST(limit_of_the_system_is_asked_for_again_when_it_could_not_be_told) { IN_CHILD(not_now()); }

TEST(limit_of_the_system_is_asked_for_once)
{
    IN_CHILD(of_system());
    IN_CHILD(without_one());
}

// Many holes, none of which is in reach of one step.
static void as_much_as_is_claimed(void)
{
    enum { HOLES = 40 };
    start();
    char *memory = claim(2 * HOLES);
    for (int i = 0; i < HOLES; i++) arena_release(memory + 2 * i * SLICE_BYTES, 1, true);
    options_set(OPTION_memory_limit, HOLES * KIB_PER_SLICE);
    purge_relieve(0);
    EXPECT_EQ(purged_runs(), PURGE_STEP_RUNS);
    purge_relieve(HOLES / 2);
    EXPECT(purged_runs() > PURGE_STEP_RUNS + HOLES / 2);
    EXPECT(purged_runs() <= 2 * PURGE_STEP_RUNS + HOLES / 2);
    expect_arena_rules();
}

TEST(limit_gives_back_as_much_as_is_claimed) { IN_CHILD(as_much_as_is_claimed()); }

static void expect_purges(unsigned long count)
{
    char *memory = claim(1);
    arena_release(memory, 1, true);
    purger_tick();
    EXPECT_EQ(purged_runs(), count);
}

static void pressed(void)
{
    start();
    fake_prim_set_pressure(100);
    expect_purges(0);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_memory_pressure), 0); // nobody asked for it
    options_set(OPTION_memory_pressure, 20);
    fake_prim_set_pressure(19);
    expect_purges(0);
    fake_prim_set_pressure(20);
    expect_purges(0); // one second has not gone by
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_memory_pressure), 1);
    fake_prim_advance_clock_ms(1000);
    expect_purges(1);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_memory_pressure), 2);
    page_release(new_page(CLASS, 0)); // without a tick
    EXPECT_EQ(purged_runs(), 2);
    options_set(OPTION_memory_pressure, 0);
    expect_purges(2);
    options_set(OPTION_memory_pressure, 20);
    fake_prim_fail_from(FAKE_PRIM_memory_pressure, 1, ENOENT); // the system does not tell
    fake_prim_advance_clock_ms(1000);
    expect_purges(2);
}

TEST(limit_gives_free_memory_back_while_the_system_says_that_memory_is_short)
{
    IN_CHILD(pressed());
}
