// A thread that the C library does not know.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 // clone, system call numbers
#endif
#include "prim/posix/prim_posix.h"
#include "prim/prim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Without FUTEX_PRIVATE_FLAG: the kernel's own wake at the end of a helper has none.
enum { LINUX_FUTEX_WAIT = 0, LINUX_FUTEX_WAKE = 1 };

void prim_wait(ATOMIC(uint32_t) *word, uint32_t value, uint32_t timeout_ms)
{
    int before = errno;
    struct timespec most = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    (void)syscall(SYS_futex, word, LINUX_FUTEX_WAIT, value, &most, NULL, 0);
    errno = before;
}

void prim_wake(ATOMIC(uint32_t) *word)
{
    int before = errno;
    (void)syscall(SYS_futex, word, LINUX_FUTEX_WAKE, 1, NULL, NULL, 0);
    errno = before;
}

// Sanitizers want to see every thread begin, and keep their own data in its thread-locals.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LINUX_HAS_HELPER 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LINUX_HAS_HELPER 0
#endif
#endif
#ifndef LINUX_HAS_HELPER
#if defined(__x86_64__)
#define LINUX_HAS_HELPER 1
#else
#define LINUX_HAS_HELPER 0 // where thread-locals lie differently
#endif
#endif

#if LINUX_HAS_HELPER

/* memory of a helper:
 *
 *    | thread-locals (zeroes, but for errno never used) | control block | stack |
 *                                                      tls
 * Thread-locals lie below the address in the thread register. The C library's calls write errno
 * there when they fail, and nothing else; so that one variable must lie within.
 */
enum { LINUX_CONTROL_BYTES = 4096, LINUX_STACK_BYTES = 32 * 1024 };

struct linux_control {
    struct linux_control *self; // where the C library looks for the address of its thread-locals
    void (*body)(void);
    char *stack_end;
};

static int linux_helper_run(void *control)
{
    (void)prctl(PR_SET_NAME, "mimalloc-purge", 0, 0, 0);
    ((struct linux_control *)control)->body();
    return 0; // clone's wrapper ends this thread alone
}

static int linux_helper_clone(struct linux_control *control, ATOMIC(uint32_t) *alive)
{
    // what pthread_create asks for, so that a sandbox that allows threads allows this one
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    uint64_t all = UINT64_MAX, now; // bare masks: the C library's calls leave out two signals
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &now, sizeof all) != 0) return errno;
    int thread = clone(linux_helper_run, control->stack_end, flags, control, alive, control, alive);
    int error = thread < 0 ? errno : 0;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &now, NULL, sizeof now);
    return error;
}

int prim_helper_start(void (*body)(void), void *memory, ATOMIC(uint32_t) *alive)
{
    static_assert(sizeof(*alive) == sizeof(pid_t), "the kernel writes its number there");
    int before = errno;
    char *tls = (char *)memory + PRIM_HELPER_BYTES - LINUX_STACK_BYTES - LINUX_CONTROL_BYTES;
    // on x86-64 the handle of a thread is the address of its control block
    ptrdiff_t errno_offset = (char *)&errno - (char *)(uintptr_t)pthread_self();
    if (errno_offset >= 0 || errno_offset < (char *)memory - tls) return ENOTSUP;

    struct linux_control *control = (struct linux_control *)(void *)tls;
    control->self = control;
    control->body = body;
    control->stack_end = tls + LINUX_CONTROL_BYTES + LINUX_STACK_BYTES;
    int error = linux_helper_clone(control, alive);
    errno = before;
    return error;
}

#else

int prim_helper_start(void (*body)(void), void *memory, ATOMIC(uint32_t) *alive)
{
    (void)body;
    (void)memory;
    (void)alive;
    return ENOTSUP;
}

#endif
