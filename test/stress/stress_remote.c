/* stress_remote.c: producers allocate, one consumer only frees. Peak resident memory stays within a
 * factor 1.6 of what was live at most, plus a constant. */
#include "stress.h"
#include "../support/process_info.h"

enum { BATCH = 256, QUEUE_COUNT = 512, CONSTANT_KIB = 16 * 1024 };

struct batch {
    void *blocks[BATCH];
    size_t bytes; // usable ones of its blocks, together
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct batch batches[QUEUE_COUNT]; // static: the consumer allocates nothing at all
    size_t head, tail;
    size_t producers;
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct stress_options options;
static size_t live_bytes, peak_bytes; // [any] atomic

static void count_live(size_t added, size_t removed)
{
    size_t live = __atomic_add_fetch(&live_bytes, added - removed, __ATOMIC_RELAXED);
    size_t peak = __atomic_load_n(&peak_bytes, __ATOMIC_RELAXED);
    while (live > peak && !__atomic_compare_exchange_n(&peak_bytes, &peak, live, true,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

static void make_batch(struct batch *batch, struct test_random *random)
{
    batch->bytes = 0;
    for (size_t i = 0; i < BATCH; i++) {
        size_t bytes = 16 + random_below(random, 1000);
        uint64_t *block = (uint64_t *)mi_malloc(bytes);
        EXPECT(block != NULL);
        batch->blocks[i] = block;
        if (block == NULL) continue;
        memset(block, (int)(i & 0xFF), bytes);
        block[0] = (uintptr_t)block;
        batch->bytes += mi_usable_size(block);
    }
    count_live(batch->bytes, 0);
}

static void *produce(void *arg)
{
    struct test_random random = stress_random(&options, (size_t)(uintptr_t)arg);
    struct batch batch;
    for (size_t i = 0; i < options.ops; i++) {
        make_batch(&batch, &random);
        pthread_mutex_lock(&queue.mutex);
        while (queue.head - queue.tail == QUEUE_COUNT)
            pthread_cond_wait(&queue.changed, &queue.mutex);
        queue.batches[queue.head++ % QUEUE_COUNT] = batch;
        pthread_cond_broadcast(&queue.changed);
        pthread_mutex_unlock(&queue.mutex);
    }
    pthread_mutex_lock(&queue.mutex);
    queue.producers--;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.mutex);
    return NULL;
}

static bool take_batch(struct batch *batch)
{
    pthread_mutex_lock(&queue.mutex);
    while (queue.head == queue.tail && queue.producers > 0)
        pthread_cond_wait(&queue.changed, &queue.mutex);
    bool is_taken = queue.head != queue.tail;
    if (is_taken) *batch = queue.batches[queue.tail++ % QUEUE_COUNT];
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.mutex);
    return is_taken;
}

static void consume(void)
{
    struct batch batch;
    while (take_batch(&batch)) {
        for (size_t i = 0; i < BATCH; i++) {
            uint64_t *block = (uint64_t *)batch.blocks[i];
            if (block == NULL) continue;
            EXPECT(block[0] == (uintptr_t)block && ((unsigned char *)block)[15] == (i & 0xFF));
            mi_free(block);
        }
        count_live(0, batch.bytes);
    }
}

static void *consume_or_produce(void *arg)
{
    if ((uintptr_t)arg == 0) {
        consume();
        return NULL;
    }
    return produce(arg);
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 3, 4000);
    if (options.threads >= STRESS_MAX_THREADS)
        options.threads = STRESS_MAX_THREADS - 1; // and the consumer
    queue.producers = options.threads;
    memset(queue.batches, 1, sizeof queue.batches);
    size_t start_kib = process_resident_kib();
    stress_run_threads(options.threads + 1, consume_or_produce);
    size_t peak_kib = process_status_kib("VmHWM:") - start_kib;
    size_t limit_kib = peak_bytes / 1024 * 16 / 10 + CONSTANT_KIB;
    EXPECT(live_bytes == 0);
    if (TEST_RESIDENT_TELLS) EXPECT(peak_kib <= limit_kib);
    if (test_failures() > 0)
        fprintf(stderr, "peak %zu KiB resident, %zu live\n", peak_kib, peak_bytes / 1024);
    return stress_result(argv[0], &options);
}
