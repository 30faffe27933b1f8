/* pool.c: a thread pool in which what one thread allocates another one frees, for a long time.
 *
 * Models a server of tasks, the pattern of most reports of memory that grows over night: 20,000
 * tasks at scale 1 wait in one queue. A worker (--threads, 4 unless told) takes 16 of them; for
 * each it checks and frees the 1 to 16 blocks that the worker before has left in the task, and the
 * task itself; it allocates a new task with new blocks of 32 to 2048 bytes, and as many that it
 * frees at once; and puts the tasks back at the end of the queue. The live set stays what it was at
 * the start, but for chance; so should the memory.
 *
 * Each task brings its own random numbers, so that the sizes do not depend on which worker got it.
 *
 * Values: growth is the peak of resident memory in the last quarter of the run over that of the
 * first quarter, peak_over_live the highest peak over the live bytes. The series is resident memory
 * over the number of tasks done.
 *
 * One operation is a task: at 10,000 tasks a second, the 600,000 tasks of scale 1 are one minute.
 * They are 19 allocations each.
 */
#include "fifo.h"
#include "sealed.h"
#include <stdatomic.h>

enum {
    TASKS = 20000,
    BATCH = 16,
    WORK = 600000,
    PIECES_MAX = 16,
    OCTAVES = 6, // 32 to 2048 bytes
    SAMPLES = 400,
};

struct task {
    struct sealed *pieces;
    uint64_t random;
    size_t bytes; // of all pieces
};

struct sample {
    double tasks;
    double kib;
};

static struct fifo queue;
static uint64_t batches_total; // [const]
static _Atomic uint64_t batches_done;
static _Atomic uint64_t live_bytes;
static struct sample sample[SAMPLES + 1]; // each written by the thread that did the batch

static struct task *task_new(uint64_t random)
{
    struct task *task = (struct task *)bench_block(malloc(sizeof *task));
    uint32_t count = 1 + bench_random_below(&random, PIECES_MAX);
    task->pieces = NULL;
    task->bytes = sizeof *task;
    for (uint32_t i = 0; i < count; i++) {
        struct sealed *piece = sealed_new(sealed_octave_bytes(&random, OCTAVES));
        struct sealed *scratch = sealed_new(sealed_octave_bytes(&random, OCTAVES));
        task->bytes += piece->bytes;
        sealed_push(&task->pieces, piece);
        sealed_free(scratch);
    }
    task->random = random;
    return task;
}

// Its random numbers, for the task that follows it.
static uint64_t task_free(struct task *task)
{
    uint64_t random = task->random;
    size_t bytes = sealed_free_all(task->pieces);
    bench_expect(bytes + sizeof *task == task->bytes);
    free(task);
    return random;
}

// Whoever completes the next 1/SAMPLES of the work looks at the memory.
static void look(uint64_t done)
{
    uint64_t place = done * SAMPLES / batches_total;
    bool is_first = (done - 1) * SAMPLES / batches_total != place;
    if (!is_first || place > SAMPLES) return;
    sample[place].tasks = (double)done * BATCH;
    sample[place].kib = bench_resident_kib();
}

static void work(int number, void *argument)
{
    (void)number;
    (void)argument;
    void *batch[BATCH];
    while (bench_more(atomic_load(&batches_done), batches_total)) {
        size_t count = fifo_take(&queue, batch, BATCH);
        int64_t change = 0;
        for (size_t i = 0; i < count; i++) {
            struct task *task = (struct task *)batch[i];
            change -= (int64_t)task->bytes;
            batch[i] = task = task_new(task_free(task));
            change += (int64_t)task->bytes;
        }
        fifo_put(&queue, batch, count);
        atomic_fetch_add(&live_bytes, (uint64_t)change);
        look(atomic_fetch_add(&batches_done, 1) + 1);
    }
}

// The highest of the samples from one part of the work to another.
static double peak_between(double from, double to)
{
    double peak = 0, end = (double)batches_total * BATCH;
    for (int i = 0; i <= SAMPLES; i++) {
        bool inside = sample[i].tasks >= from * end && sample[i].tasks <= to * end;
        if (inside && sample[i].kib > peak) peak = sample[i].kib;
    }
    return peak;
}

static void report(void)
{
    struct bench_series *series = bench_add_series("resident", "tasks", "KiB");
    for (int i = 0; i <= SAMPLES; i++) {
        if (sample[i].kib > 0) bench_add_point(series, sample[i].tasks, sample[i].kib);
    }
    double first = peak_between(0, 0.25), last = peak_between(0.75, 1);
    double live = (double)atomic_load(&live_bytes) / 1024;
    bench_add_value("growth", "1", first > 0 && last > 0 ? last / first : 0);
    bench_add_value("peak_over_live", "1", bench_peak_kib() / live);
    bench_add_value("live_kib", "KiB", live);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "pool", 4);
    size_t batches = (size_t)(TASKS / BATCH * (bench.scale < 1 ? sqrt(bench.scale) : 1)) + 1;
    // Every worker holds a batch in its hands.
    batches += (size_t)bench.threads;
    fifo_init(&queue, batches * BATCH, 0);
    batches_total = bench_scaled(WORK / BATCH, 16);
    for (size_t i = 0; i < batches; i++) {
        void *batch[BATCH];
        for (size_t k = 0; k < BATCH; k++) {
            struct task *task = task_new(bench_random_start(i * BATCH + k));
            atomic_fetch_add(&live_bytes, task->bytes);
            batch[k] = task;
        }
        fifo_put(&queue, batch, BATCH);
    }
    sample[0].kib = bench_resident_kib();

    bench_begin();
    bench_run_threads(bench.threads, work, NULL);
    bench_end();

    report();
    void *rest[BATCH];
    fifo_close(&queue);
    for (size_t count; (count = fifo_take(&queue, rest, BATCH)) > 0;) {
        for (size_t i = 0; i < count; i++) task_free((struct task *)rest[i]);
    }
    return bench_finish((double)atomic_load(&batches_done) * BATCH);
}
