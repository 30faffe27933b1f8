#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"

enum { CLASS = 64, MAX_BLOCKS = 4096 }; // CLASS: blocks of 9 KiB and more, few in a page
static struct block *blocks[MAX_BLOCKS];
static char owner_a[64], owner_b[64]; // only their addresses matter
static struct page *others[64];
static unsigned other_count;

static uintptr_t owner_of(char *bytes) { return bits_align_up((uintptr_t)bytes, 8); }

static void take_other(void *taker, struct page *page)
{
    EXPECT(taker == owner_a);
    EXPECT(!remote_is_parked(page));
    others[other_count++] = page;
}

static struct page *adopt(size_t size_class)
{
    return retire_adopt(size_class, take_other, owner_a);
}

static void start(void) { start_quietly(); }

static void free_all(struct page *page, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) retire_push(page, blocks[i], blocks[i], 1);
}

static void last_block_releases(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    unsigned count = take_every_block(page, blocks);
    EXPECT(park_full(page));
    EXPECT_EQ(page_owner(page), owner_of(owner_a) | OWNER_FULL);
    EXPECT_EQ(level_now(STAT_pages_parked), 1);
    free_all(page, 0, count - 1);
    EXPECT(remote_is_parked(page) && used_slices() != 0);
    free_all(page, count - 1, count);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    EXPECT_EQ(level_now(STAT_pages), 0);
    expect_arena_rules();
    EXPECT(adopt(CLASS) == NULL); // and no mark is left
}

TEST(retire_push_of_the_last_block_releases_a_parked_page) { IN_CHILD(last_block_releases()); }

static void whole_chain(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    unsigned count = take_every_block(page, blocks);
    EXPECT(park_full(page));
    for (unsigned i = 0; i < count; i++)
        block_set_next(blocks[i], i + 1 < count ? blocks[i + 1] : NULL, &page->key);
    retire_push(page, blocks[0], blocks[count - 1], count);
    EXPECT_EQ(used_slices(), 0);
}

TEST(retire_push_of_all_blocks_in_one_chain_releases_the_page) { IN_CHILD(whole_chain()); }

static void adopt_roomy(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    unsigned count = take_every_block(page, blocks), freed = 0;
    EXPECT(park_full(page));
    EXPECT(adopt(CLASS) == NULL); // a full one is not worth it
    for (; count - freed > page->roomy; freed++) {
        EXPECT(adopt(CLASS) == NULL);
        free_all(page, freed, freed + 1);
    }
    EXPECT(adopt(CLASS + 1) == NULL);
    EXPECT(adopt(CLASS) == page);
    EXPECT_EQ(page->out, count - freed);
    EXPECT_EQ(page->free_count, freed);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    EXPECT(adopt(CLASS) == NULL);
    EXPECT_EQ(other_count, 0);
}

TEST(retire_adopt_finds_a_page_once_an_eighth_of_it_is_free) { IN_CHILD(adopt_roomy()); }

// All blocks that are cut come back but the first, which it returns.
static struct block *leave_one_out(struct page *page)
{
    bool is_clean;
    EXPECT(refill_page(page, NULL, 0, &is_clean));
    struct block *first = page_take_all(page);
    for (struct block *block = block_next(first, &page->key), *next; block != NULL; block = next) {
        next = block_next(block, &page->key);
        EXPECT(!page_put(page, block));
    }
    EXPECT_EQ(page->out, 1);
    return first;
}

static void park_with_room(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a) | OWNER_INTERIOR);
    struct block *first = leave_one_out(page);
    retire_park(page, true);
    EXPECT_EQ(page_owner(page),
              OWNER_FULL | OWNER_INTERIOR); // nobody's, and interior pointers are still known
    EXPECT(adopt(CLASS) == page);
    EXPECT_EQ(page->out, 1);
    retire_park(page, true);
    retire_push(page, first, first, 1);
    EXPECT_EQ(used_slices(), 0);
}

TEST(retire_park_keeps_room_for_an_adopter) { IN_CHILD(park_with_room()); }

// As a thread does that will sleep: what it frees itself finds the page again.
static void park_for_now(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    (void)leave_one_out(page);
    retire_park(page, false);
    EXPECT_EQ(page_owner(page), owner_of(owner_a) | OWNER_FULL);
    EXPECT_EQ(level_now(STAT_pages_parked), 1);
    EXPECT(refill_claim(page) && page_has_room(page) && page->out == 1);
}

TEST(retire_park_keeps_the_name_of_an_owner_that_will_be_back) { IN_CHILD(park_for_now()); }

static void park_shared(bool is_for_good)
{
    start();
    struct page *page = new_page(CLASS, 0);
    page_share(page, local_heap_bin_offset(page->size_class));
    struct block *first = leave_one_out(page);
    for (unsigned i = 0; i < 3; i++) {
        retire_park(page, is_for_good);
        EXPECT(page_owner(page) == PAGE_OWNER_ALL && remote_is_listed(page));
        EXPECT(adopt(CLASS) == page);
    }
    retire_park(page, is_for_good);
    retire_push(page, first, first, 1);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
}

TEST(retire_park_and_adopt_leave_a_shared_page_shared)
{
    IN_CHILD(park_shared(false));
    IN_CHILD(park_shared(true));
}

static void park_empty(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    unsigned count = take_every_block(page, blocks);
    free_all(page, 0, count); // still owned: they wait on the remote list
    EXPECT_EQ(remote_waiting(page), count);
    retire_park(page, true);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
}

TEST(retire_park_releases_a_page_that_others_have_emptied) { IN_CHILD(park_empty()); }

static void full_fails(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a) | OWNER_INTERIOR);
    (void)take_every_block(page, blocks);
    retire_push(page, blocks[0], blocks[0], 1);
    EXPECT(!park_full(page));
    EXPECT_EQ(page_owner(page), owner_of(owner_a) | OWNER_INTERIOR);
    EXPECT(page->free == blocks[0] && page->free_count == 1);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(retire_full_keeps_a_page_that_others_have_freed_into) { IN_CHILD(full_fails()); }

static void stale_marks(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    size_t slice = arena_slice_of(page_arena(page), page->start);
    marks_set(page_arena(page), CLASS, slice); // of an owned page
    EXPECT(adopt(CLASS) == NULL);
    unsigned count = take_every_block(page, blocks);
    EXPECT(park_full(page));
    free_all(page, 0, count);
    marks_set(&arena_main, CLASS, slice); // of a slice that belongs to nobody
    EXPECT(adopt(CLASS) == NULL);
    EXPECT_EQ(other_count, 0);
    expect_arena_rules();
}

TEST(retire_adopt_passes_over_marks_of_owned_pages_and_free_slices) { IN_CHILD(stale_marks()); }

static void wrong_class(void)
{
    start();
    struct page *page = new_page(CLASS, owner_of(owner_a));
    unsigned count = take_every_block(page, blocks);
    EXPECT(park_full(page));
    marks_set(page_arena(page), CLASS + 3, arena_slice_of(page_arena(page), page->start));
    EXPECT(adopt(CLASS + 3) == NULL);
    EXPECT(other_count == 1 && others[0] == page); // ours now
    EXPECT_EQ(page->out, count);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
}

TEST(retire_adopt_hands_a_page_of_another_class_over) { IN_CHILD(wrong_class()); }

// Its only user may free it at any moment: claimed by a second thread for however short a time,
// that free fails.
static void large_is_left_alone(void)
{
    bool is_clean;
    start();
    struct local_heap *main = thread_ready(thread_heap());
    char *memory = (char *)local_heap_take_large(main, 1 << 20, 1, &is_clean);
    struct page *page = page_of(memory);
    // of an earlier life
    marks_set(page_arena(page), CLASS, arena_slice_of(page_arena(page), memory));
    EXPECT(adopt(CLASS) == NULL);
    EXPECT_EQ(other_count, 0);
    EXPECT(remote_is_parked(page));
    EXPECT(retire_large(page));
}

TEST(retire_adopt_never_claims_a_large_block_by_a_stale_mark) { IN_CHILD(large_is_left_alone()); }

static void large_twice(void)
{
    bool is_clean;
    start();
    struct local_heap *main = thread_ready(thread_heap());
    struct page *page = page_of(local_heap_take_large(main, 1 << 20, 1, &is_clean));
    EXPECT(page != NULL && retire_large(page));
    EXPECT(!retire_large(page));
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    EXPECT_EQ(level_now(STAT_large), 0);
    EXPECT_EQ(used_slices(), 0);
}

TEST(retire_large_refuses_the_second_of_two_frees) { IN_CHILD(large_twice()); }

static void bounded_search(void)
{
    start();
    enum { STALE = 40 };
    struct page *page = new_page(CLASS, owner_of(owner_b));
    for (unsigned i = 0; i < STALE; i++)
        marks_set(&arena_main, CLASS, CHUNK_SLICES - 1 - i); // free slices
    EXPECT(adopt(CLASS) == NULL);
    unsigned left = atomic_load_explicit(&arena_main.mark_count[CLASS], memory_order_relaxed);
    EXPECT(left >= STALE - 8 && left < STALE); // a few tries for one call
    (void)page;
}

TEST(retire_adopt_tries_a_few_marks_for_one_call) { IN_CHILD(bounded_search()); }

// --- many threads: parked pages of four blocks; of every four frees one marks and the last one
// releases -----------------

enum { THREADS = 4, ROUNDS = 300, PAGES = 8, FOUR_BYTES = SLICE_BYTES / 4 };
static struct page *hammer_pages[PAGES];
static struct block *hammer_blocks[PAGES][THREADS];
static pthread_barrier_t hammer_gate;

static void hammer_fill(void)
{
    for (unsigned i = 0; i < PAGES; i++) {
        hammer_pages[i] = new_page(class_of(FOUR_BYTES), owner_of(owner_b));
        EXPECT_EQ(take_every_block(hammer_pages[i], hammer_blocks[i]), THREADS);
        EXPECT(park_full(hammer_pages[i]));
    }
}

static void *hammer(void *number)
{
    unsigned self = (unsigned)(uintptr_t)number;
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (self == 0) hammer_fill();
        pthread_barrier_wait(&hammer_gate);
        for (unsigned i = 0; i < PAGES; i++) {
            struct block *block = hammer_blocks[i][self];
            retire_push(hammer_pages[i], block, block, 1);
        }
        pthread_barrier_wait(&hammer_gate);
    }
    return NULL;
}

static void hammer_all(void)
{
    start();
    EXPECT_EQ(class_page_slices(class_of(FOUR_BYTES), 0), 1);
    pthread_barrier_init(&hammer_gate, NULL, THREADS);
    run_threads(THREADS, hammer);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    expect_arena_rules();
}

TEST(retire_push_by_many_threads_at_once_releases_each_page_once) { IN_CHILD(hammer_all()); }

// A page with all blocks out, of which the last one is in use.
static struct page *page_in_use(struct fault_count *faults, unsigned *count)
{
    start();
    hooks_set_error(count_fault, faults);
    struct page *page = new_page(CLASS, owner_of(owner_a));
    *count = take_every_block(page, blocks);
    mark(blocks[*count - 1], STATE_IN_USE);
    return page;
}

// A block counts twice, so that its page seems to be empty when the last one is still in use.
static void doubled(void)
{
    struct fault_count faults = {EAGAIN, 0};
    unsigned count;
    struct page *page = page_in_use(&faults, &count);
    EXPECT(park_full(page));
    free_all(page, 0, count - 1);
    retire_push(page, blocks[0], blocks[0], 1);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT(page_of(blocks[count - 1]) == page && level_now(STAT_pages) == 1);
    EXPECT(page_named_by(page_owner(page)) == NULL); // nobody's
}

// Less than no block is counted as out. The page is not parked with such a number.
static void parked_with_too_few(void)
{
    struct fault_count faults = {EAGAIN, 0};
    unsigned count;
    struct page *page = page_in_use(&faults, &count);
    page->out = 1;
    for (unsigned i = 0; i < 2; i++) {
        mark(blocks[i], STATE_FREE);
        EXPECT(page_put(page, blocks[i]) == (i == 0));
    }
    retire_park(page, false);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT(!remote_is_parked(page) && page->out == 0);
    EXPECT(page_named_by(page_owner(page)) == NULL && level_now(STAT_pages) == 1); // nobody's
}

TEST(retire_park_T3_does_not_publish_less_than_no_block)
{
    if (CFG_STATES) IN_CHILD(parked_with_too_few());
}

TEST(retire_push_T3_does_not_release_a_page_of_which_a_block_is_in_use)
{
    if (CFG_STATES) IN_CHILD(doubled());
}
