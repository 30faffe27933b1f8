/* Parts of heaps (heap.h), whose threads and heaps end in any order: the real heap.c, with what is
 * in a part reduced to a number of blocks, in all interleavings.
 *
 * What must hold in every run:
 *   F3  one thread at a time is at what is in a part (M2)
 *   a part is on the list of a thread, or left and its heap's, or in the pool: one of these
 *   no block is lost: what was in a heap that is deleted is in some main local heap, or in the part
 *   of who still has it
 */
#define MI_ONE_OBJECT 1
#include "base/base.h"
#include "core/stats.h"
#include "heap/heap.h"
#include "heap/thread.h"

// --- what lies below -----------------------------------------------------------------------------

enum { MAINS = MODEL_THREADS, PARTS = 4, HANDLES = 3 };

static struct local_heap parts_mains[MAINS], parts_items[PARTS];
static struct mi_heap_s parts_handles[HANDLES];
static uint32_t parts_blocks[MAINS + PARTS]; // in the mains, then in the parts
static uint32_t parts_made[MODEL_THREADS + 1], parts_destroyed[MODEL_THREADS + 1]; // by a thread
static ATOMIC(uint32_t) parts_is_free[3]; // bits of items, by pool
static struct local_heap *parts_main[MODEL_THREADS]; // of a thread; NULL: it has ended
static struct mi_heap_s *parts_heaps[2];

static void stats_add(enum stats_level_id, int64_t) {}
static void stats_remove(enum stats_level_id, int64_t) {}
static bool hooks_is_inside(uintptr_t) { return false; }
static void prim_yield() {}
static uint32_t parts_number(const struct local_heap *heap)
{
    if (heap >= parts_items && heap < parts_items + PARTS)
        return MAINS + (uint32_t)(heap - parts_items);
    return (uint32_t)(heap - parts_mains);
}
static void local_heap_collect(struct local_heap *heap, bool)
{
    parts_blocks[parts_number(heap)] += 0; // a write
}
static void local_heap_leave_part(struct local_heap *heap) { local_heap_collect(heap, true); }
static const char *local_heap_broken_rule(const struct local_heap *heap)
{
    return parts_blocks[parts_number(heap)] > 100 ? "there are more blocks than were made" : NULL;
}
static void local_heap_destroy_pages(struct local_heap *heap)
{
    uint32_t *blocks = &parts_blocks[parts_number(heap)];
    parts_destroyed[model_thread()] += *blocks;
    *blocks = 0;
}
static void local_heap_move_pages(struct local_heap *heap, struct local_heap *to)
{
    parts_blocks[parts_number(to)] += parts_blocks[parts_number(heap)];
    parts_blocks[parts_number(heap)] = 0;
}

// --- the real source -----------------------------------------------------------------------------

#include "heap/heap.c"

// As in pool.c, without what test_regions.cpp is about.
struct parts_pool { char *items; uint32_t count; ATOMIC(uint32_t) *is_free; };

static struct parts_pool parts_pool_of(const struct pool *pool)
{
    if (pool == &heap_mains) return {(char *)parts_mains, MAINS, &parts_is_free[0]};
    if (pool == &heap_parts) return {(char *)parts_items, PARTS, &parts_is_free[1]};
    return {(char *)parts_handles, HANDLES, &parts_is_free[2]};
}

static size_t parts_item_bytes(const struct pool *pool)
{
    return pool == &heap_handles ? sizeof(struct mi_heap_s) : sizeof(struct local_heap);
}

static uint32_t pool_used(const struct pool *pool) { return parts_pool_of(pool).count; }
static void *pool_at(const struct pool *pool, uint32_t index)
{
    return parts_pool_of(pool).items + index * parts_item_bytes(pool);
}
static bool pool_owns(const struct pool *pool, const void *item)
{
    uintptr_t offset = (uintptr_t)item - (uintptr_t)pool_at(pool, 0);
    return offset < pool_used(pool) * parts_item_bytes(pool) &&
           offset % parts_item_bytes(pool) == 0;
}

// What came back last is not taken first, but what has the lowest address: the same one again.
static void *pool_take(struct pool *pool, bool *is_new)
{
    ATOMIC(uint32_t) *word = parts_pool_of(pool).is_free;
    uint32_t free = atomic_load_explicit(word, memory_order_relaxed);
    do {
        if (free == 0) model_fail("more items are in use than there are");
        // acquire: pairs with pool_put
    } while (!atomic_compare_exchange_strong_explicit(word, &free, free & (free - 1),
                                                      memory_order_acquire, memory_order_relaxed));
    *is_new = false;
    return pool_at(pool, bits_lowest(free));
}

static void pool_put(struct pool *pool, void *item)
{
    uint32_t index = (uint32_t)(((uintptr_t)item - (uintptr_t)pool_at(pool, 0)) /
                                parts_item_bytes(pool));
    if (!pool_owns(pool, item)) model_fail("put into a pool what is not the pool's");
    if (pool != &heap_handles) {
        const struct local_heap *heap = (const struct local_heap *)item;
        if (pool == &heap_parts && parts_blocks[parts_number(heap)] != 0)
            model_fail("a part ended with blocks in it");
    }
    uint32_t before = atomic_fetch_or_explicit(parts_pool_of(pool).is_free, 1u << index,
                                               memory_order_release);
    if ((before >> index & 1) != 0) model_fail("an item was put into its pool twice");
}

// --- what threads do -----------------------------------------------------------------------------

static struct local_heap *parts_own() { return parts_main[model_thread() % MODEL_THREADS]; }

// As thread_new_main.
static struct local_heap *parts_begin_thread()
{
    struct local_heap *main = heap_take_main();
    main->main = main->near = main;
    main->backing.local = main;
    main->backing.state = HEAP_BACKING;
    atomic_store_explicit(&main->is_used, 1, memory_order_release);
    return main;
}

// As thread_leave; what is in the main local heap stays.
static void parts_end_thread(struct local_heap *main)
{
    heap_leave_all(main);
    atomic_store_explicit(&main->is_used, 0, memory_order_release);
    heap_put_main(main);
}

static void parts_allocate(struct mi_heap_s *heap, struct local_heap *main)
{
    struct local_heap *part = main->near; // as in alloc.c
    if (local_heap_handle_of(part) != heap) part = heap_local(heap, main);
    if (part == NULL) model_fail("a thread gets no part");
    if (part->main != main || local_heap_handle_of(part) != heap)
        model_fail("a thread gets a part that is not its own");
    parts_blocks[parts_number(part)]++;
    parts_made[model_thread()]++;
}

static void end_thread() { parts_end_thread(parts_own()); parts_main[model_thread()] = NULL; }
static void end_and_begin() { end_thread(); parts_main[model_thread()] = parts_begin_thread(); }
static void allocate_in_0() { parts_allocate(parts_heaps[0], parts_own()); }
static void allocate_in_1() { parts_allocate(parts_heaps[1], parts_own()); }
static void delete_0() { heap_delete(parts_heaps[0], parts_own()); parts_heaps[0] = NULL; }
static void destroy_0() { heap_destroy(parts_heaps[0], parts_own()); parts_heaps[0] = NULL; }
static void collect_0() { heap_visit_parts(parts_heaps[0], heap_collect_left, parts_own()); }
static void look_into_part_1() { heap_collect_left(&parts_items[1], parts_own()); }
static void make_1() { parts_heaps[1] = heap_new(parts_own()); allocate_in_1(); }
static void allocate_in_0_and_end() { allocate_in_0(); end_thread(); }
static void allocate_twice_in_0() { allocate_in_0(); allocate_in_0(); }
static void delete_0_and_make_1() { delete_0(); make_1(); }
static void delete_0_and_end() { delete_0(); end_thread(); }
static void end_and_begin_and_allocate_in_1() { end_and_begin(); allocate_in_1(); }
static void make_1_and_end() { make_1(); end_thread(); parts_heaps[1] = NULL; } // it is alone

// --- before and after the threads ----------------------------------------------------------------

// Heap 0 was made by this thread, which has a block in it.
static void start_of(unsigned maker)
{
    static const char *const threads[] = {"part 0 thread", "part 1 thread", "part 2 thread",
                                          "part 3 thread"};
    static const char *const heaps[] = {"part 0 heap", "part 1 heap", "part 2 heap", "part 3 heap"};
    static const char *const uses[] = {"part 0 state", "part 1 state", "part 2 state",
                                       "part 3 state"};
    static const char *const others[] = {"heap 0 others", "heap 1 others", "heap 2 others"};
    model_watch(parts_mains, sizeof(parts_mains));
    model_watch(parts_items, sizeof(parts_items));
    model_watch(parts_handles, sizeof(parts_handles));
    model_watch(parts_blocks, sizeof(parts_blocks));
    model_clear((void *)parts_mains, sizeof(parts_mains));
    model_clear((void *)parts_items, sizeof(parts_items));
    model_clear((void *)parts_handles, sizeof(parts_handles));
    model_clear(parts_blocks, sizeof(parts_blocks));
    memset(parts_made, 0, sizeof(parts_made));
    memset(parts_destroyed, 0, sizeof(parts_destroyed));
    parts_is_free[0] = (1u << MAINS) - 1;
    parts_is_free[1] = (1u << PARTS) - 1;
    parts_is_free[2] = (1u << HANDLES) - 1;
    for (unsigned i = 0; i < PARTS; i++) {
        model_name(&parts_items[i].thread, sizeof(void *), threads[i]);
        model_name(&parts_items[i].heap, sizeof(void *), heaps[i]);
        model_name(&parts_items[i].is_used, sizeof(uint32_t), uses[i]);
    }
    for (unsigned i = 0; i < HANDLES; i++)
        model_name(&parts_handles[i].others, sizeof(void *), others[i]);
    for (unsigned i = 0; i < MAINS; i++) {
        model_name(&parts_mains[i].is_used, sizeof(uint32_t), "main state");
        model_name(&parts_mains[i].thread, sizeof(void *), "main thread");
        model_name(&parts_mains[i].heap, sizeof(void *), "main heap");
    }
    model_name(&parts_is_free[0], sizeof(uint32_t), "free mains");
    model_name(&parts_is_free[1], sizeof(uint32_t), "free parts");
    model_name(&parts_is_free[2], sizeof(uint32_t), "free handles");
    for (unsigned i = 0; i < MODEL_THREADS; i++) parts_main[i] = parts_begin_thread();
    parts_heaps[0] = heap_new(parts_main[maker]);
    parts_heaps[1] = NULL;
    parts_allocate(parts_heaps[0], parts_main[maker]);
}

static void start_two_parts() // of thread 0, and thread 1's is part 1
{
    start_of(0);
    parts_allocate(parts_heaps[0], parts_main[1]);
}

static void start_without_part() // of thread 0
{
    start_of(2);
    parts_allocate(parts_heaps[0], parts_main[1]);
}

static void start_three_parts()
{
    start_two_parts();
    parts_allocate(parts_heaps[0], parts_main[2]);
}

static void start_left() // part 1, by thread 1, which has begun anew
{
    start_two_parts();
    parts_end_thread(parts_main[1]);
    parts_main[1] = parts_begin_thread();
}

static void start_two_left() // part 0, which the heap's maker left, and part 1
{
    start_two_parts();
    for (unsigned i = 0; i < 2; i++) {
        parts_end_thread(parts_main[i]);
        parts_main[i] = parts_begin_thread();
    }
}

static void start_two_heaps() // threads 0 and 1 have parts of both; thread 1 has made heap 1
{
    start_two_parts();
    parts_heaps[1] = heap_new(parts_main[1]);
    parts_allocate(parts_heaps[1], parts_main[1]);
    parts_allocate(parts_heaps[1], parts_main[0]);
}

// Heap 1 of thread 2 has the handle and the part that heap 0 of thread 0 had.
static void start_used_again()
{
    start_of(0);
    heap_delete(parts_heaps[0], parts_main[0]);
    parts_heaps[0] = NULL;
    parts_heaps[1] = heap_new(parts_main[2]);
    parts_allocate(parts_heaps[1], parts_main[2]);
}

static void count_part(struct local_heap *part, void *seen)
{
    uint32_t *count = (uint32_t *)seen;
    count[part - parts_items]++;
}

static void finish()
{
    uint32_t seen[PARTS] = {0}, made = 0, gone = 0, there = 0;
    for (const struct local_heap *main : parts_main) {
        if (main == NULL) continue;
        check_rules(heap_broken_rule(NULL, main));
        for (struct local_heap *part = main->next_of_thread; part; part = part->next_of_thread) {
            // of a heap that has ended: of a living one it is counted below
            if (local_heap_handle_of(part) == NULL) count_part(part, seen);
        }
    }
    for (struct mi_heap_s *heap : parts_heaps) {
        if (heap == NULL) continue;
        for (const struct local_heap *main : parts_main)
            if (main != NULL) check_rules(heap_broken_rule(heap, main));
        heap_visit_parts(heap, count_part, seen);
    }
    uint32_t free = atomic_load_explicit(&parts_is_free[1], memory_order_relaxed);
    for (unsigned i = 0; i < PARTS; i++) {
        uint32_t used = atomic_load_explicit(&parts_items[i].is_used, memory_order_relaxed);
        if (seen[i] + (free >> i & 1) != 1) model_fail("a part is lost, or at two places");
        if ((free >> i & 1) == 0 && (used & PART_IS_HELD) != 0) model_fail("a part stays held");
    }
    for (uint32_t blocks : parts_blocks) there += blocks;
    for (uint32_t count : parts_made) made += count;
    for (uint32_t count : parts_destroyed) gone += count;
    if (there + gone != made) model_fail("blocks are lost");
}

static const struct model_scenario parts_scenarios[] = {
    {"a heap is deleted while a thread that has a part ends", 2, start_two_parts,
     {delete_0, end_thread}, finish, 0, 1, 0, 0},
    {"a heap is destroyed while a thread that has a part ends", 2, start_two_parts,
     {destroy_0, end_thread}, finish, 0, 1, 0, 0},
    {"... and another one takes its main local heap", 2, start_two_heaps,
     {delete_0, end_and_begin_and_allocate_in_1}, finish, 0, 0, 0, 0},
    {"its maker ends while a heap is deleted", 2, start_two_parts, {end_thread, delete_0}, finish,
     0, 1, 0, 0},
    {"its maker ends, and its handle is another heap's", 3, start_two_parts,
     {end_thread, delete_0, make_1}, finish, 0, 1, 2, 5000},
    {"a part is used again when its heap is gone", 2, start_two_parts,
     {delete_0_and_make_1, end_thread}, finish, 0, 1, 0, 0},
    {"the thread of a part makes a heap when that part's is gone", 2, start_two_parts,
     {delete_0, make_1}, finish, 0, 1, 0, 0},
    {"a handle and a part are another thread's by now", 2, start_used_again, {allocate_in_1,
     allocate_in_1}, finish, 1, 1, 0, 0},
    {"two threads want a part that was left", 3, start_left, {collect_0, allocate_in_0,
     allocate_in_0}, finish, 0, 0, 3, 5000},
    {"two threads want two parts that were left", 3, start_two_left, {allocate_in_0, allocate_in_0,
     allocate_in_0}, finish, 1, 0, 2, 5000},
    {"a part is left and taken over", 2, start_without_part, {allocate_twice_in_0, end_and_begin},
     finish, 0, 1, 0, 0},
    {"parts are left, taken over and looked into", 3, start_two_parts, {collect_0, end_thread,
     allocate_in_0_and_end}, finish, 0, 0, 2, 5000},
    {"a part is looked into while its heap ends", 2, start_left, {delete_0, look_into_part_1},
     finish, 0, 1, 0, 0},
    {"a part is looked into while its heap is destroyed", 3, start_left, {destroy_0,
     look_into_part_1, look_into_part_1}, finish, 0, 0, 3, 5000},
    {"all end", 3, start_three_parts, {delete_0_and_end, end_thread, end_thread}, finish, 0, 0, 2,
     5000},
    {"a thread ends with a heap of its own", 2, start_two_parts, {delete_0, make_1_and_end},
     finish, 0, 0, 0, 0},
};

int main()
{
    for (const struct model_scenario &scenario : parts_scenarios) model_explore(&scenario);
    return 0;
}
