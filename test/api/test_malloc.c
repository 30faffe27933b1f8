/* test_malloc.c: blocks of every size: alignment, usable size, contents, no overlap. */
#include "mimalloc.h"
#include "../support/api_test.h"
#include <stdlib.h>

enum { MAX_BYTES = 2 * 1024 * 1024 };

// Every size up to `dense`, then in steps that grow, each with its two neighbours.
static size_t next_size(size_t bytes, size_t dense)
{
    if (bytes < dense) return bytes + 1;
    size_t step = bytes / 61;
    if (bytes % 3 != 2) return bytes + 1;
    return bytes + step + (2 - (bytes + step) % 3) + 1;
}

TEST(every_block_is_aligned_to_16_also_below_16_bytes)
{
    for (size_t bytes = 0; bytes <= MAX_BYTES; bytes = next_size(bytes, 4096)) {
        void *block = mi_malloc(bytes);
        ENSURE(block != NULL);
        EXPECT(is_aligned(block, 16));
        mi_free(block);
    }
}

TEST(usable_size_covers_the_request_and_agrees_with_good_size)
{
    for (size_t bytes = 0; bytes <= MAX_BYTES; bytes = next_size(bytes, 8192)) {
        void *block = mi_malloc(bytes);
        ENSURE(block != NULL);
        size_t usable = mi_usable_size(block);
        EXPECT(usable >= bytes);
        EXPECT(mi_good_size(bytes) >= bytes);
        EXPECT(mi_malloc_size(block) == usable && mi_malloc_usable_size(block) == usable);
        if (TEST_IS_EXACT) EXPECT(mi_good_size(bytes) == usable);
        memset(block, 0xA5, usable); // all of it may be written
        mi_free(block);
    }
    EXPECT(mi_usable_size(NULL) == 0);
}

TEST(malloc_of_0_gives_unique_blocks)
{
    void *blocks[100];
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = mi_malloc(0);
        ENSURE(blocks[i] != NULL);
        EXPECT(is_aligned(blocks[i], 16));
        for (size_t k = 0; k < i; k++) EXPECT(blocks[k] != blocks[i]);
    }
    for (size_t i = 0; i < 100; i++) mi_free(blocks[i]);
}

struct kept_block {
    unsigned char *start;
    size_t bytes;
};

static int compare_starts(const void *a, const void *b)
{
    const struct kept_block *left = (const struct kept_block *)a;
    const struct kept_block *right = (const struct kept_block *)b;
    return (left->start > right->start) - (left->start < right->start);
}

enum { KEPT_COUNT = 6000 };
static struct kept_block kept[KEPT_COUNT];

static size_t kept_size(struct test_random *random, size_t index)
{
    if (index % 50 == 0) return random_below(random, MAX_BYTES);
    if (index % 7 == 0) return random_below(random, 70000);
    return random_below(random, 1200);
}

TEST(live_blocks_of_mixed_sizes_neither_overlap_nor_change)
{
    struct test_random random = {1};
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        kept[i].bytes = kept_size(&random, i);
        kept[i].start = (unsigned char *)mi_malloc(kept[i].bytes);
        ENSURE(kept[i].start != NULL);
        pattern_fill(kept[i].start, kept[i].bytes, (uintptr_t)kept[i].start);
    }
    qsort(kept, KEPT_COUNT, sizeof kept[0], compare_starts);
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        size_t usable = mi_usable_size(kept[i].start);
        if (i + 1 < KEPT_COUNT) EXPECT(kept[i].start + usable <= kept[i + 1].start);
        EXPECT(pattern_is_kept(kept[i].start, kept[i].bytes, (uintptr_t)kept[i].start));
    }
    for (size_t i = 0; i < KEPT_COUNT; i++) mi_free(kept[i].start);
}

TEST(many_blocks_of_one_size_are_given_once_and_reused_after_free)
{
    static const size_t sizes[] = {1, 8, 16, 24, 100, 512, 1024, 1025, 4096, 10000, 65536, 300000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t count = sizes[s] > 20000 ? 40 : 2000;
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < count; i++) {
                kept[i].start = (unsigned char *)mi_malloc(sizes[s]);
                ENSURE(kept[i].start != NULL);
                pattern_fill(kept[i].start, sizes[s], i);
            }
            for (size_t i = 0; i < count; i++) {
                EXPECT(pattern_is_kept(kept[i].start, sizes[s], i));
                mi_free(kept[i].start);
            }
        }
    }
}

TEST(malloc_small_and_mallocn_are_malloc)
{
    for (size_t bytes = 0; bytes <= MI_SMALL_SIZE_MAX; bytes++) {
        void *small = mi_malloc_small(bytes);
        void *zeroed = mi_zalloc_small(bytes);
        ENSURE(small != NULL && zeroed != NULL);
        EXPECT(mi_usable_size(small) >= bytes && is_aligned(small, 16));
        EXPECT(is_zero(zeroed, bytes));
        memset(zeroed, 0xFF, bytes); // the next one must be cleared again
        mi_free(small);
        mi_free(zeroed);
    }
    void *many = mi_mallocn(7, 1000);
    ENSURE(many != NULL);
    EXPECT(mi_usable_size(many) >= 7000);
    mi_free(many);
}

TEST(strings_are_copied)
{
    static const char text[] = "sharded";
    char *copy = mi_strdup(text);
    char *part = mi_strndup(text, 5);
    char *whole = mi_strndup(text, 500);
    ENSURE(copy != NULL && part != NULL && whole != NULL);
    EXPECT(strcmp(copy, text) == 0 && copy != text);
    EXPECT(strcmp(part, "shard") == 0);
    EXPECT(strcmp(whole, text) == 0);
    EXPECT(mi_strdup(NULL) == NULL && mi_strndup(NULL, 3) == NULL);
    mi_free(copy);
    mi_free(part);
    mi_free(whole);
}

TEST(strndup_reads_no_byte_past_its_bound)
{
    char unterminated[4] = {'a', 'b', 'c', 'd'};
    char *copy = mi_strndup(unterminated, sizeof unterminated);
    ENSURE(copy != NULL);
    EXPECT(strcmp(copy, "abcd") == 0);
    mi_free(copy);
}

TEST(realpath_gives_an_absolute_path)
{
    char *path = mi_realpath("/usr/../usr/./bin/..", NULL);
    ENSURE(path != NULL);
    EXPECT(strcmp(path, "/usr") == 0);
    mi_free(path);
    EXPECT(mi_realpath("/no/such/path/at/all", NULL) == NULL);
}

TEST(wide_and_multibyte_strings_and_environment_values_are_copied)
{
    static const unsigned short wide[] = {'w', 'i', 0x20AC, 0};
    unsigned short *wide_copy = mi_wcsdup(wide);
    unsigned char *byte_copy = mi_mbsdup((const unsigned char *)"bytes");
    char *value = NULL;
    size_t bytes = 99;
    ENSURE(wide_copy != NULL && byte_copy != NULL);
    EXPECT(memcmp(wide_copy, wide, sizeof wide) == 0);
    EXPECT(memcmp(byte_copy, "bytes", 6) == 0);
    setenv("API_TEST_VALUE", "something", 1);
    EXPECT(mi_dupenv_s(&value, &bytes, "API_TEST_VALUE") == 0);
    EXPECT(value != NULL && strcmp(value, "something") == 0);
    mi_free(value);
    EXPECT(mi_dupenv_s(&value, &bytes, "API_TEST_NOT_SET") == 0);
    EXPECT(value == NULL);
    mi_free(wide_copy);
    mi_free(byte_copy);
}

TEST(expand_stays_in_place_or_refuses)
{
    void *block = mi_malloc(100);
    ENSURE(block != NULL);
    if (TEST_IS_EXACT) EXPECT(mi_expand(block, mi_usable_size(block)) == block);
    EXPECT(mi_expand(block, 10000000) == NULL);
    EXPECT(mi_expand(NULL, 10) == NULL);
    EXPECT(mi_usable_size(block) >= 100);
    mi_free(block);
}

TEST(all_ways_to_free_take_a_block)
{
    mi_free(NULL);
    mi_cfree(NULL);
    mi_cfree(mi_malloc(10));
    mi_free_size(mi_malloc(123), 123);
    mi_free_aligned(mi_malloc_aligned(40, 256), 256);
    mi_free_size_aligned(mi_malloc_aligned(40, 256), 40, 256);
    EXPECT(mi_version() == MI_MALLOC_VERSION);
}

TEST(blocks_are_known_to_lie_in_our_memory)
{
    int local = 0;
    static int global;
    void *small = mi_malloc(10);
    void *large = mi_malloc(5000000);
    EXPECT(mi_is_in_heap_region(small) && mi_is_in_heap_region(large));
    EXPECT(!mi_is_in_heap_region(&local) && !mi_is_in_heap_region(&global) &&
           !mi_is_in_heap_region(NULL));
    mi_free(small);
    mi_free(large);
}

TEST_MAIN
