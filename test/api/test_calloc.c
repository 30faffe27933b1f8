/* test_calloc.c: zeroed memory is zero: fresh, reused, large, aligned, after other threads wrote to
 * it. */
#include "mimalloc.h"
#include "../support/api_test.h"
#include <pthread.h>

enum { MAX_BYTES = 3 * 1024 * 1024, DENSE_BYTES = TEST_IS_SANITIZED ? 100 : 2048 };

static size_t next_size(size_t bytes)
{
    return bytes < DENSE_BYTES ? bytes + 1 : bytes + bytes / 23 + 7;
}

// Leaves the freed memory of every size class full of ones.
static void soil(size_t bytes)
{
    void *blocks[8];
    for (size_t i = 0; i < 8; i++) {
        blocks[i] = mi_malloc(bytes);
        ENSURE(blocks[i] != NULL);
        memset(blocks[i], 0xFF, mi_usable_size(blocks[i]));
    }
    for (size_t i = 0; i < 8; i++) mi_free(blocks[i]);
}

TEST(calloc_clears_memory_that_was_used_before)
{
    for (size_t bytes = 0; bytes <= MAX_BYTES; bytes = next_size(bytes)) {
        soil(bytes);
        void *blocks[8];
        for (size_t i = 0; i < 8; i++) {
            blocks[i] = i % 2 == 0 ? mi_calloc(1, bytes) : mi_calloc(bytes, 1);
            ENSURE(blocks[i] != NULL);
            EXPECT(is_aligned(blocks[i], 16) && is_zero(blocks[i], bytes));
        }
        for (size_t i = 0; i < 8; i++) mi_free(blocks[i]);
    }
}

TEST(zalloc_clears_the_whole_block_not_just_the_request)
{
    for (size_t bytes = 0; bytes <= MAX_BYTES; bytes = next_size(bytes)) {
        soil(bytes);
        void *block = mi_zalloc(bytes);
        ENSURE(block != NULL);
        EXPECT(is_zero(block, mi_usable_size(block)));
        memset(block, 0xEE, mi_usable_size(block));
        mi_free(block);
    }
}

TEST(calloc_multiplies)
{
    for (size_t count = 0; count < 40; count++) {
        for (size_t bytes = 0; bytes < 40; bytes++) {
            void *block = mi_calloc(count, bytes);
            ENSURE(block != NULL);
            EXPECT(mi_usable_size(block) >= count * bytes);
            EXPECT(is_zero(block, count * bytes));
            memset(block, 0xFF, count * bytes);
            mi_free(block);
        }
    }
}

TEST(large_zeroed_blocks_stay_zero_over_reuse)
{
    for (int round = 0; round < 12; round++) {
        size_t bytes = (size_t)(1 + round % 4) * 1024 * 1024 + 123;
        unsigned char *block = (unsigned char *)mi_calloc(1, bytes);
        ENSURE(block != NULL);
        EXPECT(is_zero(block, bytes));
        memset(block, round + 1, bytes);
        mi_free(block);
        if (round % 3 == 2) mi_collect(true);
    }
}

static void *soil_everything(void *arg)
{
    (void)arg;
    for (size_t bytes = 1; bytes < 200000; bytes = next_size(bytes) + bytes / 8) soil(bytes);
    return NULL;
}

TEST(memory_left_by_an_ended_thread_is_cleared)
{
    pthread_t thread;
    ENSURE(pthread_create(&thread, NULL, soil_everything, NULL) == 0);
    pthread_join(thread, NULL);
    for (size_t bytes = 1; bytes < 200000; bytes = next_size(bytes) + bytes / 8) {
        void *block = mi_calloc(1, bytes);
        ENSURE(block != NULL);
        EXPECT(is_zero(block, bytes));
        mi_free(block);
    }
}

static void *free_remotely(void *arg)
{
    void **blocks = (void **)arg;
    for (size_t i = 0; i < 500; i++) {
        memset(blocks[i], 0xCC, 200);
        mi_free(blocks[i]);
    }
    return NULL;
}

TEST(memory_freed_by_another_thread_is_cleared)
{
    void *blocks[500];
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        for (size_t i = 0; i < 500; i++) {
            blocks[i] = mi_calloc(2, 100);
            ENSURE(blocks[i] != NULL);
            EXPECT(is_zero(blocks[i], 200));
        }
        ENSURE(pthread_create(&thread, NULL, free_remotely, blocks) == 0);
        pthread_join(thread, NULL);
    }
}

TEST_MAIN
