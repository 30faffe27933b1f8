/* malloc_large.c: large blocks, twenty of which live at a time.
 *
 * Models: malloc-large of mimalloc's suite: a table of 20 places; 2000 times a random one gets a
 * new block of 5 to 25 MiB, and the block that was there is freed. Each OS page is written, as by a
 * program that reads files or frames into such blocks: so what counts is whether freed memory can
 * be had again without the kernel, which clears each page that it gives.
 *
 * Differs: one word in each 4 KiB is written, and is checked in sixteen places when the block is
 * freed, together with marks at its ends. Whether the original writes all bytes is not known here;
 * the time to do so would be the same for each allocator.
 *
 * One operation is one block: a malloc, its writes and a free.
 */
#include "bench.h"

enum {
    PLACES = 20,
    BLOCKS = 2000,
    PAGE_BYTES = 4096,
    CHECKS = 16,
    MIN_BYTES = 5 << 20,
    MAX_BYTES = 25 << 20,
};

struct place {
    char *block;
    size_t bytes;
    uint64_t tag;
};

static uint64_t *place_word(const struct place *place, size_t page)
{
    return (uint64_t *)(void *)(place->block + page * PAGE_BYTES + PAGE_BYTES / 2);
}

static void place_fill(struct place *place, size_t bytes, uint64_t tag)
{
    place->bytes = bytes;
    place->tag = tag;
    place->block = bench_block(malloc(bytes));
    bench_mark(place->block, bytes, tag);
    for (size_t page = 0; page < bytes / PAGE_BYTES; page++) *place_word(place, page) = tag + page;
}

static void place_empty(struct place *place)
{
    if (place->block == NULL) return;
    size_t pages = place->bytes / PAGE_BYTES;
    bench_check(place->block, place->bytes, place->tag);
    for (size_t i = 0; i < CHECKS; i++) {
        size_t page = i * (pages - 1) / (CHECKS - 1);
        bench_expect(*place_word(place, page) == place->tag + page);
    }
    free(place->block);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "malloc-large", 1);
    bench_one_thread();
    struct place places[PLACES] = {{NULL, 0, 0}};
    uint64_t random = bench_random_start(0);
    uint64_t blocks = bench_scaled(BLOCKS, 1), done = 0;
    for (; bench_more(done, blocks); done++) {
        struct place *place = &places[bench_random_below(&random, PLACES)];
        place_empty(place);
        place_fill(place, bench_random_between(&random, MIN_BYTES, MAX_BYTES), done << 32);
    }
    for (int i = 0; i < PLACES; i++) place_empty(&places[i]);
    return bench_finish((double)done);
}
