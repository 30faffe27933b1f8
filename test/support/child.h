/* child.h: runs a piece of a test in a process of its own, to see it die, to limit it, or to start
 * it afresh.
 *
 * The child's stdout and stderr arrive together in `text`, cut at its size. A child that is not
 * done after `seconds` is killed: a hang is a failure, not a hung test run.
 */
#ifndef TEST_SUPPORT_CHILD_H
#define TEST_SUPPORT_CHILD_H
#include "api_test.h"
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILD_SECONDS = TEST_IS_SANITIZED || MI_DEBUG > 1 ? 120 : 30 };

struct child {
    bool timed_out;
    int exit_code;    // -1 when a signal ended it
    int signal;       // 0 when it ended by itself
    size_t bytes;     // of text
    char text[16384]; // what it wrote
};

typedef void child_body(void *arg);

static inline long long child_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Reads until the child has closed its end; false when time is up. What does not fit is read and
// dropped.
static inline bool child_read(struct child *child, int fd, long long end_ms)
{
    char rest[1024];
    for (;;) {
        struct pollfd poll_fd = {fd, POLLIN, 0};
        long long left_ms = end_ms - child_now_ms();
        if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) == 0) return false;
        size_t room = sizeof child->text - 1 - child->bytes;
        ssize_t got =
            room > 0 ? read(fd, child->text + child->bytes, room) : read(fd, rest, sizeof rest);
        if (got <= 0) return true;
        if (room > 0) child->bytes += (size_t)got;
    }
}

static inline void child_finish(struct child *child, pid_t pid, int fd, int seconds)
{
    int status = 0;
    if (!child_read(child, fd, child_now_ms() + seconds * 1000LL)) {
        child->timed_out = true;
        kill(pid, SIGKILL);
    }
    close(fd);
    waitpid(pid, &status, 0);
    child->text[child->bytes] = 0;
    child->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Starts a child whose output goes to *fd; 0 in the child, -1 on failure.
static inline pid_t child_fork(struct child *child, int *fd)
{
    int ends[2];
    memset(child, 0, sizeof *child);
    child->exit_code = -1;
    fflush(NULL);
    if (pipe(ends) != 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
    }
    close(ends[1]);
    *fd = ends[0];
    return pid;
}

// Runs body(arg) in a fork of this process; exit code 0 when no expectation failed in there.
static inline void child_run(struct child *child, child_body *body, void *arg)
{
    int fd = -1;
    pid_t pid = child_fork(child, &fd);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); // a sanitizer's handler would turn the fault into an exit
        signal(SIGABRT, SIG_DFL);
        __atomic_store_n(&test_state.failures, 0, __ATOMIC_RELAXED);
        body(arg);
        fflush(NULL);
        _exit(test_failures() == 0 ? 0 : 1);
    }
    if (pid < 0)
        test_failed(__FILE__, __LINE__, "a child process");
    else
        child_finish(child, pid, fd, CHILD_SECONDS);
}

// Runs argv[0] with the given arguments; `env` holds "NAME=value" texts to add, ended by NULL, or
// is NULL.
static inline void child_exec(struct child *child, const char *const *argv, const char *const *env)
{
    int fd = -1;
    pid_t pid = child_fork(child, &fd);
    if (pid == 0) {
        for (; env != NULL && *env != NULL; env++) putenv((char *)(uintptr_t)*env);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0)
        test_failed(__FILE__, __LINE__, "a child process");
    else
        child_finish(child, pid, fd, CHILD_SECONDS);
}

static inline bool child_says(const struct child *child, const char *text)
{
    return strstr(child->text, text) != NULL;
}

static inline size_t child_line_count(const struct child *child)
{
    size_t count = 0;
    for (size_t i = 0; i < child->bytes; i++) count += child->text[i] == '\n';
    return count;
}

// A child that ran to its end without a failed expectation; else what it wrote is shown.
static inline bool child_is_well(const struct child *child)
{
    bool is_well = !child->timed_out && child->exit_code == 0;
    if (!is_well) {
        fprintf(stderr, "child: exit code %d, signal %d%s; it wrote:\n%s\n", child->exit_code,
                child->signal, child->timed_out ? ", timed out" : "", child->text);
    }
    return is_well;
}

#endif
