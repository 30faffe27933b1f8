/* test_hooks.c: the functions that a program registers: output, deferred free. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"

static struct {
    unsigned long long last;
    size_t calls, forced, depth, deepest;
    bool is_ordered;
} heartbeats;

static void defer(bool force, unsigned long long heartbeat)
{
    heartbeats.depth++;
    if (heartbeats.depth > heartbeats.deepest) heartbeats.deepest = heartbeats.depth;
    if (heartbeats.calls > 0 && heartbeat < heartbeats.last) heartbeats.is_ordered = false;
    heartbeats.last = heartbeat;
    heartbeats.calls++;
    heartbeats.forced += force;
    void *blocks[300]; // enough to take the slow path again from in here
    for (size_t i = 0; i < 300; i++) blocks[i] = mi_malloc(1 + i * 5);
    for (size_t i = 0; i < 300; i++) mi_free(blocks[i]);
    heartbeats.depth--;
}

static void beat(void *arg)
{
    static void *blocks[20000];
    (void)arg;
    heartbeats.is_ordered = true;
    mi_register_deferred_free(defer);
    for (size_t i = 0; i < 20000; i++) blocks[i] = mi_malloc(64);
    EXPECT(heartbeats.calls > 10); // at the latest when a page of blocks has run dry
    size_t calls = heartbeats.calls;
    for (size_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < 20000; i++) mi_free(blocks[i]);
        for (size_t i = 0; i < 20000; i++) blocks[i] = mi_malloc(64);
    }
    EXPECT(heartbeats.calls > calls);
    EXPECT(heartbeats.is_ordered);
    EXPECT(heartbeats.deepest == 1); // never called from inside itself
    size_t forced = heartbeats.forced;
    mi_collect(true);
    EXPECT(heartbeats.forced == forced + 1);
    mi_register_deferred_free(NULL);
    calls = heartbeats.calls;
    for (size_t i = 0; i < 20000; i++) mi_free(blocks[i]);
    mi_collect(true);
    EXPECT(heartbeats.calls == calls);
}

TEST(deferred_free_is_called_with_a_growing_heartbeat_and_force_on_collect)
{
    static struct child child;
    child_run(&child, beat, NULL);
    EXPECT(child_is_well(&child));
}

// --- a hook that ends what its caller is about to use --------------------------------------------

enum { MANY = 200 };
static mi_heap_t *doomed, *next, *later[MANY];
static void (*end_doomed)(mi_heap_t *heap);

static void end_default(void) // or the thread
{
    if (doomed == NULL) return;
    mi_heap_t *heap = doomed;
    doomed = NULL;
    if (end_doomed != NULL) end_doomed(heap);
    else mi_thread_done();
}

static void end_in_deferred_free(bool force, unsigned long long heartbeat)
{
    (void)force;
    (void)heartbeat;
    end_default();
}

static void end_in_error(int code, void *arg)
{
    (void)code;
    (void)arg;
    end_default();
}

// What was allocated meanwhile is in none of the heaps that the hook has made.
static void expect_in_no_new_heap(const void *block)
{
    if (next != NULL) EXPECT(!mi_heap_check_owned(next, block));
    if (doomed != NULL || later[0] == NULL) return;
    for (int i = 0; i < MANY; i++) {
        EXPECT(!mi_heap_check_owned(later[i], block));
        mi_heap_destroy(later[i]);
        later[i] = NULL;
    }
}

static void allocate_many(mi_heap_t *heap)
{
    static void *blocks[20000];
    static const size_t sizes[] = {64, 300, 5000, 1 << 20};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t count = s < 2 ? 20000 : 50;
        for (size_t i = 0; i < count; i++) {
            blocks[i] = heap == NULL ? mi_malloc(sizes[s]) : mi_heap_malloc(heap, sizes[s]);
            EXPECT(blocks[i] != NULL);
            memset(blocks[i], 1, sizes[s]);
            expect_in_no_new_heap(blocks[i]);
            if (doomed == NULL) heap = NULL;
        }
        for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
    }
}

// It is likely to get what the other one had.
static void begin_anew(mi_heap_t *heap)
{
    mi_heap_destroy(heap);
    next = mi_heap_new();
    EXPECT(next != NULL);
}

static void begin_anew_after_many(mi_heap_t *heap)
{
    mi_heap_destroy(heap);
    for (int i = 0; i < MANY; i++) mi_heap_destroy(mi_heap_new());
    for (int i = 0; i < MANY; i++) later[i] = mi_heap_new();
}

struct way { void (*end)(mi_heap_t *heap); bool is_default, is_error; };

static void end_inside(void *arg)
{
    const struct way *way = (const struct way *)arg;
    doomed = mi_heap_new();
    end_doomed = way->end;
    if (way->is_default) mi_heap_set_default(doomed);
    if (way->is_error) mi_register_error(end_in_error, NULL);
    else mi_register_deferred_free(end_in_deferred_free);
    if (way->is_error) {
        mi_option_set(mi_option_memory_limit_hard, 16 * 1024);
        EXPECT((way->is_default ? mi_malloc(1 << 30) : mi_heap_malloc(doomed, 1 << 30)) == NULL);
        mi_option_set(mi_option_memory_limit_hard, 0);
    }
    allocate_many(way->is_default ? NULL : doomed);
    if (next != NULL) {
        char *block = (char *)mi_malloc(100);
        EXPECT(!mi_heap_check_owned(next, block));
        mi_heap_destroy(next);
        memset(block, 1, 100);
        mi_free(block);
    }
    EXPECT(doomed == NULL && mi_heap_get_default() != NULL);
    EXPECT(mi_heap_get_default() == mi_heap_get_backing() || way->end == NULL);
    mi_collect(true);
    allocate_many(NULL);
}

// What it needs for them is used again.
static void make_and_end(bool force, unsigned long long heartbeat)
{
    (void)force;
    (void)heartbeat;
    for (int i = 0; i < 3; i++) {
        mi_heap_t *heap = mi_heap_new();
        EXPECT(heap != NULL);
        mi_free(mi_heap_malloc(heap, 100));
        mi_heap_destroy(heap);
    }
    heartbeats.calls++;
}

static void make_and_end_many(void *arg)
{
    (void)arg;
    allocate_many(NULL);
    mi_register_deferred_free(make_and_end);
    long long before = stats_number("metadata", "current");
    while (heartbeats.calls < 1000) mi_free(mi_malloc(3 << 20));
    EXPECT(stats_number("metadata", "current") - before < 200 * 1024);
}

TEST(heaps_that_hooks_make_and_end_leave_nothing)
{
    static struct child child;
    child_run(&child, make_and_end_many, NULL);
    EXPECT(child_is_well(&child));
}

TEST(a_hook_may_end_the_heap_that_is_allocated_from)
{
    static struct child child;
    static void (*const ends[])(mi_heap_t *) = {mi_heap_delete, mi_heap_destroy, begin_anew,
                                                begin_anew_after_many, NULL};
    for (int i = 0; i < 20; i++) {
        struct way way = {ends[i % 5], i / 5 % 2 == 0, i / 10 != 0};
        child_run(&child, end_inside, &way);
        if (!child_is_well(&child)) fprintf(stderr, "way %d\n%s", i, child.text);
        EXPECT(child_is_well(&child));
    }
}

// --- text ----------------------------------------------------------------------------------------

static struct {
    size_t pieces, bytes;
    char text[200000];
} output;

static void collect_output(const char *message)
{
    size_t length = strlen(message);
    void *block = mi_malloc(100); // an output function may allocate
    mi_free(block);
    output.pieces++;
    if (output.bytes + length >= sizeof output.text) return;
    memcpy(output.text + output.bytes, message, length + 1);
    output.bytes += length;
}

static void print_statistics(void *arg)
{
    (void)arg;
    mi_free(mi_malloc(10));
    mi_stats_print(collect_output);
    EXPECT(output.pieces > 0 && output.bytes > 100);
    size_t bytes = output.bytes;
    mi_thread_stats_print(collect_output);
    EXPECT(output.bytes > bytes);
    bytes = output.bytes;
    mi_register_output(collect_output);
    mi_stats_print(NULL);
    EXPECT(output.bytes > bytes);
    bytes = output.bytes;
    mi_options_print();
    EXPECT(output.bytes > bytes && strstr(output.text, "purge_delay") != NULL);
    mi_register_output(NULL);
}

TEST(text_goes_to_the_registered_function_and_nowhere_else)
{
    static struct child child;
    child_run(&child, print_statistics, NULL);
    EXPECT(child_is_well(&child) && child.bytes == 0);
}

static void print_to_stderr(void *arg)
{
    (void)arg;
    mi_stats_print(NULL);
}

TEST(text_goes_to_stderr_when_no_function_is_registered)
{
    static struct child child;
    child_run(&child, print_to_stderr, NULL);
    EXPECT(child.exit_code == 0 && child.bytes > 100);
}

TEST_MAIN
