#include "unit_test.h"
#include <setjmp.h>
#include <unistd.h>
#include "core/alone.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/walk.h"
#include "os/fork.h"
#include "mimalloc.h"

static struct local_heap *const EMPTY = (struct local_heap *)&thread_empty_heap;
static struct local_heap *const ENDED = (struct local_heap *)&thread_ended_heap;

static void start(void) { start_quietly(); }

static void empty_heap(void)
{
    EXPECT(thread_heap() == &thread_empty_heap && !thread_is_ready(thread_heap()));
    start();
    EXPECT(thread_heap() == &thread_empty_heap); // the process has started, not the thread
    thread_collect(thread_heap(), true);
    mi_free(NULL);
    EXPECT(thread_heap() == &thread_empty_heap);
    struct local_heap *heap = thread_ready(thread_heap());
    EXPECT(heap != NULL && heap == thread_heap() && heap->main == heap && !heap->is_transient);
    EXPECT(thread_ready(heap) == heap);
    EXPECT(thread_ready(EMPTY) == heap); // a second start changes nothing
    EXPECT_EQ(level_now(STAT_threads), 1);
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        EXPECT(local_heap_first(&thread_empty_heap, i) == NULL);
        EXPECT(local_heap_first(&thread_ended_heap, i) == NULL);
    }
}

TEST(thread_begins_with_the_empty_heap_and_starts_at_its_first_slow_path)
{
    IN_CHILD(empty_heap());
}

static void begin_again(void)
{
    start();
    for (int i = 0; i < 5; i++) {
        void *block = mi_malloc(100);
        struct local_heap *before = thread_heap();
        thread_done();
        EXPECT(thread_heap() == &thread_empty_heap);
        thread_done();
        EXPECT_EQ(level_now(STAT_threads), 0);
        mi_free(block);                  // starts the thread again: what only frees has a ring, too
        EXPECT(thread_heap() == before); // the same one from the pool
    }
    thread_collect(thread_heap(), true);
    EXPECT_EQ(used_slices(), 0);
}

TEST(thread_done_leaves_a_thread_that_may_begin_anew) { IN_CHILD(begin_again()); }

static bool is_alone_for_good(void)
{
    return !atomic_load_explicit(&alone_no_more, memory_order_relaxed);
}

static void *allocate_once(void *block)
{
    mi_free(mi_malloc(100));
    return block;
}

// Whoever started it: what the C library says is not asked.
static void second_comes_by(void)
{
    pthread_t second;
    start();
    mi_free(mi_malloc(100));
    EXPECT(is_alone_for_good());
    EXPECT_EQ(pthread_create(&second, NULL, allocate_once, NULL), 0);
    pthread_join(second, NULL);
    EXPECT(!is_alone_for_good());
}

TEST(thread_that_comes_second_ends_that_one_is_alone) { IN_CHILD(second_comes_by()); }

// A few frees may be the C library's, of a thread that is past its destructors.
static void *free_only(void *unused)
{
    for (int i = 0; i < THREAD_FEW_FREES; i++) {
        mi_free(few_blocks[i]);
        EXPECT(thread_heap() == &thread_empty_heap);
    }
    EXPECT(!is_alone_for_good()); // though it has no heap
    EXPECT_EQ(level_now(STAT_threads), 1);
    mi_free(few_blocks[THREAD_FEW_FREES]); // what frees much has a ring and a cache
    EXPECT(thread_is_ready(thread_heap()));
    return unused;
}

static void begin_by_frees(size_t bytes)
{
    start();
    allocate_few(&bytes);
    run_thread(free_only, NULL);
    EXPECT_EQ(level_now(STAT_threads), 1);
    thread_collect(thread_heap(), true);
    EXPECT_EQ(used_slices(), 0);
}

TEST(thread_that_only_frees_starts_with_many)
{
    IN_CHILD(begin_by_frees(100)); // of a page of another thread's
    IN_CHILD(begin_by_frees(2000)); // of shared ones
}

static struct local_heap *ended_with;
static pthread_key_t order_key;
static struct local_heap *seen_at_exit[4];
static unsigned exits;

static void at_exit(void *rounds)
{
    seen_at_exit[exits++] = thread_heap();
    void *block = mi_malloc(1000); // works in every state
    EXPECT(block != NULL);
    memset(block, 1, 1000);
    mi_free(block);
    if ((uintptr_t)rounds > 1) pthread_setspecific(order_key, (void *)((uintptr_t)rounds - 1));
}

static void *end_in_rounds(void *unused)
{
    (void)unused;
    mi_free(mi_malloc(10));
    ended_with = thread_heap();
    pthread_setspecific(order_key, (void *)(uintptr_t)3);
    return NULL;
}

static void *end_twice(void *unused)
{
    (void)end_in_rounds(unused);
    thread_done();
    return NULL;
}

static void exit_order(void *(*end)(void *unused))
{
    start(); // its key comes first, so its destructor does
    pthread_key_create(&order_key, at_exit);
    mi_free(mi_malloc(1));
    run_thread(end, NULL);
    EXPECT_EQ(exits, 3);
    for (unsigned i = 0; i < exits; i++) EXPECT(seen_at_exit[i] == &thread_ended_heap);
    EXPECT_EQ(level_now(STAT_threads), 1);
    EXPECT(ended_with != NULL &&
           atomic_load_explicit(&ended_with->is_used, memory_order_acquire) == 0);
}

TEST(thread_exit_ends_a_thread_once_and_later_destructors_still_allocate)
{
    IN_CHILD(exit_order(end_in_rounds));
    IN_CHILD(exit_order(end_twice));
}

static void exit_order_reversed(void)
{
    pthread_key_create(&order_key, at_exit);
    start();
    mi_free(mi_malloc(1));
    run_thread(end_in_rounds, NULL);
    EXPECT_EQ(exits, 3);
    EXPECT(seen_at_exit[0] == ended_with && seen_at_exit[2] == &thread_ended_heap);
    EXPECT_EQ(level_now(STAT_threads), 1);
}

TEST(thread_exit_may_come_after_other_destructors) { IN_CHILD(exit_order_reversed()); }

enum { HOOK_DEEP = 3 }; // without an end it would go on until the stack has one
static unsigned hook_calls, hook_depth;

static void allocate_in_hook(bool force, unsigned long long heartbeat, void *arg)
{
    (void)force;
    (void)heartbeat;
    (void)arg;
    EXPECT(hook_depth == 0 && thread_heap() != &thread_ended_heap);
    hook_calls++;
    if (hook_depth == HOOK_DEEP) return;
    hook_depth++;
    mi_free(mi_malloc(1000));
    hook_depth--;
}

static void hook_and_exit(void)
{
    start();
    pthread_key_create(&order_key, at_exit);
    hooks_set_deferred_free(allocate_in_hook, NULL);
    mi_free(mi_malloc(1));
    run_thread(end_in_rounds, NULL);
    EXPECT(exits == 3 && hook_calls >= 2);
    EXPECT_EQ(level_now(STAT_threads), 1);
}

TEST(thread_that_has_ended_calls_no_deferred_free_hook) { IN_CHILD(hook_and_exit()); }

enum { JUMPERS = 80 }; // more than can be inside a hook at a time
static pthread_barrier_t jumpers_are_out, jumpers_may_end;
static unsigned nested_calls;
static volatile size_t too_large = SIZE_MAX; // volatile: compilers warn of such constants

static void jump_out(int code, void *arg)
{
    (void)arg;
    if (code == EOVERFLOW) longjmp(*(jmp_buf *)pthread_getspecific(order_key), 1);
}

static void *leave_hook_by_jump(void *unused)
{
    jmp_buf way_out;
    mi_free(mi_malloc(1));
    pthread_setspecific(order_key, &way_out);
    if (setjmp(way_out) == 0) EXPECT(mi_malloc(too_large) == NULL);
    pthread_barrier_wait(&jumpers_are_out);
    pthread_barrier_wait(&jumpers_may_end);
    return unused;
}

static void fail_in_hook(int code, void *arg)
{
    (void)arg;
    if (++nested_calls < 5) EXPECT(mi_malloc(too_large) == NULL && code == EOVERFLOW);
}

// While the jumpers are there: only those have a place that jumped.
static void fail_beside_jumpers(void)
{
    EXPECT(mi_malloc(too_large) == NULL);
    EXPECT_EQ(nested_calls, 0);
    report_left = UINT32_MAX; // as if one of them were leaving a fault
    if (test_fork()) {
        mi_free(mi_malloc(1000000));
        EXPECT_EQ(report_left, 0);
        EXPECT(mi_malloc(too_large) == NULL);
        EXPECT_EQ(nested_calls, 1);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
    report_left = 0;
}

static void jump_out_of_hook(void)
{
    pthread_t threads[JUMPERS];
    start();
    mi_free(mi_malloc(1));
    pthread_key_create(&order_key, NULL);
    pthread_barrier_init(&jumpers_are_out, NULL, JUMPERS + 1);
    pthread_barrier_init(&jumpers_may_end, NULL, JUMPERS + 1);
    hooks_set_error(jump_out, NULL);
    for (int i = 0; i < JUMPERS; i++) {
        if (pthread_create(&threads[i], NULL, leave_hook_by_jump, NULL) != 0) abort();
    }
    pthread_barrier_wait(&jumpers_are_out);
    hooks_set_error(fail_in_hook, NULL);
    fail_beside_jumpers();
    pthread_barrier_wait(&jumpers_may_end);
    for (int i = 0; i < JUMPERS; i++) pthread_join(threads[i], NULL);
    EXPECT(mi_malloc(too_large) == NULL);
    EXPECT_EQ(nested_calls, 1);
}

// One that finds no place gets the default, and in the child of a fork its hook again.
TEST(thread_that_ends_or_vanishes_is_in_no_hook_any_more_though_it_jumped_out_of_one)
{
    IN_CHILD(jump_out_of_hook());
}

static void transient(void)
{
    start();
    struct local_heap *borrowed = thread_ready(ENDED);
    EXPECT(borrowed != NULL && borrowed->is_transient && borrowed->main == borrowed);
    EXPECT(thread_heap() == &thread_empty_heap);
    thread_finish(borrowed);
    EXPECT_EQ(level_now(STAT_threads), 0);
    struct local_heap *own = thread_ready(thread_heap());
    EXPECT(own == borrowed && !own->is_transient);
    thread_finish(own); // does nothing
    EXPECT(thread_heap() == own && level_now(STAT_threads) == 1);
}

TEST(thread_finish_gives_a_borrowed_heap_back) { IN_CHILD(transient()); }

static void no_memory(void)
{
    start();
    fake_prim_fail_from(FAKE_PRIM_map, 1, ENOMEM);
    EXPECT(thread_ready(thread_heap()) == NULL && thread_ready(ENDED) == NULL);
    EXPECT(thread_heap() == &thread_empty_heap);
    thread_collect(thread_heap(), true);
    fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
    EXPECT(thread_ready(thread_heap()) != NULL);
}

TEST(thread_ready_without_memory_is_NULL_and_works_later) { IN_CHILD(no_memory()); }

// --- many of them --------------------------------------------------------------------------------

enum { GENERATIONS = 50, SIDE_BY_SIDE = 4, LEFT = 20, MOST_LEFT_SLICES = SIDE_BY_SIDE * LEFT };
static void *left_blocks[SIDE_BY_SIDE][LEFT];

static void *live_and_leave(void *number)
{
    unsigned self = (unsigned)(uintptr_t)number;
    for (unsigned i = 0; i < LEFT; i++) {
        void *own = left_blocks[(self + 1) % SIDE_BY_SIDE][i];
        (void)own;
        left_blocks[self][i] = mi_malloc(1 + i * 3001);
        memset(left_blocks[self][i], (int)self, 1 + i * 3001);
    }
    return NULL;
}

static void *free_the_next_ones(void *number)
{
    unsigned next = (unsigned)((uintptr_t)number + 1) % SIDE_BY_SIDE;
    for (unsigned i = 0; i < LEFT; i++) mi_free(left_blocks[next][i]); // a thread that only frees
    return NULL;
}

static void generations(void)
{
    start();
    for (unsigned i = 0; i < GENERATIONS; i++) {
        run_threads(SIDE_BY_SIDE, live_and_leave);
        run_threads(SIDE_BY_SIDE, free_the_next_ones);
    }
    EXPECT_EQ(level_now(STAT_threads), 0);
    EXPECT(used_slices() < MOST_LEFT_SLICES); // of the depot's blocks, for the next thread
    thread_collect(thread_heap(), true);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    EXPECT(main_count() <= 2 * SIDE_BY_SIDE);
    expect_arena_rules();
}

TEST(thread_by_thread_400_of_them_leave_nothing_behind) { IN_CHILD(generations()); }

static void *wait_and_allocate(void *gate)
{
    void *block = mi_malloc(100);
    pthread_barrier_wait((pthread_barrier_t *)gate);
    pthread_barrier_wait((pthread_barrier_t *)gate);
    void *second = mi_malloc(10000); // a slow path: honours the wish
    EXPECT_EQ(atomic_load_explicit(&thread_heap()->collect_asked, memory_order_relaxed), 0);
    mi_free(block);
    mi_free(second);
    return NULL;
}

static void ask_to_collect(void)
{
    pthread_barrier_t gate;
    pthread_t thread;
    start();
    pthread_barrier_init(&gate, NULL, 2);
    pthread_create(&thread, NULL, wait_and_allocate, &gate);
    pthread_barrier_wait(&gate);
    thread_collect(thread_heap(), true);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}

TEST(thread_collect_asks_the_others_who_do_it_at_their_next_slow_path)
{
    IN_CHILD(ask_to_collect());
}

static bool hook_allocates;
static void say(const char *message, void *arg)
{
    (void)message;
    (void)arg;
    hook_allocates = true;
    mi_free(mi_malloc(100)); // as printf does
}

static void warns_at_start(void)
{
    fake_prim_reset();
    fake_prim_set_env("MIMALLOC_PURGE_DELAY", "tomorrow");
    hooks_set_output(say, NULL);
    EXPECT(mi_malloc(10) != NULL);
    EXPECT(hook_allocates);
}

TEST(thread_start_survives_an_output_hook_that_allocates) { IN_CHILD(warns_at_start()); }

enum { SAID_BYTES = 100, SAID_BLOCKS = 2 * SLICE_BYTES / SAID_BYTES };
static unsigned refusals_said;
static void *said_block;

static void say_refusal(const char *message, void *arg)
{
    EXPECT(arg == NULL && strstr(message, "large OS pages") != NULL);
    refusals_said++;
    said_block = mi_malloc(SAID_BYTES);
}

// The first page of the class is made when the system has just refused large OS pages.
static void refusal_in_malloc(void)
{
    static void *blocks[SAID_BLOCKS];
    struct prim_info info;
    fake_prim_reset();
    prim_info_read(&info);
    info.large_page_bytes = (size_t)2 << 20;
    fake_prim_set_info(&info);
    thread_start_process();
    options_set(OPTION_large_os_pages, 1);
    options_set(OPTION_verbose, 1);
    hooks_set_output(say_refusal, NULL);
    fake_prim_fail_from(FAKE_PRIM_map_large, 1, ENOMEM);
    blocks[0] = mi_malloc(SAID_BYTES);
    EXPECT_EQ(refusals_said, 0);
    EXPECT_TEXT(walk_broken_rule(thread_heap()), NULL);
    for (unsigned i = 1; i < SAID_BLOCKS; i++) blocks[i] = mi_malloc(SAID_BYTES);
    EXPECT_EQ(refusals_said, 1);
    EXPECT_TEXT(walk_broken_rule(thread_heap()), NULL);
    for (unsigned i = 0; i < SAID_BLOCKS; i++) mi_free(blocks[i]);
    mi_free(said_block);
    thread_collect(thread_heap(), true);
    EXPECT_EQ(used_slices(), 0);
}

TEST(thread_says_that_large_OS_pages_were_refused_before_it_touches_any_list)
{
    IN_CHILD(refusal_in_malloc());
}

static void *allocate_and_wait(void *gate)
{
    mi_free(mi_malloc(100));
    pthread_barrier_wait((pthread_barrier_t *)gate);
    pthread_barrier_wait((pthread_barrier_t *)gate);
    return NULL;
}

static void *use_slow_path(void *unused)
{
    mi_free(mi_malloc(100));
    return unused;
}

// A thread of the parent that was just counting itself in is in no list, but in the count.
static void counted(bool is_new_thread_first)
{
    pthread_t thread;
    pthread_barrier_t gate;
    start_quietly();
    mi_free(mi_malloc(100));
    pthread_barrier_init(&gate, NULL, 2);
    if (pthread_create(&thread, NULL, allocate_and_wait, &gate) != 0) abort();
    pthread_barrier_wait(&gate);
    stats_add(STAT_threads, 3);
    if (test_fork()) {
        if (is_new_thread_first) {
            run_thread(use_slow_path, NULL);
            EXPECT_EQ(level_now(STAT_threads), 0);
        }
        mi_free(mi_malloc(1000000));
        EXPECT_EQ(level_now(STAT_threads), 1);
        expect_arena_rules();
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}

TEST(thread_alone_in_the_child_of_a_fork_counts_one)
{
    IN_CHILD(counted(false));
    if (!TEST_TSAN) IN_CHILD(counted(true)); // it starts no threads after a fork
}

static ATOMIC(bool) is_counted, is_waiting, may_go_on;

static void stand_still(void)
{
    atomic_store(&is_waiting, true);
    while (!atomic_load(&may_go_on)) sched_yield();
}

static void *count_itself_in(void *unused)
{
    mi_free(mi_malloc(100));
    EXPECT_EQ(level_now(STAT_threads), 1); // the thread that forked has not come by yet
    atomic_store(&is_counted, true);
    return unused;
}

// Whoever counts itself in before the count is mended would be lost to it.
static void waits_for_the_mending(void)
{
    pthread_t thread;
    start_quietly();
    mi_free(mi_malloc(100));
    EXPECT_EQ(fork_watch(), 0);
    if (test_fork()) {
        EXPECT(fork_take());
        fake_prim_on(FAKE_PRIM_wait, stand_still); // else its patience might end first
        if (pthread_create(&thread, NULL, count_itself_in, NULL) != 0) abort();
        while (!atomic_load(&is_waiting) && !atomic_load(&is_counted)) sched_yield();
        EXPECT(!atomic_load(&is_counted));
        stats_remove(STAT_threads, stats_current(STAT_threads));
        fork_settle();
        atomic_store(&may_go_on, true);
        pthread_join(thread, NULL);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

// A signal may have led a thread out of the mending, into another call of malloc.
static void waits_for_itself(void)
{
    start_quietly();
    EXPECT_EQ(fork_watch(), 0);
    if (test_fork()) {
        EXPECT(fork_take());
        mi_free(mi_malloc(100));
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

// The one that forked ends without another slow path, after a new thread has mended everything.
static void ends_uncounted(void)
{
    start_quietly();
    mi_free(mi_malloc(100));
    EXPECT_EQ(fork_watch(), 0);
    if (test_fork()) {
        run_thread(use_slow_path, NULL);
        thread_done();
        EXPECT_EQ(level_now(STAT_threads), 0);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

TEST(thread_in_the_child_of_a_fork_counts_itself_in_when_the_count_is_mended)
{
    if (!TEST_TSAN) IN_CHILD(waits_for_the_mending());
    IN_CHILD(waits_for_itself());
    if (!TEST_TSAN) IN_CHILD(ends_uncounted());
}
