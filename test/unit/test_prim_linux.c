#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "prim/linux/prim_linux.h"
#include "prim/prim.h"
#include "../support/test.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// What the port does on a kernel, or in a sandbox, that lacks a system call: a filter refuses it in
// a child process.

enum { BYTES = 1 << 16, ADVICE_FREE = 8, REMAP_DONTUNMAP = 4 };

// The first test: nobody has started a thread. (ThreadSanitizer has one of its own.)
TEST(prim_is_single_threaded_until_a_thread_is_started)
{
#if defined(__GLIBC__)
    if (__GLIBC_PREREQ(2, 32) && !TEST_TSAN) EXPECT(prim_is_single_threaded());
#endif
}

// Refuses system call `number` with `error`, where its argument `index` has a bit of `bits`; index
// -1: always.
static void refuse(long number, int index, unsigned bits, int error)
{
    unsigned value_at = offsetof(struct seccomp_data, args) + (unsigned)(index < 0 ? 0 : index) * 8;
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) value_at += 4;
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 4),
        BPF_JUMP(BPF_JMP | BPF_JA, index < 0 ? 2u : 0u, 0, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, value_at),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof steps / sizeof steps[0], steps};
    // Where there are no filters, as in an emulator, there is nothing to see.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) test_child_end();
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) test_child_end();
}

static unsigned char *map_filled(unsigned char byte)
{
    void *start = NULL;
    if (prim_map(NULL, BYTES, PRIM_MAP_ANYWHERE, &start) != 0) abort();
    memset(start, byte, BYTES);
    return (unsigned char *)start;
}

static bool is_filled(const unsigned char *start, unsigned char byte)
{
    for (int i = 0; i < BYTES; i++) {
        if (start[i] != byte) return false;
    }
    return true;
}

// What mremap does: as the kernel at hand; as one before 5.7, which does not know DONTUNMAP; or it
// unmaps the target and fails then, before or after another thread has mapped something there.
static enum { KERNEL_REAL, KERNEL_OLD, KERNEL_LATE, KERNEL_RACE } kernel;
static size_t race_at;

void *mremap(void *from, size_t bytes, size_t new_bytes, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    char *to = (flags & MREMAP_FIXED) != 0 ? va_arg(more, char *) : NULL;
    va_end(more);
    if (to != NULL && (flags & REMAP_DONTUNMAP) == 0) abort(); // it would unmap the source
    if (to == NULL || kernel == KERNEL_REAL)
        return (void *)syscall(SYS_mremap, from, bytes, new_bytes, flags, to);
    if (kernel != KERNEL_OLD && munmap(to, new_bytes) != 0) abort();
    if (kernel == KERNEL_RACE) {
        int protection = race_at == 0 ? PROT_READ : PROT_NONE;
        void *mapped = mmap(to + race_at, (size_t)getpagesize(), protection,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (mapped == MAP_FAILED) abort();
    }
    errno = kernel == KERNEL_OLD ? EINVAL : ENOMEM;
    return MAP_FAILED;
}

static void move_fails(int error, bool is_lost)
{
    bool was_lost = !is_lost;
    unsigned char *from = map_filled(6), *to = map_filled(9);
    EXPECT_EQ(prim_move(from, BYTES, to, &was_lost), error);
    EXPECT(was_lost == is_lost);
    EXPECT(is_filled(from, 6));
    if (!is_lost) memset(to, 9, BYTES);
}

static void move_on_an_old_kernel(void)
{
    kernel = KERNEL_OLD;
    move_fails(EINVAL, false);
}

static void move_refused(void)
{
    refuse(SYS_mremap, -1, 0, ENOMEM);
    move_fails(ENOMEM, false);
}

static void move_late(bool has_memory)
{
    bool is_lost = has_memory;
    unsigned char *from = map_filled(6), *to = map_filled(9);
    kernel = KERNEL_LATE;
    if (!has_memory) refuse(SYS_mmap, -1, 0, ENOMEM);
    EXPECT_EQ(prim_move(from, BYTES, to, &is_lost), ENOMEM);
    EXPECT(is_lost == !has_memory && is_filled(from, 6));
    if (has_memory) EXPECT(is_filled(to, 0));
}

static void move_and_race(size_t at)
{
    kernel = KERNEL_RACE;
    race_at = at;
    move_fails(ENOMEM, true);
}

TEST(prim_move_that_fails_leaves_the_pages_and_tells_when_the_target_is_lost)
{
    EXPECT_STDERR(move_on_an_old_kernel(), "");
    EXPECT_STDERR(move_refused(), "");
    EXPECT_STDERR(move_late(true), "");
    EXPECT_STDERR(move_late(false), "");
    EXPECT_STDERR(move_and_race(0), "");
    EXPECT_STDERR(move_and_race(BYTES / 2), "");
}

// A mapping that is locked would be so no more, also where the pages do not move.
static void move_locked(void)
{
    bool is_lost = true;
    unsigned char *from = map_filled(6), *to = map_filled(9);
    // not the C library's name for it, which sanitizers make do nothing
    if (syscall(SYS_mlock, from, BYTES) != 0) return; // not allowed here
    EXPECT_EQ(prim_move(from, BYTES / 2, to, &is_lost), EPERM);
    EXPECT(!is_lost && is_filled(from, 6) && is_filled(to, 9));
    EXPECT(prim_is_locked(from) && !prim_is_locked(to));
    EXPECT_EQ(syscall(SYS_munlock, from, BYTES), 0);
    EXPECT_EQ(prim_move(from, BYTES / 2, to, &is_lost), 0);
}

TEST(prim_move_leaves_locked_memory_where_it_is) { EXPECT_STDERR(move_locked(), ""); }

// Who looks for the end of a mapping, again and again, as long as the word is 1.
static ATOMIC(int) may_look, is_looking;
static void *look_for_the_end(void *memory)
{
    for (int may; (may = atomic_load_explicit(&may_look, memory_order_acquire)) != 2;) {
        atomic_store_explicit(&is_looking, may, memory_order_release);
        if (may == 1 && prim_mapping_bytes(memory, BYTES) != BYTES) abort();
        if (may == 0) sched_yield();
    }
    return NULL;
}

static void let_look(int may)
{
    atomic_store_explicit(&may_look, may, memory_order_release);
    while (atomic_load_explicit(&is_looking, memory_order_acquire) != may) sched_yield();
}

// Where the next OS page is free, asking does not take it, not even for a moment. (What is mapped
// there is not unmapped meanwhile: memory of ours never is.)
static void look_before_a_hole(void)
{
    enum { ROUNDS = 300 };
    pthread_t thread;
    void *mapped, *start = NULL;
    if (prim_map(NULL, 2 * BYTES, PRIM_MAP_ANYWHERE, &start) != 0) abort();
    char *memory = (char *)start;
    // it begins first: whatever is mapped for it may lie in the hole
    if (pthread_create(&thread, NULL, look_for_the_end, memory) != 0) abort();
    let_look(1);
    let_look(0);
    for (int i = 0; i < ROUNDS; i++) {
        EXPECT_EQ(prim_unmap(memory + BYTES, BYTES), 0);
        let_look(1);
        for (int j = 0; j < i % 8; j++) sched_yield();
        EXPECT_EQ(prim_map(memory + BYTES, BYTES, PRIM_MAP_EXACT, &mapped), 0);
        let_look(0);
    }
    atomic_store_explicit(&may_look, 2, memory_order_release);
    pthread_join(thread, NULL);
}

static void look_in_a_sandbox(int error)
{
    unsigned char *memory = map_filled(6);
    refuse(SYS_mremap, -1, 0, error);
    EXPECT_EQ(prim_mapping_bytes(memory, BYTES), error == ENOMEM ? BYTES : 0);
}

TEST(prim_mapping_bytes_changes_nothing_and_is_0_where_it_cannot_be_told)
{
    EXPECT_STDERR(look_before_a_hole(), "");
    EXPECT_STDERR(look_in_a_sandbox(EPERM), "");
    EXPECT_STDERR(look_in_a_sandbox(ENOMEM), ""); // then a move says that it cannot be done
}

static void reset_on_an_old_kernel(void)
{
    unsigned char *memory = map_filled(6);
    refuse(SYS_madvise, 2, ADVICE_FREE, EINVAL);
    EXPECT_EQ(prim_reset(memory, BYTES), 0);
    EXPECT(is_filled(memory, 0));
}

TEST(prim_reset_purges_where_there_is_no_lazy_call)
{
    EXPECT_STDERR(reset_on_an_old_kernel(), "");
}

// Agrees to drop memory, and does not: as QEMU does where it runs programs of other processors.
static void purge_in_an_emulator(void)
{
    enum { ADVICE_DROP = 4 };
    unsigned char *memory = map_filled(6);
    refuse(SYS_madvise, 2, ADVICE_DROP, 0);
    for (int i = 0; i < 2; i++) EXPECT(prim_purge(memory, BYTES) != 0);
    EXPECT(is_filled(memory, 6));
}

static void purge_when_refused_first(void)
{
    unsigned char *memory = map_filled(6);
    if (syscall(SYS_mlock, memory, BYTES) != 0) return; // not allowed here
    EXPECT(prim_purge(memory, BYTES) != 0 && is_filled(memory, 6)); // says nothing about others
    EXPECT_EQ(syscall(SYS_munlock, memory, BYTES), 0);
    for (int i = 0; i < 2; i++) {
        memset(memory, 6, BYTES);
        EXPECT_EQ(prim_purge(memory, BYTES), 0);
        EXPECT(is_filled(memory, 0));
    }
}

TEST(prim_purge_says_when_nothing_is_dropped)
{
    EXPECT_STDERR(purge_in_an_emulator(), "");
    EXPECT_STDERR(purge_when_refused_first(), "");
}

static void guard_on_an_old_kernel(void)
{
    unsigned char *memory = map_filled(6);
    refuse(SYS_madvise, -1, 0, EINVAL);
    EXPECT_EQ(prim_guard(memory, BYTES), EINVAL);
    EXPECT_EQ(prim_unguard(memory, BYTES), EINVAL);
    EXPECT(is_filled(memory, 6));
}

static void never(void *arg)
{
    (void)arg;
    abort();
}

static void start_helper_in_a_sandbox(int error)
{
    static ATOMIC(uint32_t) alive;
    void *memory = NULL;
    if (prim_map(NULL, PRIM_HELPER_BYTES, PRIM_MAP_ANYWHERE, &memory) != 0) abort();
    refuse(SYS_clone, -1, 0, error);
    errno = 77;
    int got = prim_helper_start(never, NULL, memory, &alive);
    EXPECT(got == error || got == ENOTSUP);
    EXPECT_EQ(errno, 77);
    EXPECT_EQ(atomic_load_explicit(&alive, memory_order_relaxed), 0);
}

TEST(prim_helper_start_says_what_a_sandbox_says)
{
    EXPECT_STDERR(start_helper_in_a_sandbox(EPERM), "");
    EXPECT_STDERR(start_helper_in_a_sandbox(ENOSYS), "");
}

TEST(prim_guard_refuses_where_there_is_no_such_call)
{
    EXPECT_STDERR(guard_on_an_old_kernel(), "");
}

static void random_from_the_file(void)
{
    unsigned char numbers[64] = {0}, zeroes[64] = {0};
    refuse(SYS_getrandom, -1, 0, EAGAIN);
    EXPECT_EQ(prim_random(numbers, sizeof numbers), 0);
    EXPECT(memcmp(numbers, zeroes, sizeof numbers) != 0);
}

static void random_from_nowhere(void)
{
    unsigned char numbers[64];
    refuse(SYS_getrandom, -1, 0, ENOSYS);
    refuse(SYS_openat, -1, 0, EACCES);
    errno = 4711;
    EXPECT_EQ(prim_random(numbers, sizeof numbers), EACCES);
    EXPECT_EQ(errno, 4711);
}

static void random_that_cannot_be_read(void)
{
    unsigned char numbers[64];
    refuse(SYS_getrandom, -1, 0, ENOSYS);
    refuse(SYS_read, -1, 0, EPERM);
    EXPECT_EQ(prim_random(numbers, sizeof numbers), EPERM);
}

TEST(prim_random_falls_back_to_the_file_and_then_fails)
{
    EXPECT_STDERR(random_from_the_file(), "");
    EXPECT_STDERR(random_from_nowhere(), "");
    EXPECT_STDERR(random_that_cannot_be_read(), "");
}

static void facts_in_a_sandbox(void)
{
    struct prim_info info;
    struct prim_usage usage;
    refuse(SYS_openat, -1, 0, EACCES);
    refuse(SYS_sysinfo, -1, 0, EPERM);
    refuse(SYS_sched_getaffinity, -1, 0, EPERM);
    refuse(SYS_getcpu, -1, 0, EPERM);
    prim_info_read(&info);
    prim_usage_read(&usage);
    EXPECT(info.page_bytes >= 4096);
    EXPECT_EQ(info.physical_bytes, 0);
    EXPECT_EQ(usage.resident_bytes, 0);
    EXPECT_EQ(usage.mapping_count, 0);
    EXPECT_EQ(prim_cpu_count(), 1);
    EXPECT_EQ(prim_numa_count(), 1);
    EXPECT_EQ(prim_numa_node(), 0);
}

TEST(prim_facts_have_safe_defaults_where_nothing_can_be_read)
{
    EXPECT_STDERR(facts_in_a_sandbox(), "");
}

// M5: what runs before the constructors of this program is the dynamic loader's and the C library's
// start.
static bool early_calls_worked;

__attribute__((constructor(101))) static void call_early(void)
{
    void *start = NULL;
    bool maps = prim_map(NULL, BYTES, PRIM_MAP_ANYWHERE, &start) == 0;
    bool unmaps = maps && prim_unmap(start, BYTES) == 0;
    bool reads = prim_env("MIMALLOC_NOT_SET") == NULL && prim_clock_ms() > 0;
    early_calls_worked = unmaps && reads && prim_cpu_count() > 0;
}

TEST(M5_calls_work_before_other_constructors)
{
    EXPECT(early_calls_worked);
}

// All descriptors are closed, and their numbers go to a file that must not get our messages.
static void write_to_reused(void)
{
    prim_keep_error();
    int file = memfd_create("other", 0);
    for (int number = 100; number < 300; number++) {
        if (number != file) dup2(file, number);
    }
    close(STDERR_FILENO);
    prim_write_error("lost", 4);
    if (lseek(file, 0, SEEK_END) != 0) abort();
}

TEST(prim_keep_error_never_writes_to_another_file)
{
    EXPECT_STDERR(write_to_reused(), "");
}

// What a filter lets write do: it answers 0, which says nothing about errno.
static void write_nothing(void)
{
    refuse(SYS_write, -1, 0, 0);
    alarm(10);
    errno = EINTR;
    prim_write_error("lost", 4);
    if (errno != EINTR) abort();
}

TEST(prim_write_error_ends_when_nothing_is_written)
{
    EXPECT_STDERR(write_nothing(), "");
}

static bool has_no_boot_time;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!has_no_boot_time || clock != CLOCK_BOOTTIME)
        return (int)syscall(SYS_clock_gettime, clock, now);
    errno = EINVAL;
    return -1;
}

TEST(M3_prim_usage_read_leaves_errno_alone_where_the_boot_has_no_clock)
{
    struct prim_usage usage;
    has_no_boot_time = true;
    errno = 77;
    prim_usage_read(&usage);
    EXPECT_EQ(errno, 77);
    has_no_boot_time = false;
    EXPECT(usage.elapsed_ms == 0 && usage.resident_bytes > 0);
}

// --- limits of control groups --------------------------------------------------------------------

static char group_root[] = "/tmp/test_prim_linux.XXXXXX";

// `path` is folders, one in another, and a file.
static void write_limit(const char *path, const char *text)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/%s", group_root, path);
    for (char *at = name + sizeof group_root; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(name, 0700); // it may be there
        *at = '/';
    }
    FILE *file = fopen(name, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) abort();
}

static const char *groups_file(void)
{
    static char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/groups", group_root);
    return name;
}

// SIZE_MAX: none.
static void expect_limit(const char *groups, size_t bytes)
{
    size_t found = SIZE_MAX;
    write_limit("groups", groups);
    EXPECT_EQ(prim_linux_group_limit(groups_file(), group_root, &found),
              bytes == SIZE_MAX ? ENOENT : 0);
    EXPECT_EQ(found, bytes);
}

static void limits_of_groups(void)
{
    write_limit("memory.max", "max\n");
    write_limit("a/memory.max", "5000000\n");
    write_limit("a/b/memory.max", "max\n");
    write_limit("a/c/memory.max", "4000000\n");
    expect_limit("0::/\n", SIZE_MAX);
    expect_limit("0::/a\n", 5000000);
    expect_limit("0::/a/b\n", 5000000); // what holds for a group holds for those in it
    expect_limit("0::/a/c\n", 4000000);
    expect_limit("0::/a/c", 4000000);
    expect_limit("0::/host/only/sees/this\n", SIZE_MAX);
    write_limit("memory.max", "3000000\n");
    expect_limit("0::/host/only/sees/this\n", 3000000);

    write_limit("memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_limit("memory/d/memory.limit_in_bytes", "2000000\n");
    expect_limit("5:memory:/d\n", 2000000);
    expect_limit("7:cpu,cpuacct:/d\n6:memory:/d\n1:name=systemd:/a\n", 2000000);
    expect_limit("7:cpu,cpuacct:/d\n", SIZE_MAX);
    expect_limit("6:memory:/d\n0::/a\n", 2000000);
    write_limit("memory.max", "99999999999999999999999999999999\n");
    expect_limit("0::/\n", SIZE_MAX);

    expect_limit("", SIZE_MAX);
    expect_limit("\n\n", SIZE_MAX);
    expect_limit("no colon\none: only\n", SIZE_MAX);
}

// As of version 1 in a container: many lines, with long paths.
static void limits_of_long_lists(void)
{
    enum { LINES = 13, PATH_BYTES = 200 };
    char groups[LINES * (PATH_BYTES + 16) + 2048], path[2048];
    size_t length = 0;
    for (int i = 0; i < LINES; i++) {
        const char *name = i == LINES - 1 ? "memory" : "cpuset";
        length += (size_t)snprintf(groups + length, sizeof groups - length, "%d:%s:/d%.*s\n",
                                   LINES - i, name, i == LINES - 1 ? 0 : PATH_BYTES,
                                   "/pod0123456789abcdef0123456789abcdef0123456789abcdef012345678"
                                   "/pod0123456789abcdef0123456789abcdef0123456789abcdef012345678"
                                   "/pod0123456789abcdef0123456789abcdef0123456789abcdef012345678"
                                   "/pod0123456789abcdef0123456789abcdef0123456789abcdef012345678");
    }
    expect_limit(groups, 2000000);
    memset(path, 'p', sizeof path - 1); // longer than we care to remember
    path[sizeof path - 1] = '\0';
    snprintf(groups, sizeof groups, "6:memory:/d/%s\n5:cpu:/a\n", path);
    expect_limit(groups, 2000000); // that of the group around it
}

static void without_files(rlim_t more)
{
    struct rlimit limit;
    size_t found = 1;
    write_limit("groups", "6:memory:/d\n");
    const char *name = groups_file();
    int next = dup(0);
    if (next < 0 || close(next) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) abort();
    limit.rlim_cur = (rlim_t)next + more;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) abort();
    EXPECT_EQ(prim_linux_group_limit(name, group_root, &found), EMFILE);
    EXPECT_EQ(found, 1);
}

static void expect_pressure(const char *groups, int percent)
{
    unsigned found = 0;
    write_limit("groups", groups);
    EXPECT_EQ(prim_linux_group_pressure(groups_file(), group_root, &found), percent >= 0);
    if (percent >= 0) EXPECT_EQ(found, percent);
}

static void pressure_of_groups(void)
{
    expect_pressure("0::/\n", -1);
    write_limit("a/memory.pressure", "some avg10=12.99 avg60=1.50 avg300=0.00 total=9\n"
                                     "full avg10=99.00 avg60=1.50 avg300=0.00 total=9\n");
    expect_pressure("0::/\n", -1);
    expect_pressure("0::/a\n", 12);
    expect_pressure("0::/a/b\n", 12); // of the group around it
    write_limit("a/b/memory.pressure", "some avg10=0.00 avg60=1.50 avg300=0.00 total=9\n");
    expect_pressure("5:memory:/d\n0::/a/b\n", 0);
    expect_pressure("5:memory:/a\n", -1); // version 1 does not tell
    write_limit("memory.pressure", "what is this?\n");
    expect_pressure("0::/host/only/sees/this\n", -1);
}

TEST(prim_memory_pressure_is_that_of_the_innermost_group)
{
    unsigned percent = 1000;
    int error = prim_memory_pressure(&percent);
    EXPECT(error == ENOENT ? percent == 1000 : error == 0 && percent <= 100);
}

TEST(prim_memory_limit_is_the_least_of_all_groups_that_this_one_is_in)
{
    char command[sizeof group_root + 16];
    if (mkdtemp(group_root) == NULL) abort();
    limits_of_groups();
    limits_of_long_lists();
    EXPECT_STDERR(without_files(0), "");
    EXPECT_STDERR(without_files(1), ""); // one for the list, and none for what it names
    pressure_of_groups();
    snprintf(command, sizeof command, "rm -r '%s'", group_root);
    EXPECT_EQ(system(command), 0);
}

TEST(prim_memory_limit_fails_or_finds_one)
{
    size_t bytes = 1;
    int error = prim_memory_limit(&bytes);
    EXPECT(error == ENOENT ? bytes == 1 : error == 0 && bytes > 1);
}
