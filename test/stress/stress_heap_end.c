/* stress_heap_end.c: a thread ends heaps in which another one has allocated, while that one goes on
 * elsewhere and a third keeps asking everybody to collect.
 *
 * A request to collect is honoured inside a plain malloc, so it must leave parts of heaps alone
 * that may be ending at this moment.
 */
#include "stress.h"

enum { IN_HEAP = 200, ELSEWHERE = 400 };

static struct stress_options options;
static pthread_barrier_t gate;
static mi_heap_t *heap; // handed over by the barrier
static bool is_over;    // [any] atomic

static size_t elsewhere_bytes(size_t i)
{
    return i % 2 == 0 ? 3000 + i % 50 * 100 : 16 + i % 200;
}

static void *use(void *arg)
{
    void *blocks[ELSEWHERE];
    for (size_t round = 0; round < options.ops; round++) {
        pthread_barrier_wait(&gate); // the heap is there
        for (size_t i = 0; i < IN_HEAP; i++) {
            void *block = mi_heap_malloc(heap, 16 + i % 20 * 100);
            EXPECT(block != NULL);
            if (round % 3 == 0) mi_free(block); // its pages are empty when the heap ends
        }
        pthread_barrier_wait(&gate); // and is ended from here on
        for (size_t i = 0; i < ELSEWHERE; i++) {
            size_t bytes = elsewhere_bytes(i);
            blocks[i] = mi_malloc(bytes);
            EXPECT(blocks[i] != NULL);
            pattern_fill(blocks[i], bytes, i);
        }
        for (size_t i = 0; i < ELSEWHERE; i++) {
            EXPECT(pattern_is_kept(blocks[i], elsewhere_bytes(i), i));
            mi_free(blocks[i]);
        }
        pthread_barrier_wait(&gate); // it has ended
    }
    return arg;
}

static void *collect(void *arg)
{
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) mi_collect(true);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t user, collector;
    options = stress_read_options(argc, argv, 3, 2000);
    pthread_barrier_init(&gate, NULL, 2);
    if (pthread_create(&user, NULL, use, NULL) != 0) return 1;
    if (pthread_create(&collector, NULL, collect, NULL) != 0) return 1;
    for (size_t round = 0; round < options.ops; round++) {
        heap = mi_heap_new();
        EXPECT(heap != NULL);
        pthread_barrier_wait(&gate);
        pthread_barrier_wait(&gate);
        if (round % 2 == 0) mi_heap_destroy(heap);
        else mi_heap_delete(heap);
        pthread_barrier_wait(&gate);
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    pthread_join(user, NULL);
    pthread_join(collector, NULL);
    return stress_result(argv[0], &options);
}
