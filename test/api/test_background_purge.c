/* test_background_purge.c: a process in which nothing happens any more gives its memory back, by a
 * helper thread that is there only when it may be. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { THREADS = 3, BLOCKS = 40000, FEW_BLOCKS = 13000, BLOCK_BYTES = 1000 };
enum { DELAY_MS = 20, PATIENCE_MS = 10000 };

static pthread_barrier_t gate;

static int task_count(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') count++;
    }
    if (directory != NULL) closedir(directory);
    return count;
}

// Polls, without an allocation of its own; false when time is up.
static bool wait_for(bool (*is_so)(void))
{
    long long end_ms = child_now_ms() + PATIENCE_MS;
    while (!is_so()) {
        if (child_now_ms() > end_ms) return false;
        usleep(2000);
    }
    return true;
}

static bool is_below(size_t kib) { return !TEST_RESIDENT_TELLS || process_resident_kib() < kib; }
static bool has_given_back(void) { return is_below(20 * 1024); }
static bool has_given_back_most(void) { return is_below(10 * 1024); }
static bool is_alone(void) { return task_count() == 1; }
static bool has_only_its_threads(void) { return task_count() == 1 + THREADS; }

static void spike_of(int count)
{
    char **blocks = (char **)mi_malloc((size_t)count * sizeof *blocks);
    ENSURE(blocks != NULL);
    for (int i = 0; i < count; i++) {
        blocks[i] = (char *)mi_malloc(BLOCK_BYTES);
        ENSURE(blocks[i] != NULL);
        memset(blocks[i], 1, BLOCK_BYTES);
    }
    for (int i = 0; i < count; i++) mi_free(blocks[i]);
    mi_free(blocks);
}

static void spike(void) { spike_of(BLOCKS); }

static int own_numbers[1 + THREADS]; // of the threads that are no helper

static void *spike_and_sleep(void *index)
{
    own_numbers[(size_t)(uintptr_t)index] = (int)syscall(SYS_gettid);
    spike();
    pthread_barrier_wait(&gate); // all have freed
    pthread_barrier_wait(&gate); // the end
    return index;
}

static void create_threads(pthread_t *thread, int count, void *(*body)(void *index))
{
    pthread_barrier_init(&gate, NULL, (unsigned)count + 1);
    for (int i = 0; i < count; i++) {
        if (pthread_create(&thread[i], NULL, body, (void *)(uintptr_t)i) != 0) _exit(99);
    }
}

static void start_threads(pthread_t *thread)
{
    own_numbers[THREADS] = (int)getpid();
    create_threads(thread, THREADS, spike_and_sleep);
    mi_free(mi_malloc(1));
    pthread_barrier_wait(&gate);
}

static void join_threads(const pthread_t *thread, int count)
{
    pthread_barrier_wait(&gate);
    for (int i = 0; i < count; i++) pthread_join(thread[i], NULL);
}

// --- blocks of many sizes ------------------------------------------------------------------------

enum { MIXED = 3000, REPLACED = 100000, MOST_BYTES = 4000, EVERY = 32, LONG = 1500,
       LEAST_LONG = 10000, MOST_LONG = 50000 };
enum { MANY_THREADS = 64, FEW = 300, MOST_FEW_BYTES = 3000 };
static void *kept_blocks[THREADS][LONG];

static void *allocate_mixed(uint32_t *random, uint32_t least, uint32_t most)
{
    *random = *random * 1664525 + 1013904223; // (Knuth; Numerical Recipes)
    size_t bytes = least + (*random >> 8) % (most - least);
    void *block = mi_malloc(bytes);
    if (block == NULL) _exit(99);
    memset(block, 1, bytes);
    return block;
}

static void replace_mixed(void **blocks, unsigned count, uint32_t most, uint32_t *random)
{
    for (unsigned i = 0; i < REPLACED; i++) {
        unsigned at = i < count ? i : (*random >> 4) % count;
        mi_free(blocks[at]);
        blocks[at] = allocate_mixed(random, 8, most);
    }
}

// At the end what it freed lies everywhere between what is free, and the cache is full.
static void *churn_and_sleep(void *index)
{
    uint32_t random = (uint32_t)(uintptr_t)index;
    void **blocks = (void **)mi_calloc(MIXED, sizeof *blocks);
    if (blocks == NULL) _exit(99);
    replace_mixed(blocks, MIXED, MOST_BYTES, &random);
    for (unsigned i = 0; i < MIXED; i++) {
        if (i % EVERY != 0) mi_free(blocks[i]);
    }
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    return index;
}

static void *keep_half_and_sleep(void *index)
{
    void **blocks = kept_blocks[(uintptr_t)index];
    uint32_t random = (uint32_t)(uintptr_t)index;
    for (unsigned i = 0; i < LONG; i++)
        blocks[i] = allocate_mixed(&random, LEAST_LONG, MOST_LONG);
    for (unsigned i = 0; i < LONG; i += 2) mi_free(blocks[i]);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    return index;
}

// Each replaces few blocks: fewer than its share of the caches would be if all pages counted.
static void *churn_few_and_sleep(void *index)
{
    uint32_t random = (uint32_t)(uintptr_t)index;
    void *blocks[FEW] = {NULL};
    replace_mixed(blocks, FEW, MOST_FEW_BYTES, &random);
    pthread_barrier_wait(&gate); // all have all they want
    for (unsigned i = 0; i < FEW; i++) mi_free(blocks[i]);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    return index;
}

static void expect_soon(bool (*is_so)(void))
{
    EXPECT(wait_for(is_so));
    if (!is_so()) fprintf(stderr, "%zu KiB resident\n", process_resident_kib());
}

static void run_to_sleep(void *(*body)(void *index), bool (*is_so)(void))
{
    pthread_t thread[THREADS];
    create_threads(thread, THREADS, body);
    pthread_barrier_wait(&gate);
    expect_soon(is_so);
    join_threads(thread, THREADS);
}

static void mixed_sizes(void *unused)
{
    (void)unused;
    run_to_sleep(churn_and_sleep, has_given_back_most);
}

// 64 of 129 MiB are in use: 1.3 times that, 8 MiB, and 256 KiB for each thread.
static bool has_given_back_holes(void) { return is_below(92 * 1024); }

static void half_of_it(void *unused)
{
    (void)unused;
    run_to_sleep(keep_half_and_sleep, has_given_back_holes);
}

// Where each thread has pages of its own of more classes, it keeps a few blocks of each of these.
static bool has_given_back_shares(void)
{
    return is_below(8 * 1024 + MANY_THREADS * (TEST_HAS_STATES ? 768 : 256));
}

static void many_with_few(void *unused)
{
    pthread_t thread[MANY_THREADS];
    (void)unused;
    create_threads(thread, MANY_THREADS, churn_few_and_sleep);
    pthread_barrier_wait(&gate);
    EXPECT(!TEST_RESIDENT_TELLS || !has_given_back_shares()); // they have more than that
    pthread_barrier_wait(&gate);
    expect_soon(has_given_back_shares);
    join_threads(thread, MANY_THREADS);
}

// --- threads -------------------------------------------------------------------------------------

static void idle_with_threads(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    start_threads(thread);
    EXPECT(wait_for(has_given_back));
    EXPECT(wait_for(has_only_its_threads)); // it ends when there is nothing to do
    join_threads(thread, THREADS);
    EXPECT(wait_for(is_alone));
}

static void joined_soon(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    mi_option_set(mi_option_purge_delay, 1000);
    start_threads(thread);
    EXPECT(task_count() == 2 + THREADS);
    join_threads(thread, THREADS);
    EXPECT(wait_for(is_alone)); // at once, but for the time the system takes to clean up a thread
}

static void forked(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    mi_option_set(mi_option_purge_delay, 1000);
    start_threads(thread);
    pid_t child = fork(); // the helper is there and does not come along
    if (child == 0) {
        mi_option_set(mi_option_purge_delay, DELAY_MS);
        start_threads(thread); // it can be started in the child
        bool is_back = wait_for(has_given_back);
        if (!is_back) { // who reads this wants to know whether the helper is there
            fprintf(stderr, "%zu KiB resident, %d threads\n", process_resident_kib(), task_count());
            mi_stats_print(NULL);
        }
        _exit(is_back ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    join_threads(thread, THREADS);
}

// The child does nothing but end its thread, or its process: the helper that it does not have must
// not be waited for.
static void forked_and_ended(void *by_exit)
{
    pthread_t thread[THREADS];
    mi_option_set(mi_option_purge_delay, 1000);
    start_threads(thread);
    pid_t child = fork();
    if (child == 0 && by_exit != NULL) exit(0);
    if (child == 0) pthread_exit(NULL);
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    join_threads(thread, THREADS);
}

static bool is_own_number(int number)
{
    for (int i = 0; i <= THREADS; i++) {
        if (own_numbers[i] == number) return true;
    }
    return false;
}

// Thread number of the helper, 0 when there is none.
static int helper_number(void)
{
    int number = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.' && !is_own_number(atoi(entry->d_name)))
            number = atoi(entry->d_name);
    }
    if (directory != NULL) closedir(directory);
    return number;
}

static int first_helper;
static bool has_another_helper(void)
{
    spike(); // there is always something to do
    int number = helper_number();
    if (first_helper == 0) first_helper = number;
    return number != 0 && number != first_helper;
}

static void always_busy(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    start_threads(thread);
    EXPECT(wait_for(has_another_helper));
    join_threads(thread, THREADS);
}

static void never(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    mi_option_set(mi_option_background_purge, 0);
    start_threads(thread);
    EXPECT(has_only_its_threads());
    join_threads(thread, THREADS);
}

// What a program does that has joined its threads.
static void wants_to_be_alone(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    mi_option_set(mi_option_purge_delay, 10 * PATIENCE_MS); // it is not to end by itself
    start_threads(thread);
    EXPECT(helper_number() != 0);
    join_threads(thread, THREADS);
    long long end_ms = child_now_ms() + PATIENCE_MS;
    // the system takes a moment to clean up a thread that has ended, whoever started it
    while (unshare(CLONE_NEWUSER) != 0 && errno == EINVAL) {
        EXPECT(child_now_ms() < end_ms);
        if (child_now_ms() >= end_ms) return;
    }
    EXPECT(wait_for(is_alone)); // also where nobody may unshare
}

static void *allocate_much(void *unused)
{
    spike();
    return unused;
}

// Root of a user namespace that has no other user can become nobody else: nothing to see there.
static void become_nobody(void)
{
    enum { NOBODY = 65534 };
    if (setresuid(NOBODY, NOBODY, NOBODY) != 0) _exit(errno == EINVAL ? 0 : 98);
}

// Root's program, which becomes a helper's owner once it is nobody's any more.
static void root_gives_up(void *unused)
{
    pthread_t thread[THREADS], other;
    (void)unused;
    mi_option_set(mi_option_background_purge, 1);
    if (geteuid() != 0) return;
    start_threads(thread);
    EXPECT(has_only_its_threads());
    become_nobody();
    long long end_ms = child_now_ms() + PATIENCE_MS;
    int number = 0;
    while ((number = helper_number()) == 0 && child_now_ms() < end_ms) spike();
    EXPECT(number != 0);
    if (pthread_create(&other, NULL, allocate_much, NULL) == 0) pthread_join(other, NULL);
    join_threads(thread, THREADS);
    EXPECT(wait_for(is_alone));
}

// The helper is used to what the thread has that started it: it must not be a real-time one.
static void real_time(void *unused)
{
    struct sched_param priority = {.sched_priority = 1};
    (void)unused;
    mi_option_set(mi_option_background_purge, 2);
    if (sched_setscheduler(0, SCHED_RR, &priority) != 0) return;
    spike();
    EXPECT(is_alone());
}

static void exits_beside_it(void *unused)
{
    pthread_t thread[THREADS];
    (void)unused;
    mi_option_set(mi_option_purge_delay, 10 * PATIENCE_MS);
    start_threads(thread);
    EXPECT(helper_number() != 0);
    fflush(NULL);
    exit(test_failures() == 0 ? 0 : 1);
}

static void one_thread(void *wanted)
{
    mi_option_set(mi_option_background_purge, *(const long *)wanted);
    spike();
    EXPECT(task_count() == (*(const long *)wanted == 2 ? 2 : 1));
    if (*(const long *)wanted == 2) EXPECT(wait_for(has_given_back));
}

// What is free may not be more than 8 MiB for long, however little it was at the most.
static void little(void *unused)
{
    (void)unused;
    mi_option_set(mi_option_background_purge, 2);
    spike_of(FEW_BLOCKS);
    EXPECT(wait_for(has_given_back_most));
}

// The first call of the child is a free.
static void one_thread_forks(void *unused)
{
    (void)unused;
    char **blocks = (char **)mi_calloc(BLOCKS, sizeof *blocks);
    mi_option_set(mi_option_background_purge, 2);
    for (int i = 0; i < BLOCKS; i++) blocks[i] = (char *)mi_malloc(BLOCK_BYTES);
    for (int i = 0; i < BLOCKS; i++) memset(blocks[i], 1, BLOCK_BYTES);
    spike(); // there is a helper now
    EXPECT(task_count() == 2);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
        mi_free(mi_malloc(1000000));
        mi_free(mi_malloc(1000000));
        spike();
        _exit(wait_for(has_given_back) ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

struct as_anybody {
    child_body *body;
    void *arg;
};

// Programs of root get no helper without asking for it (B3).
static void give_up_root(void *as)
{
    const struct as_anybody *call = (const struct as_anybody *)as;
    if (geteuid() == 0) become_nobody();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // else /proc/self is root's
    call->body(call->arg);
}

static void in_child(child_body *body, void *arg)
{
    struct child child;
    struct as_anybody call = {body, arg};
    if (TEST_IS_SANITIZED) return; // there is no helper: every thread must be known to a sanitizer
    mi_option_set(mi_option_background_purge, 1);
    mi_option_set(mi_option_purge_delay, DELAY_MS);
    child_run(&child, give_up_root, &call);
    EXPECT(child_is_well(&child));
}

TEST(idle_process_with_threads_gives_back) { in_child(idle_with_threads, NULL); }
TEST(idle_process_gives_back_though_its_threads_hold_some_blocks) { in_child(mixed_sizes, NULL); }
TEST(idle_process_of_many_threads_with_few_blocks_gives_back) { in_child(many_with_few, NULL); }
TEST(idle_process_gives_back_OS_pages_between_blocks_in_use) { in_child(half_of_it, NULL); }
TEST(helper_is_gone_when_the_threads_are_joined) { in_child(joined_soon, NULL); }
TEST(helper_does_not_come_along_in_a_fork_and_the_child_gets_its_own) { in_child(forked, NULL); }
TEST(child_of_a_fork_waits_for_no_helper_when_it_ends)
{
    char yes;
    in_child(forked_and_ended, NULL);
    in_child(forked_and_ended, &yes);
}

TEST(helper_B1_ends_after_its_rounds_though_there_is_more_to_do) { in_child(always_busy, NULL); }

TEST(helper_is_never_started_when_it_is_not_wanted) { in_child(never, NULL); }

TEST(program_with_one_thread_stays_one)
{
    long wanted = 1;
    in_child(one_thread, &wanted);
}

TEST(program_with_one_thread_may_ask_for_a_helper)
{
    long wanted = 2;
    in_child(one_thread, &wanted);
}

TEST(idle_process_that_freed_little_gives_back) { in_child(little, NULL); }

TEST(program_with_one_thread_and_a_helper_may_fork) { in_child(one_thread_forks, NULL); }

TEST(helper_B2_leaves_a_program_that_is_alone_again) { in_child(wants_to_be_alone, NULL); }

TEST(helper_is_gone_at_exit_however_long_it_would_sleep) { in_child(exits_beside_it, NULL); }

TEST(helper_B3_is_none_of_root_or_of_a_real_time_thread)
{
    struct child child;
    if (TEST_IS_SANITIZED) return;
    mi_option_set(mi_option_purge_delay, DELAY_MS);
    child_run(&child, root_gives_up, NULL);
    EXPECT(child_is_well(&child));
    child_run(&child, real_time, NULL);
    EXPECT(child_is_well(&child));
}

TEST_MAIN
