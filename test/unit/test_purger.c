// The helper's decisions, with a made-up helper that runs in this thread, on a made-up clock. That
// a real one can live is proved by api/test_background_purge.c.
#include <sys/wait.h>
#include "core/alone.h"
#include "os/fork.h"
#include "unit_test.h"

enum {
    ENOUGH = CHUNK_SLICES + 10, // more than a chunk has: purged in more than one step
    WITH_THREADS = 1,
    ALWAYS = 2,
    DELAY_MS = 100
};
static_assert((int)ENOUGH >= (int)PURGER_MIN_SLICES, "a helper starts");
static const uint64_t begin_ms = 1000000;

static char *dirty_slices(size_t count)
{
    bool is_clean;
    char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_clean);
    if (memory == NULL) abort();
    for (size_t i = 0; i < count; i++) memory[i * SLICE_BYTES] = 1;
    return memory;
}

static void give_back(size_t count) { arena_release(dirty_slices(count), count, true); }

static void start(long wanted)
{
    fake_prim_reset();
    fake_prim_set_clock_ms(begin_ms);
    fake_prim_make_up_helper();
    thread_start_process();
    options_set(OPTION_purge_delay, DELAY_MS);
    options_set(OPTION_background_purge, wanted);
    stats_add(STAT_threads, 1);
}

static unsigned long starts(void) { return fake_prim_count(FAKE_PRIM_helper_start); }
static unsigned long waits(void) { return fake_prim_count(FAKE_PRIM_wait); }

static void start_and_give_back(long wanted)
{
    start(wanted);
    give_back(ENOUGH);
    purger_consider();
}

// --- when one is started -------------------------------------------------------------------------

static void worthwhile(void)
{
    start(ALWAYS);
    give_back(PURGER_MIN_SLICES - 1);
    purger_consider();
    EXPECT_EQ(starts(), 0);
    EXPECT_EQ(alone_is_here(), prim_is_single_threaded());
    give_back(PURGER_MIN_SLICES);
    purger_consider();
    EXPECT_EQ(starts(), 1);
    EXPECT(!alone_is_here()); // the C library does not know of it
    purger_consider(); // one is enough
    EXPECT_EQ(starts(), 1);
}

TEST(purger_starts_when_enough_is_free_and_dirty) { IN_CHILD(worthwhile()); }

static void wanted(void)
{
    start_and_give_back(0);
    options_set(OPTION_background_purge, WITH_THREADS);
    purger_consider();
    EXPECT_EQ(starts(), 0);
    stats_add(STAT_threads, 1);
    options_set(OPTION_purge_delay, -1);
    purger_consider();
    EXPECT_EQ(starts(), 0);
    options_set(OPTION_purge_delay, DELAY_MS);
    purger_consider();
    EXPECT_EQ(starts(), 1);
}

TEST(purger_starts_in_a_program_with_threads_or_when_always_wanted) { IN_CHILD(wanted()); }

static void root(void)
{
    start(WITH_THREADS);
    stats_add(STAT_threads, 1);
    fake_prim_set_caller(PRIM_CALLER_ROOT);
    give_back(ENOUGH);
    purger_consider();
    EXPECT_EQ(starts(), 0);
    fake_prim_advance_clock_ms(PURGER_PAUSE_MS);
    fake_prim_set_caller(0); // it has given up its rights
    purger_consider();
    EXPECT_EQ(starts(), 1);
}

static void refused_to(long wanted, unsigned caller, unsigned long expected)
{
    start(wanted);
    stats_add(STAT_threads, 1);
    fake_prim_set_caller(caller);
    give_back(ENOUGH);
    purger_consider();
    EXPECT_EQ(starts(), expected);
}

static void elevated(void)
{
    refused_to(ALWAYS, PRIM_CALLER_ELEVATED, 0);
    fake_prim_advance_clock_ms(PURGER_PAUSE_MS);
    fake_prim_set_caller(0);
    purger_consider();
    EXPECT_EQ(starts(), 0);
}

TEST(purger_B3_inherits_nothing_that_a_program_gives_up)
{
    IN_CHILD(root());
    IN_CHILD(refused_to(ALWAYS, PRIM_CALLER_ROOT, 1)); // asked for
    IN_CHILD(refused_to(ALWAYS, PRIM_CALLER_ROOT | PRIM_CALLER_MIXED, 0));
    IN_CHILD(refused_to(WITH_THREADS, PRIM_CALLER_SCHEDULED, 0));
    IN_CHILD(elevated());
}

static void fails_for_now(int error)
{
    start(ALWAYS);
    give_back(ENOUGH);
    fake_prim_fail_once(FAKE_PRIM_helper_start, 1, error);
    purger_consider();
    purger_consider(); // not again at once
    EXPECT_EQ(starts(), 1);
    fake_prim_advance_clock_ms(PURGER_PAUSE_MS);
    purger_consider();
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper());
}

static void fails_for_good(int error)
{
    start(ALWAYS);
    give_back(ENOUGH);
    fake_prim_fail_once(FAKE_PRIM_helper_start, 1, error);
    purger_consider();
    fake_prim_advance_clock_ms(10 * PURGER_PAUSE_MS);
    purger_consider();
    EXPECT_EQ(starts(), 1);
    purger_tick(); // threads see to it then
    for (int i = 0; i < 50; i++) {
        fake_prim_advance_clock_ms(DELAY_MS);
        purger_tick();
    }
    EXPECT_EQ(arena_main.dirty_free, 0);
}

TEST(purger_tries_again_when_there_are_too_many_threads_only)
{
    IN_CHILD(fails_for_now(EAGAIN));
    IN_CHILD(fails_for_now(ENOMEM));
    IN_CHILD(fails_for_good(EPERM));
    IN_CHILD(fails_for_good(ENOSYS));
    IN_CHILD(fails_for_good(ENOTSUP));
}

// n == 1: the word of forks is refused; n == 2: the helper's memory is.
static void without_memory(unsigned long n)
{
    start(ALWAYS);
    give_back(ENOUGH);
    fake_prim_fail_once(FAKE_PRIM_map, n, ENOMEM);
    for (int i = 0; i < 10; i++) purger_consider();
    EXPECT_EQ(starts(), 0);
    fake_prim_advance_clock_ms(PURGER_PAUSE_MS);
    purger_consider();
    EXPECT_EQ(starts(), 1);
    EXPECT(fake_prim_run_helper());
}

TEST(purger_without_memory_tries_again)
{
    IN_CHILD(without_memory(1));
    IN_CHILD(without_memory(2));
}

static void without_wiping(unsigned long n)
{
    start(ALWAYS);
    give_back(ENOUGH);
    size_t mapped = fake_prim_mapped_bytes();
    fake_prim_fail_once(FAKE_PRIM_wipe_on_fork, n, EINVAL);
    purger_consider();
    unsigned long maps = fake_prim_count(FAKE_PRIM_map);
    fake_prim_advance_clock_ms(10 * PURGER_PAUSE_MS);
    for (int i = 0; i < 10; i++) purger_consider();
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_map), maps); // not at every page
    EXPECT_EQ(fake_prim_mapped_bytes(), mapped + (n - 1) * os_page_bytes());
    EXPECT_EQ(starts(), 0);
}

TEST(purger_without_memory_that_is_wiped_is_given_up)
{
    IN_CHILD(without_wiping(1));
    IN_CHILD(without_wiping(2));
}

// --- what it does --------------------------------------------------------------------------------

static void gives_back(void)
{
    start_and_give_back(ALWAYS);
    purge_goes_on = true; // a thread has made a step before it
    EXPECT(fake_prim_run_helper());
    EXPECT(!purge_has_turn(1)); // the round is not the threads' any more
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT_EQ(waits(), 2 + PURGER_IDLE_ROUNDS); // marked as aging, purged, and then it lingers
    give_back(ENOUGH);
    purger_consider();
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, 0);
}

TEST(purger_gives_back_and_ends) { IN_CHILD(gives_back()); }

static void alone(void)
{
    start_and_give_back(ALWAYS);
    for (int i = 0; i < 50; i++) {
        fake_prim_advance_clock_ms(DELAY_MS);
        purger_tick();
    }
    EXPECT_EQ(arena_main.dirty_free, ENOUGH); // it sees to it
}

TEST(purger_alone_purges) { IN_CHILD(alone()); }

static uint64_t shortened_ms;
static void shorten_delay(void)
{
    if (waits() == 3) shortened_ms = prim_clock_ms();
    if (waits() >= 3) options_set(OPTION_purge_delay, DELAY_MS);
}

static void shorter_delay(void)
{
    start(ALWAYS);
    options_set(OPTION_purge_delay, 3600 * 1000);
    give_back(ENOUGH);
    purger_consider();
    fake_prim_on(FAKE_PRIM_wait, shorten_delay);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT(shortened_ms != 0 && prim_clock_ms() - shortened_ms < 60 * 1000);
}

TEST(purger_that_waits_for_long_sees_within_a_second_that_it_need_not)
{
    IN_CHILD(shorter_delay());
}

static void give_back_for_some_rounds(void)
{
    if (waits() <= PURGER_ROUNDS) give_back(ENOUGH);
}

static void not_forgotten(void)
{
    start_and_give_back(ALWAYS);
    fake_prim_on(FAKE_PRIM_wait, give_back_for_some_rounds);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT(waits() > PURGER_ROUNDS);
}

TEST(purger_B1_leaves_nothing_behind_when_the_program_idles) { IN_CHILD(not_forgotten()); }

static void give_back_and_consider(void)
{
    give_back(ENOUGH);
    purger_consider();
}

static void stop_giving_back(void) { fake_prim_on(FAKE_PRIM_wait, NULL); }

static void replaced(long delay_ms, unsigned long most_rounds)
{
    start_and_give_back(ALWAYS);
    options_set(OPTION_purge_delay, delay_ms);
    fake_prim_on(FAKE_PRIM_wait, give_back_and_consider);
    EXPECT(fake_prim_run_helper());
    unsigned long waits_each = ((unsigned long)delay_ms + 999) / 1000; // a second at most
    EXPECT(waits() <= (most_rounds + 1) * waits_each);
    EXPECT_EQ(starts(), 2); // beside it: there always is one
    fake_prim_on(FAKE_PRIM_wait, NULL);
    purger_consider();
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper()); // the new one is young
    EXPECT_EQ(arena_main.dirty_free, 0);
}

// It stays until there is another.
static void not_replaced(void)
{
    start_and_give_back(ALWAYS);
    fake_prim_fail_from(FAKE_PRIM_helper_start, 1, EAGAIN);
    fake_prim_on(FAKE_PRIM_wait, give_back_and_consider);
    fake_prim_on(FAKE_PRIM_helper_start, stop_giving_back);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(starts(), 2);
    EXPECT_EQ(arena_main.dirty_free, 0);
}

static void one_more_generation(void)
{
    start_and_give_back(ALWAYS);
    for (unsigned i = 1; i <= 5; i++) {
        EXPECT_EQ(starts(), i);
        fake_prim_on(FAKE_PRIM_wait, give_back_and_consider);
        EXPECT(fake_prim_run_helper());
    }
}

TEST(purger_B1_is_replaced_when_it_is_old)
{
    IN_CHILD(replaced(DELAY_MS, PURGER_ROUNDS));
    IN_CHILD(replaced(PURGER_LIFE_MS / 5, 5));
    IN_CHILD(not_replaced());
    IN_CHILD(one_more_generation());
}

static void give_back_little(void) { give_back(PURGER_MIN_SLICES - 1); }

static void too_little(void)
{
    start_and_give_back(ALWAYS);
    fake_prim_on(FAKE_PRIM_wait, give_back_little);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(waits(), PURGER_ROUNDS);
    unsigned long calls = purged_runs();
    for (int i = 0; i < 50; i++) purger_tick();
    EXPECT_EQ(purged_runs(), calls); // a round has just been
    fake_prim_advance_clock_ms(DELAY_MS);
    for (int i = 0; i < 50; i++) purger_tick();
    EXPECT(purged_runs() > calls);
}

TEST(purger_B1_old_and_with_little_to_do_ends_and_the_next_round_waits) { IN_CHILD(too_little()); }

// It does not come again at every page.
static void in_vain(void)
{
    for (int i = 0; i < 10; i++) purger_consider();
    EXPECT_EQ(starts(), 1);
    fake_prim_advance_clock_ms(PURGER_VAIN_MS);
    purger_consider();
    EXPECT_EQ(starts(), 2);
}

static void told_once(void)
{
    start_and_give_back(ALWAYS);
    options_set(OPTION_reset_decommits, 0);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, ENOUGH);
    EXPECT_EQ(waits(), 2 + PURGER_IDLE_ROUNDS);
    in_vain();
}

static void pinned(void)
{
    start(ALWAYS);
    char *memory = dirty_slices(ENOUGH);
    window_set_kind(&arena_main, 0, bits_align_up(ENOUGH, CHUNK_SLICES), CHUNK_PINNED);
    arena_release(memory, ENOUGH, true);
    purger_consider();
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(waits(), PURGER_IDLE_ROUNDS);
    in_vain();
}

TEST(purger_has_nothing_to_do_when_nothing_can_be_given_back)
{
    IN_CHILD(told_once());
    IN_CHILD(pinned());
}

// --- its end -------------------------------------------------------------------------------------

static void turned_off(enum option option, long value)
{
    start_and_give_back(ALWAYS);
    options_set(option, value);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(waits(), 1);
    EXPECT_EQ(arena_main.dirty_free, ENOUGH);
}

TEST(purger_ends_when_it_is_turned_off)
{
    IN_CHILD(turned_off(OPTION_background_purge, 0));
    IN_CHILD(turned_off(OPTION_purge_delay, -1));
    IN_CHILD(turned_off(OPTION_background_purge, WITH_THREADS)); // there is one thread
}

static void run_helper(void) { (void)fake_prim_run_helper(); }

static void turn_off_in_a_step(void)
{
    fake_prim_on(FAKE_PRIM_purge, NULL);
    options_set(OPTION_background_purge, 0);
    purger_review();
}

static void between_steps(void)
{
    enum { RUNS = 4 * PURGER_MIN_SLICES };
    char *held[RUNS];
    start(ALWAYS);
    for (unsigned i = 0; i < RUNS; i++) held[i] = dirty_slices(1);
    for (unsigned i = 0; i < RUNS; i += 2) arena_release(held[i], 1, true); // no two neighbours
    purger_consider();
    fake_prim_on(FAKE_PRIM_purge, turn_off_in_a_step);
    EXPECT(fake_prim_run_helper());
    EXPECT(purged_runs() <= PURGE_STEP_RUNS);
    fake_prim_advance_clock_ms(DELAY_MS);
    purger_tick(); // goes on where it has stopped
    EXPECT(purged_runs() > PURGE_STEP_RUNS);
}

TEST(purger_ends_between_two_steps_of_a_round) { IN_CHILD(between_steps()); }

static void last_thread(void)
{
    start(WITH_THREADS);
    stats_add(STAT_threads, 1);
    give_back(ENOUGH);
    purger_consider();
    purger_review(); // there are others
    EXPECT_EQ(waits(), 0);
    stats_remove(STAT_threads, 1);
    fake_prim_on(FAKE_PRIM_wait, run_helper);
    purger_review();
    EXPECT_EQ(waits(), 2); // the other one is the helper's own
    EXPECT(!fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, ENOUGH);
}

static void last_thread_is_patient(void)
{
    start(WITH_THREADS);
    stats_add(STAT_threads, 1);
    give_back(ENOUGH);
    purger_consider();
    stats_remove(STAT_threads, 1);
    purger_review(); // the helper is not let run
    EXPECT_EQ(prim_clock_ms(), begin_ms + PURGER_PATIENCE_MS);
    unsigned long before = waits();
    EXPECT(fake_prim_run_helper()); // at last
    EXPECT_EQ(waits(), before + 1);
}

static void always_wanted(void)
{
    start_and_give_back(ALWAYS);
    purger_review();
    EXPECT_EQ(waits(), 0);
}

TEST(purger_B2_ends_before_the_last_but_one_thread)
{
    IN_CHILD(last_thread());
    IN_CHILD(last_thread_is_patient());
    IN_CHILD(always_wanted());
}

static void ended(void)
{
    start_and_give_back(ALWAYS);
    fake_prim_on(FAKE_PRIM_helper_hurry, run_helper); // it is not let run before
    purger_end();
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_helper_hurry), 1);
    EXPECT(!fake_prim_run_helper());
    fake_prim_advance_clock_ms(PURGER_PAUSE_MS);
    purger_consider();
    EXPECT_EQ(starts(), 1);
}

static void ended_before(void)
{
    start(ALWAYS);
    purger_end();
    give_back(ENOUGH);
    purger_consider();
    EXPECT_EQ(starts(), 0);
}

static void ended_in_a_start(void)
{
    start(ALWAYS);
    fake_prim_on(FAKE_PRIM_helper_start, purger_end); // as a signal handler that calls exit
    give_back(ENOUGH);
    purger_consider();
    EXPECT_EQ(starts(), 1);
}

TEST(purger_B4_ends_for_good)
{
    IN_CHILD(ended());
    IN_CHILD(ended_before());
    IN_CHILD(ended_in_a_start());
}

// --- children ------------------------------------------------------------------------------------

static void recognise(void)
{
    struct local_heap *heap = thread_ready(thread_heap());
    if (heap == NULL) abort();
    ignore_result(thread_housekeep(heap));
}

static void live_as_child(void)
{
    purger_consider(); // its first call is a free
    EXPECT_EQ(starts(), 1);
    recognise();
    purger_consider();
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(arena_main.dirty_free, 0);
}

static void forks_beside_the_helper(void)
{
    start_and_give_back(ALWAYS);
    if (test_fork()) {
        live_as_child();
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
    purger_review();
}

TEST(purger_B4_starts_in_a_child_once_it_is_recognised) { IN_CHILD(forks_beside_the_helper()); }

// In the child nobody is at it any more, though all looks as if somebody were.
static void fork_in_a_step(void)
{
    fake_prim_on(FAKE_PRIM_purge, NULL);
    if (test_fork()) {
        for (int i = 0; i < 20; i++) {
            if (i == 10) EXPECT_EQ(purged_runs(), 1); // G2
            if (i == 10) recognise();
            fake_prim_advance_clock_ms(DELAY_MS);
            purger_tick();
        }
        EXPECT(purged_runs() > 1);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

static void forks_in_a_step(void)
{
    start_and_give_back(ALWAYS);
    fake_prim_on(FAKE_PRIM_purge, fork_in_a_step);
    EXPECT(fake_prim_run_helper());
}

TEST(purge_G2_goes_on_in_a_child_once_it_is_recognised) { IN_CHILD(forks_in_a_step()); }

static void forks_while_idle(void)
{
    start(ALWAYS);
    EXPECT_EQ(fork_watch(), 0);
    give_back(ENOUGH);
    if (test_fork()) {
        for (int i = 0; i < 20; i++) {
            fake_prim_advance_clock_ms(DELAY_MS);
            purge_tick();
        }
        EXPECT_EQ(purged_runs(), 0); // G2
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

TEST(purge_G2_waits_in_a_child_until_it_is_recognised) { IN_CHILD(forks_while_idle()); }

// A round ends in the midst of the chunks when nothing is left that is free. What is freed then may
// lie below, and the helper must not take the rest of that round for one in which it found nothing.
static void cut_short(void)
{
    bool is_complete;
    start(ALWAYS);
    char *memory = dirty_slices(ENOUGH);
    arena_main.purge_cursor = window_mapped_chunks(&arena_main);
    EXPECT(!purge_step_now(true, &is_complete) && is_complete);
    arena_release(memory, ENOUGH, true);
    EXPECT(purge_step_now(true, &is_complete));
    while (!is_complete) ignore_result(purge_step_now(false, &is_complete));
    EXPECT(purge_step_now(true, &is_complete)); // now it is old enough
}

TEST(purger_round_begins_with_the_first_chunk) { IN_CHILD(cut_short()); }
