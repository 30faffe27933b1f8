/* counts.c: what counts.sh counts: each case_X makes its calls, all of one kind and all on the path
 * that its name says. What must have happened before is done outside, before start_counting.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "mimalloc.h"

enum {
    CALLS = 48, // what is left on a loaded list of the largest size here, see load_list
    BLOCKS = 6000,
    KEEP_EVERY = 40,
    SMALL_BYTES = 32,
    ZEROED_BYTES = 64,
    MEDIUM_BYTES = 1024,
    SLICE_SHIFT = 16
};

// A function that the profiler can tell apart.
#define CASE __attribute__((noinline, used)) static void

static void *blocks[BLOCKS];
static void *volatile nothing;

// Counters start at zero when it returns.
CASE start_counting(void) { __asm__ volatile(""); }

// --- what is counted -----------------------------------------------------------------------------

CASE case_loop(void)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = nothing;
}

CASE case_malloc(void)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = malloc(SMALL_BYTES);
}

CASE case_free(void)
{
    for (int i = 0; i < CALLS; i++) free(blocks[i]);
}

CASE case_pair(void)
{
    for (int i = 0; i < CALLS; i++) {
        void *block = malloc(SMALL_BYTES);
        free(block);
    }
}

CASE case_malloc_small(void)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = mi_malloc_small(SMALL_BYTES);
}

CASE case_heap_malloc(mi_heap_t *heap)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = mi_heap_malloc(heap, SMALL_BYTES);
}

CASE case_calloc(void)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = calloc(1, ZEROED_BYTES);
}

CASE case_medium_malloc(void)
{
    for (int i = 0; i < CALLS; i++) blocks[i] = malloc(MEDIUM_BYTES);
}

CASE case_medium_free(void)
{
    for (int i = 0; i < CALLS; i++) free(blocks[i]);
}

CASE case_remote_free(void)
{
    for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
}

// --- what comes before ---------------------------------------------------------------------------

static bool is_same_page(const void *one, const void *other)
{
    return (uintptr_t)one >> SLICE_SHIFT == (uintptr_t)other >> SLICE_SHIFT;
}

// Leaves a list of nearly a page of used blocks loaded. Some blocks of every page stay out, so that
// no free empties it.
static void load_list(size_t bytes)
{
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(bytes);
        memset(blocks[i], 0xA5, bytes);
    }
    for (int i = 0; i < BLOCKS; i++) {
        if (i % KEEP_EVERY != 0) free(blocks[i]);
    }
    void *block = malloc(bytes), *last;
    do { // a block of another page is the first of a new list
        last = block;
        block = malloc(bytes);
    } while (is_same_page(block, last));
}

static void free_all(void)
{
    for (int i = 0; i < CALLS; i++) free(blocks[i]);
}

static pthread_barrier_t turn;

static void *produce(void *arg)
{
    (void)arg;
    for (int i = 0; i < BLOCKS; i++) blocks[i] = malloc(ZEROED_BYTES);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn); // it lives on while the others free
    return NULL;
}

static void count_remote(void)
{
    pthread_t producer;
    pthread_barrier_init(&turn, NULL, 2);
    if (pthread_create(&producer, NULL, produce, NULL) != 0) abort();
    pthread_barrier_wait(&turn);
    start_counting();
    case_remote_free();
    pthread_barrier_wait(&turn);
    pthread_join(producer, NULL);
}

int main(void)
{
    start_counting();
    case_loop();

    load_list(SMALL_BYTES);
    start_counting();
    case_malloc();
    start_counting();
    case_free();
    load_list(SMALL_BYTES);
    start_counting();
    case_pair();

    load_list(SMALL_BYTES);
    free(mi_malloc_small(SMALL_BYTES)); // binds the symbol
    start_counting();
    case_malloc_small();
    free_all();
    load_list(SMALL_BYTES);
    mi_heap_t *heap = mi_heap_get_default();
    free(mi_heap_malloc(heap, SMALL_BYTES));
    start_counting();
    case_heap_malloc(heap);
    free_all();

    load_list(ZEROED_BYTES);
    free(calloc(1, ZEROED_BYTES));
    start_counting();
    case_calloc();
    free_all();

    load_list(MEDIUM_BYTES);
    start_counting();
    case_medium_malloc();
    start_counting();
    case_medium_free();

    count_remote();
    return 0;
}
