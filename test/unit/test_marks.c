#include "unit_test.h"

static void marks(void)
{
    start_quietly();
    bool is_clean;
    (void)arena_claim(1000, SLICE_BYTES, &is_clean);
    EXPECT(marks_take(&arena_main, 5, 100) == NULL);
    marks_set(&arena_main, 5, 700);
    marks_set(&arena_main, 5, 700);
    marks_set(&arena_main, 5, 3);
    EXPECT_EQ(arena_main.mark_count[5], 2);
    EXPECT(marks_take(&arena_main, 4, 100) == NULL && marks_take(&arena_main, 6, 100) == NULL);
    EXPECT(marks_take(&arena_main, 5, 1) == arena_descriptor(&arena_main, 3)); // the latest
    marks_clear(&arena_main, 5, 3);
    EXPECT_EQ(arena_main.mark_count[5], 1);
    EXPECT(marks_take(&arena_main, 5, 5) == NULL); // it lies further on
    EXPECT(marks_take(&arena_main, 5, 10) ==
           arena_descriptor(&arena_main, 700)); // where the search goes on
    EXPECT_EQ(arena_main.mark_count[5], 0);
}

TEST(marks_are_taken_once_by_a_search_that_is_bounded_and_goes_round) { IN_CHILD(marks()); }

enum { THREADS = 4, KIND = 7, EACH = 200, ROUNDS = 50 };
static ATOMIC(unsigned) taken_marks;

static void *set_and_take(void *number)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned taken = 0;
        for (unsigned i = 0; i < EACH; i++) {
            marks_set(&arena_main, KIND,
                      (uintptr_t)number * EACH + i); // each thread its own slices
        }
        while (taken < EACH && marks_take(&arena_main, KIND, 64) != NULL) taken++;
        atomic_fetch_add_explicit(&taken_marks, taken, memory_order_relaxed);
    }
    return NULL;
}

static void hammer(void)
{
    bool is_clean;
    start_quietly();
    (void)arena_claim(THREADS * EACH, SLICE_BYTES, &is_clean);
    run_threads(THREADS, set_and_take);
    while (marks_take(&arena_main, KIND, 64) != NULL) taken_marks++;
    EXPECT(taken_marks <=
           THREADS * EACH * ROUNDS); // a mark that is set again while it lies there is one
    EXPECT_EQ(arena_main.mark_count[KIND], 0); // K1
    EXPECT_TEXT(marks_broken_rule(&arena_main), NULL);
}

TEST(marks_K1_the_count_is_exact_when_no_thread_is_at_it) { IN_CHILD(hammer()); }

static void independent(void)
{
    bool is_clean;
    start_quietly();
    (void)arena_claim(100, SLICE_BYTES, &is_clean);
    for (size_t kind = 0; kind < MARK_KINDS; kind++) marks_set(&arena_main, kind, kind % 90);
    for (size_t kind = 0; kind < MARK_KINDS; kind++) {
        EXPECT(marks_take(&arena_main, kind, 8) == arena_descriptor(&arena_main, kind % 90));
        EXPECT(marks_take(&arena_main, kind, 8) == NULL);
    }
}

static void broken(void)
{
    bool is_clean;
    start_quietly();
    (void)arena_claim(100, SLICE_BYTES, &is_clean);
    marks_set(&arena_main, KIND, 70);
    EXPECT_TEXT(marks_broken_rule(&arena_main), NULL);
    atomic_store_explicit(&arena_main.marks[1].kind[KIND], 0, memory_order_relaxed);
    EXPECT_TEXT(marks_broken_rule(&arena_main), "K1: marks are lost or miscounted");
}

TEST(marks_K1_broken_is_noticed) { IN_CHILD(broken()); }

TEST(marks_of_each_kind_are_apart_from_the_others) { IN_CHILD(independent()); }
