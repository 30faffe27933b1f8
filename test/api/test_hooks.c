/* test_hooks.c: the functions that a program registers: output, deferred free. */
#include "mimalloc.h"
#include "../support/child.h"

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
