/* xmalloc_test.c: half of the threads only allocate, the other half only free.
 *
 * Models: `xmalloc-test` (C. Lever and D. Boreham, "malloc() Performance in a Multithreaded Linux
 * Environment", FREENIX at USENIX 2000), as mimalloc's suite runs it: objects of 64 bytes,
 * collected in batches of 4096 pointers, a batch being a block of some 32 KiB itself; batches go
 * through one list, of at most 100, that all threads share. Every object is freed by another
 * thread than the one that asked for it, which is the worst case of allocators with a cache for
 * each thread.
 *
 * Differs: the number of objects is fixed, not the time, because at fixed time a faster allocator
 * makes more objects and needs more memory: 1000 batches for each allocating thread at scale 1,
 * with more threads than CPUs as much less as there are more. Freeing begins when the list is full
 * for the first time, so that the most there is at once, some 29 MB, is the same whichever side is
 * ahead later; in runs of fewer than 200 batches the list holds half of them. N threads are N / 2
 * of each kind, an odd one frees; fewer than two become two. Objects are marked at both ends, and
 * checked.
 *
 * One operation is one object, from its malloc to its free.
 */
#include "bench.h"

enum {
    OBJECT_BYTES = 64,
    OBJECTS_PER_BATCH = 4096,
    BATCHES_PER_MAKER = 1000,
    MAX_IN_FLIGHT = 100,
};

struct batch {
    struct batch *next;
    void *object[OBJECTS_PER_BATCH];
};

// The list between the two kinds, first in first out.
static struct {
    pthread_mutex_t lock; // guards the rest
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    struct batch *first;
    struct batch *last;
    uint64_t count;
    int makers;      // still at work
    bool has_filled; // it was full once
} list = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .not_empty = PTHREAD_COND_INITIALIZER,
          .not_full = PTHREAD_COND_INITIALIZER};

static uint64_t batches_per_maker; // [const]
static uint64_t max_in_flight;     // [const] batches in the list
static int makers;                 // [const] threads below this number allocate
static uint64_t *objects_freed;    // [const] pointer; each thread has its counter

static void list_push(struct batch *batch)
{
    batch->next = NULL;
    pthread_mutex_lock(&list.lock);
    while (list.count == max_in_flight) pthread_cond_wait(&list.not_full, &list.lock);
    if (list.first == NULL) {
        list.first = batch;
    } else {
        list.last->next = batch;
    }
    list.last = batch;
    list.count++;
    if (list.has_filled) {
        pthread_cond_signal(&list.not_empty);
    } else if (list.count == max_in_flight) {
        list.has_filled = true;
        pthread_cond_broadcast(&list.not_empty);
    }
    pthread_mutex_unlock(&list.lock);
}

// NULL when the list is empty and stays so.
static struct batch *list_pop(void)
{
    pthread_mutex_lock(&list.lock);
    while ((list.count == 0 || !list.has_filled) && list.makers > 0) {
        pthread_cond_wait(&list.not_empty, &list.lock);
    }
    struct batch *batch = list.first;
    if (batch != NULL) {
        list.first = batch->next;
        list.count--;
        pthread_cond_signal(&list.not_full);
    }
    pthread_mutex_unlock(&list.lock);
    return batch;
}

static void list_maker_done(void)
{
    pthread_mutex_lock(&list.lock);
    list.makers--;
    pthread_cond_broadcast(&list.not_empty);
    pthread_mutex_unlock(&list.lock);
}

static void maker_run(void)
{
    for (uint64_t done = 0; bench_more(done, batches_per_maker); done++) {
        struct batch *batch = bench_block(malloc(sizeof *batch));
        for (uint64_t i = 0; i < OBJECTS_PER_BATCH; i++) {
            batch->object[i] = bench_block(malloc(OBJECT_BYTES));
            bench_mark(batch->object[i], OBJECT_BYTES, (uintptr_t)batch + i);
        }
        list_push(batch);
    }
    list_maker_done();
}

static uint64_t freer_run(void)
{
    uint64_t freed = 0;
    for (struct batch *batch = list_pop(); batch != NULL; batch = list_pop()) {
        for (uint64_t i = 0; i < OBJECTS_PER_BATCH; i++) {
            bench_check(batch->object[i], OBJECT_BYTES, (uintptr_t)batch + i);
            free(batch->object[i]);
        }
        free(batch);
        freed += OBJECTS_PER_BATCH;
    }
    return freed;
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    if (number < makers) {
        maker_run();
    } else {
        objects_freed[number] = freer_run();
    }
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "xmalloc-test", 2);
    if (bench.threads < 2) bench.threads = 2;
    makers = list.makers = bench.threads / 2;
    batches_per_maker = bench_scaled_each(BATCHES_PER_MAKER, 1);
    max_in_flight = bench_round((uint64_t)makers * batches_per_maker, MAX_IN_FLIGHT, 2);
    objects_freed = bench_block(calloc((size_t)bench.threads, sizeof *objects_freed));

    bench_begin();
    bench_run_threads(bench.threads, thread_run, NULL);
    bench_end();
    uint64_t freed = 0;
    for (int i = 0; i < bench.threads; i++) freed += objects_freed[i];
    free(objects_freed);
    if (bench.seconds == 0) {
        bench_expect(freed == (uint64_t)makers * batches_per_maker * OBJECTS_PER_BATCH);
    }
    return bench_finish((double)freed);
}
