/* holes.c: what stays resident when one block in 64 survives.
 *
 * Models a cache or a parser that fills the heap with small blocks and drops nearly all: 256 MiB of
 * 512-byte blocks at scale 1, of which a random one of each 64 neighbours is kept. So each eighth
 * page of 4 KiB is in use still: an allocator that gives back single pages may come down to 8 times
 * the live bytes, one that gives back larger pieces gives back nothing. After that comes light use
 * of other sizes (20 blocks a millisecond, for --idle seconds, 3 unless told), then malloc_trim(0)
 * where the platform has it; an allocator that does not bring its own leaves that to the C library,
 * whose heap is empty.
 *
 * Values: resident over live bytes at once (over_at_once), after the light use (over_live) and
 * after the trim (over_trimmed).
 *
 * One operation is a malloc or a free of the 512-byte blocks. The time is that of these.
 */
#include "sealed.h"

// Absent on some platforms.
__attribute__((weak)) extern int malloc_trim(size_t keep);

enum {
    FILL_MIB = 256,
    BLOCK_BYTES = 512,
    SURVIVOR_OF = 64,
    LIGHT_BLOCKS = 1000,
    LIGHT_CALLS = 20,
};

static size_t light_bytes; // live ones

static void use_lightly(uint64_t *random, struct sealed **light)
{
    for (int i = 0; i < LIGHT_CALLS; i++) {
        struct sealed **slot = &light[bench_random_below(random, LIGHT_BLOCKS)];
        if (*slot != NULL) light_bytes -= sealed_free(*slot);
        *slot = sealed_new(bench_random_between(random, SEALED_MIN_BYTES, 4 * BLOCK_BYTES));
        light_bytes += (*slot)->bytes;
    }
}

static void add_ratio(const char *name, size_t live)
{
    bench_add_value(name, "1", bench_resident_exact_kib() * 1024 / (double)live);
}

// Blocks in the order in which they came; the list runs through them, so that no table is resident.
static struct sealed *fill(size_t count)
{
    struct sealed *first = NULL;
    struct sealed **end = &first;
    for (size_t i = 0; i < count; i++) {
        *end = sealed_new(BLOCK_BYTES);
        end = &(*end)->next;
    }
    return first;
}

// Frees all but one of each SURVIVOR_OF neighbours; the survivors.
static struct sealed *thin_out(struct sealed *block, uint64_t *random)
{
    struct sealed *survivors = NULL;
    while (block != NULL) {
        size_t survivor = bench_random_below(random, SURVIVOR_OF);
        for (size_t i = 0; i < SURVIVOR_OF; i++) {
            struct sealed *next = block->next;
            if (i == survivor)
                sealed_push(&survivors, block);
            else
                sealed_free(block);
            block = next;
        }
    }
    return survivors;
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--idle", NULL};
    static struct sealed *light[LIGHT_BLOCKS];
    bench_start_with_flags(argc, argv, "holes", 1, flags);
    double idle = bench_flag_number("--idle", 3, 0, 3600);
    uint64_t random = bench_random_start(0);
    size_t groups =
        (size_t)bench_scaled((double)(((size_t)FILL_MIB << 20) / BLOCK_BYTES / SURVIVOR_OF), 1);

    bench_begin();
    struct sealed *blocks = fill(groups * SURVIVOR_OF);
    double full = bench_resident_exact_kib();
    struct sealed *survivors = thin_out(blocks, &random);
    bench_end();

    size_t live = groups * BLOCK_BYTES;
    bench_add_value("full_kib", "KiB", full);
    add_ratio("over_at_once", live);
    for (double start = bench_now(); bench_now() - start < idle; bench_sleep(0.001)) {
        use_lightly(&random, light);
    }
    add_ratio("over_live", live + light_bytes);
    if (malloc_trim != NULL) malloc_trim(0);
    add_ratio("over_trimmed", live + light_bytes);

    bench_expect(sealed_free_all(survivors) == live);
    for (int i = 0; i < LIGHT_BLOCKS; i++) {
        if (light[i] != NULL) sealed_free(light[i]);
    }
    return bench_finish((double)groups * (2 * SURVIVOR_OF - 1));
}
