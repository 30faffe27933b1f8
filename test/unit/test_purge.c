#include "unit_test.h"
#include "mimalloc.h"

enum { SLICES = 10 };
static const uint64_t begin_ms = 1000000;

static char *dirty_slices(size_t count)
{
    bool is_clean;
    char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_clean);
    if (memory == NULL) abort();
    for (size_t i = 0; i < count; i++) memory[i * SLICE_BYTES] = 1;
    return memory;
}

static void start(long delay_ms)
{
    fake_prim_reset();
    fake_prim_set_clock_ms(begin_ms);
    thread_start_process();
    options_set(OPTION_purge_delay, delay_ms);
}

// One whole round, in as many steps as it takes.
static void purge_round(void)
{
    fake_prim_advance_clock_ms(101);
    for (int i = 0; i < 100; i++) purge_tick();
}

static void two_rounds(void)
{
    start(100);
    char *memory = dirty_slices(SLICES);
    purge_round();
    arena_release(memory, SLICES, true);
    EXPECT_EQ(arena_main.dirty_free, SLICES);
    purge_round();
    EXPECT_EQ(memory[0], 1); // not at its first round
    purge_round();
    EXPECT(memory[0] == 0 && memory[(SLICES - 1) * SLICE_BYTES] == 0);
    EXPECT_EQ(purged_runs(), 1); // neighbours in one call
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT_EQ(level_now(STAT_committed), 0);
    purge_round();
    EXPECT_EQ(purged_runs(), 1);
    expect_arena_rules();
}

TEST(purge_gives_back_after_two_rounds_and_not_after_one) { IN_CHILD(two_rounds()); }

static void reused(void)
{
    start(100);
    for (int i = 0; i < 6; i++) {
        char *memory = dirty_slices(SLICES);
        arena_release(memory, SLICES, true);
        purge_round();
        memory = dirty_slices(SLICES); // A3: it is young again
        arena_release(memory, SLICES, true);
        EXPECT_EQ(purged_runs(), 0);
    }
}

TEST(purge_keeps_what_is_reused_within_a_delay) { IN_CHILD(reused()); }

static void delays(void)
{
    start(-1);
    arena_release(dirty_slices(SLICES), SLICES, true);
    for (int i = 0; i < 5; i++) purge_round();
    EXPECT_EQ(purged_runs(), 0); // never
    options_set(OPTION_purge_delay, 0);
    purge_tick();
    EXPECT_EQ(purged_runs(), 1); // at once
    options_set(OPTION_purge_delay, 1000);
    arena_release(dirty_slices(SLICES), SLICES, true);
    for (int i = 0; i < 9; i++) purge_round();
    EXPECT_EQ(purged_runs(), 1);
    for (int i = 0; i < 20; i++) purge_round();
    EXPECT_EQ(purged_runs(), 2);
}

TEST(purge_delay_is_kept) { IN_CHILD(delays()); }

// Also one that is chosen after a round with a long one; and when a helper's clock was far ahead.
static void shorter_delay(uint64_t round_ms)
{
    start(3600 * 1000);
    fake_prim_set_clock_ms(round_ms);
    arena_release(dirty_slices(SLICES), SLICES, true);
    for (int i = 0; i < 100; i++) purge_tick(); // a round that finds them young
    fake_prim_set_clock_ms(begin_ms);
    options_set(OPTION_purge_delay, 100);
    purge_round();
    EXPECT_EQ(purged_runs(), 1);
}

TEST(purge_delay_that_becomes_shorter_counts_at_once)
{
    IN_CHILD(shorter_delay(begin_ms + 3600 * 1000));
    IN_CHILD(shorter_delay(begin_ms * 1000));
}

static void fails(void)
{
    start(100);
    char *memory = dirty_slices(SLICES);
    arena_release(memory, SLICES, true);
    fake_prim_fail_from(FAKE_PRIM_purge, 1, EINVAL);
    for (int i = 0; i < 4; i++) purge_round();
    EXPECT(memory[0] == 1 && arena_main.dirty_free == SLICES);
    EXPECT_EQ(purge_all(), 0);
    fake_prim_fail_from(FAKE_PRIM_purge, 0, 0);
    EXPECT_EQ(purge_all(), SLICES * SLICE_BYTES);
    EXPECT_EQ(memory[0], 0);
    EXPECT_EQ(used_slices(), 0); // nothing stayed taken away
}

TEST(purge_that_the_OS_refuses_leaves_the_slices_dirty_and_free) { IN_CHILD(fails()); }

static void reset_only(void)
{
    start(100);
    options_set(OPTION_reset_decommits, 0);
    arena_release(dirty_slices(SLICES), SLICES, true);
    EXPECT_EQ(purge_all(), 0); // what is reset may come back
    bool is_clean = true;
    EXPECT(arena_claim(1, SLICE_BYTES, &is_clean) != NULL && !is_clean);
}

TEST(purge_by_reset_promises_no_zeroes) { IN_CHILD(reset_only()); }

static void reset_once(void)
{
    start(100);
    options_set(OPTION_reset_decommits, 0);
    arena_release(dirty_slices(SLICES), SLICES, true);
    for (int i = 0; i < 9; i++) purge_round();
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_reset), 1);
    arena_release(dirty_slices(SLICES), SLICES, true); // used again, so told again
    for (int i = 0; i < 9; i++) purge_round();
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_reset), 2);
}

TEST(purge_by_reset_tells_the_OS_once) { IN_CHILD(reset_once()); }

static void bounded_calls(void)
{
    enum { RUNS = 400 };
    char *held[RUNS];
    start(100);
    for (unsigned i = 0; i < RUNS; i++) held[i] = dirty_slices(1);
    for (unsigned i = 0; i < RUNS; i += 2) arena_release(held[i], 1, true); // no two neighbours
    purge_round();
    fake_prim_advance_clock_ms(101);
    unsigned steps = 0;
    for (; arena_main.dirty_free != 0 && steps < 1000; steps++) {
        unsigned long before = purged_runs();
        if (steps % 50 == 49) fake_prim_advance_clock_ms(101);
        purge_tick();
        EXPECT(purged_runs() - before <= PURGE_STEP_RUNS);
    }
    EXPECT(steps < 1000); // all of it in the end
    EXPECT_EQ(purged_runs(), RUNS / 2);
}

TEST(purge_step_makes_a_bounded_number_of_calls_and_the_rest_is_not_forgotten)
{
    IN_CHILD(bounded_calls());
}

static void bounded_chunks(void)
{
    start(100);
    size_t slices = (size_t)CHUNK_SLICES * (PURGE_STEP_CHUNKS * 3);
    char *memory = dirty_slices(slices);
    arena_release(memory, slices, true);
    fake_prim_advance_clock_ms(101);
    purge_tick();
    EXPECT_EQ(arena_main.purge_cursor, PURGE_STEP_CHUNKS);
    purge_tick();
    EXPECT_EQ(arena_main.purge_cursor, 2 * PURGE_STEP_CHUNKS);
}

TEST(purge_step_visits_a_bounded_number_of_chunks) { IN_CHILD(bounded_chunks()); }

static void claim_meanwhile(void)
{
    fake_prim_on(FAKE_PRIM_purge, NULL);
    char *memory = dirty_slices(1);
    EXPECT_EQ(arena_slice_of(&arena_main, memory), CHUNK_SLICES); // the first chunk has none now
}

static void hint(void)
{
    start(-1);
    char *memory = dirty_slices(2 * CHUNK_SLICES);
    arena_release(memory, CHUNK_SLICES, true);
    arena_release(memory + CHUNK_BYTES, 1, true);
    fake_prim_on(FAKE_PRIM_purge, claim_meanwhile);
    (void)purge_all();
    EXPECT_EQ(arena_main.first_free, 0);
    EXPECT(dirty_slices(1) == memory);
}

TEST(purge_gives_back_what_the_next_claim_finds) { IN_CHILD(hint()); }

// --- a claim while another thread purges all that is free ----------------------------------------

static pthread_t purge_other;
static ATOMIC(bool) purge_other_waits, purge_other_ends;

static void note_wait(void)
{
    atomic_store_explicit(&purge_other_waits, true, memory_order_release);
}

static void *allocate(void *unused)
{
    EXPECT(mi_malloc(20 * SLICE_BYTES) != NULL);
    atomic_store_explicit(&purge_other_ends, true, memory_order_release);
    return unused;
}

static void start_other(void)
{
    fake_prim_on(FAKE_PRIM_purge, NULL);
    fake_prim_on(FAKE_PRIM_wait, note_wait);
    if (pthread_create(&purge_other, NULL, allocate, NULL) != 0) abort();
    while (!atomic_load_explicit(&purge_other_waits, memory_order_acquire) &&
           !atomic_load_explicit(&purge_other_ends, memory_order_acquire))
        sched_yield();
}

static void in_hand(void (*purge)(void))
{
    start(0);
    options_set(OPTION_show_errors, 0);
    char *memory = dirty_slices(50);
    arena_release(memory, 50, true);
    options_set(OPTION_disallow_os_alloc, 1);
    fake_prim_on(FAKE_PRIM_purge, start_other);
    purge();
    pthread_join(purge_other, NULL);
    EXPECT(atomic_load_explicit(&purge_other_waits, memory_order_relaxed));
}

static void purge_everything(void) { (void)purge_all(); }

TEST(purge_of_all_that_is_free_does_not_make_another_thread_s_malloc_fail)
{
    IN_CHILD(in_hand(purge_tick));
    IN_CHILD(in_hand(purge_everything));
}

static void nobody_to_wait_for(void)
{
    start(100);
    arena_release(dirty_slices(SLICES), SLICES, true);
    uint32_t search = purge_search_begins();
    EXPECT(!purge_wait_for_others(&search));
    (void)purge_all();
    EXPECT(purge_wait_for_others(&search)); // since the search began
    EXPECT(!purge_wait_for_others(&search));
    purge_after_fork();
    EXPECT(!purge_wait_for_others(&search));
}

TEST(purge_is_waited_for_only_while_it_goes_on) { IN_CHILD(nobody_to_wait_for()); }

static void *claimer(void *number)
{
    uint64_t random = (uintptr_t)number + 1;
    char self = (char)((uintptr_t)number + 1);
    for (int i = 0; i < 4000; i++) {
        bool is_clean, touches = test_random(&random) % 2 == 0;
        size_t count = 1 + test_random(&random) % 5;
        char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_clean);
        if (is_clean) EXPECT_EQ(memory[0], 0);      // A4
        if (touches || !is_clean) memory[0] = self; // G1: nobody takes it away from under us
        EXPECT(!touches || memory[0] == self);
        arena_release(memory, count, touches || !is_clean);
        (void)purge_all();
    }
    return NULL;
}

static void hammer(void)
{
    start(-1);
    run_threads(4, claimer);
    (void)purge_all();
    EXPECT_EQ(arena_main.dirty_free, 0); // did not run below 0 either
    EXPECT_EQ(level_now(STAT_committed), 0);
    EXPECT_EQ(used_slices(), 0);
}

TEST(purge_G1_never_touches_claimed_slices_and_counts_exactly) { IN_CHILD(hammer()); }

static void *release_clean(void *unused)
{
    for (int i = 0; i < 20000; i++) { // moved away: comes back clean although it was dirty
        bool is_clean;
        char *memory = (char *)arena_claim(1, SLICE_BYTES, &is_clean);
        if (!is_clean && !os_purge(memory, SLICE_BYTES)) abort();
        arena_release(memory, 1, unused != NULL && i % 2 == 0);
        if (unused != NULL) (void)purge_all();
    }
    return NULL;
}

static void clean_races(void)
{
    start(-1);
    run_threads(2, release_clean);
    (void)purge_all();
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT_EQ(level_now(STAT_committed), 0);
}

TEST(purge_does_not_count_what_came_back_clean_meanwhile) { IN_CHILD(clean_races()); }
