#include "unit_test.h"
#include "alloc/free.h"
#include "alloc/resize.h"
#include "core/hooks.h"
#include "heap/ring.h"
#include "mimalloc.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static void start(void) { start_quietly(); }

static void fill(void *block, size_t bytes)
{
    if (block != NULL) memset(block, 0xA5, bytes);
}

// --- every entry, with the OS failing at each of its calls ---------------------------------------

struct entry {
    const char *name;
    void *(*call)(void);
};

static void *call_small(void) { return mi_malloc(24); }
static void *call_medium(void) { return mi_malloc(20 * KIB); }
static void *call_largest_class(void) { return mi_malloc(500 * KIB); }
static void *call_large(void) { return mi_malloc(3 * MIB + 5); }
static void *call_huge(void) { return mi_malloc((size_t)300 * MIB); }
static void *call_calloc(void) { return mi_calloc(1000, 1000); }
static void *call_aligned(void) { return mi_malloc_aligned(100, 4096); }
static void *call_very_aligned(void) { return mi_malloc_aligned(100 * KIB, 16 * MIB); }
static void *call_aligned_at(void) { return mi_malloc_aligned_at(100 * KIB, 128 * KIB, 64); }

enum { MOVED_BYTES = 5 * MIB }; // less is copied

static void *call_realloc(void)
{
    unsigned char *block = (unsigned char *)mi_malloc(MOVED_BYTES);
    if (block == NULL) return NULL;
    fill(block, MOVED_BYTES);
    void *barrier = mi_malloc(MIB); // so that it cannot grow where it is
    unsigned char *moved = (unsigned char *)mi_realloc(block, 40 * MIB);
    int error = errno;
    unsigned char *now = moved != NULL ? moved : block;
    EXPECT(now[0] == 0xA5 && now[MOVED_BYTES - 1] == 0xA5); // kept in both cases
    mi_free(barrier);
    if (moved == NULL) mi_free(block);
    errno = error;
    return moved;
}

static void *call_heap(void)
{
    mi_heap_t *heap = mi_heap_new();
    if (heap == NULL) return NULL;
    void *block = mi_heap_malloc(heap, 5000);
    int error = errno;
    mi_heap_delete(heap);
    errno = error;
    return block;
}

static void *thread_block(void *error)
{
    errno = 0;
    void *block = mi_malloc(100);
    *(int *)error = errno;
    return block;
}

static void *call_thread(void)
{
    pthread_t thread;
    void *block = NULL;
    int error = 0;
    if (pthread_create(&thread, NULL, thread_block, &error) != 0) abort();
    pthread_join(thread, &block);
    errno = error;
    return block;
}

static const struct entry entries[] = {
    {"small", call_small},
    {"medium", call_medium},
    {"large class", call_largest_class},
    {"large", call_large},
    {"huge", call_huge},
    {"calloc", call_calloc},
    {"aligned", call_aligned},
    {"very aligned", call_very_aligned},
    {"aligned with offset", call_aligned_at},
    {"realloc", call_realloc},
    {"heap", call_heap},
    {"thread", call_thread},
};

struct situation {
    size_t slices, parked, pages;
};

static struct situation situation_now(void)
{
    struct situation now;
    thread_collect(thread_heap(), true);
    now.slices = used_slices();
    now.parked = (size_t)level_now(STAT_pages_parked);
    now.pages = (size_t)level_now(STAT_pages);
    return now;
}

// With the n-th call of a kind failing, and all after it; true when the entry did not notice.
static bool try_entry(const struct entry *entry, enum fake_prim_call call, unsigned n, bool is_once)
{
    struct situation before = situation_now();
    if (is_once)
        fake_prim_fail_once(call, n, ENOMEM);
    else
        fake_prim_fail_from(call, n, ENOMEM);
    unsigned long last = fake_prim_count(call) + n;
    errno = 0;
    void *block = entry->call();
    int error = errno;
    bool is_over = fake_prim_count(call) < last;
    fake_prim_fail_from(call, 0, 0);

    if (block == NULL) EXPECT_EQ(error, ENOMEM);
    if (block == NULL && is_over) fprintf(stderr, "%s gives NULL without a failure\n", entry->name);
    mi_free(block);
    struct situation after = situation_now();
    // a thread that cannot be armed leaves its pages behind, with a warning
    if (call != FAKE_PRIM_thread_exit_arm && memcmp(&before, &after, sizeof before) != 0) {
        fprintf(stderr, "%s loses memory when call %u of kind %d fails: %zu, %zu slices\n",
                entry->name, n, (int)call, before.slices, after.slices);
    }
    expect_arena_rules();
    block = entry->call(); // works again
    EXPECT(block != NULL);
    mi_free(block);
    return is_over;
}

static void sweep(const struct entry *entry, enum fake_prim_call call, bool is_once)
{
    enum { MOST = 60 };
    start();
    if (call == FAKE_PRIM_map || call == FAKE_PRIM_access)
        mi_free(mi_malloc(1)); // the first start is below
    unsigned n = 1;
    while (n < MOST && !try_entry(entry, call, n, is_once)) n++;
    EXPECT(n < MOST);
}

static void sweep_all(enum fake_prim_call call)
{
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        IN_CHILD(sweep(&entries[i], call, false));
        IN_CHILD(sweep(&entries[i], call, true));
    }
}

TEST(alloc_survives_a_failing_map_at_each_call) { sweep_all(FAKE_PRIM_map); }
TEST(alloc_survives_a_failing_access_at_each_call) { sweep_all(FAKE_PRIM_access); }
TEST(alloc_survives_a_failing_unmap_at_each_call) { sweep_all(FAKE_PRIM_unmap); }
TEST(alloc_survives_a_failing_purge_at_each_call) { sweep_all(FAKE_PRIM_purge); }
TEST(alloc_survives_a_failing_move_at_each_call) { sweep_all(FAKE_PRIM_move); }
TEST(alloc_survives_a_failing_guard_at_each_call) { sweep_all(FAKE_PRIM_guard); }
TEST(alloc_survives_a_failing_unguard_at_each_call) { sweep_all(FAKE_PRIM_unguard); }
TEST(alloc_survives_a_failing_advice_at_each_call) { sweep_all(FAKE_PRIM_advise_huge); }
TEST(alloc_survives_a_lack_of_randomness) { sweep_all(FAKE_PRIM_random); }
TEST(alloc_survives_threads_that_cannot_be_armed) { sweep_all(FAKE_PRIM_thread_exit_arm); }
TEST(alloc_survives_a_kernel_without_wipe_on_fork) { sweep_all(FAKE_PRIM_wipe_on_fork); }

static void first_call_fails(unsigned n)
{
    fake_prim_reset();
    options_set(OPTION_show_errors, 0);
    fake_prim_fail_from(FAKE_PRIM_map, n, ENOMEM);
    errno = 0;
    void *block = mi_malloc(100);
    EXPECT(block != NULL || errno == ENOMEM);
    mi_free(block);
    fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
    block = mi_malloc(100);
    EXPECT(block != NULL);
    fill(block, 100);
    mi_free(block);
}

TEST(alloc_survives_a_process_start_without_memory)
{
    for (unsigned n = 1; n < 40; n++) IN_CHILD(first_call_fails(n));
}

static void exhaust(size_t bytes)
{
    enum { MOST = 100000 };
    static void *held[MOST];
    unsigned count = 0;
    start_with_limit(32 * MIB);
    void *first = mi_malloc(bytes);
    fake_prim_fail_from(FAKE_PRIM_map, 1, ENOMEM);
    errno = 0;
    while (count < MOST && (held[count] = mi_malloc(bytes)) != NULL) fill(held[count++], bytes);
    EXPECT(count < MOST && errno == ENOMEM);
    for (unsigned i = 0; i < count; i++) mi_free(held[i]);
    for (unsigned i = 0; i < count; i++) {
        held[i] = mi_malloc(bytes);
        EXPECT(held[i] != NULL); // as much as before
    }
    for (unsigned i = 0; i < count; i++) mi_free(held[i]);
    mi_free(first);
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_gives_all_of_an_exhausted_window_again_after_it_was_freed)
{
    IN_CHILD(exhaust(64));
    IN_CHILD(exhaust(5000));
    IN_CHILD(exhaust(300 * KIB));
    IN_CHILD(exhaust(700 * KIB));
}

static void outgrow_window(void)
{
    enum { COUNT = 2000 };
    unsigned count = 0;
    start_with_limit(32 * MIB);
    while (count < COUNT && mi_malloc(256 * KIB) != NULL) count++;
    EXPECT_EQ(count, COUNT); // half a GiB, untouched but in debug builds
}

TEST(alloc_goes_on_beyond_the_window_of_arena_0) { IN_CHILD(outgrow_window()); }

// --- zeroes --------------------------------------------------------------------------------------

static void *dirty_run(size_t bytes)
{
    void *block = mi_malloc(bytes);
    fill(block, bytes);
    return block;
}

static void zero_after_move(bool is_of_heap)
{
    start();
    mi_heap_t *heap = mi_heap_new();
    void *dirty = dirty_run(MOVED_BYTES);
    void *barrier = mi_malloc(MIB);
    mi_free(dirty);
    size_t bytes = MOVED_BYTES - 50000; // there again: its run ends in old data
    void *block = is_of_heap ? mi_heap_malloc(heap, bytes) : mi_malloc(bytes);
    EXPECT(block == dirty || CFG_SECURE);
    fill(block, bytes);
    mi_heap_delete(heap);
    void *moved = mi_realloc(block, 8 * MIB);
    if (!CFG_PADDING) EXPECT_EQ(counter_now(COUNT_move_calls), 1);
    expect_arena_rules();
    for (int i = 0; i < 8; i++) {
        char *zeroed = (char *)mi_calloc(1, MIB);
        EXPECT(zeroed != NULL && is_zero(zeroed, MIB));
    }
    mi_free(moved);
    mi_free(barrier);
}

TEST(alloc_calloc_is_zero_where_a_block_moved_away)
{
    IN_CHILD(zero_after_move(false));
    IN_CHILD(zero_after_move(true)); // others' frees of such a block leave a link in it
}

static void shrink_moved(void)
{
    start();
    void *block = dirty_run(MOVED_BYTES);
    void *barrier = mi_malloc(MIB);
    block = mi_realloc(block, 8 * MIB);
    if (CFG_PADDING) return;
    EXPECT(counter_now(COUNT_move_calls) > 0);
    int64_t committed = level_now(STAT_committed);
    fake_prim_fail_once(FAKE_PRIM_map, 1, ENOMEM);
    EXPECT(mi_realloc(block, 2 * MIB) == block && mi_usable_size(block) == 8 * MIB);
    EXPECT_EQ(level_now(STAT_committed), committed);
    EXPECT(mi_realloc(block, 2 * MIB) == block && mi_usable_size(block) == 2 * MIB);
    EXPECT_EQ(level_now(STAT_committed), committed - 6 * MIB);
    char *behind = (char *)mi_calloc(1, 3 * MIB);
    EXPECT(behind != NULL && is_zero(behind, 3 * MIB));
    mi_free(block);
    mi_free(behind);
    mi_free(barrier);
    expect_arena_rules();
}

TEST(alloc_shrinks_a_moved_block_if_its_end_can_be_mapped_anew) { IN_CHILD(shrink_moved()); }

static void grow_moved_into_large_pages(void)
{
    start();
    mi_free(mi_malloc(40 * MIB)); // there is room behind
    mi_collect(true);             // which counts as never used
    void *block = dirty_run(MOVED_BYTES);
    void *barrier = mi_malloc(MIB);
    block = mi_realloc(block, 8 * MIB);
    if (CFG_PADDING) return;
    EXPECT(counter_now(COUNT_move_calls) > 0);
    char *end = (char *)page_of(block)->start + page_total_bytes(page_of(block));
    int64_t committed = level_now(STAT_committed);
    window_set_kind(&arena_main, arena_slice_of(&arena_main, end), 1, CHUNK_PINNED);
    EXPECT(mi_expand(block, 10 * MIB) == NULL);
    EXPECT(!arena_is_pinned(&arena_main, block, 1) && level_now(STAT_committed) >= committed);
    window_set_kind(&arena_main, arena_slice_of(&arena_main, end), 1, CHUNK_USUAL);
    EXPECT(mi_expand(block, 10 * MIB) == block);
    mi_free(block);
    mi_free(barrier);
    expect_arena_rules();
}

TEST(alloc_moved_block_does_not_grow_into_large_pages) { IN_CHILD(grow_moved_into_large_pages()); }

// Large OS pages can be anywhere in a run, not only at its beginning.
static void run_ends_in_large_pages(bool is_target)
{
    start();
    char *block = (char *)dirty_run(MOVED_BYTES);
    void *barrier = mi_malloc(MIB);
    char *other = (char *)dirty_run(12 * MIB); // more than is moved: no hole of its length
    char *large = is_target ? other + 6 * MIB : block + MOVED_BYTES - 1;
    size_t slices = is_target ? 6 * MIB / SLICE_BYTES : 1;
    window_set_kind(&arena_main, arena_slice_of(&arena_main, large), slices, CHUNK_PINNED);
    if (is_target) mi_free(other);
    char *moved = (char *)mi_realloc(block, 8 * MIB);
    EXPECT(!is_target || (moved <= large && large < moved + 8 * MIB));
    EXPECT(!arena_is_pinned(&arena_main, moved, 1));
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_move), 0);
    EXPECT(moved[0] == (char)0xA5 && moved[MOVED_BYTES - 1] == (char)0xA5);
    mi_free(moved);
    mi_free(barrier);
}

TEST(alloc_large_pages_are_not_moved_and_nothing_is_moved_onto_them)
{
    IN_CHILD(run_ends_in_large_pages(false));
    IN_CHILD(run_ends_in_large_pages(true));
}

static void zero_random(void)
{
    enum { SLOTS = 200, ROUNDS = TEST_TSAN ? 600 : 4000 }; // each byte is looked at
    static void *slots[SLOTS];
    uint64_t random = test_seed();
    fflush(NULL);
    start();
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(test_random(&random) % SLOTS);
        size_t bytes = (size_t)1 << test_random(&random) % 22;
        bytes += test_random(&random) % bytes;
        mi_free(slots[at]);
        if (test_random(&random) % 4 == 0) {
            slots[at] = mi_malloc(bytes / 2 + 1);
            fill(slots[at], bytes / 2 + 1);
            slots[at] = mi_realloc(slots[at], bytes + 1);
        } else {
            slots[at] = mi_calloc(1, bytes);
            EXPECT(is_zero(slots[at], bytes));
        }
        fill(slots[at], bytes);
        if (i % 500 != 0) continue;
        thread_collect(thread_heap(), true);
        retire_give_back_holes();
    }
}

TEST(alloc_calloc_is_zero_after_any_history) { IN_CHILD(zero_random()); }

static void rezalloc_zeroes(void)
{
    start();
    size_t bytes = 100;
    unsigned char *block = (unsigned char *)mi_zalloc(bytes);
    for (size_t next = 150; next < 20 * MIB; next = next * 3 / 2) {
        block = (unsigned char *)mi_rezalloc(block, next);
        EXPECT(is_zero(block + bytes, next - bytes));
        memset(block, 1, next);
        bytes = next;
    }
    mi_free(block);
}

TEST(alloc_rezalloc_zeroes_what_is_new) { IN_CHILD(rezalloc_zeroes()); }

// --- resizing ------------------------------------------------------------------------------------

static void grow_in_place(void)
{
    start();
    char *block = (char *)dirty_run(MIB);
    char *grown = (char *)mi_expand(block, 3 * MIB);
    EXPECT(grown == block);
    fill(grown, 3 * MIB); // up to a guard that has moved
    EXPECT(mi_usable_size(block) >= 3 * MIB);
    mi_free(block);
    EXPECT_EQ(situation_now().slices, 0);
    char *again = (char *)dirty_run(4 * MIB - 64 * KIB); // no guard was left in there
    mi_free(again);
    expect_arena_rules();
}

TEST(alloc_large_block_grows_where_it_is) { IN_CHILD(grow_in_place()); }

static void shrink(void)
{
    start();
    void *block = dirty_run(64 * MIB);
    size_t before = used_slices();
    block = mi_realloc(block, 2 * MIB);
    EXPECT(used_slices() < before / 4);
    mi_free(block);
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_large_block_that_shrinks_gives_its_memory_back) { IN_CHILD(shrink()); }

static void guards_moved_and_failed(void)
{
    start();
    for (unsigned n = 1; n < 6; n++) {
        char *block = (char *)dirty_run(MIB);
        fake_prim_fail_once(FAKE_PRIM_guard, n, ENOMEM);
        for (size_t bytes = 2; bytes < 8; bytes++) {
            block = (char *)mi_realloc(block, bytes * MIB);
            fill(block, bytes * MIB);
        }
        fake_prim_fail_once(FAKE_PRIM_guard, 0, 0);
        mi_free(block);
        block = (char *)dirty_run(10 * MIB);
        mi_free(block);
    }
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_blocks_grow_when_a_guard_cannot_be_placed) { IN_CHILD(guards_moved_and_failed()); }

// --- sizes at the edges --------------------------------------------------------------------------

static void edges(void)
{
    start();
    const size_t sizes[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 16,
                            PTRDIFF_MAX - CHUNK_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t alignment = 1; alignment != 0; alignment *= 2) {
            errno = 0;
            EXPECT(mi_malloc_aligned(sizes[i], alignment) == NULL && errno == ENOMEM);
            EXPECT(mi_malloc_aligned_at(sizes[i], alignment, alignment / 2) == NULL);
        }
        EXPECT(mi_malloc(sizes[i]) == NULL && mi_calloc(1, sizes[i]) == NULL &&
               mi_calloc(sizes[i], 2) == NULL);
        EXPECT(mi_realloc(NULL, sizes[i]) == NULL);
    }
    for (size_t alignment = 1; alignment != 0; alignment *= 2)
        mi_free(mi_malloc_aligned(1, alignment));
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_refuses_what_no_address_space_holds) { IN_CHILD(edges()); }

// --- a thread that has ended ---------------------------------------------------------------------

static pthread_key_t late_key;
static void (*late_calls)(void);
static mi_heap_t *shared_heap;
static void *late_blocks[20], *kept_block;

static void late(void *rounds)
{
    uintptr_t left = (uintptr_t)rounds;
    // after the allocator's own destructor, whatever their order
    if (left > 1) pthread_setspecific(late_key, (void *)(left - 1));
    else late_calls();
}

static void allocate_late(void)
{
    for (int i = 0; i < 10; i++) {
        late_blocks[i] = mi_malloc(100);
        mi_free(mi_malloc_aligned_at(1000, 256, 32));
        late_blocks[10 + i] =
            shared_heap == NULL ? mi_malloc(MIB) : mi_heap_malloc(shared_heap, 100);
        if (shared_heap != NULL) mi_free(mi_heap_malloc_aligned_at(shared_heap, 1000, 256, 32));
    }
}

// What takes no slow path, or fails.
static void allocate_nothing_late(void)
{
    volatile size_t too_much = SIZE_MAX, no_power = 3; // compilers warn of what they know
    EXPECT(mi_heap_realloc(shared_heap, kept_block, MIB) == kept_block);
    EXPECT(mi_heap_malloc(shared_heap, too_much) == NULL);
    EXPECT(mi_heap_calloc(shared_heap, too_much, 2) == NULL);
    EXPECT(mi_heap_malloc_aligned(shared_heap, 10, no_power) == NULL);
    EXPECT(mi_heap_malloc_aligned_at(shared_heap, too_much, 64, 8) == NULL);
    EXPECT(mi_heap_realloc_aligned(shared_heap, kept_block, 10, no_power) == NULL);
    mi_thread_init();
    EXPECT(thread_heap() == &thread_ended_heap);
}

static void *ends_late(void *unused)
{
    (void)unused;
    mi_free(mi_malloc(10));
    pthread_setspecific(late_key, (void *)3);
    return NULL;
}

static void ended_thread(bool has_heap)
{
    start();
    pthread_key_create(&late_key, late);
    late_calls = allocate_late;
    mi_free(mi_malloc(1));
    if (has_heap) shared_heap = mi_heap_new();
    for (int i = 0; i < 10; i++) {
        run_thread(ends_late, NULL);
        for (unsigned k = 0; k < 20; k++) {
            EXPECT(late_blocks[k] != NULL);
            mi_free(late_blocks[k]);
        }
    }
    EXPECT_EQ(level_now(STAT_threads), 1);
    EXPECT(main_count() < 16); // what it borrows it gives back
    if (has_heap) mi_heap_delete(shared_heap);
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_in_a_thread_that_has_ended_keeps_nothing) { IN_CHILD(ended_thread(false)); }
TEST(alloc_in_a_heap_by_a_thread_that_has_ended_keeps_nothing) { IN_CHILD(ended_thread(true)); }

static void ended_in_vain(void)
{
    start();
    pthread_key_create(&late_key, late);
    late_calls = allocate_nothing_late;
    shared_heap = mi_heap_new();
    kept_block = mi_heap_malloc(shared_heap, MIB);
    for (int i = 0; i < 10; i++) run_thread(ends_late, NULL);
    EXPECT_EQ(level_now(STAT_threads), 1);
    EXPECT(main_count() < 4);
    mi_heap_destroy(shared_heap);
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_nothing_in_a_thread_that_has_ended_keeps_nothing) { IN_CHILD(ended_in_vain()); }

static bool count_visited(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                          size_t block_size, void *count)
{
    (void)heap, (void)area, (void)block_size;
    *(size_t *)count += block != NULL;
    return true;
}

static void end_heap_late(void)
{
    size_t count = 0;
    void *block = mi_heap_malloc(shared_heap, 100);
    EXPECT(mi_heap_visit_blocks(shared_heap, true, count_visited, &count) && count == 1);
    EXPECT(mi_heap_contains_block(shared_heap, block));
    mi_heap_collect(shared_heap, true);
    EXPECT(mi_heap_new() == NULL && mi_heap_get_default() == NULL);
    if (kept_block == NULL) mi_heap_destroy(shared_heap);
    else mi_heap_delete(shared_heap);
    shared_heap = NULL;
}

static void heap_ended_late(void)
{
    start();
    pthread_key_create(&late_key, late);
    late_calls = end_heap_late;
    mi_free(mi_malloc(1));
    for (int i = 0; i < 10; i++) {
        shared_heap = mi_heap_new();
        kept_block = i % 2 == 0 ? NULL : mi_heap_malloc(shared_heap, 1000);
        run_thread(ends_late, NULL);
        EXPECT(shared_heap == NULL && level_now(STAT_heaps) == 0);
        mi_free(kept_block);
    }
    EXPECT_EQ(level_now(STAT_threads), 1);
    EXPECT(main_count() < 16);
}

TEST(mi_heap_delete_in_a_thread_that_has_ended_ends_the_heap) { IN_CHILD(heap_ended_late()); }

// --- an error handler that allocates -------------------------------------------------------------

enum { OWNED_BYTES = 200, OWNED_BLOCKS = SLICE_BYTES / OWNED_BYTES };
static void *owned_blocks[OWNED_BLOCKS], *handler_block;
static struct page *full_page;

static void allocate_in_handler(void) { handler_block = mi_malloc(OWNED_BYTES); }
static void collect_in_handler(void) { mi_collect(true); }

// As if another thread had adopted the page.
static void lose_page_in_handler(void)
{
    allocate_in_handler();
    EXPECT(retire_claim(full_page));
    page_set_owner(full_page, (uintptr_t)&thread_ended_heap);
}

static void call_handler(int code, void *handle)
{
    EXPECT_EQ(code, EFAULT);
    (*(void (**)(void))handle)();
}

// A block of the current page, which has no other free one, and with one byte too many.
static void overflow_in_full_page(void (*handle)(void))
{
    unsigned count = 1;
    start();
    hooks_set_error(call_handler, &handle);
    owned_blocks[0] = mi_malloc(OWNED_BYTES);
    full_page = page_of(owned_blocks[0]);
    struct local_heap *main = thread_heap();
    struct local_class *own = &main->own[full_page->size_class];
    while (page_has_room(full_page) || main->list[full_page->size_class] != NULL)
        owned_blocks[count++] = mi_malloc(OWNED_BYTES);
    EXPECT(own->current == full_page && full_page->out == count);
    ((char *)owned_blocks[0])[OWNED_BYTES] ^= 1;
    mi_free(owned_blocks[0]);
    EXPECT(own->current != full_page);
    if (handle == lose_page_in_handler) {
        ring_flush(&main->ring);
        EXPECT_EQ(remote_waiting(full_page), 1);
        retire_park(full_page, true);
    }
    EXPECT_TEXT(page_broken_rule(full_page), NULL);
    EXPECT_TEXT(remote_broken_rule(full_page), NULL);
    EXPECT_TEXT(local_heap_broken_rule(main), NULL);
    for (unsigned i = 1; i < count; i++) mi_free(owned_blocks[i]);
    mi_free(handler_block);
    EXPECT_EQ(situation_now().slices, 0);
}

TEST(alloc_free_of_an_overflowed_block_whose_page_a_handler_has_used_up)
{
    if (!CFG_PADDING) return;
    IN_CHILD(overflow_in_full_page(allocate_in_handler));
    IN_CHILD(overflow_in_full_page(collect_in_handler));
    IN_CHILD(overflow_in_full_page(lose_page_in_handler));
}

// --- blocks of all sizes, against a shadow -------------------------------------------------------

struct piece {
    unsigned char *start;
    size_t bytes;
    unsigned char mark;
};

static void check_piece(const struct piece *piece)
{
    if (piece->start == NULL) return;
    EXPECT(piece->start[0] == piece->mark && piece->start[piece->bytes - 1] == piece->mark);
    EXPECT(piece->start[piece->bytes / 2] == piece->mark);
}

static void *random_calls(void *number)
{
    enum { SLOTS = 64, ROUNDS = 6000 };
    struct piece pieces[SLOTS];
    uint64_t random = (uint64_t)(uintptr_t)number * 77 + 5;
    memset(pieces, 0, sizeof pieces);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct piece *piece = &pieces[test_random(&random) % SLOTS];
        check_piece(piece);
        size_t bytes = (size_t)1 << test_random(&random) % 21;
        bytes += test_random(&random) % bytes;
        switch (test_random(&random) % 4) {
        case 0:
            mi_free(piece->start);
            piece->start = (unsigned char *)mi_malloc(bytes);
            break;
        case 1:
            mi_free(piece->start);
            piece->start = (unsigned char *)mi_malloc_aligned(bytes, 256);
            break;
        case 2:
            mi_free(piece->start);
            piece->start = (unsigned char *)mi_malloc_aligned_at(bytes, 64, 48);
            break;
        default: piece->start = (unsigned char *)mi_realloc(piece->start, bytes); break;
        }
        piece->bytes = bytes;
        piece->mark = (unsigned char)test_random(&random);
        memset(piece->start, piece->mark, bytes);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        check_piece(&pieces[i]);
        mi_free(pieces[i].start);
    }
    return NULL;
}

static void random_threads(void)
{
    start();
    run_threads(3, random_calls);
    random_calls(NULL);
    EXPECT_EQ(situation_now().slices, 0);
    expect_arena_rules();
}

TEST(alloc_random_calls_keep_every_block_intact_and_lose_nothing) { IN_CHILD(random_threads()); }

// --- an arena in the window of arena 0 -----------------------------------------------------------

enum { WINDOW_BLOCKS = 3000, WINDOW_BYTES = 8 * MIB };

// Where arena 0 has descriptors and states but no memory. Arena 0 grows no more.
static const struct arena *arena_in_the_window(bool is_before)
{
    bool is_taken;
    start();
    if (is_before) EXPECT(arena_init());
    else mi_free(mi_malloc(1)); // what describes arena 0 can be read there
    size_t first = atomic_load_explicit(&arena_main.mapped, memory_order_relaxed);
    if (is_before) first += CHUNK_SLICES;
    char *memory = (char *)arena_slice_start(&arena_main, first);
    EXPECT(os_map_at(memory, WINDOW_BYTES, &is_taken));
    struct arena *arena = arena_add(memory, WINDOW_BYTES, ARENA_ZERO);
    EXPECT(arena != NULL && arena_of(memory) == arena);
    mi_free(mi_malloc(1));
    arena_main.is_fixed = true;
    return arena;
}

static void blocks_in_the_window(bool is_before)
{
    static void *blocks[WINDOW_BLOCKS];
    static const size_t sizes[] = {40, 300, 700, 9000};
    const struct arena *arena = arena_in_the_window(is_before);
    size_t there = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < WINDOW_BLOCKS; i++) {
            size_t bytes = sizes[i % 4];
            blocks[i] = mi_malloc(bytes);
            EXPECT(blocks[i] != NULL && mi_usable_size(blocks[i]) >= bytes);
            fill(blocks[i], bytes);
            there += arena_of(blocks[i]) == arena;
        }
        for (size_t i = 0; i < WINDOW_BLOCKS; i++) mi_free(blocks[i]);
    }
    EXPECT(there > 0);
    EXPECT_TEXT(local_heap_broken_rule(thread_heap()->main), NULL);
    mi_collect(true);
    EXPECT_TEXT(arena_broken_rule(arena), NULL);
}

TEST(alloc_in_an_arena_that_lies_in_the_window_of_arena_0)
{
    IN_CHILD(blocks_in_the_window(false));
    IN_CHILD(blocks_in_the_window(true)); // and what describes arena 0 grows beyond it
}
