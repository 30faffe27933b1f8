#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "page/depot.h"

// CLASS: 8 KiB, eight blocks in a page and in a chain. Others come from other ends of the table.
enum {
    CLASS = 64,
    FIRST_CLASS = CLASS_SHARED_FIRST,
    LAST_CLASS = CLASS_SHARED_FIRST + DEPOT_CLASSES - 1,
    MAX_BLOCKS = 256,
    SHORT_LEFT = 3 // blocks of a chain that is cut short
};
static struct block *blocks[MAX_BLOCKS];
static unsigned block_count; // in `blocks`

// A shared page, all of whose blocks are out, on the way from thread to thread; they are added to
// `blocks`. With a key of its own.
static struct page *add_page(size_t size_class)
{
    struct page *page = new_page(size_class, 0);
    page->key.add += (uintptr_t)page;
    page_share(page, local_heap_bin_offset(page->size_class));
    block_count += take_every_block(page, blocks + block_count);
    EXPECT(block_count <= MAX_BLOCKS);
    retire_park(page, false);
    return page;
}

// With a second thread, as far as the depot knows: it is closed to a thread that is alone.
static void start(void)
{
    start_quietly();
    stats_add(STAT_threads, 2);
    block_count = 0;
}

// blocks[first], blocks[first + step], ...
static struct depot_chain chain_of(unsigned first, unsigned count, unsigned step)
{
    for (unsigned i = 0; i < count; i++) {
        struct block *block = blocks[first + i * step];
        struct block *next = i + 1 < count ? blocks[first + (i + 1) * step] : NULL;
        block_set_next(block, next, &page_of(block)->key);
    }
    struct depot_chain chain = {blocks[first], count};
    return chain;
}

// Threads have looked for chains of that class in vain, and the heap is large: so the depot takes
// as many of them as it ever does.
static void make_room(size_t size_class)
{
    stats_add(STAT_shared_bytes, (int64_t)DEPOT_SLOTS * DEPOT_SLOT_SHARE_BYTES);
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) EXPECT(depot_take(size_class).first == NULL);
}

// Puts chains of one block each, of blocks[first] and the next ones.
static void put_each(size_t size_class, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) depot_put(size_class, chain_of(i, 1, 1));
}

static void expect_empty(void)
{
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        if (class_is_shared(size_class)) EXPECT(depot_take(size_class).first == NULL);
    }
}

static void expect_nothing_left(void)
{
    EXPECT_EQ(used_slices(), 0);
    EXPECT_EQ(level_now(STAT_pages), 0);
    EXPECT_EQ(level_now(STAT_pages_parked), 0);
    for (unsigned i = 0; i < ARENA_MAX && arena_at(i) != NULL; i++)
        EXPECT_TEXT(marks_broken_rule(arena_at(i)), NULL);
}

// --- chains --------------------------------------------------------------------------------------

static void expect_chain(struct depot_chain chain, unsigned first, unsigned count, unsigned step)
{
    EXPECT_EQ(chain.count, count);
    for (unsigned i = 0; i < count; i++) {
        EXPECT(chain.first == blocks[first + i * step]);
        chain.first = depot_next(chain.first, page_of(chain.first)->size_class);
    }
    EXPECT(chain.first == NULL);
}

static void *take_in_other_thread(void *chain)
{
    *(struct depot_chain *)chain = depot_take(CLASS);
    return NULL;
}

static void same_chain(void)
{
    struct depot_chain taken;
    start();
    add_page(CLASS);
    unsigned per_page = block_count;
    add_page(CLASS);
    make_room(CLASS);
    struct depot_chain chain = chain_of(1, 2, per_page); // of both pages
    depot_put(CLASS, chain);
    EXPECT_TEXT(depot_broken_rule(), NULL);
    run_thread(take_in_other_thread, &taken);
    expect_chain(taken, 1, 2, per_page);
    EXPECT(depot_take(CLASS).first == NULL);
}

TEST(depot_gives_the_chain_that_was_put_to_any_thread_once) { IN_CHILD(same_chain()); }

static void last_first(void)
{
    start();
    add_page(CLASS);
    make_room(CLASS);
    put_each(CLASS, 0, 3);
    for (unsigned i = 3; i-- > 0;) EXPECT(depot_take(CLASS).first == blocks[i]);
}

TEST(depot_gives_the_chain_that_was_put_last) { IN_CHILD(last_first()); }

static void counts(void)
{
    start();
    add_page(CLASS);
    unsigned count = block_count;
    add_page(FIRST_CLASS);
    make_room(CLASS);
    make_room(FIRST_CLASS);
    depot_put(CLASS, chain_of(0, 2, 1));
    depot_put(CLASS, chain_of(2, 3, 1));
    depot_put(FIRST_CLASS, chain_of(count, 7, 1));
    EXPECT_EQ(depot_count(CLASS), 5);
    EXPECT_EQ(depot_count(FIRST_CLASS), 7);
    EXPECT_EQ(depot_count(CLASS + 1), 0);
    EXPECT_EQ(depot_take(CLASS).count, 3);
    EXPECT_EQ(depot_count(CLASS), 2);
    EXPECT_TEXT(depot_broken_rule(), NULL);
}

TEST(depot_counts_the_blocks_of_each_class) { IN_CHILD(counts()); }

TEST(depot_D2_a_chain_has_one_block_at_least_and_a_bounded_number_of_bytes)
{
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        unsigned most = depot_chain_blocks(size_class);
        EXPECT(most >= 1 && most <= DEPOT_CHAIN_BLOCKS);
        EXPECT(most == 1 || most * class_block_bytes(size_class) <= DEPOT_CHAIN_BYTES);
    }
    EXPECT(class_block_bytes(LAST_CLASS) == DEPOT_BLOCK_BYTES);
}

// --- no room -------------------------------------------------------------------------------------

static void full_class(void)
{
    start();
    make_room(CLASS);
    for (unsigned page = 0; block_count <= DEPOT_SLOTS + 2; page++) add_page(CLASS);
    put_each(CLASS, 0, DEPOT_SLOTS);
    EXPECT_EQ(depot_count(CLASS), DEPOT_SLOTS);
    unsigned last = DEPOT_SLOTS; // one block more than there are slots
    unsigned waiting = remote_waiting(page_of(blocks[last]));
    depot_put(CLASS, chain_of(last, 2, 1));
    EXPECT_EQ(depot_count(CLASS), DEPOT_SLOTS - 1); // nor does it want as many any more
    EXPECT_EQ(remote_waiting(page_of(blocks[last])), waiting + 2);
    EXPECT_TEXT(remote_broken_rule(page_of(blocks[last])), NULL);
}

TEST(depot_returns_a_chain_to_its_pages_when_its_class_is_full) { IN_CHILD(full_class()); }

static void alone(void)
{
    start();
    make_room(CLASS);
    struct page *page = add_page(CLASS);
    put_each(CLASS, 0, 1);
    EXPECT_EQ(depot_count(CLASS), 1);
    stats_remove(STAT_threads, 1); // the other one has ended
    depot_put(CLASS, chain_of(1, 2, 1));
    EXPECT_EQ(remote_waiting(page), 2 + 1); // and what was there went back, too
    EXPECT_EQ(depot_count(CLASS), 0);
}

TEST(depot_keeps_nothing_for_a_thread_that_is_alone) { IN_CHILD(alone()); }

static void shrunk(void)
{
    start();
    make_room(CLASS);
    for (unsigned page = 0; block_count <= DEPOT_SLOTS; page++) add_page(CLASS);
    put_each(CLASS, 0, DEPOT_SLOTS);
    for (unsigned left = DEPOT_SLOTS; left > 0; left--) {
        EXPECT_EQ(depot_count(CLASS), left);
        depot_shrink(CLASS);
    }
    EXPECT_EQ(depot_count(CLASS), 0);
    depot_shrink(CLASS);
    depot_shrink(LAST_CLASS + 1); // which has no slots
    EXPECT_TEXT(depot_broken_rule(), NULL);
}

TEST(depot_shrinks_by_a_chain_at_a_time) { IN_CHILD(shrunk()); }

// How many chains of one block it takes before one goes back to its page.
static unsigned count_slots(size_t size_class)
{
    unsigned count = 0;
    block_count = 0;
    for (unsigned page = 0; block_count <= DEPOT_SLOTS; page++) add_page(size_class);
    while (depot_count(size_class) == count && count <= DEPOT_SLOTS)
        put_each(size_class, count++, 1);
    depot_drain();
    return count - 1;
}

static void more_and_fewer(void)
{
    start();
    stats_add(STAT_shared_bytes, (int64_t)DEPOT_SLOTS * DEPOT_SLOT_SHARE_BYTES);
    unsigned slots = count_slots(CLASS);
    EXPECT(depot_take(CLASS).first == NULL);
    EXPECT(count_slots(CLASS) > slots);
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) EXPECT(depot_take(CLASS).first == NULL);
    slots = count_slots(CLASS);
    EXPECT(slots >= DEPOT_SLOTS - 1 && slots <= DEPOT_SLOTS);
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) {
        unsigned now = count_slots(CLASS); // one put that finds no room, and nobody takes anything
        EXPECT(now < slots || now <= DEPOT_FEW_SLOTS);
        slots = now;
    }
    EXPECT(slots <= DEPOT_FEW_SLOTS);
}

TEST(depot_wants_more_chains_after_a_miss_and_fewer_after_puts_that_find_no_room)
{
    IN_CHILD(more_and_fewer());
}

static void gives_back_what_it_holds(void)
{
    start();
    make_room(CLASS);
    for (unsigned page = 0; block_count < 4 * DEPOT_SLOTS; page++) add_page(CLASS);
    put_each(CLASS, 0, 4 * DEPOT_SLOTS); // a thread that only frees
    EXPECT(depot_count(CLASS) <= DEPOT_FEW_SLOTS);
    EXPECT_TEXT(depot_broken_rule(), NULL);
    depot_drain();
    EXPECT_EQ(used_slices(), 0);
}

TEST(depot_holds_less_and_less_for_threads_that_only_free) { IN_CHILD(gives_back_what_it_holds()); }

static void small_heap(void)
{
    start();
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) EXPECT(depot_take(CLASS).first == NULL);
    EXPECT_EQ(count_slots(CLASS), DEPOT_FEW_SLOTS);
}

TEST(depot_of_a_small_heap_has_few_slots_however_much_is_wanted) { IN_CHILD(small_heap()); }

static void classes_without_chains(size_t size_class)
{
    start();
    struct page *page = add_page(size_class);
    unsigned count = block_count;
    make_room(size_class);
    depot_put(size_class, chain_of(0, count - 1, 1));
    EXPECT_EQ(depot_count(size_class), 0);
    EXPECT(depot_take(size_class).first == NULL);
    EXPECT_EQ(remote_waiting(page), count - 1);
    depot_put(size_class, chain_of(count - 1, 1, 1));
    expect_nothing_left();
}

TEST(depot_has_no_chains_of_larger_blocks_which_go_to_their_pages)
{
    IN_CHILD(classes_without_chains(LAST_CLASS + 1));
    IN_CHILD(classes_without_chains(CLASS_COUNT - 2)); // a page of the last class has one block
}

// --- back to the pages ---------------------------------------------------------------------------

static void drain(void)
{
    static const size_t size_classes[] = {FIRST_CLASS, CLASS, LAST_CLASS};
    start();
    for (unsigned i = 0; i < 3; i++) {
        unsigned first = block_count;
        add_page(size_classes[i]);
        make_room(size_classes[i]);
        for (unsigned most = depot_chain_blocks(size_classes[i]), left; first < block_count;
             first += left) {
            left = block_count - first < most ? block_count - first : most;
            depot_put(size_classes[i], chain_of(first, left, 1));
        }
    }
    EXPECT_EQ(level_now(STAT_pages), 3);
    EXPECT_TEXT(depot_broken_rule(), NULL);
    depot_drain();
    expect_empty();
    expect_nothing_left();
}

TEST(depot_drain_empties_every_class_and_pages_without_a_block_out_are_released)
{
    IN_CHILD(drain());
}

static void drain_some(void)
{
    start();
    struct page *page = add_page(CLASS);
    make_room(CLASS);
    depot_put(CLASS, chain_of(0, block_count - 1, 1)); // one block is with its user
    depot_drain();
    EXPECT(remote_is_listed(page) && remote_waiting(page) == block_count - 1);
    EXPECT(page_is_shared(page) && refill_claim(page));
    EXPECT_EQ(page->out, 1);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(depot_drain_leaves_a_page_with_a_block_out_to_others) { IN_CHILD(drain_some()); }

enum { NOW_MS = 5000 };

// Reviews until it does nothing any more. Bounded: a call does a bounded part of it.
static void review(uint64_t now_ms)
{
    for (unsigned i = 0; i < DEPOT_CLASSES * (DEPOT_SLOTS + 1); i++) depot_review(now_ms);
}

static void reviewed(void)
{
    start();
    add_page(CLASS);
    make_room(CLASS);
    depot_review(NOW_MS);
    put_each(CLASS, 0, 2);
    review(NOW_MS + DEPOT_REVIEW_MS - 1); // it is not time yet
    EXPECT_EQ(depot_count(CLASS), 2);
    review(NOW_MS + DEPOT_REVIEW_MS);
    EXPECT_EQ(depot_count(CLASS), 2); // seen for the first time
    EXPECT(depot_take(CLASS).first == blocks[1]);
    put_each(CLASS, 2, 1); // where the other one was
    review(NOW_MS + 2 * DEPOT_REVIEW_MS);
    EXPECT_EQ(depot_count(CLASS), 1);
    EXPECT(depot_take(CLASS).first == blocks[2]);
    EXPECT_EQ(remote_waiting(page_of(blocks[0])), 1);
}

TEST(depot_review_returns_chains_that_nobody_took_between_two_reviews) { IN_CHILD(reviewed()); }

static void reviewed_in_steps(void)
{
    unsigned calls = 0;
    start();
    make_room(CLASS);
    for (unsigned page = 0; block_count < DEPOT_SLOTS; page++) add_page(CLASS);
    put_each(CLASS, 0, DEPOT_SLOTS);
    review(NOW_MS);
    depot_review(NOW_MS + DEPOT_REVIEW_MS);
    EXPECT_EQ(depot_count(CLASS), DEPOT_SLOTS - DEPOT_REVIEW_CHAINS); // in one call
    EXPECT(depot_review_goes_on());
    for (; depot_count(CLASS) != 0 && calls <= DEPOT_SLOTS; calls++)
        depot_review(NOW_MS + DEPOT_REVIEW_MS);
    EXPECT_EQ(calls, DEPOT_SLOTS / DEPOT_REVIEW_CHAINS - 1);
    depot_review(NOW_MS + DEPOT_REVIEW_MS);
    EXPECT(!depot_review_goes_on());
}

TEST(depot_review_returns_some_chains_at_a_time) { IN_CHILD(reviewed_in_steps()); }

// --- D2, broken on purpose -----------------------------------------------------------------------

static void expect_broken(size_t size_class, struct depot_chain chain, const char *text)
{
    make_room(size_class);
    depot_put(size_class, chain);
    EXPECT_TEXT(depot_broken_rule(), text);
}

static void too_long(void)
{
    start();
    while (block_count <= depot_chain_blocks(LAST_CLASS)) add_page(LAST_CLASS);
    struct depot_chain chain = chain_of(0, depot_chain_blocks(LAST_CLASS) + 1, 1);
    expect_broken(LAST_CLASS, chain, "D2: a chain is too long");
}

static void longer_than_its_word(void)
{
    start();
    add_page(CLASS);
    struct depot_chain chain = chain_of(0, 4, 1);
    chain.count = SHORT_LEFT;
    expect_broken(CLASS, chain, "D2: a chain is longer than its word says");
}

static void shorter_than_its_word(void)
{
    start();
    add_page(CLASS);
    struct depot_chain chain = chain_of(0, SHORT_LEFT, 1);
    chain.count++;
    expect_broken(CLASS, chain, "D2: a chain holds what is not for it");
}

// The block that follows blocks[1] in the chain.
static void leads_to(struct block *block)
{
    struct depot_chain chain = chain_of(0, SHORT_LEFT, 1);
    block_set_next(blocks[1], block, &page_of(blocks[1])->key);
    expect_broken(CLASS, chain, "D2: a chain holds what is not for it");
}

static void leads_to_other_class(void)
{
    start();
    add_page(CLASS);
    unsigned other = block_count;
    add_page(CLASS + 1);
    leads_to(blocks[other]);
}

static void leads_to_owned_page(void)
{
    start();
    add_page(CLASS);
    unsigned other = block_count;
    page_set_owner(add_page(CLASS), 64);
    leads_to(blocks[other]);
}

static void leads_into_block(void)
{
    start();
    add_page(CLASS);
    leads_to((struct block *)(void *)((char *)blocks[2] + 16));
}

static void leads_away(uintptr_t address)
{
    start();
    add_page(CLASS);
    leads_to((struct block *)address);
}

// Builds with block states know that it is with the user.
static void leads_to_block_in_use(void)
{
    start();
    add_page(CLASS);
    mark(blocks[5], STATE_IN_USE);
    leads_to(blocks[5]);
}

static void loops(void)
{
    start();
    add_page(CLASS);
    struct depot_chain chain = chain_of(0, SHORT_LEFT, 1);
    block_set_next(blocks[SHORT_LEFT - 1], blocks[0], &page_of(blocks[0])->key);
    expect_broken(CLASS, chain, "D2: a chain is longer than its word says");
}

TEST(depot_D2_notices_a_chain_that_is_too_long) { IN_CHILD(too_long()); }
TEST(depot_D2_notices_a_chain_that_is_not_as_long_as_its_word_says)
{
    IN_CHILD(longer_than_its_word());
    IN_CHILD(shorter_than_its_word());
    IN_CHILD(loops());
}
TEST(depot_D2_notices_what_is_no_block_of_the_class_and_of_a_shared_page)
{
    IN_CHILD(leads_to_other_class());
    IN_CHILD(leads_to_owned_page());
    IN_CHILD(leads_into_block());
    IN_CHILD(leads_away(0x80)); // where nothing can be read
    IN_CHILD(leads_away((uintptr_t)blocks));
}
TEST(depot_D2_notices_a_block_that_is_in_use)
{
    if (CFG_STATES) IN_CHILD(leads_to_block_in_use());
}

// --- a link that was overwritten (debug and secure builds) ---------------------------------------

static void return_corrupt(void)
{
    start();
    add_page(CLASS);
    struct depot_chain chain = chain_of(0, 4, 1);
    blocks[1]->link = 0x4141414141414141;
    depot_return(chain);
}

static void drain_corrupt(void)
{
    start();
    add_page(CLASS);
    make_room(CLASS);
    depot_put(CLASS, chain_of(0, 4, 1));
    blocks[1]->link = 0x4141414141414141;
    depot_drain();
}

// Where blocks[1] leads instead of to blocks[2].
static void go_on_after(struct block *next)
{
    struct fault_count faults = {EFAULT, 0};
    hooks_set_error(count_fault, &faults);
    struct depot_chain chain = chain_of(0, 4, 1);
    block_set_next(blocks[1], next, &page_of(blocks[1])->key);
    depot_return(chain);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    struct page *page = page_of(blocks[0]);
    EXPECT_EQ(remote_waiting(page), 2); // what can be trusted
    EXPECT(refill_claim(page));
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

static void go_on(void)
{
    start();
    add_page(CLASS);
    go_on_after((struct block *)(uintptr_t)0x4141414141414140);
}

static void go_on_in_use(void)
{
    start();
    add_page(CLASS);
    mark(blocks[2], STATE_IN_USE);
    go_on_after(blocks[2]);
}

static void go_on_in_block(void)
{
    start();
    add_page(CLASS);
    go_on_after((struct block *)(void *)((char *)blocks[2] + CLASS_STEP_BYTES));
}

static void go_on_in_other_class(void)
{
    start();
    add_page(CLASS);
    unsigned other = block_count;
    add_page(FIRST_CLASS);
    go_on_after(blocks[other]);
}

TEST(depot_reports_a_link_that_leads_astray)
{
    if (!CFG_STATES) return;
    EXPECT_DEATH(return_corrupt(), "corrupted free list");
    EXPECT_DEATH(drain_corrupt(), "corrupted free list");
}
TEST(depot_goes_on_after_a_link_that_leads_astray_with_what_can_be_trusted)
{
    if (!CFG_STATES) return;
    IN_CHILD(go_on());
    IN_CHILD(go_on_in_use());
    IN_CHILD(go_on_in_block());
    IN_CHILD(go_on_in_other_class());
}

// --- many threads --------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = TEST_TSAN ? 2000 : 20000, CHAINS = 8 };
static ATOMIC(unsigned) holders[MAX_BLOCKS];
static ATOMIC(unsigned) taken_count;

// D1: the blocks of a chain are this thread's alone.
static void hold(struct depot_chain chain, unsigned before, unsigned after)
{
    for (struct block *block = chain.first; block != NULL; block = depot_next(block, CLASS)) {
        const struct page *page = page_of(block);
        unsigned index = page_index_of(page, block);
        unsigned slice = (unsigned)arena_slice_of(page_arena(page), page->start);
        ATOMIC(unsigned) *holder = &holders[(slice * 8 + index) % MAX_BLOCKS];
        EXPECT_EQ(atomic_exchange_explicit(holder, after, memory_order_relaxed), before);
    }
}

static void *take_and_put(void *number)
{
    unsigned self = 1 + (unsigned)(uintptr_t)number, taken = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct depot_chain chain = depot_take(CLASS);
        if (chain.first == NULL) continue;
        taken++;
        hold(chain, 0, self);
        hold(chain, self, 0);
        depot_put(CLASS, chain);
    }
    atomic_fetch_add_explicit(&taken_count, taken, memory_order_relaxed);
    return NULL;
}

static void many_threads(void)
{
    start();
    make_room(CLASS);
    for (unsigned page = 0; block_count < CHAINS * 8; page++) add_page(CLASS);
    for (unsigned i = 0; i < CHAINS; i++) depot_put(CLASS, chain_of(i, 8, CHAINS));
    EXPECT_EQ(depot_count(CLASS), CHAINS * 8);
    run_threads(THREADS, take_and_put);
    EXPECT(atomic_load_explicit(&taken_count, memory_order_relaxed) > 0);
    EXPECT_TEXT(depot_broken_rule(), NULL);
    depot_drain();
    expect_nothing_left();
}

TEST(depot_D1_a_chain_is_with_one_thread_at_a_time) { IN_CHILD(many_threads()); }
