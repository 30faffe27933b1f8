#include "unit_test.h"
#include "mimalloc.h"

/* How many OS calls one call of the allocator makes. doc/design.md states these bounds; here they
 * are counted over long random runs, after the thread has started:
 *
 *   free                 a purge step (every 16th page that becomes empty), an unguard in a secure
 *                        build, a map where memory was moved
 *   malloc, realloc, ... the same, one growth (a map, advice, one access for each part of the side
 *                        memory), a guard, and the move of a block
 */
enum {
    SLOTS = 500,
    ROUNDS = 30000,
    MOST_FREE_CALLS = PURGE_STEP_CALLS + 2,
    MOST_CALLS = MOST_FREE_CALLS + 7 + 2 + 1
};

static unsigned long os_calls(void)
{
    unsigned long count = 0;
    for (int call = FAKE_PRIM_map; call <= FAKE_PRIM_wipe_on_fork; call++)
        count += fake_prim_count((enum fake_prim_call)call);
    return count;
}

struct work {
    unsigned long malloc_calls, free_calls, resize_calls;
};

static void note(unsigned long *most, unsigned long before)
{
    unsigned long calls = os_calls() - before;
    if (calls > *most) *most = calls;
}

static size_t random_size(uint64_t *random)
{
    size_t bytes = (size_t)1 << test_random(random) % 23;
    return bytes + test_random(random) % bytes;
}

static void random_call(void **slot, uint64_t *random, struct work *work)
{
    unsigned long before = os_calls();
    if (*slot == NULL) {
        *slot = test_random(random) % 2 == 0 ? mi_malloc(random_size(random))
                                             : mi_calloc(1, random_size(random));
        note(&work->malloc_calls, before);
    } else if (test_random(random) % 4 == 0) {
        *slot = mi_realloc(*slot, random_size(random));
        note(&work->resize_calls, before);
    } else {
        mi_free(*slot);
        *slot = NULL;
        note(&work->free_calls, before);
    }
}

static void random_run(void)
{
    static void *slots[SLOTS];
    struct work work = {0, 0, 0};
    uint64_t random = test_seed();
    start_quietly();
    fake_prim_set_clock_ms(1000000);
    mi_free(mi_malloc(1));
    for (unsigned i = 0; i < ROUNDS; i++) {
        random_call(&slots[test_random(&random) % SLOTS], &random, &work);
        if (i % 16 == 0) fake_prim_advance_clock_ms(40);
    }
    printf("most OS calls in one call: malloc %lu, realloc %lu, free %lu\n", work.malloc_calls,
           work.resize_calls, work.free_calls);
    EXPECT(work.malloc_calls <= MOST_CALLS);
    EXPECT(work.resize_calls <= MOST_CALLS);
    EXPECT(work.free_calls <= MOST_FREE_CALLS);
    fflush(stdout);
}

TEST(bounds_of_work_hold_over_a_long_random_run) { IN_CHILD(random_run()); }

static void *free_all(void *slots)
{
    struct work work = {0, 0, 0};
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned long before = os_calls();
        mi_free(((void **)slots)[i]);
        if (i != 0) note(&work.free_calls, before); // the first one starts the thread
    }
    EXPECT(work.free_calls <=
           MOST_FREE_CALLS * RING_SLOTS); // a flush may release a page for each slot
    return NULL;
}

static void remote_run(void)
{
    static void *slots[SLOTS];
    uint64_t random = 3;
    start_quietly();
    for (unsigned i = 0; i < SLOTS; i++) slots[i] = mi_malloc(random_size(&random) % 100000);
    run_thread(free_all, slots);
}

TEST(bounds_of_work_hold_for_frees_of_other_threads_blocks) { IN_CHILD(remote_run()); }

static void small_only(void)
{
    static void *slots[4 * SLOTS];
    start_quietly();
    mi_free(mi_malloc(1));
    unsigned long before = os_calls();
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < 100; i++) slots[i] = mi_malloc(i * 8);
        for (unsigned i = 0; i < 100; i++) mi_free(slots[i]);
    }
    EXPECT(os_calls() - before <
           200); // pages of each class once, and no call for what comes and goes
}

TEST(bounds_of_work_steady_use_asks_the_OS_for_nothing) { IN_CHILD(small_only()); }
