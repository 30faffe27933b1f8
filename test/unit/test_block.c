#include "unit_test.h"
#include "page/block.h"

TEST(block_link_comes_back_as_it_was)
{
    uint64_t random = test_seed();
    for (int i = 0; i < 100000; i++) {
        struct block block;
        struct link_key key = {(uintptr_t)test_random(&random), (uintptr_t)test_random(&random)};
        struct block *next = (struct block *)(uintptr_t)(test_random(&random) & ~(uint64_t)15);
        block_set_next(&block, next, &key);
        EXPECT(block_next(&block, &key) == next);
        block_set_next(&block, NULL, &key);
        EXPECT(block_next(&block, &key) == NULL);
    }
}

TEST(block_link_is_plain_in_normal_builds_and_encoded_in_secure_ones_NULL_too)
{
    struct block block, other;
    struct link_key key = {0x0123456789abcdef, 0xfedcba9876543210};
    block_set_next(&block, NULL, &key);
    uintptr_t end = block.link;
    block_set_next(&block, &other, &key);
    EXPECT_EQ(block.link == (uintptr_t)&other, !CFG_SECURE);
    EXPECT_EQ(end == 0, !CFG_SECURE);
}

TEST(block_link_of_one_block_says_nothing_in_another)
{
    struct block first, second, target;
    struct link_key key = {0x0123456789abcdef, 0xfedcba9876543210},
                    other_key = {0x0123456789abcdef, 1};
    if (!CFG_SECURE) return;
    block_set_next(&first, &target, &key);
    block_set_next(&second, &target, &key);
    EXPECT(first.link != second.link);
    second.link = first.link; // copied by an attacker
    EXPECT(block_next(&second, &key) != &target);
    EXPECT(block_next(&first, &other_key) != &target);
}
