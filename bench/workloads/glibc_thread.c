/* glibc_thread.c: each thread replaces random blocks of its own, most of them very small.
 *
 * Models: bench-malloc-thread of the GNU C library's own benchmarks. Each of N threads has 1024
 * blocks and replaces one of them, chosen at random, again and again. Sizes lie between 4 bytes and
 * 32 KiB with a density that falls with the square of the size: half are below 8 bytes, one in 260
 * is above 1 KiB. No block changes hands. As there, the choices are made beforehand (8000 sizes,
 * 4096 places) and are the same in each thread, so that no random numbers are timed.
 *
 * Differs: the work is fixed: 40,000,000 replacements for each thread at scale 1, where there are
 * more threads than CPUs as many less as there are more. A block's ends are marked, and checked
 * when it is freed.
 *
 * One operation is one replacement: a free and a malloc. The value is the mean time of one in a
 * thread, which is what the original tells.
 */
#include "bench.h"

enum {
    BLOCKS = 1024,
    BLOCK_MIN_BYTES = 4,
    BLOCK_MAX_BYTES = 32 * 1024,
    SIZES = 8000,
    PLACES = 4 * BLOCKS,
    REPLACEMENTS = 40000000,
    REPLACEMENTS_PER_CHECK = 10000, // between looks at the clock
};

// What all threads do, in turn. [const] once the threads run
struct choices {
    uint16_t bytes[SIZES];
    uint16_t place[PLACES];
};

static struct choices choices;

struct thread_slot {
    void *block;
    size_t bytes;
};

static struct thread_result {
    double operations;
    double seconds;
} thread_results[BENCH_THREADS_MAX];

// Inverse of the distribution function of 1 / bytes^2 between the limits.
static double choices_size(double unit)
{
    double least = 1.0 / BLOCK_MAX_BYTES, most = 1.0 / BLOCK_MIN_BYTES;
    return 1 / (most - unit * (most - least));
}

static void choices_make(void)
{
    uint64_t random = bench_random_start(0);
    for (int i = 0; i < SIZES; i++) {
        choices.bytes[i] = (uint16_t)choices_size(bench_random_unit(&random));
    }
    for (int i = 0; i < PLACES; i++) {
        choices.place[i] = (uint16_t)bench_random_below(&random, BLOCKS);
    }
}

static void thread_empty(struct thread_slot *slot)
{
    bench_check(slot->block, slot->bytes, (uintptr_t)slot);
    free(slot->block);
}

static void thread_replace(struct thread_slot *slot, size_t bytes)
{
    thread_empty(slot);
    slot->bytes = bytes;
    slot->block = bench_block(malloc(bytes));
    bench_mark(slot->block, bytes, (uintptr_t)slot);
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    struct thread_slot *slots = bench_map(BLOCKS * sizeof *slots);
    uint64_t done = 0, wanted = bench_scaled_each(REPLACEMENTS, REPLACEMENTS_PER_CHECK);
    size_t size = 0, place = 0;
    double start = bench_now();
    while (bench_more(done, wanted)) {
        for (int i = 0; i < REPLACEMENTS_PER_CHECK; i++) {
            thread_replace(&slots[choices.place[place]], choices.bytes[size]);
            if (++place == PLACES) place = 0;
            if (++size == SIZES) size = 0;
        }
        done += REPLACEMENTS_PER_CHECK;
    }
    for (size_t i = 0; i < BLOCKS; i++) thread_empty(&slots[i]);
    thread_results[number].operations = (double)done;
    thread_results[number].seconds = bench_now() - start;
    munmap(slots, BLOCKS * sizeof *slots);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "glibc-thread", 2);
    choices_make();
    bench_begin();
    bench_run_threads(bench.threads, thread_run, NULL);
    bench_end();

    double operations = 0, seconds = 0;
    for (int i = 0; i < bench.threads; i++) {
        operations += thread_results[i].operations;
        seconds += thread_results[i].seconds;
    }
    bench_add_value("replacement", "ns", seconds / operations * 1e9);
    return bench_finish(operations);
}
