#include "unit_test.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "heap/walk.h"
#include "mimalloc.h"
#include "page/depot.h"

enum { COUNT = 3000 };
static void *blocks[COUNT];

static void allocate(void)
{
    start_quietly();
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_malloc(16 + i % 40 * 100);
}

static size_t expected_bytes(unsigned from)
{
    size_t bytes = 0;
    for (unsigned i = from; i < COUNT; i++) bytes += page_of(blocks[i])->block_bytes;
    return bytes;
}

static void count_all(void)
{
    struct walk_totals totals;
    allocate();
    void *large = mi_malloc(3 << 20);
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, COUNT + 1);
    EXPECT_EQ(totals.bytes, expected_bytes(0) + page_of(large)->block_bytes);
    EXPECT(totals.large_blocks == 1 && totals.large_bytes == page_of(large)->block_bytes);
    EXPECT_EQ(totals.pages, level_now(STAT_pages));
    for (unsigned i = 0; i < COUNT / 2; i++) mi_free(blocks[i]);
    mi_free(large);
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, COUNT - COUNT / 2);
    EXPECT_EQ(totals.bytes, expected_bytes(COUNT / 2));
    size_t by_class = 0;
    for (unsigned i = 0; i < CLASS_COUNT; i++) by_class += totals.class_blocks[i];
    EXPECT_EQ(by_class, totals.blocks);
    for (unsigned i = COUNT / 2; i < COUNT; i++) mi_free(blocks[i]);
    walk_count(&totals);
    EXPECT(totals.blocks == 0 && totals.bytes == 0);
}

TEST(walk_count_is_exact_for_one_thread) { IN_CHILD(count_all()); }

static void *free_half(void *unused)
{
    struct walk_totals totals;
    (void)unused;
    for (unsigned i = 0; i < COUNT; i += 2) mi_free(blocks[i]);
    walk_count(&totals); // some of them lie in this thread's ring, others in its cache
    EXPECT_EQ(totals.blocks, COUNT / 2);
    return NULL;
}

static void count_remote(void)
{
    struct walk_totals totals;
    allocate();
    run_thread(free_half, NULL);
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, COUNT / 2);
    for (unsigned i = 1; i < COUNT; i += 2) mi_free(blocks[i]);
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, 0);
}

static void count_depot(void)
{
    struct walk_totals totals;
    allocate();
    size_t size_class = page_of(blocks[39])->size_class, freed = 0;
    stats_add(STAT_threads, 1); // whom the depot is for
    EXPECT(depot_take(size_class).first == NULL); // so there is room for a chain
    for (unsigned i = 39; i < COUNT / 10; i += 40, freed++) mi_free(blocks[i]);
    struct local_heap *main = thread_heap()->main;
    cache_flush(&main->cache, main->list, false);
    EXPECT(freed > 0 && depot_count(size_class) >= freed);
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, COUNT - freed);
}

TEST(walk_count_knows_blocks_in_rings_caches_and_the_depot_and_on_remote_lists)
{
    IN_CHILD(count_remote());
    IN_CHILD(count_depot());
}

// A block whose beginning lies where a guard can be once its page has ended.
static bool may_be_guarded(const void *block)
{
    const struct page *page = page_of(block);
    size_t offset = (size_t)((const char *)block - page->start);
    return offset % SLICE_BYTES >= SLICE_BYTES - os_page_bytes() &&
           offset / SLICE_BYTES + 1 < page->slices;
}

enum { GUARDABLE_BYTES = 5632 - BLOCK_PADDING_BYTES }; // of 22 number 11 may be

// blocks[0 .. i]: the last one may be guarded, and the one before is of its page.
static unsigned allocate_guardable(struct mi_heap_s *heap)
{
    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = mi_heap_malloc(heap, GUARDABLE_BYTES);
        if (!may_be_guarded(blocks[i])) continue;
        EXPECT(page_of(blocks[i - 1]) == page_of(blocks[i]));
        return i;
    }
    abort();
}

static void *expect_count(void *expected)
{
    struct walk_totals totals;
    walk_count(&totals);
    EXPECT_EQ(totals.blocks, *(const size_t *)expected);
    return NULL;
}

// Another thread counts, when the list has led it to a block that has a guard by now.
static void count_across_guard(void *block, size_t expected)
{
    char *start = (char *)block - (uintptr_t)block % os_page_bytes();
    enum os_guard_kind guard = os_guard(start, os_page_bytes());
    EXPECT(guard != OS_GUARD_NONE);
    run_thread(expect_count, &expected);
    EXPECT(os_unguard(start, os_page_bytes(), guard));
}

static void guarded_in_bin(void)
{
    start_quietly();
    if (os_page_bytes() != 4096) return;
    unsigned last = allocate_guardable(mi_heap_get_backing());
    mi_free(blocks[last]);
    size_t size_class = page_of(blocks[last])->size_class;
    EXPECT(local_heap_first(thread_heap()->main, size_class) == blocks[last]);
    count_across_guard(blocks[last], last);
}

// Of a heap that can be destroyed: the last block is all that is on the list.
static void guarded_on_list(void)
{
    start_quietly();
    if (os_page_bytes() != 4096) return;
    struct mi_heap_s *heap = mi_heap_new();
    unsigned last = allocate_guardable(heap);
    size_t size_class = page_of(blocks[last])->size_class, used = last;
    struct block **list = local_heap_list(heap->local, size_class);
    for (; *list != NULL; used++) (void)mi_heap_malloc(heap, GUARDABLE_BYTES);
    mi_free(blocks[last]);
    mi_free(blocks[last - 1]);
    EXPECT(mi_heap_malloc(heap, GUARDABLE_BYTES) == blocks[last - 1]);
    EXPECT(*list == blocks[last]);
    (void)expect_count(&used);
    count_across_guard(blocks[last], used);
}

TEST(walk_count_reads_nothing_where_a_guard_may_be)
{
    if (CFG_SECURE) IN_CHILD(guarded_in_bin());
    if (CFG_SECURE) IN_CHILD(guarded_on_list());
}

struct seen {
    size_t pages, blocks, stop_after;
};

static bool see_block(void *block, void *arg)
{
    struct seen *seen = (struct seen *)arg;
    EXPECT(page_of(block) != NULL && page_has_block_at(page_of(block), block));
    seen->blocks++;
    return seen->blocks != seen->stop_after;
}

static bool see_page(struct page *page, const struct local_heap *part, void *arg)
{
    struct seen *seen = (struct seen *)arg;
    seen->pages++;
    bool is_claimed = page_is_shared(page);
    return (!is_claimed && !walk_is_readable(page, part)) || walk_blocks(page, see_block, seen);
}

static void heap_pages(void)
{
    struct seen seen = {0, 0, 0};
    start_quietly();
    (void)mi_malloc(10);
    struct mi_heap_s *heap = heap_new(thread_heap()->main);
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_heap_malloc(heap, 16 + i % 40 * 100);
    for (unsigned i = 0; i < COUNT; i += 3) mi_free(blocks[i]);
    EXPECT(walk_heap_pages(heap, thread_heap()->main, see_page, &seen));
    EXPECT_EQ(seen.blocks, COUNT - COUNT / 3);
    seen = (struct seen){0, 0, 5};
    EXPECT(!walk_heap_pages(heap, thread_heap()->main, see_page, &seen) && seen.blocks == 5);
    for (unsigned i = 0; i < COUNT; i++) EXPECT(i % 3 == 0 || walk_is_of(page_of(blocks[i]), heap));
    heap_destroy(heap, thread_heap()->main);
}

TEST(walk_heap_pages_shows_exactly_the_live_blocks_and_stops_on_request) { IN_CHILD(heap_pages()); }

// What is parked and full cannot be read: all of it is live.
static bool see_page_or_all(struct page *page, const struct local_heap *part, void *arg)
{
    if (page_is_shared(page) || walk_is_readable(page, part)) return see_page(page, part, arg);
    ((struct seen *)arg)->blocks += page->capacity;
    return true;
}

// Some, or all, of a page's blocks were freed; what is on its way in the ring is not live either.
static void own_page_in_ring(bool is_all)
{
    enum { BYTES = 240, IN_RING = 20 };
    struct seen seen = {0, 0, 0};
    start_quietly();
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_malloc(BYTES);
    struct local_heap *main = thread_heap()->main;
    struct page *page = page_of(blocks[0]);
    unsigned freed = is_all ? page->capacity : IN_RING;
    stats_add(STAT_threads, 1); // else it would claim the page back
    main->claims = LOCAL_HEAP_CLAIMS;
    for (unsigned i = 0; i < freed - IN_RING; i++) mi_free(blocks[i]);
    ring_flush(&main->ring);
    for (unsigned i = freed - IN_RING; i < freed; i++) mi_free(blocks[i]);
    EXPECT(ring_count(&main->ring, page) == IN_RING && remote_is_parked(page));
    EXPECT(walk_heap_pages(&main->backing, main, see_page_or_all, &seen));
    EXPECT_EQ(seen.blocks, COUNT - freed);
    EXPECT(!ring_has(&main->ring, page) && (page_of(blocks[0]) == NULL) == is_all);
    EXPECT_TEXT(local_heap_broken_rule(main), NULL);
}

TEST(walk_heap_pages_shows_no_block_that_waits_in_the_ring)
{
    IN_CHILD(own_page_in_ring(false));
    IN_CHILD(own_page_in_ring(true));
}

static bool see_shared_page(struct page *page, void *arg)
{
    EXPECT(!page_is_shared(page) || remote_is_parked(page));
    *(size_t *)arg += page_is_shared(page);
    return true;
}

// All of them as they were: nobody has claimed them.
static void expect_shared_pages_parked(void)
{
    size_t count = 0;
    EXPECT(walk_all_pages(see_shared_page, &count));
    EXPECT(count > 0);
}

static void *free_some_and_end(void *unused)
{
    for (unsigned i = 0; i < COUNT; i += 3) mi_free(blocks[i]);
    return unused;
}

static void shared_pages(void)
{
    struct seen seen = {0, 0, 0};
    allocate();
    struct mi_heap_s *heap = &thread_heap()->main->backing;
    run_thread(free_some_and_end, NULL);
    for (unsigned i = 1; i < COUNT; i += 3) mi_free(blocks[i]);
    EXPECT(walk_heap_pages(heap, thread_heap()->main, see_page, &seen));
    EXPECT_EQ(seen.blocks, COUNT / 3);
    expect_shared_pages_parked();
    seen = (struct seen){0, 0, 5};
    EXPECT(!walk_heap_pages(heap, thread_heap()->main, see_page, &seen) && seen.blocks == 5);
    expect_shared_pages_parked();
    for (unsigned i = 2; i < COUNT; i += 3) mi_free(blocks[i]);
    mi_collect(true);
    EXPECT_EQ(used_slices(), 0);
}

TEST(walk_heap_pages_shows_the_live_blocks_of_shared_pages_and_leaves_them_parked)
{
    IN_CHILD(shared_pages());
}

static void *expect_its_own(void *block)
{
    struct local_heap *main = thread_ready(thread_heap());
    EXPECT(walk_is_of(page_of(block), &main->backing));
    return main;
}

static void whose_is_shared(void)
{
    start_quietly();
    void *block = mi_malloc(3000), *small = mi_malloc(100);
    struct local_heap *main = thread_heap()->main, *other = NULL;
    struct mi_heap_s *heap = heap_new(main);
    pthread_t thread;
    EXPECT(walk_is_of(page_of(block), &main->backing) && !walk_is_of(page_of(block), heap));
    EXPECT(walk_is_of(page_of(small), &main->backing) && !walk_is_of(page_of(small), heap));
    if (pthread_create(&thread, NULL, expect_its_own, block) != 0) abort();
    pthread_join(thread, (void **)&other);
    EXPECT(!walk_is_of(page_of(block), &other->backing));
    void *own = mi_heap_malloc(heap, 3000);
    EXPECT(walk_is_of(page_of(own), heap) && !walk_is_of(page_of(own), &main->backing));
}

TEST(walk_is_of_takes_a_shared_page_for_each_threads_own) { IN_CHILD(whose_is_shared()); }

static bool see_any_page(struct page *page, void *arg)
{
    (void)page;
    return --*(size_t *)arg != 0;
}

static void all_pages(void)
{
    size_t left = 1000000;
    allocate();
    (void)mi_malloc(20 << 20);
    EXPECT(walk_all_pages(see_any_page, &left));
    EXPECT_EQ(1000000 - left, level_now(STAT_pages));
    left = 3;
    EXPECT(!walk_all_pages(see_any_page, &left) && left == 0);
}

TEST(walk_all_pages_sees_each_page_once) { IN_CHILD(all_pages()); }

static bool see_backing_page(struct page *page, const struct local_heap *part, void *arg)
{
    // a full page is parked, or another thread's by now
    EXPECT(!walk_is_readable(page, part) || (page_owner(page) & OWNER_FULL) == 0);
    ++*(size_t *)arg;
    return true;
}

// Full, and adopted by a thread that has not written its name yet.
static struct page *steal_full_page(void)
{
    struct page *stolen = NULL;
    for (unsigned i = 0; i < COUNT && stolen == NULL; i++) {
        struct page *page = page_of(blocks[i]);
        if (remote_is_parked(page) && !page_is_shared(page)) stolen = page;
    }
    EXPECT(stolen != NULL && refill_claim(stolen));
    return stolen;
}

static void backing_pages(void)
{
    size_t seen = 0;
    start_quietly();
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_malloc(200);
    ignore_result(steal_full_page());
    struct local_heap *main = thread_heap()->main;
    EXPECT(walk_heap_pages(&main->backing, main, see_backing_page, &seen));
    EXPECT(seen > 0);
}

TEST(walk_heap_pages_leaves_a_page_alone_that_another_thread_is_adopting)
{
    IN_CHILD(backing_pages());
}

static bool see_no_claimed_page(struct page *page, const struct local_heap *part, void *claimed)
{
    (void)part;
    EXPECT(page != claimed);
    return true;
}

static void claimed_page(void)
{
    allocate();
    struct page *claimed = page_of(mi_malloc(3000));
    EXPECT(page_is_shared(claimed) && retire_claim(claimed)); // as a thread does that takes blocks
    EXPECT(!retire_claim(claimed));
    struct local_heap *main = thread_heap()->main;
    EXPECT(walk_heap_pages(&main->backing, main, see_no_claimed_page, claimed));
    retire_park(claimed, false);
    EXPECT(remote_is_parked(claimed) && page_owner(claimed) == PAGE_OWNER_ALL);
}

TEST(walk_heap_pages_leaves_a_shared_page_out_that_another_thread_has_claimed)
{
    IN_CHILD(claimed_page());
}

// --- H2, of all pages ----------------------------------------------------------------------------

static void nowhere(void)
{
    allocate();
    struct local_heap *main = thread_heap()->main;
    EXPECT_TEXT(walk_broken_rule(main), NULL);
    size_t size_class = page_of(mi_malloc(100))->size_class;
    EXPECT(main->own[size_class].current != NULL);
    main->own[size_class].current = NULL; // a page is lost
    *local_heap_list(main, size_class) = NULL;
    EXPECT_TEXT(walk_broken_rule(main), "H2: an owned page is nowhere");
}

static void full_nowhere(void)
{
    allocate();
    struct mi_heap_s *heap = heap_new(thread_heap()->main);
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_heap_malloc(heap, 1000);
    EXPECT(heap->local->full.first != NULL && heap->local->full.first->next != NULL);
    EXPECT_TEXT(walk_broken_rule(heap->local), NULL);
    struct page *last = heap->local->full.first->prev;
    heap->local->full.first = heap->local->full.first->next;
    heap->local->full.first->prev = last;
    EXPECT_TEXT(walk_broken_rule(heap->local), "H2: an owned page is nowhere");
}

TEST(walk_H2_notices_an_owned_page_that_is_in_none_of_its_places)
{
    IN_CHILD(nowhere());
    IN_CHILD(full_nowhere());
}

static ATOMIC(void *) exchanged[64]; // any thread's blocks, for any thread to free

static void *pass_blocks(void *number)
{
    enum { ROUNDS = 300, SLOTS = sizeof exchanged / sizeof exchanged[0] };
    uint64_t random = (uintptr_t)number + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 100; i++) {
            void *block = mi_malloc(1 + test_random(&random) % 20000);
            unsigned at = (unsigned)(test_random(&random) % SLOTS);
            mi_free(atomic_exchange_explicit(&exchanged[at], block, memory_order_acq_rel));
        }
        if (round % 100 == (uintptr_t)number) mi_collect(true);
        EXPECT_TEXT(walk_broken_rule(thread_heap()->main), NULL);
    }
    return NULL;
}

static void many_threads(void)
{
    start_quietly();
    run_threads(4, pass_blocks);
    for (unsigned i = 0; i < sizeof exchanged / sizeof exchanged[0]; i++) mi_free(exchanged[i]);
    mi_collect(true);
    expect_arena_rules();
}

TEST(walk_H2_holds_for_each_thread_while_others_are_at_it) { IN_CHILD(many_threads()); }
