#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"

enum { CLASS = 64, MAX_BLOCKS = 4096 };
static struct block *blocks[MAX_BLOCKS];

static struct page *full_page(unsigned *count)
{
    start_quietly();
    struct page *page = new_page(CLASS, 0);
    *count = take_every_block(page, blocks);
    return page;
}

static void order(void)
{
    unsigned count;
    bool is_clean = true;
    struct page *page = full_page(&count);
    EXPECT(!refill_page(page, NULL, 0, &is_clean)); // every block is out
    EXPECT(!put_own(page, blocks[0]));
    EXPECT_EQ(remote_push(page, blocks[1], blocks[1], 1), REMOTE_DONE);
    EXPECT(refill_page(page, NULL, 0, &is_clean) && !is_clean);
    EXPECT(page->free == blocks[0] && page->free_count == 1); // the owner's first
    EXPECT_EQ(remote_waiting(page), 1);
    (void)page_take_all(page);
    EXPECT(refill_page(page, NULL, 0, &is_clean) && page->free == blocks[1]);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(refill_takes_the_owners_frees_first_and_then_those_of_others) { IN_CHILD(order()); }

static void no_change(void)
{
    bool is_clean;
    start_quietly();
    struct page *page = new_page(CLASS, 0);
    EXPECT(refill_page(page, NULL, 0, &is_clean));
    unsigned cut = page->capacity;
    EXPECT(refill_page(page, NULL, 0, &is_clean) && page->capacity == cut &&
           !is_clean); // there was something
}

TEST(refill_changes_nothing_while_free_is_not_empty) { IN_CHILD(no_change()); }

static void dirty_page(void)
{
    bool is_clean;
    unsigned count;
    struct page *page = full_page(&count);
    memset(page->start, 1, SLICE_BYTES);
    page->out = 0;
    page_release(page);
    page = new_page(CLASS, 0);
    EXPECT((page->flags & PAGE_ZERO) == 0);
    EXPECT(refill_page(page, NULL, 0, &is_clean) && !is_clean);
}

TEST(refill_of_a_dirty_page_does_not_claim_zeroes) { IN_CHILD(dirty_page()); }

static void claim(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    EXPECT(!refill_claim(page));
    EXPECT(remote_try_park(page));
    for (unsigned i = 0; i < 3; i++)
        EXPECT(remote_push(page, blocks[i], blocks[i], 1) != REMOTE_LAST);
    EXPECT(refill_claim(page));
    EXPECT_EQ(page->out, count - 3);
    EXPECT_EQ(page->free_count, 3);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(refill_claim_makes_the_counts_of_a_parked_page_exact) { IN_CHILD(claim()); }

// A parked page with some blocks on each of its lists, and `by_others` that came back since.
static struct page *parked_with_lists(unsigned by_others, unsigned *count)
{
    bool is_zero;
    start_quietly();
    struct page *page = new_page(class_of(64), 0);
    *count = take_every_block(page, blocks);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(!put_own(page, blocks[i]));
        if (i == 1) EXPECT(refill_page(page, NULL, 0, &is_zero));
    }
    EXPECT(page->free_count == 2 && page->local_free == blocks[2]);
    EXPECT(remote_try_park(page));
    for (unsigned i = 3; i < 3 + by_others; i++)
        EXPECT(remote_push(page, blocks[i], blocks[i], 1) != REMOTE_LAST);
    return page;
}

static void expect_rules(const struct page *page)
{
    EXPECT_TEXT(page_broken_rule(page), NULL);
    EXPECT_TEXT(remote_broken_rule(page), NULL);
}

static void adopt_long(void)
{
    enum { LONG = CFG_SHORT_LIST + 1 };
    unsigned count;
    bool is_zero;
    struct page *page = parked_with_lists(LONG, &count);
    EXPECT(refill_adopt(page) && !refill_adopt(page));
    EXPECT(page->free_count == 2 && page->local_free == blocks[2]);
    EXPECT(page->out == count - 3 && remote_waiting(page) == LONG);
    expect_rules(page);
    EXPECT_EQ(remote_push(page, blocks[3 + LONG], blocks[3 + LONG], 1), REMOTE_DONE);
    expect_rules(page);
    (void)page_take_all(page);
    EXPECT(refill_page(page, NULL, 0, &is_zero) && page_take_all(page) == blocks[2]);
    EXPECT(refill_page(page, NULL, 0, &is_zero)); // none is lost
    EXPECT_EQ(page->free_count, LONG + 1);
    expect_rules(page);
}

TEST(refill_adopt_leaves_a_long_list_where_it_is) { IN_CHILD(adopt_long()); }

static void adopt_short(void)
{
    unsigned count;
    struct page *page = parked_with_lists(CFG_SHORT_LIST, &count);
    EXPECT(refill_adopt(page));
    EXPECT(page->free_count == 2 + CFG_SHORT_LIST && remote_waiting(page) == 0);
    EXPECT_EQ(page->out, count - 3 - CFG_SHORT_LIST);
    expect_rules(page);
}

TEST(refill_adopt_takes_a_short_one) { IN_CHILD(adopt_short()); }

// A block's link is overwritten while it waits on the remote list, which is joined with another.
static struct page *corrupt_link(void)
{
    unsigned count;
    bool is_zero;
    struct page *page = full_page(&count);
    EXPECT(!put_own(page, blocks[3]));
    EXPECT(refill_page(page, NULL, 0, &is_zero) && page->free == blocks[3]);
    for (unsigned i = 0; i < 3; i++)
        EXPECT_EQ(remote_push(page, blocks[i], blocks[i], 1), REMOTE_DONE);
    blocks[1]->link = 0x4141414141414141;
    refill_from_remote(page);
    return page;
}

static void corrupt_and_go_on(void)
{
    struct fault_count faults = {EFAULT, 0};
    hooks_set_error(count_fault, &faults);
    struct page *page = corrupt_link();
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT_EQ(page->free_count, 3); // what can be trusted, and an end to the list
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(refill_notices_a_corrupt_link_where_there_are_block_states)
{
    if (!CFG_STATES) return;
    EXPECT_DEATH((void)corrupt_link(), "corrupted free list");
    IN_CHILD(corrupt_and_go_on());
}
