#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "core/hooks.h"
#include "../support/fake_prim.h"
#include "../support/test.h"
#include <pthread.h>
#include <setjmp.h>

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
    bool               is_inside;
    bool               force;
    unsigned long long heartbeat;
};

static void free_deferred(bool force, unsigned long long heartbeat, void *arg)
{
    struct deferred *deferred = (struct deferred *)arg;
    calls++;
    deferred->force = force;
    deferred->heartbeat = heartbeat;
    EXPECT(deferred->is_inside);
    hooks_deferred_free(&deferred->is_inside, force, heartbeat + 1); // as a malloc from inside does
}

TEST(hooks_deferred_free_calls_the_hook_once_and_clears_the_flag)
{
    struct deferred deferred = {false, false, 0};
    start();
    hooks_deferred_free(&deferred.is_inside, true, 1);
    EXPECT_EQ(calls, 0);
    hooks_set_deferred_free(free_deferred, &deferred);
    hooks_deferred_free(&deferred.is_inside, true, 7);
    EXPECT_EQ(calls, 1);
    EXPECT(deferred.force && !deferred.is_inside);
    EXPECT_EQ(deferred.heartbeat, 7);
}

enum { THREADS = 24, LINES = 200 }; // more threads than can be inside a hook with protection

static ATOMIC(int) lines_heard, lines_inside;

static void count_lines(const char *message, void *arg)
{
    EXPECT(arg == &lines_heard);
    atomic_fetch_add_explicit(&lines_heard, 1, memory_order_relaxed);
    if (message[0] == 'o') hooks_output("inside");
    else atomic_fetch_add_explicit(&lines_inside, 1, memory_order_relaxed);
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
    int all = THREADS * LINES + atomic_load_explicit(&lines_inside, memory_order_relaxed);
    EXPECT_EQ(atomic_load_explicit(&lines_heard, memory_order_relaxed), all);
    hooks_output("outside");
    EXPECT_EQ(atomic_load_explicit(&lines_heard, memory_order_relaxed), all + 1);
}
