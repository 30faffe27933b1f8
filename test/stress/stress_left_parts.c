/* stress_left_parts.c: threads that come and go allocate in one heap after the other, while others
 * look into it, collect it, free what it holds, and end it.
 *
 * A thread that ends leaves its part of the heap to the next one. In each round the threads of a
 * generation start together, allocate, hand their blocks over and end, all at the same time as the
 * lookers look; then the heap is ended while the last ones of them still end.
 */
#include "stress.h"
#include <sched.h>

enum { GENERATIONS = 6, THREADS_MOST = 16, BLOCKS = 150, LOOKERS = 2 };

static struct stress_options options;
static pthread_barrier_t gate; // with the lookers, before and after they may look
static mi_heap_t *heap;
static bool is_over;
static size_t finished; // [any] atomic: of the last generation, those that use the heap no more

struct user {
    pthread_t thread;
    size_t    number;
    void     *blocks[BLOCKS];
    size_t    bytes[BLOCKS];
};
static struct user users[GENERATIONS][THREADS_MOST];

static void *use(void *arg)
{
    struct user *user = (struct user *)arg;
    struct test_random random = stress_random(&options, user->number);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = 16 + random_below(&random, 400);
        if (random_below(&random, 40) == 0) bytes = 600 * 1024 + bytes;
        user->bytes[i] = bytes;
        user->blocks[i] = mi_heap_malloc(heap, bytes);
        EXPECT(user->blocks[i] != NULL);
        pattern_fill(user->blocks[i], bytes < 64 ? bytes : 64, bytes);
        if (i >= 8 && random_below(&random, 2) == 0) {
            mi_free(user->blocks[i - 8]);
            user->blocks[i - 8] = NULL;
        }
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE); // pairs with run_round
    return NULL;
}

static bool count_block(const mi_heap_t *visited, const mi_heap_area_t *area, void *block,
                        size_t block_size, void *count)
{
    (void)visited, (void)area, (void)block_size;
    *(size_t *)count += block != NULL;
    return true;
}

static void *look(void *arg)
{
    for (;;) {
        pthread_barrier_wait(&gate);
        if (is_over) return arg;
        for (int i = 0; i < 4; i++) {
            size_t count = 0;
            EXPECT(mi_heap_visit_blocks(heap, true, count_block, &count));
            mi_heap_collect(heap, i % 2 == 0);
        }
        pthread_barrier_wait(&gate);
    }
}

static void start_generation(size_t round, size_t generation)
{
    for (size_t i = 0; i < options.threads; i++) {
        struct user *user = &users[generation][i];
        user->number = (round * GENERATIONS + generation) * THREADS_MOST + i;
        EXPECT(pthread_create(&user->thread, NULL, use, user) == 0);
    }
}

static void join_generation(size_t generation)
{
    for (size_t i = 0; i < options.threads; i++) pthread_join(users[generation][i].thread, NULL);
}

// Some of a generation's blocks, or all.
static void free_generation(size_t generation, size_t step)
{
    for (size_t i = 0; i < options.threads; i++) {
        struct user *user = &users[generation][i];
        for (size_t k = 0; k < BLOCKS; k += step) {
            size_t bytes = user->bytes[k];
            if (user->blocks[k] == NULL) continue;
            EXPECT(pattern_is_kept(user->blocks[k], bytes < 64 ? bytes : 64, bytes));
            mi_free(user->blocks[k]);
            user->blocks[k] = NULL;
        }
    }
}

static void run_round(size_t round)
{
    bool is_destroyed = round % 2 == 0;
    finished = 0;
    heap = mi_heap_new();
    EXPECT(heap != NULL);
    pthread_barrier_wait(&gate);
    for (size_t generation = 0; generation < GENERATIONS; generation++) {
        start_generation(round, generation);
        if (generation > 0) free_generation(generation - 1, 1 + round % 3);
        if (generation + 1 < GENERATIONS) join_generation(generation);
    }
    pthread_barrier_wait(&gate);
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < GENERATIONS * options.threads)
        sched_yield();
    if (is_destroyed) mi_heap_destroy(heap);
    else mi_heap_delete(heap);
    join_generation(GENERATIONS - 1);
    for (size_t i = 0; !is_destroyed && i < GENERATIONS; i++) free_generation(i, 1);
}

int main(int argc, char **argv)
{
    pthread_t lookers[LOOKERS];
    options = stress_read_options(argc, argv, 3, 60);
    if (options.threads > THREADS_MOST) options.threads = THREADS_MOST;
    pthread_barrier_init(&gate, NULL, LOOKERS + 1);
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_create(&lookers[i], NULL, look, NULL) != 0) return 1;
    for (size_t round = 0; round < options.ops; round++) run_round(round);
    is_over = true;
    pthread_barrier_wait(&gate);
    for (int i = 0; i < LOOKERS; i++) pthread_join(lookers[i], NULL);
    mi_collect(true);
    return stress_result(argv[0], &options);
}
