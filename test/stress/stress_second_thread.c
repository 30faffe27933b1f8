/* stress_second_thread.c: a process of one thread, whose shared data is changed without locked
 * instructions (core/alone.h), gets a second one in the midst of its work.
 *
 * Each round is a child process, since what was started once counts for good. Alone it fills a
 * table and replaces items, so that pages are left in all states; then threads start, one after the
 * other, while it goes on, and all of them take items out of the same table and put others there.
 */
#include "stress.h"
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 3000, ROUNDS = 20, CHILD_FAILED = 1 };

static struct stress_options options;
static struct item *slots[SLOTS];
static size_t round_number;

static void replace_one(struct test_random *random)
{
    // few of more than a page's length: what is parked are pages of many blocks
    size_t kind = random_below(random, 100), most = kind < 50 ? 600 : kind < 98 ? 9000 : 200000;
    struct item *item = random_below(random, 3) == 0
                            ? NULL : item_new(random_below(random, most), random_next(random));
    item_free(slot_exchange(&slots[random_below(random, SLOTS)], item));
}

static void replace(size_t thread, size_t count)
{
    size_t seed = round_number * 2 * STRESS_MAX_THREADS + thread;
    struct test_random random = stress_random(&options, seed);
    for (size_t i = 0; i < count; i++) replace_one(&random);
}

static void *run_other(void *number)
{
    replace(1 + (size_t)(uintptr_t)number, options.ops);
    return NULL;
}

static void run_round(void)
{
    pthread_t others[STRESS_MAX_THREADS];
    replace(0, 3 * SLOTS);
    size_t started = 0;
    while (started < options.threads &&
           pthread_create(&others[started], NULL, run_other, (void *)(uintptr_t)started) == 0) {
        replace(STRESS_MAX_THREADS + started, options.ops / options.threads);
        started++;
    }
    EXPECT(started == options.threads);
    for (size_t i = 0; i < started; i++) pthread_join(others[i], NULL);
    for (size_t i = 0; i < SLOTS; i++) item_free(slot_exchange(&slots[i], NULL));
    mi_collect(true);
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 3, 6000);
    for (round_number = 0; round_number < ROUNDS; round_number++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) {
            int before = test_failures();
            run_round();
            _exit(test_failures() == before ? 0 : CHILD_FAILED);
        }
        EXPECT(child > 0 && waitpid(child, &status, 0) == child);
        EXPECT(status == 0);
    }
    return stress_result(argv[0], &options);
}
