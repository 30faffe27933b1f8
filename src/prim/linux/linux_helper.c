// A thread that the C library does not know.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 // clone, system call numbers
#endif
#include "prim/posix/prim_posix.h"
#include "prim/prim.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
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

// Whether this thread may do anything that is root's right, or could make itself able to. One right
// counts for nothing: systemd gives all programs of a user's session that of waking the system.
static bool linux_has_capability(void)
{
    enum { VERSION = 0x20080522, WAKE_ALARM = 35 };
    struct { uint32_t version; int32_t thread; } of = {VERSION, 0};
    struct { uint32_t effective, permitted, inheritable; } sets[2];
    if (syscall(SYS_capget, &of, sets) != 0) return false; // a sandbox refuses: as if it had none
    uint64_t all = (uint64_t)sets[1].permitted << 32 | sets[0].permitted;
    return (all & ~(UINT64_C(1) << WAKE_ALARM)) != 0;
}

unsigned prim_caller(void)
{
    enum { DEADLINE = 6 }; // <sched.h> of older systems lacks it
    int before = errno;
    uid_t real = 0, effective = 0, saved = 0;
    unsigned flags = getauxval(AT_SECURE) != 0 ? PRIM_CALLER_ELEVATED : 0;
    ignore_result(getresuid(&real, &effective, &saved)); // what cannot be told counts as root
    if (real != effective || real != saved) flags |= PRIM_CALLER_MIXED;
    if (real == 0 || effective == 0 || saved == 0 || linux_has_capability())
        flags |= PRIM_CALLER_ROOT;
    int policy = sched_getscheduler(0); // with a bit more where children do not inherit it
    if (policy == SCHED_FIFO || policy == SCHED_RR || policy == DEADLINE || policy == SCHED_IDLE)
        flags |= PRIM_CALLER_SCHEDULED;
    errno = before;
    return flags;
}

void prim_helper_hurry(uint32_t number)
{
    uint64_t processors[8192 / 64];
    struct sched_param priority;
    int before = errno, policy = sched_getscheduler(0);
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof processors, processors);
    if (bytes > 0) (void)syscall(SYS_sched_setaffinity, number, bytes, processors);
    if (policy >= 0 && sched_getparam(0, &priority) == 0)
        ignore_result(sched_setscheduler((pid_t)number, policy, &priority));
    errno = before;
}

// Sanitizers and SafeStack want to see every thread begin, and keep data in its thread-locals; with
// another C library, or elsewhere, thread-locals lie differently.
#if defined(__has_feature)
#define LINUX_HAS_FEATURE(name) __has_feature(name)
#else
#define LINUX_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(__SANITIZE_HWADDRESS__) || LINUX_HAS_FEATURE(address_sanitizer) || \
    LINUX_HAS_FEATURE(thread_sanitizer) || LINUX_HAS_FEATURE(memory_sanitizer) || \
    LINUX_HAS_FEATURE(hwaddress_sanitizer) || LINUX_HAS_FEATURE(dataflow_sanitizer) || \
    LINUX_HAS_FEATURE(safe_stack) || LINUX_HAS_FEATURE(shadow_call_stack)
#define LINUX_HAS_HELPER 0
#elif defined(__x86_64__) && defined(__LP64__) && defined(__GLIBC__)
#define LINUX_HAS_HELPER 1
#else
#define LINUX_HAS_HELPER 0
#endif

#if LINUX_HAS_HELPER

/* memory of a helper:
 *
 *    | thread-locals (zeroes, but for errno never used) | control block | what to run ... stack |
 *                                                      tls
 * Thread-locals lie below the address in the thread register. The C library's calls write errno
 * there when they fail, and nothing else; so that one variable must lie within.
 */
enum { LINUX_CONTROL_BYTES = 4096, LINUX_STACK_BYTES = 32 * 1024 };

// The beginning of a thread's control block, as compilers and every version of glibc know it.
struct linux_control {
    struct linux_control *tls;    // thread-locals end here
    void *modules;                // NULL: of libraries that were loaded late; no helper uses any
    struct linux_control *thread; // what pthread_self answers
    uint32_t thread_count, flag;
    uintptr_t system_call;
    uintptr_t stack_guard;   // what the stack protector compares with
    uintptr_t pointer_guard; // some C libraries keep the address of the clock's code mangled by it
};
static_assert(offsetof(struct linux_control, thread) == 0x10, "fs:0x10");
static_assert(offsetof(struct linux_control, stack_guard) == 0x28, "fs:0x28");
static_assert(offsetof(struct linux_control, pointer_guard) == 0x30, "fs:0x30");

struct linux_helper {
    void (*body)(void *arg);
    void *arg;
};

static int linux_helper_run(void *started)
{
    const struct linux_helper *helper = (const struct linux_helper *)started;
    helper->body(helper->arg);
    return 0; // clone's wrapper ends this thread alone
}

// It gets no name of its own: a sandbox that allows threads may still not allow prctl.
static int linux_helper_clone(struct linux_control *control, struct linux_helper *helper,
                              ATOMIC(uint32_t) *alive)
{
    // what pthread_create asks for, so that a sandbox that allows threads allows this one
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    char *stack_end = (char *)helper + LINUX_STACK_BYTES;
    uint64_t all = UINT64_MAX, now; // bare masks: the C library's calls leave out two signals
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &now, sizeof all) != 0) return errno;
    int thread = clone(linux_helper_run, stack_end, flags, helper, alive, control, alive);
    int error = thread < 0 ? errno : 0;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &now, NULL, sizeof now);
    return error;
}

int prim_helper_start(void (*body)(void *arg), void *arg, void *memory, ATOMIC(uint32_t) *alive)
{
    static_assert(sizeof(*alive) == sizeof(pid_t), "the kernel writes its number there");
    int before = errno;
    char *tls = (char *)memory + PRIM_HELPER_BYTES - LINUX_STACK_BYTES - LINUX_CONTROL_BYTES;
    // here the handle of a thread is the address of its control block
    const struct linux_control *mine = (const struct linux_control *)(uintptr_t)pthread_self();
    ptrdiff_t errno_offset = (char *)&errno - (const char *)mine;
    if (errno_offset >= 0 || errno_offset < (char *)memory - tls) return ENOTSUP;

    struct linux_control *control = (struct linux_control *)(void *)tls;
    control->tls = control->thread = control;
    control->stack_guard = mine->stack_guard;
    control->pointer_guard = mine->pointer_guard;
    struct linux_helper *helper = (struct linux_helper *)(void *)(tls + LINUX_CONTROL_BYTES);
    helper->body = body;
    helper->arg = arg;
    int error = linux_helper_clone(control, helper, alive);
    errno = before;
    return error;
}

// Not the C library's clock_gettime: a library that makes up the time may stand before it.
uint64_t prim_helper_clock_ms(void)
{
    int before = errno;
    struct timespec now = {0, 0};
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &now);
    errno = before;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#else

int prim_helper_start(void (*body)(void *arg), void *arg, void *memory, ATOMIC(uint32_t) *alive)
{
    (void)body;
    (void)arg;
    (void)memory;
    (void)alive;
    return ENOTSUP;
}

uint64_t prim_helper_clock_ms(void) { return prim_clock_ms(); }

#endif
