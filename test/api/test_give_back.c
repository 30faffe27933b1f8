/* test_give_back.c: free memory goes back while a program goes on with little to do, and stays
 * while it is used again and again. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <pthread.h>

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    THREADS = 4,
    SPIKE_MIB = 50,        // of each thread
    LIGHT_BLOCKS = 200,
    LIGHT_CALLS = 20,      // each 10 ms
    MOST_BLOCKS = 200000,
    PATIENCE_MS = 10000,   // how long a machine with much else to do may take
    AT_ONCE_MS = 3000      // what takes one second on a quiet one
};

static pthread_barrier_t gate;
static int is_over;

// Sizes of 32 bytes to 1 MiB, as many bytes of each octave.
static size_t any_bytes(struct test_random *random)
{
    size_t octave = 5 + random_below(random, 15);
    return ((size_t)1 << octave) + random_below(random, (size_t)1 << octave);
}

static void build_and_free(struct test_random *random)
{
    void **blocks = (void **)mi_malloc(MOST_BLOCKS * sizeof *blocks);
    size_t count = 0;
    for (size_t sum = 0; sum < SPIKE_MIB * (size_t)MIB && count < MOST_BLOCKS; count++) {
        size_t bytes = any_bytes(random);
        blocks[count] = mi_malloc(bytes);
        memset(blocks[count], 1, bytes);
        sum += bytes;
    }
    for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
    mi_free(blocks);
}

static void *work(void *number)
{
    struct test_random random = {(uintptr_t)number + 1};
    void *light[LIGHT_BLOCKS] = {NULL};
    build_and_free(&random);
    pthread_barrier_wait(&gate);
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        for (int call = 0; call < LIGHT_CALLS; call++) {
            void **slot = &light[random_below(&random, LIGHT_BLOCKS)];
            mi_free(*slot);
            *slot = mi_malloc(random_below(&random, 2000));
        }
        usleep(10000);
    }
    for (int i = 0; i < LIGHT_BLOCKS; i++) mi_free(light[i]);
    return NULL;
}

static void light_use(void *arg)
{
    pthread_t threads[THREADS];
    (void)arg;
    pthread_barrier_init(&gate, NULL, THREADS + 1);
    size_t base_kib = process_resident_kib();
    for (size_t i = 0; i < THREADS; i++) {
        ENSURE(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
    }
    pthread_barrier_wait(&gate);
    EXPECT(process_status_kib("VmHWM:") > base_kib + SPIKE_MIB * KIB); // one of them at the least

    size_t live_kib = THREADS * LIGHT_BLOCKS * 1000 / KIB;
    size_t most_kib = base_kib + live_kib * 13 / 10 + (8 * MIB + THREADS * 256 * KIB) / KIB;
    long long start_ms = child_now_ms(), now_ms = start_ms;
    bool is_slow = false; // this machine, just now
    while (process_resident_kib() > most_kib && now_ms < start_ms + PATIENCE_MS) {
        long long before_ms = now_ms;
        usleep(20000);
        now_ms = child_now_ms();
        is_slow = is_slow || now_ms - before_ms > 200;
    }
    EXPECT(process_resident_kib() <= most_kib);
    EXPECT(is_slow || now_ms - start_ms <= AT_ONCE_MS);
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

TEST(a_spike_goes_back_while_threads_go_on_with_a_little_work)
{
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return; // debug builds are too slow to build it
    child_run(&child, light_use, NULL);
    EXPECT(child_is_well(&child));
}

static long fault_count(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

// A request of 8 MiB: one block, or many.
static void request(size_t block_bytes)
{
    enum { REQUEST_BYTES = 8 * MIB };
    static void *blocks[REQUEST_BYTES / 512];
    size_t count = REQUEST_BYTES / block_bytes;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = mi_malloc(block_bytes);
        memset(blocks[i], 1, block_bytes);
    }
    for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
}

// Where the machine lets this process wait for longer than it wants to, memory may well go back. A
// few pages are touched for the first time when blocks come to lie elsewhere.
static void cycle(void *arg)
{
    enum { WARM_UP = 5, CYCLES = 20, IDLE_MS = 50, LATE_MS = 150, FEW = 64 };
    size_t block_bytes = *(const size_t *)arg;
    long faults = 0;
    int late = 0;
    for (int i = 0; i < WARM_UP + CYCLES; i++) {
        long long start_ms = child_now_ms();
        long before = fault_count();
        request(block_bytes);
        if (i >= WARM_UP) faults += fault_count() - before;
        usleep(IDLE_MS * 1000);
        late += child_now_ms() - start_ms > LATE_MS;
    }
    EXPECT(late > 0 || faults <= FEW);
}

TEST(a_request_after_a_short_pause_finds_its_memory_as_it_left_it)
{
    static const size_t sizes[] = {512, 5000, 100000, 2 * MIB, 8 * MIB};
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        child_run(&child, cycle, (void *)(uintptr_t)&sizes[i]);
        EXPECT(child_is_well(&child));
    }
}

TEST_MAIN
