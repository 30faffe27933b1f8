/* spike.c: what stays resident after a spike, while nobody allocates any more.
 *
 * Models the complaint that a service keeps the memory of its busiest minute for days: four threads
 * build 450 MiB of blocks at scale 1, of 32 bytes to 1 MiB with the same number of bytes in every
 * octave, free them all, and then wait. The main thread reads the resident memory: at once, after a
 * tenth of --idle (10 s unless told: so after 1 s), and at its end. Nobody calls the allocator
 * meanwhile; so memory goes back only when free gives it back, or when a thread of the allocator's
 * own does it.
 *
 * With --active 1 each of the four threads frees and asks for 20 blocks every 10 ms instead, as a
 * service does that is still alive: this lets an allocator give memory back that does so in calls.
 *
 * Values: kept_at_once, kept_early and kept_late are percent of what the spike added, the same with
 * _kib the whole resident memory, spike_kib what it was at the top. The series is resident memory
 * from the first free on.
 *
 * One operation is a malloc or a free of the spike. The time is that of the spike, without
 * idleness.
 */
#include "sealed.h"

enum {
    OCTAVES = 15, // 32 bytes to 1 MiB
    LISTS = 16,
    SPIKE_MIB = 450,
    POINTS = 200,
    LIGHT_BLOCKS = 200,
    LIGHT_CALLS = 20,
};

static pthread_barrier_t step; // all threads and the main one
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static bool idle_over;                     // under `lock`
static bool active;                        // [const]
static size_t bytes_each;                  // [const] of one thread's part of the spike
static uint64_t blocks[BENCH_THREADS_MAX]; // each thread its own, read after the threads' end

// Blocks go to random lists, and are freed list by list: not in the order in which they came.
static uint64_t spike_build(struct sealed **list, uint64_t *random)
{
    uint64_t count = 0;
    for (size_t built = 0; built < bytes_each; count++) {
        struct sealed *block = sealed_new(sealed_octave_bytes(random, OCTAVES));
        built += block->bytes;
        sealed_push(&list[bench_random_below(random, LISTS)], block);
    }
    return count;
}

// Sleeps without a call of the allocator.
static void park(void)
{
    pthread_mutex_lock(&lock);
    while (!idle_over) pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
}

static void park_end(void)
{
    pthread_mutex_lock(&lock);
    idle_over = true;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
}

static bool is_idle_over(void)
{
    pthread_mutex_lock(&lock);
    bool over = idle_over;
    pthread_mutex_unlock(&lock);
    return over;
}

static void work_lightly(uint64_t *random)
{
    struct sealed *light[LIGHT_BLOCKS] = {NULL};
    while (!is_idle_over()) {
        for (int i = 0; i < LIGHT_CALLS; i++) {
            struct sealed **slot = &light[bench_random_below(random, LIGHT_BLOCKS)];
            if (*slot != NULL) sealed_free(*slot);
            *slot = sealed_new(bench_random_between(random, SEALED_MIN_BYTES, 1024));
        }
        bench_sleep(0.01);
    }
    for (int i = 0; i < LIGHT_BLOCKS; i++) {
        if (light[i] != NULL) sealed_free(light[i]);
    }
}

static void worker(int number, void *argument)
{
    (void)argument;
    uint64_t random = bench_random_start((uint64_t)number);
    struct sealed *list[LISTS] = {NULL};
    pthread_barrier_wait(&step); // all threads are there: nothing is built yet
    blocks[number] = spike_build(list, &random);
    pthread_barrier_wait(&step); // the top
    pthread_barrier_wait(&step); // the main thread has read it
    for (int i = 0; i < LISTS; i++) sealed_free_all(list[i]);
    pthread_barrier_wait(&step); // all is free
    if (active)
        work_lightly(&random);
    else
        park();
}

// Reads the resident memory from now to the end of idleness; what it is at once, early and late.
static void watch(double idle, double kib[3])
{
    struct bench_series *series = bench_add_series("resident", "s", "KiB");
    double start = bench_now(), next = 0;
    bool early = false;
    for (double now = 0;; now = bench_now() - start) {
        double resident = bench_resident_exact_kib();
        bench_add_point(series, now, resident);
        if (series->points == 1) kib[0] = resident;
        if (now >= idle / 10 && !early) {
            kib[1] = resident;
            early = true;
        }
        kib[2] = resident;
        if (now >= idle) return;
        // Twice as dense in the first tenth, where it happens; never past the two marks.
        next = now + idle / POINTS / (early ? 1 : 2);
        if (!early && next > idle / 10) next = idle / 10;
        if (next > idle) next = idle;
        bench_sleep(next - (bench_now() - start) > 0 ? next - (bench_now() - start) : 0);
    }
}

static void report(double base, double top, const double kib[3])
{
    static const char *const percent[] = {"kept_at_once", "kept_early", "kept_late"};
    static const char *const absolute[] = {"kept_at_once_kib", "kept_early_kib", "kept_late_kib"};
    for (int i = 0; i < 3; i++) {
        bench_add_value(percent[i], "%", 100 * (kib[i] - base) / (top - base));
    }
    for (int i = 0; i < 3; i++) bench_add_value(absolute[i], "KiB", kib[i]);
    bench_add_value("spike_kib", "KiB", top);
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--idle", "--active", NULL};
    static struct bench_thread thread[BENCH_THREADS_MAX];
    double kib[3] = {0, 0, 0};
    bench_start_with_flags(argc, argv, "spike", 4, flags);
    double idle = bench_flag_number("--idle", 10, 0.01, 3600);
    active = bench_flag_number("--active", 0, 0, 1) == 1;
    bytes_each = (size_t)bench_scaled((double)((size_t)SPIKE_MIB << 20) / bench.threads, 1);
    pthread_barrier_init(&step, NULL, (unsigned)bench.threads + 1);
    for (int i = 0; i < bench.threads; i++) bench_thread_start(&thread[i], i, worker, NULL);

    double base = bench_resident_exact_kib();
    bench_begin();
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    double top = bench_resident_exact_kib();
    pthread_barrier_wait(&step);
    pthread_barrier_wait(&step);
    bench_end();
    watch(idle, kib);
    park_end();

    double operations = 0;
    for (int i = 0; i < bench.threads; i++) {
        bench_thread_join(&thread[i]);
        operations += 2 * (double)blocks[i];
    }
    report(base, top, kib);
    return bench_finish(operations);
}
