#include "unit_test.h"
#include "mimalloc.h"
#include "page/depot.h"

/* How many OS calls one call of the allocator makes. doc/design.md states these bounds; here they
 * are counted over long random runs, after the thread has started:
 *
 *   free                 a purge step (every 16th page that becomes empty), a map and advice where
 *                        memory was moved, and in a secure build an unguard for each page that is
 *                        released: those that a cache empties when it gives blocks away, a few
 *                        chains at most
 *   malloc, realloc, ... the same, one growth (a map, advice, one access for each part of the side
 *                        memory), a guard, and the move of a block: of each of its mappings
 *   realloc              one purge step more: it allocates and frees
 */
enum {
    SLOTS = 500,
    ROUNDS = 30000,
    MOST_FREE_CALLS = PURGE_STEP_RUNS * PURGE_RUN_CALLS + 2,
    MOST_CALLS = MOST_FREE_CALLS + 7 + 2 + OS_MOVE_PIECES,
    MOST_RESIZE_CALLS = MOST_CALLS + PURGE_STEP_RUNS * PURGE_RUN_CALLS,
    // an overflow gives nine chains away; each may find no room, and make another one return
    MOST_PAGES = 2 * 9 * DEPOT_CHAIN_BLOCKS
};

static unsigned long os_calls(void)
{
    unsigned long count = 0;
    for (int call = FAKE_PRIM_map; call <= FAKE_PRIM_wipe_on_fork; call++)
        count += fake_prim_count((enum fake_prim_call)call);
    return count - fake_prim_count(FAKE_PRIM_unguard); // see struct work
}

struct work {
    unsigned long malloc_calls, free_calls, resize_calls; // the most in one call
    unsigned long unguards, pages;                        // the same; pages that were released
    unsigned long unguards_before;
    int64_t pages_before;
};

static void note_most(unsigned long *most, int64_t count)
{
    if (count > (int64_t)*most) *most = (unsigned long)count;
}

static void note(struct work *work, unsigned long *most, unsigned long before)
{
    unsigned long unguards = fake_prim_count(FAKE_PRIM_unguard);
    int64_t pages = level_now(STAT_pages);
    note_most(most, (int64_t)(os_calls() - before));
    note_most(&work->unguards, (int64_t)(unguards - work->unguards_before));
    note_most(&work->pages, work->pages_before - pages);
    work->unguards_before = unguards;
    work->pages_before = pages;
}

// The first call does not count.
static void begin(struct work *work)
{
    memset(work, 0, sizeof *work);
    work->unguards_before = fake_prim_count(FAKE_PRIM_unguard);
    work->pages_before = level_now(STAT_pages);
}

static void expect_bounded(const struct work *work)
{
    printf("most OS calls in one call: malloc %lu, realloc %lu, free %lu; pages released %lu\n",
           work->malloc_calls, work->resize_calls, work->free_calls, work->pages);
    fflush(stdout);
    EXPECT(work->malloc_calls <= MOST_CALLS);
    EXPECT(work->resize_calls <= MOST_RESIZE_CALLS);
    EXPECT(work->free_calls <= MOST_FREE_CALLS);
    EXPECT(work->pages <= MOST_PAGES);
    EXPECT(work->unguards <= MOST_PAGES + 1); // and that of a block that grows
}

static size_t random_size(uint64_t *random)
{
    size_t bytes = (size_t)1 << test_random(random) % 23;
    return bytes + test_random(random) % bytes;
}

static void random_call(void **slot, uint64_t *random, struct work *work)
{
    unsigned long before = os_calls();
    if (*slot == NULL) {
        *slot = test_random(random) % 2 == 0 ? mi_malloc(random_size(random))
                                             : mi_calloc(1, random_size(random));
        note(work, &work->malloc_calls, before);
    } else if (test_random(random) % 4 == 0) {
        *slot = mi_realloc(*slot, random_size(random));
        note(work, &work->resize_calls, before);
    } else {
        mi_free(*slot);
        *slot = NULL;
        note(work, &work->free_calls, before);
    }
}

static void random_run(void)
{
    static void *slots[SLOTS];
    struct work work;
    uint64_t random = test_seed();
    start_quietly();
    fake_prim_set_clock_ms(1000000);
    mi_free(mi_malloc(1));
    begin(&work);
    for (unsigned i = 0; i < ROUNDS; i++) {
        random_call(&slots[test_random(&random) % SLOTS], &random, &work);
        if (i % 16 == 0) fake_prim_advance_clock_ms(40);
    }
    expect_bounded(&work);
}

TEST(bounds_of_work_hold_over_a_long_random_run) { IN_CHILD(random_run()); }

static void *free_all(void *slots)
{
    struct work work;
    mi_free(((void **)slots)[0]); // starts the thread
    begin(&work);
    for (unsigned i = 1; i < SLOTS; i++) {
        unsigned long before = os_calls();
        mi_free(((void **)slots)[i]);
        note(&work, &work.free_calls, before);
    }
    EXPECT(work.pages <= MOST_PAGES);
    EXPECT(work.free_calls <=
           MOST_FREE_CALLS * RING_SLOTS); // a flush may release a page for each slot
    return NULL;
}

static void remote_run(void)
{
    static void *slots[SLOTS];
    uint64_t random = 3;
    start_quietly();
    for (unsigned i = 0; i < SLOTS; i++) slots[i] = mi_malloc(random_size(&random) % 100000);
    run_thread(free_all, slots);
}

TEST(bounds_of_work_hold_for_frees_of_other_threads_blocks) { IN_CHILD(remote_run()); }

enum { MANY = 20000, MANY_BYTES = 1100 };

// Pages of which only one block is out; how many. Their blocks are at the beginning.
static unsigned keep_one_of_each_page(void **slots)
{
    struct page *last = NULL;
    unsigned count = 0;
    for (unsigned i = 0; i < MANY; i++) slots[i] = mi_malloc(MANY_BYTES);
    for (unsigned i = 0; i < MANY; i++) {
        struct page *page = page_of(slots[i]);
        if (page != last)
            slots[count++] = slots[i];
        else
            mi_free(slots[i]);
        last = page;
    }
    thread_collect(thread_heap(), true);
    return count;
}

static void last_blocks(void)
{
    static void *slots[MANY];
    struct work work;
    start_quietly();
    unsigned count = keep_one_of_each_page(slots);
    for (unsigned i = 0; i < 10; i++) (void)mi_malloc(20000); // so that the cache may hold some
    begin(&work);
    for (unsigned i = 0; i < count; i++) {
        unsigned long before = os_calls();
        mi_free(slots[i]);
        note(&work, &work.free_calls, before);
    }
    expect_bounded(&work);
    EXPECT(work.pages > 8); // this was the case that it is about
}

TEST(bounds_of_work_hold_when_the_cache_gives_the_last_blocks_of_many_pages_away)
{
    IN_CHILD(last_blocks());
}

static void comes_and_goes(size_t step_bytes)
{
    static void *slots[4 * SLOTS];
    start_quietly();
    mi_free(mi_malloc(1));
    unsigned long before = os_calls();
    for (unsigned round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < 100; i++) slots[i] = mi_malloc(i * step_bytes);
        for (unsigned i = 0; i < 100; i++) mi_free(slots[i]);
    }
    EXPECT(os_calls() - before <
           200); // pages of each class once, and no call for what comes and goes
}

TEST(bounds_of_work_steady_use_asks_the_OS_for_nothing)
{
    IN_CHILD(comes_and_goes(8));
    IN_CHILD(comes_and_goes(80));
}
