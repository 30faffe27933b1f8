#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/cache.h"
#include "mimalloc.h"
#include "page/depot.h"

// What is wrong in a cache: the rules H6 and H7, broken on purpose, and links that a program wrote
// over.

enum { BYTES = 5000, OTHER_BYTES = 3000, IN_CACHE = 3 };
static void *blocks[2 * IN_CACHE];
static size_t size_class;

static void expect_rules(void)
{
    EXPECT_TEXT(local_heap_broken_rule(thread_heap()->main), NULL);
    EXPECT_TEXT(depot_broken_rule(), NULL);
}

// blocks[0] .. [IN_CACHE - 1] are in the cache, in this order; the others are in use.
static struct local_heap *filled_cache(void)
{
    start_quietly();
    for (unsigned i = 0; i < 2 * IN_CACHE; i++) blocks[i] = mi_malloc(BYTES);
    size_class = page_of(blocks[0])->size_class;
    struct local_heap *main = thread_heap()->main;
    thread_collect(thread_heap(), true);
    for (unsigned i = IN_CACHE; i-- > 0;) mi_free(blocks[i]);
    EXPECT_EQ(local_heap_count_cached(main, size_class), IN_CACHE);
    expect_rules();
    return main;
}

static void expect_broken(const char *text)
{
    EXPECT_TEXT(local_heap_broken_rule(thread_heap()->main), text);
}

// --- H6 and H7, broken on purpose ----------------------------------------------------------------

static void leads_to(void *block)
{
    block_set_next((struct block *)blocks[1], (struct block *)block, &page_of(blocks[1])->key);
    expect_broken("H6: the cache holds what is not for it");
}

static void begins_with(void *block)
{
    *local_heap_list(thread_heap()->main, size_class) = (struct block *)block;
    expect_broken("H6: the cache holds what is not for it");
}

static void other_class(void)
{
    ignore_result(filled_cache());
    void *other = mi_malloc(OTHER_BYTES);
    EXPECT(page_is_shared(page_of(other)));
    leads_to(other);
    begins_with(other);
}

static void other_heaps_page(void)
{
    struct local_heap *main = filled_cache();
    void *other = mi_heap_malloc(heap_new(main), BYTES);
    EXPECT_EQ(page_of(other)->size_class, size_class);
    leads_to(other);
    begins_with(other);
}

static void no_block(void *address)
{
    ignore_result(filled_cache());
    leads_to(address);
    begins_with(address);
}

static void inside_block(void)
{
    ignore_result(filled_cache());
    leads_to((char *)blocks[2] + CLASS_STEP_BYTES);
    begins_with((char *)blocks[0] + CLASS_STEP_BYTES);
}

static void block_in_use(void)
{
    ignore_result(filled_cache());
    leads_to(blocks[IN_CACHE]);
    begins_with(blocks[IN_CACHE]);
}

static void held_is_miscounted(void)
{
    struct local_heap *main = filled_cache();
    struct cache_bin *bin = cache_bin_of(&main->cache, size_class), before = *bin;
    bin->room++;
    expect_broken("H7: a bin does not hold as much as is counted");
    *bin = before;
    bin->room--;
    expect_broken("H7: a bin does not hold as much as is counted");
    bin->left = before.room + 1u;
    expect_broken("H7: a bin has more room left than it has");
    *bin = before;
    bin->counted++;
    expect_broken("H7: the bins do not come to what is counted");
    *bin = before;
    main->cache.room_bytes++;
    expect_broken("H7: the bins do not come to what is counted");
}

static void held_twice(void)
{
    ignore_result(filled_cache());
    struct block *last = (struct block *)blocks[IN_CACHE - 1];
    block_set_next(last, (struct block *)blocks[0], &page_of(last)->key);
    expect_broken("H7: a bin does not hold as much as is counted");
}

static void lost(void)
{
    ignore_result(filled_cache());
    block_set_next((struct block *)blocks[0], NULL, &page_of(blocks[0])->key);
    expect_broken("H7: a bin does not hold as much as is counted");
}

TEST(cache_H6_notices_what_is_no_block_of_the_class_and_of_a_shared_page)
{
    IN_CHILD(other_class());
    IN_CHILD(other_heaps_page());
    IN_CHILD(inside_block());
    IN_CHILD(no_block((void *)(uintptr_t)0x80)); // where nothing can be read
    IN_CHILD(no_block(&size_class));
}
TEST(cache_H6_notices_a_block_that_is_in_use)
{
    if (CFG_STATES) IN_CHILD(block_in_use());
}
TEST(cache_H7_notices_a_wrong_count) { IN_CHILD(held_is_miscounted()); }
TEST(cache_H7_notices_a_block_that_is_there_twice_or_lost)
{
    IN_CHILD(held_twice());
    IN_CHILD(lost());
}

// --- a link that was overwritten (debug and secure builds) ---------------------------------------

// The user wrote to a block after its free, and allocates on.
static void corrupt_and_allocate(void)
{
    ignore_result(filled_cache());
    *(uintptr_t *)blocks[0] = 0x4141414141414141;
    for (unsigned i = 0; i < IN_CACHE; i++) EXPECT(mi_malloc(BYTES) != NULL);
}

static void corrupt_and_flush(bool to_pages)
{
    struct local_heap *main = filled_cache();
    *(uintptr_t *)blocks[1] = 0x4141414141414141;
    cache_flush(&main->cache, main->list, to_pages);
}

static void go_on_allocating(void)
{
    struct fault_count faults = {EFAULT, 0};
    hooks_set_error(count_fault, &faults);
    corrupt_and_allocate();
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    expect_rules();
    EXPECT(mi_malloc(BYTES) != blocks[0] && faults.count == 1);
}

static void go_on_flushing(void)
{
    struct fault_count faults = {EFAULT, 0};
    hooks_set_error(count_fault, &faults);
    corrupt_and_flush(true);
    report_if_left();
    EXPECT(faults.count >= 1);
    struct local_heap *main = thread_heap()->main;
    EXPECT(main->cache.held_bytes == 0 && *local_heap_list(main, size_class) == NULL);
    expect_rules();
    EXPECT_EQ(remote_waiting(page_of(blocks[0])), 2); // what can be trusted
    EXPECT_TEXT(remote_broken_rule(page_of(blocks[0])), NULL);
}

TEST(cache_reports_a_link_that_leads_astray)
{
    if (!CFG_STATES) return;
    EXPECT_DEATH(corrupt_and_allocate(), "corrupted free list");
    EXPECT_DEATH(corrupt_and_flush(true), "corrupted free list");
    EXPECT_DEATH(corrupt_and_flush(false), "corrupted free list");
}
TEST(cache_goes_on_after_a_link_that_leads_astray)
{
    if (!CFG_STATES) return;
    IN_CHILD(go_on_allocating());
    IN_CHILD(go_on_flushing());
}

static void free_twice(void)
{
    ignore_result(filled_cache());
    mi_free(blocks[1]); // not the one that was freed last
}

TEST(cache_takes_no_block_twice)
{
    if (CFG_STATES) EXPECT_DEATH(free_twice(), "double free");
}
