/* The states of blocks (region/state.h) when a block is freed twice at the same instant, in all
 * interleavings. Two blocks share their words. What is done with a state by the owner is what
 * refill.c does when it collects and alloc.h when it hands out.
 *
 * What must hold in every run:
 *   of frees of one block by threads that do not own it one counts (T2)
 *   of two frees at the same instant, one of them by the owner, at least one counts; when both do,
 *   the block is found out before it is handed out again (a free that comes after that is one of
 *   its new life)
 *   what happens to one block changes nothing of its neighbour (T1)
 *   who frees a block and finds it alive sees its page as it is in that life
 */
#include "base/base.h"
#include "region/state.h"

enum { BLOCKS = 2 };

static struct states states_words;
static ATOMIC(uint32_t) states_page; // stands for what describes the page of the blocks
static ATOMIC(uint32_t) states_list; // bit b: block b is on the remote list of the page
static unsigned states_counted[MODEL_THREADS][BLOCKS]; // frees by this thread that counted
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

// --- before and after the threads ----------------------------------------------------------------

static void start_with(uint64_t live, unsigned lives)
{
    states_words.live = live;
    states_words.remote = 0;
    states_list = 0;
    states_page = lives;
    memset(states_counted, 0, sizeof(states_counted));
    memset(states_is_local, 0, sizeof(states_is_local));
    states_lives[0] = states_lives[1] = lives;
    memset(states_is_found_out, 0, sizeof(states_is_found_out));
    model_name(&states_words.live, 8, "live");
    model_name(&states_words.remote, 8, "remote");
    model_name(&states_list, 4, "remote list");
    model_name(&states_page, 4, "page");
}

static void start() { start_with(3, 1); }         // both blocks are with the program
static void start_without_page() { start_with(0, 0); } // their page is not there yet

static unsigned frees_of(unsigned block)
{
    unsigned count = 0;
    for (unsigned i = 0; i < MODEL_THREADS; i++) count += states_counted[i][block];
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
};

int main()
{
    for (const struct model_scenario &scenario : states_scenarios) model_explore(&scenario);
    return 0;
}
