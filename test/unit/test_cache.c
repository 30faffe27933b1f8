#include "shared_test.h"
#include "mimalloc.h"

enum { BYTES = 5000, OTHER_BYTES = 3000, MAX_BLOCKS = 4096, KIB = 1024, NOW_MS = 1000 };
static void *blocks[MAX_BLOCKS];
static unsigned block_count; // of `blocks`, that somebody else may allocate or free

static struct local_heap *start(void)
{
    start_quietly();
    fake_prim_set_clock_ms(NOW_MS);
    return thread_ready(thread_heap())->main;
}

static void *allocate(void *bytes)
{
    for (unsigned i = 0; i < block_count; i++) blocks[i] = mi_malloc(*(const size_t *)bytes);
    return NULL;
}

// `count` blocks of another thread, which has ended.
static void allocate_elsewhere(unsigned count, size_t bytes)
{
    block_count = count;
    run_thread(allocate, &bytes);
}

static void free_range(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) mi_free(blocks[i]);
}

static bool is_one_of(const void *block)
{
    for (unsigned i = 0; i < block_count; i++) {
        if (blocks[i] == block) return true;
    }
    return false;
}

// --- what is freed is handed out again -----------------------------------------------------------

static void next_malloc(void)
{
    struct local_heap *main = start();
    for (size_t size_class = CLASS_BINNED_FIRST; class_block_bytes(size_class) <= CACHE_LEAST_BYTES;
         size_class++) {
        size_t bytes = class_block_bytes(size_class) - BLOCK_PADDING_BYTES;
        allocate_elsewhere(1, bytes);
        mi_free(blocks[0]);
        EXPECT(local_heap_count_cached(main, size_class) > 0);
        EXPECT(*local_heap_list(main, size_class) == blocks[0]);
        EXPECT(mi_malloc(bytes) == blocks[0]);
        expect_rules(main);
        mi_free(blocks[0]);
    }
    expect_nothing_left();
}

TEST(cache_hands_out_the_block_of_another_thread_that_was_freed_last) { IN_CHILD(next_malloc()); }

static void takes_first_free(void)
{
    start();
    thread_done();
    allocate_elsewhere(1, BYTES);
    idle_end_all(); // else its list is there, too
    EXPECT(thread_heap() == &thread_empty_heap);
    mi_free(blocks[0]);
    struct local_heap *main = thread_heap()->main;
    EXPECT(local_heap_count_cached(main, class_of_request(BYTES)) == 1 && main->list[0] == NULL);
    expect_rules(main);
    EXPECT(mi_malloc(BYTES) == blocks[0]);
}

TEST(cache_is_there_for_a_thread_that_begins_with_a_free) { IN_CHILD(takes_first_free()); }

static void counted(void)
{
    struct local_heap *main = start();
    size_t size_class = class_of_request(BYTES), other_class = class_of_request(OTHER_BYTES);
    void *first = mi_malloc(BYTES), *second = mi_malloc(OTHER_BYTES);
    thread_collect(thread_heap(), true);
    EXPECT_EQ(cached_bytes(main), 0);
    mi_free(first);
    mi_free(second);
    EXPECT_EQ(local_heap_count_cached(main, size_class), 1);
    EXPECT_EQ(local_heap_count_cached(main, other_class), 1);
    EXPECT_EQ(cached_bytes(main),
              class_block_bytes(size_class) + class_block_bytes(other_class));
    EXPECT_EQ(cached_bytes(main), cached_bytes(main));
}

TEST(cache_count_knows_the_blocks_of_each_class_and_their_bytes) { IN_CHILD(counted()); }

static void *allocate_one(void *bytes) { return mi_malloc(*(const size_t *)bytes); }

static void some_of_a_page(void)
{
    struct local_heap *main = start();
    size_t bytes = BYTES;
    void *own = mi_malloc(BYTES), *theirs;
    pthread_t thread;
    struct page *page = page_of(own);
    EXPECT(page_is_shared(page) && remote_is_listed(page)); // for others, too
    EXPECT(page->out == 1 + local_heap_count_cached(main, page->size_class));
    EXPECT(page->out < page->reserved);
    if (pthread_create(&thread, NULL, allocate_one, &bytes) != 0) abort();
    pthread_join(thread, &theirs);
    EXPECT(theirs != own && page_of(theirs) == page);
    EXPECT_EQ(level_now(STAT_pages), 1);
    expect_rules(main);
}

TEST(cache_gets_some_blocks_of_a_page_and_leaves_the_rest_to_all_threads)
{
    IN_CHILD(some_of_a_page());
}

// What is left in the cache when `count` blocks but one came back to their page, and one was handed
// out again.
static size_t cached_after_return(unsigned count, size_t bytes, bool *is_rest_listed)
{
    struct local_heap *main = start();
    allocate_elsewhere(count, bytes);
    free_range(1, count);
    thread_collect(thread_heap(), true);
    EXPECT_EQ(cached_bytes(main), 0);
    struct page *page = page_of(blocks[0]);
    EXPECT(page_of(mi_malloc(bytes)) == page);
    *is_rest_listed = page->free != NULL;
    expect_rules(main);
    return local_heap_count_cached(main, page->size_class);
}

static void whole_list(void)
{
    bool is_rest_listed;
    EXPECT(cached_after_return(30, 1500, &is_rest_listed) >= 30 - 2 && !is_rest_listed);
}

static void part_of_a_list(void)
{
    bool is_rest_listed;
    EXPECT(cached_after_return(10, BYTES, &is_rest_listed) < 10 / 2 && is_rest_listed);
}

TEST(cache_takes_the_whole_list_of_a_page_where_a_part_would_be_a_long_walk)
{
    IN_CHILD(whole_list());
    IN_CHILD(part_of_a_list());
}

// Where the link was, the next user of the block may have written anything.
static void counted_by_others(void)
{
    struct local_heap *main = start();
    void *block = mi_malloc(BYTES);
    size_t size_class = class_of_request(BYTES);
    thread_collect(thread_heap(), true);
    mi_free(block);
    static const uintptr_t links[] = {0x80, 0x4141414141414141, (uintptr_t)blocks};
    for (unsigned i = 0; i < 3; i++) {
        block_set_next((struct block *)block, (struct block *)links[i], &page_of(block)->key);
        EXPECT_EQ(cache_count((struct block *)block, size_class), 1);
    }
    block_set_next((struct block *)block, (struct block *)block, &page_of(block)->key);
    EXPECT(cache_count((struct block *)block, size_class) <=
           CACHE_ROOMY * CACHE_MOST_BYTES / BYTES + 1);
    cache_bin_of(&main->cache, size_class)->left += 2; // a moment when both numbers change
    EXPECT_EQ(local_heap_count_cached(main, size_class), 0);
}

TEST(cache_count_survives_a_list_that_changes_meanwhile) { IN_CHILD(counted_by_others()); }

// --- how much it holds ---------------------------------------------------------------------------

// The limit may fall at once, what is held goes back with the next frees.
enum { MOST_BEYOND_BYTES = DEPOT_CHAIN_BYTES };

static void expect_bounded(const struct local_heap *main)
{
    EXPECT(cached_bytes(main) <= CACHE_ROOMY * CACHE_MOST_BYTES + MOST_BEYOND_BYTES);
    EXPECT(main->cache.limit >= CACHE_LEAST_BYTES && main->cache.limit <= CACHE_MOST_BYTES);
}

static size_t random_bytes(uint64_t *random, size_t most)
{
    return CFG_OWNED_BYTES + 1 + test_random(random) % most;
}

static void *allocate_randomly(void *seed)
{
    static const size_t most[] = {2 * KIB, 14 * KIB, 100 * KIB, 500 * KIB};
    uint64_t *random = (uint64_t *)seed;
    for (unsigned i = 0; i < MAX_BLOCKS; i++)
        blocks[i] = mi_malloc(random_bytes(random, most[test_random(random) % 4]));
    for (unsigned i = MAX_BLOCKS - 1; i > 0; i--) { // freed in another order
        unsigned at = (unsigned)(test_random(random) % (i + 1));
        void *block = blocks[i];
        blocks[i] = blocks[at];
        blocks[at] = block;
    }
    return NULL;
}

// On the lists that malloc takes small blocks from: they are not in bins any more.
static size_t loaded_bytes(const struct local_heap *main)
{
    size_t bytes = 0;
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_BINNED_FIRST; size_class++)
        bytes += cache_count(main->list[size_class], size_class) * class_block_bytes(size_class);
    return bytes;
}

static void bounded(bool allocates)
{
    uint64_t random = test_seed();
    fflush(stdout);
    struct local_heap *main = start();
    run_thread(allocate_randomly, &random);
    for (unsigned i = 0; i < 100; i++) (void)mi_malloc(random_bytes(&random, 16 * KIB));
    for (unsigned i = 0; i < MAX_BLOCKS; i++) {
        mi_free(blocks[i]);
        if (allocates && i % 3 != 0) blocks[i] = mi_malloc(random_bytes(&random, 16 * KIB));
        expect_bounded(main);
        if (i % 64 == 0) expect_rules(main);
    }
    if (allocates) return;
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
    EXPECT(main->cache.room_bytes <= CACHE_ROOMY * main->cache.limit);
    EXPECT(cached_bytes(main) <=
           main->cache.room_bytes + loaded_bytes(main) + CACHE_WAIT_BYTES);
}

TEST(cache_holds_a_bounded_number_of_bytes_whatever_is_freed)
{
    IN_CHILD(bounded(false));
    IN_CHILD(bounded(true));
}

static void *take_from_page(struct local_heap *main, size_t bytes)
{
    EXPECT(*local_heap_list(main, class_of_request(bytes)) == NULL);
    return mi_malloc(bytes);
}

static void grows(void)
{
    struct local_heap *main = start();
    size_t limit = main->cache.limit, bytes = DEPOT_BLOCK_BYTES; // one block at a time
    (void)take_from_page(main, bytes);
    EXPECT(main->cache.limit >= CACHE_LEAST_BYTES && main->cache.limit > limit);
    for (unsigned i = 0; i < 10; i++) {
        limit = main->cache.limit;
        (void)take_from_page(main, bytes);
        EXPECT(main->cache.limit > limit);
    }
    void *block = take_from_page(main, bytes);
    limit = main->cache.limit;
    for (unsigned i = 0; i < 10; i++) { // no list is empty
        mi_free(block);
        EXPECT(mi_malloc(bytes) == block);
    }
    EXPECT_EQ(main->cache.limit, limit);
    stats_add(STAT_page_bytes, INT64_C(1) << 32); // a large heap
    for (unsigned i = 0; i < 100; i++) (void)take_from_page(main, bytes);
    EXPECT_EQ(main->cache.limit, CACHE_MOST_BYTES);
}

TEST(cache_limit_grows_while_lists_are_found_empty_up_to_the_most) { IN_CHILD(grows()); }

// A thread that has found many lists empty, and with that the highest limit there is.
static struct local_heap *start_with_high_limit(void)
{
    struct local_heap *main = start();
    for (unsigned i = 0; i < 100; i++) (void)take_from_page(main, DEPOT_BLOCK_BYTES);
    EXPECT(main->cache.limit > 64 * CACHE_LEAST_BYTES);
    return main;
}

static void shrinks(void)
{
    allocate_elsewhere(MAX_BLOCKS, 20 * KIB);
    struct local_heap *main = start_with_high_limit();
    size_t limit = main->cache.limit, most = 0;
    for (unsigned i = 0; i < MAX_BLOCKS; i++) {
        mi_free(blocks[i]);
        EXPECT(main->cache.limit <= limit);
        limit = main->cache.limit;
        if (most < cached_bytes(main)) most = cached_bytes(main);
    }
    EXPECT(most > 64 * CACHE_LEAST_BYTES);
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
    EXPECT(cached_bytes(main) <= CACHE_ROOMY * CACHE_LEAST_BYTES);
    expect_rules(main);
}

TEST(cache_limit_falls_to_the_least_when_the_thread_only_frees) { IN_CHILD(shrinks()); }

// Then most blocks go by without a look at the cache, whose bins of before are empty soon.
static void goes_by(void)
{
    enum { SIZES = 40, SLOW_BLOCKS = 3 * MAX_BLOCKS / 4 };
    struct local_heap *main = start();
    for (unsigned i = 0; i < MAX_BLOCKS; i++) blocks[i] = mi_malloc(1100 + i % SIZES * 300);
    thread_collect(thread_heap(), true);
    for (unsigned i = 0; i < SLOW_BLOCKS; i++) mi_free(blocks[i]);
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
    unsigned passed = 0;
    for (unsigned i = SLOW_BLOCKS; i < MAX_BLOCKS; i++) {
        mi_free(blocks[i]);
        const struct cache_passing *last = &main->cache.passing;
        passed += last->block == blocks[i];
        EXPECT(main->cache.room_bytes <= CACHE_LEAST_BYTES);
        EXPECT(cached_bytes(main) <= main->cache.room_bytes + CACHE_WAIT_BYTES);
    }
    EXPECT(passed > (MAX_BLOCKS - SLOW_BLOCKS) / 2);
    void *block = mi_malloc(1100); // from now on it is of use again
    for (unsigned i = 0; i < 4; i++, block = mi_malloc(1100)) mi_free(block);
    EXPECT(local_heap_count_cached(main, class_of_request(1100)) > 0);
    EXPECT(!main->cache.only_frees);
    expect_rules(main);
}

TEST(cache_of_no_use_lets_blocks_go_by) { IN_CHILD(goes_by()); }

static void stays_with_use(void)
{
    struct local_heap *main = start_with_high_limit();
    size_t limit = main->cache.limit;
    for (unsigned i = 0; i < 2 * MAX_BLOCKS; i++) {
        unsigned at = i % 400; // about twice the limit comes and goes
        mi_free(blocks[at]);
        blocks[at] = i / 400 % 2 == 0 ? mi_malloc(20 * KIB) : NULL;
        expect_bounded(main);
    }
    EXPECT(main->cache.limit >= limit / 2);
    expect_rules(main);
}

TEST(cache_limit_stays_high_while_what_is_freed_is_handed_out_again) { IN_CHILD(stays_with_use()); }

static void fair(void)
{
    struct local_heap *main = start_with_high_limit();
    stats_add(STAT_threads, 15);
    cache_miss(&main->cache);
    EXPECT(level_now(STAT_shared_bytes) > 0);
    EXPECT(main->cache.limit <= (CACHE_SPARE_BYTES + (size_t)level_now(STAT_shared_bytes)) / 16);
    size_t limit = main->cache.limit;
    // has no block that a cache could hold
    EXPECT(mi_malloc((size_t)64 * 1024 * KIB) != NULL);
    for (size_t bytes = 0; bytes < 8 * 1024 * KIB; bytes += CFG_OWNED_BYTES / 2)
        EXPECT(mi_malloc(CFG_OWNED_BYTES / 2) != NULL);
    EXPECT(level_now(STAT_page_bytes) > 72 * 1024 * KIB); // counted
    cache_miss(&main->cache);
    EXPECT(main->cache.limit <= limit + 16 * KIB);
    stats_add(STAT_threads, 1000);
    cache_miss(&main->cache);
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
}

TEST(cache_limit_is_an_even_part_for_each_thread_and_never_less_than_the_least)
{
    IN_CHILD(fair());
}

static void wanted_back(void)
{
    struct local_heap *main = start();
    allocate_elsewhere(20, BYTES);
    free_range(0, 2);
    EXPECT(cached_bytes(main) > 0);
    options_set(OPTION_memory_limit, 1);
    free_range(2, 20);
    EXPECT_EQ(cached_bytes(main), 0);
    expect_rules(main);
}

TEST(cache_holds_nothing_while_the_user_wants_memory_back) { IN_CHILD(wanted_back()); }

static unsigned long_classes_held(struct local_heap *main)
{
    unsigned count = 0;
    for (size_t size_class = CACHE_LONG_FIRST; size_class < CLASS_COUNT; size_class++) {
        const struct cache_bin *bin = cache_bin_of(&main->cache, size_class);
        if (cache_held(bin) > 0) count++;
    }
    return count;
}

// One of each class would fill the cache of a small program.
static void one_long_class(void)
{
    enum { MANY = 20 };
    void *two[CLASS_COUNT][2];
    EXPECT_EQ(CACHE_LONG_FIRST, class_of(64 * KIB + 1));
    struct local_heap *main = start_with_high_limit();
    allocate_elsewhere(MANY, BYTES);
    for (size_t size_class = CACHE_LONG_FIRST; size_class < CLASS_COUNT; size_class++) {
        size_t bytes = class_block_bytes(size_class) - BLOCK_PADDING_BYTES;
        for (unsigned i = 0; i < 2; i++) two[size_class][i] = mi_malloc(bytes);
    }
    size_t before = cached_bytes(main);
    for (size_t size_class = CACHE_LONG_FIRST; size_class < CLASS_COUNT; size_class++) {
        mi_free(two[size_class][0]);
        EXPECT_EQ(long_classes_held(main), 0);
        mi_free(two[size_class][1]);
        EXPECT_EQ(local_heap_count_cached(main, size_class), 1);
        EXPECT_EQ(long_classes_held(main), 1);
        expect_rules(main);
    }
    EXPECT_EQ(cached_bytes(main), before + class_block_bytes(CLASS_COUNT - 1));
    free_range(0, MANY);
    EXPECT(local_heap_count_cached(main, class_of_request(BYTES)) >= MANY);
    expect_rules(main);
}

TEST(cache_keeps_long_blocks_of_one_class_at_a_time) { IN_CHILD(one_long_class()); }

// The same buffer again and again: its page is not looked at.
static void long_again(void)
{
    enum { TURNS = 40 };
    struct local_heap *main = start();
    void *block = NULL, *last = NULL;
    for (int i = 0; i < TURNS; i++) { // the limit grows with each miss
        mi_free(mi_malloc(200 * KIB));
    }
    unsigned long long slow_paths = main->heartbeat;
    for (int i = 0; i < TURNS; i++) {
        block = mi_malloc(200 * KIB);
        EXPECT(last == NULL || block == last);
        last = block;
        mi_free(block);
    }
    EXPECT(main->heartbeat - slow_paths <= TURNS / 10);
    expect_rules(main);
}

TEST(cache_hands_out_a_long_block_that_comes_and_goes) { IN_CHILD(long_again()); }

// A block of another class sends all of them away at once.
static void few_long(void)
{
    enum { MANY = 3 * CACHE_LONG_BLOCKS };
    struct local_heap *main = start_with_high_limit();
    size_t size_class = class_of_request(70 * KIB);
    allocate_elsewhere(MANY, 70 * KIB);
    for (unsigned i = 0; i < MANY; i++) {
        free_range(i, i + 1);
        EXPECT(local_heap_count_cached(main, size_class) <= CACHE_LONG_BLOCKS);
        if (i == CACHE_LONG_BLOCKS) EXPECT(local_heap_count_cached(main, size_class) > 1);
    }
    expect_rules(main);
    mi_free(mi_malloc(200 * KIB));
    EXPECT_EQ(local_heap_count_cached(main, size_class), 0);
    expect_rules(main);
}

TEST(cache_keeps_few_long_blocks) { IN_CHILD(few_long()); }

static void too_long(void)
{
    struct local_heap *main = start();
    stats_add(STAT_threads, 1000);
    size_t size_class = class_of_request(40 * KIB);
    for (int i = 0; i < 40; i++) mi_free(mi_malloc(40 * KIB));
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
    EXPECT_EQ(local_heap_count_cached(main, size_class), 0);
    expect_rules(main);
}

TEST(cache_takes_no_block_that_is_longer_than_its_limit) { IN_CHILD(too_long()); }

// Those that the program holds take nobody's place.
static void beside_long(void)
{
    enum { MANY = 20 };
    struct local_heap *main = start_with_high_limit();
    allocate_elsewhere(MANY, BYTES);
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        (void)mi_malloc(class_block_bytes(size_class) - BLOCK_PADDING_BYTES);
    free_range(0, MANY);
    EXPECT(main->cache.held_bytes <= main->cache.limit);
    EXPECT_EQ(depot_count(class_of_request(BYTES)), 0);
    EXPECT(local_heap_count_cached(main, class_of_request(BYTES)) >= MANY);
    expect_rules(main);
}

TEST(cache_is_of_use_while_the_program_holds_many_large_blocks) { IN_CHILD(beside_long()); }

// --- classes that are out of use -----------------------------------------------------------------

// Often enough for every class to be looked at twice, and all of its blocks to go.
static void review_for_long(struct local_heap *main)
{
    for (unsigned i = 0; i < 4 * CLASS_COUNT; i++)
        cache_review(&main->cache, main->list, NOW_MS + (uint64_t)i * CACHE_REVIEW_MS);
}

static void out_of_use(void)
{
    struct local_heap *main = start();
    allocate_elsewhere(3, OTHER_BYTES);
    void *block = mi_malloc(BYTES);
    thread_collect(thread_heap(), true);
    free_range(0, 3);
    mi_free(block);
    EXPECT_EQ(local_heap_count_cached(main, class_of_request(OTHER_BYTES)), 3);
    review_for_long(main);
    EXPECT_EQ(cached_bytes(main), 0);
    EXPECT_EQ(level_now(STAT_pages), 0); // its pages, not the depot
    expect_nothing_left();
}

TEST(cache_review_returns_blocks_that_are_out_of_use_to_their_pages) { IN_CHILD(out_of_use()); }

static void review_often(struct local_heap *main, uint64_t now_ms)
{
    for (unsigned i = 0; i < 2 * CLASS_COUNT; i++) {
        cache_review(&main->cache, main->list, now_ms);
    }
}

static void not_too_early(void)
{
    struct local_heap *main = start();
    size_t size_class = class_of_request(BYTES);
    uint64_t now_ms = NOW_MS + (uint64_t)(8 * CLASS_COUNT) * CACHE_REVIEW_MS;
    allocate_elsewhere(2, BYTES);
    mi_free(blocks[0]);
    review_for_long(main);
    EXPECT(*local_heap_list(main, size_class) == NULL);
    mi_free(blocks[1]);
    review_often(main, now_ms); // seen, once
    EXPECT(*local_heap_list(main, size_class) == blocks[1]);
    review_often(main, now_ms + CACHE_REVIEW_MS - 1);
    EXPECT(*local_heap_list(main, size_class) == blocks[1]);
    review_often(main, now_ms + CACHE_REVIEW_MS);
    EXPECT(*local_heap_list(main, size_class) == NULL);
}

// Of a class whose blocks come and go another one is the first each time.
static void in_use(void)
{
    struct local_heap *main = start();
    void *first = mi_malloc(BYTES), *second = mi_malloc(BYTES), *other = mi_malloc(OTHER_BYTES);
    thread_collect(thread_heap(), true);
    mi_free(other);
    for (unsigned i = 0; i < 4 * CLASS_COUNT; i++) {
        mi_free(i % 2 == 0 ? first : second);
        mi_free(i % 2 == 0 ? second : first);
        cache_review(&main->cache, main->list, NOW_MS + (uint64_t)i * CACHE_REVIEW_MS);
        EXPECT_EQ(local_heap_count_cached(main, class_of_request(BYTES)), 2);
        EXPECT(mi_malloc(BYTES) == (i % 2 == 0 ? second : first) && mi_malloc(BYTES) != NULL);
    }
    EXPECT(*local_heap_list(main, class_of_request(OTHER_BYTES)) == NULL);
}

TEST(cache_review_leaves_what_is_in_use_or_new)
{
    IN_CHILD(not_too_early());
    IN_CHILD(in_use());
}

static void reviewed_by_malloc(void)
{
    struct local_heap *main = start();
    size_t size_class = class_of_request(OTHER_BYTES), calls = 0;
    allocate_elsewhere(5, OTHER_BYTES);
    free_range(0, 5);
    for (; *local_heap_list(main, size_class) != NULL && calls < 100 * CACHE_BEATS; calls++) {
        mi_free(mi_malloc(BYTES)); // its list is never empty
        if (calls % CACHE_BEATS == 0) fake_prim_advance_clock_ms(CACHE_REVIEW_MS);
    }
    EXPECT(*local_heap_list(main, size_class) == NULL);
    expect_rules(main);
}

TEST(cache_of_a_class_out_of_use_is_emptied_by_malloc_of_another)
{
    IN_CHILD(reviewed_by_malloc());
}

static void trimmed(void)
{
    struct local_heap *main = start_with_high_limit();
    allocate_elsewhere(60, BYTES);
    free_range(0, 60);
    size_t before = cached_bytes(main);
    EXPECT(before > 8 * CACHE_LEAST_BYTES);
    stats_add(STAT_threads, 1000); // so its part is small now
    cache_review(&main->cache, main->list, NOW_MS);
    EXPECT_EQ(main->cache.limit, CACHE_LEAST_BYTES);
    EXPECT(cached_bytes(main) < before && cached_bytes(main) > CACHE_LEAST_BYTES); // in steps
    for (unsigned i = 0; i < 60; i++) {
        for (unsigned c = CLASS_SHARED_FIRST; c < CLASS_COUNT; c++)
            main->cache.seen[c - CLASS_SHARED_FIRST] = 0; // as if all of it were new
        cache_review(&main->cache, main->list, NOW_MS);
        expect_rules(main);
    }
    EXPECT(cached_bytes(main) <= CACHE_LEAST_BYTES && cached_bytes(main) > 0);
}

TEST(cache_review_gives_away_what_is_more_than_the_thread_may_hold_by_now) { IN_CHILD(trimmed()); }

// --- all of it -----------------------------------------------------------------------------------

static void collect(void)
{
    struct local_heap *main = start_with_high_limit();
    size_t size_class = class_of_request(BYTES);
    thread_collect(thread_heap(), true);
    size_t before = used_slices();
    allocate_elsewhere(400, BYTES);
    depot_drain();
    stats_add(STAT_threads, 1); // whom the depot is for
    EXPECT(depot_take(size_class).first == NULL); // so there is room for a chain
    free_range(0, 5);
    cache_flush(&main->cache, main->list, false);
    EXPECT_EQ(depot_count(size_class), 5);
    free_range(5, 400);
    for (unsigned i = 0; i < 3; i++) { // the second time there is nothing
        thread_collect(thread_heap(), true);
        EXPECT(cached_bytes(main) == 0);
        EXPECT_EQ(depot_count(size_class), 0);
        EXPECT_EQ(used_slices(), before);
    }
    expect_rules(main);
}

TEST(cache_and_depot_are_emptied_by_collect_and_their_pages_released) { IN_CHILD(collect()); }

static void *allocate_and_free_all(void *unused)
{
    size_t bytes = BYTES;
    allocate(&bytes);
    free_range(0, block_count);
    return unused;
}

static void thread_ends(void)
{
    struct local_heap *main = start();
    size_t size_class = class_of_request(BYTES);
    block_count = 30;
    stats_add(STAT_threads, 1); // whom the depot is for
    run_thread(allocate_and_free_all, NULL);
    idle_end_all();
    EXPECT(depot_count(size_class) > 0);
    expect_rules(main);
    int64_t pages = level_now(STAT_pages);
    size_t left = depot_count(size_class);
    for (size_t i = 0; i < left; i++) EXPECT(is_one_of(mi_malloc(BYTES)));
    EXPECT_EQ(depot_count(size_class), 0);
    EXPECT_EQ(level_now(STAT_pages), pages);
    expect_rules(main);
}

TEST(cache_of_a_thread_that_ends_is_left_to_others) { IN_CHILD(thread_ends()); }

static pthread_key_t late_key;
static void free_late(void *rounds)
{
    uintptr_t left = (uintptr_t)rounds;
    if (left > 1) { // after the allocator's own destructor, whatever their order
        pthread_setspecific(late_key, (void *)(left - 1));
        return;
    }
    EXPECT(thread_heap() == &thread_ended_heap);
    free_range(0, block_count);
}

static void *ends_late(void *unused)
{
    mi_free(mi_malloc(10));
    pthread_setspecific(late_key, (void *)3);
    return unused;
}

static void ended_thread(void)
{
    start();
    pthread_key_create(&late_key, free_late);
    allocate_elsewhere(20, BYTES);
    thread_collect(thread_heap(), true); // the rest of what that thread took
    run_thread(ends_late, NULL);
    EXPECT_EQ(depot_count(class_of_request(BYTES)), 0);
    expect_nothing_left();
}

TEST(cache_of_a_thread_that_has_ended_gets_nothing_and_its_frees_reach_the_pages)
{
    IN_CHILD(ended_thread());
}
