/* test_bounds.c: what the library costs a process: resident memory at start, address space at
 * start, metadata, mappings.
 *
 *   test_bounds [TINY LIBRARY]    TINY: support/tiny built without us; LIBRARY: our shared library,
 * to be preloaded. Without them the tests that need them are left out.
 */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"

static const size_t MIB = 1024 * 1024;
enum {
    START_KIB_LIMIT = 200,
    START_SPACE_BYTES = 64 * 1024 * 1024,
    START_RUNS = 9,
    MAPPING_LIMIT = TEST_IS_SECURE ? 1000 : 300
};

static const char *tiny_path;
static const char *library_path;
static char self[4096];

static int compare_longs(const void *a, const void *b)
{
    long left = *(const long *)a;
    long right = *(const long *)b;
    return (left > right) - (left < right);
}

// The median of the resident KiB that the tiny program reports.
static long tiny_resident_kib(const char *preload)
{
    static struct child child;
    long samples[START_RUNS];
    const char *argv[] = {tiny_path, NULL};
    const char *env[] = {preload, NULL};
    for (size_t i = 0; i < START_RUNS; i++) {
        child_exec(&child, argv, env);
        EXPECT(child.exit_code == 0);
        samples[i] = strtol(child.text, NULL, 10);
        EXPECT(samples[i] > 0);
    }
    qsort(samples, START_RUNS, sizeof samples[0], compare_longs);
    return samples[START_RUNS / 2];
}

TEST(a_tiny_program_grows_by_at_most_200_KiB_when_preloaded)
{
    char preload[4200];
    if (tiny_path == NULL || TEST_IS_SANITIZED || TEST_IS_DEBUG) return;
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library_path);
    long without = tiny_resident_kib("UNUSED=1");
    long with = tiny_resident_kib(preload);
    if (with > without + START_KIB_LIMIT)
        fprintf(stderr, "%ld KiB, %ld KiB preloaded\n", without, with);
    EXPECT(with <= without + START_KIB_LIMIT);
}

struct start {
    const char *program, *argument, *preload;
};

// In a child: limits itself, then becomes the program.
static void start_in_little_space(void *arg)
{
    const struct start *start = (const struct start *)arg;
    struct rlimit limit = {START_SPACE_BYTES, START_SPACE_BYTES};
    if (start->preload != NULL) setenv("LD_PRELOAD", start->preload, 1);
    setrlimit(RLIMIT_AS, &limit);
    execl(start->program, start->program, start->argument, (char *)NULL);
    _exit(127);
}

static void expect_start(const char *program, const char *argument, const char *preload)
{
    static struct child child;
    struct start start = {program, argument, preload};
    if (TEST_IS_SANITIZED) return;
    child_run(&child, start_in_little_space, &start);
    EXPECT(child_is_well(&child));
}

TEST(a_program_starts_in_64_MiB_of_address_space)
{
    expect_start(self, "--start", NULL);
    if (tiny_path != NULL) expect_start(tiny_path, NULL, library_path);
}

// What a program in little space may expect: a good part of it, threads, and NULL at the end.
static int start_small(void)
{
    size_t served = 0;
    void **chain = NULL;
    for (void **block; (block = (void **)mi_malloc(30000)) != NULL; served += 30000) {
        memset(block, 1, 30000);
        *block = chain;
        chain = block;
    }
    while (chain != NULL) {
        void **next = (void **)*chain;
        mi_free(chain);
        chain = next;
    }
    return served >= 30 * MIB ? 0 : 1;
}

static void fill_a_gibibyte(void *arg)
{
    enum { BLOCK_BYTES = 1024 };
    void **chain = NULL;
    (void)arg;
    for (size_t bytes = 0; bytes < 1024 * MIB; bytes += BLOCK_BYTES) {
        void **block = (void **)mi_malloc(BLOCK_BYTES);
        ENSURE(block != NULL);
        *block = chain;
        chain = block;
    }
    long long metadata = stats_number("metadata", "current");
    EXPECT(metadata > 0);
    EXPECT((size_t)metadata <= 1024 * MIB / 400); // 0.25 %
}

TEST(metadata_is_at_most_a_quarter_of_a_percent_of_a_gibibyte)
{
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_HAS_STATES) return; // states cost 1/16 by design
    child_run(&child, fill_a_gibibyte, NULL);
    EXPECT(child_is_well(&child));
}

// Frees every third block, from `first` on; what is left has few mappings.
static void punch(void **blocks, size_t count, size_t first, size_t limit)
{
    for (size_t i = first; i < count; i += 3) {
        mi_free(blocks[i]);
        blocks[i] = NULL;
    }
    mi_collect(true);
    size_t mappings = process_mapping_count();
    if (mappings > limit) fprintf(stderr, "%zu mappings\n", mappings);
    EXPECT(mappings <= limit);
}

static void punch_holes(void *arg)
{
    static void *blocks[32768];
    // debug builds write to all of it, which takes its time: there it is half a gibibyte
    const size_t count = sizeof blocks / sizeof blocks[0] / (TEST_IS_DEBUG ? 4 : 1);
    struct test_random random = {5};
    (void)arg;
    for (size_t i = 0; i < count; i++) {
        size_t bytes =
            i % 16 == 0 ? 300000 + random_below(&random, 900000) : random_below(&random, 60000);
        blocks[i] = mi_malloc(bytes);
        ENSURE(blocks[i] != NULL);
        *(char *)blocks[i] = 1;
    }
    for (size_t round = 0; round < 3; round++) {
        punch(blocks, count, round, MAPPING_LIMIT);
        if (round == 2) break;
        for (size_t i = round; i < count; i += 3) {
            blocks[i] = mi_malloc(random_below(&random, 130000));
            ENSURE(blocks[i] != NULL);
        }
    }
    if (!TEST_IS_DEBUG) EXPECT(process_resident_kib() < 1024 * 1024);
}

TEST(a_heap_of_two_gibibytes_with_holes_has_few_mappings)
{
    static struct child child;
    if (TEST_IS_SANITIZED) return;
    child_run(&child, punch_holes, NULL);
    EXPECT(child_is_well(&child));
}

enum { LARGE_BLOCKS = 10000, HUGE_HEAP_MAPPINGS = 1000 };
static void *large_blocks[LARGE_BLOCKS];

// Of sizes up to twice `mean_bytes`; each one's first OS page is used. false when the system does
// not give so much address space.
static bool fill_large(struct test_random *random, size_t sum_bytes, size_t mean_bytes)
{
    size_t sum = 0;
    for (size_t i = 0; i < LARGE_BLOCKS && sum < sum_bytes; i++) {
        size_t bytes = 1 + random_below(random, 2 * mean_bytes);
        if (large_blocks[i] != NULL) continue;
        large_blocks[i] = mi_malloc(bytes);
        if (large_blocks[i] == NULL) return false;
        *(char *)large_blocks[i] = 1;
        sum += bytes;
    }
    return true;
}

static void punch_large_holes(size_t gibibytes, size_t limit)
{
    struct test_random random = {7};
    mi_option_set(mi_option_allow_thp, 0); // one byte of each block is to be little
    size_t mean_bytes = gibibytes * 1024 * MIB / (LARGE_BLOCKS * 4 / 5);
    if (!fill_large(&random, gibibytes * 1024 * MIB, mean_bytes)) return;
    for (size_t round = 0; round < 3; round++) {
        punch(large_blocks, LARGE_BLOCKS, round, limit);
        if (!fill_large(&random, gibibytes * 1024 * MIB / 4, mean_bytes)) return;
    }
}

static void sixteen_gibibytes(void *arg)
{
    (void)arg;
    punch_large_holes(16, MAPPING_LIMIT);
}

static void hundred_gibibytes(void *arg)
{
    (void)arg;
    punch_large_holes(100, HUGE_HEAP_MAPPINGS);
}

TEST(heaps_of_16_and_100_gibibytes_with_holes_have_few_mappings)
{
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return; // debug builds write to all of it
    child_run(&child, sixteen_gibibytes, NULL);
    EXPECT(child_is_well(&child));
    child_run(&child, hundred_gibibytes, NULL);
    EXPECT(child_is_well(&child));
}

static void spike(void *arg)
{
    static char *blocks[3000];
    (void)arg;
    mi_free(mi_malloc(1));
    size_t start_kib = process_resident_kib();
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = i % 10 == 0 ? 300000 : 30000;
        blocks[i] = (char *)mi_malloc(bytes);
        ENSURE(blocks[i] != NULL);
        memset(blocks[i], 1, bytes);
    }
    EXPECT(process_resident_kib() > start_kib + 140 * 1024);
    for (size_t i = 0; i < 3000; i++) mi_free(blocks[i]);
    mi_collect(true);
    EXPECT(process_resident_kib() < start_kib + 2 * 1024);
}

TEST(memory_comes_back_after_a_spike_and_a_collect)
{
    static struct child child;
    if (TEST_IS_SANITIZED) return;
    child_run(&child, spike, NULL);
    EXPECT(child_is_well(&child));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--start") == 0) return start_small();
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return 77;
    if (argc > 2) {
        tiny_path = argv[1];
        library_path = argv[2];
        argc = 1;
    }
    return test_run_all(argc, argv);
}
