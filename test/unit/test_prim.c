#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "prim/prim.h"
#include "../support/test.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// The contract of prim.h: every port has to pass. Where a system may refuse a call, the test says
// so.

enum { PAGES = 16 };

static size_t page_bytes(void)
{
    struct prim_info info;
    prim_info_read(&info);
    return info.page_bytes;
}

static size_t range_bytes(void) { return PAGES * page_bytes(); }

static unsigned char *map(size_t bytes, unsigned flags)
{
    void *start = NULL;
    if (prim_map(NULL, bytes, flags, &start) != 0) abort();
    return (unsigned char *)start;
}

static void unmap(unsigned char *start) { EXPECT_EQ(prim_unmap(start, range_bytes()), 0); }

static bool is_zero(const unsigned char *start, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (start[i] != 0) return false;
    }
    return true;
}

static bool is_filled(const unsigned char *start, size_t bytes, unsigned char byte)
{
    for (size_t i = 0; i < bytes; i++) {
        if (start[i] != byte) return false;
    }
    return true;
}

static sigjmp_buf after_fault;

static void on_fault(int signal_number)
{
    siglongjmp(after_fault, signal_number);
}

// Whether reading a byte is a fault.
static bool faults(const volatile unsigned char *byte)
{
    struct sigaction action, old_segv, old_bus;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    volatile bool has_faulted = sigsetjmp(after_fault, 1) != 0;
    if (!has_faulted) (void)*byte;
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    return has_faulted;
}

static size_t resident_bytes(void)
{
    struct prim_usage usage;
    prim_usage_read(&usage);
    return usage.resident_bytes;
}

// --- facts ---------------------------------------------------------------------------------------

TEST(prim_info_is_plausible)
{
    struct prim_info info;
    memset(&info, 0xff, sizeof info);
    prim_info_read(&info);
    EXPECT_EQ(info.page_bytes, sysconf(_SC_PAGESIZE));
    EXPECT(bits_is_power_of_two(info.page_bytes));
    EXPECT(info.large_page_bytes == 0 || info.large_page_bytes > info.page_bytes);
    EXPECT(info.large_page_bytes == 0 || bits_is_power_of_two(info.large_page_bytes));
    EXPECT(info.physical_bytes == 0 || info.physical_bytes >= (size_t)16 << 20);
    if (sizeof(void *) == 8 && info.page_bytes == 4096) EXPECT_EQ(info.large_page_bytes, 2 << 20);
}

TEST(prim_info_follows_the_limit_on_address_space)
{
    struct prim_info info;
    struct rlimit old, small;
    if (getrlimit(RLIMIT_AS, &old) != 0 || old.rlim_cur != RLIM_INFINITY) return;
    prim_info_read(&info);
    EXPECT_EQ(info.address_limit_bytes, SIZE_MAX);
    small = old;
    small.rlim_cur = (rlim_t)1 << 40;
    if (sizeof(void *) < 8 || setrlimit(RLIMIT_AS, &small) != 0) return;
    prim_info_read(&info);
    EXPECT_EQ(info.address_limit_bytes, (size_t)small.rlim_cur);
    setrlimit(RLIMIT_AS, &old);
}

// --- mapping -------------------------------------------------------------------------------------

TEST(prim_map_gives_zeroed_writable_memory)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    EXPECT(bits_is_aligned(memory, page_bytes()));
    EXPECT(is_zero(memory, range_bytes()));
    memset(memory, 1, range_bytes());
    unmap(memory);
    EXPECT(faults(memory));
}

TEST(prim_map_failure_leaves_its_output_alone)
{
    void *start = &start;
    EXPECT(prim_map(NULL, bits_align_down(SIZE_MAX, page_bytes()), 0, &start) != 0);
    EXPECT(start == &start);
}

TEST(prim_map_exact_takes_a_free_place_and_refuses_a_taken_one)
{
    size_t half = range_bytes() / 2;
    void *start = NULL;
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(memory, 7, range_bytes());
    EXPECT_EQ(prim_map(memory, range_bytes(), PRIM_MAP_EXACT, &start), EEXIST);
    EXPECT(start == NULL);
    EXPECT(is_filled(memory, range_bytes(), 7));

    EXPECT_EQ(prim_unmap(memory + half, half), 0);
    EXPECT_EQ(prim_map(memory, range_bytes(), PRIM_MAP_EXACT, &start), EEXIST); // taken in part
    EXPECT_EQ(prim_map(memory + half, half, PRIM_MAP_EXACT, &start), 0);
    EXPECT(start == memory + half);
    EXPECT(is_zero(memory + half, half));
    EXPECT(is_filled(memory, half, 7));
    unmap(memory);
}

TEST(prim_map_replace_gives_zeroed_memory_in_the_same_place)
{
    void *start = NULL;
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(memory, 7, range_bytes());
    EXPECT_EQ(prim_map(memory, page_bytes(), PRIM_MAP_REPLACE, &start), 0);
    EXPECT(start == memory);
    EXPECT(is_zero(memory, page_bytes()));
    EXPECT(is_filled(memory + page_bytes(), range_bytes() - page_bytes(), 7));
    unmap(memory);
}

TEST(prim_map_without_access_faults_until_access_is_given_and_keeps_contents_when_taken)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_NO_ACCESS);
    EXPECT(faults(memory));
    EXPECT_EQ(prim_access(memory, range_bytes(), true), 0);
    EXPECT(is_zero(memory, range_bytes()));
    memset(memory, 5, range_bytes());
    EXPECT_EQ(prim_access(memory, page_bytes(), false), 0);
    EXPECT(faults(memory));
    EXPECT(!faults(memory + page_bytes()));
    EXPECT_EQ(prim_access(memory, page_bytes(), true), 0);
    EXPECT(is_filled(memory, range_bytes(), 5));
    unmap(memory);
}

TEST(prim_map_without_access_may_be_larger_than_the_machine)
{
    struct prim_info info;
    prim_info_read(&info);
    if (sizeof(void *) < 8 || info.address_limit_bytes != SIZE_MAX) return;
    size_t bytes = bits_align_up(4 * info.physical_bytes + 1, page_bytes());
    void *start = NULL;
    EXPECT_EQ(prim_map(NULL, bytes, PRIM_MAP_NO_ACCESS, &start), 0);
    EXPECT_EQ(prim_access(start, page_bytes(), true), 0);
    EXPECT_EQ(prim_unmap(start, bytes), 0);
}

static bool system_counts_commitments(void)
{
    char mode = '1';
    FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
    if (file == NULL) return false;
    if (fread(&mode, 1, 1, file) != 1) mode = '1';
    fclose(file);
    return mode != '1';
}

TEST(prim_access_is_charged_so_that_a_refusal_comes_as_an_error_and_not_as_death)
{
    struct prim_info info;
    prim_info_read(&info);
    if (sizeof(void *) < 8 || info.address_limit_bytes != SIZE_MAX) return;
    if (!system_counts_commitments()) return;
    size_t bytes = bits_align_up(64 * info.physical_bytes + 1, page_bytes());
    const size_t most = (size_t)1 << 46;
    if (info.physical_bytes > most / 4) return; // so much is not more than there is
    if (bytes > most) bytes = most;
    void *start = NULL;
    EXPECT_EQ(prim_map(NULL, bytes, PRIM_MAP_NO_ACCESS, &start), 0);
    EXPECT_EQ(prim_access(start, bytes, true), ENOMEM);
    EXPECT_EQ(prim_unmap(start, bytes), 0);
    EXPECT_EQ(prim_map(NULL, bytes, PRIM_MAP_ANYWHERE, &start), ENOMEM);
}

// --- purge, reset, guard, move -------------------------------------------------------------------

TEST(prim_purge_gives_memory_back_and_leaves_zeroes)
{
    size_t bytes = (size_t)8 << 20;
    void *start = NULL;
    EXPECT_EQ(prim_map(NULL, bytes, PRIM_MAP_ANYWHERE, &start), 0);
    memset(start, 3, bytes);
    size_t full = resident_bytes();
    EXPECT_EQ(prim_purge(start, bytes), 0);
    EXPECT(full == 0 || resident_bytes() + bytes / 2 < full);
    EXPECT(is_zero((unsigned char *)start, bytes));
    EXPECT_EQ(prim_unmap(start, bytes), 0);
}

TEST(prim_reset_leaves_old_data_or_zeroes_and_memory_that_can_be_written)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(memory, 3, range_bytes());
    EXPECT_EQ(prim_reset(memory, range_bytes()), 0);
    for (size_t i = 0; i < range_bytes(); i += page_bytes()) {
        EXPECT(memory[i] == 3 || memory[i] == 0);
    }
    memset(memory, 4, range_bytes());
    EXPECT(is_filled(memory, range_bytes(), 4));
    unmap(memory);
}

TEST(prim_guard_faults_and_prim_unguard_leaves_zeroes)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    unsigned char *guard = memory + page_bytes();
    memset(memory, 3, range_bytes());
    if (prim_guard(guard, page_bytes()) == 0) { // systems without the call refuse
        EXPECT(faults(guard));
        EXPECT(!faults(memory));
        EXPECT(!faults(guard + page_bytes()));
        EXPECT_EQ(prim_unguard(guard, page_bytes()), 0);
        EXPECT(is_zero(guard, page_bytes()));
        memset(guard, 1, page_bytes());
    } else {
        EXPECT(is_filled(memory, range_bytes(), 3)); // and change nothing
    }
    unmap(memory);
}

TEST(prim_mapping_bytes_ends_where_another_mapping_begins)
{
    size_t page = page_bytes(), bytes = range_bytes();
    unsigned char *memory = map(bytes, PRIM_MAP_ANYWHERE);
    if (prim_mapping_bytes(memory, bytes) == 0) return; // it cannot be told
    EXPECT_EQ(prim_mapping_bytes(memory, bytes), bytes);
    EXPECT_EQ(prim_mapping_bytes(memory + 3 * page, 2 * page), 2 * page);
    for (size_t at = 1; at < PAGES; at++) {
        EXPECT_EQ(prim_access(memory + at * page, page, false), 0);
        EXPECT_EQ(prim_mapping_bytes(memory, bytes), at * page);
        EXPECT_EQ(prim_mapping_bytes(memory + at * page, bytes - at * page), page);
        EXPECT_EQ(prim_access(memory + at * page, page, true), 0);
    }
    EXPECT_EQ(prim_unmap(memory + page, bytes - page), 0);
    EXPECT_EQ(prim_mapping_bytes(memory, bytes), page);
    unmap(memory);
}

TEST(prim_move_takes_the_pages_along_and_leaves_zeroes)
{
    bool is_lost = true;
    unsigned char *from = map(range_bytes(), PRIM_MAP_ANYWHERE);
    unsigned char *to = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(from, 6, range_bytes());
    memset(to, 9, range_bytes());
    EXPECT_EQ(prim_move(from, range_bytes(), to, &is_lost), 0);
    EXPECT(!is_lost);
    EXPECT(is_filled(to, range_bytes(), 6));
    EXPECT(is_zero(from, range_bytes()));
    memset(from, 1, range_bytes());
    EXPECT(is_filled(to, range_bytes(), 6));
    unmap(from);
    unmap(to);
}

TEST(prim_move_that_fails_leaves_memory_at_the_target)
{
    bool is_lost = true;
    void *nowhere = (void *)(0 - 2 * (uintptr_t)page_bytes()); // refused by the system
    unsigned char *to = map(range_bytes(), PRIM_MAP_ANYWHERE);
    EXPECT(prim_move(nowhere, page_bytes(), to, &is_lost) != 0);
    EXPECT(!is_lost);
    memset(to, 9, range_bytes());
    unmap(to);
}

TEST(prim_wipe_on_fork_shows_zeroes_to_the_child_only)
{
    int status = -1;
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(memory, 6, range_bytes());
    if (prim_wipe_on_fork(memory, page_bytes()) == 0) { // systems without the call refuse
        pid_t pid = fork();
        if (pid == 0) _exit(memory[0] == 0 && memory[page_bytes()] == 6 ? 0 : 1);
        waitpid(pid, &status, 0);
        EXPECT_EQ(status, 0);
        EXPECT(is_filled(memory, range_bytes(), 6));
    }
    unmap(memory);
}

TEST(prim_advice_on_huge_pages_keeps_contents)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    memset(memory, 6, range_bytes());
    int wanted = prim_advise_huge(memory, range_bytes(), true); // kernels without huge pages refuse
    int refused = prim_advise_huge(memory, range_bytes(), false);
    EXPECT_EQ(wanted, refused);
    EXPECT(is_filled(memory, range_bytes(), 6));
    unmap(memory);
}

TEST(prim_map_large_gives_aligned_zeroed_memory_or_an_error)
{
    struct prim_info info;
    prim_info_read(&info);
    if (info.large_page_bytes == 0) return;
    void *start = NULL;
    for (int node = -1; node <= 0; node++) {
        if (prim_map_large(NULL, info.large_page_bytes, info.large_page_bytes, node, &start) != 0) {
            EXPECT(start == NULL); // none were set aside on this machine
            continue;
        }
        EXPECT(bits_is_aligned(start, info.large_page_bytes));
        EXPECT(is_zero((unsigned char *)start, info.large_page_bytes));
        EXPECT_EQ(prim_unmap(start, info.large_page_bytes), 0);
        start = NULL;
    }
}

// --- time, randomness, environment, output -------------------------------------------------------

TEST(prim_clock_does_not_go_back_and_moves)
{
    uint64_t start = prim_clock_ms(), now = start;
    while (now == start) {
        uint64_t next = prim_clock_ms();
        EXPECT(next >= now);
        now = next;
    }
    EXPECT(now - start < 1000);
}

TEST(prim_random_fills_the_whole_buffer_and_differs)
{
    static unsigned char a[1000], b[1000];
    EXPECT_EQ(prim_random(a, sizeof a), 0);
    EXPECT_EQ(prim_random(b, sizeof b), 0);
    EXPECT(memcmp(a, b, sizeof a) != 0);
    for (size_t i = 0; i < sizeof a; i += 100) EXPECT(!is_zero(a + i, 100));
    EXPECT_EQ(prim_random(a, 0), 0);
}

TEST(prim_env_sees_the_environment)
{
    EXPECT(prim_env_ready());
    setenv("MIMALLOC_TEST_PRIM", "a value", 1);
    EXPECT_TEXT(prim_env("MIMALLOC_TEST_PRIM"), "a value");
    EXPECT(prim_env_has_any("MIMALLOC_TEST_P") && !prim_env_has_any("IMALLOC_TEST_P"));
    unsetenv("MIMALLOC_TEST_PRIM");
    EXPECT_TEXT(prim_env("MIMALLOC_TEST_PRIM"), NULL);
    EXPECT(!prim_env_has_any("MIMALLOC_TEST_P"));
}

static void ask_without_environment(void)
{
    environ = NULL; // as it is while the dynamic loader works
    EXPECT(!prim_env_ready());
    EXPECT(prim_env("PATH") == NULL && !prim_env_has_any(""));
}

TEST(prim_env_is_safe_before_there_is_an_environment)
{
    EXPECT_STDERR(ask_without_environment(), "");
}

TEST(prim_find_cxx_knows_what_is_loaded_and_loads_nothing)
{
    void *(*find)(void *, int, size_t);
    void *symbol = prim_find_cxx("memchr"); // any name that the program can see
    EXPECT(symbol != NULL);
    memcpy(&find, &symbol, sizeof find);
    EXPECT(find((void *)(uintptr_t)"text", 'x', 4) != NULL);
    EXPECT(prim_find_cxx("no_such_name_anywhere") == NULL);
}

TEST(prim_write_error_writes_exactly_the_bytes)
{
    EXPECT_STDERR(prim_write_error("abcdef", 3), "abc");
}

static void write_to_nobody(void)
{
    close(STDERR_FILENO);
    prim_write_error("lost", 4);
}

TEST(prim_write_error_survives_a_closed_stderr)
{
    EXPECT_STDERR(write_to_nobody(), "");
}

static void write_to_kept(void)
{
    prim_keep_error();
    close(STDERR_FILENO);
    prim_write_error("kept", 4);
}

TEST(prim_keep_error_serves_messages_after_stderr_was_closed)
{
    EXPECT_STDERR(write_to_kept(), "kept");
}

static void keep_twice(void)
{
    prim_keep_error();
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0 || dup2(pipe_ends[1], STDERR_FILENO) < 0) abort();
    prim_keep_error();
    close(STDERR_FILENO);
    prim_write_error("kept", 4);
}

TEST(prim_keep_error_counts_the_first_time)
{
    EXPECT_STDERR(keep_twice(), "kept");
}

TEST(prim_abort_ends_the_process)
{
    EXPECT_DEATH(prim_abort(), "");
}

static void say_goodbye(void) { prim_write_error("bye\n", 4); }

static void exit_with_handlers(void)
{
    atexit(say_goodbye);
    prim_exit(3);
}

TEST(prim_exit_runs_the_handlers_of_exit)
{
    EXPECT_DEATH(exit_with_handlers(), "bye\n");
}

TEST(prim_backtrace_gives_frames_in_debug_builds_only)
{
    void *frames[8];
    size_t count = prim_backtrace(frames, 8);
    EXPECT(count <= 8);
    if (CFG_DEBUG == 0) EXPECT_EQ(count, 0);
    if (count == 0) return;
    if (test_fork()) {
        prim_backtrace_write(frames, count);
        prim_write_error("end\n", 4);
        prim_exit(1);
    }
    test_expect_death(__FILE__, __LINE__, "\nend\n");
}

// --- threads and the process ---------------------------------------------------------------------

static ATOMIC(int) exits; // calls of thread_ends
static int armed_again;

static void thread_ends(void *value)
{
    atomic_fetch_add_explicit(&exits, 1, memory_order_relaxed);
    EXPECT(value == &exits || value == &armed_again);
    if (value == &armed_again) EXPECT_EQ(prim_thread_exit_arm(&exits), 0);
}

static void *arm_with(void *value)
{
    EXPECT_EQ(prim_thread_exit_arm(value), 0);
    return NULL;
}

static int exits_after(void *value)
{
    pthread_t thread;
    atomic_store_explicit(&exits, 0, memory_order_relaxed);
    EXPECT_EQ(pthread_create(&thread, NULL, arm_with, value), 0);
    pthread_join(thread, NULL);
    return atomic_load_explicit(&exits, memory_order_relaxed);
}

TEST(prim_thread_exit_calls_back_for_armed_threads_until_done)
{
    EXPECT(prim_thread_exit_arm(&exits) != 0); // nobody has chosen a function yet
    EXPECT_EQ(prim_thread_exit_init(thread_ends), 0);
    EXPECT(prim_thread_exit_init(thread_ends) != 0);
    EXPECT_EQ(exits_after(&exits), 1);
    EXPECT_EQ(exits_after(NULL), 0);
    EXPECT_EQ(exits_after(&armed_again), 2);
    prim_thread_exit_done();
    prim_thread_exit_done();
    EXPECT(prim_thread_exit_arm(&exits) != 0);
}

static void *tell_whether_single(void *is_single)
{
    *(bool *)is_single = prim_is_single_threaded();
    return is_single;
}

TEST(prim_is_single_threaded_is_not_so_while_there_is_a_second_thread)
{
    bool is_single = true;
    pthread_t second;
    EXPECT_EQ(pthread_create(&second, NULL, tell_whether_single, &is_single), 0);
    pthread_join(second, NULL);
    EXPECT(!is_single);
}

TEST(prim_processors_and_nodes_are_plausible)
{
    EXPECT(prim_cpu_count() >= 1);
    EXPECT(prim_cpu_count() <= (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    EXPECT(prim_numa_count() >= 1);
    EXPECT(prim_numa_node() < prim_numa_count());
    prim_yield();
}

TEST(prim_usage_is_plausible_and_follows_the_process)
{
    struct prim_usage before, after;
    prim_usage_read(&before);
    EXPECT(before.resident_bytes > 0 && before.peak_resident_bytes > 0);
    EXPECT(before.minor_faults > 0);
    EXPECT(before.mapping_count > 5);
    unsigned char *memory = map(range_bytes(), PRIM_MAP_NO_ACCESS);
    EXPECT_EQ(prim_access(memory + page_bytes(), page_bytes(), true), 0); // three mappings now
    memory[page_bytes()] = 1;
    prim_usage_read(&after);
    EXPECT(after.mapping_count >= before.mapping_count + 2);
    EXPECT(after.minor_faults > before.minor_faults);
    EXPECT(after.user_ms + after.system_ms >= before.user_ms + before.system_ms);
    unmap(memory);
}

// --- M2, M3, M4 ----------------------------------------------------------------------------------

TEST(M2_calls_that_fail_say_why_and_leave_their_outputs_alone)
{
    void *nowhere = (void *)(0 - 2 * (uintptr_t)page_bytes()), *start = &start;
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    EXPECT_EQ(prim_map(memory, page_bytes(), PRIM_MAP_EXACT, &start), EEXIST);
    EXPECT(prim_map(NULL, SIZE_MAX - page_bytes() + 1, 0, &start) > 0);
    EXPECT(prim_map_large(nowhere, (size_t)1 << 50, (size_t)1 << 30, 0, &start) > 0);
    EXPECT(start == &start);
    EXPECT(prim_access(nowhere, page_bytes(), true) > 0);
    EXPECT(prim_purge(nowhere, page_bytes()) > 0 && prim_reset(nowhere, page_bytes()) > 0);
    EXPECT(prim_guard(nowhere, page_bytes()) > 0 && prim_unguard(nowhere, page_bytes()) > 0);
    unmap(memory);
}

// The fake one, which stands before the real one in every unit test, notices.
TEST(M4_notices_ranges_that_are_not_of_OS_pages)
{
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    EXPECT_DEATH(EXPECT_EQ(prim_purge(memory + 16, page_bytes()), 0), "M4: ");
    EXPECT_DEATH(EXPECT_EQ(prim_access(memory, page_bytes() / 2, true), 0), "M4: ");
    unmap(memory);
}

#define EXPECT_ERRNO_KEPT(call) \
    do { \
        errno = 4711; \
        (void)!(call); \
        EXPECT_EQ(errno, 4711); \
    } while (0)

static bool call_those_without_result(void)
{
    struct prim_info info;
    struct prim_usage usage;
    prim_info_read(&info);
    prim_usage_read(&usage);
    prim_yield();
    return true;
}

TEST(M3_calls_leave_errno_alone_when_they_succeed_and_when_they_fail)
{
    bool is_lost;
    char random[8];
    void *start = NULL;
    unsigned char *memory = map(range_bytes(), PRIM_MAP_ANYWHERE);
    void *nowhere = (void *)(0 - 2 * (uintptr_t)page_bytes()); // refused by the system
    EXPECT_ERRNO_KEPT(prim_map(memory, page_bytes(), PRIM_MAP_EXACT, &start));
    EXPECT_ERRNO_KEPT(prim_map(NULL, 0, 0, &start));
    EXPECT_ERRNO_KEPT(prim_unmap(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_access(nowhere, page_bytes(), true));
    EXPECT_ERRNO_KEPT(prim_purge(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_reset(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_guard(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_unguard(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_move(nowhere, page_bytes(), memory, &is_lost));
    EXPECT_ERRNO_KEPT(prim_advise_huge(nowhere, page_bytes(), true));
    EXPECT_ERRNO_KEPT(prim_wipe_on_fork(nowhere, page_bytes()));
    EXPECT_ERRNO_KEPT(prim_map_large(NULL, (size_t)1 << 40, (size_t)1 << 30, 0, &start));
    EXPECT_ERRNO_KEPT(prim_random(random, sizeof random));
    EXPECT_ERRNO_KEPT(prim_clock_ms());
    EXPECT_ERRNO_KEPT(prim_env("PATH"));
    EXPECT_ERRNO_KEPT(prim_cpu_count());
    EXPECT_ERRNO_KEPT(prim_is_single_threaded());
    EXPECT_ERRNO_KEPT(prim_numa_count());
    EXPECT_ERRNO_KEPT(prim_numa_node());
    EXPECT_ERRNO_KEPT(prim_thread_exit_arm(NULL));
    EXPECT_ERRNO_KEPT(call_those_without_result());
    unmap(memory);
}
