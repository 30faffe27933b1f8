/* unit_test.h: what the unit tests from the OS floor up share.
 *
 * A test that changes the state of the process runs in a child (IN_CHILD): it may exhaust memory,
 * start the process with another window, or break a structure, and the next test finds everything
 * as it was. The parent never starts the allocator, so that each child may choose how it starts.
 */
#ifndef TEST_UNIT_UNIT_TEST_H
#define TEST_UNIT_UNIT_TEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include "../support/fake_prim.h"
#include "../support/test.h"
#include "base/base.h"
#include "core/options.h"
#include "core/stats.h"
#include "heap/thread.h"
#include "mimalloc.h"
#include "os/os.h"
#include "page/refill.h"
#include "page/retire.h"
#include "region/arena.h"
#include "region/marks.h"
#include "region/purge.h"
#include "region/purger.h"

// Runs to its end, silently.
#define IN_CHILD(call) EXPECT_STDERR(call, "")

// Slices of an arena that are in use.
__attribute__((unused)) static size_t used_slices_of(const struct arena *arena)
{
    size_t used = 0;
    for (size_t chunk = 0; chunk < window_mapped_chunks(arena); chunk++) {
        const struct chunk *record = &arena->chunks[chunk];
        if (atomic_load_explicit(&record->kind, memory_order_acquire) == CHUNK_ABSENT) continue;
        size_t slices = arena->capacity - chunk * CHUNK_SLICES;
        if (slices > CHUNK_SLICES) slices = CHUNK_SLICES;
        used += slices;
        used -= bits_popcount64(atomic_load_explicit(&record->free, memory_order_acquire));
    }
    return used;
}

__attribute__((unused)) static size_t used_slices(void)
{
    size_t used = 0;
    for (unsigned i = 0; i < ARENA_MAX && arena_at(i) != NULL; i++)
        used += used_slices_of(arena_at(i));
    return used;
}

__attribute__((unused)) static int64_t level_now(enum stats_level_id id)
{
    return atomic_load_explicit(&stats_process()->level[id].current, memory_order_relaxed);
}

__attribute__((unused)) static uint64_t counter_now(enum stats_counter_id id)
{
    return atomic_load_explicit(&stats_process()->counter[id], memory_order_relaxed);
}

// Every arena keeps its rules, and every level. When no other thread is inside the library.
__attribute__((unused)) static void expect_arena_rules(void)
{
    for (unsigned i = 0; i < ARENA_MAX && arena_at(i) != NULL; i++) {
        EXPECT_TEXT(arena_broken_rule(arena_at(i)), NULL);
        EXPECT_TEXT(marks_broken_rule(arena_at(i)), NULL);
    }
    for (unsigned id = 0; id < STATS_LEVEL_COUNT; id++)
        EXPECT_TEXT(stats_broken_rule(&stats_process()->level[id]), NULL);
    EXPECT_TEXT(stats_broken_rule(stats_requested()), NULL);
}

__attribute__((unused)) static bool is_zero(const void *memory, size_t bytes)
{
    const unsigned char *byte = (const unsigned char *)memory;
    for (size_t i = 0; i < bytes; i++) {
        if (byte[i] != 0) return false;
    }
    return true;
}

// The process starts with an address limit, and so with a window of that many bytes.
__attribute__((unused)) static void start_with_limit(size_t limit_bytes)
{
    struct prim_info info;
    prim_info_read(&info);
    info.address_limit_bytes = limit_bytes;
    fake_prim_set_info(&info);
    options_set(OPTION_show_errors, 0);
    thread_start_process();
}

// A debug build tells about each lack of memory, which most tests here cause on purpose.
__attribute__((unused)) static void start_quietly(void)
{
    fake_prim_reset();
    options_set(OPTION_show_errors, 0);
    thread_start_process();
}

__attribute__((unused)) static void count_item(struct local_heap *item, void *count)
{
    (void)item;
    ++*(unsigned *)count;
}

// Main local heaps that were ever made.
__attribute__((unused)) static unsigned main_count(void)
{
    unsigned count = 0;
    heap_visit_all_mains(count_item, &count);
    return count;
}

// Runs one thread to its end.
__attribute__((unused)) static void run_thread(void *(*run)(void *arg), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, arg) != 0) abort();
    pthread_join(thread, NULL);
}

// As many as a thread frees before it gets a heap for that, and one more.
__attribute__((unused)) static void *few_blocks[THREAD_FEW_FREES + 1];

__attribute__((unused)) static void *allocate_few(void *bytes)
{
    for (int i = 0; i <= THREAD_FEW_FREES; i++) few_blocks[i] = mi_malloc(*(size_t *)bytes);
    return NULL;
}

enum { TEST_MAX_THREADS = 64 };

// Runs `count` threads side by side; each gets its own number.
__attribute__((unused)) static void run_threads(unsigned count, void *(*run)(void *number))
{
    pthread_t threads[TEST_MAX_THREADS];
    for (unsigned i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) != 0) abort();
    }
    for (unsigned i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

// --- pages without a heap ------------------------------------------------------------------------

// A page of a class, owned by nobody in particular: `owner` is what the test says.
__attribute__((unused)) static struct page *new_page(size_t size_class, uintptr_t owner)
{
    struct page_plan plan = {class_block_bytes(size_class), (unsigned)size_class, 0, 0, 0};
    struct link_key key = {0x1234567u, 0x89abcdefu};
    bool is_clean;
    plan.slices = class_page_slices(size_class, 0);
    void *memory = arena_claim(plan.slices, SLICE_BYTES, &is_clean);
    if (memory == NULL) abort();
    if (is_clean) plan.flags = PAGE_ZERO;
    struct page *page = page_init(memory, &plan, &key);
    page_set_owner(page, owner);
    return page;
}

// Faults after which a test goes on: all of them have this code.
struct fault_count { int code, count; };
__attribute__((unused)) static void count_fault(int code, void *faults)
{
    struct fault_count *count = (struct fault_count *)faults;
    EXPECT_EQ(code, count->code);
    count->count++;
}

// Runs of slices that went back; with one that failed the OS is not asked about its states.
__attribute__((unused)) static unsigned long purged_runs(void)
{
    return (fake_prim_count(FAKE_PRIM_purge) + PURGE_RUN_CALLS - 1) / PURGE_RUN_CALLS;
}

// Parks a full page, and tells everybody so at once.
__attribute__((unused)) static bool park_full(struct page *page)
{
    struct stats_tally tally = {0};
    bool is_parked = retire_full(page, &tally);
    stats_add_tally(&tally);
    return is_parked;
}

// What malloc and free do to a block in builds with block states.
__attribute__((unused)) static void mark(const struct block *block, enum state_kind kind)
{
    if (CFG_STATES) state_set(arena_state_at(block), kind);
}

// What free does before the owner puts a block back.
__attribute__((unused)) static bool put_own(struct page *page, struct block *block)
{
    mark(block, STATE_FREE);
    return page_put(page, block);
}

// Hands out every block of a page: blocks[i] is the i-th. They may be pushed back by any thread.
__attribute__((unused)) static unsigned take_every_block(struct page *page, struct block **blocks)
{
    unsigned count = 0;
    bool is_clean;
    while (refill_page(page, NULL, 0, &is_clean)) {
        struct block *block = page_take_all(page);
        while (block != NULL) {
            struct block *next = block_next(block, &page->key);
            mark(block, STATE_FREED);
            blocks[count++] = block;
            block = next;
        }
    }
    return count;
}

#endif
