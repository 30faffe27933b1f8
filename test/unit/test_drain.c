// What the helper does with memory that threads share and nobody uses, and what it leaves to them.
#include "shared_test.h"
#include "core/helper.h"
#include "core/hooks.h"
#include "core/report.h"
#include "heap/walk.h"
#include "mimalloc.h"

enum { ALWAYS = 2, DELAY_MS = 250, BEGIN_MS = 1000000, STEPS = 7 };
enum { QUIET_ROUNDS = PURGER_QUIET_MS / DELAY_MS };
static const size_t enough = (size_t)PURGER_MIN_SLICES * SLICE_BYTES;

static unsigned long starts(void) { return fake_prim_count(FAKE_PRIM_helper_start); }
static unsigned long waits(void) { return fake_prim_count(FAKE_PRIM_wait); }

static size_t steps; // made so far
static unsigned long waits_before; // rounds before the first step

static bool count_step(size_t step)
{
    if (step >= STEPS) return false;
    if (step == 0) waits_before = waits();
    steps++;
    return true;
}

static void start(long wanted)
{
    fake_prim_reset();
    fake_prim_set_clock_ms(BEGIN_MS);
    fake_prim_make_up_helper();
    options_set(OPTION_show_errors, 0);
    thread_start_process();
    options_set(OPTION_purge_delay, DELAY_MS);
    options_set(OPTION_background_purge, wanted);
    stats_add(STAT_threads, 1);
    steps = 0;
    purger_set_drain(count_step);
}

// This thread is the helper, as far as one can tell.
static void be_helper(bool is_helper)
{
    enum { NEAR = 64 * 1024 };
    char here;
    if (is_helper) helper_set_memory((void *)((uintptr_t)&here - NEAR), 2 * NEAR);
    else helper_set_memory(NULL, 0);
}

// --- when ----------------------------------------------------------------------------------------

static void worthwhile(void)
{
    start(ALWAYS);
    purger_expect(enough - 1);
    EXPECT_EQ(starts(), 0);
    purger_expect(1);
    EXPECT_EQ(starts(), 1);
    purger_expect(enough); // one is enough
    EXPECT_EQ(starts(), 1);
}

enum { OWNED_BYTES = 128, OWNED_BLOCKS = 64 * 1024 };
static void *owned[OWNED_BLOCKS];

static void *leave_holes(void *unused)
{
    for (unsigned i = 0; i < OWNED_BLOCKS; i++) owned[i] = mi_malloc(OWNED_BYTES);
    for (unsigned i = 0; i < OWNED_BLOCKS; i++) {
        if (i % 16 != 0) mi_free(owned[i]);
    }
    EXPECT_EQ(starts(), 0); // it may use them again itself
    return unused;
}

static void holes_left(void)
{
    start(ALWAYS);
    stats_remove(STAT_threads, 1); // one that is alone claims all pages that it frees blocks of
    run_thread(leave_holes, NULL);
    EXPECT_EQ(starts(), 1);
}

static void *leave_a_cache(void *unused)
{
    enum { COUNT = 20, BYTES = 3000 };
    void *block[COUNT];
    for (unsigned i = 0; i < COUNT; i++) block[i] = mi_malloc(BYTES);
    for (unsigned i = 0; i < COUNT; i++) mi_free(block[i]);
    return unused;
}

static void caches_left(void)
{
    start(ALWAYS);
    for (unsigned i = 0; i < 200 && starts() == 0; i++) run_thread(leave_a_cache, NULL);
    EXPECT_EQ(starts(), 1);
}

TEST(drain_is_for_what_ended_threads_leave)
{
    IN_CHILD(holes_left());
    IN_CHILD(caches_left());
}

static void unwanted(void)
{
    start(0);
    purger_expect(enough);
    EXPECT_EQ(starts(), 0);
}

TEST(drain_starts_a_helper_when_enough_is_expected)
{
    IN_CHILD(worthwhile());
    IN_CHILD(unwanted());
}

static void quiet(void)
{
    start(ALWAYS);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    EXPECT_EQ(waits_before, 1 + QUIET_ROUNDS); // in the first round all of it is new
    EXPECT_EQ(waits(), waits_before + PURGER_IDLE_ROUNDS);
    purger_expect(enough - 1); // what was drained does not count any more
    EXPECT_EQ(starts(), 1);
}

static void start_another(void) { purger_start(); }

static void quick(void)
{
    enum { FEW_MS = 25, ROUNDS = PURGER_QUIET_MS / FEW_MS };
    start(ALWAYS);
    options_set(OPTION_purge_delay, FEW_MS);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    EXPECT_EQ(waits_before, 1 + ROUNDS);
}

// Each helper sees one round.
static void slow(void)
{
    enum { MANY_MS = PURGER_LIFE_MS + 1 };
    start(ALWAYS);
    options_set(OPTION_purge_delay, MANY_MS);
    purger_expect(enough);
    fake_prim_on(FAKE_PRIM_wait, start_another);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, 0);
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
}

TEST(drain_comes_once_when_little_was_given_for_some_time)
{
    IN_CHILD(quiet());
    IN_CHILD(quick());
    IN_CHILD(slow());
}

static void give_for_some_rounds(void)
{
    purger_expect(waits() < 10 ? PURGER_LITTLE_BYTES : PURGER_LITTLE_BYTES / 8);
    if (waits() == 10 + 2 * QUIET_ROUNDS) fake_prim_on(FAKE_PRIM_wait, NULL);
}

static void busy(void)
{
    start(ALWAYS);
    purger_expect(enough);
    fake_prim_on(FAKE_PRIM_wait, give_for_some_rounds);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    EXPECT(waits_before >= 10 + QUIET_ROUNDS - 1);
    EXPECT(waits_before < 10 + 2 * QUIET_ROUNDS);
}

TEST(drain_waits_while_threads_give_much) { IN_CHILD(busy()); }

static void little(void)
{
    start(ALWAYS);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    purger_expect(PURGER_LITTLE_BYTES - 1);
    bool is_clean;
    char *memory = (char *)arena_claim(PURGER_MIN_SLICES, SLICE_BYTES, &is_clean);
    arena_release(memory, PURGER_MIN_SLICES, true);
    purger_consider();
    EXPECT_EQ(starts(), 2);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS); // those of the first time
}

TEST(drain_is_not_worth_it_for_little) { IN_CHILD(little()); }

// --- its life ------------------------------------------------------------------------------------

static void give_much(void) { purger_expect(PURGER_LITTLE_BYTES); }

static void old(void)
{
    start(ALWAYS);
    purger_expect(enough);
    fake_prim_on(FAKE_PRIM_wait, give_much);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(starts(), 2); // much is expected still: it was replaced
    EXPECT_EQ(steps, 0);
    fake_prim_on(FAKE_PRIM_wait, NULL);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
}

TEST(purger_B1_leaves_what_is_expected_to_the_next_one) { IN_CHILD(old()); }

static bool ask_in_a_step(size_t step)
{
    if (step < 3) return count_step(step);
    options_set(OPTION_background_purge, 0);
    purger_review(); // asks it to end
    return true;
}

static void asked(void)
{
    start(ALWAYS);
    purger_set_drain(ask_in_a_step);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, 3);
    purger_set_drain(count_step);
    options_set(OPTION_background_purge, ALWAYS);
    purger_expect(1); // the rest is expected still
    EXPECT_EQ(starts(), 2);
    steps = 0;
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
}

TEST(drain_ends_between_two_steps_and_begins_anew) { IN_CHILD(asked()); }

static bool start_in_a_step(size_t step)
{
    be_helper(true);
    purger_start();
    purger_expect(enough);
    be_helper(false);
    return count_step(step);
}

static void from_within(void)
{
    start(ALWAYS);
    purger_set_drain(start_in_a_step);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    EXPECT_EQ(starts(), 1);
    EXPECT_EQ(waits(), waits_before + PURGER_IDLE_ROUNDS);
}

TEST(drain_starts_no_helper_and_expects_nothing) { IN_CHILD(from_within()); }

// --- B5 ------------------------------------------------------------------------------------------

static bool wait_in_a_step(size_t step)
{
    if (step == 2) {
        uint64_t before = prim_clock_ms();
        purger_wait_for_steps(); // in which it is itself
        EXPECT_EQ(prim_clock_ms(), before + PURGER_PATIENCE_MS);
    }
    return count_step(step);
}

static void waited_for(void)
{
    start(ALWAYS);
    uint64_t before = prim_clock_ms();
    purger_wait_for_steps(); // there is no helper
    purger_set_drain(wait_in_a_step);
    purger_expect(enough);
    purger_wait_for_steps(); // nor a step
    EXPECT_EQ(prim_clock_ms(), before);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    before = prim_clock_ms();
    purger_wait_for_steps();
    EXPECT_EQ(prim_clock_ms(), before);
}

static void *in_use;              // a block of a shared page
static struct page *page_in_hand; // that the helper has claimed

static void let_go(void)
{
    if (page_in_hand != NULL) retire_park(page_in_hand, false);
    page_in_hand = NULL;
}

static bool find_block(struct page *page, const struct local_heap *part, void *arg)
{
    (void)part;
    if (page == page_of(in_use)) *(bool *)arg = true;
    return true;
}

// The helper has the page until somebody waits.
static void take_in_hand(void)
{
    page_in_hand = page_of(in_use);
    EXPECT(retire_claim(page_in_hand));
    fake_prim_on(FAKE_PRIM_wait, let_go);
}

static void expect_let_go(void)
{
    fake_prim_on(FAKE_PRIM_wait, NULL);
    EXPECT(page_in_hand == NULL);
}

// Another thread looks at all pages while the helper has one of them.
static bool walk_in_a_step(size_t step)
{
    bool is_found = false;
    if (step != 1) return count_step(step);
    take_in_hand();
    struct local_heap *main = thread_heap()->main;
    EXPECT(walk_heap_pages(&main->backing, main, find_block, &is_found));
    expect_let_go();
    EXPECT(is_found);
    return count_step(step);
}

static bool ask_in_a_later_step(size_t step)
{
    if (step != 1) return count_step(step);
    take_in_hand();
    EXPECT(!mi_heap_contains_block(mi_heap_get_backing(), (char *)in_use + 3 * 3072));
    expect_let_go();
    return count_step(step);
}

static void walks(purger_drain *drain)
{
    start(ALWAYS);
    in_use = mi_malloc(3000);
    mi_collect(true);
    purger_set_drain(drain);
    purger_expect(enough);
    EXPECT(fake_prim_run_helper());
    EXPECT_EQ(steps, STEPS);
    mi_free(in_use);
}

TEST(purger_B5_a_step_is_waited_for)
{
    IN_CHILD(waited_for());
    IN_CHILD(walks(walk_in_a_step));
    IN_CHILD(walks(ask_in_a_later_step));
}

// --- what ----------------------------------------------------------------------------------------

enum { BLOCKS = 16000, BLOCK_BYTES = 1500 };
static void *blocks[BLOCKS];

static void *leave_idle_heap(void *unused)
{
    mi_free(mi_malloc(BLOCK_BYTES));
    return unused;
}

static size_t depot_blocks(void)
{
    size_t count = 0;
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        count += depot_count(size_class);
    return count;
}

static void drained(void)
{
    fake_prim_reset();
    fake_prim_make_up_helper();
    thread_start_process(); // with the steps that it has in earnest
    options_set(OPTION_purge_delay, DELAY_MS);
    options_set(OPTION_background_purge, ALWAYS);
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = mi_malloc(BLOCK_BYTES);
    for (unsigned i = 0; i < BLOCKS; i++) memset(blocks[i], 1, BLOCK_BYTES);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (i % 64 != 0) mi_free(blocks[i]); // one stays in each page, and more
    }
    run_thread(leave_idle_heap, NULL);
    EXPECT(idle_has_any() && depot_blocks() > 0);
    EXPECT_EQ(starts(), 1); // by what the cache gave away
    int64_t before = level_now(STAT_reset);
    be_helper(true);
    (void)fake_prim_run_helper();
    be_helper(false);
    EXPECT(!idle_has_any());
    EXPECT_EQ(depot_blocks(), 0);
    int64_t half = (int64_t)BLOCKS * BLOCK_BYTES / 2;
    EXPECT(level_now(STAT_reset) - before > half); // in pages with a block that is out
    for (unsigned i = 0; i < BLOCKS; i += 64) mi_free(blocks[i]);
    expect_nothing_left();
}

TEST(drain_ends_idle_heaps_empties_the_depot_and_finds_holes) { IN_CHILD(drained()); }

static void numbered(void)
{
    start_quietly();
    size_t chunks = 0;
    for (unsigned i = 0; i < ARENA_MAX && arena_at(i) != NULL; i++)
        chunks += window_mapped_chunks(arena_at(i));
    mi_free(mi_malloc(1));
    for (size_t number = 0; number < window_mapped_chunks(&arena_main); number++)
        EXPECT(retire_give_back_holes_of(number));
    EXPECT(!retire_give_back_holes_of(chunks + window_mapped_chunks(&arena_main)));
}

TEST(drain_knows_the_last_chunk) { IN_CHILD(numbered()); }

// --- what a helper leaves to threads -------------------------------------------------------------

static void counts_at_once(void)
{
    start_quietly();
    mi_free(mi_malloc(1)); // this thread has a tally now
    int64_t before = stats_current(STAT_pages);
    stats_add(STAT_pages, 1);
    EXPECT_EQ(stats_current(STAT_pages), before);
    be_helper(true);
    stats_add(STAT_pages, 1);
    be_helper(false);
    EXPECT_EQ(stats_current(STAT_pages), before + 1);
    stats_remove(STAT_pages, 2);
}

TEST(helper_has_no_tally) { IN_CHILD(counts_at_once()); }

static void *const somewhere = (void *)(uintptr_t)0xabc0;

static void left_to_a_thread(void)
{
    struct fault_count faults = {EAGAIN, 0};
    start_quietly();
    hooks_set_error(count_fault, &faults);
    be_helper(true);
    report_fault(FAULT_DOUBLE_FREE, "free", somewhere, 48);
    be_helper(false);
    EXPECT_EQ(faults.count, 0);
    EXPECT_EQ(counter_now(COUNT_faults), 0);
    for (int i = 0; i < 2; i++) ignore_result(thread_housekeep(thread_ready(thread_heap())));
    EXPECT_EQ(faults.count, 1); // once
    EXPECT_EQ(counter_now(COUNT_faults), 1);
}

static void only_frees(void)
{
    enum { FREES = 8000 };
    static void *freed[FREES];
    struct fault_count faults = {EAGAIN, 0};
    start_quietly();
    hooks_set_error(count_fault, &faults);
    for (int i = 0; i < FREES; i++) freed[i] = mi_malloc(200);
    be_helper(true);
    report_fault(FAULT_DOUBLE_FREE, "free", somewhere, 48);
    report_fault(FAULT_LINK, "free", somewhere, 48); // is counted
    be_helper(false);
    for (int i = 0; i < FREES; i++) mi_free(freed[i]);
    EXPECT_EQ(faults.count, 1);
    EXPECT_EQ(counter_now(COUNT_faults), 2);
}

static void told_by_a_thread(void)
{
    start_quietly();
    be_helper(true);
    report_fault(FAULT_LINK, "free", somewhere, 48);
    be_helper(false);
    ignore_result(thread_housekeep(thread_ready(thread_heap())));
}

TEST(helper_leaves_a_fault_to_the_next_thread)
{
    const char *line = "mimalloc: corrupted free list: collect(0xabc0): block of 48 bytes\n";
    IN_CHILD(left_to_a_thread());
    IN_CHILD(only_frees());
    if (CFG_DEBUG >= 1 || CFG_SECURE >= 1) EXPECT_DEATH(told_by_a_thread(), line);
    else EXPECT_STDERR(told_by_a_thread(), line);
}
