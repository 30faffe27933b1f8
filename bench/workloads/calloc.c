/* calloc.c: large zeroed blocks.
 *
 * Models numerical programs and tables that ask for large zeroed memory, use part of it, and drop
 * it. 16 places hold a block of 64 KiB to 64 MiB each, all octaves equally likely; a random one is
 * replaced at a time. In a new block one word of each 4 KiB is read at a random place, and must be
 * zero. Then a part of the pages that is drawn for each block, between none and all, is written to:
 * so that the next user of the memory would see it. An allocator saves work when it knows which
 * memory is zero already, and when memory it has had before need not be faulted in again; a block
 * of which little is used should not cost memory.
 *
 * Values: faults, page faults for each block; peak_over_live, the peak of the resident memory over
 * the highest sum of bytes that were written at one time, in whole pages.
 *
 * The work at scale 1 is 500 blocks. One operation is one block, from its calloc to its free.
 */
#include "bench.h"

enum {
    PLACES = 16,
    WORK = 500,
    SMALLEST_SHIFT = 16,
    OCTAVES = 10,
    PAGE_BYTES = 4096,
    PAGE_WORDS = PAGE_BYTES / sizeof(uint64_t),
};

struct place {
    uint64_t *word;
    size_t bytes;
    size_t written;
};

static size_t written, highest_written;

static void place_fill(struct place *place, uint64_t *random)
{
    size_t low = (size_t)1 << (SMALLEST_SHIFT + bench_random_below(random, OCTAVES));
    place->bytes = low + bench_random_below(random, (uint32_t)low);
    place->word = (uint64_t *)bench_block(calloc(place->bytes / 8, 8));
    place->written = 0;
    uint32_t part = bench_random_below(random, 1 << 16);
    for (size_t page = 0; page < place->bytes / PAGE_BYTES; page++) {
        uint64_t bits = bench_random(random);
        uint64_t *word = &place->word[page * PAGE_WORDS + (bits & (PAGE_WORDS - 1))];
        bench_expect(*word == 0);
        if (bits >> 48 >= part) continue;
        *word = ~(uint64_t)0;
        place->written += PAGE_BYTES;
    }
    written += place->written;
    if (written > highest_written) highest_written = written;
}

static void place_empty(struct place *place)
{
    written -= place->written;
    free(place->word);
}

int main(int argc, char **argv)
{
    static struct place places[PLACES];
    bench_start(argc, argv, "calloc", 1);
    uint64_t random = bench_random_start(0), done = 0;
    long faults = bench_minor_faults();

    bench_begin();
    for (; bench_more(done, bench_scaled(WORK, 1)); done++) {
        struct place *place = &places[bench_random_below(&random, PLACES)];
        if (place->word != NULL) place_empty(place);
        place_fill(place, &random);
    }
    bench_end();

    double blocks = (double)done;
    bench_add_value("faults", "1", (double)(bench_minor_faults() - faults) / blocks);
    double live = (double)highest_written / 1024;
    bench_add_value("peak_over_live", "1", live > 0 ? bench_peak_kib() / live : 0);
    bench_add_value("live_kib", "KiB", live);
    for (int i = 0; i < PLACES; i++) place_empty(&places[i]);
    return bench_finish(blocks);
}
