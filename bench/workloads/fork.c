/* fork.c: a large program with running threads that forks all the time.
 *
 * Models servers that fork to save their state or to start helpers. Four threads (--threads) build
 * a heap of 256 MiB at scale 1, of blocks of 32 bytes to 1 MiB. The main thread forks 60 children
 * at scale 1, four at a time. A child checks and frees part of the heap, which other threads had
 * allocated, that do not live in the child; it allocates, checks and frees 2000 blocks of its own,
 * resizes one, and ends. For each child each of the threads replaces 3000 blocks of its own
 * meanwhile: a fixed number, since what they do more is taken from the children.
 *
 * With --busy 0 the threads end when the heap is built: for tools, such as the sanitizers, under
 * which a child must not allocate when other threads ran at the fork.
 *
 * A child that finds a wrong byte, that crashes or that hangs (it is killed after 20 s: a lock that
 * was held at the fork is held for ever) fails the program.
 *
 * Values: fork_us, how long the call of fork takes in the parent; child_ms, how long a child lives
 * on average, from before the fork on.
 *
 * One operation is a child.
 */
#include "sealed.h"
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum {
    HEAP_MIB = 256,
    HEAP_OCTAVES = 15, // 32 bytes to 1 MiB
    CHILDREN = 60,
    AT_A_TIME = 4,
    PATIENCE_SECONDS = 20,
    INHERITED_BLOCKS = 500, // that a child frees, of each thread's
    CHILD_BLOCKS = 2000,
    CHILD_OCTAVES = 11, // 32 bytes to 64 KiB
    CHURN_BLOCKS = 1000,
    CHURN_WORK = 3000, // blocks that each thread replaces for a child
    RESIZE_BYTES = 1 << 20,
};

static pthread_barrier_t built;
static sem_t turn[BENCH_THREADS_MAX]; // of each thread: children it has not worked for
static _Atomic uint64_t begun;        // children
static bool busy;                              // [const]
static size_t bytes_each;                      // [const] of the heap
static struct sealed *heap[BENCH_THREADS_MAX]; // [const] once built
static double fork_seconds, child_seconds;
static double started[AT_A_TIME]; // when the child in this place was forked
static pid_t child[AT_A_TIME];

static void give_turns(void)
{
    for (int i = 0; i < bench.threads; i++) sem_post(&turn[i]);
}

// Waits until a thread that has worked for `done` children may go on; false when that were all.
static bool has_turn(int number, uint64_t done)
{
    while (sem_wait(&turn[number]) != 0) continue; // interrupted
    return done < atomic_load(&begun);
}

static void churn(int number, void *argument)
{
    (void)argument;
    struct sealed *own[CHURN_BLOCKS] = {NULL};
    uint64_t random = bench_random_start((uint64_t)number);
    for (size_t bytes = 0; bytes < bytes_each; bytes += heap[number]->bytes) {
        sealed_push(&heap[number], sealed_new(sealed_octave_bytes(&random, HEAP_OCTAVES)));
    }
    pthread_barrier_wait(&built);
    if (!busy) return;
    for (uint64_t done = 0; has_turn(number, done); done++) {
        for (int i = 0; i < CHURN_WORK; i++) {
            struct sealed **slot = &own[bench_random_below(&random, CHURN_BLOCKS)];
            if (*slot != NULL) sealed_free(*slot);
            *slot = sealed_new(sealed_octave_bytes(&random, CHILD_OCTAVES));
        }
    }
    for (int i = 0; i < CHURN_BLOCKS; i++) {
        if (own[i] != NULL) sealed_free(own[i]);
    }
}

static void child_free_inherited(void)
{
    for (int t = 0; t < bench.threads; t++) {
        struct sealed *block = heap[t];
        for (int i = 0; i < INHERITED_BLOCKS && block != NULL; i++) {
            struct sealed *next = block->next;
            sealed_free(block);
            block = next;
        }
    }
}

// The timer of the kernel ends a child that hangs; nothing here uses stdio.
__attribute__((noreturn)) static void child_run(uint64_t number)
{
    struct sealed *list = NULL;
    uint64_t random = bench_random_start(BENCH_THREADS_MAX + number);
    alarm(PATIENCE_SECONDS);
    child_free_inherited();
    for (int i = 0; i < CHILD_BLOCKS; i++) {
        sealed_push(&list, sealed_new(sealed_octave_bytes(&random, CHILD_OCTAVES)));
    }
    void *grown = sealed_new(SEALED_MIN_BYTES);
    grown = bench_block(realloc(grown, RESIZE_BYTES));
    bench_expect(((struct sealed *)grown)->bytes == SEALED_MIN_BYTES);
    free(grown);
    sealed_free_all(list);
    _exit(0);
}

static void child_start(int place, uint64_t number)
{
    started[place] = bench_now();
    child[place] = fork();
    if (child[place] == 0) child_run(number);
    if (child[place] < 0) bench_fail(1, "cannot fork: %s", strerror(errno));
    fork_seconds += bench_now() - started[place];
    atomic_fetch_add(&begun, 1);
    give_turns();
}

static void kill_children(void)
{
    for (int i = 0; i < AT_A_TIME; i++) {
        if (child[i] > 0) kill(child[i], SIGKILL);
    }
}

// Waits for any child; its place, which is free then.
static int child_wait(uint64_t done)
{
    int status, place = 0;
    pid_t ended = waitpid(-1, &status, 0);
    while (place < AT_A_TIME - 1 && child[place] != ended) place++;
    bench_expect(ended > 0 && child[place] == ended);
    child[place] = 0;
    child_seconds += bench_now() - started[place];
    if (status == 0) return place;
    kill_children();
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        bench_fail(1, "child %llu hung", (unsigned long long)done);
    }
    bench_fail(1, "child %llu failed with status 0x%x", (unsigned long long)done, status);
}

static void threads_join(struct bench_thread *thread)
{
    for (int i = 0; i < bench.threads; i++) bench_thread_join(&thread[i]);
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--busy", NULL};
    static struct bench_thread thread[BENCH_THREADS_MAX];
    bench_start_with_flags(argc, argv, "fork", 4, flags);
    busy = bench_flag_number("--busy", 1, 0, 1) == 1;
    double heap_bytes = HEAP_MIB * 0x1p20 * (bench.scale < 1 ? bench.scale : 1);
    bytes_each = (size_t)(heap_bytes / bench.threads) + 1;
    pthread_barrier_init(&built, NULL, (unsigned)bench.threads + 1);
    for (int i = 0; i < bench.threads; i++) {
        sem_init(&turn[i], 0, 0);
        bench_thread_start(&thread[i], i, churn, NULL);
    }
    pthread_barrier_wait(&built);
    if (!busy) threads_join(thread);

    uint64_t total = bench_scaled(CHILDREN, 2), done = 0;
    bench_begin();
    while (begun < AT_A_TIME && begun < total) child_start((int)begun, begun);
    for (; done < begun; done++) {
        int place = child_wait(done);
        if (bench_more(begun, total)) child_start(place, begun);
    }
    give_turns(); // for nobody
    if (busy) threads_join(thread);
    bench_end();

    for (int i = 0; i < bench.threads; i++) sealed_free_all(heap[i]);
    bench_add_value("fork_us", "us", fork_seconds * 1e6 / (double)done);
    bench_add_value("child_ms", "ms", child_seconds * 1e3 / (double)done);
    return bench_finish((double)done);
}
