/* test_aligned.c: every alignment from 1 byte to 4 MiB, with offsets, zeroed, grown, and the POSIX
 * rules. */
#include "mimalloc.h"
#include "../support/api_test.h"
#include <errno.h>
#include <unistd.h>

static const size_t MIB = 1024 * 1024;
static const size_t sizes[] = {0,   1,    7,    8,    16,    24,    48,    100,
                               160, 1000, 4096, 5000, 65536, 70000, 600000};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static bool is_aligned_at(const void *block, size_t alignment, size_t offset)
{
    return (((uintptr_t)block + offset) & (alignment - 1)) == 0;
}

// Large alignments are tried with fewer sizes, so that the test stays quick.
static bool is_skipped(size_t alignment, size_t index)
{
    return alignment > 65536 && index % 4 != 0;
}

TEST(every_alignment_up_to_4_MiB_holds_for_every_size)
{
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        for (size_t i = 0; i < SIZE_COUNT; i++) {
            void *blocks[3];
            if (is_skipped(alignment, i)) continue;
            for (size_t k = 0; k < 3; k++) {
                blocks[k] = mi_malloc_aligned(sizes[i], alignment);
                ENSURE(blocks[k] != NULL);
                EXPECT(is_aligned(blocks[k], alignment) && is_aligned(blocks[k], 16));
                EXPECT(mi_usable_size(blocks[k]) >= sizes[i]);
                pattern_fill(blocks[k], sizes[i], k);
            }
            for (size_t k = 0; k < 3; k++) {
                EXPECT(pattern_is_kept(blocks[k], sizes[i], k));
                mi_free(blocks[k]);
            }
        }
    }
}

TEST(the_address_plus_offset_is_aligned)
{
    static const size_t offsets[] = {1, 8, 16, 24, 100, 4096, 65537};
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
        for (size_t i = 0; i < SIZE_COUNT; i++) {
            if (is_skipped(alignment, i)) continue;
            for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
                if (offsets[o] > sizes[i]) continue;
                void *block = mi_malloc_aligned_at(sizes[i], alignment, offsets[o]);
                ENSURE(block != NULL);
                EXPECT(is_aligned_at(block, alignment, offsets[o]));
                EXPECT(mi_usable_size(block) >= sizes[i]);
                memset(block, 0xDD,
                       mi_usable_size(block) < 5000 ? mi_usable_size(block) : sizes[i]);
                mi_free(block);
            }
        }
    }
}

TEST(zeroed_aligned_blocks_are_zero_also_when_reused)
{
    for (size_t alignment = 1; alignment <= MIB; alignment *= 4) {
        for (int round = 0; round < 3; round++) {
            size_t bytes = 3 * alignment + 100;
            void *zeroed = mi_zalloc_aligned(bytes, alignment);
            void *counted = mi_calloc_aligned(3, bytes / 3, alignment);
            void *moved = mi_zalloc_aligned_at(bytes, alignment, 8);
            void *both = mi_calloc_aligned_at(1, bytes, alignment, 40);
            ENSURE(zeroed != NULL && counted != NULL && moved != NULL && both != NULL);
            EXPECT(is_aligned(zeroed, alignment) && is_zero(zeroed, bytes));
            EXPECT(is_aligned(counted, alignment) && is_zero(counted, bytes / 3 * 3));
            EXPECT(is_aligned_at(moved, alignment, 8) && is_zero(moved, bytes));
            EXPECT(is_aligned_at(both, alignment, 40) && is_zero(both, bytes));
            memset(zeroed, 0xFF, bytes);
            memset(counted, 0xFF, bytes / 3 * 3);
            memset(moved, 0xFF, bytes);
            memset(both, 0xFF, bytes);
            mi_free(zeroed);
            mi_free(counted);
            mi_free(moved);
            mi_free(both);
        }
    }
}

TEST(aligned_blocks_keep_alignment_and_contents_when_resized)
{
    for (size_t alignment = 8; alignment <= MIB; alignment *= 4) {
        size_t bytes = 50;
        void *block = mi_malloc_aligned(bytes, alignment);
        void *moved = mi_malloc_aligned_at(bytes, alignment, 24);
        for (int step = 0; step < 12; step++) {
            size_t next = step < 8 ? bytes * 3 : bytes / 5 + 24;
            size_t kept = bytes < next ? bytes : next;
            ENSURE(block != NULL && moved != NULL);
            memset(block, step, bytes);
            memset(moved, step + 1, bytes);
            block = mi_realloc_aligned(block, next, alignment);
            moved = mi_realloc_aligned_at(moved, next, alignment, 24);
            ENSURE(block != NULL && moved != NULL);
            EXPECT(is_aligned(block, alignment) && is_aligned_at(moved, alignment, 24));
            EXPECT(((unsigned char *)block)[kept - 1] == step &&
                   ((unsigned char *)block)[0] == step);
            EXPECT(((unsigned char *)moved)[kept - 1] == step + 1);
            bytes = next;
        }
        mi_free(block);
        mi_free(moved);
    }
}

TEST(resized_aligned_blocks_can_go_on_as_plain_ones)
{
    char *block = (char *)mi_malloc_aligned_at(1000, 4096, 8);
    ENSURE(block != NULL);
    memset(block, 'x', 1000);
    block = (char *)mi_realloc(block, 100000);
    ENSURE(block != NULL);
    EXPECT(block[0] == 'x' && block[999] == 'x');
    block = (char *)mi_realloc_aligned(block, 200, 65536);
    ENSURE(block != NULL);
    EXPECT(is_aligned(block, 65536) && block[199] == 'x');
    mi_free(block);
    EXPECT(is_aligned(block = (char *)mi_realloc_aligned(NULL, 10, 512), 512));
    mi_free(block);
}

TEST(zero_initialised_aligned_resizing_clears_the_tail)
{
    for (size_t alignment = 8; alignment <= 65536; alignment *= 8) {
        unsigned char *blocks[3];
        blocks[0] =
            (unsigned char *)mi_rezalloc_aligned(mi_zalloc_aligned(10, alignment), 5000, alignment);
        blocks[1] = (unsigned char *)mi_recalloc_aligned_at(mi_zalloc_aligned_at(10, alignment, 8),
                                                            50, 100, alignment, 8);
        blocks[2] = (unsigned char *)mi_aligned_recalloc(mi_calloc_aligned(1, 10, alignment), 100,
                                                         50, alignment);
        for (size_t i = 0; i < 3; i++) {
            ENSURE(blocks[i] != NULL);
            EXPECT(is_aligned_at(blocks[i], alignment, i == 1 ? 8 : 0));
            EXPECT(is_zero(blocks[i], 5000));
            mi_free(blocks[i]);
        }
    }
    void *fresh = mi_aligned_offset_recalloc(NULL, 10, 10, 64, 16);
    ENSURE(fresh != NULL);
    EXPECT(is_aligned_at(fresh, 64, 16) && is_zero(fresh, 100));
    mi_free(fresh);
}

TEST(alignments_that_are_no_power_of_two_are_refused)
{
    static const size_t bad[] = {0, 3, 6, 24, 100, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t alignment = launder_size(bad[i]);
        errno = 0;
        EXPECT(mi_malloc_aligned(100, alignment) == NULL);
        EXPECT(errno == ENOMEM || errno == EINVAL);
        EXPECT(mi_malloc_aligned_at(100, alignment, 8) == NULL);
        EXPECT(mi_zalloc_aligned(100, alignment) == NULL);
        EXPECT(mi_calloc_aligned(1, 100, alignment) == NULL);
        EXPECT(mi_realloc_aligned(NULL, 100, alignment) == NULL);
    }
}

TEST(sizes_that_overflow_are_refused)
{
    for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 4) {
        errno = 0;
        EXPECT(mi_malloc_aligned(launder_size(SIZE_MAX), alignment) == NULL);
        EXPECT(errno == ENOMEM);
        EXPECT(mi_malloc_aligned(launder_size(SIZE_MAX - alignment), alignment) == NULL);
        EXPECT(mi_malloc_aligned(launder_size((size_t)PTRDIFF_MAX + 1), alignment) == NULL);
        EXPECT(mi_malloc_aligned_at(launder_size(PTRDIFF_MAX), alignment, 8) == NULL);
        EXPECT(mi_calloc_aligned(launder_size(SIZE_MAX / 2), 3, alignment) == NULL);
        EXPECT(mi_zalloc_aligned(launder_size(SIZE_MAX - 1), alignment) == NULL);
    }
}

TEST(posix_memalign_keeps_its_rules)
{
    void *untouched = &errno;
    void *block = untouched;
    EXPECT(mi_posix_memalign(&block, 0, 10) == EINVAL && block == untouched);
    EXPECT(mi_posix_memalign(&block, 3, 10) == EINVAL && block == untouched);
    EXPECT(mi_posix_memalign(&block, sizeof(void *) / 2, 10) == EINVAL && block == untouched);
    EXPECT(mi_posix_memalign(&block, sizeof(void *) * 3, 10) == EINVAL && block == untouched);
    EXPECT(mi_posix_memalign(&block, 64, launder_size(SIZE_MAX)) == ENOMEM && block == untouched);
    EXPECT(mi_posix_memalign(&block, 64, launder_size(SIZE_MAX - 70)) == ENOMEM &&
           block == untouched);
    for (size_t alignment = sizeof(void *); alignment <= 4 * MIB; alignment *= 2) {
        EXPECT(mi_posix_memalign(&block, alignment, 100) == 0);
        EXPECT(block != NULL && is_aligned(block, alignment));
        mi_free(block);
        block = untouched;
        EXPECT(mi_posix_memalign(&block, alignment, 0) == 0);
        EXPECT(block != untouched && is_aligned(block, alignment));
        mi_free(block);
    }
}

TEST(aligned_alloc_takes_any_size_and_memalign_any_power_of_two)
{
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        void *standard = mi_aligned_alloc(alignment, 100);
        void *old = mi_memalign(alignment, 3 * alignment + 1);
        ENSURE(standard != NULL && old != NULL);
        EXPECT(is_aligned(standard, alignment) && is_aligned(old, alignment));
        mi_free(standard);
        mi_free(old);
    }
    EXPECT(mi_aligned_alloc(launder_size(24), 100) == NULL);
    errno = 0;
    EXPECT(mi_aligned_alloc(64, launder_size(SIZE_MAX - 10)) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(mi_memalign(64, launder_size(SIZE_MAX - 10)) == NULL && errno == ENOMEM);
}

TEST(valloc_and_pvalloc_give_whole_os_pages)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *at_page = mi_valloc(100);
    void *whole_page = mi_pvalloc(100);
    ENSURE(at_page != NULL && whole_page != NULL);
    EXPECT(is_aligned(at_page, page_bytes) && is_aligned(whole_page, page_bytes));
    EXPECT(mi_usable_size(whole_page) >= page_bytes);
    mi_free(at_page);
    mi_free(whole_page);
    for (size_t less = 0; less < 2 * page_bytes; less += 100) {
        errno = 0;
        EXPECT(mi_pvalloc(launder_size(SIZE_MAX - less)) == NULL && errno == ENOMEM);
        errno = 0;
        EXPECT(mi_valloc(launder_size(SIZE_MAX - less)) == NULL && errno == ENOMEM);
    }
}

TEST(aligned_blocks_of_large_alignment_can_be_churned)
{
    void *blocks[24] = {NULL};
    struct test_random random = {11};
    for (int i = 0; i < 2000; i++) {
        size_t slot = random_below(&random, 24);
        size_t alignment = (size_t)1 << (10 + random_below(&random, 13));
        mi_free(blocks[slot]);
        blocks[slot] = mi_malloc_aligned(1 + random_below(&random, 200000), alignment);
        ENSURE(blocks[slot] != NULL);
        EXPECT(is_aligned(blocks[slot], alignment));
        *(char *)blocks[slot] = 1;
    }
    for (size_t i = 0; i < 24; i++) mi_free(blocks[i]);
}

TEST_MAIN
