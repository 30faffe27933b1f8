/* test_cache_corners.c: cache and depot where numbers or links are not what they should be. */
#include "shared_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "mimalloc.h"

// --- pages that other threads have added and not told of yet -------------------------------------

enum { CLASS = 64, BYTES = 5000 };
static struct block *blocks[256];

static void below_zero(void)
{
    unsigned count = 0;
    start_quietly();
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) EXPECT(depot_take(CLASS).first == NULL);
    stats_remove(STAT_shared_bytes, (int64_t)DEPOT_SLOTS * DEPOT_SLOT_SHARE_BYTES);
    for (unsigned i = 0; i < 6; i++) {
        struct page *page = new_page(CLASS, 0);
        page_share(page, local_heap_bin_offset(page->size_class));
        count += take_every_block(page, blocks + count);
        retire_park(page, false);
    }
    for (unsigned i = 0; i < count; i++) {
        block_set_next(blocks[i], NULL, &page_of(blocks[i])->key);
        struct depot_chain chain = {blocks[i], 1};
        depot_put(CLASS, chain);
        EXPECT(depot_count(CLASS) <= DEPOT_SLOTS && depot_count(CLASS + 1) == 0);
    }
    depot_drain();
    EXPECT_EQ(used_slices(), 0);
}

TEST(depot_fills_no_slot_beyond_the_last_while_pages_count_less_than_none)
{
    IN_CHILD(below_zero());
}

// --- a thread that begins with a free ------------------------------------------------------------

static void begins_with_a_free(void)
{
    size_t bytes = BYTES;
    start_quietly();
    run_thread(allocate_few, &bytes);
    for (int i = 0; i <= THREAD_FEW_FREES; i++) mi_free(few_blocks[i]);
    struct local_heap *main = thread_heap()->main;
    unsigned long long before = main->heartbeat;
    for (unsigned i = 0; i < 2 * CACHE_BEATS; i++) mi_free(mi_malloc(BYTES));
    EXPECT(main->heartbeat > before);
}

TEST(shared_blocks_leave_the_slow_path_its_turn_in_a_thread_that_begins_with_a_free)
{
    IN_CHILD(begins_with_a_free());
}

// --- what a cache is counted to hold, malloc has taken meanwhile ---------------------------------

static void *allocate_other(void *place)
{
    *(void **)place = mi_malloc(9000);
    return NULL;
}

static void taken_meanwhile(void)
{
    enum { COUNT = 64 };
    void *taken[COUNT], *other;
    start_quietly();
    for (unsigned i = 0; i < COUNT; i++) taken[i] = mi_malloc(BYTES);
    for (unsigned i = 0; i < COUNT; i++) mi_free(taken[i]);
    for (unsigned i = 0; i < COUNT; i++) taken[i] = mi_malloc(BYTES);
    struct local_heap *main = thread_heap()->main;
    EXPECT(main->cache.held_bytes > CACHE_LEAST_BYTES);
    main->cache.limit = main->cache.held_bytes;
    run_thread(allocate_other, &other); // so there is no room for it yet
    const struct cache_bin *bin = cache_bin_of(&main->cache, page_of(other)->size_class);
    unsigned before = cache_held(bin);
    mi_free(other);
    EXPECT_EQ(cache_held(bin), before + 1);
    EXPECT(main->cache.held_bytes < CACHE_LEAST_BYTES);
    for (unsigned i = 0; i < COUNT; i++) mi_free(taken[i]);
}

TEST(cache_keeps_a_block_where_others_have_been_taken) { IN_CHILD(taken_meanwhile()); }

// --- the first block of a list is where an overwritten link led ----------------------------------

static void begin_astray(void)
{
    start_quietly();
    void *first = mi_malloc(BYTES), *second = mi_malloc(BYTES);
    thread_collect(thread_heap(), true);
    mi_free(second);
    mi_free(first);
    *(uintptr_t *)first = 0x4141414141414140;
    EXPECT(mi_malloc(BYTES) == first);
}

// Later than any review of the thread itself.
static const uint64_t LATE_MS = UINT64_C(1) << 40;

static void collect(void) { thread_collect(thread_heap(), true); }
static void end(void)
{
    thread_done();
    idle_end_all();
}

static void review(void)
{
    struct local_heap *main = thread_heap()->main;
    for (unsigned i = 0; i < 10; i++) {
        cache_review(&main->cache, main->list, LATE_MS + i * CACHE_REVIEW_MS);
    }
}
static void overflow(void)
{
    options_set(OPTION_memory_limit, 1);
    mi_free(mi_malloc(3000));
    thread_collect(thread_heap(), true); // if it was another list's turn
}

static void astray(void (*then)(void), bool goes_on)
{
    struct fault_count faults = {EFAULT, 0};
    if (goes_on) hooks_set_error(count_fault, &faults);
    begin_astray();
    then();
    report_if_left();
    EXPECT(faults.count > 0);
}

TEST(cache_reports_a_first_block_that_is_none)
{
    static void (*const what[])(void) = {collect, end, review, overflow};
    for (unsigned i = 0; CFG_STATES && i < 4; i++) {
        EXPECT_DEATH(astray(what[i], false), "corrupted free list");
        IN_CHILD(astray(what[i], true));
    }
}

// --- a free block of a bin was overwritten -------------------------------------------------------

static void collect_in_handler(int code, void *arg)
{
    EXPECT(code == EFAULT && arg == NULL);
    mi_collect(true);
}

static void free_in_handler(int code, void *arg)
{
    EXPECT(code == EFAULT && arg == NULL);
    for (unsigned i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) mi_free(blocks[i]);
}

static void written_after_free(hook_error *handle)
{
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap());
    hooks_set_error(handle, NULL);
    for (unsigned i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
        blocks[i] = (struct block *)mi_malloc(BYTES);
    char *block = (char *)mi_malloc(BYTES);
    mi_free(block);
    block[BYTES / 2] = 1;
    EXPECT(mi_malloc(BYTES) == block);
    expect_rules(main);
    mi_free(block);
    expect_rules(main);
}

TEST(cache_H7_holds_whatever_the_error_handler_does_that_hears_of_a_write_to_a_free_block)
{
    if (CFG_DEBUG == 0) return;
    IN_CHILD(written_after_free(collect_in_handler));
    IN_CHILD(written_after_free(free_in_handler));
}

// --- a free block of a shared page was overwritten -----------------------------------------------

// A list of at least three blocks of a page that has others out, too; the link of the second one.
static uintptr_t *link_in_page(struct page **page)
{
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap());
    void *block[2 * SLICE_BYTES / BYTES];
    for (unsigned i = 0; i < sizeof(block) / sizeof(*block); i++) block[i] = mi_malloc(BYTES);
    *page = page_of(block[0]);
    for (unsigned i = 1; i < sizeof(block) / sizeof(*block); i++) mi_free(block[i]);
    local_heap_collect(main, true);
    EXPECT(retire_claim(*page));
    EXPECT((*page)->free_count >= 3);
    uintptr_t *link = &block_next((*page)->free, &(*page)->key)->link;
    retire_park(*page, false);
    return link;
}

static void overwritten_in_page(bool goes_on)
{
    struct fault_count faults = {EFAULT, 0};
    struct page *page;
    uintptr_t *link = link_in_page(&page);
    unsigned many = 2 * page->capacity;
    if (goes_on) hooks_set_error(count_fault, &faults);
    *link = 0x4141414141414140;
    for (unsigned i = 0; i < many; i++) EXPECT(mi_malloc(BYTES) != NULL);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    mi_collect(true);
    EXPECT(retire_claim(page));
    EXPECT_TEXT(page_broken_rule(page), NULL); // what was lost counts as out
}

TEST(cache_gets_no_block_behind_an_overwritten_link_of_a_page)
{
    if (!CFG_STATES) return;
    EXPECT_DEATH(overwritten_in_page(false), "corrupted free list");
    if (CFG_DEBUG == 0) IN_CHILD(overwritten_in_page(true)); // else the page is reported before
}

// --- blocks that are not handed out last in, first out -------------------------------------------

enum { SMALL_BYTES = 400, SMALL_BLOCKS = 1000 };
static void *small[SMALL_BLOCKS];

static bool is_small_block(const void *block)
{
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        if (small[i] == block) return true;
    }
    return false;
}

static void *allocate_small(void *unused)
{
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) small[i] = mi_malloc(SMALL_BYTES);
    return unused;
}

// What was freed waits until the list is used up, and comes all at once.
static void loaded_at_once(void)
{
    enum { FREED = 5 };
    start_quietly();
    run_thread(allocate_small, NULL);
    idle_end_all(); // else its list is there, too
    struct local_heap *main = thread_ready(thread_heap())->main;
    size_t size_class = page_of(small[0])->size_class;
    struct cache_bin *bin = cache_bin_of(&main->cache, size_class);
    for (unsigned i = 0; i < FREED; i++) mi_free(small[i]);
    EXPECT(cache_held(bin) == FREED && main->list[size_class] == NULL);
    expect_rules(main);
    for (unsigned i = FREED; i-- > 0;) {
        EXPECT(mi_malloc(SMALL_BYTES) == small[i]);
        EXPECT(cache_held(bin) == 0 && cache_count(main->list[size_class], size_class) == i);
        expect_rules(main);
    }
    EXPECT(!is_small_block(mi_malloc(SMALL_BYTES))); // out of the depot, or a page
    expect_rules(main);
}

TEST(cache_hands_out_small_blocks_all_at_once_when_the_list_is_used_up)
{
    if (class_is_shared(class_of(SMALL_BYTES))) IN_CHILD(loaded_at_once());
}

// Of both the list and the bin.
static void all_come_back(void)
{
    start_quietly();
    allocate_small(NULL);
    for (unsigned i = 0; i < SMALL_BLOCKS; i += 2) mi_free(small[i]);
    for (unsigned i = 0; i < 7; i++) small[2 * i] = mi_malloc(SMALL_BYTES);
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        if (i % 2 == 1 || i < 14) mi_free(small[i]);
    }
    expect_rules(thread_heap()->main);
    expect_nothing_left();
}

TEST(cache_gives_small_blocks_back_wherever_they_wait) { IN_CHILD(all_come_back()); }

// --- threads that have no cache ------------------------------------------------------------------

// All of it is zeroes, and each thread's that has not begun or has ended.
static bool is_untouched(const struct local_heap *heap)
{
    static const struct local_heap nothing;
    return memcmp((const void *)heap, (const void *)&nothing, sizeof nothing) == 0;
}

static void *free_small_and_begin(void *unused)
{
    EXPECT(thread_heap() == &thread_empty_heap);
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        mi_free(small[i]);
        EXPECT(is_untouched(&thread_empty_heap));
    }
    EXPECT(thread_heap() != &thread_empty_heap); // it frees, so it has a cache
    return unused;
}

static void free_without_heap(void)
{
    start_quietly();
    allocate_small(NULL);
    run_thread(free_small_and_begin, NULL);
    allocate_small(NULL);
    thread_done();
    for (unsigned i = 0; i < SMALL_BLOCKS; i++) {
        if (i % 2 == 0) mi_free(small[i]);
        if (i % 2 == 0) thread_done();
    }
    EXPECT(is_untouched(&thread_empty_heap) && is_untouched(&thread_ended_heap));
    for (unsigned i = 1; i < SMALL_BLOCKS; i += 2) mi_free(small[i]);
    expect_nothing_left();
}

TEST(cache_is_begun_by_a_thread_that_only_frees_and_nobodys_heap_stays_empty)
{
    IN_CHILD(free_without_heap());
}

// --- room ----------------------------------------------------------------------------------------

// Whoever has given much away keeps little room, too.
static void room_falls(void)
{
    enum { FEW = 20 };
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap())->main;
    for (unsigned round = 0; round < 20; round++) { // so much use that the limit grows
        for (unsigned i = 0; i < SMALL_BLOCKS; i++) small[i] = mi_malloc(1000 + i % FEW * 500);
        for (unsigned i = 0; i < SMALL_BLOCKS; i++) mi_free(small[i]);
    }
    size_t grown = main->cache.room_bytes;
    EXPECT(grown > CACHE_ROOMY * CACHE_LEAST_BYTES);
    static void *many[20 * SMALL_BLOCKS];
    for (unsigned i = 0; i < 20 * SMALL_BLOCKS; i++) many[i] = mi_malloc(1000 + i % FEW * 500);
    for (unsigned i = 0; i < 20 * SMALL_BLOCKS; i++) mi_free(many[i]);
    EXPECT(main->cache.limit == CACHE_LEAST_BYTES);
    EXPECT(main->cache.room_bytes < grown);
    EXPECT(main->cache.room_bytes <= CACHE_ROOMY * CACHE_LEAST_BYTES);
    expect_rules(main);
}

TEST(cache_has_little_room_when_its_limit_has_fallen) { IN_CHILD(room_falls()); }


// --- runs of frees -------------------------------------------------------------------------------

enum { MANY_BYTES = 15000, MANY_BLOCKS = 2000, FEW_DRY = 100 };
static void *many[MANY_BLOCKS];

// The thread has found many lists empty, and has many blocks.
static struct local_heap *start_with_many(void)
{
    start_quietly();
    for (unsigned i = 0; i < MANY_BLOCKS; i++) many[i] = mi_malloc(MANY_BYTES);
    struct local_heap *main = thread_ready(thread_heap())->main;
    EXPECT(main->cache.limit > 64 * CACHE_LEAST_BYTES);
    return main;
}

// How many bytes are freed until the cache is of no use any more.
static size_t bytes_until_it_falls(struct local_heap *main)
{
    unsigned i = 0;
    for (; i < MANY_BLOCKS && main->cache.limit > CACHE_LEAST_BYTES; i++) mi_free(many[i]);
    EXPECT(main->cache.limit == CACHE_LEAST_BYTES);
    expect_rules(main);
    return i * (size_t)MANY_BYTES;
}

static void falls_soon(void)
{
    struct local_heap *main = start_with_many();
    size_t limit = main->cache.limit;
    EXPECT_EQ(main->cache.run, 0); // a new thread
    EXPECT(bytes_until_it_falls(main) < 2 * limit);
}

static void falls_late(void)
{
    struct local_heap *main = start_with_many();
    size_t limit = main->cache.limit;
    main->cache.run = CACHE_MOST_BYTES;
    EXPECT(bytes_until_it_falls(main) > 3 * limit);
}

TEST(cache_limit_falls_when_the_thread_frees_more_than_it_did_of_late)
{
    IN_CHILD(falls_soon());
    IN_CHILD(falls_late());
}

// Whoever frees much time and again has use for what it kept.
static void learns(void)
{
    struct local_heap *main = start_with_many();
    size_t limit = main->cache.limit;
    unsigned count = (unsigned)(2 * limit / MANY_BYTES), fallen = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < count; i++) mi_free(many[i]);
        fallen += main->cache.limit == CACHE_LEAST_BYTES;
        for (unsigned i = 0; i < count; i++) many[i] = mi_malloc(MANY_BYTES);
    }
    EXPECT_EQ(fallen, 1);
    EXPECT(main->cache.run > limit / 4);
    expect_rules(main);
}

TEST(cache_limit_stays_where_long_runs_are_usual) { IN_CHILD(learns()); }

static void forgets(void)
{
    struct local_heap *main = start_with_many();
    uint64_t now_ms = prim_clock_ms();
    size_t before = main->cache.run = CACHE_MOST_BYTES;
    for (unsigned i = 0; i < FEW_DRY && main->cache.run == before; i++)
        cache_review(&main->cache, main->list, now_ms += CACHE_REVIEW_MS);
    EXPECT_EQ(main->cache.run, before / 2);
}

TEST(cache_review_forgets_long_runs) { IN_CHILD(forgets()); }

// No free comes across the lists.
static void lists_too(void)
{
    struct local_heap *main = start_with_many();
    allocate_small(NULL);
    for (unsigned i = 0; i < SMALL_BLOCKS - 1; i++) mi_free(small[i]);
    size_t size_class = page_of(small[SMALL_BLOCKS - 1])->size_class;
    struct cache_bin *bin = cache_bin_of(&main->cache, size_class);
    while (cache_held(bin) > 0) small[0] = mi_malloc(SMALL_BYTES);
    EXPECT(cache_count(main->list[size_class], size_class) > SMALL_BLOCKS / 2);
    for (unsigned i = 0; i < MANY_BLOCKS; i++) mi_free(many[i]);
    EXPECT(main->list[size_class] == NULL);
    expect_rules(main);
}

TEST(cache_gives_lists_away_when_it_is_of_no_use)
{
    if (class_is_shared(class_of(SMALL_BYTES))) IN_CHILD(lists_too());
}
