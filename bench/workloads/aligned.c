/* aligned.c: blocks with alignments from 1 byte to 4 MiB, replaced at random.
 *
 * Models what vector code, direct I/O, and the tables of runtimes ask for, in one mix. Each thread
 * (--threads, 1 unless told) holds 1000 blocks. Of 100 new ones, 90 have an alignment of 1 byte to
 * 4 KiB, nine one of 8 KiB to 64 KiB and one of 128 KiB to 4 MiB, all powers of two of a range
 * equally likely. Sizes are 1 byte to 64 KiB, all octaves equally likely, whatever the alignment.
 * Calls alternate between aligned_alloc, whose size is rounded up to a multiple of the alignment as
 * C11 wanted it (only for alignments up to 4 KiB), and posix_memalign, for alignments that it
 * accepts. Each address is checked, and the marks at both ends of each block.
 *
 * Value: peak_over_live, the peak of the resident memory over the highest sum of requested bytes.
 *
 * The work at scale 1 is 1,000,000 replacements by each thread. One operation is one replacement.
 */
#include "bench.h"

enum {
    BLOCKS = 1000,
    WORK = 1000000,
    STEPS = 1000, // between two looks at the clock
    PAGE_SHIFT = 12,
    WIDE_SHIFT = 16,
    WIDEST_SHIFT = 22,
    SIZE_OCTAVES = 16,
};

struct block {
    void *memory;
    size_t bytes;
};

struct owner {
    struct block block[BLOCKS];
    uint64_t random;
    size_t live;
    size_t highest_live;
    uint64_t done;
};

static size_t pick_alignment(uint64_t *random)
{
    uint32_t kind = bench_random_below(random, 100);
    if (kind < 90) return (size_t)1 << bench_random_between(random, 0, PAGE_SHIFT);
    if (kind < 99) return (size_t)1 << bench_random_between(random, PAGE_SHIFT + 1, WIDE_SHIFT);
    return (size_t)1 << bench_random_between(random, WIDE_SHIFT + 1, WIDEST_SHIFT);
}

static size_t pick_bytes(uint64_t *random)
{
    size_t low = (size_t)1 << bench_random_below(random, SIZE_OCTAVES);
    return low + bench_random_below(random, (uint32_t)low);
}

static void owner_fill(struct owner *owner, struct block *block)
{
    size_t alignment = pick_alignment(&owner->random);
    size_t bytes = pick_bytes(&owner->random);
    bool may_c11 = alignment <= (size_t)1 << PAGE_SHIFT;
    bool may_posix = alignment >= sizeof(void *);
    if (may_c11 && (!may_posix || bench_random_below(&owner->random, 2) == 0)) {
        bytes = (bytes + alignment - 1) & ~(alignment - 1);
        block->memory = bench_block(aligned_alloc(alignment, bytes));
    } else if (posix_memalign(&block->memory, alignment, bytes) != 0) {
        bench_fail(1, "posix_memalign(%zu, %zu) failed", alignment, bytes);
    }
    block->bytes = bytes;
    bench_expect(((uintptr_t)block->memory & (alignment - 1)) == 0);
    if (bytes > 4096) bench_touch(block->memory, bytes);
    bench_mark(block->memory, bytes, (uintptr_t)block);
    owner->live += bytes;
    if (owner->live > owner->highest_live) owner->highest_live = owner->live;
}

static void owner_empty(struct owner *owner, struct block *block)
{
    bench_check(block->memory, block->bytes, (uintptr_t)block);
    owner->live -= block->bytes;
    free(block->memory);
}

static void work(int number, void *argument)
{
    struct owner *owner = &((struct owner *)argument)[number];
    uint64_t total = bench_scaled(WORK, 1);
    owner->random = bench_random_start((uint64_t)number);
    for (int i = 0; i < BLOCKS; i++) owner_fill(owner, &owner->block[i]);
    while (bench_more(owner->done, total)) {
        for (int i = 0; i < STEPS; i++) {
            struct block *block = &owner->block[bench_random_below(&owner->random, BLOCKS)];
            owner_empty(owner, block);
            owner_fill(owner, block);
        }
        owner->done += STEPS;
    }
    for (int i = 0; i < BLOCKS; i++) owner_empty(owner, &owner->block[i]);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "aligned", 1);
    struct owner *owners = (struct owner *)bench_map((size_t)bench.threads * sizeof(struct owner));
    bench_begin();
    bench_run_threads(bench.threads, work, owners);
    bench_end();

    double operations = 0, live = 0;
    for (int i = 0; i < bench.threads; i++) {
        operations += (double)owners[i].done;
        live += (double)owners[i].highest_live / 1024;
    }
    bench_add_value("peak_over_live", "1", bench_peak_kib() / live);
    bench_add_value("live_kib", "KiB", live);
    return bench_finish(operations);
}
