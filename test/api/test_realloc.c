/* test_realloc.c: contents survive, blocks stay in place where promised, new tails are zero where
 * promised. */
#include "mimalloc.h"
#include "../support/process_info.h"
#include <errno.h>
#include <limits.h>
#include <sys/resource.h>

static const size_t MIB = 1024 * 1024;

static bool prefix_is(const void *block, size_t bytes, unsigned char value)
{
    const unsigned char *at = (const unsigned char *)block;
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != value) return false;
    }
    return true;
}

TEST(realloc_of_NULL_is_malloc)
{
    for (size_t bytes = 0; bytes < 100000; bytes = bytes * 2 + 1) {
        void *block = mi_realloc(NULL, bytes);
        ENSURE(block != NULL);
        EXPECT(is_aligned(block, 16) && mi_usable_size(block) >= bytes);
        mi_free(block);
    }
}

TEST(realloc_to_0_gives_a_minimal_block)
{
    static const size_t sizes[] = {0, 1, 16, 500, 70000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = mi_realloc(mi_malloc(sizes[i]), 0);
        ENSURE(block != NULL);
        EXPECT(mi_usable_size(block) <= 64);
        mi_free(block);
    }
}

TEST(contents_survive_growing_and_shrinking_by_one_byte)
{
    unsigned char *block = (unsigned char *)mi_malloc(1);
    ENSURE(block != NULL);
    memset(block, 0x5A, 1);
    for (size_t bytes = 2; bytes <= 5000; bytes++) {
        block = (unsigned char *)mi_realloc(block, bytes);
        ENSURE(block != NULL);
        if (bytes % 16 < 2) EXPECT(prefix_is(block, bytes - 1, 0x5A));
        block[bytes - 1] = 0x5A;
    }
    for (size_t bytes = 5000; bytes > 0; bytes--) {
        block = (unsigned char *)mi_realloc(block, bytes);
        ENSURE(block != NULL);
        if (bytes % 16 < 2) EXPECT(prefix_is(block, bytes, 0x5A));
    }
    mi_free(block);
}

TEST(contents_survive_random_chains)
{
    struct test_random random = {7};
    for (int chain = 0; chain < 60; chain++) {
        size_t bytes = random_below(&random, 500);
        unsigned char *block = (unsigned char *)mi_malloc(bytes);
        for (int step = 0; step < 30; step++) {
            ENSURE(block != NULL);
            unsigned char value = (unsigned char)(chain + step);
            memset(block, value, bytes);
            size_t limit = (size_t)1 << (4 + random_below(&random, 18));
            size_t new_bytes = 1 + random_below(&random, limit);
            block = (unsigned char *)mi_realloc(block, new_bytes);
            ENSURE(block != NULL);
            EXPECT(mi_usable_size(block) >= new_bytes);
            EXPECT(prefix_is(block, bytes < new_bytes ? bytes : new_bytes, value));
            bytes = new_bytes;
        }
        mi_free(block);
    }
}

TEST(realloc_keeps_the_block_between_half_and_all_of_it)
{
    static const size_t sizes[] = {16, 40, 64, 100, 500, 1000, 1024, 5000, 65536, 100000, 600000};
    if (!TEST_IS_EXACT) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = mi_malloc(sizes[i]);
        ENSURE(block != NULL);
        size_t usable = mi_usable_size(block);
        uintptr_t address = (uintptr_t)block;
        for (size_t part = 4; part <= 8; part++) {
            block = mi_realloc(block, usable - (8 - part) * usable / 8);
            EXPECT((uintptr_t)block == address);
        }
        block = mi_realloc(block, (usable + 1) / 2);
        EXPECT((uintptr_t)block == address);
        mi_free(block);
    }
}

TEST(realloc_gives_up_a_block_that_would_be_mostly_waste)
{
    static const size_t sizes[] = {1000, 5000, 65536, 400000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = mi_realloc(mi_malloc(sizes[i]), sizes[i] / 10);
        ENSURE(block != NULL);
        EXPECT(mi_usable_size(block) < sizes[i] / 2);
        mi_free(block);
    }
}

TEST(a_failed_realloc_leaves_the_block_alone)
{
    char *block = mi_strdup("still here");
    ENSURE(block != NULL);
    errno = 0;
    EXPECT(mi_realloc(block, launder_size(SIZE_MAX - 100)) == NULL);
    EXPECT(errno == ENOMEM);
    EXPECT(mi_reallocn(block, launder_size(SIZE_MAX / 2), 3) == NULL);
    EXPECT(mi_reallocarray(block, launder_size(SIZE_MAX / 2), 3) == NULL);
    EXPECT(strcmp(block, "still here") == 0);
    mi_free(block);
}

// That the block was freed shows in a heap of its own: nothing is left in it.
static bool count_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                        size_t bytes, void *arg)
{
    (void)heap;
    (void)area;
    (void)bytes;
    if (block != NULL) ++*(size_t *)arg;
    return true;
}

TEST(reallocf_frees_the_block_when_it_fails)
{
    mi_heap_t *heap = mi_heap_new();
    size_t count = 0;
    ENSURE(heap != NULL);
    void *kept = mi_heap_malloc(heap, 300);
    void *block = mi_heap_malloc(heap, 300);
    EXPECT(mi_heap_reallocf(heap, block, launder_size(SIZE_MAX - 100)) == NULL);
    EXPECT(mi_heap_visit_blocks(heap, true, count_block, &count));
    EXPECT(count == 1);
    void *grown = mi_heap_reallocf(heap, kept, 1000);
    EXPECT(grown != NULL && mi_usable_size(grown) >= 1000);
    mi_heap_destroy(heap);
    EXPECT(mi_reallocf(mi_malloc(10), launder_size(SIZE_MAX)) == NULL);
}

TEST(rezalloc_clears_the_new_tail)
{
    struct test_random random = {3};
    for (int chain = 0; chain < 200; chain++) {
        size_t bytes = random_below(&random, 300);
        unsigned char *block = (unsigned char *)mi_zalloc(bytes);
        for (int step = 0; step < 12; step++) {
            ENSURE(block != NULL);
            memset(block, 0x77, bytes);
            size_t new_bytes = bytes + random_below(&random, bytes + 20);
            block = (unsigned char *)(step % 2 == 0 ? mi_rezalloc(block, new_bytes)
                                                    : mi_recalloc(block, new_bytes, 1));
            ENSURE(block != NULL);
            EXPECT(prefix_is(block, bytes, 0x77));
            EXPECT(is_zero(block + bytes, new_bytes - bytes));
            bytes = new_bytes;
        }
        mi_free(block);
    }
}

TEST(rezalloc_to_a_smaller_block_keeps_its_slack_zero)
{
    static const size_t sizes[] = {0, 16, 100, 3000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t less = sizes[i] / 5;
        void *soiled[20];
        for (size_t k = 0; k < 20; k++) {
            soiled[k] = mi_malloc(less);
            ENSURE(soiled[k] != NULL);
            memset(soiled[k], 0xFF, mi_usable_size(soiled[k]));
        }
        for (size_t k = 0; k < 20; k++) mi_free(soiled[k]);
        unsigned char *block = (unsigned char *)mi_rezalloc(mi_zalloc(sizes[i]), less);
        ENSURE(block != NULL);
        block = (unsigned char *)mi_rezalloc(block, less + 7);
        ENSURE(block != NULL);
        EXPECT(is_zero(block, less + 7));
        mi_free(block);
    }
}

static void *resize_plain(void *block, size_t bytes) { return mi_rezalloc(block, bytes); }
static void *resize_counted(void *block, size_t bytes) { return mi_recalloc(block, bytes, 1); }
static void *resize_aligned(void *block, size_t bytes)
{
    return mi_rezalloc_aligned(block, bytes, 64);
}
static void *resize_at(void *block, size_t bytes)
{
    return mi_rezalloc_aligned_at(block, bytes, 64, 8);
}
static void *resize_in_heap(void *block, size_t bytes)
{
    return mi_heap_rezalloc(mi_heap_get_default(), block, bytes);
}

TEST(rezalloc_gives_zeroes_where_a_block_was_cut_off_and_grows_again)
{
    static void *(*const resize[])(void *, size_t) = {resize_plain, resize_counted, resize_aligned,
                                                      resize_at, resize_in_heap};
    // in place, to less than half, and a little more again
    const size_t sizes[][3] = {{100, 60, 100}, {3000, 1600, 3000}, {100000, 70000, 100000},
                               {3 * MIB, 2 * MIB + 1, 2 * MIB + 100}, {8 * MIB, MIB, 3 * MIB},
                               {3 * MIB, 2 * MIB + 1, 3 * MIB}};
    for (size_t way = 0; way < sizeof resize / sizeof resize[0]; way++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t less = sizes[i][1], more = sizes[i][2];
            unsigned char *block = (unsigned char *)resize[way](NULL, sizes[i][0]);
            ENSURE(block != NULL);
            memset(block, 0xFF, sizes[i][0]);
            block = (unsigned char *)resize[way](block, less);
            ENSURE(block != NULL);
            block = (unsigned char *)resize[way](block, more);
            ENSURE(block != NULL);
            EXPECT(prefix_is(block, less, 0xFF) && is_zero(block + less, more - less));
            EXPECT(is_zero(block + less, mi_usable_size(block) - less));
            mi_free(block);
        }
    }
}

TEST(rezalloc_that_shrinks_a_large_block_gives_its_end_back_untouched)
{
    char *block = (char *)mi_zalloc(64 * MIB);
    ENSURE(block != NULL);
    EXPECT(mi_rezalloc(block, 40 * MIB) == block);
    EXPECT(mi_usable_size(block) <= 40 * MIB + 64 * 1024);
    EXPECT(mi_rezalloc_aligned(block, 30 * MIB, 4096) == block);
    EXPECT(mi_usable_size(block) <= 30 * MIB + 64 * 1024);
    mi_free(block);
}

TEST(rezalloc_of_NULL_is_zalloc_and_large_tails_are_zero)
{
    unsigned char *block = (unsigned char *)mi_rezalloc(NULL, 5000);
    ENSURE(block != NULL);
    EXPECT(is_zero(block, 5000));
    memset(block, 1, 5000);
    block = (unsigned char *)mi_rezalloc(block, 3 * MIB);
    ENSURE(block != NULL);
    EXPECT(prefix_is(block, 5000, 1) && is_zero(block + 5000, 3 * MIB - 5000));
    memset(block, 2, 3 * MIB);
    block = (unsigned char *)mi_recalloc(block, 5 * MIB, 2);
    ENSURE(block != NULL);
    EXPECT(prefix_is(block, 3 * MIB, 2) && is_zero(block + 3 * MIB, 7 * MIB));
    mi_free(block);
}

TEST(reallocn_and_reallocarray_multiply)
{
    void *block = mi_reallocn(NULL, 10, 30);
    ENSURE(block != NULL);
    EXPECT(mi_usable_size(block) >= 300);
    block = mi_reallocarray(block, 100, 30);
    ENSURE(block != NULL);
    EXPECT(mi_usable_size(block) >= 3000);
    mi_free(block);
}

// Every 64 KiB carries its own number: enough to notice a lost or swapped piece, and little memory
// is touched.
static bool marks_are(size_t *words, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 65536) {
        if (words[at / sizeof(size_t)] != at) return false;
    }
    return true;
}

static void set_marks(size_t *words, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += 65536) words[at / sizeof(size_t)] = at;
}

static long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

TEST(growing_to_a_gibibyte_keeps_contents_and_copies_little)
{
    bool may_copy = TEST_IS_SANITIZED || TEST_IS_DEBUG; // they move no memory
    size_t limit = may_copy ? 64 * MIB : 1024 * MIB;
    long before = minor_faults();
    size_t bytes = MIB;
    size_t *block = (size_t *)mi_malloc(bytes);
    ENSURE(block != NULL);
    set_marks(block, 0, bytes);
    while (bytes < limit) {
        block = (size_t *)mi_realloc(block, 2 * bytes);
        ENSURE(block != NULL);
        set_marks(block, bytes, 2 * bytes);
        bytes *= 2;
        EXPECT(marks_are(block, bytes));
    }
    block = (size_t *)mi_realloc(block, 10 * MIB);
    ENSURE(block != NULL);
    EXPECT(marks_are(block, 10 * MIB));
    mi_free(block);
    // the marks touch 16,384 OS pages; copying at every step would touch half a million
    if (!may_copy) EXPECT(minor_faults() - before < 100000);
}

TEST(a_large_block_that_was_moved_gives_its_end_back_when_it_shrinks)
{
    enum { BLOCKERS = 80 };
    static void *blockers[BLOCKERS];
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return; // they move no memory
    size_t *block = (size_t *)mi_malloc(8 * MIB);
    ENSURE(block != NULL);
    set_marks(block, 0, 8 * MIB);
    for (size_t i = 0; i < BLOCKERS; i++) blockers[i] = mi_malloc(MIB);
    long long moves = stats_number("", "move_calls");
    block = (size_t *)mi_realloc(block, 64 * MIB);
    ENSURE(block != NULL);
    EXPECT(stats_number("", "move_calls") > moves);
    moves = stats_number("", "move_calls");
    memset((char *)block + 8 * MIB, 1, 56 * MIB);
    mi_collect(true);
    long long committed = stats_number("committed", "current");
    size_t resident_kib = process_resident_kib();
    block = (size_t *)mi_realloc(block, MIB);
    ENSURE(block != NULL);
    EXPECT(marks_are(block, MIB) && mi_usable_size(block) < 2 * MIB);
    mi_collect(true);
    EXPECT(stats_number("committed", "current") <= committed - (long long)(62 * MIB));
    EXPECT(process_resident_kib() + 54 * 1024 <= resident_kib);
    EXPECT(stats_number("", "move_calls") == moves);
    // what is behind it reads as zeroes and can be taken again
    block = (size_t *)mi_rezalloc(block, 32 * MIB);
    ENSURE(block != NULL);
    EXPECT(marks_are(block, MIB) && is_zero((char *)block + MIB, 31 * MIB));
    mi_free(block);
    for (size_t i = 0; i < BLOCKERS; i++) mi_free(blockers[i]);
}

// A block of 6 MiB at the start of where one of 16 was grows to 16 again, and cannot stay. Moved,
// its memory would be lost, and what was resident where it goes.
TEST(a_large_block_that_goes_where_memory_was_used_before_is_copied)
{
    enum { ROUNDS = 10, BLOCKS = 6 };
    size_t *blocks[BLOCKS] = {NULL};
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return; // they move no memory
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = (size_t *)mi_malloc(16 * MIB);
        ENSURE(blocks[i] != NULL);
        memset(blocks[i], 1, 16 * MIB);
    }
    mi_free(blocks[3]);
    blocks[3] = NULL;
    mi_option_set(mi_option_purge_delay, -1); // what was used before stays so
    long long moves = stats_number("", "move_calls");
    long before = minor_faults(), went = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uintptr_t place = (uintptr_t)blocks[1];
        blocks[1] = (size_t *)mi_realloc(blocks[1], 6 * MIB);
        ENSURE(blocks[1] != NULL);
        set_marks(blocks[1], 0, 6 * MIB);
        void *blocker = mi_malloc(10 * MIB); // behind it, where there is just that room
        blocks[1] = (size_t *)mi_realloc(blocks[1], 16 * MIB);
        ENSURE(blocks[1] != NULL && blocker != NULL);
        EXPECT(marks_are(blocks[1], 6 * MIB));
        went += (uintptr_t)blocks[1] != place;
        memset((char *)blocks[1] + 6 * MIB, 1, 10 * MIB);
        mi_free(blocker);
    }
    EXPECT(went > 0 || TEST_IS_SECURE); // there a guard takes a slice more
    EXPECT(stats_number("", "move_calls") == moves);
    EXPECT(minor_faults() - before < ROUNDS * 1000); // each move would be 1536 or more
    mi_option_set(mi_option_purge_delay, 200);
    for (size_t i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
}

TEST(growing_in_small_steps_is_not_quadratic)
{
    double start = process_cpu_seconds();
    size_t limit = TEST_IS_SANITIZED || TEST_IS_DEBUG ? 4 * MIB : 32 * MIB;
    char *block = NULL;
    char *neighbour = NULL;
    for (size_t bytes = 0; bytes < limit; bytes += 8192) {
        block = (char *)mi_realloc(block, bytes + 8192);
        ENSURE(block != NULL);
        block[bytes] = 1;
        if (bytes % (1 << 20) == 0) neighbour = (char *)mi_realloc(neighbour, bytes / 2 + 100000);
    }
    mi_free(block);
    mi_free(neighbour);
    if (!TEST_IS_SANITIZED) EXPECT(process_cpu_seconds() - start < 2.0);
}

// From 4 KiB to 4 MiB: by a quarter at least each time it is copied.
static int moves_of_growing(size_t alignment)
{
    enum { STEP_BYTES = 100 };
    int moves = 0;
    char *block = (char *)mi_malloc(4096);
    for (size_t bytes = 4096; bytes < 4 * MIB; bytes += STEP_BYTES) {
        uintptr_t before = (uintptr_t)block;
        block = (char *)(alignment == 0 ? mi_realloc(block, bytes)
                                         : mi_realloc_aligned(block, bytes, alignment));
        if (block == NULL) return INT_MAX;
        if ((uintptr_t)block != before) moves++;
    }
    mi_free(block);
    return moves;
}

TEST(a_block_that_grows_by_little_is_seldom_copied)
{
    enum { MOST_MOVES = 40 };
    if (TEST_IS_DEBUG) return; // there its padding begins where the request ends
    EXPECT(moves_of_growing(0) <= MOST_MOVES);
    EXPECT(moves_of_growing(64) <= MOST_MOVES);
}

TEST(a_block_has_room_to_grow_only_where_it_is_long_and_grows_by_little)
{
    static const size_t sizes[][2] = {{1000, 1100}, {5000, 7000}, {100000, 200000},
                                      {2 << 20, 3 << 20}, {33 << 20, 34 << 20}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = mi_realloc(mi_malloc(sizes[i][0]), sizes[i][1]);
        ENSURE(block != NULL);
        EXPECT(mi_usable_size(block) == mi_good_size(sizes[i][1]));
        mi_free(block);
    }
    // what is behind it has to be cleared
    void *zeroes = mi_rezalloc(mi_zalloc(5000), 5200);
    EXPECT(mi_usable_size(zeroes) == mi_good_size(5200));
    zeroes = mi_rezalloc_aligned(zeroes, 6000, 64);
    EXPECT(mi_usable_size(zeroes) < 6600);
    mi_free(zeroes);
}

TEST_MAIN
