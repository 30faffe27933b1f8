#include "unit_test.h"
#include "page/size_class.h"

static const size_t os_pages[] = {4096, 16384, 65536};

TEST(size_class_of_every_size_is_the_smallest_that_holds_it)
{
    size_t last = 0;
    EXPECT_EQ(class_of(0), 0);
    EXPECT_EQ(class_block_bytes(0), CLASS_STEP_BYTES);
    for (size_t bytes = 1; bytes <= CLASS_MAX_BYTES; bytes++) {
        size_t size_class = class_of(bytes);
        if (size_class != last)
            EXPECT_EQ(size_class, last + 1); // one after the other: none is left out
        if (size_class != last) EXPECT(size_class == 1 || class_block_bytes(last) == bytes - 1);
        last = size_class;
    }
    EXPECT_EQ(last, CLASS_COUNT - 1);
    EXPECT_EQ(class_block_bytes(CLASS_COUNT - 1), CLASS_MAX_BYTES);
}

TEST(size_class_wastes_at_most_an_eighth_of_any_request_beyond_rounding_to_16)
{
    unsigned failures = 0;
    for (size_t bytes = 1; bytes <= CLASS_MAX_BYTES; bytes++) {
        size_t rounded = bits_align_up(bytes, CLASS_STEP_BYTES),
               block_bytes = class_block_bytes(class_of(bytes));
        failures += block_bytes < bytes || block_bytes % CLASS_STEP_BYTES != 0;
        failures += (block_bytes - rounded) * 8 > bytes;
    }
    EXPECT_EQ(failures, 0);
}

TEST(size_class_C1_sizes_that_are_multiples_of_an_alignment_have_such_blocks)
{
    unsigned failures = 0;
    for (size_t alignment = 16; alignment <= SLICE_BYTES; alignment *= 2) {
        for (size_t bytes = alignment; bytes <= CLASS_MAX_BYTES; bytes += alignment) {
            failures += class_block_bytes(class_of(bytes)) % alignment != 0;
        }
    }
    EXPECT_EQ(failures, 0);
}

static void expect_tail(size_t size_class, size_t lost_bytes)
{
    size_t block_bytes = class_block_bytes(size_class),
           page_bytes = (size_t)class_page_slices(size_class, lost_bytes) << SLICE_SHIFT;
    size_t count = (page_bytes - lost_bytes) / block_bytes;
    EXPECT((page_bytes - lost_bytes) % block_bytes <= page_bytes / 16);
    EXPECT(count >= 2 || block_bytes + lost_bytes == page_bytes);
    EXPECT(count <= 4096);                 // what a remote word can count
    EXPECT(block_bytes % (1u << GRANULE_SHIFT) == 0); // what free_take_of relies on
    EXPECT(page_bytes / SLICE_BYTES <= UINT16_MAX);
}

TEST(size_class_C2_a_page_has_a_tail_of_a_sixteenth_at_most_and_enough_blocks)
{
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        expect_tail(size_class, 0);
        for (size_t i = 0; i < sizeof os_pages / sizeof os_pages[0]; i++)
            expect_tail(size_class, os_pages[i]);
    }
}

static void expect_short(size_t size_class, size_t lost_bytes)
{
    size_t least = class_least_slices(size_class, lost_bytes),
           needed_bytes = class_block_bytes(size_class) + lost_bytes;
    EXPECT(needed_bytes <= least << SLICE_SHIFT && needed_bytes > (least - 1) << SLICE_SHIFT);
    EXPECT(least <= class_page_slices(size_class, lost_bytes));
    EXPECT(class_has_long_pages(class_block_bytes(size_class)) || lost_bytes > 4096 ||
           class_page_slices(size_class, lost_bytes) == 1);
}

TEST(size_class_C2_a_short_page_has_the_fewest_slices_that_hold_a_block)
{
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        expect_short(size_class, 0);
        for (size_t i = 0; i < sizeof os_pages / sizeof os_pages[0]; i++)
            expect_short(size_class, os_pages[i]);
    }
}

TEST(size_class_C2_a_guard_costs_a_page_of_small_blocks_a_sixteenth_at_most)
{
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        size_t page_bytes = (size_t)class_page_slices(size_class, 4096) << SLICE_SHIFT;
        size_t tail = (page_bytes - 4096) % class_block_bytes(size_class);
        EXPECT(tail + 4096 <= page_bytes / 16 + 4096);
        EXPECT(page_bytes <= (size_t)20 << SLICE_SHIFT);
    }
}

TEST(size_class_is_shared_above_what_a_thread_owns)
{
    EXPECT_EQ(class_of(CFG_OWNED_BYTES), CLASS_SHARED_FIRST - 1);
    EXPECT_EQ(class_of(CFG_OWNED_BYTES + 1), CLASS_SHARED_FIRST);
    EXPECT(CLASS_BINNED_FIRST >= CLASS_SHARED_FIRST);
    EXPECT(CLASS_BINNED_FIRST > class_of(CLASS_LINEAR_BYTES));
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++)
        EXPECT_EQ(class_is_shared(size_class), class_block_bytes(size_class) > CFG_OWNED_BYTES);
}
