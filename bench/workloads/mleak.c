/* mleak.c: threads that come and go and leave some blocks behind: does memory grow?
 *
 * Models: `mleak` of mimalloc's suite, thread churn that shows what an allocator loses, or pays,
 * when a thread ends. Generation after generation, N threads start, ask for 100 blocks of 16 to
 * 1024 bytes each, free 90 of them and end with 10 still in use, which a thread 16 generations
 * later frees. So the threads that asked for the blocks in use are all gone, while the bytes in
 * use stay the same: memory must not grow.
 *
 * Differs: written anew from that description; the sizes and numbers are ours. 10,000 generations
 * at scale 1, with more threads than CPUs as much fewer as there are more threads.
 *
 * One operation is one thread, from its start to its join. Values: `growth`, resident memory at
 * the last generation over that at a tenth of them; `growth_per_thread`, the same for each thread
 * that ended in between. Series: `resident` over generations.
 */
#include "bench.h"

enum {
    BLOCKS = 100,
    LEFT_EVERY = 10, // of these blocks one stays
    LEFT = BLOCKS / LEFT_EVERY,
    KEPT_GENERATIONS = 16,
    MIN_BYTES = 16,
    MAX_BYTES = 1024,
    GENERATIONS = 10000,
    POINTS = 100,
};

struct piece {
    void *block;
    size_t bytes;
};

// What the threads of one number left, by generation.
struct line {
    struct piece left[KEPT_GENERATIONS][LEFT];
    uint64_t random;
};

static struct line *lines;  // [const]
static uint64_t generation; // [const] while threads run

static void piece_new(struct piece *piece, uint64_t *random)
{
    piece->bytes = bench_random_between(random, MIN_BYTES, MAX_BYTES);
    piece->block = bench_block(malloc(piece->bytes));
    bench_mark(piece->block, piece->bytes, (uintptr_t)piece->block);
}

static void piece_free(struct piece *piece)
{
    if (piece->block == NULL) return;
    bench_check(piece->block, piece->bytes, (uintptr_t)piece->block);
    free(piece->block);
    piece->block = NULL;
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    struct line *line = &lines[number];
    struct piece *left = line->left[generation % KEPT_GENERATIONS];
    struct piece piece[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) piece_new(&piece[i], &line->random);
    for (int i = 0; i < LEFT; i++) piece_free(&left[i]);
    for (int i = 0; i < BLOCKS; i++) {
        if (i % LEFT_EVERY == 0) {
            left[i / LEFT_EVERY] = piece[i];
        } else {
            piece_free(&piece[i]);
        }
    }
}

// Runs generations and notes the resident memory of each `every`th.
static void generations_run(uint64_t generations, struct bench_series *resident)
{
    uint64_t every = generations / POINTS > 0 ? generations / POINTS : 1;
    do {
        bench_run_threads(bench.threads, thread_run, NULL);
        generation++;
        if (generation % every == 0) {
            bench_add_point(resident, (double)generation, bench_resident_kib());
        }
    } while (bench_more(generation, generations));
}

static void growth_report(const struct bench_series *resident)
{
    int last = resident->points - 1;
    int first = resident->points / 10;
    if (last <= first) return;
    double growth_kib = resident->y[last] - resident->y[first];
    double ended = (resident->x[last] - resident->x[first]) * bench.threads;
    bench_add_value("growth", "KiB", growth_kib);
    bench_add_value("growth_per_thread", "B", growth_kib * 1024 / ended);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "mleak", 2);
    size_t count = (size_t)bench.threads;
    lines = bench_block(calloc(count, sizeof *lines));
    for (size_t i = 0; i < count; i++) lines[i].random = bench_random_start(i);
    struct bench_series *resident = bench_add_series("resident", "generations", "KiB");

    bench_begin();
    generations_run(bench_scaled_each(GENERATIONS, KEPT_GENERATIONS + 1), resident);
    bench_end();
    growth_report(resident);
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; k < KEPT_GENERATIONS * LEFT; k++) {
            piece_free(&lines[i].left[k / LEFT][k % LEFT]);
        }
    }
    free(lines);
    return bench_finish((double)generation * bench.threads);
}
