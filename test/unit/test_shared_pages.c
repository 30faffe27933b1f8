#include "shared_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "mimalloc.h"

// Blocks above 1 KiB and their pages, as the public functions see them. How a cache and the depot
// do what they do: test_cache.c and test_depot.c.

enum { BYTES = 5000, MAX_BLOCKS = 64, KIB = 1024 };
static void *blocks[MAX_BLOCKS];
static unsigned block_count; // of `blocks`, that somebody else may allocate or free

static struct local_heap *start(void)
{
    start_quietly();
    return thread_ready(thread_heap())->main;
}

static void free_range(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) mi_free(blocks[i]);
}

static void *free_all(void *unused)
{
    free_range(0, block_count);
    return unused;
}

// --- zeroes --------------------------------------------------------------------------------------

static void expect_zeroes(size_t bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = mi_calloc(1, bytes);
        EXPECT(is_zero(blocks[i], bytes));
        memset(blocks[i], 0xA5, bytes);
    }
}

static void zeroes(void)
{
    struct local_heap *main = start();
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class += 3) {
        size_t bytes = class_block_bytes(size_class) - BLOCK_PADDING_BYTES;
        expect_zeroes(bytes, 5); // new memory, as the OS gives it
        free_range(0, 5);
        expect_zeroes(bytes, 5); // out of the cache, or of pages that were used
        // what is left in a bin is dirty, or may be
        EXPECT(size_class < CLASS_BINNED_FIRST || !local_heap_is_zero(main, size_class));
        free_range(0, 5);
    }
    expect_nothing_left();
    expect_zeroes(BYTES, 20); // slices that were used
}

TEST(shared_pages_give_calloc_zeroes_when_new_and_when_used) { IN_CHILD(zeroes()); }

static void *leave_dirty_blocks(void *unused)
{
    for (unsigned i = 0; i < block_count; i++) {
        blocks[i] = mi_malloc(BYTES);
        memset(blocks[i], 0xA5, BYTES);
    }
    return free_all(unused);
}

static void zeroes_from_depot(void)
{
    start();
    block_count = 30;
    stats_add(STAT_threads, 1); // whom the depot is for
    run_thread(leave_dirty_blocks, NULL);
    idle_end_all();
    EXPECT(depot_count(class_of_request(BYTES)) > 0);
    expect_zeroes(BYTES, 30);
}

TEST(shared_pages_give_calloc_zeroes_from_what_other_threads_left)
{
    IN_CHILD(zeroes_from_depot());
}

// One block of a page at a time: so a new one reads as zeroes, but not what is freed after it.
static void zero_is_forgotten(void)
{
    struct local_heap *main = start();
    size_t bytes = 40 * KIB, size_class = class_of_request(bytes);
    char *block = (char *)mi_malloc(bytes); // zeroes, but for a debug build's contents
    EXPECT(!local_heap_is_zero(main, size_class));
    memset(block, 0xA5, bytes);
    mi_free(block);
    block = (char *)mi_calloc(1, bytes);
    EXPECT(is_zero(block, bytes));
}

TEST(shared_pages_that_are_new_are_known_as_zero_for_one_block_only)
{
    IN_CHILD(zero_is_forgotten());
}

// --- the heartbeat -------------------------------------------------------------------------------

static void beats(void *(*allocates)(size_t count, size_t bytes))
{
    enum { ROUNDS = 10 };
    struct local_heap *main = start();
    mi_free(allocates(1, BYTES));
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned long long before = main->heartbeat;
        atomic_store_explicit(&main->collect_asked, 1, memory_order_relaxed);
        for (unsigned i = 0; i < CACHE_BEATS; i++) mi_free(allocates(1, BYTES));
        EXPECT(main->heartbeat > before);
        EXPECT(main->heartbeat <= before + 2); // but seldom
        EXPECT_EQ(atomic_load_explicit(&main->collect_asked, memory_order_relaxed), 0);
    }
}

TEST(shared_blocks_leave_the_slow_path_its_turn_while_one_comes_and_goes)
{
    IN_CHILD(beats(mi_mallocn));
    IN_CHILD(beats(mi_calloc));
}

// --- heaps that were made ------------------------------------------------------------------------

static struct mi_heap_s *heap_with_blocks(unsigned count, size_t bytes)
{
    struct mi_heap_s *heap = heap_new(start());
    block_count = count;
    for (unsigned i = 0; i < count; i++) blocks[i] = mi_heap_malloc(heap, bytes);
    return heap;
}

static void *free_all_into_no_cache(void *unused)
{
    (void)free_all(NULL);
    const struct local_heap *main = thread_heap()->main;
    EXPECT(main == NULL || (cached_bytes(main) == 0));
    return unused;
}

static void made_heap(size_t bytes)
{
    struct mi_heap_s *heap = heap_with_blocks(40, bytes);
    struct local_heap *part = heap->local, *main = part->main;
    for (unsigned i = 0; i < 40; i++) {
        struct page *page = page_of(blocks[i]);
        EXPECT((page_owner(page) & ~(uintptr_t)OWNER_FULL) == (uintptr_t)part);
        EXPECT((page->flags & PAGE_PINNED) != 0 && !remote_is_parked(page));
    }
    free_range(20, 40);
    EXPECT(cached_bytes(main) == 0);
    block_count = 20;
    run_thread(free_all_into_no_cache, NULL);
    EXPECT(depot_count(class_of_request(bytes)) == 0 && level_now(STAT_pages_parked) == 0);
    for (unsigned i = 0; i < 40; i++) EXPECT(!page_is_shared(page_of(mi_heap_malloc(heap, bytes))));
    EXPECT_TEXT(local_heap_broken_rule(part), NULL);
    expect_rules(main);
    heap_destroy(heap, main);
    expect_nothing_left();
}

TEST(shared_pages_are_none_of_a_made_heap_and_no_cache_gets_its_blocks)
{
    IN_CHILD(made_heap(BYTES));
    IN_CHILD(made_heap(60 * KIB));
}

static void made_heap_is_default(void)
{
    struct local_heap *main = start();
    void *shared = mi_malloc(BYTES);
    thread_collect(thread_heap(), true);
    thread_set_default(heap_new(main)->local);
    void *own = mi_malloc(BYTES);
    EXPECT(!page_is_shared(page_of(own)));
    mi_free(own);
    mi_free(shared);
    EXPECT_EQ(local_heap_count_cached(main, class_of_request(BYTES)), 1);
    EXPECT(*local_heap_list(main, class_of_request(BYTES)) == shared && mi_malloc(BYTES) != shared);
    expect_rules(main);
    thread_set_default(main);
    EXPECT(mi_malloc(BYTES) == shared);
}

TEST(shared_blocks_wait_in_the_cache_while_another_heap_is_the_default)
{
    IN_CHILD(made_heap_is_default());
}

static void expect_shared(const void *block)
{
    const struct page *page = page_of(block);
    for (uint32_t i = 0; i < page->slices; i++) EXPECT_EQ(page_owner(&page[i]), PAGE_OWNER_ALL);
}

static void deleted_heap(size_t bytes)
{
    struct mi_heap_s *heap = heap_with_blocks(60, bytes);
    struct local_heap *main = heap->local->main;
    free_range(40, 60);
    block_count = 20;
    heap_delete(heap, main);
    for (unsigned i = 0; i < 40; i++) {
        expect_shared(blocks[i]);
        memset(blocks[i], 0xA5, bytes);
    }
    expect_rules(main);
    run_thread(free_all, NULL);
    free_range(20, 40);
    expect_rules(main);
    expect_nothing_left();
}

TEST(shared_pages_are_those_of_a_deleted_heap_whose_blocks_any_thread_frees)
{
    IN_CHILD(deleted_heap(BYTES));
    IN_CHILD(deleted_heap(60 * KIB)); // a page of several slices
    IN_CHILD(deleted_heap(500 * KIB));
}

static void *allocate_in_heap_and_end(void *unused)
{
    struct mi_heap_s *heap = heap_new(thread_ready(thread_heap())->main);
    for (unsigned i = 0; i < block_count; i++) blocks[i] = mi_heap_malloc(heap, BYTES);
    return unused;
}

static void heap_ends_with_thread(void)
{
    start();
    block_count = 40;
    run_thread(allocate_in_heap_and_end, NULL);
    for (unsigned i = 0; i < 40; i++) expect_shared(blocks[i]);
    free_range(0, 40);
    expect_nothing_left();
}

TEST(shared_pages_are_those_of_a_heap_that_ended_with_its_thread)
{
    IN_CHILD(heap_ends_with_thread());
}

// --- pointers into blocks ------------------------------------------------------------------------

struct interior {
    size_t bytes, alignment, offset;
};
static struct interior interior;

// Where no block of these classes begins.
static void *allocate_interior(void *unused)
{
    for (unsigned i = 0; i < block_count; i++) {
        blocks[i] = mi_malloc_aligned_at(interior.bytes, interior.alignment, interior.offset);
        memset(blocks[i], 0xA5, interior.bytes);
        EXPECT(((uintptr_t)blocks[i] + interior.offset) % interior.alignment == 0);
        EXPECT(mi_usable_size(blocks[i]) >= interior.bytes);
        EXPECT(page_is_shared(page_of(blocks[i])) &&
               !page_has_block_at(page_of(blocks[i]), blocks[i]));
    }
    return unused;
}

static void free_interior(size_t bytes, size_t alignment, size_t offset)
{
    interior = (struct interior){bytes, alignment, offset};
    struct local_heap *main = start();
    block_count = 40;
    allocate_interior(NULL);
    size_t size_class = page_of(blocks[0])->size_class;
    thread_collect(thread_heap(), true);
    struct page *page = page_of(blocks[39]);
    struct block *block = page_block_at(page, page_index_of(page, blocks[39]));
    bool is_cached = size_class < CACHE_LONG_FIRST && page->block_bytes <= main->cache.limit;
    mi_free(blocks[39]); // into this thread's cache, or its page
    EXPECT(cache_bin_of(&main->cache, size_class)->list == (is_cached ? block : NULL));
    expect_rules(main);
    free_range(20, 39);
    block_count = 20;
    run_thread(free_all, NULL);
    expect_rules(main);
    void *whole = mi_malloc(class_block_bytes(size_class) - BLOCK_PADDING_BYTES);
    EXPECT(page_has_block_at(page_of(whole), whole)); // in a page that knows interior pointers
    mi_free(whole);
    expect_nothing_left();
}

TEST(shared_blocks_come_back_from_pointers_into_them)
{
    if (class_is_shared(class_of(384))) IN_CHILD(free_interior(321 - BLOCK_PADDING_BYTES, 64, 16));
    IN_CHILD(free_interior(2000, 64, 16));
    IN_CHILD(free_interior(BYTES, 256, 16));
    IN_CHILD(free_interior(50 * KIB, 4096, 64)); // in later slices of a page, too
    IN_CHILD(free_interior(300 * KIB, 4096, 64));
}

// --- many threads --------------------------------------------------------------------------------

enum { SLOTS = 64, ROUNDS = TEST_TSAN ? 3000 : 20000 };
static ATOMIC(unsigned char *) exchanged[SLOTS]; // any thread's blocks, for any thread to free

// At both ends of a block.
struct stamp {
    size_t bytes;
    uint64_t mark;
};

static void stamp(unsigned char *block, size_t bytes, uint64_t mark)
{
    struct stamp stamp = {bytes, mark};
    memcpy(block, &stamp, sizeof stamp);
    memcpy(block + bytes - sizeof stamp, &stamp, sizeof stamp);
}

static void free_stamped(unsigned char *block)
{
    struct stamp first, last;
    if (block == NULL) return;
    memcpy(&first, block, sizeof first);
    memcpy(&last, block + first.bytes - sizeof last, sizeof last);
    EXPECT(first.bytes == last.bytes && first.mark == last.mark);
    mi_free(block);
}

static unsigned char *allocate_somehow(uint64_t *random, size_t bytes)
{
    switch (test_random(random) % 8) {
    case 0: return (unsigned char *)mi_malloc_aligned_at(bytes, 256, 16);
    case 1: {
        unsigned char *block = (unsigned char *)mi_calloc(1, bytes);
        EXPECT(is_zero(block, bytes));
        return block;
    }
    default: return (unsigned char *)mi_malloc(bytes);
    }
}

static void *pass_blocks(void *number)
{
    uint64_t random = (uintptr_t)number + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t bytes = 1025 + test_random(&random) % (round % 16 == 0 ? 100000 : 6000);
        unsigned char *block = allocate_somehow(&random, bytes);
        stamp(block, bytes, test_random(&random));
        ATOMIC(unsigned char *) *slot = &exchanged[test_random(&random) % SLOTS];
        free_stamped(atomic_exchange_explicit(slot, block, memory_order_acq_rel));
        if (round % 4096 == 4095) thread_collect(thread_heap(), true);
    }
    EXPECT_TEXT(local_heap_broken_rule(thread_heap()->main), NULL);
    return NULL;
}

static void many_threads(void)
{
    start();
    run_threads(4, pass_blocks);
    for (unsigned i = 0; i < SLOTS; i++)
        free_stamped(atomic_load_explicit(&exchanged[i], memory_order_acquire));
    expect_nothing_left();
}

TEST(shared_blocks_keep_their_contents_while_threads_pass_them_on) { IN_CHILD(many_threads()); }

// --- a hole with a block in use (T3) -------------------------------------------------------------

static void count_any_fault(int code, void *count)
{
    EXPECT(code == EAGAIN || code == EFAULT); // a debug build sees first that the page is not whole
    ++*(int *)count;
}

// It is all the room of its page: malloc goes on to another one.
static void only_room_is_used_hole(void)
{
    enum { SIZE = 2000 };
    int faults = 0;
    start();
    fake_prim_catch_errors();
    struct page *page = page_of(mi_malloc(SIZE));
    EXPECT(page_is_shared(page));
    while (page->capacity < page->reserved || page->out < page->reserved) (void)mi_malloc(SIZE);
    for (uint32_t i = 0; i < 24; i++) (void)mi_malloc(SIZE); // more than what is in the cache
    for (uint32_t i = 8; i < 12; i++) mi_free(page_block_at(page, i));
    mi_collect(true);
    struct block *used = NULL;
    for (uint32_t i = 8; i < 12; i++) {
        if (page_has_in_hole(page, page_block_at(page, i))) used = page_block_at(page, i);
    }
    EXPECT(used != NULL);
    hooks_set_error(count_any_fault, &faults);
    mark(used, STATE_IN_USE);
    while (page->holes != 0) {
        void *block = mi_malloc(SIZE);
        EXPECT(block != NULL && block != used);
    }
    report_if_left();
    EXPECT(faults >= 1);
    for (uint32_t i = 0; i < 100; i++) EXPECT(mi_malloc(SIZE) != used);
}

TEST(shared_page_whose_only_room_is_a_hole_with_a_block_in_use_is_passed_over)
{
    if (CFG_STATES) IN_CHILD(only_room_is_used_hole());
}
