#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "core/hooks.h"
#include "../support/fake_prim.h"
#include "../support/test.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

static char heard[256]; // by the output hook
static int  calls;

static void hear(const char *message, void *arg)
{
    calls++;
    strncat(heard, (const char *)arg, sizeof heard - strlen(heard) - 1);
    strncat(heard, message, sizeof heard - strlen(heard) - 1);
}

static void start(void)
{
    hooks_set_output(NULL, NULL);
    hooks_set_error(NULL, NULL);
    hooks_set_deferred_free(NULL, NULL);
    fake_prim_reset();
    fake_prim_catch_errors();
    heard[0] = '\0';
    calls = 0;
}

TEST(hooks_output_goes_to_stderr_without_a_hook)
{
    EXPECT_STDERR(hooks_output("a line\n"), "a line\n");
}

TEST(hooks_output_goes_to_the_hook_with_its_argument_and_back_to_stderr)
{
    char first[] = "1:", second[] = "2:";
    start();
    hooks_set_output(hear, first);
    hooks_output("a ");
    hooks_set_output(hear, second);
    hooks_output("b ");
    hooks_set_output(NULL, NULL);
    hooks_output("c");
    EXPECT_TEXT(heard, "1:a 2:b ");
    EXPECT_TEXT(fake_prim_caught(), "c");
}

TEST(hooks_survive_more_registrations_than_there_are_pairs)
{
    char name[] = "x:";
    start();
    for (int i = 0; i < 100; i++) {
        name[0] = (char)('a' + i % 26);
        hooks_set_output(hear, name);
    }
    hooks_output("end");
    EXPECT_TEXT(heard, "v:end");
}

static void speak_inside(const char *message, void *arg)
{
    calls++;
    if (arg != NULL) hear(message, arg);
    hooks_output("from inside\n"); // as malloc does when it warns
}

TEST(hooks_output_from_inside_the_output_hook_goes_to_stderr)
{
    start();
    hooks_set_output(speak_inside, NULL);
    hooks_output("a");
    hooks_output("b");
    EXPECT_EQ(calls, 2);
    EXPECT_TEXT(fake_prim_caught(), "from inside\nfrom inside\n");
}

static jmp_buf way_out;

static void leave_by_jump(int code, void *arg)
{
    (void)arg;
    calls += code;
    longjmp(way_out, 1);
}

TEST(hooks_work_again_after_a_hook_was_left_by_a_jump)
{
    start();
    hooks_set_error(leave_by_jump, NULL);
    for (volatile int i = 0; i < 3; i++) {
        if (setjmp(way_out) == 0) (void)hooks_error(10);
    }
    EXPECT_EQ(calls, 30);
}

static no_inline bool error_from(unsigned depth)
{
    volatile char room[2000]; // where the frames of calls before were
    for (size_t i = 0; i < sizeof room; i++) room[i] = 1;
    bool is_told = depth > 0 ? error_from(depth - 1) : hooks_error(10);
    return is_told && room[depth] == 1;
}

TEST(hooks_are_called_from_deeper_frames_too_after_a_hook_was_left_by_a_jump)
{
    start();
    hooks_set_error(leave_by_jump, NULL);
    for (volatile unsigned depth = 0; depth < 6; depth++) {
        if (setjmp(way_out) == 0) (void)error_from(depth);
    }
    EXPECT_EQ(calls, 60);
}

static void leave_output_by_jump(const char *message, void *arg)
{
    (void)message;
    leave_by_jump(1, arg);
}

static no_inline void say_from(unsigned depth)
{
    volatile char room[2000];
    for (size_t i = 0; i < sizeof room; i++) room[i] = 1;
    if (depth > 0) say_from(depth - 1);
    else hooks_output("a line\n");
    room[0] = 2;
}

TEST(hooks_output_too_after_it_was_left_by_a_jump)
{
    start();
    hooks_set_output(leave_output_by_jump, NULL);
    for (volatile unsigned depth = 0; depth < 6; depth++) {
        if (setjmp(way_out) == 0) say_from(depth);
    }
    EXPECT_EQ(calls, 6);
    EXPECT_TEXT(fake_prim_caught(), "");
}

static void fail_again(int code, void *arg)
{
    (void)arg;
    calls += code;
    EXPECT(!hooks_error(code));
}

TEST(hooks_error_tells_whether_a_hook_took_it_and_does_not_nest)
{
    start();
    EXPECT(!hooks_error(5));
    hooks_set_error(fail_again, NULL);
    EXPECT(hooks_error(5));
    EXPECT(hooks_error(6));
    EXPECT_EQ(calls, 11);
}

struct deferred {
    uintptr_t          inside;
    bool               force;
    unsigned long long heartbeat;
};

static void free_deferred(bool force, unsigned long long heartbeat, void *arg)
{
    struct deferred *deferred = (struct deferred *)arg;
    calls++;
    deferred->force = force;
    deferred->heartbeat = heartbeat;
    EXPECT(deferred->inside != HOOKS_OUTSIDE);
    hooks_deferred_free(&deferred->inside, force, heartbeat + 1); // as a malloc from inside does
}

TEST(hooks_deferred_free_calls_the_hook_once_and_knows_when_it_has_left)
{
    struct deferred deferred = {HOOKS_OUTSIDE, false, 0};
    start();
    hooks_deferred_free(&deferred.inside, true, 1);
    EXPECT_EQ(calls, 0);
    hooks_set_deferred_free(free_deferred, &deferred);
    hooks_deferred_free(&deferred.inside, true, 7);
    EXPECT_EQ(calls, 1);
    EXPECT(deferred.force && deferred.inside == HOOKS_OUTSIDE);
    EXPECT_EQ(deferred.heartbeat, 7);
    deferred.inside = HOOKS_NEVER;
    hooks_deferred_free(&deferred.inside, true, 8);
    EXPECT(calls == 1 && deferred.inside == HOOKS_NEVER);
}

static void leave_deferred_by_jump(bool force, unsigned long long heartbeat, void *inside)
{
    EXPECT(force && heartbeat == 1);
    hooks_deferred_free((uintptr_t *)inside, force, 2);
    leave_by_jump(1, inside);
}

static no_inline void defer_from(unsigned depth, uintptr_t *inside)
{
    volatile char room[2000];
    for (size_t i = 0; i < sizeof room; i++) room[i] = 1;
    if (depth > 0) defer_from(depth - 1, inside);
    else hooks_deferred_free(inside, true, 1);
    room[0] = 2;
}

TEST(hooks_deferred_free_too_after_it_was_left_by_a_jump)
{
    uintptr_t inside = HOOKS_OUTSIDE;
    start();
    hooks_set_deferred_free(leave_deferred_by_jump, &inside);
    for (volatile unsigned i = 0; i < 12; i++) {
        if (setjmp(way_out) == 0) defer_from(i % 6, &inside);
    }
    EXPECT_EQ(calls, 12);
}

// --- threads -------------------------------------------------------------------------------------

// A hook that is called again on a higher stack, where it cannot know itself again, and frees the
// place of the first call: another thread takes it.
static pthread_barrier_t both_inside, first_has_left;
enum { FIRST, ON_HIGHER_STACK, OF_OTHER_THREAD, NESTED };

static void *call_as_other(void *unused)
{
    EXPECT(hooks_error(OF_OTHER_THREAD));
    return unused;
}

static void call_on_higher_stack(int signal)
{
    EXPECT(signal == SIGUSR1 && hooks_error(ON_HIGHER_STACK));
}

static void lose_the_place(int code, void *other)
{
    calls++;
    if (code == FIRST) {
        raise(SIGUSR1);
        EXPECT_EQ(pthread_create((pthread_t *)other, NULL, call_as_other, NULL), 0);
        pthread_barrier_wait(&both_inside);
    } else if (code == OF_OTHER_THREAD) {
        pthread_barrier_wait(&both_inside);
        pthread_barrier_wait(&first_has_left);
        EXPECT(!hooks_error(NESTED));
    }
}

static void *call_first(void *stack)
{
    pthread_t other;
    stack_t before; // a sanitizer's, which it unmaps at the end of the thread
    EXPECT_EQ(sigaltstack((const stack_t *)stack, &before), 0);
    hooks_set_error(lose_the_place, &other);
    EXPECT(hooks_error(FIRST));
    pthread_barrier_wait(&first_has_left);
    pthread_join(other, NULL);
    EXPECT_EQ(sigaltstack(&before, NULL), 0);
    return NULL;
}

static void leave_after_another_came(void)
{
    static struct sigaction action;
    char room[1 << 16]; // the first thread's stack lies higher than all others'
    stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
    pthread_t first;
    start();
    pthread_barrier_init(&both_inside, NULL, 2);
    pthread_barrier_init(&first_has_left, NULL, 2);
    action.sa_handler = call_on_higher_stack;
    action.sa_flags = SA_ONSTACK;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    EXPECT_EQ(pthread_create(&first, NULL, call_first, &stack), 0);
    pthread_join(first, NULL);
    EXPECT_EQ(calls, 3);
}

TEST(hooks_that_are_left_leave_the_place_of_another_thread_alone)
{
    EXPECT_STDERR(leave_after_another_came(), "");
}

enum { THREADS = 24, LINES = 200 }; // fewer threads than there are places

static ATOMIC(int) lines_heard, lines_inside;

static void count_lines(const char *message, void *arg)
{
    EXPECT(arg == &lines_heard);
    atomic_fetch_add_explicit(&lines_heard, 1, memory_order_relaxed);
    if (message[0] == 'o') hooks_output("inside");
    else atomic_fetch_add_explicit(&lines_inside, 1, memory_order_relaxed); // into itself
}

static void *say_lines(void *arg)
{
    for (int i = 0; i < LINES; i++) hooks_output("outside");
    return arg;
}

TEST(hooks_lose_no_line_when_many_threads_speak)
{
    pthread_t threads[THREADS];
    start();
    hooks_set_output(count_lines, &lines_heard);
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, say_lines, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    EXPECT_EQ(atomic_load_explicit(&lines_inside, memory_order_relaxed), 0);
    EXPECT_EQ(atomic_load_explicit(&lines_heard, memory_order_relaxed), THREADS * LINES);
    hooks_output("outside");
    EXPECT_EQ(atomic_load_explicit(&lines_heard, memory_order_relaxed), THREADS * LINES + 1);
}
