/* test_stats.c: statistics against what the program did: read as JSON and as text. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <pthread.h>

static const long long MIB = 1024 * 1024;
static char json[1 << 18];

// Braces, brackets and quotes match, and nothing follows the object.
static bool is_json_object(const char *text)
{
    char open[64];
    size_t depth = 0;
    for (const char *at = text; *at != 0; at++) {
        if (*at == '"') {
            at = strchr(at + 1, '"'); // no escaped quotes in these texts
            if (at == NULL) return false;
        } else if (*at == '{' || *at == '[') {
            if (depth == sizeof open) return false;
            open[depth++] = *at;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0 || open[--depth] != (*at == '}' ? '{' : '[')) return false;
            if (depth == 0) return strspn(at + 1, " \n") == strlen(at + 1);
        }
    }
    return false;
}

TEST(the_json_text_is_one_object_in_our_buffer_or_in_a_block)
{
    mi_free(mi_malloc(100));
    ENSURE(mi_stats_get_json(sizeof json, json) == json);
    EXPECT(json[0] == '{' && is_json_object(json));
    char *block = mi_stats_get_json(0, NULL);
    ENSURE(block != NULL);
    EXPECT(is_json_object(block) && mi_is_in_heap_region(block));
    mi_free(block);
    memset(json, 'x', 100);
    mi_stats_get_json(20, json);
    EXPECT(strlen(json) < 20 && json[20] == 'x'); // cut off, and no byte past the buffer is written
}

TEST(live_blocks_and_bytes_are_exact)
{
    static void *blocks[1000];
    long long bytes = 0;
    mi_collect(false);
    long long start_blocks = stats_number("live", "blocks");
    long long start_bytes = stats_number("live", "bytes");
    for (size_t i = 0; i < 1000; i++) {
        blocks[i] = mi_malloc(i % 100 == 0 ? 600000 : i);
        ENSURE(blocks[i] != NULL);
        bytes += (long long)mi_usable_size(blocks[i]);
    }
    EXPECT(stats_number("live", "blocks") == start_blocks + 1000);
    long long live = stats_number("live", "bytes");
    if (TEST_IS_EXACT) EXPECT(live == start_bytes + bytes); // block sizes, not requested ones
    EXPECT(live >= start_bytes + bytes);
    for (size_t i = 0; i < 1000; i += 2) mi_free(blocks[i]);
    EXPECT(stats_number("live", "blocks") == start_blocks + 500);
    for (size_t i = 1; i < 1000; i += 2) mi_free(blocks[i]);
    EXPECT(stats_number("live", "blocks") == start_blocks);
    EXPECT(stats_number("live", "bytes") == start_bytes);
}

static void *free_all(void *arg)
{
    void **blocks = (void **)arg;
    for (size_t i = 0; i < 1000; i++) mi_free(blocks[i]);
    return NULL;
}

TEST(blocks_freed_by_another_thread_are_not_live)
{
    static void *blocks[1000];
    pthread_t thread;
    // the C library keeps what it allocates for its first thread
    ENSURE(pthread_create(&thread, NULL, free_all, blocks) == 0);
    pthread_join(thread, NULL);
    mi_collect(false);
    long long start = stats_number("live", "blocks");
    for (size_t i = 0; i < 1000; i++) blocks[i] = mi_malloc(100);
    EXPECT(stats_number("live", "blocks") == start + 1000);
    ENSURE(pthread_create(&thread, NULL, free_all, blocks) == 0);
    pthread_join(thread, NULL);
    EXPECT(stats_number("live", "blocks") == start);
}

TEST(large_blocks_are_counted_in_bytes)
{
    void *blocks[3];
    long long start = stats_number("large", "current");
    for (size_t i = 0; i < 3; i++) blocks[i] = mi_malloc(5 * (size_t)MIB);
    long long grown = stats_number("large", "current") - start;
    EXPECT(grown >= 15 * MIB && grown <= 16 * MIB);
    EXPECT(stats_number("large", "peak") >= start + grown);
    for (size_t i = 0; i < 3; i++) mi_free(blocks[i]);
    EXPECT(stats_number("large", "current") == start);
    EXPECT(stats_number("large", "peak") >= start + grown);
}

TEST(committed_memory_follows_allocation_and_collect)
{
    static char *blocks[200];
    mi_collect(true);
    long long start = stats_number("committed", "current");
    for (size_t i = 0; i < 200; i++) {
        blocks[i] = (char *)mi_malloc(100000);
        ENSURE(blocks[i] != NULL);
        memset(blocks[i], 1, 100000);
    }
    long long grown = stats_number("committed", "current") - start;
    EXPECT(grown >= 19 * MIB && grown <= 30 * MIB);
    EXPECT(stats_number("reserved", "current") >= stats_number("committed", "current"));
    EXPECT(stats_number("committed", "peak") >= start + grown);
    for (size_t i = 0; i < 200; i++) mi_free(blocks[i]);
    mi_collect(true);
    EXPECT(stats_number("committed", "current") <= start + 2 * MIB);
}

static pthread_barrier_t barrier;

static void *wait_twice(void *arg)
{
    mi_free(mi_malloc(10));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return arg;
}

static void *take_slow_paths_and_wait(void *arg)
{
    for (int i = 0; i < 100; i++) mi_free(mi_malloc(1000000));
    return wait_twice(arg);
}

static void expect_no_wrapped_counter(void *unused)
{
    (void)unused;
    mi_free(mi_malloc(1000000)); // finds out that it is a child
    EXPECT(mi_stats_get_json(sizeof json, json) == json);
    EXPECT(strstr(json, "\"slow_paths\": 18446744") == NULL);
    EXPECT(stats_number("", "slow_paths") >= 0 && stats_number("", "slow_paths") < 1000000);
}

TEST(counters_of_a_forked_child_do_not_fall_below_zero_after_a_reset)
{
    pthread_t thread;
    struct child child;
    pthread_barrier_init(&barrier, NULL, 2);
    ENSURE(pthread_create(&thread, NULL, take_slow_paths_and_wait, NULL) == 0);
    pthread_barrier_wait(&barrier);
    mi_stats_reset();
    child_run(&child, expect_no_wrapped_counter, NULL);
    EXPECT(child_is_well(&child));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
}

TEST(threads_that_allocated_are_counted)
{
    pthread_t threads[5];
    long long start = stats_number("threads", "current");
    EXPECT(start >= 1);
    pthread_barrier_init(&barrier, NULL, 6);
    for (size_t i = 0; i < 5; i++) ENSURE(pthread_create(&threads[i], NULL, wait_twice, NULL) == 0);
    pthread_barrier_wait(&barrier);
    EXPECT(stats_number("threads", "current") == start + 5);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    EXPECT(stats_number("threads", "current") == start);
    EXPECT(stats_number("threads", "peak") >= start + 5);
    pthread_barrier_destroy(&barrier);
}

TEST(heaps_are_counted)
{
    mi_heap_t *heaps[7];
    long long start = stats_number("heaps", "current");
    for (size_t i = 0; i < 7; i++) heaps[i] = mi_heap_new();
    EXPECT(stats_number("heaps", "current") == start + 7);
    for (size_t i = 0; i < 7; i++) {
        if (i % 2 == 0)
            mi_heap_delete(heaps[i]);
        else
            mi_heap_destroy(heaps[i]);
    }
    EXPECT(stats_number("heaps", "current") == start);
}

TEST(pages_are_counted)
{
    static void *blocks[1000];
    long long start = stats_number("pages", "current");
    for (size_t i = 0; i < 1000; i++) blocks[i] = mi_malloc(8000);
    long long pages = stats_number("pages", "current") - start;
    EXPECT(pages >= 10 && pages <= 150); // 7 blocks a page at least
    for (size_t i = 0; i < 1000; i++) mi_free(blocks[i]);
    mi_collect(true); // some blocks wait to be used again
    EXPECT(stats_number("pages", "current") <= start + 3);
}

TEST(metadata_is_counted_and_small)
{
    EXPECT(stats_number("metadata", "current") > 0);
    EXPECT(stats_number("metadata", "current") < 4 * MIB);
}

static void reset_peaks(void *arg)
{
    (void)arg;
    mi_free(mi_malloc(30 * (size_t)MIB));
    long long now = stats_number("large", "current");
    EXPECT(stats_number("large", "peak") >= now + 30 * MIB);
    mi_stats_reset();
    EXPECT(stats_number("large", "peak") == now);
    EXPECT(stats_number("large", "current") == now); // what is there stays counted
    mi_stats_merge();
    EXPECT(stats_number("large", "current") == now);
}

TEST(a_reset_starts_peaks_anew)
{
    static struct child child;
    child_run(&child, reset_peaks, NULL);
    EXPECT(child_is_well(&child));
}

TEST(the_process_is_described)
{
    size_t elapsed = 0, user = 0, system = 0, rss = 0, peak_rss = 0, commit = 0, peak_commit = 0,
           faults = 1;
    char *block = (char *)mi_malloc(20 * (size_t)MIB);
    ENSURE(block != NULL);
    memset(block, 1, 20 * (size_t)MIB);
    mi_process_info(&elapsed, &user, &system, &rss, &peak_rss, &commit, &peak_commit, &faults);
    EXPECT(rss >= 20 * (size_t)MIB && peak_rss >= rss);
    if (!TEST_IS_SANITIZED) EXPECT(rss / 1024 <= process_resident_kib() + 4096);
    EXPECT(commit >= 20 * (size_t)MIB && peak_commit >= commit);
    EXPECT(elapsed < 1000 * 1000);
    mi_process_info(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    mi_free(block);
}

static struct {
    size_t bytes;
    char text[1 << 16];
} table;

static void add_to_table(const char *piece)
{
    size_t length = strlen(piece);
    if (table.bytes + length >= sizeof table.text) return;
    memcpy(table.text + table.bytes, piece, length + 1);
    table.bytes += length;
}

TEST(the_table_has_the_rows_that_users_look_for)
{
    static const char *const rows[] = {"reserved",  "committed", "reset",   "segments", "pages",
                                       "abandoned", "mmaps",     "threads", "elapsed",  "process",
                                       "user",      "system",    "faults",  "rss"};
    void *block = mi_malloc(100);
    mi_stats_print(add_to_table);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strstr(table.text, rows[i]) == NULL) test_failed(__FILE__, __LINE__, rows[i]);
    }
    EXPECT(strstr(table.text, "peak") != NULL && strstr(table.text, "total") != NULL);
    mi_free(block);
}

TEST_MAIN
