#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 // fork, pipe
#endif
#include "test.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TEST_CHILD_SECONDS = TEST_ASAN || TEST_TSAN ? 120 : 60, TEST_MAX_LINES = 20 };

static struct test_case  *test_first;
static struct test_case **test_last = &test_first;
static int                test_failures; // [any] atomic, of the running test

// What became of the last child.
static int  test_child_status;
static char test_child_text[16384];

void test_add(struct test_case *test_case)
{
    *test_last = test_case;
    test_last = &test_case->next;
}

// True while the failures of this test are few enough to be printed.
static bool test_count_failure(void)
{
    return __atomic_add_fetch(&test_failures, 1, __ATOMIC_RELAXED) <= TEST_MAX_LINES;
}

void test_fail(const char *file, int line, const char *text)
{
    if (test_count_failure()) fprintf(stderr, "%s:%d: expected: %s\n", file, line, text);
}

void test_expect_equal(const char *file, int line, const char *text, long long a, long long b)
{
    if (a == b || !test_count_failure()) return;
    fprintf(stderr, "%s:%d: expected: %s; they are %lld (0x%llx) and %lld (0x%llx)\n", file, line,
            text, a, (unsigned long long)a, b, (unsigned long long)b);
}

void test_expect_text(const char *file, int line, const char *a, const char *b)
{
    if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0)) return;
    if (!test_count_failure()) return;
    fprintf(stderr, "%s:%d: expected the same text, but they are\n  \"%s\"\n  \"%s\"\n", file, line,
            a != NULL ? a : "(NULL)", b != NULL ? b : "(NULL)");
}

// --- children ------------------------------------------------------------------------------------

// In the child: a signal ends it without a core file and without a sanitizer's handler, a hang by
// the clock.
static void test_become_child(int fd)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    alarm(TEST_CHILD_SECONDS);
    dup2(fd, STDERR_FILENO);
    test_failures = 0;
}

static void test_read_child(int fd)
{
    size_t length = 0;
    ssize_t got;
    char rest[1024];
    do {
        size_t room = sizeof test_child_text - 1 - length;
        got = room > 0 ? read(fd, test_child_text + length, room) : read(fd, rest, sizeof rest);
        if (got > 0 && room > 0) length += (size_t)got;
    } while (got > 0);
    test_child_text[length] = '\0';
}

bool test_fork(void)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) abort();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        close(ends[0]);
        test_become_child(ends[1]);
        return true;
    }
    close(ends[1]);
    test_read_child(ends[0]);
    close(ends[0]);
    waitpid(pid, &test_child_status, 0);
    return false;
}

void test_child_end(void)
{
    fflush(NULL);
    _exit(test_failures == 0 ? 0 : 1);
}

static void test_fail_child(const char *file, int line, const char *wanted, const char *text)
{
    if (!test_count_failure()) return;
    fprintf(stderr, "%s:%d: expected a child %s \"%s\"; its status is 0x%x and it wrote \"%s\"\n",
            file, line, wanted, text, (unsigned)test_child_status, test_child_text);
}

void test_expect_death(const char *file, int line, const char *part)
{
    bool is_hung = WIFSIGNALED(test_child_status) && WTERMSIG(test_child_status) == SIGALRM;
    if (test_child_status != 0 && !is_hung && strstr(test_child_text, part) != NULL) return;
    test_fail_child(file, line, "that dies with", part);
}

void test_expect_stderr(const char *file, int line, const char *all)
{
    if (test_child_status == 0 && strcmp(test_child_text, all) == 0) return;
    test_fail_child(file, line, "that lives and writes", all);
}

// --- random numbers ------------------------------------------------------------------------------

uint64_t test_seed(void)
{
    const char *given = getenv("TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec;
    if (given != NULL) seed = strtoull(given, NULL, 0);
    printf("TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

uint64_t test_random(uint64_t *state)
{
    uint64_t word = *state += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

// --- main ----------------------------------------------------------------------------------------

static bool test_is_chosen(const struct test_case *test_case, int count, char **names)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(names[i], test_case->name) == 0) return true;
    }
    return count < 2;
}

static bool test_run(const struct test_case *test_case)
{
    test_failures = 0;
    test_case->run();
    printf("%s: %s\n", test_case->name, test_failures == 0 ? "ok" : "FAILED");
    fflush(stdout);
    return test_failures == 0;
}

int main(int count, char **names)
{
    int run = 0, failed = 0;
    for (struct test_case *test_case = test_first; test_case != NULL; test_case = test_case->next) {
        if (!test_is_chosen(test_case, count, names)) continue;
        run++;
        if (!test_run(test_case)) failed++;
    }
    printf("%d tests, %d failed\n", run, failed);
    return run == 0 || failed > 0 ? 1 : 0;
}
