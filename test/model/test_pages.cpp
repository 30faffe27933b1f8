/* Who owns a page, and frees by other threads, in all interleavings: pages.h has the real sources,
 * and what they stand on; test_shared.cpp, pages that nobody owns for long.
 *
 * What must hold in every run:
 *   every block is out once or free once, and nobody writes to a block that is somebody else's
 *   a page is released once, when none of its blocks is out, and nothing reads it afterwards
 *   whoever takes a page knows all that was done to it and to its free blocks before (M2)
 *   once all blocks are freed, all pages have been released
 */
#include "pages.h"

// --- scenarios -----------------------------------------------------------------------------------

static const struct pages_shape PAIR = {2048, 2, 2, CLASS}, THREE = {2048, 3, 3, CLASS},
                                SMALL = {1024, 3, 3, CLASS};

static void take_one() { pages_take(pages_own(), CLASS); }
static void take_two() { take_one(); take_one(); }
static void take_three() { take_one(); take_two(); }
static void take_and_give() { pages_give(pages_take(pages_own(), CLASS)); }
static void give_0_and_take() { give_0(); take_one(); }
static void give_0_and_1() { give_0(); give_1(); ring_flush(&pages_own()->ring); }
static void give_1_and_take_two() { give_1(); take_two(); }
static void give_2_and_take() { give_2(); take_one(); }
static void collect() { local_heap_collect(pages_own(), true); }
static void take_and_give_large() { pages_give(pages_take_large(pages_own())); }

static void start_pair()
{
    pages_begin();
    pages_make(&pages_heaps[0], PAIR);
}

static void start_three()
{
    pages_begin();
    pages_make(&pages_heaps[0], THREE);
    pages_are_exhausted = true;
}

static void start_small()
{
    pages_begin();
    pages_make(&pages_heaps[0], SMALL);
    pages_are_exhausted = true;
}

// The owner has handed out the last block, and is about to notice.
static void start_used_up()
{
    pages_begin();
    pages_heaps[0].own[CLASS].current = pages_make_loose(&pages_heaps[0], PAIR);
    pages_are_exhausted = true;
}

static void start_roomy()
{
    pages_begin();
    pages_make(&pages_heaps[0], {2048, 3, 2, CLASS});
    pages_are_exhausted = true;
}

// Parked, with two blocks that are free, each on OS pages of its own.
static void start_wide()
{
    pages_begin();
    pages_make(&pages_heaps[0], {8192, 4, 2, CLASS});
    local_heap_collect(&pages_heaps[0], true);
    pages_are_exhausted = true;
}

// Parked with a block on each of its lists, and one that came back since.
static void start_two_lists()
{
    bool is_zero;
    pages_begin();
    struct page *page = pages_make_loose(&pages_heaps[0], {2048, 4, 2, CLASS});
    if (!refill_page(page, NULL, 0, &is_zero)) model_fail("a page is fuller than planned");
    struct block *list = page_take_all(page), *other = block_next(list, &page->key);
    block_set_next(list, NULL, &page->key);
    page_put_list(page, list, 1);
    ignore_result(page_put(page, other));
    retire_park(page, false);
    thread_heap_slot = &pages_heaps[1];
    give_0();
    pages_are_exhausted = true;
}

// One block is left, and a mark for it; there is no other slice.
static void start_one_left()
{
    start_pair();
    thread_heap_slot = &pages_heaps[1];
    give_1();
    atomic_store_explicit(&pages_free_slices, 0, memory_order_relaxed);
}

static void start_large()
{
    pages_begin();
    pages_held[0] = (struct block *)pages_take_large(&pages_heaps[0]);
    marks_set(&arena_main, CLASS, 0); // of an earlier life
    pages_are_exhausted = true;
}

static void start_part()
{
    pages_begin();
    pages_make(&pages_part, PAIR);
    pages_held[2] = (struct block *)pages_take_large(&pages_part);
    pages_are_exhausted = true;
}

static void collect_part_and_take()
{
    local_heap_collect(&pages_part, false);
    pages_take(&pages_part, CLASS);
}

// Cheap ones first: a mistake is found soon.
static const struct model_scenario pages_scenarios[] = {
    {"the last two blocks", 2, start_pair, {give_0, give_1}, pages_finish, 2, 2, 0, 0},
    {"a large block and a stale mark", 2, start_large, {give_0, take_one}, pages_finish, 1, 2, 0,
     0},
    {"the owner collects", 3, start_roomy, {collect, give_0, give_1}, pages_finish, 1, 0, 0, 0},
    {"the owner leaves", 3, start_roomy, {leave, give_0, take_and_give}, pages_finish, 0, 0, 0, 0},
    {"a chain, the owner, a third", 3, start_small, {give_2_and_take, give_0_and_1, take_one},
     pages_finish, 1, 0, 0, 0},
    {"a chain and the rest", 3, start_small, {take_one, give_0_and_1, give_2}, pages_finish, 1, 0,
     0, 0},
    {"the owner frees and takes", 3, start_three, {give_0_and_take, give_1, give_2}, pages_finish,
     1, 0, 0, 0},
    {"adopted while blocks come back", 3, start_three, {give_0, give_1, take_two}, pages_finish, 0,
     0, 0, 0},
    {"adopted with blocks of its own", 3, start_two_lists, {take_one, give_1, take_three},
     pages_finish, 0, 0, 0, 0},
    {"the last two, none is the owner", 3, start_pair, {take_and_give, give_0, give_1},
     pages_finish, 1, 0, 0, 0},
    {"begun anew as a large block", 3, start_one_left, {take_and_give_large, give_0, take_one},
     pages_finish, 0, 0, 3, 5000},
    {"pages of a made heap", 3, start_part, {collect_part_and_take, give_0, give_2}, pages_finish,
     0, 0, 3, 2000},
    {"a made heap is deleted", 3, start_part, {move_part, give_0, give_2}, pages_finish, 0, 0, 3,
     2000},
    {"the owner leaves, two blocks come", 3, start_roomy, {leave, give_0, give_1}, pages_finish, 1,
     0, 0, 0},
    {"the owner notices a full page", 3, start_used_up, {take_one, give_0, give_1}, pages_finish, 0,
     0, 0, 0},
    {"parked again by another", 3, start_three, {give_0_and_take, give_1_and_take_two, give_2},
     pages_finish, 0, 0, 3, 5000},
    {"holes, and blocks come back", 3, start_wide, {give_holes_back, give_0, give_1}, pages_finish,
     1, 0, 3, 2000},
    {"holes, and the page is adopted", 3, start_wide, {give_0_and_take, give_holes_back, take_two},
     pages_finish, 0, 0, 3, 2000},
    // a load may find an old value: marks may be lost then, which is allowed for hints
    {"adopted, old values", 3, start_three, {give_0, give_1, take_one}, pages_finish_hints, 0, 1, 2,
     5000},
    {"the owner leaves, old values", 3, start_roomy, {leave, give_0, take_and_give},
     pages_finish_hints, 0, 1, 2, 5000},
    {"begun anew, old values", 3, start_one_left, {take_and_give_large, give_0, take_one},
     pages_finish_hints, 0, 1, 2, 5000},
};

int main()
{
    for (const struct model_scenario &scenario : pages_scenarios) model_explore(&scenario);
    return 0;
}
