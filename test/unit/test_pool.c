#include "unit_test.h"
#include "region/pool.h"

enum { ITEM_BYTES = 192, ITEMS = 300 };
static struct pool pool; // zeroed, as any pool; start() says how long its items are

static void start(void)
{
    fake_prim_reset();
    os_init();
    pool.item_bytes = ITEM_BYTES;
}

static void take_many(void)
{
    unsigned char *items[ITEMS];
    bool is_new;
    start();
    for (unsigned i = 0; i < ITEMS; i++) {
        items[i] = (unsigned char *)pool_take(&pool, &is_new);
        EXPECT(items[i] != NULL && is_new && is_zero(items[i], ITEM_BYTES));
        EXPECT(bits_is_aligned(items[i], 64));
        memset(items[i], (int)(i % 255 + 1), ITEM_BYTES); // one that overlaps is found below
        EXPECT_EQ(pool_used(&pool), i + 1);
        EXPECT(pool_at(&pool, i) == (void *)items[i]);
    }
    for (unsigned i = 0; i < ITEMS; i++) {
        EXPECT(items[i][0] == i % 255 + 1 && items[i][ITEM_BYTES - 1] == i % 255 + 1);
    }
    EXPECT_EQ(level_now(STAT_metadata), ITEMS * ITEM_BYTES);
}

TEST(pool_gives_zeroed_items_apart_from_each_other_in_order_of_their_numbers)
{
    IN_CHILD(take_many());
}

static void put_and_take(void)
{
    void *items[ITEMS];
    bool is_new;
    start();
    for (unsigned i = 0; i < ITEMS; i++) items[i] = pool_take(&pool, &is_new);
    memset(items[7], 9, ITEM_BYTES);
    for (unsigned i = 0; i < ITEMS; i++) pool_put(&pool, items[i]);
    unsigned again = 0;
    for (unsigned i = 0; i < ITEMS; i++) {
        unsigned char *item = (unsigned char *)pool_take(&pool, &is_new);
        EXPECT(!is_new);
        if (item == items[7])
            again += item[0] == 9 && item[ITEM_BYTES - 1] == 9; // keeps what it holds
    }
    EXPECT_EQ(again, 1);
    EXPECT_EQ(pool_used(&pool), ITEMS);
    EXPECT(pool_take(&pool, &is_new) != NULL && is_new);
}

TEST(pool_gives_items_that_came_back_before_new_ones) { IN_CHILD(put_and_take()); }

static void owns(void)
{
    bool is_new;
    start();
    EXPECT(!pool_owns(&pool, &pool));
    char *item = (char *)pool_take(&pool, &is_new);
    EXPECT(pool_owns(&pool, item));
    EXPECT(!pool_owns(&pool, item + 1) && !pool_owns(&pool, item - 1) && !pool_owns(&pool, NULL));
    EXPECT(!pool_owns(&pool, item + ITEM_BYTES)); // the next one was never handed out
    EXPECT(pool_at(&pool, 1000) == NULL);
}

TEST(pool_owns_the_starts_of_its_items_only) { IN_CHILD(owns()); }

static void fails(enum fake_prim_call call)
{
    bool is_new;
    start();
    size_t before = fake_prim_mapped_bytes();
    fake_prim_fail_from(call, 1, ENOMEM);
    EXPECT(pool_take(&pool, &is_new) == NULL);
    EXPECT_EQ(pool_used(&pool), 0);
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
    fake_prim_fail_from(call, 0, 0);
    EXPECT(pool_take(&pool, &is_new) != NULL && is_new);
}

TEST(pool_without_memory_gives_NULL_and_recovers) { IN_CHILD(fails(FAKE_PRIM_map)); }
TEST(pool_that_cannot_open_its_block_gives_NULL_and_recovers) { IN_CHILD(fails(FAKE_PRIM_access)); }

static void overrun(void)
{
    bool is_new;
    start();
    volatile char *item = (volatile char *)pool_take(&pool, &is_new);
    fprintf(stderr, "so far so good");
    size_t bytes =
        bits_align_up(POOL_FIRST_ITEMS * (ITEM_BYTES + sizeof(uint32_t)), os_page_bytes());
    item[bytes] = 1;
}

TEST(pool_block_ends_in_an_inaccessible_page) { EXPECT_DEATH(overrun(), "so far so good"); }

// L1: two takers between a third one's look at the list and its change of it: the tag has moved on.
static void tag_moves(void)
{
    bool is_new;
    start();
    void *item = pool_take(&pool, &is_new);
    pool_put(&pool, item);
    uint64_t before = atomic_load_explicit(&pool.head, memory_order_relaxed);
    EXPECT(pool_take(&pool, &is_new) == item);
    pool_put(&pool, item);
    uint64_t after = atomic_load_explicit(&pool.head, memory_order_relaxed);
    EXPECT_EQ((uint32_t)before, (uint32_t)after);
    EXPECT(before != after);
}

TEST(pool_L1_the_head_differs_after_each_take) { IN_CHILD(tag_moves()); }

// The links of the first block, behind its items.
static ATOMIC(uint32_t) *links_of_pool(void)
{
    char *block = atomic_load_explicit(&pool.block[0], memory_order_acquire);
    return (ATOMIC(uint32_t) *)(void *)(block + POOL_FIRST_ITEMS * ITEM_BYTES);
}

// Five items; 0, 1 and 2 are free.
static void start_with_free_items(void)
{
    void *items[5];
    bool is_new;
    start();
    for (unsigned i = 0; i < 5; i++) items[i] = pool_take(&pool, &is_new);
    for (unsigned i = 0; i < 3; i++) pool_put(&pool, items[i]);
    EXPECT_TEXT(pool_broken_rule(&pool, 2), NULL);
}

static void list_loops(void)
{
    start_with_free_items();
    atomic_store_explicit(&links_of_pool()[0], 3, memory_order_relaxed);
    EXPECT_TEXT(pool_broken_rule(&pool, 2), "L1: the list loops");
}

static void list_leads_away(void)
{
    start_with_free_items();
    atomic_store_explicit(&links_of_pool()[1], 6, memory_order_relaxed); // never handed out
    EXPECT_TEXT(pool_broken_rule(&pool, 2), "L1: the list leads to what is no item");
    atomic_store_explicit(&links_of_pool()[1], UINT32_MAX, memory_order_relaxed);
    EXPECT_TEXT(pool_broken_rule(&pool, 2), "L1: the list leads to what is no item");
}

static void item_lost(void)
{
    start_with_free_items();
    atomic_store_explicit(&links_of_pool()[2], 1, memory_order_relaxed); // item 1 is left out
    EXPECT_TEXT(pool_broken_rule(&pool, 2), "L1: items are lost, or free and taken");
}

TEST(pool_L1_notices_a_list_that_loops) { IN_CHILD(list_loops()); }
TEST(pool_L1_notices_a_list_that_leads_to_no_item) { IN_CHILD(list_leads_away()); }
TEST(pool_L1_notices_a_lost_item) { IN_CHILD(item_lost()); }

enum { HAMMER_THREADS = 4, HAMMER_ROUNDS = 20000 };

static void *hammer(void *number)
{
    uint64_t random = (uint64_t)(uintptr_t)number + 1;
    void *mine[16];
    unsigned have = 0;
    for (unsigned i = 0; i < HAMMER_ROUNDS; i++) {
        if (have == 16 || (have > 0 && test_random(&random) % 2 == 0)) {
            void *item = mine[--have];
            EXPECT(memcmp(item, &item, sizeof item) == 0);
            memset(item, 0, sizeof(void *));
            pool_put(&pool, item);
        } else {
            bool is_new;
            void *item = pool_take(&pool, &is_new);
            EXPECT(item != NULL && is_zero(item, sizeof item)); // nobody else has it
            memcpy(item, &item, sizeof item);
            mine[have++] = item;
        }
    }
    while (have > 0) {
        memset(mine[--have], 0, sizeof(void *));
        pool_put(&pool, mine[have]);
    }
    return NULL;
}

static void hammer_all(void)
{
    start();
    run_threads(HAMMER_THREADS, hammer);
    EXPECT(pool_used(&pool) <= HAMMER_THREADS * 16);
    EXPECT_TEXT(pool_broken_rule(&pool, 0), NULL);
    bool is_new = false;
    unsigned count = 0;
    while (pool_take(&pool, &is_new) != NULL && !is_new) count++;
    EXPECT_EQ(count + 1, pool_used(&pool)); // every item was on the list, once
}

TEST(pool_gives_each_item_to_one_of_many_threads) { IN_CHILD(hammer_all()); }
