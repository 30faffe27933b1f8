/* test_json.c: the statistics as JSON, against what the program did: by block size and in total. */
#include "../support/child.h"
#include "mimalloc.h"
#include <pthread.h>

enum { JSON_BYTES = 64 * 1024, SIZE_COUNT = 6, PER_SIZE = 300, LARGE_COUNT = 5 };

static const size_t sizes[SIZE_COUNT] = {1, 24, 100, 1000, 5000, 70000};
static const size_t LARGE_BYTES = 3 * 1024 * 1024;
static char         json[JSON_BYTES];
static void        *blocks[SIZE_COUNT][PER_SIZE];
static void        *large[LARGE_COUNT];

// --- reading -------------------------------------------------------------------------------------

// Behind `"name":`, at or after `from`; a failure and an empty text when it is not there.
static const char *find_member(const char *from, const char *name)
{
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(from, quoted);
    if (at == NULL) {
        test_failed(__FILE__, __LINE__, quoted);
        return "";
    }
    return at + strlen(quoted);
}

static long long number_at(const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    EXPECT(end != text);
    return value;
}

static long long live(const char *what)
{
    return number_at(find_member(find_member(json, "live"), what));
}

// Live blocks of a size, over all bins that have it.
static long long live_of_size(size_t block_bytes)
{
    long long sum = 0;
    const char *at = find_member(json, "malloc_bins"), *end = strchr(at, ']');
    for (at = strchr(at, '{'); at != NULL && at < end; at = strchr(at + 1, '{')) {
        if (number_at(find_member(at, "block_size")) != (long long)block_bytes) continue;
        sum += number_at(find_member(at, "live"));
    }
    return sum;
}

static void read_statistics(void)
{
    json[0] = 0;
    EXPECT(mi_stats_get_json(sizeof json, json) == json);
}

// The size of the block that a request gets: steps of 16 up to 512, then eight for each doubling.
// Debug builds put 16 bytes behind each block.
static size_t block_bytes_of(size_t bytes)
{
    size_t need = TEST_IS_EXACT ? bytes : bytes + 16;
    size_t step = need <= 512 ? 16 : 64;
    while (need > 512 && need > 16 * step) step *= 2;
    return (need + step - 1) / step * step;
}

TEST(block_sizes_are_those_that_the_library_tells)
{
    if (!TEST_IS_EXACT) return;
    for (size_t bytes = 1; bytes <= 500000; bytes += bytes / 50 + 1) {
        EXPECT(block_bytes_of(bytes) == mi_good_size(bytes));
    }
}

// --- what is live --------------------------------------------------------------------------------

struct state { long long blocks, bytes, large_blocks, by_size[SIZE_COUNT]; };

static struct state read_state(void)
{
    struct state state;
    read_statistics();
    state.blocks = live("blocks");
    state.bytes = live("bytes");
    state.large_blocks = live("large_blocks");
    for (size_t s = 0; s < SIZE_COUNT; s++) {
        state.by_size[s] = live_of_size(block_bytes_of(sizes[s]));
    }
    return state;
}

static bool is_same_state(const struct state *a, const struct state *b)
{
    bool is_same = a->blocks == b->blocks && a->bytes == b->bytes;
    is_same = is_same && a->large_blocks == b->large_blocks;
    for (size_t s = 0; s < SIZE_COUNT; s++) is_same = is_same && a->by_size[s] == b->by_size[s];
    return is_same;
}

// Returns the bytes of all blocks that it made.
static long long allocate_all(void)
{
    long long bytes = 0;
    for (size_t s = 0; s < SIZE_COUNT; s++) {
        for (size_t i = 0; i < PER_SIZE; i++) blocks[s][i] = mi_malloc(sizes[s]);
        bytes += (long long)(block_bytes_of(sizes[s]) * PER_SIZE);
    }
    for (size_t i = 0; i < LARGE_COUNT; i++) {
        large[i] = mi_malloc(LARGE_BYTES);
        bytes += (long long)mi_usable_size(large[i]);
    }
    return bytes;
}

static void *free_all(void *arg)
{
    for (size_t s = 0; s < SIZE_COUNT; s++) {
        for (size_t i = 0; i < PER_SIZE; i++) mi_free(blocks[s][i]);
    }
    for (size_t i = 0; i < LARGE_COUNT; i++) mi_free(large[i]);
    return arg;
}

// Debug padding of large blocks is rounded up to OS pages.
static bool is_sum_of(long long bytes, long long blocks_bytes)
{
    long long padding = TEST_IS_EXACT ? 0 : LARGE_COUNT * 65536LL;
    return bytes >= blocks_bytes && bytes <= blocks_bytes + padding;
}

TEST(live_blocks_grow_and_shrink_by_what_the_program_does)
{
    struct state before = read_state();
    long long bytes = allocate_all();
    struct state full = read_state();
    EXPECT(full.blocks - before.blocks == SIZE_COUNT * PER_SIZE + LARGE_COUNT);
    EXPECT(full.large_blocks - before.large_blocks == LARGE_COUNT);
    EXPECT(is_sum_of(full.bytes - before.bytes, bytes));
    for (size_t s = 0; s < SIZE_COUNT; s++) EXPECT(full.by_size[s] - before.by_size[s] == PER_SIZE);
    free_all(NULL);
    struct state after = read_state();
    EXPECT(is_same_state(&after, &before));
}

static void on_thread(void *run(void *arg))
{
    pthread_t thread;
    ENSURE(pthread_create(&thread, NULL, run, NULL) == 0);
    pthread_join(thread, NULL);
}

static void *do_nothing(void *arg) { return arg; }

// The first thread leaves blocks of the C library's behind: its stack is kept for the next one.
static void warm_up(void) { on_thread(do_nothing); }

static void *allocate_in_thread(void *arg)
{
    allocate_all();
    return arg;
}

TEST(blocks_freed_by_a_thread_that_has_ended_are_not_live)
{
    warm_up();
    struct state before = read_state();
    allocate_all();
    on_thread(free_all);
    struct state after = read_state();
    EXPECT(is_same_state(&after, &before));
}

TEST(blocks_of_a_thread_that_has_ended_are_live_until_freed)
{
    warm_up();
    struct state before = read_state();
    on_thread(allocate_in_thread);
    struct state full = read_state();
    EXPECT(full.blocks - before.blocks == SIZE_COUNT * PER_SIZE + LARGE_COUNT);
    for (size_t s = 0; s < SIZE_COUNT; s++) EXPECT(full.by_size[s] - before.by_size[s] == PER_SIZE);
    free_all(NULL);
    struct state after = read_state();
    EXPECT(is_same_state(&after, &before));
}

TEST(blocks_that_wait_in_another_threads_ring_are_not_live)
{
    warm_up();
    struct state before = read_state();
    on_thread(allocate_in_thread);
    free_all(NULL); // some of these wait in this thread's ring
    struct state waiting = read_state();
    mi_stats_merge();
    struct state merged = read_state();
    EXPECT(is_same_state(&waiting, &before));
    EXPECT(is_same_state(&merged, &before));
}

// --- levels and counters -------------------------------------------------------------------------

static long long level(const char *name, const char *what)
{
    read_statistics();
    return number_at(find_member(find_member(json, name), what));
}

TEST(slow_paths_of_threads_are_counted_once_and_a_reset_begins_at_zero)
{
    mi_stats_reset();
    read_statistics();
    EXPECT(number_at(find_member(json, "slow_paths")) == 0);
    EXPECT(number_at(find_member(json, "remote_blocks")) == 0);
    allocate_all();
    on_thread(free_all);
    read_statistics();
    long long slow_paths = number_at(find_member(json, "slow_paths"));
    long long remote_blocks = number_at(find_member(json, "remote_blocks"));
    EXPECT(slow_paths > 0 && slow_paths <= 4 * (SIZE_COUNT * PER_SIZE + LARGE_COUNT));
    EXPECT(remote_blocks > 0 && remote_blocks <= SIZE_COUNT * PER_SIZE + LARGE_COUNT);
    read_statistics();
    EXPECT(number_at(find_member(json, "slow_paths")) == slow_paths);
}

TEST(debug_builds_count_every_block)
{
    if (!TEST_IS_DEBUG) return;
    long long requested = 0;
    for (size_t s = 0; s < SIZE_COUNT; s++) requested += (long long)(sizes[s] * PER_SIZE);
    requested += (long long)LARGE_BYTES * LARGE_COUNT;
    long long total = level("malloc_requested", "total");
    long long current = level("malloc_requested", "current");
    allocate_all();
    EXPECT(level("malloc_requested", "total") == total + requested);
    EXPECT(level("malloc_requested", "current") == current + requested);
    free_all(NULL);
    EXPECT(level("malloc_requested", "total") == total + requested);
    EXPECT(level("malloc_requested", "current") == current);
}

TEST(later_versions_names_say_the_same)
{
    static const char *const names[][2] = {{"pages_abandoned", "pages_parked"},
                                           {"segments", "arenas"},
                                           {"page_committed", "page_bytes"},
                                           {"malloc_huge", "large"}};
    allocate_all();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        EXPECT(level(names[i][0], "current") == level(names[i][1], "current"));
        EXPECT(level(names[i][0], "peak") == level(names[i][1], "peak"));
    }
    free_all(NULL);
    EXPECT(number_at(find_member(json, "mimalloc_version")) == mi_version());
    EXPECT(number_at(find_member(json, "stat_version")) > 0);
}

TEST(the_process_says_what_mi_process_info_says)
{
    size_t commit = 0, peak_commit = 0, faults = 0, elapsed = 0;
    read_statistics();
    mi_process_info(&elapsed, NULL, NULL, NULL, NULL, &commit, &peak_commit, &faults);
    const char *process = find_member(json, "process");
    EXPECT(number_at(find_member(process, "commit_current")) == (long long)commit);
    EXPECT(number_at(find_member(process, "commit_peak")) == (long long)peak_commit);
    EXPECT(number_at(find_member(process, "page_faults")) <= (long long)faults);
    EXPECT(number_at(find_member(process, "elapsed_msecs")) <= (long long)elapsed);
    long long rss = number_at(find_member(process, "rss_current"));
    EXPECT(rss > 0 && number_at(find_member(process, "rss_peak")) >= rss);
}

// --- the text ------------------------------------------------------------------------------------

TEST(a_buffer_that_is_too_small_is_refused_and_not_overrun)
{
    static char small[JSON_BYTES];
    read_statistics();
    size_t length = strlen(json);
    for (size_t bytes = 0; bytes < length; bytes += bytes / 3 + 1) {
        memset(small, 'x', sizeof small);
        EXPECT(mi_stats_get_json(bytes, small) == NULL);
        EXPECT(small[bytes] == 'x' && (bytes == 0 || small[0] == 0));
    }
    EXPECT(mi_stats_get_json(sizeof small, small) == small);
    char *block = mi_stats_get_json(0, NULL);
    ENSURE(block != NULL);
    EXPECT(strlen(block) > length / 2 && block[0] == '{');
    mi_free(block);
}

static void write_to_python(void *arg)
{
    FILE *python = popen("python3 -m json.tool > /dev/null", "w");
    (void)arg;
    ENSURE(python != NULL);
    read_statistics();
    EXPECT(fputs(json, python) >= 0);
    EXPECT(pclose(python) == 0);
}

TEST(the_text_is_json)
{
    static struct child child;
    if (TEST_IS_SANITIZED || system("python3 -c pass") != 0) return;
    allocate_all();
    child_run(&child, write_to_python, NULL);
    free_all(NULL);
    EXPECT(child_is_well(&child));
}

TEST_MAIN
