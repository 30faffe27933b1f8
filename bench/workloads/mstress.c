/* mstress.c: rounds of new threads with blocks of mixed sizes, some of which outlive their thread.
 *
 * Models: `mstress`, the stress test that mimalloc and its benchmark suite use, with its
 * parameters: scale 50 and 25 rounds. Each round starts N threads and waits for their end. Thread
 * t asks for 5000 * (t % 8 + 1) blocks that live shortly and half as many that live as long as the
 * thread, in random order. Sizes are powers of two of 8 to 128 bytes, of kept blocks to 512; one
 * block in 100 is 100 times as large, of these one in 10 is 1000 times and one in 100 is 10000
 * times. After each block, with 66 % probability one random block is freed, and with 25 % one is
 * exchanged with a slot of a table of 1000 that all threads share: so blocks are freed by other
 * threads, and stay behind when their thread ends. The table is half emptied after each round.
 * Each thread keeps its pointers in an array that grows by 800 KB with realloc. Blocks come zeroed
 * from calloc and every word of them is written, and checked before it is freed.
 *
 * Differs: the rounds are as many fewer as there is more to do in one than 1.5 * 5000 short-lived
 * blocks for each CPU (what two threads have on two CPUs); a run too short for two rounds has two
 * smaller ones.
 *
 * One operation is one block, from its calloc to its free.
 */
#include "bench.h"
#include <stdatomic.h>

enum {
    ROUNDS = 25,
    MIN_ROUNDS = 2,
    BLOCKS_PER_WEIGHT = 100 * 50, // in one round: scale 50
    WEIGHTS = 8,                  // thread t has weight t % 8 + 1
    SHORT_LIVED_SHIFTS = 5,       // 1 to 16 words
    KEPT_SHIFTS = 7,              // 1 to 64 words
    MAX_WORDS = (1 << KEPT_SHIFTS) * 10000,
    ARRAY_STEP = 100000,
    TRANSFER_SLOTS = 1000,
};

// Blocks on their way from any thread to any other.
static _Atomic(uint64_t *) transfer[TRANSFER_SLOTS];

static uint64_t blocks_per_weight; // [const] of a round of this run
static uint64_t round_number;      // [const] while threads run

// --- blocks: word 0 says how many words there are, the others follow from the address ------------

static bool percent(uint64_t *random, uint32_t chance)
{
    return bench_random_below(random, 100) < chance;
}

static size_t block_pick_words(uint64_t *random, uint32_t shifts)
{
    size_t words = (size_t)1 << bench_random_below(random, shifts);
    if (!percent(random, 1)) return words;
    if (percent(random, 1)) return words * 10000;
    if (percent(random, 10)) return words * 1000;
    return words * 100;
}

static uint64_t *block_new(uint64_t *random, uint32_t shifts)
{
    size_t words = block_pick_words(random, shifts);
    uint64_t *block = bench_block(calloc(words, sizeof *block));
    bench_expect(block[0] == 0 && block[words - 1] == 0);
    uint64_t tag = ~(uint64_t)(uintptr_t)block;
    block[0] = tag ^ words;
    for (size_t i = 1; i < words; i++) block[i] = tag + i;
    return block;
}

static void block_free(uint64_t *block)
{
    if (block == NULL) return;
    uint64_t tag = ~(uint64_t)(uintptr_t)block;
    size_t words = block[0] ^ tag;
    bench_expect(words > 0 && words <= MAX_WORDS);
    uint64_t differences = 0;
    for (size_t i = 1; i < words; i++) differences |= block[i] ^ (tag + i);
    bench_expect(differences == 0);
    free(block);
}

// --- one thread of one round ---------------------------------------------------------------------

struct array {
    uint64_t **block; // NULL where one was freed
    size_t count;
    size_t room;
};

static void array_add(struct array *array, uint64_t *block)
{
    if (array->count == array->room) {
        array->room += ARRAY_STEP;
        array->block = bench_block(realloc(array->block, array->room * sizeof(uint64_t *)));
    }
    array->block[array->count++] = block;
}

static void array_done(struct array *array)
{
    for (size_t i = 0; i < array->count; i++) block_free(array->block[i]);
    free(array->block);
}

static void array_free_one(struct array *array, uint64_t *random)
{
    uint64_t **slot = &array->block[bench_random_below(random, (uint32_t)array->count)];
    block_free(*slot);
    *slot = NULL;
}

static void array_exchange_one(struct array *array, uint64_t *random)
{
    uint64_t **slot = &array->block[bench_random_below(random, (uint32_t)array->count)];
    uint32_t other = bench_random_below(random, TRANSFER_SLOTS);
    // Both ways: the words of a block are read by the thread that gets it.
    *slot = atomic_exchange_explicit(&transfer[other], *slot, memory_order_acq_rel);
}

static uint64_t thread_weight(int number)
{
    return (uint64_t)(number % WEIGHTS + 1);
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    uint64_t random = bench_random_start(round_number * BENCH_THREADS_MAX + (uint64_t)number);
    uint64_t short_lived = blocks_per_weight * thread_weight(number);
    uint64_t kept_left = short_lived / 2;
    struct array array = {0};
    struct array kept = {.room = kept_left};
    kept.block = bench_block(calloc(kept_left + 1, sizeof(uint64_t *)));
    while (short_lived > 0 || kept_left > 0) {
        if (kept_left == 0 || (short_lived > 0 && percent(&random, 50))) {
            short_lived--;
            array_add(&array, block_new(&random, SHORT_LIVED_SHIFTS));
        } else {
            kept_left--;
            array_add(&kept, block_new(&random, KEPT_SHIFTS));
        }
        if (array.count == 0) continue;
        if (percent(&random, 66)) array_free_one(&array, &random);
        if (percent(&random, 25)) array_exchange_one(&array, &random);
    }
    array_done(&kept);
    array_done(&array);
}

static void transfer_empty(uint64_t *random, uint32_t chance)
{
    for (int i = 0; i < TRANSFER_SLOTS; i++) {
        if (!percent(random, chance)) continue;
        block_free(atomic_exchange_explicit(&transfer[i], NULL, memory_order_acquire));
    }
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "mstress", 2);
    uint64_t weight = 0;
    for (int i = 0; i < bench.threads; i++) weight += thread_weight(i);
    double share = 1.5 * bench_cpus() / (double)weight;
    if (share > 1) share = 1;
    uint64_t work = bench_scaled((double)ROUNDS * BLOCKS_PER_WEIGHT * share, 2 * MIN_ROUNDS);
    blocks_per_weight = bench_round(work, BLOCKS_PER_WEIGHT, MIN_ROUNDS);
    uint64_t rounds = work / blocks_per_weight;
    uint64_t random = bench_random_start(UINT32_MAX);

    bench_begin();
    do {
        bench_run_threads(bench.threads, thread_run, NULL);
        round_number++;
        transfer_empty(&random, 50);
    } while (bench_more(round_number, rounds));
    transfer_empty(&random, 100);
    bench_end();
    uint64_t blocks = (blocks_per_weight + blocks_per_weight / 2) * weight * round_number;
    return bench_finish((double)blocks);
}
