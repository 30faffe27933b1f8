/* alloc_test.c: small blocks whose sizes, and whose places, follow the 80/20 rule.
 *
 * Models: `alloc-test` of the OLogN project, as mimalloc's suite runs it: an array of places is
 * visited at random, 10^8 times by each thread; a place with a block is freed, an empty one gets a
 * block. Sizes are Pareto distributed up to 1 KiB (half as many for each doubling). The visits are
 * likewise: 80 % go to a fifth of the places, of these again 80 % to a fifth of that, and so on,
 * so that blocks of very different ages stand side by side.
 *
 * Differs: more threads than CPUs do as much less each as there are more. The threads share 2^18
 * places, half of which hold a block, so that memory is the same for all numbers of threads: some
 * 6 MiB of blocks and 4 MiB of places. The ends of a block are written, and checked, not all of
 * it.
 *
 * One operation is one visit: a malloc or a free.
 */
#include "bench.h"

enum {
    VISITS = 100000000,
    VISITS_PER_CHECK = 1 << 14, // between looks at the clock
    PLACES = 1 << 18,
    LEVELS = 7,
    REACHES = 256,
    ABOVE_BYTES = 8, // 9 is the smallest size
    DOUBLINGS = 7, // to 1024 bytes
};

struct place {
    void *block;
    size_t bytes;
};

static uint64_t visits_wanted; // [const] of each thread
static uint32_t places;        // [const] of each thread
static uint64_t *visits_done;  // [const] pointer; each thread has its counter

// A visit goes to the first reach[i] places of the thread, i at random. [const]
static uint32_t reach[REACHES];

// Half as many blocks for each doubling, evenly spread within it.
static size_t pick_bytes(uint64_t *random)
{
    uint64_t bits = bench_random(random);
    size_t low = (size_t)ABOVE_BYTES << __builtin_ctzll(bits | 1u << (DOUBLINGS - 1));
    return low + ((bits >> DOUBLINGS) & (low - 1)) + 1;
}

// A table, because a loop that ends at a random level costs more than the call that is measured.
static void reach_init(void)
{
    double of_levels = 1; // part of the visits that goes on to the next level
    uint32_t end = places;
    for (int i = 0, level = 0; i < REACHES; i++) {
        if (level < LEVELS && i >= REACHES * (1 - of_levels * 0.8)) {
            level++;
            of_levels *= 0.8;
            if (end >= 5) end /= 5;
        }
        reach[i] = end;
    }
}

static uint32_t pick_place(uint64_t *random)
{
    uint64_t bits = bench_random(random);
    return (uint32_t)(((bits >> 32) * reach[bits % REACHES]) >> 32);
}

static void place_visit(struct place *place, uint64_t *random)
{
    if (place->block == NULL) {
        place->bytes = pick_bytes(random);
        place->block = bench_block(malloc(place->bytes));
        bench_mark(place->block, place->bytes, (uintptr_t)place);
    } else {
        bench_check(place->block, place->bytes, (uintptr_t)place);
        free(place->block);
        place->block = NULL;
    }
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    struct place *place = bench_block(calloc(places, sizeof *place));
    uint64_t random = bench_random_start((uint64_t)number);
    uint64_t done = 0;
    while (bench_more(done, visits_wanted)) {
        uint64_t until = done + VISITS_PER_CHECK;
        if (bench.seconds == 0 && until > visits_wanted) until = visits_wanted;
        for (; done < until; done++) place_visit(&place[pick_place(&random)], &random);
    }
    for (uint32_t i = 0; i < places; i++) {
        if (place[i].block != NULL) place_visit(&place[i], &random);
    }
    free(place);
    visits_done[number] = done;
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "alloc-test", 1);
    visits_wanted = bench_scaled_each(VISITS, 1);
    places = PLACES / (uint32_t)bench.threads;
    reach_init();
    visits_done = bench_block(calloc((size_t)bench.threads, sizeof *visits_done));

    bench_begin();
    bench_run_threads(bench.threads, thread_run, NULL);
    bench_end();
    double visits = 0;
    for (int i = 0; i < bench.threads; i++) visits += (double)visits_done[i];
    free(visits_done);
    return bench_finish(visits);
}
