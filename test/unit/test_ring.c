#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/ring.h"
#include "mimalloc.h"

enum { MAX_BLOCKS = 4096 };
static struct block *blocks[MAX_BLOCKS];
static char stranger[64]; // owner of the pages whose blocks are freed here

static struct local_heap *start(void)
{
    start_quietly();
    return thread_ready(thread_heap())->main;
}

static struct page *others_page(size_t size_class, unsigned *count)
{
    struct page *page = new_page(size_class, bits_align_up((uintptr_t)stranger, 8));
    *count = take_every_block(page, blocks);
    return page;
}

static void one_chain(void)
{
    unsigned count;
    struct local_heap *main = start();
    struct page *page = others_page(4, &count);
    for (unsigned i = 0; i < 50; i++) ring_put(&main->ring, page, blocks[i]);
    EXPECT_EQ(ring_count(&main->ring, page), 50);
    EXPECT(ring_has(&main->ring, page) && remote_waiting(page) == 0);
    EXPECT_EQ(main->ring.bytes, 50 * page->block_bytes);
    ring_flush(&main->ring);
    EXPECT_EQ(remote_waiting(page), 50);
    EXPECT_EQ(main->ring.chains, 1); // one compare-and-swap for all
    EXPECT_EQ(main->ring.chain_blocks, 50);
    EXPECT(!ring_has(&main->ring, page) && main->ring.bytes == 0);
    struct remote_list taken = remote_take(page);
    EXPECT_EQ(page_list_count(page, taken.first), 50);
}

TEST(ring_collects_blocks_of_a_page_into_one_chain) { IN_CHILD(one_chain()); }

static void bounded(void)
{
    unsigned count;
    struct local_heap *main = start();
    for (size_t size_class = 1; size_class <= class_of(RING_BLOCK_BYTES); size_class++) {
        struct page *page = others_page(size_class, &count);
        for (unsigned i = 0; i < count; i++) {
            ring_put(&main->ring, page, blocks[i]);
            EXPECT(main->ring.bytes <= RING_MAX_BYTES);
            EXPECT_TEXT(local_heap_broken_rule(main), NULL);
        }
        ring_flush(&main->ring);
        EXPECT_EQ(remote_waiting(page), count);
    }
}

TEST(ring_H4_holds_a_bounded_number_of_bytes) { IN_CHILD(bounded()); }

static void not_for(size_t size_class, unsigned flags)
{
    unsigned count;
    struct local_heap *main = start();
    struct page *page = others_page(size_class, &count);
    page->flags = (uint8_t)(page->flags | flags);
    ring_put(&main->ring, page, blocks[0]);
    EXPECT(!ring_has(&main->ring, page) && main->ring.bytes == 0);
    EXPECT_EQ(remote_waiting(page), 1);
}

TEST(ring_H4_takes_no_block_of_a_pinned_page_and_no_large_one)
{
    IN_CHILD(not_for(4, PAGE_PINNED));
    IN_CHILD(not_for(class_of(RING_BLOCK_BYTES) + 1, 0));
}

static void same_slot(void)
{
    enum { PAGES = 3 * RING_SLOTS, EACH = 2 };
    static struct block *kept[PAGES][EACH];
    struct page *pages[PAGES];
    unsigned count;
    struct local_heap *main = start();
    for (unsigned i = 0; i < PAGES; i++) {
        pages[i] = others_page(2, &count);
        for (unsigned k = 0; k < EACH; k++) kept[i][k] = blocks[k];
    }
    for (unsigned k = 0; k < EACH; k++) {
        for (unsigned i = 0; i < PAGES; i++)
            ring_put(&main->ring, pages[i], kept[i][k]); // more pages than slots
    }
    size_t held = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        EXPECT_EQ(ring_count(&main->ring, pages[i]) + remote_waiting(pages[i]), EACH);
        held += ring_count(&main->ring, pages[i]);
    }
    EXPECT(held <= (size_t)RING_SLOTS * EACH);
    ring_flush(&main->ring);
    for (unsigned i = 0; i < PAGES; i++) EXPECT_EQ(remote_waiting(pages[i]), EACH);
}

TEST(ring_pages_that_share_a_slot_flush_one_another) { IN_CHILD(same_slot()); }

static void flush_releases(void)
{
    unsigned count;
    struct local_heap *main = start();
    struct page *page = others_page(2, &count);
    EXPECT(park_full(page));
    for (unsigned i = 0; i < count; i++) ring_put(&main->ring, page, blocks[i]);
    ring_flush(&main->ring);
    EXPECT_EQ(used_slices(), 0); // the last block out releases a parked page
    ring_flush(&main->ring);
}

TEST(ring_flush_releases_a_parked_page_with_its_last_block) { IN_CHILD(flush_releases()); }

// Another block counted in place of those in the ring, so that their page is gone.
static void page_is_gone(bool is_made_anew)
{
    struct fault_count faults = {EAGAIN, 0};
    unsigned count;
    struct local_heap *main = start();
    hooks_set_error(count_fault, &faults);
    struct page *page = others_page(4, &count);
    for (unsigned i = 0; i < 3; i++) ring_put(&main->ring, page, blocks[i]);
    page->out = 0;
    page_release(page);
    if (is_made_anew) EXPECT(new_page(4, bits_align_up((uintptr_t)stranger, 8)) == page);
    ring_flush(&main->ring);
    report_if_left();
    EXPECT(faults.count == 1 && main->ring.bytes == 0 && !ring_has(&main->ring, page));
    EXPECT_EQ(remote_waiting(page), 0);
}

TEST(ring_flush_leaves_a_page_alone_that_is_gone)
{
    if (!CFG_STATES) return;
    IN_CHILD(page_is_gone(false));
    IN_CHILD(page_is_gone(true));
}

// --- H4, broken on purpose -----------------------------------------------------------------------

// Three blocks of a page in the ring.
static struct ring_slot *filled_slot(void)
{
    unsigned count;
    struct local_heap *main = start();
    struct page *page = others_page(4, &count);
    for (unsigned i = 0; i < 3; i++) ring_put(&main->ring, page, blocks[i]);
    EXPECT_TEXT(local_heap_broken_rule(main), NULL);
    return ring_slot_of(&main->ring, page);
}

static void expect_broken(const char *text)
{
    EXPECT_TEXT(local_heap_broken_rule(thread_heap()->main), text);
}

static void too_much(void)
{
    struct ring_slot *slot = filled_slot();
    thread_heap()->main->ring.bytes = RING_MAX_BYTES + 1;
    expect_broken("H4: the ring holds too much");
    thread_heap()->main->ring.bytes = RING_MAX_BYTES;
    expect_broken("H4: the ring does not hold what it counts");
    slot->count = UINT32_MAX;
    expect_broken("H4: the ring holds too much");
}

static void of_pinned_page(unsigned flag)
{
    struct page *page = filled_slot()->page;
    page->flags = (uint8_t)(page->flags | flag);
    expect_broken("H4: the ring holds what is not for it");
}

static void of_own_page(void)
{
    struct page *page = filled_slot()->page;
    page_set_owner(page, (uintptr_t)thread_heap()->main);
    expect_broken("H4: the ring holds blocks of the heap's own pages");
}

static void of_no_page(void)
{
    struct ring_slot *slot = filled_slot();
    slot->page++; // a free slice
    expect_broken("H4: the ring names no page");
    slot->page = (struct page *)(uintptr_t)0x80;
    expect_broken("H4: the ring names no page");
}

static void torn_chain(struct block *next)
{
    struct ring_slot *slot = filled_slot();
    block_set_next(slot->first, next, &slot->page->key);
    expect_broken("H4: a chain in the ring is torn");
}

static void wrong_last(void)
{
    struct ring_slot *slot = filled_slot();
    slot->last = slot->first;
    expect_broken("H4: a chain in the ring is torn");
}

TEST(ring_H4_notices_bytes_beyond_the_bound_and_a_wrong_count) { IN_CHILD(too_much()); }
TEST(ring_H4_notices_blocks_of_a_pinned_page_or_a_large_one)
{
    IN_CHILD(of_pinned_page(PAGE_PINNED));
    IN_CHILD(of_pinned_page(PAGE_LARGE));
}
TEST(ring_H4_notices_blocks_of_the_heaps_own_page) { IN_CHILD(of_own_page()); }
TEST(ring_H4_notices_a_slot_without_a_page) { IN_CHILD(of_no_page()); }
TEST(ring_H4_notices_a_chain_that_ends_early_or_loops_or_leads_away)
{
    IN_CHILD(torn_chain(NULL));
    IN_CHILD(torn_chain(blocks[2])); // in the child: the first of the chain
    IN_CHILD(torn_chain((struct block *)(uintptr_t)0x10));
    IN_CHILD(wrong_last());
}
