/* shbench.h: a table of small blocks that are freed in runs, some in order and some in reverse.
 *
 * Models: the multi-threaded benchmark of MicroQuill's SmartHeap (sh6bench and sh8bench), as
 * today's suites run it. Each of N threads has a table of 100,000 blocks of 1 to 1000 bytes:
 *   - Sizes come in runs. A run starts at a base size and is halved down to 1 byte; the next base
 *     is half as large again. Sizes below 100 bytes are repeated 250 times, larger ones 50 times,
 *     so that 97 of 100 blocks have less than 100 bytes.
 *   - Once the table is full, a window of a fifth of it is kept; the blocks before it are freed in
 *     the order of their allocation, the blocks behind it in reverse. Then the gaps are filled. The
 *     window is the next fifth each time, so that a kept block lives for one filling more.
 *
 *     |  freed in order  |  kept  |  freed in reverse  |
 *     0               window    + WINDOW             SLOTS
 *
 * Differs: the work is fixed: 600 fillings of 80,000 blocks for each thread at scale 1, where there
 * are more threads than CPUs as many less as there are more. A block carries marks that are checked
 * when it is freed, for which its size is noted beside the table.
 *
 * One operation is one block: a malloc and a free.
 *
 * The program that includes this says in sh_keep() what becomes of a window.
 */
#ifndef WORKLOADS_SHBENCH_H
#define WORKLOADS_SHBENCH_H
#include "bench.h"

enum {
    SH_SLOTS = 100000,
    SH_WINDOW = SH_SLOTS / 5,
    SH_FILLINGS = 600,
    SH_MAX_BYTES = 1000,
    SH_SMALL_BYTES = 100, // below it a size is repeated more often
    SH_SMALL_REPEATS = 250,
    SH_REPEATS = 50,
};

// A run of sizes.
struct sh_sizes {
    uint32_t base;
    uint32_t bytes;
    uint32_t left; // of the repeats of `bytes`
};

// Slots with the same index belong together; no block: NULL, and 0 bytes.
struct sh_table {
    void *block[SH_SLOTS];
    uint16_t bytes[SH_SLOTS];
    size_t window;
    struct sh_sizes sizes;
    uint64_t fillings;
    int number; // of the thread
};

// The window table->window has been chosen and is not freed this time.
static void sh_keep(struct sh_table *table);

static inline void sh_repeat(struct sh_sizes *sizes, uint32_t bytes)
{
    sizes->bytes = bytes;
    sizes->left = bytes < SH_SMALL_BYTES ? SH_SMALL_REPEATS : SH_REPEATS;
}

static inline uint16_t sh_next_bytes(struct sh_sizes *sizes)
{
    if (sizes->left == 0 && sizes->bytes > 1) {
        sh_repeat(sizes, sizes->bytes / 2);
    } else if (sizes->left == 0) {
        sizes->base = sizes->base + sizes->base / 2 + 1;
        if (sizes->base > SH_MAX_BYTES) sizes->base = 1;
        sh_repeat(sizes, sizes->base);
    }
    sizes->left--;
    return (uint16_t)sizes->bytes;
}

// The same for a block wherever its window goes.
static inline uint64_t sh_tag(size_t slot, size_t bytes)
{
    return (uint64_t)bytes << 32 | slot % SH_WINDOW;
}

static inline void sh_fill(struct sh_table *table, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        uint16_t bytes = sh_next_bytes(&table->sizes);
        table->block[i] = bench_block(malloc(bytes));
        table->bytes[i] = bytes;
        bench_mark(table->block[i], bytes, sh_tag(i, bytes));
    }
}

static inline void sh_free(struct sh_table *table, size_t slot)
{
    size_t bytes = table->bytes[slot];
    bench_check(table->block[slot], bytes, sh_tag(slot, bytes));
    free(table->block[slot]);
}

static inline void sh_free_around(struct sh_table *table, size_t window)
{
    for (size_t i = 0; i < window; i++) sh_free(table, i);
    for (size_t i = SH_SLOTS; i-- > window + SH_WINDOW;) sh_free(table, i);
}

static inline struct sh_table *sh_table_new(int number)
{
    struct sh_table *table = (struct sh_table *)bench_map(sizeof *table);
    table->number = number;
    sh_fill(table, 0, SH_SLOTS);
    return table;
}

static inline void sh_table_done(struct sh_table *table)
{
    for (size_t i = 0; i < SH_SLOTS; i++) sh_free(table, i);
    munmap(table, sizeof *table);
}

static inline void sh_thread(int number, void *operations)
{
    struct sh_table *table = sh_table_new(number);
    uint64_t wanted = bench_scaled_each(SH_FILLINGS, 2);
    while (bench_more(table->fillings, wanted)) {
        table->window = table->fillings % (SH_SLOTS / SH_WINDOW) * SH_WINDOW;
        sh_keep(table);
        sh_free_around(table, table->window);
        sh_fill(table, 0, table->window);
        sh_fill(table, table->window + SH_WINDOW, SH_SLOTS);
        table->fillings++;
    }
    ((double *)operations)[number] = SH_SLOTS + (double)table->fillings * (SH_SLOTS - SH_WINDOW);
    sh_table_done(table);
}

// All threads, to their end. Gives the number of operations.
static inline double sh_run_threads(void)
{
    static double operations[BENCH_THREADS_MAX];
    bench_begin();
    bench_run_threads(bench.threads, sh_thread, operations);
    bench_end();
    double sum = 0;
    for (int i = 0; i < bench.threads; i++) sum += operations[i];
    return sum;
}
#endif
