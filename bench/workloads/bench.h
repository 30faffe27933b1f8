/* bench.h: what every workload shares: flags, random numbers, threads, marks in blocks, the result.
 *
 * A workload is one program that uses the standard allocation calls only, so that any allocator can
 * be preloaded. Its main function calls bench_start(), asks bench_more() whether another round of
 * work is to be done, and returns what bench_finish() returns.
 *
 * Flags: --threads N, --scale X (amount of work; 1, the default, is what a header describes),
 * --seconds S (work until S seconds have passed instead; memory is then not comparable between
 * allocators), --seed N, --json (the result as one line of JSON instead of words). A workload with
 * flags of its own reads them with bench_flag_number().
 *
 * Nothing here allocates, and all of it compiles as C11 and as C++17.
 */
#ifndef WORKLOADS_BENCH_H
#define WORKLOADS_BENCH_H
// So that a workload compiles without flags, too: cc -std=c11 -O2 cfrac.c
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    BENCH_THREADS_MAX = 16384,
    BENCH_VALUES_MAX = 64,
    BENCH_SERIES_MAX = 4,
    BENCH_POINTS_MAX = 2048,
    BENCH_OUTPUT_BYTES = 1 << 18,
};

struct bench_value {
    const char *name; // as in {"p99.9_malloc": ...}
    const char *unit; // "ns" "KiB" "s" "1" ...
    double value;
};

struct bench_series {
    const char *name;
    const char *x_unit;
    const char *y_unit;
    int points;
    double x[BENCH_POINTS_MAX];
    double y[BENCH_POINTS_MAX];
};

// [const] after bench_start, but for the results, which the main thread alone adds to.
struct bench_state {
    const char *name;
    int threads;
    double scale;
    double seconds; // 0: fixed work
    uint64_t seed;
    bool json;
    int argc;
    char **argv;
    double start; // of bench_start
    double began; // of the timed part
    double ended;
    int values;
    struct bench_value value[BENCH_VALUES_MAX];
    int series_count;
    struct bench_series series[BENCH_SERIES_MAX];
};

static struct bench_state bench;

// --- time ----------------------------------------------------------------------------------------

// Seconds of a clock that only goes forward.
static inline double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void bench_sleep(double seconds)
{
    struct timespec rest;
    rest.tv_sec = (time_t)seconds;
    rest.tv_nsec = (long)((seconds - (double)rest.tv_sec) * 1e9);
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {}
}

// --- failing -------------------------------------------------------------------------------------

// Ends the program with one line: exit status 1 for a wrong result or memory that ran out, 2 for a
// wrong flag.
__attribute__((noreturn, format(printf, 2, 3))) static inline void
bench_fail(int status, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int head = snprintf(line, sizeof line, "%s: ", bench.name ? bench.name : "bench");
    vsnprintf(line + head, sizeof line - (size_t)head - 1, format, arguments);
    va_end(arguments);
    strcat(line, "\n");
    ssize_t ignored = write(2, line, strlen(line));
    (void)ignored;
    _exit(status);
}

// Ends the program with a message when a result is wrong. Stays in every build.
#define bench_expect(condition)                                                                    \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            bench_fail(1, "line %d: wrong result: %s", __LINE__, #condition);                      \
    } while (0)

// A block that was asked for and must be there.
static inline void *bench_block(void *block)
{
    if (__builtin_expect(block == NULL, 0)) bench_fail(1, "out of memory");
    return block;
}

// --- random numbers: splitmix64 (Steele, Lea and Flood, OOPSLA 2014) -----------------------------

static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// A state of its own for each (seed, stream): give each thread its number.
static inline uint64_t bench_random_start(uint64_t stream)
{
    uint64_t state = bench.seed * 0x2545f4914f6cdd1du + stream + 1;
    state = bench_random(&state);
    return state;
}

// Uniform in [0, bound), bound > 0 and below 2^32.
static inline uint32_t bench_random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(((bench_random(state) >> 32) * bound) >> 32);
}

// Uniform in [low, high].
static inline size_t bench_random_between(uint64_t *state, size_t low, size_t high)
{
    return low + bench_random_below(state, (uint32_t)(high - low + 1));
}

// Uniform in [0, 1).
static inline double bench_random_unit(uint64_t *state)
{
    return (double)(bench_random(state) >> 11) * 0x1p-53;
}

// --- marks: the first and the last bytes of a block say whose it is ------------------------------

// Touches the ends of a block only, so that the allocator's time is not drowned. Blocks below 8
// bytes hold the low byte of the tag once.
static inline void bench_mark(void *block, size_t bytes, uint64_t tag)
{
    if (bytes >= sizeof tag) {
        memcpy(block, &tag, sizeof tag);
        if (bytes < 2 * sizeof tag) return;
        tag = ~tag;
        memcpy((char *)block + bytes - sizeof tag, &tag, sizeof tag);
    } else if (bytes > 0) {
        *(unsigned char *)block = (unsigned char)tag;
    }
}

// Ends the program when somebody else wrote into the block.
static inline void bench_check(const void *block, size_t bytes, uint64_t tag)
{
    uint64_t seen = tag;
    if (bytes >= 2 * sizeof tag) {
        memcpy(&seen, (const char *)block + bytes - sizeof tag, sizeof tag);
        seen = ~seen;
        bench_expect(seen == tag);
    }
    if (bytes >= sizeof tag) {
        memcpy(&seen, block, sizeof tag);
        bench_expect(seen == tag);
    } else if (bytes > 0) {
        bench_expect(*(const unsigned char *)block == (unsigned char)tag);
    }
}

// --- the process's memory ------------------------------------------------------------------------

// Reads a small file of /proc; the number of bytes, 0 when there is none.
static inline size_t bench_read_file(const char *path, char *text, size_t bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, text, bytes - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    return got > 0 ? (size_t)got : 0;
}

// A line of a file of /proc in KiB; 0 where the system has no such file.
static inline double bench_proc_kib(const char *path, const char *name)
{
    char text[4096];
    if (bench_read_file(path, text, sizeof text) == 0) return 0;
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtod(line + strlen(name), NULL);
}

// A line of /proc/self/status in KiB, such as "VmRSS:".
static inline double bench_status_kib(const char *name)
{
    return bench_proc_kib("/proc/self/status", name);
}

static inline double bench_resident_kib(void)
{
    return bench_status_kib("VmRSS:");
}

// Counts the pages, where bench_resident_kib reads counters of which each thread, on kernels before
// 6.2, may hold 63 pages back. Takes milliseconds when gigabytes are resident.
static inline double bench_resident_exact_kib(void)
{
    double resident = bench_proc_kib("/proc/self/smaps_rollup", "\nRss:");
    return resident > 0 ? resident : bench_resident_kib();
}

// Not getrusage alone: its maximum is inherited from the process that ran exec.
static inline double bench_peak_kib(void)
{
    double peak = bench_status_kib("VmHWM:");
    if (peak > 0) return peak;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss;
}

static inline long bench_minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

// Zeroed memory that is not the allocator's, for tables. Never given back.
static inline void *bench_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) bench_fail(1, "no memory for tables");
    return memory;
}

// Writes into each 4 KiB of a block, and at its end, so that all of it is resident.
static inline void bench_touch(void *block, size_t bytes)
{
    volatile char *byte = (volatile char *)block;
    for (size_t at = 0; at < bytes; at += 4096) byte[at] = 1;
    if (bytes > 0) byte[bytes - 1] = 1;
}

// --- flags ---------------------------------------------------------------------------------------

static inline double bench_parse(const char *flag, const char *text, double low, double high)
{
    char *end = NULL;
    errno = 0;
    double value = text == NULL ? 0 : strtod(text, &end);
    if (text == NULL || end == text || *end != 0 || !(value >= low && value <= high)) {
        bench_fail(2, "%s wants a number from %g to %g", flag, low, high);
    }
    return value;
}

// The value of a flag of the workload's own, `fallback` when it is not given.
static inline double bench_flag_number(const char *flag, double fallback, double low, double high)
{
    for (int i = 1; i + 1 < bench.argc; i += 2) {
        if (strcmp(bench.argv[i], "--json") == 0) i--;
        else if (strcmp(bench.argv[i], flag) == 0)
            return bench_parse(flag, bench.argv[i + 1], low, high);
    }
    return fallback;
}

// `flags`: the workload's own flags, NULL-ended; NULL when it has none.
static inline void bench_start_with_flags(int argc, char **argv, const char *name,
                                          int default_threads, const char *const *flags)
{
    bench.name = name;
    bench.argc = argc;
    bench.argv = argv;
    bench.threads = default_threads;
    bench.scale = 1;
    bench.seed = 1;
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(flag, "--json") == 0) {
            bench.json = true;
            continue;
        }
        i++;
        if (strcmp(flag, "--threads") == 0) {
            bench.threads = (int)bench_parse(flag, value, 1, BENCH_THREADS_MAX);
        } else if (strcmp(flag, "--scale") == 0) {
            bench.scale = bench_parse(flag, value, 1e-6, 1e6);
        } else if (strcmp(flag, "--seconds") == 0) {
            bench.seconds = bench_parse(flag, value, 1e-3, 1e6);
        } else if (strcmp(flag, "--seed") == 0) {
            bench.seed = (uint64_t)bench_parse(flag, value, 0, 9e15);
        } else {
            const char *const *own = flags;
            while (own != NULL && *own != NULL && strcmp(*own, flag) != 0) own++;
            if (own == NULL || *own == NULL) {
                bench_fail(2, "unknown flag %s: not --threads --scale --seconds --seed --json",
                           flag);
            }
            if (value == NULL) bench_fail(2, "%s wants a number", flag);
        }
    }
    bench.start = bench.began = bench_now();
}

static inline void bench_start(int argc, char **argv, const char *name, int default_threads)
{
    bench_start_with_flags(argc, argv, name, default_threads, NULL);
}

// For a workload that has no use for more threads.
static inline void bench_one_thread(void)
{
    if (bench.threads != 1) bench_fail(2, "there is one thread only");
}

// --- how much work -------------------------------------------------------------------------------

// `base` units of work at scale 1, at least `least`.
static inline uint64_t bench_scaled(double base, uint64_t least)
{
    double units = base * bench.scale;
    return units < (double)least ? least : (uint64_t)units;
}

// CPUs that this process may use.
static inline int bench_cpus(void)
{
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return CPU_COUNT(&usable);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

// What each thread does of `base` units at scale 1: all of them while there is a CPU for every
// thread; with more threads than CPUs as much less as there are more, so that a row takes about as
// long at 16 threads for each CPU as at one.
static inline uint64_t bench_scaled_each(double base, uint64_t least)
{
    double cpus = bench_cpus();
    return bench_scaled(bench.threads > cpus ? base * cpus / bench.threads : base, least);
}

// The size of a round when `work` units are done in rounds of `usual` units: smaller where that
// would be fewer than `least` rounds.
static inline uint64_t bench_round(uint64_t work, uint64_t usual, uint64_t least)
{
    uint64_t units = work / least;
    if (units > usual) return usual;
    return units > 0 ? units : 1;
}

// Whether another unit of work is to be done: `total` units at fixed work, as many as fit when the
// time is fixed. Any thread; ask once per some thousand operations, it reads the clock.
static inline bool bench_more(uint64_t done, uint64_t total)
{
    if (bench.seconds > 0) return bench_now() - bench.began < bench.seconds;
    return done < total;
}

// The timed part begins now (set-up lies before) or ends now (checks lie behind). When they are not
// called it lasts from bench_start to bench_finish.
static inline void bench_begin(void)
{
    bench.began = bench_now();
}
static inline void bench_end(void)
{
    bench.ended = bench_now();
}

// --- threads -------------------------------------------------------------------------------------

typedef void bench_thread_body(int number, void *argument);

struct bench_thread {
    pthread_t handle;
    bench_thread_body *body;
    void *argument;
    int number;
};

static inline void *bench_thread_entry(void *argument)
{
    struct bench_thread *thread = (struct bench_thread *)argument;
    thread->body(thread->number, thread->argument);
    return NULL;
}

static inline void bench_thread_start(struct bench_thread *thread, int number,
                                      bench_thread_body *body, void *argument)
{
    thread->number = number;
    thread->body = body;
    thread->argument = argument;
    int error = pthread_create(&thread->handle, NULL, bench_thread_entry, thread);
    if (error != 0) bench_fail(1, "no thread %d: %s", number, strerror(error));
}

static inline void bench_thread_join(struct bench_thread *thread)
{
    pthread_join(thread->handle, NULL);
}

// Runs body(0, argument) to body(count - 1, argument) in threads of their own, to the end of all.
static inline void bench_run_threads(int count, bench_thread_body *body, void *argument)
{
    static struct bench_thread thread[BENCH_THREADS_MAX];
    for (int i = 0; i < count; i++) bench_thread_start(&thread[i], i, body, argument);
    for (int i = 0; i < count; i++) bench_thread_join(&thread[i]);
}

// --- results -------------------------------------------------------------------------------------

// Main thread. `name` and `unit` are kept, not copied.
static inline void bench_add_value(const char *name, const char *unit, double value)
{
    if (bench.values == BENCH_VALUES_MAX) bench_fail(1, "too many values");
    struct bench_value *slot = &bench.value[bench.values++];
    slot->name = name;
    slot->unit = unit;
    slot->value = value;
}

// A line for a picture, such as resident KiB over seconds. Main thread.
static inline struct bench_series *bench_add_series(const char *name, const char *x_unit,
                                                    const char *y_unit)
{
    if (bench.series_count == BENCH_SERIES_MAX) bench_fail(1, "too many series");
    struct bench_series *series = &bench.series[bench.series_count++];
    series->name = name;
    series->x_unit = x_unit;
    series->y_unit = y_unit;
    return series;
}

// Points beyond the room are left out.
static inline void bench_add_point(struct bench_series *series, double x, double y)
{
    if (series->points == BENCH_POINTS_MAX) return;
    series->x[series->points] = x;
    series->y[series->points++] = y;
}

struct bench_output {
    size_t length;
    char text[BENCH_OUTPUT_BYTES];
};

__attribute__((format(printf, 2, 3))) static inline void
bench_print(struct bench_output *output, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int wrote = vsnprintf(output->text + output->length, sizeof output->text - output->length,
                          format, arguments);
    va_end(arguments);
    if (wrote < 0 || (size_t)wrote >= sizeof output->text - output->length) {
        bench_fail(1, "the result is too long");
    }
    output->length += (size_t)wrote;
}

static inline void bench_print_series(struct bench_output *output,
                                      const struct bench_series *series)
{
    bench_print(output, "\"%s\":{\"x_unit\":\"%s\",\"y_unit\":\"%s\",\"x\":[", series->name,
                series->x_unit, series->y_unit);
    for (int i = 0; i < series->points; i++) {
        bench_print(output, "%s%.6g", i == 0 ? "" : ",", series->x[i]);
    }
    bench_print(output, "],\"y\":[");
    for (int i = 0; i < series->points; i++) {
        bench_print(output, "%s%.6g", i == 0 ? "" : ",", series->y[i]);
    }
    bench_print(output, "]}");
}

// Writes the result to standard output; main returns what it returns. `operations`: what the
// workload counts as one (its header says), usually a pair of malloc and free.
static inline int bench_finish(double operations)
{
    static struct bench_output output;
    double ended = bench.ended > 0 ? bench.ended : bench_now();
    double seconds = ended - bench.began;
    double end_kib = bench_resident_kib();
    double peak_kib = bench_peak_kib();
    if (bench.json) {
        bench_print(&output,
                    "{\"workload\":\"%s\",\"threads\":%d,\"scale\":%g,\"seed\":%llu,"
                    "\"fixed_seconds\":%g,\"operations\":%.0f,\"seconds\":%.6f,"
                    "\"peak_kib\":%.0f,\"end_kib\":%.0f,\"values\":{",
                    bench.name, bench.threads, bench.scale, (unsigned long long)bench.seed,
                    bench.seconds, operations, seconds, peak_kib, end_kib);
        for (int i = 0; i < bench.values; i++) {
            bench_print(&output, "%s\"%s\":{\"value\":%.9g,\"unit\":\"%s\"}", i == 0 ? "" : ",",
                        bench.value[i].name, bench.value[i].value, bench.value[i].unit);
        }
        bench_print(&output, "},\"series\":{");
        for (int i = 0; i < bench.series_count; i++) {
            if (i > 0) bench_print(&output, ",");
            bench_print_series(&output, &bench.series[i]);
        }
        bench_print(&output, "}}\n");
    } else {
        bench_print(&output, "%s: %d thread%s, %.0f operations in %.3f s (%.3f million/s), "
                             "peak %.1f MiB, at the end %.1f MiB\n",
                    bench.name, bench.threads, bench.threads == 1 ? "" : "s", operations, seconds,
                    operations / seconds * 1e-6, peak_kib / 1024, end_kib / 1024);
        for (int i = 0; i < bench.values; i++) {
            bench_print(&output, "  %-24s %.6g %s\n", bench.value[i].name, bench.value[i].value,
                        bench.value[i].unit);
        }
    }
    for (size_t done = 0; done < output.length;) {
        ssize_t wrote = write(1, output.text + done, output.length - done);
        if (wrote <= 0) return 1;
        done += (size_t)wrote;
    }
    return 0;
}

#endif
