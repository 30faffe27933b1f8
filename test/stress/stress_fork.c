/* stress_fork.c: forks while other threads allocate and free. The child allocates in every class at
 * once, frees the parent's blocks, starts threads, forks again, and ends; none of them may hang or
 * find damage.
 *
 * --ops is the number of forks. Kinds: fork, _Fork (no fork handlers run), vfork with exec, fork
 * out of a worker.
 */
#include "stress.h"
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SHARED_COUNT = 256, CHILD_SECONDS_LIMIT = TEST_IS_SANITIZED ? 60 : 15 };

static struct item *shared[SHARED_COUNT];
static struct stress_options options;
static bool is_over;           // [any] atomic
static size_t threads_running; // [any] atomic

static void churn_once(struct test_random *random)
{
    struct item *item = item_new(stress_size(random) / 4, random_next(random));
    EXPECT(item != NULL);
    item_free(slot_exchange(&shared[random_below(random, SHARED_COUNT)], item));
}

static void *churn(void *arg)
{
    struct test_random random = stress_random(&options, (size_t)(uintptr_t)arg);
    __atomic_fetch_add(&threads_running, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) churn_once(&random);
    return NULL;
}

static void use_every_class(void)
{
    for (size_t bytes = 1; bytes < 3000000; bytes += bytes / 5 + 1) {
        void *block = mi_malloc(bytes);
        EXPECT(block != NULL);
        if (block == NULL) continue;
        pattern_fill(block, bytes, bytes);
        EXPECT(pattern_is_kept(block, bytes, bytes));
        mi_free(block);
    }
}

static void *use_in_thread(void *arg)
{
    use_every_class();
    return arg;
}

static int wait_for_child(pid_t pid)
{
    for (int tries = 0; tries < CHILD_SECONDS_LIMIT * 1000; tries++) {
        int status = 0;
        struct timespec pause = {0, 1000000};
        if (waitpid(pid, &status, WNOHANG) == pid) return status;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

static void expect_good_end(pid_t pid, const char *kind)
{
    char text[100];
    int status = pid < 0 ? -2 : wait_for_child(pid);
    if (status == 0) return;
    snprintf(text, sizeof text, "%s: a child that ends well, not status %d", kind, status);
    test_failed(__FILE__, __LINE__, text);
}

// What every child does. Threads are left out where the C library is not ready for them (_Fork,
// thread sanitizer).
static void live_as_child(size_t number, bool may_start_threads)
{
    struct test_random random = stress_random(&options, 1000 + number);
    __atomic_store_n(&test_state.failures, 0, __ATOMIC_RELAXED);
    use_every_class();
    for (size_t i = 0; i < SHARED_COUNT; i += 2) item_free(slot_exchange(&shared[i], NULL));
    for (size_t i = 0; i < 500; i++) churn_once(&random);
    if (may_start_threads && !TEST_TSAN) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, use_in_thread, NULL) == 0) pthread_join(thread, NULL);
        if (number % 4 == 0) {
            pid_t pid = fork();
            if (pid == 0) {
                use_every_class();
                _exit(test_failures() == 0 ? 0 : 1);
            }
            expect_good_end(pid, "grandchild");
        }
    }
    mi_collect(true);
    _exit(test_failures() == 0 ? 0 : 1);
}

static void fork_once(size_t number)
{
    pid_t pid = fork();
    if (pid == 0) live_as_child(number, true);
    expect_good_end(pid, "fork");
}

static void fork_without_handlers(size_t number)
{
    typedef pid_t fork_function(void);
    union {
        void *object;
        fork_function *function;
    } found;
    found.object = dlsym(RTLD_DEFAULT, "_Fork");
    if (found.object == NULL || TEST_IS_SANITIZED) return;
    pid_t pid = found.function();
    if (pid == 0) live_as_child(number, false);
    expect_good_end(pid, "_Fork");
}

static void vfork_and_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    expect_good_end(pid, "vfork");
}

static void *fork_in_worker(void *arg)
{
    struct test_random random = stress_random(&options, 500);
    for (size_t i = 0; i < 200; i++) churn_once(&random); // this thread owns pages by now
    fork_once((size_t)(uintptr_t)arg);
    for (size_t i = 0; i < 200; i++) churn_once(&random);
    return NULL;
}

// A thread that starts may hold a lock of the address sanitizer's malloc, which the child of a fork
// would wait for when it starts a thread of its own.
static void wait_for_threads(void)
{
    while (__atomic_load_n(&threads_running, __ATOMIC_ACQUIRE) < options.threads) sched_yield();
}

static void fork_in_every_way(void)
{
    for (size_t i = 0; i < options.ops; i++) {
        if (i % 8 == 5 && !TEST_IS_SANITIZED)
            vfork_and_exec();
        else if (i % 4 == 1)
            fork_without_handlers(i);
        else if (i % 4 == 2) {
            pthread_t thread;
            bool is_started =
                pthread_create(&thread, NULL, fork_in_worker, (void *)(uintptr_t)i) == 0;
            EXPECT(is_started);
            if (is_started) pthread_join(thread, NULL);
        } else
            fork_once(i);
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[STRESS_MAX_THREADS];
    options = stress_read_options(argc, argv, 2, 48);
    for (size_t i = 0; i < options.threads; i++) {
        if (pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i) != 0) return 1;
    }
    wait_for_threads();
    fork_in_every_way();
    __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
    for (size_t i = 0; i < options.threads; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SHARED_COUNT; i++) item_free(slot_exchange(&shared[i], NULL));
    return stress_result(argv[0], &options);
}
