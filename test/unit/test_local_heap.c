#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "mimalloc.h"
#include "page/depot.h"

// CLASS: the largest blocks of which a main local heap has pages, so few in a page.
enum { CLASS = CLASS_SHARED_FIRST - 1, SHARED_CLASS = 64, MAX_BLOCKS = 32768, MIB = 1 << 20 };
static struct block *blocks[MAX_BLOCKS];

static struct local_heap *start(void)
{
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap())->main;
    main->makes_pages = true; // as thread_load lets it when there is no idle heap
    return main;
}

static struct block *pop(struct local_heap *heap, size_t size_class)
{
    struct block **list = local_heap_list(heap, size_class), *block = *list;
    if (block == NULL) block = local_heap_load(heap, size_class);
    if (block == NULL) return NULL;
    *list = block_next(block, &page_of(block)->key);
    if (local_heap_has_cached(heap, size_class) && size_class >= CLASS_BINNED_FIRST)
        cache_bin_of(&heap->cache, size_class)->left++;
    return block;
}

// By the guard at a page's end.
static size_t lost_bytes(void) { return CFG_SECURE ? os_page_bytes() : 0; }

static size_t blocks_in_page(size_t size_class)
{
    size_t page_bytes = (size_t)class_page_slices(size_class, lost_bytes()) << SLICE_SHIFT;
    return (page_bytes - lost_bytes()) / class_block_bytes(size_class);
}

static void put(struct local_heap *heap, struct block *block)
{
    struct page *page = page_of(block);
    if (page_is_shared(page))
        cache_put(&heap->cache, heap->list, page, block);
    else if ((page_owner(page) & OWNER_FULL) != 0)
        EXPECT(local_heap_put_in_full(heap, page, block));
    else if (page_put(page, block))
        local_heap_page_is_empty(heap, page);
}

static void all_classes(void)
{
    struct local_heap *heap = start();
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class += 5) {
        size_t count = 2 * blocks_in_page(size_class) + 3;
        if (count > MAX_BLOCKS) count = MAX_BLOCKS;
        for (size_t i = 0; i < count; i++) {
            blocks[i] = pop(heap, size_class);
            EXPECT(blocks[i] != NULL && page_of(blocks[i])->size_class == size_class);
        }
        EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
        for (size_t i = 0; i < count; i++) put(heap, blocks[i]);
        EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    }
    local_heap_collect(heap, true);
    depot_drain();
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    expect_arena_rules();
}

TEST(local_heap_gives_and_takes_blocks_of_every_class_and_keeps_nothing)
{
    IN_CHILD(all_classes());
}

static void one_kept(void)
{
    struct local_heap *heap = start();
    size_t count = 5 * blocks_in_page(CLASS);
    for (size_t i = 0; i < count; i++) blocks[i] = pop(heap, CLASS);
    for (size_t i = 0; i < count; i++) put(heap, blocks[i]);
    EXPECT(level_now(STAT_pages) <= 2); // the current one, and one more: not five
    local_heap_collect(heap, false);
    EXPECT(level_now(STAT_pages) <= 1);
    local_heap_collect(heap, true);
    EXPECT_EQ(level_now(STAT_pages), 0);
}

TEST(local_heap_gives_empty_pages_back_but_for_one) { IN_CHILD(one_kept()); }

// A block came back twice, so that the current page seems to be empty while its list is loaded.
static void doubled(void)
{
    struct fault_count faults = {EAGAIN, 0};
    struct local_heap *heap = start();
    hooks_set_error(count_fault, &faults);
    struct block *block = pop(heap, CLASS);
    struct page *page = page_of(block);
    unsigned listed = page_list_count(page, heap->list[CLASS]);
    page->out = 1;
    EXPECT(listed > 0 && page_put(page, block));
    local_heap_page_is_empty(heap, page);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT(page->out == listed && heap->own[CLASS].current == page);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

TEST(local_heap_T3_keeps_a_page_of_which_a_list_is_loaded)
{
    if (CFG_STATES) IN_CHILD(doubled());
}

static int faults_heard;
static void allocate_in_handler(int code, void *heap)
{
    EXPECT_EQ(code, EFAULT);
    faults_heard++;
    EXPECT(pop((struct local_heap *)heap, CLASS) != NULL);
}

// The program has written to the first block of the loaded list.
static void loaded_list_torn(bool is_loop)
{
    struct local_heap *heap = start();
    hooks_set_error(allocate_in_handler, heap);
    struct page *page = page_of(pop(heap, CLASS));
    struct block *first = heap->list[CLASS];
    uint32_t out = page->out;
    EXPECT_EQ(page_list_count(page, first), out - 1);
    if (is_loop) block_set_next(first, first, &page->key);
    else first->link = 0x4141414141414140;
    local_heap_collect(heap, true);
    EXPECT_EQ(faults_heard, 0); // the handler may allocate, and whoever collects is not done
    report_if_left();
    EXPECT_EQ(faults_heard, 1);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    local_heap_collect(heap, true);
    EXPECT(remote_is_parked(page) && page->out >= out);
    EXPECT_TEXT(remote_broken_rule(page), NULL);
    EXPECT_TEXT(page_broken_rule(page), NULL); // what was lost counts as out
}

TEST(local_heap_loses_a_loaded_list_that_is_corrupt_and_no_count)
{
    IN_CHILD(loaded_list_torn(false));
    IN_CHILD(loaded_list_torn(true));
}

enum { CLAIM_PAGES = 100, CLAIM_BYTES = 240 };

// Fills pages; returns how many blocks there are.
static size_t fill_pages(void)
{
    size_t count = 0;
    start();
    stats_add(STAT_threads, 1); // else nobody could want what is free in them
    while (count < MAX_BLOCKS && level_now(STAT_pages) <= CLAIM_PAGES) {
        blocks[count++] = (struct block *)mi_malloc(CLAIM_BYTES);
    }
    return count;
}

// One block of each page, without a call of malloc; how many pages are owned afterwards.
static int64_t free_one_of_each_page(void)
{
    size_t count = fill_pages();
    struct page *last = NULL;
    for (size_t i = 0; i < count; i++) {
        struct page *page = page_of(blocks[i]);
        if (page != last) mi_free(blocks[i]);
        last = page;
    }
    return level_now(STAT_pages) - level_now(STAT_pages_parked);
}

static void claims_bounded(void)
{
    int64_t owned = free_one_of_each_page();
    EXPECT(owned >= LOCAL_HEAP_CLAIMS && owned <= LOCAL_HEAP_CLAIMS + 1); // and the current one
    struct local_heap *heap = thread_heap()->main;
    EXPECT_EQ(heap->claims, LOCAL_HEAP_CLAIMS);
    for (int i = 0; i < 300; i++) EXPECT(mi_malloc(CLAIM_BYTES) != NULL); // runs dry
    EXPECT_EQ(heap->claims, 0);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

TEST(local_heap_claims_few_full_pages_while_it_allocates_nothing) { IN_CHILD(claims_bounded()); }

static void emptied_pages_not_counted(void)
{
    size_t count = fill_pages();
    for (size_t i = 0; i < count; i++) mi_free(blocks[i]);
    EXPECT(level_now(STAT_pages) <= 2); // none waits for what is on its way in the ring
    struct local_heap *heap = thread_heap()->main;
    EXPECT(heap->claims < LOCAL_HEAP_CLAIMS && heap->ring.bytes == 0);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

TEST(local_heap_claims_any_number_of_pages_that_it_empties)
{
    IN_CHILD(emptied_pages_not_counted());
}

// The ring is full of a page's blocks when the thread may claim it again.
static void ring_comes_home(void)
{
    ignore_result(fill_pages());
    struct local_heap *heap = thread_heap()->main;
    struct page *page = page_of(blocks[0]);
    size_t per_page = page->capacity, freed = 0;
    heap->claims = LOCAL_HEAP_CLAIMS;
    do mi_free(blocks[freed++]);
    while (ring_can_extend(&heap->ring, page));
    EXPECT(ring_has(&heap->ring, page) && remote_is_parked(page) && freed < per_page);
    heap->claims = 0;
    mi_free(blocks[freed++]);
    EXPECT(!ring_has(&heap->ring, page) && heap->ring.bytes == 0);
    EXPECT_EQ(page->out, per_page - freed);
    EXPECT(remote_waiting(page) == 0 && heap->own[page->size_class].queue == page);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    while (freed < per_page) mi_free(blocks[freed++]);
    EXPECT(page_of(blocks[0]) == NULL); // released: nothing of it is anywhere else
}

TEST(local_heap_H4_a_page_that_is_claimed_takes_its_blocks_out_of_the_ring)
{
    IN_CHILD(ring_comes_home());
}

static void longest_wait_first(void)
{
    enum { PAGES = 4 };
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS), count = (PAGES + 1) * per_page;
    for (size_t i = 0; i < count; i++) blocks[i] = pop(heap, CLASS);
    for (size_t page = 0; page < PAGES; page++) { // in turns of one block, so that all wait
        put(heap, blocks[page * per_page]);
    }
    put(heap, blocks[1]); // that it becomes emptier does not take a page from its place
    for (size_t page = 0; page < PAGES; page++) {
        EXPECT(page_of(pop(heap, CLASS)) == page_of(blocks[page * per_page]));
        if (page == 0) EXPECT(page_of(pop(heap, CLASS)) == page_of(blocks[0]));
        EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    }
}

TEST(local_heap_takes_the_queued_page_that_has_waited_longest) { IN_CHILD(longest_wait_first()); }

static void full_is_parked(void)
{
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS);
    for (size_t i = 0; i < per_page + 1; i++) blocks[i] = pop(heap, CLASS);
    struct page *page = page_of(blocks[0]);
    EXPECT(remote_is_parked(page) && page_owner(page) == ((uintptr_t)heap | OWNER_FULL)); // H2
    put(heap, blocks[0]);
    EXPECT(!remote_is_parked(page) && page_owner(page) == (uintptr_t)heap &&
           heap->own[CLASS].queue == page);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

TEST(local_heap_H2_a_full_page_is_parked_until_its_owner_frees_into_it)
{
    IN_CHILD(full_is_parked());
}

static void claimed_by_other(void)
{
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS);
    for (size_t i = 0; i < per_page + 1; i++) blocks[i] = pop(heap, CLASS);
    struct page *page = page_of(blocks[0]);
    EXPECT(refill_claim(page)); // as another thread does that adopts it
    EXPECT(!local_heap_put_in_full(heap, page, blocks[0]));
    EXPECT(heap->own[CLASS].queue == NULL);
}

TEST(local_heap_put_in_full_fails_when_another_thread_has_the_page)
{
    IN_CHILD(claimed_by_other());
}

static void pinned(size_t size_class)
{
    struct local_heap *main = start();
    struct mi_heap_s *heap = heap_new(main);
    struct local_heap *part = heap->local;
    size_t per_page = blocks_in_page(size_class), count = 20 * per_page;
    for (size_t i = 0; i < count; i++) blocks[i] = pop(part, size_class);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    EXPECT(part->full.first != NULL && (part->full.first->flags & PAGE_PINNED) != 0);
    for (size_t i = 0; i < count; i += 2) { // from elsewhere
        mark(blocks[i], STATE_FREED);
        retire_push(page_of(blocks[i]), blocks[i], blocks[i], 1);
    }
    size_t pages = (size_t)level_now(STAT_pages);
    for (size_t i = 0; i < count; i += 2) blocks[i] = pop(part, size_class);
    EXPECT(level_now(STAT_pages) <= (int64_t)pages + 1); // what others freed was found and used
    EXPECT_TEXT(local_heap_broken_rule(part), NULL);
    heap_destroy(heap, main);
    EXPECT_EQ(used_slices(), 0);
}

TEST(local_heap_that_is_pinned_keeps_its_full_pages_and_finds_room_in_them)
{
    IN_CHILD(pinned(CLASS));
    IN_CHILD(pinned(SHARED_CLASS));
}

static void large(void)
{
    bool is_clean;
    struct local_heap *heap = start();
    for (size_t bytes = CLASS_MAX_BYTES + 1; bytes < 100 * (size_t)MIB; bytes = bytes * 5 / 3) {
        for (size_t alignment = 1; alignment <= 16 * (size_t)MIB; alignment *= 16) {
            char *block = (char *)local_heap_take_large(heap, bytes, alignment, &is_clean);
            EXPECT(block != NULL && bits_is_aligned(block, alignment) &&
                   page_of(block)->block_bytes >= bytes);
            EXPECT(page_of(block)->block_bytes < bytes + os_page_bytes());
            block[0] = block[bytes - 1] = 1;
            EXPECT(retire_large(page_of(block)));
        }
    }
    EXPECT(local_heap_take_large(heap, (size_t)1 << 52, 1, &is_clean) == NULL);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_large), 0);
}

TEST(local_heap_large_blocks_have_a_run_of_their_own) { IN_CHILD(large()); }

static void abandon_and_adopt(void)
{
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS), count = 3 * per_page;
    for (size_t i = 0; i < count; i++) blocks[i] = pop(heap, CLASS);
    for (size_t i = 0; i < count; i += 2) put(heap, blocks[i]);
    int64_t pages = level_now(STAT_pages);
    local_heap_abandon(heap);
    EXPECT_EQ(level_now(STAT_pages_parked), pages);
    for (size_t i = 0; i < count; i += 2)
        blocks[i] = pop(heap, CLASS); // adopted again, before a fresh page
    EXPECT_EQ(level_now(STAT_pages), pages);
    EXPECT(counter_now(COUNT_page_adopts) > 0);
    for (size_t i = 0; i < count; i++) put(heap, blocks[i]);
    local_heap_collect(heap, true);
    EXPECT_EQ(used_slices(), 0);
}

TEST(local_heap_pages_that_were_abandoned_are_adopted_before_new_ones_are_made)
{
    IN_CHILD(abandon_and_adopt());
}

// Pages of three classes, one slice each, that come free in this order.
static void released(void)
{
    char *memory[3];
    struct local_heap *heap = start();
    void *below = arena_claim(1, SLICE_BYTES, &(bool){false});
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = pop(heap, i + 1);
        memory[i] = page_of(blocks[i])->start;
        EXPECT_EQ(page_of(blocks[i])->slices, 1);
    }
    for (size_t i = 0; i < 3; i++) put(heap, blocks[i]);
    local_heap_collect(heap, true);
    arena_release(below, 1, true);
    EXPECT(memory[2] != (char *)below && page_of(pop(heap, 4))->start == memory[2]);
    EXPECT(arena_claim_at(&arena_main, memory[1], 1, &(bool){false})); // somebody else's by now
    EXPECT(page_of(pop(heap, 5))->start == memory[0]);
    EXPECT(page_of(pop(heap, 6))->start == (char *)below); // the lowest, as others would
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

TEST(local_heap_makes_pages_of_memory_that_was_its_own_if_nobody_else_took_it)
{
    IN_CHILD(released());
}

// A stale mark leads to it.
// One block of each of some pages; returns their number.
static int fill_short_and_long(void)
{
    enum { BYTES = 40 * 1024, LONG_PAGES = 2 };
    int pages = 0;
    for (struct page *last = NULL, *page; pages < CLASS_SHORT_PAGES + LONG_PAGES; last = page) {
        struct block *block = (struct block *)mi_malloc(BYTES);
        page = page_of(block);
        if (page == last) continue;
        blocks[pages++] = block;
        EXPECT_EQ(page_count_of_class(page->size_class), (unsigned)pages);
        EXPECT_EQ(page->slices, pages <= CLASS_SHORT_PAGES
                                    ? class_least_slices(page->size_class, lost_bytes())
                                    : class_page_slices(page->size_class, lost_bytes()));
    }
    return pages;
}

static void short_pages_first(void)
{
    start();
    int pages = fill_short_and_long();
    struct page *first = page_of(blocks[0]);
    EXPECT(first->slices < page_of(blocks[pages - 1])->slices);
    size_t size_class = first->size_class;
    mi_free(blocks[0]);
    mi_collect(true);
    EXPECT_EQ(page_count_of_class(size_class), (unsigned)pages - 1);
}

TEST(local_heap_C2_the_first_pages_of_a_class_are_short) { IN_CHILD(short_pages_first()); }

static void comes_across_shared(void)
{
    struct local_heap *heap = start();
    struct page *page = page_of(pop(heap, SHARED_CLASS));
    EXPECT(page_is_shared(page) && remote_is_listed(page));
    size_t slice = arena_slice_of(page_arena(page), page->start);
    for (size_t size_class = CLASS; size_class <= CLASS + 1; size_class++) {
        marks_set(page_arena(page), size_class, slice);
        EXPECT(pop(heap, size_class) != NULL);
        EXPECT(page_owner(page) == PAGE_OWNER_ALL && remote_is_listed(page));
        EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    }
    EXPECT_EQ(counter_now(COUNT_page_adopts), 2); // it was
    EXPECT_EQ(level_now(STAT_pages_parked), 2);
}

TEST(local_heap_leaves_a_shared_page_of_another_class_shared_that_it_comes_across)
{
    IN_CHILD(comes_across_shared());
}

// --- rules, broken on purpose --------------------------------------------------------------------

static struct local_heap *heap_with_queue(void)
{
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS);
    for (size_t i = 0; i < per_page + 2; i++) blocks[i] = pop(heap, CLASS);
    put(heap, blocks[0]);
    EXPECT(heap->own[CLASS].queue != NULL && heap->own[CLASS].current != NULL);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    return heap;
}

static void list_without_page(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->list[3] = blocks[1];
    EXPECT_TEXT(local_heap_broken_rule(heap), "H1: a loaded list without a page");
}

static void list_of_other_page(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->list[CLASS] = blocks[1];
    EXPECT_TEXT(local_heap_broken_rule(heap),
                "H1: the loaded list is longer than what the page has out");
}

static void current_is_queued(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->own[CLASS].current = heap->own[CLASS].queue;
    heap->list[CLASS] = NULL;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: the current page is queued");
}

static void queue_of_other_owner(void)
{
    struct local_heap *heap = heap_with_queue();
    page_set_owner(heap->own[CLASS].queue, (uintptr_t)heap + 64);
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: a queued page has another owner");
}

static void queue_of_other_class(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->own[CLASS - 1].queue = heap->own[CLASS].queue;
    heap->own[CLASS].queue = NULL;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H3: a page is in the queue of another class");
}

static void queue_without_room(void)
{
    struct local_heap *heap = heap_with_queue();
    (void)take_every_block(heap->own[CLASS].queue, blocks);
    EXPECT_TEXT(local_heap_broken_rule(heap), "H3: a queued page has no room");
}

static void current_of_other_class(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->own[3].current = heap->own[CLASS].current;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H1: the current page is none of the class");
    char *no_descriptor = (char *)heap->own[CLASS].current + 8;
    heap->own[3].current = (struct page *)(void *)no_descriptor;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H1: the current page is none of the class");
}

static void current_of_other_owner(void)
{
    struct local_heap *heap = heap_with_queue();
    page_set_owner(heap->own[CLASS].current, (uintptr_t)heap | OWNER_FULL); // as if it were parked
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: the current page has another owner");
}

static void current_is_linked(void)
{
    struct local_heap *heap = heap_with_queue();
    heap->own[CLASS].current->next = heap->own[CLASS].queue;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: the current page is queued");
}

// A queue of two pages.
static struct local_heap *heap_with_long_queue(void)
{
    struct local_heap *heap = start();
    size_t per_page = blocks_in_page(CLASS);
    for (size_t i = 0; i < 2 * per_page + 2; i++) blocks[i] = pop(heap, CLASS);
    put(heap, blocks[0]);
    put(heap, blocks[per_page]);
    EXPECT(heap->own[CLASS].queue->next != NULL && heap->own[CLASS].queue->next->next == NULL);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    return heap;
}

static void queue_loops(void)
{
    struct local_heap *heap = heap_with_long_queue();
    heap->own[CLASS].queue->next->next = heap->own[CLASS].queue;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: a queue is torn");
}

static void queue_leads_away(struct page *next)
{
    struct local_heap *heap = heap_with_long_queue();
    heap->own[CLASS].queue->next = next;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: a queue is torn");
}

static void queue_has_another_end(void)
{
    struct local_heap *heap = heap_with_long_queue();
    heap->own[CLASS].queue->prev = heap->own[CLASS].queue;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H2: a queue is torn");
}

// The part of a made heap with a few full pages.
static struct local_heap *part_with_full_pages(void)
{
    struct local_heap *part = heap_new(start())->local;
    size_t count = 3 * blocks_in_page(CLASS) + 1;
    for (size_t i = 0; i < count; i++) blocks[i] = pop(part, CLASS);
    struct page *page = part->full.first;
    EXPECT(page != NULL && page->next != NULL && page->next->next != NULL);
    EXPECT_TEXT(local_heap_broken_rule(part), NULL);
    return part;
}

static void full_is_torn(void)
{
    struct local_heap *part = part_with_full_pages();
    part->full.first->next->next->next = part->full.first->next;
    EXPECT_TEXT(local_heap_broken_rule(part), "H2: the list of full pages is torn");
}

static void full_of_other_owner(void)
{
    struct local_heap *part = part_with_full_pages();
    page_set_owner(part->full.first, (uintptr_t)part);
    EXPECT_TEXT(local_heap_broken_rule(part), "H2: a full page has another owner");
}

static void full_and_parked(void)
{
    struct local_heap *part = part_with_full_pages();
    EXPECT(remote_try_park(part->full.first));
    EXPECT_TEXT(local_heap_broken_rule(part), "H2: a full page is parked and on the list");
}

static void full_of_heap_that_parks(void)
{
    struct local_heap *part = part_with_full_pages();
    part->is_pinned = false;
    EXPECT_TEXT(local_heap_broken_rule(part), "H2: a full page is not parked");
}

static void full_on_other_list(void)
{
    struct local_heap *part = part_with_full_pages();
    part->large.first = part->full.first;
    part->full.first = part->full.cursor = NULL;
    EXPECT_TEXT(local_heap_broken_rule(part), "H2: a full page is on the other list");
}

static void cursor_elsewhere(void)
{
    struct local_heap *part = part_with_full_pages();
    part->full.cursor = part->full.first->next;
    EXPECT_TEXT(local_heap_broken_rule(part), NULL);
    part->full.cursor = part->own[CLASS].current;
    EXPECT_TEXT(local_heap_broken_rule(part),
                "H2: the search goes on at a page that is not full");
}

TEST(local_heap_H1_notices_a_current_page_of_another_class) { IN_CHILD(current_of_other_class()); }
TEST(local_heap_H2_notices_a_current_page_of_somebody_else) { IN_CHILD(current_of_other_owner()); }
TEST(local_heap_H2_notices_a_current_page_with_neighbours) { IN_CHILD(current_is_linked()); }
TEST(local_heap_H2_notices_a_queue_that_loops_or_leads_away)
{
    IN_CHILD(queue_loops());
    IN_CHILD(queue_has_another_end());
    IN_CHILD(queue_leads_away((struct page *)(uintptr_t)0x80)); // where nothing can be read
    IN_CHILD(queue_leads_away((struct page *)(void *)blocks));
}
TEST(local_heap_H2_notices_a_list_of_full_pages_that_loops) { IN_CHILD(full_is_torn()); }
TEST(local_heap_H2_notices_a_full_page_that_does_not_say_so) { IN_CHILD(full_of_other_owner()); }
TEST(local_heap_H2_notices_a_full_page_that_is_parked_too) { IN_CHILD(full_and_parked()); }
TEST(local_heap_H2_notices_full_pages_of_a_heap_that_parks_its_own)
{
    IN_CHILD(full_of_heap_that_parks());
}
TEST(local_heap_H2_notices_a_full_page_on_the_other_list) { IN_CHILD(full_on_other_list()); }
TEST(local_heap_H2_notices_a_search_that_left_the_full_pages) { IN_CHILD(cursor_elsewhere()); }
TEST(local_heap_H1_notices_a_list_without_a_page) { IN_CHILD(list_without_page()); }
TEST(local_heap_H1_notices_a_list_of_another_page) { IN_CHILD(list_of_other_page()); }
TEST(local_heap_H2_notices_a_current_page_that_is_queued) { IN_CHILD(current_is_queued()); }
TEST(local_heap_H2_notices_a_queued_page_of_somebody_else) { IN_CHILD(queue_of_other_owner()); }
TEST(local_heap_H3_notices_a_page_in_the_wrong_queue) { IN_CHILD(queue_of_other_class()); }
TEST(local_heap_H3_notices_a_queued_page_without_room) { IN_CHILD(queue_without_room()); }

// One block of each class of which the thread has pages comes and goes: of so many empty pages it
// keeps only some.
static struct local_heap *heap_with_kept_pages(void)
{
    struct local_heap *heap = start();
    for (size_t size_class = 1; size_class < CLASS_SHARED_FIRST; size_class++) {
        size_t count = blocks_in_page(size_class);
        for (size_t i = 0; i < count; i++) blocks[i] = pop(heap, size_class);
        for (size_t i = 0; i < count; i++) put(heap, blocks[i]);
    }
    return heap;
}

static void keeps_little(void)
{
    struct local_heap *heap = heap_with_kept_pages();
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
    EXPECT(heap->kept_bytes > LOCAL_HEAP_KEPT_BYTES / 2);
    EXPECT(heap->kept_bytes <= LOCAL_HEAP_KEPT_BYTES);
    size_t resident_slices = used_slices();
    EXPECT(resident_slices <= LOCAL_HEAP_KEPT_BYTES / SLICE_BYTES + 4);
    for (size_t size_class = 1; size_class < CLASS_SHARED_FIRST; size_class++) {
        blocks[size_class] = pop(heap, size_class); // kept ones are used again
        EXPECT(blocks[size_class] != NULL);
    }
    EXPECT_EQ(heap->kept_bytes, 0);
    EXPECT_TEXT(local_heap_broken_rule(heap), NULL);
}

static struct page *a_kept_page(struct local_heap *heap)
{
    size_t size_class = 1;
    while (heap->own[size_class].current == NULL || heap->own[size_class].current->kept_bytes == 0)
        size_class++;
    return heap->own[size_class].current;
}

static void kept_miscounted(void)
{
    struct local_heap *heap = heap_with_kept_pages();
    heap->kept_bytes += 16;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H5: the empty pages are not what is counted");
}

static void kept_in_use(void)
{
    struct local_heap *heap = heap_with_kept_pages();
    a_kept_page(heap)->out = 1;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H5: a page in use counts as empty");
}

static void kept_too_much(void)
{
    struct local_heap *heap = heap_with_kept_pages();
    a_kept_page(heap)->kept_bytes += LOCAL_HEAP_KEPT_BYTES;
    heap->kept_bytes += LOCAL_HEAP_KEPT_BYTES;
    EXPECT_TEXT(local_heap_broken_rule(heap), "H5: too many empty pages are kept");
}

TEST(local_heap_H5_a_thread_keeps_few_empty_pages) { IN_CHILD(keeps_little()); }
TEST(local_heap_H5_notices_a_wrong_count) { IN_CHILD(kept_miscounted()); }
TEST(local_heap_H5_notices_a_page_in_use) { IN_CHILD(kept_in_use()); }
TEST(local_heap_H5_notices_too_much) { IN_CHILD(kept_too_much()); }
