#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "prim/prim.h"
#include "../support/test.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// A thread that the C library does not know. Where there can be none, the tests see it said.

enum { NOBODY = 65534 };

static ATOMIC(uint32_t) alive;

static void *helper_memory(void)
{
    void *memory = NULL;
    if (prim_map(NULL, PRIM_HELPER_BYTES, PRIM_MAP_ANYWHERE, &memory) != 0) abort();
    return memory;
}

static void wait_for_end(void)
{
    uint32_t now;
    while ((now = atomic_load_explicit(&alive, memory_order_acquire)) != 0)
        prim_wait(&alive, now, 1000);
}

// Starts a helper and sees its end; false where there can be none.
static bool run_helper(void (*body)(void *arg))
{
    void *memory = helper_memory();
    int error = prim_helper_start(body, memory, memory, &alive);
    EXPECT(error == 0 || error == ENOTSUP);
    if (error == 0) wait_for_end();
    EXPECT_EQ(prim_unmap(memory, PRIM_HELPER_BYTES), 0); // nothing needs it any more
    return error == 0;
}

// What a helper finds; the order is that of the fields in the C library's control block.
static uintptr_t seen_block[7];
static uint64_t seen_mask, seen_ms;
static uint32_t seen_number, seen_alive;
static void *seen_arg;

static const uintptr_t *own_block(void) { return (const uintptr_t *)(uintptr_t)pthread_self(); }

static void look_around(void *arg)
{
    seen_arg = arg;
    for (int i = 0; i < 7; i++) seen_block[i] = own_block()[i];
    seen_ms = prim_helper_clock_ms();
    seen_number = (uint32_t)syscall(SYS_gettid);
    seen_alive = atomic_load_explicit(&alive, memory_order_relaxed);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &seen_mask, sizeof seen_mask);
}

TEST(helper_has_a_control_block_its_number_and_no_signals)
{
    uint64_t before, after, begin_ms = prim_clock_ms();
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &before, sizeof before);
    if (!run_helper(look_around)) return;
    EXPECT(seen_block[0] == seen_block[2] && seen_block[0] != own_block()[0]);
    EXPECT_EQ(seen_block[1], 0);
    EXPECT(seen_arg != NULL);
    EXPECT(seen_block[5] == own_block()[5] && seen_block[5] != 0); // stack guard
    EXPECT(seen_block[6] == own_block()[6] && seen_block[6] != 0); // pointer guard
    EXPECT(seen_number == seen_alive && seen_number != (uint32_t)getpid());
    EXPECT(seen_ms >= begin_ms && seen_ms <= prim_clock_ms());
    uint64_t unblockable = UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1);
    EXPECT_EQ(seen_mask | unblockable, UINT64_MAX);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &after, sizeof after);
    EXPECT_EQ(after, before);
}

static void *refused_memory;
static int helper_error;

// All that a helper may call; two of them fail and write errno.
static void call_all(void *arg)
{
    (void)arg;
    ATOMIC(uint32_t) word = 1;
    int error = prim_purge(refused_memory, PRIM_HELPER_BYTES);
    helper_error = prim_purge((void *)(0 - (uintptr_t)8192), 4096);
    helper_error += prim_reset((void *)(0 - (uintptr_t)8192), 4096);
    if (error != 0) helper_error = 0;
    prim_wait(&word, 0, 1000);
    prim_wait(&word, 1, 1);
    prim_wake(&word);
}

TEST(helper_has_an_errno_of_its_own)
{
    refused_memory = helper_memory();
    *(char *)refused_memory = 1;
    errno = 77;
    if (run_helper(call_all)) EXPECT(helper_error > 0 && *(char *)refused_memory == 0);
    EXPECT_EQ(errno, 77);
    EXPECT_EQ(prim_unmap(refused_memory, PRIM_HELPER_BYTES), 0);
}

static void be_short(void *arg) { (void)arg; }

TEST(helper_after_helper_uses_the_same_memory)
{
    void *memory = helper_memory();
    int error = 0;
    for (int i = 0; i < 200 && error == 0; i++) {
        error = prim_helper_start(be_short, NULL, memory, &alive);
        if (error == 0) wait_for_end();
    }
    EXPECT(error == 0 || error == ENOTSUP);
    EXPECT_EQ(prim_unmap(memory, PRIM_HELPER_BYTES), 0);
}

static void too_many(void)
{
    struct rlimit none = {0, 0};
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) return;
    setrlimit(RLIMIT_NPROC, &none);
    int error = prim_helper_start(be_short, NULL, helper_memory(), &alive);
    EXPECT(error == EAGAIN || error == ENOTSUP);
    EXPECT_EQ(atomic_load_explicit(&alive, memory_order_relaxed), 0);
}

TEST(helper_that_is_one_too_many_is_refused_for_now) { EXPECT_STDERR(too_many(), ""); }

static void schedule(int policy, int priority, unsigned expected)
{
    struct sched_param param = {.sched_priority = priority};
    if (sched_setscheduler(0, policy, &param) != 0) return; // not everybody may
    EXPECT_EQ(prim_caller() & PRIM_CALLER_SCHEDULED, expected);
}

static void be_several_callers(void)
{
    errno = 77;
    EXPECT_EQ(prim_caller() & (PRIM_CALLER_ELEVATED | PRIM_CALLER_MIXED), 0);
    EXPECT_EQ((prim_caller() & PRIM_CALLER_ROOT) != 0, getuid() == 0);
    schedule(SCHED_FIFO, 1, PRIM_CALLER_SCHEDULED);
    schedule(SCHED_FIFO | SCHED_RESET_ON_FORK, 1, 0);
    schedule(SCHED_RR, 1, PRIM_CALLER_SCHEDULED);
    schedule(SCHED_IDLE, 0, PRIM_CALLER_SCHEDULED);
    schedule(SCHED_BATCH, 0, 0);
    EXPECT_EQ(errno, 77);
    if (getuid() != 0) return;
    int changed = setresuid(NOBODY, NOBODY, 0);
    if (changed != 0 && errno == EINVAL) return; // a user namespace without other users
    EXPECT_EQ(changed, 0);
    EXPECT_EQ(prim_caller(), PRIM_CALLER_MIXED | PRIM_CALLER_ROOT);
    EXPECT_EQ(setresuid(0, 0, 0), 0);
    EXPECT_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    EXPECT_EQ(prim_caller(), 0);
}

TEST(caller_is_judged_by_its_users_and_its_scheduling) { EXPECT_STDERR(be_several_callers(), ""); }

// Keeps these of root's rights for another user.
static void expect_caller_with(uint64_t rights, unsigned flags)
{
    struct { uint32_t version; int32_t thread; } of = {0x20080522, 0};
    uint32_t low = (uint32_t)rights, high = (uint32_t)(rights >> 32);
    uint32_t sets[2][3] = {{0, low, 0}, {0, high, 0}}; // effective, permitted, inheritable
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0) return;
    if (syscall(SYS_capset, &of, sets) != 0) return; // root had not got all of them itself
    errno = 77;
    EXPECT_EQ(prim_caller(), flags);
    EXPECT_EQ(errno, 77);
}

TEST(caller_with_some_of_roots_rights_counts_as_root)
{
    enum { CHOWN = 0, WAKE_ALARM = 35 };
    uint64_t waking = UINT64_C(1) << WAKE_ALARM;
    if (getuid() != 0) return;
    EXPECT_STDERR(expect_caller_with(UINT64_C(1) << CHOWN, PRIM_CALLER_ROOT), "");
    EXPECT_STDERR(expect_caller_with(waking, 0), "");
    EXPECT_STDERR(expect_caller_with(waking | UINT64_C(1) << CHOWN, PRIM_CALLER_ROOT), "");
}

static ATOMIC(uint32_t) slow_number, slow_is_over;

static void *be_slow(void *first_processor)
{
    sched_setaffinity(0, sizeof(cpu_set_t), (cpu_set_t *)first_processor);
    atomic_store_explicit(&slow_number, (uint32_t)syscall(SYS_gettid), memory_order_release);
    prim_wake(&slow_number);
    while (atomic_load_explicit(&slow_is_over, memory_order_relaxed) == 0)
        prim_wait(&slow_is_over, 0, 1000);
    return NULL;
}

static cpu_set_t first_of(const cpu_set_t *all)
{
    cpu_set_t first;
    size_t number = 0;
    CPU_ZERO(&first);
    while (!CPU_ISSET(number, all)) number++;
    CPU_SET(number, &first);
    return first;
}

static void hurry(void)
{
    cpu_set_t all, now;
    pthread_t thread;
    struct sched_param param = {.sched_priority = 1};
    CPU_ZERO(&all);
    CPU_ZERO(&now);
    EXPECT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    cpu_set_t first = first_of(&all);
    if (pthread_create(&thread, NULL, be_slow, &first) != 0) abort();
    while (atomic_load_explicit(&slow_number, memory_order_acquire) == 0)
        prim_wait(&slow_number, 0, 1000);
    bool is_real_time = sched_setscheduler(0, SCHED_RR, &param) == 0;
    prim_helper_hurry(slow_number);
    EXPECT_EQ(sched_getaffinity((pid_t)slow_number, sizeof now, &now), 0);
    EXPECT(CPU_EQUAL(&all, &now));
    EXPECT_EQ(sched_getscheduler((pid_t)slow_number), is_real_time ? SCHED_RR : SCHED_OTHER);
    atomic_store_explicit(&slow_is_over, 1, memory_order_relaxed);
    prim_wake(&slow_is_over);
    pthread_join(thread, NULL);
    prim_helper_hurry(INT32_MAX); // there is no such thread, and nothing happens
}

TEST(hurry_lends_processors_and_priority) { EXPECT_STDERR(hurry(), ""); }
