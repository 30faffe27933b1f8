/* stress_tls.c: destructors of thread-local data allocate and free, in every round that the system
 * grants them, before and after the allocator's own; so do threads after mi_thread_done.
 */
#include "stress.h"
#include "../support/process_info.h"
#include <limits.h>

enum {
    KEY_COUNT = 8,
    SHARED_COUNT = 500,
    RESIDENT_LIMIT_KIB = 40 * 1024,
    // thread sanitizer ends a thread for itself in the last round; the allocator may need one more
    // than we do
    ROUNDS = TEST_TSAN ? PTHREAD_DESTRUCTOR_ITERATIONS - 2 : PTHREAD_DESTRUCTOR_ITERATIONS
};

// What C++ uses for the destructors of thread_local objects; they run before those of keys.
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso)
    __attribute__((weak));
extern void *__dso_handle;

static pthread_key_t keys[KEY_COUNT];
static struct item *shared[SHARED_COUNT];
static struct stress_options options;
static size_t destructor_calls; // [any] atomic

static void allocate_and_free(uint64_t seed)
{
    struct test_random random = {seed + 1};
    for (size_t i = 0; i < 20; i++) {
        struct item *item =
            item_new(random_below(&random, i == 7 ? 100000 : 800), random_next(&random));
        EXPECT(item != NULL);
        if (i % 4 == 0) item = slot_exchange(&shared[random_below(&random, SHARED_COUNT)], item);
        item_free(item);
    }
    mi_free(mi_realloc(mi_calloc(1, 100), 5000));
}

struct local {
    pthread_key_t key;
    size_t rounds;
    void *memory;
};

// Sets its value again until the last round, so that some destructor runs after everything else has
// ended.
static void destroy_local(void *value)
{
    struct local *local = (struct local *)value;
    __atomic_add_fetch(&destructor_calls, 1, __ATOMIC_RELAXED);
    mi_free(local->memory);
    allocate_and_free((uintptr_t)local);
    local->memory = mi_malloc(300);
    EXPECT(local->memory != NULL);
    if (++local->rounds < ROUNDS) {
        pthread_setspecific(local->key, local);
        return;
    }
    mi_free(local->memory);
    mi_free(local);
}

static void destroy_cxx(void *object)
{
    __atomic_add_fetch(&destructor_calls, 1, __ATOMIC_RELAXED);
    allocate_and_free((uintptr_t)object);
    mi_free(object);
}

static void set_locals(uint64_t number)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        struct local *local = (struct local *)mi_calloc(1, sizeof *local);
        EXPECT(local != NULL);
        if (local == NULL) continue;
        local->key = keys[i];
        if (number % 2 == 0) local->rounds = i % ROUNDS;
        pthread_setspecific(keys[i], local);
    }
}

static void *live(void *arg)
{
    uint64_t number = (uintptr_t)arg;
    if (number % 3 != 0)
        allocate_and_free(number); // others allocate for the first time in a destructor
    if (number % 5 != 0) set_locals(number);
    if (__cxa_thread_atexit_impl != NULL && number % 2 == 0) {
        EXPECT(__cxa_thread_atexit_impl(destroy_cxx, mi_malloc(50), &__dso_handle) == 0);
    }
    if (number % 7 == 0) {
        mi_thread_done();
        allocate_and_free(number);
        mi_thread_done();
        mi_thread_done();
    }
    return NULL;
}

static void *run_generations(void *arg)
{
    size_t lane = (size_t)(uintptr_t)arg;
    for (size_t i = 0; i < options.ops; i++) {
        pthread_t thread;
        bool is_started =
            pthread_create(&thread, NULL, live, (void *)(uintptr_t)(i * 7 + lane)) == 0;
        EXPECT(is_started);
        if (is_started) pthread_join(thread, NULL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 4, 800);
    for (size_t i = 0; i < KEY_COUNT / 2; i++)
        EXPECT(pthread_key_create(&keys[i], destroy_local) == 0);
    mi_free(mi_malloc(1)); // the allocator's own key lies between ours
    for (size_t i = KEY_COUNT / 2; i < KEY_COUNT; i++)
        EXPECT(pthread_key_create(&keys[i], destroy_local) == 0);
    stress_run_threads(options.threads, run_generations);
    for (size_t i = 0; i < SHARED_COUNT; i++) item_free(slot_exchange(&shared[i], NULL));
    mi_collect(true);
    EXPECT(destructor_calls > options.ops * options.threads);
    if (TEST_RESIDENT_TELLS) EXPECT(process_resident_kib() < RESIDENT_LIMIT_KIB);
    return stress_result(argv[0], &options);
}
