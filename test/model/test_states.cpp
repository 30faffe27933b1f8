/* The states of blocks (region/state.h) when a block is freed twice at the same instant, in all
 * interleavings. Two blocks share their words. What is done with a state by the owner is what
 * refill.c does when it collects and alloc.h when it hands out.
 *
 * What must hold in every run:
 *   of frees of one block by threads that do not own it one counts (T2)
 *   of two frees at the same instant, one of them by the owner, at least one counts; when both do,
 *   the block is found out before it is handed out again (a free that comes after that is one of
 *   its new life)
 *   of a block in a cache, or on its way from one to another, no free counts; or it is found out
 *   before it is handed out
 *   what happens to one block changes nothing of its neighbour (T1)
 *   who frees a block and finds it alive sees its page as it is in that life
 */
#include "base/base.h"
#include "region/state.h"

enum { BLOCKS = 2 };

static struct states states_words;
static ATOMIC(uint32_t) states_page; // stands for what describes the page of the blocks
static ATOMIC(uint32_t) states_list; // bit b: block b is on the remote list of the page
static ATOMIC(uint32_t) states_slot; // of the depot; 1: block 0 is in it
static unsigned states_counted[MODEL_THREADS + 1][BLOCKS]; // frees by this thread that counted
static bool states_is_local[BLOCKS];                   // freed by the owner, thread 0
static bool states_is_found_out[BLOCKS];
static unsigned states_lives[BLOCKS];                  // how often it was handed out

static struct state states_of(unsigned block)
{
    return state_at(&states_words, block);
}

// --- what a thread does --------------------------------------------------------------------------

static void free_as_other(unsigned block)
{
    if (!state_take_from_others(states_of(block))) return;
    if (atomic_load_explicit(&states_page, memory_order_relaxed) == 0)
        model_fail("a block was alive whose page could not be seen");
    states_counted[model_thread()][block]++;
    atomic_fetch_or_explicit(&states_list, 1u << block, memory_order_acq_rel); // remote_push
}

static void free_as_owner(unsigned block)
{
    if (!state_take_own(states_of(block))) return;
    states_counted[0][block]++;
    states_is_local[block] = true;
}

// As refill_check_list.
static void collect()
{
    uint32_t list = atomic_exchange_explicit(&states_list, 0, memory_order_acq_rel);
    for (unsigned block = 0; block < BLOCKS; block++) {
        if ((list >> block & 1) == 0) continue;
        if (!state_is_live(states_of(block))) {
            states_is_found_out[block] = true;
            continue;
        }
        state_clear(states_of(block));
        states_is_local[block] = true;
    }
}

// As alloc_unlink.
static void hand_out(unsigned block)
{
    if (!states_is_local[block]) return;
    states_is_local[block] = false;
    if (state_hand_out(states_of(block))) states_lives[block]++;
    else states_is_found_out[block] = true;
}

// As local_heap_lay_up, and depot_put.
static void lay_up(unsigned block)
{
    uint32_t none = 0;
    if (!states_is_local[block]) return;
    states_is_local[block] = false;
    if (!state_lay_up(states_of(block))) { // left out: it is being freed without a right
        states_is_found_out[block] = true;
        return;
    }
    if (!atomic_compare_exchange_strong_explicit(&states_slot, &none, 1, memory_order_release,
                                                 memory_order_relaxed))
        model_fail("a block was laid up twice");
}

// As depot_take, and alloc_unlink. true: the block is the program's.
static bool take_laid_up()
{
    if (atomic_exchange_explicit(&states_slot, 0, memory_order_acquire) == 0) return false;
    bool is_handed_out = state_hand_out_laid_up(states_of(0));
    if (is_handed_out) states_lives[0]++;
    else states_is_found_out[0] = true;
    return is_handed_out;
}

static void other_frees_0() { free_as_other(0); }
static void other_frees_1() { free_as_other(1); }
static void owner_frees_0() { free_as_owner(0); }
static void owner_frees_and_takes_0()
{
    free_as_owner(0);
    hand_out(0);
}
static void owner_collects() { collect(); }
static void owner_makes_the_page_and_hands_out_0()
{
    atomic_store_explicit(&states_page, 1, memory_order_relaxed); // as page_init
    states_is_local[0] = true;
    hand_out(0);
}

static void owner_lays_up_0() { lay_up(0); }
static void owner_collects_and_lays_up_0()
{
    collect();
    lay_up(0);
}
static void other_takes_and_frees_0()
{
    if (take_laid_up()) free_as_other(0);
}
static void other_frees_and_takes_0()
{
    free_as_other(0);
    ignore_result(take_laid_up());
}

// --- before and after the threads ----------------------------------------------------------------

static void start_with(uint64_t live, unsigned lives)
{
    states_words.live = live;
    states_words.remote = 0;
    states_list = 0;
    states_slot = 0;
    states_page = lives;
    memset(states_counted, 0, sizeof(states_counted));
    memset(states_is_local, 0, sizeof(states_is_local));
    states_lives[0] = states_lives[1] = lives;
    memset(states_is_found_out, 0, sizeof(states_is_found_out));
    model_name(&states_words.live, 8, "live");
    model_name(&states_words.remote, 8, "remote");
    model_name(&states_list, 4, "remote list");
    model_name(&states_slot, 4, "depot slot");
    model_name(&states_page, 4, "page");
}

static void start() { start_with(3, 1); }         // both blocks are with the program
static void start_without_page() { start_with(0, 0); } // their page is not there yet

static void start_free() // block 0 is free, on no list
{
    start_with(2, 1);
    states_lives[0] = 0;
    states_is_local[0] = true;
}
static void start_laid_up()
{
    start_free();
    lay_up(0);
}

static unsigned frees_of(unsigned block)
{
    unsigned count = 0;
    for (unsigned i = 0; i <= MODEL_THREADS; i++) count += states_counted[i][block];
    return count;
}

static void expect_untouched(unsigned block)
{
    struct state state = states_of(block);
    if (!state_is_in_use(state)) model_fail("T1: a block changed its state with its neighbour's");
}

static void finish_freed_by_others()
{
    if (frees_of(0) != 1) model_fail("T2: of several frees not just one counted");
    expect_untouched(1);
}

static void finish_freed_by_owner_too()
{
    unsigned count = frees_of(0), lives = states_lives[0];
    if (count == 0) model_fail("a block is lost: no free of it counted");
    collect();
    hand_out(0);
    if (count > lives && !states_is_found_out[0])
        model_fail("a block was freed twice and nobody noticed");
    expect_untouched(1);
}

static void finish_neighbours()
{
    collect();
    for (unsigned block = 0; block < BLOCKS; block++) {
        if (frees_of(block) != 1) model_fail("a correct free was refused");
        if (states_is_found_out[block]) model_fail("a correct free was taken for a mistake");
    }
    if (states_lives[0] != 2 || !state_is_in_use(states_of(0)) || !state_hand_out(states_of(1)))
        model_fail("T1: a block changed its state with its neighbour's");
}

// A free without a right to it may come at any time.
static void finish_page()
{
    collect();
    if (states_lives[0] != 1 && !states_is_found_out[0]) model_fail("a block is lost");
}

// Of each life one free counts, that of the program or the one without a right.
static void finish_laid_up()
{
    ignore_result(take_laid_up());
    if (state_is_in_use(states_of(0))) {
        if (state_hand_out_laid_up(states_of(0))) model_fail("a block in use was handed out");
        free_as_other(0);
    }
    unsigned count = frees_of(0), lives = states_lives[0];
    if (lives == 0 && !states_is_found_out[0]) model_fail("a block that was laid up is lost");
    if (count != lives) model_fail("a free of a block that is laid up counted");
    expect_untouched(1);
}

static void finish_taken()
{
    finish_laid_up();
    if (states_is_found_out[0]) model_fail("a block that was laid up could not be handed out");
}

static void finish_laid_up_again()
{
    owner_collects_and_lays_up_0();
    finish_laid_up();
}

static const struct model_scenario states_scenarios[] = {
    {"two others free a block", 3, start, {owner_collects, other_frees_0, other_frees_0},
     finish_freed_by_others, 0, 1, 0, 0},
    {"freed again after it was collected", 2, start,
     {[]() { other_frees_0(); }, []() { owner_collects(); other_frees_0(); }},
     finish_freed_by_others, 0, 1, 0, 0},
    {"the owner and another free a block", 2, start, {owner_frees_0, other_frees_0},
     finish_freed_by_owner_too, 0, 1, 0, 0},
    {"freed by both and handed out", 2, start, {owner_frees_and_takes_0, other_frees_0},
     finish_freed_by_owner_too, 0, 1, 0, 0},
    {"neighbours", 2, start, {owner_frees_and_takes_0, other_frees_1}, finish_neighbours, 0, 1, 0,
     0},
    {"a free without a right, of a page that is being made", 2, start_without_page,
     {owner_makes_the_page_and_hands_out_0, other_frees_0}, finish_page, 0, 1, 0, 0},
    {"taken from the depot and freed twice", 3, start_laid_up,
     {other_takes_and_frees_0, other_frees_0, other_frees_0}, finish_taken, 0, 1, 0, 0},
    {"freed twice and laid up", 3, start, {owner_collects_and_lays_up_0, other_frees_and_takes_0,
     other_frees_0}, finish_laid_up_again, 0, 1, 0, 0},
    {"laid up, taken and freed twice", 3, start_free, {owner_lays_up_0, other_takes_and_frees_0,
     other_frees_0}, finish_laid_up, 0, 1, 0, 0},
};

int main()
{
    for (const struct model_scenario &scenario : states_scenarios) model_explore(&scenario);
    return 0;
}
