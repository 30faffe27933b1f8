/* test_waste.c: what rounding a size up costs: for every size from 17 bytes to 64 MiB at most 12.5
 * % beyond 16-byte rounding, or the rounding to OS pages for large blocks. */
#include "mimalloc.h"
#include "../support/api_test.h"
#include <unistd.h>

enum {
    MIN_BYTES = 17,
    DENSE_BYTES = 1024 * 1024, // every size up to here
    MAX_BYTES = 64 * 1024 * 1024,
    ALLOC_DENSE = TEST_IS_SANITIZED ? 4096 : 96 * 1024, // every size is allocated up to here
    LARGE_BYTES = 64 * 1024 // from here on whole OS pages are a fair rounding
};

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

static bool is_waste_fair(size_t bytes, size_t usable)
{
    size_t rounded = round_up(bytes, 16);
    if (usable < bytes) return false;
    if (usable <= rounded + rounded / 8) return true;
    return bytes >= LARGE_BYTES && usable <= round_up(bytes, (size_t)sysconf(_SC_PAGESIZE));
}

static void expect_fair(size_t bytes, size_t usable, const char *call)
{
    if (is_waste_fair(bytes, usable)) return;
    char text[100];
    snprintf(text, sizeof text, "%s(%zu) within 12.5 %% of the request, not %zu", call, bytes,
             usable);
    test_failed(__FILE__, __LINE__, text);
}

static void check_good_size(size_t bytes)
{
    expect_fair(bytes, mi_good_size(bytes), "mi_good_size");
}

static void check_block(size_t bytes)
{
    void *block = mi_malloc(bytes);
    ENSURE(block != NULL);
    size_t usable = mi_usable_size(block);
    expect_fair(bytes, usable, "mi_usable_size");
    EXPECT(mi_good_size(bytes) == usable);
    EXPECT(mi_good_size(usable) == usable); // a good size is one that wastes nothing
    mi_free(block);
}

TEST(good_size_wastes_at_most_an_eighth_of_every_size)
{
    for (size_t bytes = MIN_BYTES; bytes <= DENSE_BYTES; bytes++) check_good_size(bytes);
}

TEST(good_size_never_falls_when_the_size_grows)
{
    size_t last = 0;
    for (size_t bytes = 0; bytes <= DENSE_BYTES; bytes++) {
        size_t good = mi_good_size(bytes);
        EXPECT(good >= last);
        last = good;
    }
}

TEST(blocks_waste_at_most_an_eighth_of_every_small_size)
{
    for (size_t bytes = MIN_BYTES; bytes <= ALLOC_DENSE; bytes++) check_block(bytes);
}

// Classes are found from outside: good_size(n) is the end of the class of n.
TEST(blocks_waste_at_most_an_eighth_around_every_class_edge)
{
    for (size_t edge = mi_good_size(MIN_BYTES); edge <= DENSE_BYTES;
         edge = mi_good_size(edge + 1)) {
        ENSURE(edge > 0 && mi_good_size(edge + 1) > edge);
        check_block(edge - 1);
        check_block(edge);
        check_block(edge + 1);
    }
}

TEST(large_sizes_waste_at_most_an_os_page_or_an_eighth)
{
    for (size_t edge = mi_good_size(DENSE_BYTES); edge < MAX_BYTES; edge = mi_good_size(edge + 1)) {
        ENSURE(mi_good_size(edge + 1) > edge);
        check_good_size(edge - 1);
        check_good_size(edge);
        check_good_size(edge + 1);
    }
}

TEST(large_blocks_waste_at_most_an_os_page_or_an_eighth)
{
    for (size_t bytes = DENSE_BYTES; bytes < MAX_BYTES; bytes += bytes / 19 + 1) {
        check_block(bytes - 1);
        check_block(bytes);
        check_block(bytes + 1);
        check_block(mi_good_size(bytes));
        check_block(mi_good_size(bytes) + 1);
    }
    check_block(MAX_BYTES);
}

int main(int argc, char **argv)
{
    if (!TEST_IS_EXACT) return 77; // with padding the usable size is the requested one
    return test_run_all(argc, argv);
}
