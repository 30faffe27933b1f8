#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "core/stats.h"
#include "../support/test.h"
#include <pthread.h>

static int64_t read_word(ATOMIC(int64_t) *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void expect_level(enum stats_level_id id, int64_t current, int64_t peak, int64_t added,
                         int64_t removed)
{
    struct stats_level *level = &stats_process()->level[id];
    EXPECT_EQ(read_word(&level->current), current);
    EXPECT_EQ(read_word(&level->peak), peak);
    EXPECT_EQ(read_word(&level->added), added);
    EXPECT_EQ(read_word(&level->removed), removed);
}

static uint64_t counter(enum stats_counter_id id)
{
    return atomic_load_explicit(&stats_process()->counter[id], memory_order_relaxed);
}

TEST(stats_start_at_zero)
{
    for (int id = 0; id < STATS_LEVEL_COUNT; id++) {
        expect_level((enum stats_level_id)id, 0, 0, 0, 0);
    }
    for (int id = 0; id < STATS_COUNTER_COUNT; id++) {
        EXPECT_EQ(counter((enum stats_counter_id)id), 0);
    }
}

TEST(S1_S2_a_level_keeps_current_peak_and_totals)
{
    stats_add(STAT_pages, 5);
    stats_remove(STAT_pages, 3);
    expect_level(STAT_pages, 2, 5, 5, 3);
    stats_add(STAT_pages, 2);
    expect_level(STAT_pages, 4, 5, 7, 3);
    stats_add(STAT_pages, 4);
    expect_level(STAT_pages, 8, 8, 11, 3);
}

TEST(stats_reset_starts_anew_at_the_current_values_and_keeps_S1)
{
    stats_reset();
    stats_count(COUNT_faults, 2);
    stats_reset();
    expect_level(STAT_pages, 8, 8, 8, 0);
    EXPECT_EQ(counter(COUNT_faults), 0);
    stats_remove(STAT_pages, 8);
    expect_level(STAT_pages, 0, 8, 8, 8);
}

TEST(stats_counters_only_grow)
{
    stats_count(COUNT_mmap_calls, 1);
    stats_count(COUNT_mmap_calls, 41);
    EXPECT_EQ(counter(COUNT_mmap_calls), 42);
    EXPECT_EQ(counter(COUNT_munmap_calls), 0);
}

static void *add_and_remove(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        stats_add(STAT_large, 3);
        stats_count(COUNT_large_blocks, 1);
        stats_remove(STAT_large, 3);
    }
    return arg;
}

TEST(S1_S2_hold_when_threads_count_at_the_same_time)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, add_and_remove, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    int64_t peak = read_word(&stats_process()->level[STAT_large].peak);
    EXPECT(peak >= 3 && peak <= 3 * THREADS);
    expect_level(STAT_large, 0, peak, 60000 * THREADS, 60000 * THREADS);
    EXPECT_EQ(counter(COUNT_large_blocks), 20000 * THREADS);
}

static int64_t seen_by_others(enum stats_level_id id)
{
    return read_word(&stats_process()->level[id].current);
}

// One step of two threads that take turns.
static pthread_barrier_t turn;

static __thread struct stats_tally *tally_now;
static struct stats_tally *find_tally(void) { return tally_now; }

static void *tally(void *arg)
{
    struct stats_tally mine;
    memset(&mine, 0, sizeof mine);
    tally_now = &mine;
    stats_add(STAT_pages, 5);
    stats_remove(STAT_pages, 3);
    stats_count(COUNT_page_extends, 7);
    pthread_barrier_wait(&turn); // nothing of it can be seen
    pthread_barrier_wait(&turn);
    for (int i = 3; i < STATS_BATCH; i++) stats_count(COUNT_page_claims, 1);
    pthread_barrier_wait(&turn); // all of it can
    pthread_barrier_wait(&turn);
    stats_add(STAT_pages, 4);
    EXPECT_EQ(seen_by_others(STAT_pages), 6); // by itself at once
    stats_remove(STAT_pages, 6);
    stats_add_tally(&mine);
    tally_now = NULL;
    stats_add(STAT_pages_parked, 1); // without one
    return arg;
}

TEST(S3_a_tally_is_added_when_it_is_full_and_when_its_thread_ends)
{
    pthread_t thread;
    stats_reset();
    stats_set_tally_finder(find_tally);
    EXPECT_EQ(pthread_barrier_init(&turn, NULL, 2), 0);
    EXPECT_EQ(pthread_create(&thread, NULL, tally, NULL), 0);
    pthread_barrier_wait(&turn);
    expect_level(STAT_pages, 0, 0, 0, 0);
    EXPECT_EQ(counter(COUNT_page_extends), 0);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    expect_level(STAT_pages, 2, 5, 5, 3);
    EXPECT_EQ(counter(COUNT_page_extends), 7);
    EXPECT_EQ(counter(COUNT_page_claims), STATS_BATCH - 3);
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    expect_level(STAT_pages, 0, 6, 9, 9);
    expect_level(STAT_pages_parked, 1, 1, 1, 0);
    stats_remove(STAT_pages_parked, 1);
    pthread_barrier_destroy(&turn);
}

TEST(S1_S2_broken_are_noticed)
{
    struct stats_level level = {5, 8, 11, 6};
    EXPECT_TEXT(stats_broken_rule(&level), NULL);
    level.removed = 5;
    EXPECT_TEXT(stats_broken_rule(&level), "S1: the totals do not make the current value");
    level.removed = 6;
    level.peak = 4;
    EXPECT_TEXT(stats_broken_rule(&level), "S2: the peak is below the current value");
}
