/* test_batch.c: slices that are given back together, and slices that a heap claims ahead. */
#include "parts_test.h"
#include "heap/ahead.h"
#include "mimalloc.h"
#include "region/batch.h"

static void start(void)
{
    start_quietly();
    (void)thread_ready(thread_heap());
}

static size_t dirty_free(void)
{
    return atomic_load_explicit(&arena_main.dirty_free, memory_order_relaxed);
}

static char *claim(size_t count)
{
    bool is_zero;
    char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_zero);
    EXPECT(memory != NULL);
    memset(memory, 1, count << SLICE_SHIFT);
    return memory;
}

// --- batches -------------------------------------------------------------------------------------

static void together(void)
{
    enum { COUNT = 20 };
    char *memory[COUNT];
    struct batch batch = {{{NULL, 0, 0}}};
    start();
    for (unsigned i = 0; i < COUNT; i++) memory[i] = claim(1 + i % 3);
    size_t used = used_slices(), dirty = dirty_free(), count = 0;
    for (unsigned i = 0; i < COUNT; i += 2) {
        batch_add(&batch, memory[i], 1 + i % 3, true);
        count += 1 + i % 3;
    }
    EXPECT(used_slices() == used && dirty_free() == dirty);
    batch_release(&batch);
    EXPECT(used_slices() == used - count && dirty_free() == dirty + count);
    batch_release(&batch);
    EXPECT(used_slices() == used - count && dirty_free() == dirty + count);
    for (unsigned i = 1; i < COUNT; i += 2) arena_release(memory[i], 1 + i % 3, true);
    expect_nothing_left();
}

// More chunks than a batch has parts for.
static void of_many_chunks(void)
{
    enum { CHUNKS = 2 * BATCH_CHUNKS };
    char *memory[CHUNKS];
    struct batch batch = {{{NULL, 0, 0}}};
    start();
    for (unsigned i = 0; i < CHUNKS; i++) memory[i] = claim(CHUNK_SLICES - 1);
    for (unsigned round = 0; round < CHUNK_SLICES - 1; round++) {
        for (unsigned i = 0; i < CHUNKS; i++)
            batch_add(&batch, memory[i] + ((size_t)round << SLICE_SHIFT), 1, true);
    }
    batch_release(&batch);
    EXPECT_EQ(dirty_free(), CHUNKS * (CHUNK_SLICES - 1));
    expect_nothing_left();
}

static void at_once(size_t count, bool touched)
{
    struct batch batch = {{{NULL, 0, 0}}};
    start();
    bool is_zero;
    char *memory = (char *)arena_claim(count, SLICE_BYTES, &is_zero);
    if (touched) memset(memory, 1, count << SLICE_SHIFT);
    batch_add(&batch, memory, count, touched);
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(dirty_free(), touched ? count : 0);
    batch_release(&batch);
    expect_nothing_left();
}

TEST(batch_gives_slices_back_when_it_is_released) { IN_CHILD(together()); }
TEST(batch_of_slices_of_many_chunks_gives_all_of_them_back) { IN_CHILD(of_many_chunks()); }
TEST(batch_gives_back_at_once_what_is_clean_or_long)
{
    IN_CHILD(at_once(1, false));
    IN_CHILD(at_once(CHUNK_SLICES, true));
    IN_CHILD(at_once(3 * CHUNK_SLICES, true));
}

// --- claiming ahead ------------------------------------------------------------------------------

static void few_ahead(void)
{
    struct ahead ahead = {NULL, 0, 0};
    bool is_zero;
    start();
    for (unsigned i = 1; i < 100; i++) {
        char *memory = (char *)ahead_take(&ahead, &is_zero);
        EXPECT(memory != NULL && (uintptr_t)memory % SLICE_BYTES == 0 && is_zero);
        EXPECT_EQ(used_slices(), i + ahead.slices);
        EXPECT(ahead.slices < AHEAD_MOST && ahead.slices <= i / 2);
        EXPECT_TEXT(ahead_broken_rule(&ahead), NULL);
    }
    size_t used = used_slices(), left = ahead.slices;
    EXPECT(left > 0);
    ahead_return(&ahead);
    EXPECT(used_slices() == used - left && dirty_free() == 0 && ahead.slices == 0);
    ahead_return(&ahead);
    EXPECT_EQ(used_slices(), used - left);
}

// Dirty and clean ones in one run.
static void each_as_it_is(void)
{
    struct ahead ahead = {NULL, 0, 2 * AHEAD_MOST};
    bool is_zero;
    start();
    char *memory = claim(AHEAD_MOST);
    arena_release(memory, AHEAD_MOST / 2, true);
    memset(memory + AHEAD_MOST / 2 * SLICE_BYTES, 0, AHEAD_MOST / 2 * SLICE_BYTES);
    arena_release(memory + AHEAD_MOST / 2 * SLICE_BYTES, AHEAD_MOST / 2, false);
    for (unsigned i = 0; i < AHEAD_MOST; i++) {
        EXPECT(ahead_take(&ahead, &is_zero) == memory + (size_t)i * SLICE_BYTES);
        EXPECT_EQ(is_zero, i >= AHEAD_MOST / 2);
    }
    EXPECT_EQ(ahead.slices, 0);
}

static void one_is_left(void)
{
    struct ahead ahead = {NULL, 0, 2 * AHEAD_MOST};
    bool is_zero;
    start();
    mi_option_set(mi_option_memory_limit_hard, 2 * SLICE_BYTES / 1024);
    EXPECT(ahead_take(&ahead, &is_zero) != NULL && ahead.slices == 0);
    EXPECT(ahead_take(&ahead, &is_zero) != NULL && ahead.slices == 0);
    EXPECT(ahead_take(&ahead, &is_zero) == NULL && ahead.slices == 0);
}

TEST(ahead_takes_more_at_a_time_the_more_it_has_taken) { IN_CHILD(few_ahead()); }
TEST(ahead_tells_of_each_slice_whether_it_is_zero) { IN_CHILD(each_as_it_is()); }
// What others have, or is kept for a large block, is left alone; so are the slices of other chunks.
static void as_many_as_there_are(void)
{
    struct ahead ahead = {NULL, 0, 2 * AHEAD_MOST};
    bool is_zero;
    start();
    char *memory = claim(CHUNK_SLICES); // kept from now on
    arena_release(memory, CHUNK_SLICES, true);
    memory = claim(CHUNK_SLICES / 2);
    arena_release(memory, 1, true);
    arena_release(memory + 2 * (size_t)SLICE_BYTES, 2, true);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(ahead_take(&ahead, &is_zero) == memory + (i == 0 ? 0 : i + 1) * (size_t)SLICE_BYTES);
        EXPECT_EQ(ahead.slices, i == 1);
    }
}

static void at_the_end_of_a_chunk(void)
{
    struct ahead ahead = {NULL, 0, 2 * AHEAD_MOST};
    bool is_zero;
    start();
    char *memory = claim(CHUNK_SLICES - 1);
    EXPECT(ahead_take(&ahead, &is_zero) == memory + ((size_t)CHUNK_SLICES - 1) * SLICE_BYTES);
    EXPECT_EQ(ahead.slices, 0);
    EXPECT(ahead_take(&ahead, &is_zero) != NULL && ahead.slices == AHEAD_MOST - 1);
}

TEST(ahead_takes_what_is_free_behind_in_the_chunk)
{
    IN_CHILD(as_many_as_there_are());
    IN_CHILD(at_the_end_of_a_chunk());
}
TEST(ahead_takes_one_where_there_are_not_more) { IN_CHILD(one_is_left()); }

enum { BYTES = 64, BLOCKS = 20 * SLICE_BYTES / BYTES };

// A heap with slices ahead.
static struct mi_heap_s *start_with_heap(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    EXPECT(heap != NULL);
    for (unsigned i = 0; i < BLOCKS || heap->local->ahead.slices == 0; i++)
        EXPECT(mi_heap_malloc(heap, BYTES) != NULL);
    EXPECT_TEXT(local_heap_broken_rule(heap->local), NULL);
    return heap;
}

static void returned_by_end(void (*end)(struct mi_heap_s *heap, struct local_heap *main))
{
    struct mi_heap_s *heap = start_with_heap();
    size_t ahead = heap->local->ahead.slices, used = used_slices();
    struct local_heap *part = heap->local;
    end(heap, main_heap());
    EXPECT(used_slices() <= used - ahead && part->ahead.slices == 0);
}

static void returned_by_collect(void)
{
    struct mi_heap_s *heap = start_with_heap();
    local_heap_collect(heap->local, false);
    EXPECT_EQ(heap->local->ahead.slices, 0);
    EXPECT_EQ(used_slices(), (size_t)level_now(STAT_pages));
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

static void *allocate_and_leave(void *arg)
{
    struct mi_heap_s *heap = (struct mi_heap_s *)arg;
    for (unsigned i = 0; i < BLOCKS; i++) EXPECT(mi_heap_malloc(heap, BYTES) != NULL);
    return NULL;
}

static void returned_by_thread(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    run_thread(allocate_and_leave, heap);
    EXPECT_EQ(used_slices(), (size_t)level_now(STAT_pages));
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_that_ends_returns_what_it_has_claimed_ahead)
{
    IN_CHILD(returned_by_end(heap_destroy));
    IN_CHILD(returned_by_end(heap_delete));
}
TEST(heap_that_collects_returns_what_it_has_claimed_ahead) { IN_CHILD(returned_by_collect()); }
TEST(thread_that_ends_returns_what_it_has_claimed_ahead) { IN_CHILD(returned_by_thread()); }

// --- H8, broken on purpose -----------------------------------------------------------------------

static void expect_broken(const struct local_heap *heap, const char *text)
{
    EXPECT_TEXT(local_heap_broken_rule(heap), text);
}

static void broken(void)
{
    struct mi_heap_s *heap = start_with_heap();
    struct local_heap *part = heap->local;
    struct ahead before = part->ahead;
    part->ahead.start = (char *)main_heap();
    expect_broken(part, "H8: what was claimed ahead is no memory of ours");
    part->ahead.start = part->own[class_of(BYTES + BLOCK_PADDING_BYTES)].current->start;
    expect_broken(part, "H8: what was claimed ahead is a page");
    part->ahead = before;
    arena_unclaim(before.start, before.slices);
    expect_broken(part, "H8: what was claimed ahead is free");
    part->ahead.slices = 0;
    expect_broken(part, NULL);
    main_heap()->ahead = before;
    expect_broken(main_heap(), "H8: a heap that is not destroyed claims ahead");
}

TEST(ahead_H8_notices_what_is_free_or_a_page_or_in_another_heap) { IN_CHILD(broken()); }
