/* stress_churn.c: threads begin and end all the time; their blocks outlive them and are freed by
 * others. Memory stays bounded by what is live, however many threads there were. */
#include "stress.h"
#include "../support/process_info.h"

enum { SHARED_COUNT = 4000, RESIDENT_LIMIT_KIB = 48 * 1024 };

static struct item *shared[SHARED_COUNT];
static struct stress_options options;
static size_t generation; // [any] atomic: numbers the threads

static void *live_shortly(void *arg)
{
    size_t number = __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED);
    struct test_random random = stress_random(&options, number);
    (void)arg;
    for (size_t i = 0; i < 150; i++) {
        struct item *item =
            item_new(random_below(&random, i % 30 == 0 ? 20000 : 700), random_next(&random));
        EXPECT(item != NULL);
        if (i % 3 == 0)
            item_free(item);
        else
            item_free(slot_exchange(&shared[random_below(&random, SHARED_COUNT)], item));
    }
    return NULL;
}

// Each of these keeps one short-lived thread running after the other.
static void *run_generations(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < options.ops; i++) {
        pthread_t thread;
        bool is_started = pthread_create(&thread, NULL, live_shortly, NULL) == 0;
        EXPECT(is_started);
        if (is_started) pthread_join(thread, NULL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 4, 1200);
    stress_run_threads(options.threads, run_generations);
    size_t busy_kib = process_resident_kib();
    for (size_t i = 0; i < SHARED_COUNT; i++) item_free(slot_exchange(&shared[i], NULL));
    mi_collect(true);
    size_t idle_kib = process_resident_kib();
    if (TEST_RESIDENT_TELLS && !TEST_IS_DEBUG) {
        EXPECT(busy_kib < RESIDENT_LIMIT_KIB);
        EXPECT(idle_kib < RESIDENT_LIMIT_KIB / 2);
    }
    if (test_failures() > 0)
        fprintf(stderr, "%zu KiB resident, %zu when all is freed\n", busy_kib, idle_kib);
    return stress_result(argv[0], &options);
}
