// Parts of heaps that their threads have left, and what waits in them.
#include "parts_test.h"
#include "core/hooks.h"
#include "heap/walk.h"
#include "mimalloc.h"
#include "region/pool.h"
#include <time.h>

enum { BYTES = 64, BLOCKS = 3 * SLICE_BYTES / BYTES, ROUNDS = 100 };
static const size_t large_bytes = (size_t)4 << 20;
static void *blocks[BLOCKS], *handed_over;

static struct mi_heap_s *start(void)
{
    start_quietly();
    return heap_new(thread_ready(thread_heap())->main);
}

// --- taken over ----------------------------------------------------------------------------------

static void *allocate_and_free(void *heap)
{
    void *block = mi_heap_malloc((mi_heap_t *)heap, BYTES);
    EXPECT(block != NULL && mi_heap_malloc((mi_heap_t *)heap, 3 * BYTES) != NULL);
    mi_free(block);
    return NULL;
}

static void one_after_the_other(void)
{
    struct mi_heap_s *heap = start();
    for (int i = 0; i < ROUNDS; i++) run_thread(allocate_and_free, heap);
    EXPECT_TEXT(heap_broken_rule(heap, main_heap()), NULL);
    EXPECT(part_count() <= 2 && level_now(STAT_pages) <= 2);
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_local_takes_over_a_part_that_its_thread_has_left) { IN_CHILD(one_after_the_other()); }

static void *allocate_all(void *heap)
{
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = mi_heap_malloc((mi_heap_t *)heap, BYTES);
    return NULL;
}

static void *allocate_again(void *heap)
{
    int64_t pages = level_now(STAT_pages);
    (void)allocate_all(heap);
    EXPECT(level_now(STAT_pages) <= pages + 1); // into what the first one has left
    return NULL;
}

static void free_all(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
}

static void freed_when_left(void)
{
    struct mi_heap_s *heap = start();
    run_thread(allocate_all, heap);
    free_all();
    run_thread(allocate_again, heap);
    free_all();
    EXPECT(level_now(STAT_pages) >= 3);
    mi_heap_collect(heap, true);
    EXPECT_EQ(level_now(STAT_pages), 0);
    mi_heap_destroy(heap);
    expect_nothing_left();
}

TEST(heap_part_that_was_left_gives_back_what_others_free_in_it) { IN_CHILD(freed_when_left()); }

static void *take_part(void *heap)
{
    struct local_heap *main = thread_ready(thread_heap())->main;
    struct local_heap *left = ((struct mi_heap_s *)heap)->local;
    EXPECT(heap_local((struct mi_heap_s *)heap, main) == left && left->main == main);
    EXPECT(heap_own_part((struct mi_heap_s *)heap, main) == left);
    return NULL;
}

static void *make_and_lend(void *unused)
{
    (void)unused;
    struct mi_heap_s *heap = heap_new(thread_ready(thread_heap())->main);
    EXPECT(mi_heap_malloc(heap, BYTES) != NULL);
    run_thread(allocate_all, heap); // so that it lives on
    handed_over = heap;
    return NULL;
}

static void makers_part(void)
{
    EXPECT(start() != NULL);
    run_thread(make_and_lend, NULL);
    struct mi_heap_s *heap = (struct mi_heap_s *)handed_over;
    struct local_heap *other = atomic_load_explicit(&heap->others, memory_order_acquire);
    EXPECT(heap_hold_part(other));
    run_thread(take_part, heap);
    heap_let_go_part(other, main_heap());
    EXPECT_TEXT(heap_broken_rule(heap, main_heap()), NULL);
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_local_takes_over_the_part_of_the_thread_that_made_the_heap) { IN_CHILD(makers_part()); }

// --- held ----------------------------------------------------------------------------------------

static void held(void (*end)(struct mi_heap_s *heap, struct local_heap *main), bool is_first)
{
    struct mi_heap_s *heap = start();
    run_thread(allocate_all, heap);
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    EXPECT(!heap_hold_part(heap->local)); // its thread is there
    EXPECT(heap_hold_part(part) && !heap_hold_part(part));
    EXPECT(walk_is_of(page_of(blocks[0]), heap));
    if (is_first) heap_let_go_part(part, main_heap());
    end(heap, main_heap());
    EXPECT(!heap_hold_part(part));
    if (!is_first) {
        EXPECT(level_now(STAT_pages) >= 3); // whoever holds it may be reading them
        EXPECT(!walk_is_of(page_of(blocks[0]), heap)); // though its handle may be another one's
        heap_let_go_part(part, main_heap());
    }
    if (end == heap_delete) free_all();
    expect_nothing_left();
    EXPECT(heap_new(main_heap()) != NULL && part_count() <= 2); // the parts are used again
}

TEST(heap_F3_a_held_part_is_ended_by_who_lets_go_of_it)
{
    IN_CHILD(held(heap_destroy, false));
    IN_CHILD(held(heap_delete, false));
    IN_CHILD(held(heap_destroy, true));
    IN_CHILD(held(heap_delete, true));
}

struct looker {
    struct mi_heap_s *heap;
    size_t blocks;
    bool is_second;
};

static bool count_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                        size_t block_size, void *arg);

static void *look(void *arg)
{
    struct looker *looker = (struct looker *)arg;
    EXPECT(mi_heap_visit_blocks(looker->heap, true, count_block, looker));
    EXPECT(mi_heap_contains_block(looker->heap, blocks[1]));
    return NULL;
}

// In the midst of it another thread looks at the same heap.
static bool count_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                        size_t block_size, void *arg)
{
    struct looker *looker = (struct looker *)arg;
    (void)heap, (void)area, (void)block_size;
    if (block != NULL && looker->blocks++ == 0 && !looker->is_second) {
        struct looker second = {looker->heap, 0, true};
        run_thread(look, &second);
        EXPECT_EQ(second.blocks, 0); // it leaves the part out
    }
    return true;
}

static void two_lookers(void)
{
    struct mi_heap_s *heap = start();
    struct looker first = {heap, 0, false};
    run_thread(allocate_all, heap);
    for (unsigned i = 0; i < BLOCKS; i += 2) mi_free(blocks[i]);
    (void)look(&first);
    EXPECT_EQ(first.blocks, BLOCKS / 2);
    EXPECT(!mi_heap_contains_block(heap, blocks[0]));
    mi_heap_destroy(heap);
    expect_nothing_left();
}

TEST(mi_heap_visit_blocks_leaves_a_part_out_that_another_thread_looks_into)
{
    IN_CHILD(two_lookers());
}

// A thread that ends does not look through all that its part has.
static void *come_and_go(void *heap)
{
    EXPECT(mi_heap_malloc((mi_heap_t *)heap, BYTES) != NULL);
    return NULL;
}

static void *allocate_many(void *heap)
{
    for (int i = 0; i < 30; i++) (void)allocate_all(heap); // 90 pages
    return NULL;
}

static size_t count_waiting(struct local_heap *part)
{
    size_t count = 0;
    for (const struct page *page = part->full.first; page != NULL; page = page->next)
        count += remote_waiting(page) != 0;
    return count;
}

static void bounded_leave(void)
{
    struct mi_heap_s *heap = start();
    run_thread(allocate_many, heap);
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    EXPECT(count_waiting(part) == 0 && part->full.first != NULL);
    for (struct page *page = part->full.first; page != NULL; page = page->next)
        mi_free(page_block_at(page, 0));
    size_t before = count_waiting(part);
    EXPECT(before > 60);
    run_thread(come_and_go, heap);
    EXPECT(count_waiting(part) >= before - 2 * 8); // when it comes, and when it goes
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_part_is_left_without_a_look_at_all_its_pages) { IN_CHILD(bounded_leave()); }

// --- of a thread that vanished in a fork ---------------------------------------------------------

static pthread_barrier_t gate;

static void *stay(void *heap)
{
    (void)allocate_all(heap);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    return NULL;
}

static void vanished(void (*end)(struct mi_heap_s *heap, struct local_heap *main))
{
    pthread_t thread;
    struct mi_heap_s *heap = start();
    pthread_barrier_init(&gate, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, stay, heap) == 0);
    pthread_barrier_wait(&gate);
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    const struct page *page = page_of(blocks[0]);
    uintptr_t owner = page_owner(page);
    atomic_store_explicit(&part->main->is_used, 2, memory_order_relaxed); // as in a child
    end(heap, main_heap());
    EXPECT(page_of(blocks[0]) == page && page_owner(page) == owner);
    EXPECT_EQ(level_now(STAT_heaps), 0);
    free_all(); // that still can be
    EXPECT(mi_malloc(BYTES) != blocks[0]);
}

static void *start_one(void *unused)
{
    (void)unused;
    EXPECT(mi_malloc(BYTES) != NULL);
    return NULL;
}

// In a child, before any other call of this thread, and after another one's first: of its heap's
// parts the thread's own goes, the other one's stays.
static void in_child(bool another_is_first)
{
    pthread_t thread;
    struct mi_heap_s *heap = start();
    pthread_barrier_init(&gate, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, stay, heap) == 0);
    pthread_barrier_wait(&gate);
    void *others = blocks[0];
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    const struct page *own_page = page_of(mi_heap_malloc(heap, BYTES));
    EXPECT(own_page->block_bytes != 0);
    if (test_fork()) {
        if (another_is_first) run_thread(start_one, NULL);
        mi_heap_destroy(heap);
        EXPECT(own_page->block_bytes == 0 && page_of(others)->block_bytes != 0);
        EXPECT(atomic_load_explicit(&part->heap, memory_order_relaxed) == NULL);
        mi_free(others);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
    mi_heap_destroy(heap);
    expect_nothing_left();
}

TEST(mi_heap_destroy_in_a_forked_child_finds_out_first_who_is_gone)
{
    IN_CHILD(in_child(false));
    if (!TEST_TSAN) IN_CHILD(in_child(true)); // it starts no threads after a fork
}

TEST(heap_end_leaves_the_part_of_a_vanished_thread_alone)
{
    IN_CHILD(vanished(heap_destroy));
    IN_CHILD(vanished(heap_delete));
}

// --- large blocks --------------------------------------------------------------------------------

static void *allocate_large(void *heap)
{
    handed_over = mi_heap_malloc((mi_heap_t *)heap, large_bytes);
    EXPECT(handed_over != NULL);
    return NULL;
}

static void *free_handed_over(void *unused)
{
    (void)unused;
    mi_free(handed_over);
    return NULL;
}

static void large_of_ended_threads(void)
{
    struct mi_heap_s *heap = start();
    for (int i = 0; i < ROUNDS; i++) {
        run_thread(allocate_large, heap);
        mi_free(handed_over);
    }
    EXPECT(level_now(STAT_large) <= (int64_t)(2 * large_bytes));
    mi_heap_collect(heap, true);
    EXPECT_EQ(level_now(STAT_large), 0);
}

static void large_freed_elsewhere(void)
{
    struct mi_heap_s *heap = start();
    for (unsigned i = 0; i < BLOCKS; i++) EXPECT(mi_heap_malloc(heap, BYTES) != NULL);
    for (int i = 0; i < ROUNDS; i++) {
        (void)allocate_large(heap);
        run_thread(free_handed_over, NULL);
    }
    EXPECT(level_now(STAT_large) <= (int64_t)(2 * large_bytes));
}

static void large_within_limit(void)
{
    struct mi_heap_s *heap = start();
    for (unsigned i = 0; i < 16; i++) blocks[i] = mi_heap_malloc(heap, large_bytes);
    for (unsigned i = 0; i < 16; i++) {
        handed_over = blocks[i];
        run_thread(free_handed_over, NULL);
    }
    options_set(OPTION_memory_limit_hard, (long)(18 * large_bytes >> 10));
    EXPECT(mi_heap_malloc(heap, 16 * large_bytes) != NULL);
}

TEST(heap_takes_back_the_large_blocks_that_other_threads_free)
{
    IN_CHILD(large_of_ended_threads());
    IN_CHILD(large_freed_elsewhere());
    IN_CHILD(large_within_limit());
}

static int reported;
static void note_error(int code, void *arg)
{
    (void)arg;
    reported = code;
}

static void *free_twice(void *unused)
{
    (void)unused;
    mi_free(handed_over);
    EXPECT(reported == 0);
    mi_free(handed_over);
    EXPECT(reported != 0);
    return NULL;
}

// By a thread that does not own it: the block waits for its owner.
static void large_freed_twice(void)
{
    struct mi_heap_s *heap = start();
    hooks_set_error(note_error, NULL);
    (void)allocate_large(heap);
    run_thread(free_twice, NULL);
    reported = 0;
    mi_free(handed_over);
    EXPECT(reported != 0);
    mi_heap_collect(heap, true);
    EXPECT_EQ(level_now(STAT_large), 0);
    (void)allocate_large(heap);
    mi_heap_delete(heap); // and when it is parked
    reported = 0;
    run_thread(free_twice, NULL);
    hooks_set_error(NULL, NULL);
    expect_nothing_left();
}

TEST(mi_free_notices_the_second_free_of_a_heaps_large_block)
{
    IN_CHILD(large_freed_twice());
}

// --- many heaps ----------------------------------------------------------------------------------

static void many_heaps(void)
{
    enum { HEAPS = 3000 };
    static struct mi_heap_s *heaps[HEAPS];
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap())->main;
    for (int i = 0; i < HEAPS; i++) heaps[i] = heap_new(main);
    EXPECT(mi_heap_malloc(heaps[0], BYTES) != NULL && main->near == heaps[0]->local);
    EXPECT(mi_heap_malloc(heaps[7], BYTES) != NULL && main->near == heaps[7]->local);
    thread_set_default(heaps[3]->local);
    mi_free(mi_heap_malloc(&main->backing, BYTES));
    EXPECT(main->near == main && mi_heap_malloc(heaps[7], BYTES) != NULL);
    thread_set_default(main);
    heap_destroy(heaps[7], main);
    EXPECT(main->near == main);
    for (int i = 0; i < HEAPS; i++) if (i != 7) heap_destroy(heaps[i], main);
    EXPECT_TEXT(heap_broken_rule(NULL, main), NULL);
    expect_nothing_left();
}

TEST(heap_local_is_near_whichever_of_many_heaps_is_used) { IN_CHILD(many_heaps()); }

static void *heaps_handle;
static void *use_and_wait(void *unused)
{
    (void)unused;
    struct local_heap *main = thread_ready(thread_heap())->main;
    EXPECT(mi_heap_malloc((mi_heap_t *)heaps_handle, BYTES) != NULL);
    pthread_barrier_wait(&gate); // deleted by another thread
    pthread_barrier_wait(&gate); // which made another one that has the same handle
    void *block = mi_heap_malloc((mi_heap_t *)heaps_handle, BYTES);
    EXPECT(block != NULL && walk_is_of(page_of(block), (struct mi_heap_s *)heaps_handle));
    EXPECT_TEXT(heap_broken_rule((struct mi_heap_s *)heaps_handle, main), NULL);
    return NULL;
}

static void near_is_gone(void)
{
    pthread_t thread;
    struct mi_heap_s *heap = start();
    heaps_handle = heap;
    pthread_barrier_init(&gate, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, use_and_wait, NULL) == 0);
    pthread_barrier_wait(&gate);
    heap_delete(heap, main_heap());
    EXPECT(heap_new(main_heap()) == heap);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}

TEST(heap_local_is_not_mistaken_when_a_handle_is_used_again) { IN_CHILD(near_is_gone()); }

// Heaps that another thread made, so that none of them has its first part here. The heaps' threads
// are few.
static struct mi_heap_s *others_heaps[4000];
static uint64_t parts_ns;
static void *time_parts(void *count)
{
    enum { CALLS = 4000 };
    struct local_heap *main = thread_ready(thread_heap())->main;
    unsigned heaps = *(const unsigned *)count;
    for (unsigned i = 0; i < heaps; i++) EXPECT(heap_local(others_heaps[i], main) != NULL);
    struct timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (unsigned i = 0; i < CALLS; i++) {
        struct mi_heap_s *heap = others_heaps[i % heaps];
        EXPECT(local_heap_handle_of(heap_own_part(heap, main)) == heap);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    uint64_t ns = (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000 + (uint64_t)end.tv_nsec;
    parts_ns = ns - (uint64_t)start.tv_nsec;
    return NULL;
}

// The least of some tries: what a busy machine takes away from one of them is counted, too.
static uint64_t time_of_parts(unsigned count)
{
    enum { TRIES = 5 };
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < TRIES; i++) {
        run_thread(time_parts, &count);
        if (parts_ns < least) least = parts_ns;
    }
    return least;
}

static void others_many_heaps(void)
{
    enum { HEAPS = sizeof(others_heaps) / sizeof(others_heaps[0]), FEW = 10 };
    start_quietly();
    struct local_heap *main = thread_ready(thread_heap())->main;
    for (unsigned i = 0; i < HEAPS; i++) others_heaps[i] = heap_new(main);
    uint64_t few_ns = time_of_parts(FEW), ns = time_of_parts(HEAPS);
    EXPECT(ns < 50 * few_ns); // of memory that is in no cache; through one list it is 1000 times
}

TEST(heap_own_part_is_found_soon_among_many_of_other_threads_heaps)
{
    IN_CHILD(others_many_heaps());
}

// --- the default heap is gone --------------------------------------------------------------------

static void *go_on_without_default(void *heap)
{
    struct local_heap *main = thread_ready(thread_heap())->main;
    ignore_result(mi_heap_set_default((mi_heap_t *)heap));
    EXPECT(thread_heap() != main && mi_malloc(BYTES) != NULL);
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate); // ended by another thread
    void *block = mi_malloc(BYTES);
    EXPECT(thread_heap() == main && walk_is_of(page_of(block), &main->backing));
    EXPECT(mi_heap_get_default() == &main->backing);
    // a heap that begins with the part that is free now is not the default one's
    struct mi_heap_s *next = mi_heap_new();
    EXPECT(!mi_heap_check_owned(next, block));
    mi_heap_destroy(next);
    mi_free(block);
    return NULL;
}

static void *choose_another_default(void *heap)
{
    struct local_heap *main = thread_ready(thread_heap())->main;
    ignore_result(mi_heap_set_default((mi_heap_t *)heap));
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    struct mi_heap_s *next = mi_heap_new();
    EXPECT(mi_heap_set_default(next) == &main->backing && mi_heap_get_default() == next);
    return NULL;
}

static void default_is_gone(void *(*run)(void *), void (*end)(mi_heap_t *))
{
    pthread_t thread;
    struct mi_heap_s *heap = start();
    pthread_barrier_init(&gate, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, run, heap) == 0);
    pthread_barrier_wait(&gate);
    end(heap);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
    expect_nothing_left();
}

TEST(thread_whose_default_heap_another_one_ends_goes_on_with_its_backing_heap)
{
    IN_CHILD(default_is_gone(go_on_without_default, mi_heap_destroy));
    IN_CHILD(default_is_gone(choose_another_default, mi_heap_delete));
}

// --- looked into ---------------------------------------------------------------------------------

static void freed_in_left_part(void)
{
    struct mi_heap_s *heap = start();
    run_thread(allocate_all, heap);
    free_all();
    EXPECT(level_now(STAT_pages) >= 3);
    mi_collect(false);
    EXPECT(level_now(STAT_pages) >= 3);
    mi_collect(true);
    EXPECT_EQ(level_now(STAT_pages), 0);
    mi_heap_destroy(heap);
}

TEST(mi_collect_gives_back_what_others_free_in_a_part_that_was_left)
{
    IN_CHILD(freed_in_left_part());
}

struct seen_blocks {
    struct mi_heap_s *other;
    void *block, *others;
    bool is_seen;
};

static void *make_it_the_others(void *arg)
{
    struct seen_blocks *seen = (struct seen_blocks *)arg;
    mi_free(seen->block);
    seen->others = mi_heap_malloc(seen->other, large_bytes);
    return NULL;
}

// While it is shown where the block is, another thread frees it, allocates one of another heap
// there, and ends.
static bool replace_block(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                          size_t block_bytes, void *arg)
{
    struct seen_blocks *seen = (struct seen_blocks *)arg;
    (void)heap;
    (void)block_bytes;
    if (block == NULL && area->blocks == seen->block) run_thread(make_it_the_others, seen);
    if (block == seen->block) seen->is_seen = true;
    return true;
}

static void visit_replaced(void)
{
    struct mi_heap_s *heap = start();
    struct seen_blocks seen = {heap, mi_malloc(large_bytes), NULL, false};
    EXPECT(mi_heap_visit_blocks(mi_heap_get_backing(), true, replace_block, &seen));
    EXPECT(seen.others == seen.block && !seen.is_seen);
    EXPECT(mi_heap_check_owned(heap, seen.others));
}

TEST(mi_heap_visit_blocks_does_not_show_what_became_another_heaps_meanwhile)
{
    IN_CHILD(visit_replaced());
}
