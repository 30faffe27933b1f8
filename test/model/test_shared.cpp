/* Shared pages (page.h), which a thread only claims for as long as it takes to put some of their
 * blocks into its cache, and the depot, where caches leave chains of blocks for each other: as in
 * test_pages.cpp, in all interleavings.
 *
 * What must hold in every run, besides what must hold there:
 *   a chain of the depot is in one slot or with one thread (D1), which can follow its links
 *   a shared page names no owner, and does not forget that it has interior pointers
 */
#include "pages.h"

// --- scenarios -----------------------------------------------------------------------------------

// Pages of four blocks that wait in the depot, and of three that do not.
static const struct pages_shape QUAD = {16 * 1024, 4, 4, MIDDLE}, TRIO = {20 * 1024, 3, 1, LONG};

// Blocks first .. end - 1 of pages_held, from the program's hands into the depot.
static void put_chain(unsigned first, unsigned end)
{
    struct depot_chain chain = {NULL, end - first};
    while (end-- > first) {
        struct block *block = pages_held[end];
        pages_let_go(block);
        if (CFG_STATES) ignore_result(state_take(arena_state_at(block)));
        block_set_next(block, chain.first, &page_of(block)->key);
        chain.first = block;
    }
    depot_put(MIDDLE, chain);
}

// Whoever takes a chain can follow its links, and write to its blocks. How many.
static unsigned take_chain()
{
    struct depot_chain chain = depot_take(MIDDLE);
    struct block *block = chain.first, *next;
    for (unsigned i = 0; i < chain.count; i++, block = next) {
        next = depot_next(block, MIDDLE);
        pages_hand_out(block);
    }
    if (block != NULL) model_fail("D2: a chain is longer than its word says");
    return chain.count;
}

static struct depot_class *the_depot() { return depot_class_of(MIDDLE); }
static void put_0() { put_chain(0, 1); }
static void put_1() { put_chain(1, 2); }
static void put_0_1_and_take() { put_chain(0, 2); take_chain(); }
static void put_2_and_take() { put_chain(2, 3); take_chain(); }
static void take_chain_once() { take_chain(); }
static void take_chain_and_put_it() { if (take_chain() == 2) put_chain(0, 2); }
static void drain() { pages_drain(MIDDLE); }
static void review() { ignore_result(depot_look_at(the_depot())); }
static void flush() { cache_flush(&pages_own()->cache, pages_own()->list, true); }
static void give_0_and_flush() { give_0(); flush(); }
static void give_1_and_flush() { give_1(); flush(); }
static void give_3_and_flush() { pages_give(pages_held[3]); flush(); }
static void give_0_and_1_to_cache() { give_0(); give_1(); }
static void give_2_and_leave() { give_2(); leave(); }
static void give_2_and_3() { give_2(); pages_give(pages_held[3]); }
static void take_middle() { pages_take(pages_own(), MIDDLE); }
static void take_two_middle() { take_middle(); take_middle(); }
static void take_middle_and_flush() { take_middle(); flush(); }
static void take_and_give_long() { pages_give(pages_take(pages_own(), LONG)); flush(); }
static void take_long() { pages_take(pages_own(), LONG); }
static void give_0_and_take_long() { give_0(); take_long(); }
static void take_two_long() { pages_take(pages_own(), LONG); pages_take(pages_own(), LONG); }
static void take_some() { pages_take(pages_own(), PAIRS); }
static void take_some_and_flush() { take_some(); flush(); }

// The block was handed out with an offset into it: as in aligned.c.
static void give_0_by_interior()
{
    struct page *page = page_of(pages_held[0]);
    page_mark_interior(page);
    pages_let_go(pages_held[0]);
    mi_free((char *)pages_held[0] + UNIT_BYTES);
}

// All blocks of a shared page are with the program.
static void start_quad()
{
    pages_begin();
    pages_make(&pages_heaps[0], QUAD);
    pages_are_exhausted = true;
}

// A chain has been in the depot since the last review.
static void start_chain()
{
    start_quad();
    put_chain(0, 2);
    review();
}

// Blocks of two pages are a chain that has been in the depot since the last review.
static void start_chain_of_two_pages()
{
    static const struct pages_shape twins = {16 * 1024, 2, 2, MIDDLE};
    pages_begin();
    pages_make(&pages_heaps[0], twins);
    pages_held[2] = pages_held[0];
    pages_held[3] = pages_held[1];
    pages_make(&pages_heaps[0], twins);
    pages_are_exhausted = true;
    put_chain(1, 3);
    review();
}

// Two slots are full, and only one of them may be filled again.
static void start_no_room()
{
    start_quad();
    put_chain(2, 3);
    put_chain(3, 4);
    atomic_store_explicit(&the_depot()->wanted, 1, memory_order_relaxed);
}

// Two blocks are in the cache of thread 0.
static void start_cache()
{
    start_quad();
    pages_heaps[0].cache.limit = CACHE_MOST_BYTES;
    thread_heap_slot = &pages_heaps[0];
    give_0_and_1_to_cache();
}

static void start_half()
{
    pages_begin();
    pages_make(&pages_heaps[0], {16 * 1024, 4, 2, MIDDLE});
    pages_are_exhausted = true;
}

static void start_stale()
{
    start_quad();
    marks_set(&arena_main, MIDDLE, 0); // the page is full
}

static void start_trio()
{
    pages_begin();
    pages_make(&pages_heaps[0], TRIO);
    pages_are_exhausted = true;
}

static void start_trio_and_memory()
{
    start_trio();
    pages_are_exhausted = false;
}

// There is no other slice.
static void start_trio_alone()
{
    start_trio_and_memory();
    atomic_store_explicit(&pages_free_slices, 0, memory_order_relaxed);
}

// Enough on one list for two threads.
static void start_five()
{
    pages_begin();
    pages_make(&pages_heaps[0], {8192, 5, 1, PAIRS});
    pages_are_exhausted = true;
}

static void start_part_to_be_shared()
{
    pages_begin();
    pages_make(&pages_part, {16 * 1024, 2, 2, MIDDLE});
    pages_are_exhausted = true;
}

// Cheap ones first: a mistake is found soon.
static const struct model_scenario shared_scenarios[] = {
    {"found by a stale mark", 2, start_stale, {take_middle, give_0_by_interior}, pages_finish, 0, 1,
     0, 0},
    {"a made heap's pages become shared", 3, start_part_to_be_shared, {move_part, give_0_and_flush,
     give_1_and_flush}, pages_finish, 0, 1, 0, 0},
    {"a chain comes back to the depot", 3, start_chain,
     {take_chain_and_put_it, review, take_chain_once}, pages_finish, 0, 1, 0, 0},
    {"a chain of two pages goes back", 3, start_chain_of_two_pages, {review, give_0_and_flush,
     give_3_and_flush}, pages_finish, 0, 0, 0, 0},
    {"caches give and take", 3, start_quad, {give_0_and_1_to_cache, give_2_and_3, take_two_middle},
     pages_finish, 0, 1, 0, 0},
    {"a thread leaves its cache", 3, start_cache, {leave, take_two_middle, give_2_and_leave},
     pages_finish, 0, 1, 0, 0},
    {"from the depot or the page", 3, start_half, {give_0_and_1_to_cache, take_two_middle,
     take_middle_and_flush}, pages_finish, 0, 0, 2, 5000},
    {"claimed by two", 3, start_trio, {take_long, take_long, give_0}, pages_finish, 0, 0, 0, 0},
    {"claimed by two, there is memory", 3, start_trio_and_memory, {take_two_long, take_two_long,
     give_0}, pages_finish, 0, 0, 2, 5000},
    {"holes, and the page is shared", 3, start_five, {take_some, give_holes_back,
     give_0_and_flush}, pages_finish, 0, 0, 0, 0},
    {"no room in the depot", 3, start_no_room, {put_0, put_1, take_chain_once}, pages_finish, 0, 1,
     0, 0},
    {"chains of a class", 3, start_quad, {put_0_1_and_take, put_2_and_take, drain}, pages_finish, 1,
     1, 0, 0},
    {"claimed for some of its blocks", 3, start_five, {take_some, take_some_and_flush,
     give_0_and_flush}, pages_finish, 0, 0, 0, 0},
    {"claimed by two, and emptied", 3, start_trio, {take_and_give_long, take_and_give_long, give_0},
     pages_finish, 0, 0, 3, 5000},
    {"begun anew as a shared page", 3, start_trio_alone, {give_0_and_take_long, take_and_give_long,
     take_long}, pages_finish, 0, 0, 3, 5000},
    {"no room, all goes back", 3, start_no_room, {put_0, put_1, drain}, pages_finish, 0, 0, 0, 0},
};

int main()
{
    for (const struct model_scenario &scenario : shared_scenarios) model_explore(&scenario);
    return 0;
}
