#include "parts_test.h"
#include "mimalloc.h"
#include "region/pool.h"

enum { BYTES = 64, BLOCKS = 3 * SLICE_BYTES / BYTES };
static void *blocks[BLOCKS];

static void start(void)
{
    start_quietly();
    (void)thread_ready(thread_heap());
}

static void *allocate_all(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = mi_malloc(BYTES);
    return NULL;
}

static void *allocate_in(void *heap)
{
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = mi_heap_malloc((mi_heap_t *)heap, BYTES);
    return NULL;
}

static void free_blocks(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
}

static void reused_part(void)
{
    start();
    run_thread(allocate_all, NULL); // its full pages still name its local heap
    struct mi_heap_s *heap = heap_new(main_heap());
    void *own = mi_heap_malloc(heap, 2 * BYTES);
    EXPECT(heap != NULL && own != NULL); // and that is this heap's part now
    free_blocks();
    EXPECT_TEXT(local_heap_broken_rule(heap->local), NULL);
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_new_after_the_end_of_a_thread_does_not_take_its_pages_for_its_own)
{
    IN_CHILD(reused_part());
}

static void delete_heap(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    EXPECT_EQ(level_now(STAT_heaps), 1);
    allocate_in(heap);
    void *large = mi_heap_malloc(heap, 1 << 20);
    memset(large, 5, 1 << 20);
    heap_delete(heap, main_heap());
    EXPECT_EQ(level_now(STAT_heaps), 0);
    EXPECT(!heap_is_valid(heap, main_heap()));
    memset(large, 6, 1 << 20);
    for (unsigned i = 0; i < BLOCKS; i++) memset(blocks[i], 7, BYTES);
    free_blocks();
    mi_free(large);
    expect_nothing_left();
}

TEST(heap_delete_moves_live_blocks_to_main) { IN_CHILD(delete_heap()); }

static void destroy_heap(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    allocate_in(heap);
    for (unsigned i = 0; i < BLOCKS; i += 2) mi_free(blocks[i]);
    EXPECT(mi_heap_malloc(heap, 1 << 20) != NULL && mi_heap_malloc(heap, 3000) != NULL);
    heap_destroy(heap, main_heap());
    expect_nothing_left();
}

TEST(heap_destroy_releases_everything) { IN_CHILD(destroy_heap()); }

static void parts_of_threads(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    run_thread(allocate_in, heap); // its thread has ended: the part stays with the heap
    EXPECT(atomic_load_explicit(&heap->others, memory_order_acquire) != NULL);
    for (unsigned i = 0; i < BLOCKS; i += 2) mi_free(blocks[i]);
    for (unsigned i = 1; i < BLOCKS; i += 2) memset(blocks[i], 3, BYTES);
    heap_delete(heap, main_heap());
    for (unsigned i = 1; i < BLOCKS; i += 2) mi_free(blocks[i]);
    expect_nothing_left();
}

TEST(heap_delete_takes_over_the_parts_of_threads_that_ended) { IN_CHILD(parts_of_threads()); }

static void destroy_parts_of_threads(void)
{
    start();
    for (int i = 0; i < 3; i++) {
        struct mi_heap_s *heap = heap_new(main_heap());
        run_thread(allocate_in, heap);
        run_thread(allocate_in, heap);
        heap_destroy(heap, main_heap());
        expect_nothing_left();
    }
    EXPECT(part_count() < 8); // parts are used again
}

TEST(heap_destroy_releases_the_parts_of_threads_that_ended)
{
    IN_CHILD(destroy_parts_of_threads());
}

static void *made_by_thread;
static void *make_heap(void *allocates)
{
    struct local_heap *main = thread_ready(thread_heap());
    made_by_thread = heap_new(main);
    if (allocates != NULL) allocate_in(made_by_thread);
    return NULL;
}

static void maker_ends(void)
{
    start();
    run_thread(make_heap, made_by_thread);
    EXPECT_EQ(level_now(STAT_heaps), 0);
    run_thread(make_heap, &made_by_thread);
    EXPECT_EQ(level_now(STAT_heaps), 0); // alone: deleted
    free_blocks();
    expect_nothing_left();
}

TEST(heap_F2_ends_with_the_thread_that_made_it_and_its_blocks_live_on) { IN_CHILD(maker_ends()); }

static pthread_barrier_t gate;
static void *make_and_share(void *unused)
{
    (void)unused;
    struct local_heap *main = thread_ready(thread_heap());
    made_by_thread = heap_new(main);
    allocate_in(made_by_thread);
    pthread_barrier_wait(&gate); // the other thread allocates in it now
    pthread_barrier_wait(&gate);
    return NULL;
}

static void maker_ends_shared(void)
{
    pthread_t thread;
    start();
    pthread_barrier_init(&gate, NULL, 2);
    pthread_create(&thread, NULL, make_and_share, NULL);
    pthread_barrier_wait(&gate);
    struct mi_heap_s *heap = (struct mi_heap_s *)made_by_thread;
    void *mine = mi_heap_malloc(heap, 100);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
    EXPECT_EQ(level_now(STAT_heaps), 1); // F2
    EXPECT(heap_is_valid(heap, main_heap()) && mi_heap_malloc(heap, 100) != NULL);
    free_blocks();
    mi_free(mine);
    heap_delete(heap, main_heap());
    EXPECT_EQ(level_now(STAT_heaps), 0);
    EXPECT(level_now(STAT_pages) <= 1);
}

TEST(heap_F2_lives_on_when_another_thread_has_a_part) { IN_CHILD(maker_ends_shared()); }

static void *use_twice(void *heap)
{
    struct local_heap *main = thread_ready(thread_heap());
    struct local_heap *part = heap_local((struct mi_heap_s *)heap, main);
    EXPECT(part != NULL && part->is_pinned && part->main == main);
    EXPECT(heap_local((struct mi_heap_s *)heap, main) == part);
    pthread_barrier_wait(&gate); // deleted by its maker
    pthread_barrier_wait(&gate);
    EXPECT(main->next_of_thread == part &&
           atomic_load_explicit(&part->heap, memory_order_relaxed) == NULL); // F1
    struct mi_heap_s *second = heap_new(main);
    EXPECT(second->local == part); // used again
    EXPECT(mi_heap_malloc(second, 10) != NULL);
    return NULL;
}

static void part_outlives_heap(void)
{
    pthread_t thread;
    start();
    pthread_barrier_init(&gate, NULL, 2);
    struct mi_heap_s *heap = heap_new(main_heap());
    pthread_create(&thread, NULL, use_twice, heap);
    pthread_barrier_wait(&gate);
    heap_delete(heap, main_heap());
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}

TEST(heap_F1_a_part_stays_with_its_thread_after_its_heap_is_gone)
{
    IN_CHILD(part_outlives_heap());
}

static void validity(void)
{
    start();
    struct local_heap *main = main_heap();
    struct mi_heap_s *heap = heap_new(main);
    int local = 0;
    EXPECT(heap_is_valid(heap, main) && heap_is_valid(&main->backing, main));
    EXPECT(!heap_is_valid(NULL, main));
    EXPECT(!heap_is_valid((struct mi_heap_s *)(void *)((char *)heap + 8), main));
    EXPECT(!heap_is_valid((struct mi_heap_s *)(void *)&local, main));
    heap_destroy(heap, main);
    EXPECT(!heap_is_valid(heap, main));
}

TEST(heap_is_valid_knows_handles_that_were_never_made_or_are_gone) { IN_CHILD(validity()); }

static void new_fails(void)
{
    struct mi_heap_s *heap = NULL;
    start();
    unsigned made = 0;
    while (part_count() < POOL_FIRST_ITEMS)
        made += heap_new(main_heap()) != NULL; // up to the end of a block
    size_t most = 0;
    for (unsigned n = 1; n <= 4; n++) {
        fake_prim_fail_from(FAKE_PRIM_map, n < 2 ? n : 2,
                            ENOMEM); // first the handle, then the part
        heap = heap_new(main_heap());
        fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
        if (heap != NULL) break;
        EXPECT_EQ(level_now(STAT_heaps), made);
        if (n == 2) most = fake_prim_mapped_bytes(); // the pool of handles keeps what it got
        EXPECT(n <= 2 || fake_prim_mapped_bytes() <= most);
    }
    EXPECT(made > 0);
    EXPECT(heap_new(main_heap()) != NULL);
}

TEST(heap_new_without_memory_gives_NULL_and_loses_nothing) { IN_CHILD(new_fails()); }

// The first use of a heap in a thread needs a part: without memory for it, that is a lack of memory
// and no mistake.
static void *first_use(void *heap)
{
    EXPECT(mi_malloc(10) != NULL);
    void *large = mi_malloc(1000000);
    EXPECT(mi_is_in_heap_region(large));
    while (part_count() % POOL_FIRST_ITEMS != 0) EXPECT(heap_new(main_heap()) != NULL);
    fake_prim_fail_from(FAKE_PRIM_map, 1, ENOMEM);
    errno = 0;
    EXPECT(mi_heap_malloc((mi_heap_t *)heap, 10) == NULL);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT(mi_heap_reallocf((mi_heap_t *)heap, large, 10) == NULL);
    EXPECT(!mi_is_in_heap_region(large));
    fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
    EXPECT(mi_heap_malloc((mi_heap_t *)heap, 10) != NULL);
    return NULL;
}

static void part_fails(void)
{
    start();
    run_thread(first_use, heap_new(main_heap()));
}

TEST(heap_part_that_finds_no_memory_gives_NULL_and_ENOMEM) { IN_CHILD(part_fails()); }

// --- F1 and F2, broken on purpose ----------------------------------------------------------------

static struct mi_heap_s *sound_heap(void)
{
    start();
    struct mi_heap_s *heap = heap_new(main_heap());
    EXPECT_TEXT(heap_broken_rule(heap, main_heap()), NULL);
    return heap;
}

static void expect_broken(const struct mi_heap_s *heap, const char *text)
{
    EXPECT_TEXT(heap_broken_rule(heap, main_heap()), text);
}

static void part_off_list(void)
{
    struct mi_heap_s *heap = sound_heap();
    main_heap()->next_of_thread = NULL;
    expect_broken(heap, "F1: a part has left its thread's list");
    expect_broken(NULL, "F1: a part has left its thread's list");
}

static void part_of_other_thread(void)
{
    struct mi_heap_s *heap = sound_heap();
    heap->local->main = heap->local;
    expect_broken(heap, "F1: a part is on another thread's list");
}

static void list_torn(void)
{
    struct mi_heap_s *heap = sound_heap();
    heap->local->next_of_thread = heap->local;
    expect_broken(heap, "F1: the list of a thread's parts is torn");
    heap->local->next_of_thread = (struct local_heap *)(uintptr_t)0x40;
    expect_broken(heap, "F1: the list of a thread's parts is torn");
}

static void part_of_other_heap(void)
{
    struct mi_heap_s *heap = sound_heap(), *other = heap_new(main_heap());
    heap->local = other->local;
    expect_broken(heap, "F1: a heap has lost its part");
    heap->local = NULL;
    expect_broken(heap, "F1: a heap has lost its part");
}

static void others_lost(void)
{
    struct mi_heap_s *heap = sound_heap();
    run_thread(allocate_in, heap);
    expect_broken(heap, NULL);
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    part->next_of_heap = part;
    expect_broken(heap, "F1: a heap has lost a part");
    part->next_of_heap = NULL;
    atomic_store_explicit(&part->heap, NULL, memory_order_relaxed);
    expect_broken(heap, "F1: a heap has lost a part");
}

static void *make_and_lend(void *unused)
{
    (void)unused;
    made_by_thread = heap_new(thread_ready(thread_heap()));
    run_thread(allocate_in, made_by_thread); // so that it lives on
    return NULL;
}

static void lives_on_alone(void)
{
    start();
    run_thread(make_and_lend, NULL);
    struct mi_heap_s *heap = (struct mi_heap_s *)made_by_thread;
    expect_broken(heap, NULL);
    atomic_store_explicit(&heap->others, NULL, memory_order_relaxed);
    expect_broken(heap, "F2: a heap lives on that no thread has");
}

TEST(heap_F1_notices_a_part_that_left_its_threads_list) { IN_CHILD(part_off_list()); }
TEST(heap_F1_notices_a_part_on_another_threads_list) { IN_CHILD(part_of_other_thread()); }
TEST(heap_F1_notices_a_list_that_loops_or_leads_away) { IN_CHILD(list_torn()); }
TEST(heap_F1_notices_a_heap_without_its_parts)
{
    IN_CHILD(part_of_other_heap());
    IN_CHILD(others_lost());
}
TEST(heap_F2_notices_a_heap_that_lives_on_alone) { IN_CHILD(lives_on_alone()); }

// --- deleted while another thread frees its blocks -----------------------------------------------

enum { LARGE_BLOCKS = 24, RACE_ROUNDS = 60 };
static void *race_blocks[LARGE_BLOCKS];

static void *free_during_delete(void *bytes)
{
    (void)bytes;
    for (unsigned round = 0; round < RACE_ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (unsigned i = LARGE_BLOCKS; i-- > 0;) mi_free(race_blocks[i]);
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

static void delete_race(size_t bytes)
{
    pthread_t thread;
    start();
    pthread_barrier_init(&gate, NULL, 2);
    pthread_create(&thread, NULL, free_during_delete, NULL);
    for (unsigned round = 0; round < RACE_ROUNDS; round++) {
        struct mi_heap_s *heap = heap_new(main_heap());
        for (unsigned i = 0; i < LARGE_BLOCKS; i++) race_blocks[i] = mi_heap_malloc(heap, bytes);
        pthread_barrier_wait(&gate);
        heap_delete(heap, main_heap());
        pthread_barrier_wait(&gate);
    }
    pthread_join(thread, NULL);
    expect_nothing_left();
}

TEST(heap_delete_while_another_thread_frees_its_large_blocks_loses_none)
{
    IN_CHILD(delete_race(600 * 1024));
}
TEST(heap_delete_while_another_thread_frees_its_blocks_loses_none)
{
    IN_CHILD(delete_race(30 * 1024));
}
