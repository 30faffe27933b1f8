/* startup_threads.c: what the first block of a thread costs, with 10,000 threads that stay alive.
 *
 * Models servers with a thread for each connection, where what an allocator sets up for a thread
 * weighs more than what the thread asks for. At scale 1 the program starts 10,000 threads with
 * stacks of 64 KiB. When all of them are there, and none has allocated, it reads the resident
 * memory; then each asks for one block of 100 bytes, writes to it, and keeps it; when all have done
 * so it reads the memory again. So the threads themselves, and what the C library sets up for them,
 * are not counted. At the end each thread frees its block and ends.
 *
 * Values: kib_each, resident KiB a thread for the block; base_kib_each, the same for the thread;
 * and left_kib_each, what is left of both when all threads have ended.
 *
 * One operation is a thread. --threads says how many at scale 1.
 */
#include "bench.h"

enum {
    THREADS = 10000,
    STACK_BYTES = 64 << 10,
    BLOCK_BYTES = 100,
};

static pthread_barrier_t step; // all threads and the main one

static void *allocate_once(void *argument)
{
    uintptr_t tag = (uintptr_t)argument;
    pthread_barrier_wait(&step); // all are there
    pthread_barrier_wait(&step); // the main thread has read the memory
    void *block = bench_block(malloc(BLOCK_BYTES));
    bench_mark(block, BLOCK_BYTES, tag);
    pthread_barrier_wait(&step); // all have a block
    pthread_barrier_wait(&step); // the main thread has read the memory
    bench_check(block, BLOCK_BYTES, tag);
    free(block);
    return NULL;
}

int main(int argc, char **argv)
{
    static pthread_t thread[BENCH_THREADS_MAX];
    bench_start(argc, argv, "startup-threads", THREADS);
    uint64_t wanted = bench_scaled(bench.threads, 1);
    int count = wanted < BENCH_THREADS_MAX ? (int)wanted : BENCH_THREADS_MAX;
    bench.threads = count;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    pthread_barrier_init(&step, NULL, (unsigned)count + 1);
    memset(thread, 0, sizeof thread); // resident before the first reading

    double start = bench_resident_exact_kib();
    bench_begin();
    for (int i = 0; i < count; i++) {
        int error = pthread_create(&thread[i], &small, allocate_once, (void *)(uintptr_t)i);
        if (error != 0) bench_fail(1, "no thread %d: %s", i, strerror(error));
    }
    pthread_barrier_wait(&step);
    double base = bench_resident_exact_kib();
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    double full = bench_resident_exact_kib();
    pthread_barrier_wait(&step);
    for (int i = 0; i < count; i++) pthread_join(thread[i], NULL);
    bench_end();

    bench_add_value("kib_each", "KiB", (full - base) / count);
    bench_add_value("base_kib_each", "KiB", (base - start) / count);
    bench_add_value("left_kib_each", "KiB", (bench_resident_exact_kib() - start) / count);
    return bench_finish(count);
}
