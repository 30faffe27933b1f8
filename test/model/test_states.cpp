/* The state of a block (region/state.h) when it is freed twice at the same instant, in all
 * interleavings. What is done with it by the owner is what refill.c does when it collects and
 * alloc.h when it hands out. A block that both free is on two lists.
 *
 * What must hold in every run:
 *   of frees of the block by threads that do not own it one counts (T1)
 *   of two frees at the same instant, one of them by the owner, at least one counts; when both do,
 *   the block is handed out once, and found out then (a free that comes after that is one of its
 *   new life)
 *   of a block in a cache, or on its way from one to another, no free counts (T2)
 *   who frees the block and finds it in use sees its page as it is in that life
 *   who frees it by mistake for another one leaves no trace
 */
#define MI_ONE_OBJECT 1
#include "base/base.h"
#include "region/state.h"

static bool prim_is_single_threaded() { return false; }

static struct state states_block;
static ATOMIC(uint32_t) states_page; // stands for what describes the page of the block
static ATOMIC(uint32_t) states_list; // 1: the block is on the remote list of the page
static ATOMIC(uint32_t) states_slot; // of the depot; 1: the block is in it
static unsigned states_counted[MODEL_THREADS + 1]; // frees by this thread that counted
static unsigned states_local;                      // so often on lists of the owner, thread 0
static bool states_is_found_out;
static unsigned states_lives;                      // how often it was handed out

// --- what a thread does --------------------------------------------------------------------------

static void free_as_other()
{
    if (!state_take(&states_block)) return;
    if (atomic_load_explicit(&states_page, memory_order_relaxed) == 0)
        model_fail("a block was in use whose page could not be seen");
    states_counted[model_thread()]++;
    atomic_fetch_or_explicit(&states_list, 1u, memory_order_acq_rel); // remote_push
}

static void free_as_owner()
{
    if (!state_free(&states_block)) return;
    states_counted[0]++;
    states_local++;
}

// As refill_from_remote.
static void collect()
{
    if (atomic_exchange_explicit(&states_list, 0, memory_order_acq_rel) != 0) states_local++;
}

// As alloc_unlink. true: the block is the program's.
static bool hand_out()
{
    bool is_handed_out = state_hand_out(&states_block);
    if (is_handed_out) states_lives++;
    else states_is_found_out = true;
    return is_handed_out;
}

static void hand_out_local()
{
    if (states_local == 0) return;
    states_local--;
    ignore_result(hand_out());
}

// As local_heap_take_some, and depot_put.
static void lay_up()
{
    uint32_t none = 0;
    if (states_local == 0) return;
    states_local--;
    if (!atomic_compare_exchange_strong_explicit(&states_slot, &none, 1, memory_order_release,
                                                 memory_order_relaxed))
        model_fail("a block was laid up twice");
}

// As depot_take, and alloc_unlink. true: the block is the program's.
static bool take_laid_up()
{
    return atomic_exchange_explicit(&states_slot, 0, memory_order_acquire) != 0 && hand_out();
}

static void owner_frees_and_takes()
{
    free_as_owner();
    hand_out_local();
}
static void owner_makes_the_page_and_hands_out()
{
    atomic_store_explicit(&states_page, 1, memory_order_relaxed); // as page_init
    state_set(&states_block, STATE_FREE);                         // as page_cut
    states_local++;
    hand_out_local();
}
// As page_release.
static void owner_destroys_the_page() { state_set(&states_block, STATE_NONE); }
static void owner_collects_and_lays_up()
{
    collect();
    lay_up();
}
static void other_takes_and_frees()
{
    if (take_laid_up()) free_as_other();
}
static void other_frees_and_takes()
{
    free_as_other();
    ignore_result(take_laid_up());
}
// As free_take.
static void other_means_another_block()
{
    if (state_take(&states_block)) state_untake(&states_block);
}

// --- before and after the threads ----------------------------------------------------------------

static void start_with(enum state_kind kind, unsigned lives)
{
    states_block.kind = kind;
    states_list = 0;
    states_slot = 0;
    states_page = lives;
    memset(states_counted, 0, sizeof(states_counted));
    states_local = 0;
    states_is_found_out = false;
    states_lives = lives;
    model_name(&states_block.kind, 1, "state");
    model_name(&states_list, 4, "remote list");
    model_name(&states_slot, 4, "depot slot");
    model_name(&states_page, 4, "page");
}

static void start() { start_with(STATE_IN_USE, 1); }             // the block is with the program
static void start_without_page() { start_with(STATE_NONE, 0); }

static void start_free() // the block is free, on no list
{
    start_with(STATE_FREE, 1);
    states_lives = 0;
    states_local = 1;
}
static void start_laid_up()
{
    start_free();
    lay_up();
}

static unsigned frees()
{
    unsigned count = 0;
    for (unsigned thread_count : states_counted) count += thread_count;
    return count;
}

static void finish_freed_by_others()
{
    if (frees() != 1) model_fail("T1: of several frees not just one counted");
}

static void finish_freed_by_owner_too()
{
    unsigned count = frees(), lives = states_lives;
    if (count == 0) model_fail("a block is lost: no free of it counted");
    collect();
    while (states_local != 0) hand_out_local();
    if (count > lives && !states_is_found_out)
        model_fail("a block was freed twice and nobody noticed");
}

// A free without a right to it may come at any time.
static void finish_page()
{
    collect();
    if (states_lives != 1) model_fail("a block is lost");
}

// Of each life one free counts, that of the program or the one without a right.
static void finish_laid_up()
{
    ignore_result(take_laid_up());
    if (state_is(&states_block, STATE_IN_USE)) {
        if (state_is_idle(&states_block)) model_fail("a block in use was handed out");
        free_as_other();
    }
    if (states_lives == 0) model_fail("a block that was laid up is lost");
    if (states_is_found_out) model_fail("T2: a block that was laid up could not be handed out");
    if (frees() != states_lives) model_fail("T2: a free of a block that is laid up counted");
}

static void finish_laid_up_again()
{
    owner_collects_and_lays_up();
    finish_laid_up();
}

static void finish_in_use()
{
    if (!state_is(&states_block, STATE_IN_USE)) model_fail("a block was freed that was not meant");
}

static void finish_destroyed()
{
    if (!state_is(&states_block, STATE_NONE)) model_fail("a block is in use whose page is gone");
}

static const struct model_scenario states_scenarios[] = {
    {"two others free a block", 3, start, {collect, free_as_other, free_as_other},
     finish_freed_by_others, 0, 1, 0, 0},
    {"freed again after it was collected", 2, start,
     {free_as_other, []() { collect(); free_as_other(); }}, finish_freed_by_others, 0, 1, 0, 0},
    {"the owner and another free a block", 2, start, {free_as_owner, free_as_other},
     finish_freed_by_owner_too, 0, 1, 0, 0},
    {"freed by both and handed out", 2, start, {owner_frees_and_takes, free_as_other},
     finish_freed_by_owner_too, 0, 1, 0, 0},
    {"a free without a right, of a page that is being made", 2, start_without_page,
     {owner_makes_the_page_and_hands_out, free_as_other}, finish_page, 0, 1, 0, 0},
    {"taken from the depot and freed twice", 3, start_laid_up,
     {other_takes_and_frees, free_as_other, free_as_other}, finish_laid_up, 0, 1, 0, 0},
    {"freed twice and laid up", 3, start,
     {owner_collects_and_lays_up, other_frees_and_takes, free_as_other}, finish_laid_up_again, 0, 1,
     0, 0},
    {"laid up, taken and freed twice", 3, start_free,
     {lay_up, other_takes_and_frees, free_as_other}, finish_laid_up, 0, 1, 0, 0},
    {"another block was meant", 2, start, {other_means_another_block, other_means_another_block},
     finish_in_use, 0, 1, 0, 0},
    {"another block was meant, of a page that is destroyed", 2, start,
     {owner_destroys_the_page, other_means_another_block}, finish_destroyed, 0, 1, 0, 0},
};

int main()
{
    for (const struct model_scenario &scenario : states_scenarios) model_explore(&scenario);
    return 0;
}
