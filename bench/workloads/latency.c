/* latency.c: how long single calls of malloc and free take, each of them timed.
 *
 * No suite measures it; it is what services with a deadline ask for. Two patterns of threads
 * (--pattern 1, the default, and 2):
 *
 *   1  as in `larson`: each thread has 5000 blocks of 8 to 1000 bytes and replaces random ones;
 *      after 50,000 replacements a new thread takes the blocks over.
 *   2  as in `mstress`: rounds of new threads, each with a growing set of mixed sizes: one in 100
 *      is 10 times as large, one in 1000 a 100 times and one in 20,000 a 1000 times; one step in
 *      ten exchanges a block with a table that all threads share, and half of the blocks outlive
 *      the round.
 *
 * A call is timed by the cycle counter, fenced on both sides, and counted in a table that is not on
 * the heap: buckets of 1/64 of an octave, so that a time is known to 0.8 %. The counter is
 * calibrated against the clock. Its own overhead is reported (timer_overhead) and not subtracted;
 * on some processors it moves in steps of 10 ns. What a thread does between two calls, such as the
 * first touch of a block, is not timed.
 *
 * Preemption is no property of the allocator, and on few processors it makes the tail. The kernel
 * counts for each thread how often it lost the processor against its will. It is asked after each
 * call, and each pause between two calls, of more than 3 us: shorter ones are no preemption. A call
 * during which the count grew is counted apart (preempted_malloc: how many; max_malloc_all: the
 * longest call with these included). Time that a thread waits for a lock stays in, also when the
 * holder was preempted: that is the allocator's. Where an allocator spins with sched_yield, and
 * there are more threads than processors, its yields are taken for preemption: then
 * p99.99_malloc_all, which leaves nothing out, tells more. Interrupts, and time that a hypervisor
 * takes, cannot be recognised and stay in. The blocks that pattern 1 begins with are not timed.
 *
 * --pin 1 ties thread i to the i-th processor that the program may use.
 *
 * The series latency_malloc and latency_free have the quantile q as -log10(1 - q): 3 means 99.9 %.
 *
 * The work at scale 1 is 2,000,000 replacements or steps, shared by the threads. One operation is a
 * call that was timed.
 */
#include "bench.h"
#include <sched.h>
#include <stdatomic.h>
#if defined(__x86_64__) || defined(__i386__)
#include <x86intrin.h>
#endif

enum {
    SUB_BITS = 6, // 64 buckets an octave
    BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS,
    CALIBRATE_MS = 20,
    SLOW_NS = 3000, // shorter than any preemption
    OVERHEAD_READS = 20000,
    WORK = 2000000,
    ROUND_STEPS = 50000, // at most, in one thread's life
    LARSON_BLOCKS = 5000,
    LARSON_MIN_BYTES = 8,
    LARSON_MAX_BYTES = 1000,
    STRESS_BLOCKS = 20000,
    STRESS_MIN_BYTES = 8,
    STRESS_MAX_BYTES = 1024,
    TRANSFER_SLOTS = 1000,
};

// --- the counter ---------------------------------------------------------------------------------

#if defined(__x86_64__) || defined(__i386__)
static inline uint64_t ticks(void)
{
    _mm_lfence();
    uint64_t now = __rdtsc();
    _mm_lfence();
    return now;
}
#elif defined(__aarch64__)
static inline uint64_t ticks(void)
{
    uint64_t now;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(now)::"memory");
    return now;
}
#else
static inline uint64_t ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif

static double ns_per_tick;  // [const] after ticks_calibrate
static uint64_t slow_ticks; // [const]

static void ticks_calibrate(void)
{
    double start = bench_now(), now;
    uint64_t from = ticks(), to;
    do {
        now = bench_now();
        to = ticks();
    } while (now - start < CALIBRATE_MS * 1e-3);
    ns_per_tick = (now - start) * 1e9 / (double)(to - from);
    slow_ticks = (uint64_t)(SLOW_NS / ns_per_tick);
}

// --- a table of times ----------------------------------------------------------------------------

// Bucket i holds one value below 2 << SUB_BITS, above it 2^shift values.
struct histogram {
    uint64_t calls;
    uint64_t longest;
    uint64_t bucket[BUCKETS];
};

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    int octave = 63 - __builtin_clzll(value | 1);
    int shift = octave > SUB_BITS ? octave - SUB_BITS : 0;
    histogram->bucket[((uint64_t)shift << SUB_BITS) + (value >> shift)]++;
    histogram->calls++;
    if (value > histogram->longest) histogram->longest = value;
}

// The middle of a bucket.
static double bucket_ticks(int index)
{
    int shift = index < 2 << SUB_BITS ? 0 : (index >> SUB_BITS) - 1;
    uint64_t low = (uint64_t)(index - (shift << SUB_BITS)) << shift;
    return (double)low + (double)(((uint64_t)1 << shift) - 1) / 2;
}

static void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (int i = 0; i < BUCKETS; i++) into->bucket[i] += from->bucket[i];
    into->calls += from->calls;
    if (from->longest > into->longest) into->longest = from->longest;
}

// The time that a part `quantile` of the calls does not exceed, in ns.
static double histogram_quantile(const struct histogram *histogram, double quantile)
{
    uint64_t wanted = (uint64_t)ceil(quantile * (double)histogram->calls), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram->bucket[i];
        if (seen >= wanted && seen > 0) return bucket_ticks(i) * ns_per_tick;
    }
    return 0;
}

// --- timed calls ---------------------------------------------------------------------------------

enum kind { MALLOC, FREE, KINDS };

// One line of threads counts here, one thread at a time.
struct meter {
    struct histogram undisturbed[KINDS];
    struct histogram preempted[KINDS];
    uint64_t last; // when the last call ended
    long switches; // losses of the processor up to then
};

static long involuntary_switches(void)
{
#ifdef RUSAGE_THREAD
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
#else
    return 0;
#endif
}

// At the start of each thread, and after what takes long.
static void meter_resume(struct meter *meter)
{
    meter->switches = involuntary_switches();
    meter->last = ticks();
}

// The time at which a call begins. A long pause before it may hold a preemption: not the call's.
static inline uint64_t meter_begin(struct meter *meter)
{
    uint64_t begin = ticks();
    if (__builtin_expect(begin - meter->last <= slow_ticks, 1)) return begin;
    meter_resume(meter);
    return ticks();
}

static inline void meter_end(struct meter *meter, enum kind kind, uint64_t begin)
{
    uint64_t end = ticks();
    struct histogram *histogram = &meter->undisturbed[kind];
    if (__builtin_expect(end - begin > slow_ticks, 0)) {
        long before = meter->switches;
        meter->switches = involuntary_switches();
        if (meter->switches != before) histogram = &meter->preempted[kind];
    }
    histogram_add(histogram, end - begin);
    meter->last = ticks();
}

static inline void *meter_malloc(struct meter *meter, size_t bytes)
{
    uint64_t begin = meter_begin(meter);
    void *block = malloc(bytes);
    meter_end(meter, MALLOC, begin);
    return bench_block(block);
}

static inline void meter_free(struct meter *meter, void *block)
{
    uint64_t begin = meter_begin(meter);
    free(block);
    meter_end(meter, FREE, begin);
}

// --- lines of threads ----------------------------------------------------------------------------

struct block {
    void *memory;
    size_t bytes;
};

// What the threads of one line hand to each other.
struct lane {
    struct meter meter;
    uint64_t random;
    int count; // blocks in use, for pattern 2
    struct block block[STRESS_BLOCKS];
};

static struct lane *lanes;           // [const]
static int lane_count;               // [const]
static int steps;                    // [const] in one thread's life
static bool pinned;                  // [const]
static cpu_set_t allowed_processors; // [const]

// Blocks that pass between threads carry their size in the first word instead.
static _Atomic(uint64_t *) transfer[TRANSFER_SLOTS];

// Thread i runs on the i-th of the allowed processors, counted round and round.
static void pin_thread(int number)
{
    int left = number % CPU_COUNT(&allowed_processors);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed_processors) || left-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        return;
    }
}

static void lane_resume(int number, struct lane *lane)
{
    if (pinned) pin_thread(number);
    free(bench_block(malloc(1))); // finds the two functions, and makes the thread known
    meter_resume(&lane->meter);
}

// --- pattern 1 -----------------------------------------------------------------------------------

static size_t larson_bytes(uint64_t *random)
{
    return bench_random_between(random, LARSON_MIN_BYTES, LARSON_MAX_BYTES);
}

static void larson_fill(struct block *block, void *memory, size_t bytes)
{
    block->memory = memory;
    block->bytes = bytes;
    bench_mark(memory, bytes, (uintptr_t)block);
}

// Not timed: a server that runs is asked about, not one that starts.
static void larson_begin(struct lane *lane)
{
    for (; lane->count < LARSON_BLOCKS; lane->count++) {
        size_t bytes = larson_bytes(&lane->random);
        larson_fill(&lane->block[lane->count], bench_block(malloc(bytes)), bytes);
    }
}

static void larson_empty(struct lane *lane, struct block *block)
{
    bench_check(block->memory, block->bytes, (uintptr_t)block);
    meter_free(&lane->meter, block->memory);
}

static void larson_round(int number, void *argument)
{
    (void)argument;
    struct lane *lane = &lanes[number];
    larson_begin(lane);
    lane_resume(number, lane);
    for (int i = 0; i < steps; i++) {
        struct block *block = &lane->block[bench_random_below(&lane->random, LARSON_BLOCKS)];
        larson_empty(lane, block);
        size_t bytes = larson_bytes(&lane->random);
        larson_fill(block, meter_malloc(&lane->meter, bytes), bytes);
    }
}

// --- pattern 2 -----------------------------------------------------------------------------------

static size_t stress_bytes(uint64_t *random)
{
    uint32_t kind = bench_random_below(random, 20000);
    size_t bytes = (size_t)STRESS_MIN_BYTES << bench_random_below(random, 8);
    if (kind == 0) return bytes * 1000;
    if (kind <= 20) return bytes * 100;
    if (kind <= 200) return bytes * 10;
    return bytes;
}

// The first word is the size, the last one its complement where there is room.
static void stress_add(struct lane *lane)
{
    if (lane->count == STRESS_BLOCKS) return;
    size_t bytes = stress_bytes(&lane->random);
    void *memory = meter_malloc(&lane->meter, bytes);
    if (bytes > 4096) bench_touch(memory, bytes);
    bench_mark(memory, bytes, bytes);
    lane->block[lane->count++].memory = memory;
}

static void stress_free(struct lane *lane, void *memory)
{
    uint64_t bytes;
    memcpy(&bytes, memory, sizeof bytes);
    bench_expect(bytes >= STRESS_MIN_BYTES && bytes <= STRESS_MAX_BYTES * 1000);
    bench_check(memory, bytes, bytes);
    meter_free(&lane->meter, memory);
}

static void stress_remove(struct lane *lane)
{
    if (lane->count == 0) return;
    struct block *block = &lane->block[bench_random_below(&lane->random, (uint32_t)lane->count)];
    void *memory = block->memory;
    *block = lane->block[--lane->count];
    stress_free(lane, memory);
}

static void stress_exchange(struct lane *lane)
{
    if (lane->count == 0) return;
    struct block *last = &lane->block[lane->count - 1];
    last->memory = atomic_exchange(&transfer[bench_random_below(&lane->random, TRANSFER_SLOTS)],
                                   (uint64_t *)last->memory);
    if (last->memory == NULL) lane->count--;
}

static void stress_round(int number, void *argument)
{
    (void)argument;
    struct lane *lane = &lanes[number];
    lane_resume(number, lane);
    for (int i = 0; i < steps; i++) {
        uint32_t kind = bench_random_below(&lane->random, 10);
        if (kind < 5)
            stress_add(lane);
        else if (kind < 9)
            stress_remove(lane);
        else
            stress_exchange(lane);
    }
    for (int left = lane->count / 2; left > 0; left--) stress_remove(lane);
}

// --- the result ----------------------------------------------------------------------------------

struct names {
    const char *p50, *p99, *p999, *p9999, *longest, *p9999_all, *longest_all, *preempted, *series;
};

static const struct names names[KINDS] = {
    {"p50_malloc", "p99_malloc", "p99.9_malloc", "p99.99_malloc", "max_malloc", "p99.99_malloc_all",
     "max_malloc_all", "preempted_malloc", "latency_malloc"},
    {"p50_free", "p99_free", "p99.9_free", "p99.99_free", "max_free", "p99.99_free_all",
     "max_free_all", "preempted_free", "latency_free"},
};

// Points nearer than this to the one before are left out, but for the longest call.
static const double CURVE_STEP = 0.02;

static void report_curve(const char *name, const struct histogram *histogram)
{
    struct bench_series *series = bench_add_series(name, "-log10(1-q)", "ns");
    uint64_t seen = 0;
    double last = -1;
    for (int i = 0; i < BUCKETS && seen < histogram->calls; i++) {
        if (histogram->bucket[i] == 0) continue;
        seen += histogram->bucket[i];
        // Half a call stands beyond the longest: else its place would be at infinity.
        double beyond = (double)(histogram->calls - seen) + 0.5;
        double x = log10((double)histogram->calls / beyond);
        if (x - last < CURVE_STEP && seen < histogram->calls) continue;
        bench_add_point(series, x < 0 ? 0 : x, bucket_ticks(i) * ns_per_tick);
        last = x;
    }
}

// The number of calls.
static double report(enum kind kind)
{
    static struct histogram undisturbed, all;
    memset(&undisturbed, 0, sizeof undisturbed);
    memset(&all, 0, sizeof all);
    for (int i = 0; i < lane_count; i++) {
        histogram_merge(&undisturbed, &lanes[i].meter.undisturbed[kind]);
        histogram_merge(&all, &lanes[i].meter.preempted[kind]);
    }
    uint64_t preempted = all.calls;
    histogram_merge(&all, &undisturbed);
    const struct names *name = &names[kind];
    bench_add_value(name->p50, "ns", histogram_quantile(&undisturbed, 0.5));
    bench_add_value(name->p99, "ns", histogram_quantile(&undisturbed, 0.99));
    bench_add_value(name->p999, "ns", histogram_quantile(&undisturbed, 0.999));
    bench_add_value(name->p9999, "ns", histogram_quantile(&undisturbed, 0.9999));
    bench_add_value(name->longest, "ns", (double)undisturbed.longest * ns_per_tick);
    bench_add_value(name->p9999_all, "ns", histogram_quantile(&all, 0.9999));
    bench_add_value(name->longest_all, "ns", (double)all.longest * ns_per_tick);
    bench_add_value(name->preempted, "1", (double)preempted);
    report_curve(name->series, &undisturbed);
    return (double)all.calls;
}

// What a call that does nothing would seem to take.
static void report_timer(void)
{
    static struct histogram empty;
    for (int i = 0; i < OVERHEAD_READS; i++) {
        uint64_t begin = ticks();
        histogram_add(&empty, ticks() - begin);
    }
    bench_add_value("timer_overhead", "ns", histogram_quantile(&empty, 0.5));
}

static void free_all(bool larson)
{
    for (int i = 0; i < lane_count; i++) {
        struct lane *lane = &lanes[i];
        meter_resume(&lane->meter);
        for (int k = 0; k < lane->count; k++) {
            if (larson)
                larson_empty(lane, &lane->block[k]);
            else
                stress_free(lane, lane->block[k].memory);
        }
    }
    for (int i = 0; i < TRANSFER_SLOTS; i++) {
        if (transfer[i] != NULL) stress_free(&lanes[0], transfer[i]);
    }
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--pattern", "--pin", NULL};
    bench_start_with_flags(argc, argv, "latency", 2, flags);
    bool larson = (int)bench_flag_number("--pattern", 1, 1, 2) == 1;
    pinned = bench_flag_number("--pin", 0, 0, 1) == 1;
    sched_getaffinity(0, sizeof allowed_processors, &allowed_processors);
    lane_count = bench.threads;
    lanes = (struct lane *)bench_map((size_t)lane_count * sizeof *lanes);
    for (int i = 0; i < lane_count; i++) lanes[i].random = bench_random_start((uint64_t)i);
    ticks_calibrate();

    uint64_t each = bench_scaled((double)WORK / lane_count, 2);
    steps = each / 2 < ROUND_STEPS ? (int)(each / 2) : ROUND_STEPS;
    uint64_t rounds = each / (uint64_t)steps;
    bench_begin();
    for (uint64_t done = 0; bench_more(done, rounds); done++) {
        bench_run_threads(lane_count, larson ? larson_round : stress_round, NULL);
    }
    bench_end();

    free_all(larson);
    double calls = report(MALLOC) + report(FREE);
    report_timer();
    return bench_finish(calls);
}
