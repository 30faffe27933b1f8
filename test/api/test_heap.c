/* test_heap.c: first-class heaps: create, allocate, walk, ask, delete, destroy, default and
 * backing. */
#include "mimalloc.h"
#include "../support/process_info.h"
#include <pthread.h>

enum { COUNT = 3000, THREADS = 4, MANY_HEAPS = TEST_IS_SANITIZED || TEST_IS_DEBUG ? 5000 : 100000 };

struct walk {
    void **expected; // sorted by nothing: small sets only
    size_t expected_count;
    size_t blocks, areas, used, unknown, bytes;
    size_t stop_after; // 0: never
};

static bool walk_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t bytes,
                       void *arg)
{
    struct walk *walk = (struct walk *)arg;
    (void)heap;
    if (block == NULL) {
        walk->areas++;
        walk->used += area->used;
        EXPECT(area->committed <= area->reserved && area->blocks != NULL);
        EXPECT(area->used * area->block_size <= area->reserved);
        return true;
    }
    bool is_known = walk->expected == NULL;
    for (size_t i = 0; i < walk->expected_count && !is_known; i++)
        is_known = walk->expected[i] == block;
    walk->unknown += !is_known;
    walk->blocks++;
    walk->bytes += bytes;
    return walk->stop_after == 0 || walk->blocks < walk->stop_after;
}

static struct walk walk_heap(mi_heap_t *heap)
{
    struct walk walk = {NULL, 0, 0, 0, 0, 0, 0, 0};
    EXPECT(mi_heap_visit_blocks(heap, true, walk_block, &walk));
    return walk;
}

// A forced collect leaves pages with room to others: the blocks in them stay this heap's.
TEST(blocks_stay_in_their_heap_after_a_collect)
{
    enum { FEW = 100 };
    void *blocks[FEW];
    for (int i = 0; i < FEW; i++) blocks[i] = mi_malloc(i % 2 == 0 ? 48 : 4000);
    for (int i = 0; i < FEW; i += 3) mi_free(blocks[i]);
    mi_collect(true);
    for (int i = 0; i < FEW; i++) {
        if (i % 3 == 0) continue;
        EXPECT(mi_heap_contains_block(mi_heap_get_default(), blocks[i]));
        EXPECT(mi_heap_check_owned(mi_heap_get_default(), blocks[i]));
        mi_free(blocks[i]);
    }
}

// Also in pages that have room and are left to others, or that know pointers into blocks.
TEST(free_blocks_are_in_no_heap)
{
    enum { FEW = 60 };
    void *blocks[FEW];
    for (int i = 0; i < FEW; i++)
        blocks[i] = i % 3 == 0 ? mi_malloc_aligned_at(32, 32, 8) : mi_malloc(i % 3 == 1 ? 48 : 250);
    struct walk before = walk_heap(mi_heap_get_backing());
    for (int i = 0; i < FEW; i += 2) mi_free(blocks[i]);
    struct walk after = walk_heap(mi_heap_get_backing());
    EXPECT(after.blocks == before.blocks - FEW / 2 && after.used == before.used - FEW / 2);
    for (int i = 0; i < FEW; i++) {
        bool is_live = i % 2 != 0;
        EXPECT(mi_heap_contains_block(mi_heap_get_backing(), launder(blocks[i])) == is_live);
    }
    for (int i = 1; i < FEW; i += 2) mi_free(blocks[i]);
    EXPECT(walk_heap(mi_heap_get_backing()).blocks == before.blocks - FEW);
}

// A query at the moment when a page has just become full.
TEST(contains_block_loses_no_page)
{
    enum { FEW = 40, ROUNDS = 200 };
    void *blocks[FEW];
    size_t commit_before = 0, commit_after = 0;
    mi_collect(true);
    mi_process_info(NULL, NULL, NULL, NULL, NULL, &commit_before, NULL, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < FEW; i++) {
            blocks[i] = mi_malloc(30000);
            EXPECT(mi_heap_contains_block(mi_heap_get_default(), blocks[i]));
        }
        for (int i = 0; i < FEW; i++) mi_free(blocks[i]);
    }
    mi_collect(true);
    mi_process_info(NULL, NULL, NULL, NULL, NULL, &commit_after, NULL, NULL);
    EXPECT(commit_after < commit_before + ((size_t)8 << 20));
}

TEST(a_heap_serves_every_allocation_call)
{
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    void *blocks[] = {mi_heap_malloc(heap, 100),
                      mi_heap_zalloc(heap, 200),
                      mi_heap_calloc(heap, 3, 50),
                      mi_heap_mallocn(heap, 4, 25),
                      mi_heap_malloc_small(heap, 64),
                      mi_heap_zalloc_small(heap, 64),
                      mi_heap_realloc(heap, NULL, 300),
                      mi_heap_reallocn(heap, NULL, 5, 60),
                      mi_heap_reallocf(heap, NULL, 70),
                      mi_heap_strdup(heap, "text"),
                      mi_heap_strndup(heap, "text", 2),
                      mi_heap_realpath(heap, "/", NULL),
                      mi_heap_malloc_aligned(heap, 90, 128),
                      mi_heap_malloc_aligned_at(heap, 90, 256, 8),
                      mi_heap_zalloc_aligned(heap, 33, 64),
                      mi_heap_zalloc_aligned_at(heap, 33, 64, 16),
                      mi_heap_calloc_aligned(heap, 2, 20, 32),
                      mi_heap_calloc_aligned_at(heap, 2, 20, 32, 8),
                      mi_heap_realloc_aligned(heap, NULL, 50, 64),
                      mi_heap_realloc_aligned_at(heap, NULL, 50, 64, 8),
                      mi_heap_rezalloc(heap, NULL, 40),
                      mi_heap_recalloc(heap, NULL, 4, 10),
                      mi_heap_rezalloc_aligned(heap, NULL, 40, 64),
                      mi_heap_rezalloc_aligned_at(heap, NULL, 40, 64, 8),
                      mi_heap_recalloc_aligned(heap, NULL, 4, 10, 64),
                      mi_heap_recalloc_aligned_at(heap, NULL, 4, 10, 64, 8),
                      mi_heap_malloc_tp(heap, double),
                      mi_heap_zalloc_tp(heap, double),
                      mi_heap_calloc_tp(heap, double, 3),
                      mi_heap_mallocn_tp(heap, double, 3),
                      mi_heap_reallocn_tp(heap, NULL, double, 3),
                      mi_heap_recalloc_tp(heap, NULL, double, 3),
                      mi_heap_malloc(heap, 3000000)};
    enum { CALLS = sizeof blocks / sizeof blocks[0] };
    for (size_t i = 0; i < CALLS; i++) {
        ENSURE(blocks[i] != NULL);
        EXPECT(mi_heap_contains_block(heap, blocks[i]));
        EXPECT(!mi_heap_contains_block(mi_heap_get_backing(), blocks[i]));
    }
    EXPECT(walk_heap(heap).blocks == CALLS);
    EXPECT(is_zero(blocks[1], 200) && is_zero(blocks[14], 33) && is_zero(blocks[17], 40));
    EXPECT(is_zero(blocks[5], 64));
    for (size_t i = 22; i < 26; i++) EXPECT(is_zero(blocks[i], 40));
    for (size_t i = 0; i < CALLS; i++) mi_free(blocks[i]);
    EXPECT(walk_heap(heap).blocks == 0);
    mi_heap_delete(heap);
}

TEST(a_walk_counts_exactly_and_knows_every_block)
{
    static const size_t sizes[] = {8, 64, 200, 1024, 5000, 40000, 700000};
    void *blocks[120];
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t usable = 0;
        for (size_t i = 0; i < 120; i++) {
            blocks[i] = mi_heap_malloc(heap, sizes[s]);
            ENSURE(blocks[i] != NULL);
            usable += mi_usable_size(blocks[i]);
        }
        for (size_t i = 0; i < 120; i += 2) {
            usable -= mi_usable_size(blocks[i]);
            mi_free(blocks[i]);
        }
        struct walk walk = {blocks, 120, 0, 0, 0, 0, 0, 0};
        EXPECT(mi_heap_visit_blocks(heap, true, walk_block, &walk));
        EXPECT(walk.blocks == 60 && walk.unknown == 0);
        EXPECT(walk.used == 60 && walk.areas > 0);
        if (TEST_IS_EXACT) EXPECT(walk.bytes == usable);
        for (size_t i = 1; i < 120; i += 2) mi_free(blocks[i]);
        EXPECT(walk_heap(heap).blocks == 0);
    }
    mi_heap_delete(heap);
}

TEST(a_walk_of_areas_skips_blocks_and_a_visitor_can_stop)
{
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    for (size_t i = 0; i < 50; i++) EXPECT(mi_heap_malloc(heap, 100) != NULL);
    struct walk areas = {NULL, 0, 0, 0, 0, 0, 0, 0};
    EXPECT(mi_heap_visit_blocks(heap, false, walk_block, &areas));
    EXPECT(areas.blocks == 0 && areas.used == 50);
    struct walk first = {NULL, 0, 0, 0, 0, 0, 0, 7};
    EXPECT(!mi_heap_visit_blocks(heap, true, walk_block, &first));
    EXPECT(first.blocks == 7);
    mi_heap_destroy(heap);
}

TEST(a_walk_does_not_count_what_other_threads_freed)
{
    extern void *free_every_third(void *blocks);
    void *blocks[COUNT];
    pthread_t thread;
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    for (size_t i = 0; i < COUNT; i++) blocks[i] = mi_heap_malloc(heap, 48);
    ENSURE(pthread_create(&thread, NULL, free_every_third, blocks) == 0);
    pthread_join(thread, NULL);
    EXPECT(walk_heap(heap).blocks == COUNT - COUNT / 3);
    mi_heap_destroy(heap);
}

void *free_every_third(void *blocks);
void *free_every_third(void *blocks)
{
    for (size_t i = 0; i < COUNT; i += 3) mi_free(((void **)blocks)[i]);
    return NULL;
}

TEST(delete_moves_live_blocks_to_the_backing_heap)
{
    void *blocks[COUNT];
    mi_heap_t *heap = mi_heap_new();
    mi_heap_t *backing = mi_heap_get_backing();
    ENSURE(heap != NULL && backing != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = i % 100 == 0 ? 80000 + i * 300 : 1 + i % 700;
        blocks[i] = mi_heap_malloc(heap, bytes);
        ENSURE(blocks[i] != NULL);
        pattern_fill(blocks[i], bytes, i);
        if (i % 3 == 1) {
            mi_free(blocks[i]);
            blocks[i] = NULL;
        }
    }
    mi_heap_delete(heap);
    for (size_t i = 0; i < COUNT; i++) {
        if (blocks[i] == NULL) continue;
        EXPECT(pattern_is_kept(blocks[i], i % 100 == 0 ? 80000 + i * 300 : 1 + i % 700, i));
        EXPECT(mi_heap_contains_block(backing, blocks[i]));
        EXPECT(mi_check_owned(blocks[i]));
        mi_free(blocks[i]);
    }
}

TEST(destroy_frees_everything_at_once)
{
    for (int round = 0; round < 30; round++) {
        mi_heap_t *heap = mi_heap_new();
        ENSURE(heap != NULL);
        for (size_t i = 0; i < 4000; i++) {
            char *block = (char *)mi_heap_malloc(heap, i % 500 == 0 ? 200000 : 300);
            ENSURE(block != NULL);
            *block = 1;
        }
        mi_heap_destroy(heap);
    }
    if (TEST_RESIDENT_TELLS)
        EXPECT(process_resident_kib() < 60 * 1024); // 90 MiB when nothing were freed
}

TEST(the_default_heap_can_be_set_and_falls_back_to_the_backing_heap)
{
    mi_heap_t *backing = mi_heap_get_backing();
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    EXPECT(mi_heap_get_default() == backing);
    EXPECT(mi_heap_set_default(heap) == backing);
    EXPECT(mi_heap_get_default() == heap && mi_heap_get_backing() == backing);
    void *block = mi_malloc(123);
    void *zeroed = mi_calloc(5, 500);
    void *copy = mi_strdup("in the heap");
    EXPECT(mi_heap_contains_block(heap, block) && mi_heap_contains_block(heap, zeroed));
    EXPECT(mi_heap_contains_block(heap, copy));
    mi_heap_delete(heap);
    EXPECT(mi_heap_get_default() == backing);
    EXPECT(mi_heap_contains_block(backing, block));
    mi_free(block);
    mi_free(zeroed);
    mi_free(copy);
    block = mi_malloc(10);
    EXPECT(mi_heap_contains_block(backing, block));
    mi_free(block);
}

TEST(a_destroyed_default_heap_falls_back_too)
{
    mi_heap_t *backing = mi_heap_get_backing();
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    mi_heap_set_default(heap);
    EXPECT(mi_malloc(50) != NULL);
    mi_heap_destroy(heap);
    EXPECT(mi_heap_get_default() == backing);
    mi_free(mi_malloc(50));
}

TEST(ownership_is_told_apart)
{
    int local = 0;
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    char *block = (char *)mi_heap_malloc(heap, 1000);
    char *other = (char *)mi_malloc(1000);
    ENSURE(block != NULL && other != NULL);
    EXPECT(mi_heap_check_owned(heap, block));
    EXPECT(!mi_heap_check_owned(heap, other) && mi_check_owned(other));
    EXPECT(!mi_heap_check_owned(heap, &local) && !mi_heap_check_owned(heap, NULL));
    EXPECT(!mi_check_owned(&local) && !mi_check_owned(NULL));
    EXPECT(!mi_heap_contains_block(heap, NULL));
    mi_free(other);
    mi_heap_destroy(heap);
}

TEST(realloc_in_a_heap_moves_the_block_there)
{
    mi_heap_t *heap = mi_heap_new();
    ENSURE(heap != NULL);
    char *block = mi_strdup("moves");
    block = (char *)mi_heap_realloc(heap, block, 5000);
    ENSURE(block != NULL);
    EXPECT(strcmp(block, "moves") == 0);
    EXPECT(mi_heap_contains_block(heap, block));
    mi_heap_collect(heap, false);
    mi_heap_collect(heap, true);
    EXPECT(strcmp(block, "moves") == 0);
    mi_heap_destroy(heap);
}

TEST(many_heaps_come_and_go_without_growth)
{
    size_t start_kib = 0;
    for (size_t i = 0; i < MANY_HEAPS; i++) {
        mi_heap_t *heap = mi_heap_new();
        ENSURE(heap != NULL);
        char *block = (char *)mi_heap_malloc(heap, 1 + i % 2000);
        ENSURE(block != NULL);
        *block = 1;
        if (i % 4 == 0) {
            mi_heap_delete(heap);
            mi_free(block);
        } else {
            mi_heap_destroy(heap);
        }
        if (i != MANY_HEAPS / 4) continue;
        mi_collect(true); // what was freed may wait to be used again
        start_kib = process_resident_kib();
    }
    mi_collect(true);
    if (TEST_RESIDENT_TELLS) EXPECT(process_resident_kib() <= start_kib + 1024);
}

TEST(many_heaps_can_live_at_once)
{
    mi_heap_t *heaps[200];
    void *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        heaps[i] = mi_heap_new();
        ENSURE(heaps[i] != NULL);
        blocks[i] = mi_heap_malloc(heaps[i], 64);
        ENSURE(blocks[i] != NULL);
    }
    for (size_t i = 0; i < 200; i++) {
        EXPECT(mi_heap_contains_block(heaps[i], blocks[i]));
        EXPECT(!mi_heap_contains_block(heaps[i], blocks[(i + 1) % 200]));
    }
    for (size_t i = 0; i < 200; i++) mi_heap_destroy(heaps[(i * 7) % 200]);
}

static void *use_heaps(void *arg)
{
    struct test_random random = {(uintptr_t)arg};
    EXPECT(mi_heap_get_default() == mi_heap_get_backing());
    for (int round = 0; round < 60; round++) {
        mi_heap_t *heap = mi_heap_new();
        if (heap == NULL) test_failed(__FILE__, __LINE__, "a heap");
        if (heap == NULL) return NULL;
        void *blocks[200];
        for (size_t i = 0; i < 200; i++) {
            blocks[i] = mi_heap_malloc(heap, 40);
            pattern_fill(blocks[i], 40, (uintptr_t)blocks[i]);
        }
        for (size_t i = 0; i < 200; i++)
            EXPECT(pattern_is_kept(blocks[i], 40, (uintptr_t)blocks[i]));
        if (random_below(&random, 2) == 0) {
            mi_heap_destroy(heap);
            continue;
        }
        mi_heap_delete(heap);
        for (size_t i = 0; i < 200; i++) mi_free(blocks[i]);
    }
    return mi_malloc(77); // outlives its thread
}

TEST(threads_use_heaps_of_their_own_side_by_side)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        ENSURE(pthread_create(&threads[i], NULL, use_heaps, (void *)(uintptr_t)(i + 1)) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *block = NULL;
        pthread_join(threads[i], &block);
        EXPECT(block != NULL);
        mi_free(block);
    }
}

static void *leave_heap(void *arg)
{
    mi_heap_t *heap = mi_heap_new();
    void **blocks = (void **)arg;
    for (size_t i = 0; i < 500; i++) {
        blocks[i] = mi_heap_malloc(heap, 500);
        pattern_fill(blocks[i], 500, i);
    }
    return NULL;
}

TEST(blocks_of_a_heap_outlive_the_thread_that_made_it)
{
    void *blocks[500];
    pthread_t thread;
    ENSURE(pthread_create(&thread, NULL, leave_heap, blocks) == 0);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 500; i++) {
        EXPECT(pattern_is_kept(blocks[i], 500, i));
        mi_free(blocks[i]);
    }
}

TEST_MAIN
