/* glibc_simple.c: many blocks of one size, freed half in order and half in reverse.
 *
 * Models: bench-malloc-simple of the GNU C library's own benchmarks with its default size of 16
 * bytes: 25, 100, 400 or 1600 blocks are allocated, the first half is freed in the order of
 * allocation, the second half in reverse, and so on again. All that three times, since an allocator
 * may serve them differently:
 *   - main_alone: in the main thread while there has never been another one;
 *   - thread: in another thread, while the main thread waits;
 *   - main: in the main thread after that, when locks and atomics can no longer be left out.
 *
 * Differs: the work is fixed: 15,000,000 blocks for each of the twelve at scale 1, whatever their
 * number. The first word of each block is written, and checked when it is freed. The flag --bytes N
 * gives another size; from 128 on the GNU allocator is several times slower.
 *
 * One operation is one block: a malloc and a free. The values are the mean times of one.
 */
#include "bench.h"

enum {
    BLOCK_BYTES = 16,
    OPERATIONS = 15000000, // for each of the twelve
    BLOCKS_MAX = 1600,
    COUNTS = 4,
    PARTS = 3,
};

static const int simple_counts[COUNTS] = {25, 100, 400, BLOCKS_MAX};

// What one of the three does, in its thread.
struct simple_part {
    size_t bytes;
    double operations;
    double seconds;
};

static void simple_free(uint64_t *block, int number)
{
    bench_expect(*block == (uint64_t)number);
    free(block);
}

static void simple_round(uint64_t **block, int count, size_t bytes)
{
    for (int i = 0; i < count; i++) {
        block[i] = bench_block(malloc(bytes));
        *block[i] = (uint64_t)i;
    }
    for (int i = 0; i < count / 2; i++) simple_free(block[i], i);
    for (int i = count; i-- > count / 2;) simple_free(block[i], i);
}

static double simple_rounds(int count, size_t bytes)
{
    static uint64_t *block[BLOCKS_MAX];
    uint64_t rounds = 0, wanted = bench_scaled(OPERATIONS / (double)count, 1);
    uint64_t at_once = (uint64_t)(BLOCKS_MAX / count); // between looks at the clock
    double start = bench_now(), seconds = bench.seconds / (PARTS * COUNTS);
    while (seconds > 0 ? bench_now() - start < seconds : rounds < wanted) {
        for (uint64_t i = 0; i < at_once; i++) simple_round(block, count, bytes);
        rounds += at_once;
    }
    return (double)rounds * count;
}

static void simple_run(int number, void *argument)
{
    (void)number;
    struct simple_part *part = (struct simple_part *)argument;
    double start = bench_now();
    for (int i = 0; i < COUNTS; i++) {
        part->operations += simple_rounds(simple_counts[i], part->bytes);
    }
    part->seconds = bench_now() - start;
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--bytes", NULL};
    bench_start_with_flags(argc, argv, "glibc-simple", 1, flags);
    bench_one_thread();
    size_t bytes = (size_t)bench_flag_number("--bytes", BLOCK_BYTES, sizeof(uint64_t), 1 << 20);
    struct simple_part part[PARTS] = {{bytes, 0, 0}, {bytes, 0, 0}, {bytes, 0, 0}};
    bench_begin();
    simple_run(0, &part[0]);
    bench_run_threads(1, simple_run, &part[1]);
    simple_run(0, &part[2]);
    bench_end();

    const char *const name[PARTS] = {"main_alone", "thread", "main"};
    double operations = 0;
    for (int i = 0; i < PARTS; i++) {
        bench_add_value(name[i], "ns", part[i].seconds / part[i].operations * 1e9);
        operations += part[i].operations;
    }
    return bench_finish(operations);
}
