/* test_blowup.c: whoever allocates and whoever frees, memory stays within a factor of what is in
 * use and a constant for each thread (doc/design.md, section 14). */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <pthread.h>
#include <sched.h>

enum {
    KIB = 1024,
    THREADS = 8,
    SLOTS = 40000,
    LEAST_BYTES = 16,
    MOST_BYTES = 2000, // 47 size classes
    PHASES = 8,
    CALLS = 400000,    // of each thread, in all phases together
    CALLS_IN_TURN = 256,
    GENERATIONS = 50,
    THREAD_KIB = 4096, // a page for each class, 64 KiB, and some that wait for use
    LEFT_KIB = 2048    // when nothing is in use: stacks of ended threads, tables
};

// A block in a slot is in use; it begins with its size.
static size_t *slots[SLOTS];
static size_t live_bytes, peak_bytes;
static pthread_barrier_t gate;

static void put(struct test_random *random)
{
    size_t **slot = &slots[random_below(random, SLOTS)], *none = NULL;
    if (__atomic_load_n(slot, __ATOMIC_RELAXED) != NULL) return;
    size_t bytes = LEAST_BYTES + random_below(random, MOST_BYTES - LEAST_BYTES);
    size_t *block = (size_t *)mi_malloc(bytes);
    ENSURE(block != NULL);
    memset(block, 1, bytes);
    *block = bytes;
    size_t live = __atomic_add_fetch(&live_bytes, bytes, __ATOMIC_RELAXED);
    if (live > __atomic_load_n(&peak_bytes, __ATOMIC_RELAXED)) // nearly exact is enough
        __atomic_store_n(&peak_bytes, live, __ATOMIC_RELAXED);
    if (__atomic_compare_exchange_n(slot, &none, block, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        return;
    __atomic_sub_fetch(&live_bytes, bytes, __ATOMIC_RELAXED);
    mi_free(block);
}

static void take(size_t slot)
{
    size_t *block = __atomic_exchange_n(&slots[slot], NULL, __ATOMIC_ACQUIRE);
    if (block == NULL) return;
    __atomic_sub_fetch(&live_bytes, *block, __ATOMIC_RELAXED);
    mi_free(block);
}

// Who does what in a phase.
struct arrangement {
    const char *name;
    bool (*allocates)(int thread, int phase);
    bool (*frees)(int thread, int phase);
};

static bool everybody(int thread, int phase) { return thread >= 0 && phase >= 0; }
static bool first(int thread, int phase) { return thread == 0 && phase >= 0; }
static bool but_first(int thread, int phase) { return !first(thread, phase); }
static bool in_turn(int thread, int phase) { return thread == phase % THREADS; }
static bool but_in_turn(int thread, int phase) { return !in_turn(thread, phase); }
static bool half(int thread, int phase) { return (thread + phase) % 2 == 0; }
static bool other_half(int thread, int phase) { return !half(thread, phase); }

static const struct arrangement arrangements[] = {
    {"all allocate and free", everybody, everybody},
    {"one allocates, the others free", first, but_first},
    {"all but one allocate, that one frees", but_first, first},
    {"one after the other allocates, the others free", in_turn, but_in_turn},
    {"all allocate, one after the other frees", everybody, in_turn},
    {"halves allocate and free, and change places", half, other_half},
};

static const struct arrangement *arrangement;

static void *run(void *number)
{
    int thread = (int)(uintptr_t)number;
    struct test_random random = {(uint64_t)thread + 1};
    for (int phase = 0; phase < PHASES; phase++) {
        pthread_barrier_wait(&gate);
        bool allocates = arrangement->allocates(thread, phase);
        bool frees = arrangement->frees(thread, phase);
        for (int call = 0; call < CALLS / PHASES; call++) {
            if (call % CALLS_IN_TURN == 0) sched_yield(); // else a phase may be one slice of time
            if (allocates) put(&random);
            if (frees) take(random_below(&random, SLOTS));
        }
    }
    pthread_barrier_wait(&gate);
    mi_collect(true);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate); // and so all threads sleep while the main one frees
    return NULL;
}

static size_t base_resident_kib(void)
{
    memset(slots, 0, sizeof slots);
    return process_resident_kib();
}

static void expect_at_most(size_t resident_kib, size_t most_kib)
{
    EXPECT(resident_kib <= most_kib);
    if (resident_kib <= most_kib) return;
    fprintf(stderr, "%zu KiB live, %zu KiB resident\n", peak_bytes / KIB, resident_kib);
}

static void expect_bound(size_t base_kib)
{
    size_t peak_kib = process_status_kib("VmHWM:") - base_kib;
    size_t most_kib = peak_bytes / KIB * 3 / 2 + THREADS * THREAD_KIB;
    EXPECT(peak_bytes > SLOTS * (size_t)LEAST_BYTES);
    expect_at_most(peak_kib, most_kib);
}

static void expect_nothing_left(size_t base_kib)
{
    for (size_t i = 0; i < SLOTS; i++) take(i);
    EXPECT(live_bytes == 0);
    mi_collect(true);
    expect_at_most(process_resident_kib() - base_kib, LEFT_KIB);
}

static void arranged(void *arg)
{
    pthread_t threads[THREADS];
    arrangement = (const struct arrangement *)arg;
    pthread_barrier_init(&gate, NULL, THREADS + 1);
    size_t base_kib = base_resident_kib();
    for (size_t i = 0; i < THREADS; i++) {
        ENSURE(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) == 0);
    }
    for (int phase = 0; phase <= PHASES; phase++) pthread_barrier_wait(&gate);
    expect_bound(base_kib);
    pthread_barrier_wait(&gate);
    expect_nothing_left(base_kib);
    pthread_barrier_wait(&gate);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

TEST(memory_stays_within_its_bound_in_every_arrangement)
{
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_HAS_STATES) return;
    for (size_t i = 0; i < sizeof arrangements / sizeof arrangements[0]; i++) {
        child_run(&child, arranged, (void *)(uintptr_t)&arrangements[i]);
        EXPECT(child_is_well(&child));
        if (child.exit_code != 0) fprintf(stderr, "%s\n", arrangements[i].name);
    }
}

static void *live_shortly(void *number)
{
    struct test_random random = {(uintptr_t)number + 1};
    for (int call = 0; call < CALLS / GENERATIONS; call++) {
        take(random_below(&random, SLOTS));
        put(&random);
        put(&random);
    }
    return NULL;
}

static void come_and_go(void *arg)
{
    pthread_t threads[THREADS];
    (void)arg;
    size_t base_kib = base_resident_kib();
    for (size_t generation = 0; generation < GENERATIONS; generation++) {
        for (size_t i = 0; i < THREADS; i++) {
            void *number = (void *)(uintptr_t)(generation * THREADS + i);
            ENSURE(pthread_create(&threads[i], NULL, live_shortly, number) == 0);
        }
        for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    }
    expect_bound(base_kib);
    expect_nothing_left(base_kib);
}

TEST(memory_stays_within_its_bound_when_threads_come_and_go)
{
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_HAS_STATES) return;
    child_run(&child, come_and_go, NULL);
    EXPECT(child_is_well(&child));
}

TEST_MAIN
