/* free_only.c: many threads that only allocate, and one that only frees.
 *
 * Models a service whose workers make objects that a logger, a writer or a reclaimer drops, a
 * pattern that was reported to make memory a multiple of what is in use. --threads producers (4
 * unless told) ask for blocks of 592 bytes and put them, 256 at a time, on one queue of 98,304
 * blocks (55.5 MiB at scale 1). One consumer, which never allocates, frees the oldest ones, and
 * only while the queue is full: so the live set is constant from the moment on when it was full
 * first.
 *
 * Each producer marks its blocks, the consumer checks them.
 *
 * The value peak_over_live is the peak of the resident memory over the live bytes. The queue's
 * length scales with the square root of --scale, the number of blocks (8 million at scale 1) with
 * --scale.
 *
 * One operation is one block, from its malloc to its free.
 */
#include "fifo.h"

enum {
    BLOCK_BYTES = 592,
    BATCH = 256,
    QUEUE_BATCHES = 384,
    WORK_BATCHES = 8000000 / BATCH,
};

static struct fifo queue;
static uint64_t batches_each; // [const] of one producer
static uint64_t produced[BENCH_THREADS_MAX];

static void produce(int number, void *argument)
{
    (void)argument;
    void *batch[BATCH];
    uint64_t done = 0;
    for (; bench_more(done, batches_each); done++) {
        for (int i = 0; i < BATCH; i++) {
            batch[i] = bench_block(malloc(BLOCK_BYTES));
            bench_mark(batch[i], BLOCK_BYTES, (uintptr_t)batch[i]);
        }
        fifo_put(&queue, batch, BATCH);
    }
    produced[number] = done;
}

static void consume(int number, void *argument)
{
    (void)number;
    double *freed = (double *)argument;
    void *batch[BATCH];
    size_t count;
    while ((count = fifo_take(&queue, batch, BATCH)) > 0) {
        for (size_t i = 0; i < count; i++) {
            bench_check(batch[i], BLOCK_BYTES, (uintptr_t)batch[i]);
            free(batch[i]);
        }
        *freed += (double)count;
    }
}

int main(int argc, char **argv)
{
    struct bench_thread consumer;
    double freed = 0, made = 0;
    bench_start(argc, argv, "free-only", 4);
    double length = bench.scale < 1 ? sqrt(bench.scale) : 1;
    size_t live = (size_t)(QUEUE_BATCHES * length) * BATCH;
    fifo_init(&queue, live + BATCH, live);
    batches_each = (bench_scaled(WORK_BATCHES, 1) - 1) / (uint64_t)bench.threads + 1;

    bench_begin();
    bench_thread_start(&consumer, 0, consume, &freed);
    bench_run_threads(bench.threads, produce, NULL);
    fifo_close(&queue);
    bench_thread_join(&consumer);
    bench_end();

    for (int i = 0; i < bench.threads; i++) made += (double)produced[i] * BATCH;
    bench_expect(freed == made);
    double live_kib = (double)(live + BATCH) * BLOCK_BYTES / 1024;
    bench_add_value("peak_over_live", "1", bench_peak_kib() / live_kib);
    bench_add_value("live_kib", "KiB", live_kib);
    return bench_finish(made);
}
