/* teardown.c: documents that are built, and dropped as a whole.
 *
 * Models parsers, compilers and request handlers: each thread makes a document of 16,000 blocks,
 * 256 bytes to 32 KiB, smaller ones more often (each octave as many bytes), and then frees all of
 * it, every other document in the order of its making, the others in a random one. While a document
 * is built nothing is freed, and while one is dropped nothing is allocated: what an allocator keeps
 * of the blocks that were freed last is of no use until the next one.
 *
 * Each block is marked, and checked when it is freed.
 *
 * The work at scale 1 is 120 documents, shared by the threads. One operation is a block.
 */
#include "sealed.h"

enum {
    BLOCKS = 16000,
    DOCUMENTS = 120,
    OCTAVES = 7,
    UNITS = 8, // of them a size is made: the smallest is 32
};

struct part { void *block; size_t bytes; };

static uint64_t documents_each;
static uint64_t *documents_done;

static void document_build(struct part *part, uint64_t *random)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        part[i].bytes = UNITS * sealed_octave_bytes(random, OCTAVES);
        part[i].block = bench_block(malloc(part[i].bytes));
        bench_mark(part[i].block, part[i].bytes, (uintptr_t)&part[i] + part[i].bytes);
    }
}

// `order`: NULL for that in which it was made.
static void document_drop(struct part *part, const uint32_t *order)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct part *next = &part[order == NULL ? i : order[i]];
        bench_check(next->block, next->bytes, (uintptr_t)next + next->bytes);
        free(next->block);
    }
}

static void shuffle(uint32_t *order, uint64_t *random)
{
    for (uint32_t i = BLOCKS - 1; i > 0; i--) {
        uint32_t other = bench_random_below(random, i + 1), last = order[i];
        order[i] = order[other];
        order[other] = last;
    }
}

static void thread_run(int number, void *argument)
{
    (void)argument;
    struct part *part = (struct part *)bench_block(calloc(BLOCKS, sizeof *part));
    uint32_t *shuffled = (uint32_t *)bench_block(calloc(BLOCKS, sizeof *shuffled));
    uint64_t random = bench_random_start((uint64_t)number), done = 0;
    for (uint32_t i = 0; i < BLOCKS; i++) shuffled[i] = i;
    shuffle(shuffled, &random);
    for (; bench_more(done, documents_each); done++) {
        document_build(part, &random);
        document_drop(part, done % 2 == 0 ? NULL : shuffled);
    }
    free(shuffled);
    free(part);
    documents_done[number] = done;
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "teardown", 1);
    documents_each = bench_scaled_each(DOCUMENTS, 2);
    documents_done = (uint64_t *)bench_block(calloc((size_t)bench.threads, sizeof *documents_done));

    bench_begin();
    bench_run_threads(bench.threads, thread_run, NULL);
    bench_end();
    double blocks = 0;
    for (int i = 0; i < bench.threads; i++) blocks += (double)documents_done[i] * BLOCKS;
    free(documents_done);
    return bench_finish(blocks);
}
