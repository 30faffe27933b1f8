/* cache_lines.h: each thread writes into one small block of its own, again and again.
 *
 * Models: cache-scratch and cache-thrash of E. Berger, K. McKinley, R. Blumofe and P. Wilson,
 * "Hoard: A Scalable Memory Allocator for Multithreaded Applications", ASPLOS 2000. An allocator
 * that gives parts of one cache line to two threads makes them wait for each other at every write
 * (false sharing):
 *   - active (cache-thrash): it splits a line between requests of different threads;
 *   - passive (cache-scratch): the main thread allocated blocks in one line, for its own reasons,
 *     and handed one to each thread. What counts is whether a block that a thread frees is given
 *     out to that thread again, with its neighbour still in use.
 *
 * So each thread (passive: frees the block it got, then) allocates 1000 times a block of 8 bytes,
 * writes into it and reads from it, and frees it. The threads share 4e9 writes at scale 1, so that
 * with N CPUs it takes an N-th of the time that one thread needs, unless lines are shared.
 *
 * Differs: what was written is checked at the end of each block. Threads begin together and live
 * until the last one has done its part. "shared" says without a clock what happened: of how many
 * blocks the cache line held a block of another thread, too. Compare the time only where "shared"
 * differs: what a shared line costs depends on the machine.
 *
 * One operation is one block: a malloc, its writes and a free.
 */
#ifndef WORKLOADS_CACHE_LINES_H
#define WORKLOADS_CACHE_LINES_H
#include "bench.h"

enum {
    LINES_ROUNDS = 1000,
    LINES_PASSES_PER_ROUND = 4000000, // of all threads together
    LINES_BLOCK_BYTES = 8,
    LINES_BYTES = 64,
};

// Where a block was. An array of LINES_ROUNDS is written by its thread alone.
struct lines_place {
    uintptr_t line;
    int thread;
};

struct lines_work {
    uint64_t passes;           // in a round, by each thread
    void **inherited;          // by number of thread; NULL: none
    struct lines_place *place; // [threads][LINES_ROUNDS]; line 0: not used
    uint64_t *rounds;          // by number of thread: how many it did
    pthread_barrier_t together;
};

static inline void *lines_block(void) { return bench_block(malloc(LINES_BLOCK_BYTES)); }

// Writes one half of the block and reads the other, `passes` times. volatile: in memory, as a
// larger program would. Not one counter, since it depends on the processor how soon a load may
// follow a store to the same place; and in a cache line of its own, since a loop this small takes
// twice as long across the border of two.
__attribute__((noinline, aligned(64))) static void lines_use(volatile uint32_t *half,
                                                             uint64_t passes)
{
    uint64_t sum = 0;
    half[1] = 3;
    for (uint64_t pass = 0; pass < passes; pass++) {
        half[0] = (uint32_t)pass;
        sum += half[1];
    }
    bench_expect(half[0] == (uint32_t)(passes - 1));
    bench_expect(sum == 3 * passes);
}

static inline void lines_thread(int number, void *argument)
{
    struct lines_work *work = (struct lines_work *)argument;
    struct lines_place *place = work->place + (size_t)number * LINES_ROUNDS;
    pthread_barrier_wait(&work->together);
    if (work->inherited != NULL) free(work->inherited[number]);
    for (uint64_t round = 0; bench_more(round, LINES_ROUNDS); round++) {
        void *block = lines_block();
        lines_use((volatile uint32_t *)block, work->passes);
        place[round % LINES_ROUNDS].line = (uintptr_t)block / LINES_BYTES;
        place[round % LINES_ROUNDS].thread = number;
        free(block);
        work->rounds[number] = round + 1;
    }
    pthread_barrier_wait(&work->together);
}

static inline int lines_order(const void *left, const void *right)
{
    const struct lines_place *a = (const struct lines_place *)left;
    const struct lines_place *b = (const struct lines_place *)right;
    if (a->line != b->line) return a->line < b->line ? -1 : 1;
    return (a->thread > b->thread) - (a->thread < b->thread);
}

// Percent of the blocks in whose line there was a block of another thread.
static inline double lines_shared(struct lines_place *place, size_t count)
{
    size_t shared = 0, unused = 0;
    qsort(place, count, sizeof *place, lines_order);
    while (unused < count && place[unused].line == 0) unused++;
    for (size_t first = unused, end; first < count; first = end) {
        for (end = first + 1; end < count && place[end].line == place[first].line;) end++;
        if (place[first].thread != place[end - 1].thread) shared += end - first;
    }
    return 100 * (double)shared / (double)(count - unused);
}

static inline int lines_main(int argc, char **argv, const char *name, bool passive)
{
    bench_start(argc, argv, name, 2);
    size_t threads = (size_t)bench.threads;
    size_t places = threads * LINES_ROUNDS;
    struct lines_work work = {
        .passes = bench_scaled(LINES_PASSES_PER_ROUND / (double)threads, 1),
        .inherited = passive ? (void **)bench_map(threads * sizeof(void *)) : NULL,
        .place = (struct lines_place *)bench_map(places * sizeof *work.place),
        .rounds = (uint64_t *)bench_map(threads * sizeof *work.rounds),
    };
    pthread_barrier_init(&work.together, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads && passive; i++) work.inherited[i] = lines_block();

    bench_begin();
    bench_run_threads(bench.threads, lines_thread, &work);
    bench_end();

    double operations = 0;
    for (size_t i = 0; i < threads; i++) operations += (double)work.rounds[i];
    bench_add_value("shared", "%", lines_shared(work.place, places));
    return bench_finish(operations);
}
#endif
