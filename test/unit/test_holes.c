#include "unit_test.h"
#include "base/chacha.h"
#include "core/hooks.h"
#include "core/report.h"
#include "page/holes.h"

enum { MANY = PAGE_MAX_BLOCKS };
static struct block *blocks[MANY];

// --- any page, any blocks ------------------------------------------------------------------------

// A block that is out is filled with what tells it from all others.
static void paint(const struct page *page, struct block *block)
{
    memset(block, (int)(page_index_of(page, block) % 255 + 1), page->block_bytes);
}

static bool is_painted(const struct page *page, const struct block *block)
{
    unsigned char colour = (unsigned char)(page_index_of(page, block) % 255 + 1);
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < page->block_bytes; i++) {
        if (bytes[i] != colour) return false;
    }
    return true;
}

// Frees about one block in `of` of those that are out, or all but one in `of`. out[i] says which
// are.
static void free_some(struct page *page, bool *is_out, struct chacha *random, unsigned of,
                      bool all_but)
{
    for (uint32_t i = 0; i < page->capacity; i++) {
        if (!is_out[i] || (chacha_below(random, of) == 0) == all_but) continue;
        struct block *block = page_block_at(page, i);
        is_out[i] = false;
        if (chacha_below(random, 2) == 0) {
            (void)put_own(page, block);
        } else {
            mark(block, STATE_FREE);
            block_set_next(block, NULL, &page->key);
            page_put_list(page, block, 1);
        }
    }
}

static void expect_as_known(const struct page *page, const bool *is_out)
{
    unsigned out = 0;
    EXPECT_TEXT(page_broken_rule(page), NULL);
    for (uint32_t i = 0; i < page->capacity; i++) {
        if (!is_out[i]) continue;
        out++;
        EXPECT(is_painted(page, page_block_at(page, i)));
    }
    EXPECT_EQ(page->out, out);
}

// Every strip that no block overlaps which is out reads as zeroes.
static void expect_given_back(const struct page *page, const bool *is_out)
{
    size_t strip_bytes = (size_t)page->slices * SLICE_BYTES / PAGE_STRIPS;
    if (strip_bytes < os_page_bytes()) strip_bytes = os_page_bytes();
    for (size_t at = 0; at < (size_t)page->slices * SLICE_BYTES; at += strip_bytes) {
        size_t first = at / page->block_bytes, end = (at + strip_bytes - 1) / page->block_bytes;
        bool is_empty = true;
        for (size_t i = first; i <= end && i < page->capacity; i++) is_empty &= !is_out[i];
        if (is_empty) EXPECT(is_zero(page->start + at, strip_bytes));
    }
}

static void take_some(struct page *page, bool *is_out, struct chacha *random)
{
    bool is_clean;
    for (unsigned left = chacha_below(random, 20); left > 0; left--) {
        if (!refill_page(page, NULL, 0, &is_clean)) return;
        for (struct block *block = page_take_all(page), *next; block != NULL; block = next) {
            next = block_next(block, &page->key);
            uint32_t index = page_index_of(page, block);
            EXPECT(!is_out[index]);
            is_out[index] = true;
            mark(block, STATE_IN_USE);
            paint(page, block);
        }
    }
}

static void any_use(size_t size_class, uint64_t seed)
{
    static bool is_out[MANY];
    struct chacha random;
    uint8_t key[32] = {(uint8_t)size_class};
    chacha_init(&random, key, seed);
    struct page *page = new_page(size_class, 0);
    memset(is_out, 0, sizeof is_out);
    for (int round = 0; round < 8; round++) {
        take_some(page, is_out, &random);
        free_some(page, is_out, &random, 2 + chacha_below(&random, 60),
                  chacha_below(&random, 4) != 0);
        (void)holes_give_back(page);
        expect_as_known(page, is_out);
        // later, neighbours have reached into holes
        if (round == 0 && CFG_DEBUG == 0) expect_given_back(page, is_out);
    }
    page_release(page);
}

static void any_uses(void)
{
    start_quietly();
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (size_t size_class = 1; size_class < CLASS_COUNT; size_class += 1 + size_class / 8)
            any_use(size_class, seed);
    }
    EXPECT_EQ(used_slices(), 0);
    expect_arena_rules();
}

TEST(holes_keep_what_is_out_and_come_back_once) { IN_CHILD(any_uses()); }

static void larger_os_pages(void)
{
    fake_prim_reset();
    fake_prim_set_page_bytes(16384);
    options_set(OPTION_show_errors, 0);
    thread_start_process();
    EXPECT_EQ(os_page_bytes(), 16384);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        any_use(20, seed);
        any_use(90, seed);
    }
}

TEST(holes_are_whole_OS_pages_of_any_size) { IN_CHILD(larger_os_pages()); }

static void in_random_order(void)
{
    struct chacha chacha;
    uint8_t seed[32] = {3};
    bool is_clean, seen[MANY] = {false};
    start_quietly();
    chacha_init(&chacha, seed, 0);
    struct page *page = new_page(4, 0);
    unsigned count = take_every_block(page, blocks);
    for (unsigned i = 1; i < count; i++) (void)put_own(page, blocks[i]);
    EXPECT(holes_give_back(page) >= 14 * os_page_bytes());
    for (unsigned found = 1; found < count;) {
        EXPECT(refill_page(page, &chacha, 0, &is_clean) && !is_clean);
        for (struct block *block = page_take_all(page); block != NULL;
             block = block_next(block, &page->key), found++) {
            EXPECT(!seen[page_index_of(page, block)] && block != blocks[0]);
            seen[page_index_of(page, block)] = true;
        }
    }
    EXPECT(!refill_page(page, &chacha, 0, &is_clean));
}

TEST(holes_are_filled_in_random_order_too) { IN_CHILD(in_random_order()); }

// --- what is asked of the OS ---------------------------------------------------------------------

// A page of 512-byte blocks, of which only number `kept` is out.
static struct page *nearly_empty(unsigned kept)
{
    struct page *page = new_page(32, 0);
    unsigned count = take_every_block(page, blocks);
    for (unsigned i = 0; i < count; i++) {
        if (i != kept) (void)put_own(page, blocks[i]);
    }
    return page;
}

static void calls(void)
{
    start_quietly();
    struct page *page = nearly_empty(20); // in OS page 2
    unsigned long before = fake_prim_count(FAKE_PRIM_purge);
    int64_t reset = level_now(STAT_reset);
    EXPECT_EQ(holes_give_back(page), SLICE_BYTES - os_page_bytes());
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_purge) - before, 2);
    EXPECT_EQ(level_now(STAT_reset) - reset, (int64_t)(SLICE_BYTES - os_page_bytes()));
    EXPECT_EQ(holes_give_back(page), 0); // nothing is asked for twice
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_purge) - before, 2);
    EXPECT_EQ(page_count_in_holes(page), page->capacity - 8u);
    EXPECT_EQ(page->free_count + page->out, 1);
}

TEST(holes_cost_one_call_for_each_run_once) { IN_CHILD(calls()); }

static void refused(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    fake_prim_fail_from(FAKE_PRIM_purge, 1, ENOMEM);
    EXPECT_EQ(holes_give_back(page), 0);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    EXPECT_EQ(take_every_block(page, blocks), page->capacity - 1u); // nothing is lost
}

TEST(holes_that_the_system_refuses_lose_nothing) { IN_CHILD(refused()); }

static void advised(void)
{
    start_quietly();
    options_set(OPTION_reset_decommits, 0);
    struct page *page = nearly_empty(127);
    EXPECT_EQ(holes_give_back(page), 0); // the system takes it when it wants to
    EXPECT(fake_prim_count(FAKE_PRIM_reset) == 1 && fake_prim_count(FAKE_PRIM_purge) == 0);
    EXPECT_EQ(take_every_block(page, blocks), page->capacity - 1u);
}

TEST(holes_may_be_advice_only) { IN_CHILD(advised()); }

static void uncut(void)
{
    start_quietly();
    struct page *page = nearly_empty(0);
    page_release(page); // and so the next one has memory that was used
    page = new_page(32, 0);
    EXPECT((page->flags & PAGE_ZERO) == 0 && page_cut(page, NULL, 0));
    (void)page_take_all(page);
    EXPECT_EQ(page->capacity, 8);
    EXPECT_EQ(holes_give_back(page), SLICE_BYTES - os_page_bytes());
    EXPECT_EQ(page->holes, 0);
    EXPECT_EQ(holes_give_back(page), 0); // nor asked for twice
}

TEST(holes_are_not_needed_where_nothing_was_cut) { IN_CHILD(uncut()); }

static void large_pages(void)
{
    enum { BYTES = 2 * CHUNK_BYTES };
    start_quietly();
    char *memory = (char *)os_map(BYTES, CHUNK_BYTES);
    EXPECT(memory != NULL && arena_add(memory, BYTES, ARENA_PINNED | ARENA_OURS) != NULL);
    struct page_plan plan = {512, 32, 1, 0, 0};
    bool is_clean;
    EXPECT(arena_claim_at(arena_of(memory), memory, 1, &is_clean));
    struct page *page = page_init(memory, &plan, NULL);
    unsigned count = take_every_block(page, blocks);
    for (unsigned i = 1; i < count; i++) (void)put_own(page, blocks[i]);
    unsigned long before = fake_prim_count(FAKE_PRIM_purge);
    EXPECT_EQ(holes_give_back(page), 0);
    EXPECT(page->holes == 0 && fake_prim_count(FAKE_PRIM_purge) == before);
}

TEST(holes_cannot_be_in_large_OS_pages) { IN_CHILD(large_pages()); }

static void torn_list(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    block_set_next(page->local_free, page->local_free, &page->key); // a write after free
    EXPECT_EQ(holes_give_back(page), 0);
    EXPECT(page->holes == 0 && fake_prim_count(FAKE_PRIM_purge) == 0);
}

TEST(holes_are_not_looked_for_behind_a_torn_list) { IN_CHILD(torn_list()); }

// --- parked pages --------------------------------------------------------------------------------

static void ignore_page(void *taker, struct page *page)
{
    (void)taker;
    (void)page;
    abort();
}

static void parked(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    page_set_owner(page, 64 | OWNER_FULL);
    retire_park(page, false);
    int64_t parked_pages = level_now(STAT_pages_parked);
    retire_give_back_holes();
    EXPECT(remote_is_listed(page) && level_now(STAT_pages_parked) == parked_pages);
    EXPECT_EQ(page_owner(page), 64 | OWNER_FULL);
    EXPECT_EQ(page->holes, 0xfffbu);
    retire_give_back_holes();
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_purge), 2);

    EXPECT(retire_adopt(32, ignore_page, NULL) == page);
    EXPECT_EQ(take_every_block(page, blocks), page->capacity - 1u);
    page->out = 0;
    page_release(page);
}

static void last_block_of_parked(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    struct block *last = page_block_at(page, 20);
    retire_park(page, true);
    retire_give_back_holes();
    retire_push(page, last, last, 1);
    EXPECT_EQ(used_slices(), 0);
    expect_arena_rules();
}

TEST(holes_of_parked_pages_are_found_and_adopted) { IN_CHILD(parked()); }
TEST(holes_do_not_keep_a_parked_page_from_being_released) { IN_CHILD(last_block_of_parked()); }

// --- rules, broken on purpose --------------------------------------------------------------------

static struct page *with_holes(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    EXPECT(holes_give_back(page) > 0);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    return page;
}

static void listed_in_hole(void)
{
    struct page *page = with_holes();
    struct block *block = page_block_at(page, 64);
    block_set_next(block, page->local_free, &page->key);
    page->local_free = block;
    EXPECT_TEXT(page_broken_rule(page), "P1: blocks lost or doubled");
    page->out = 0;
    EXPECT_TEXT(page_broken_rule(page), "P6: a listed block begins in a hole");
}

static void live_in_hole(void)
{
    struct page *page = with_holes();
    mark(page_block_at(page, 64), STATE_IN_USE);
    EXPECT_TEXT(page_broken_rule(page), "P6: a block is out that begins in a hole");
}

static void hole_without_blocks(void)
{
    start_quietly();
    struct page *page = new_page(32, 0);
    EXPECT(page_cut(page, NULL, 0));
    page->holes = 1 << 9; // beyond what was cut
    EXPECT_TEXT(page_broken_rule(page), "P6: a hole in which no block begins");
}

static void forgotten_hole(void)
{
    struct page *page = with_holes();
    page->holes = (uint16_t)(page->holes & (page->holes - 1));
    EXPECT_TEXT(page_broken_rule(page), "P1: blocks lost or doubled");
}

TEST(holes_P6_notices_a_listed_block) { IN_CHILD(listed_in_hole()); }
TEST(holes_P6_notices_a_block_that_is_out)
{
    if (CFG_STATES) IN_CHILD(live_in_hole());
}
TEST(holes_P6_notices_a_hole_without_blocks) { IN_CHILD(hole_without_blocks()); }
TEST(holes_P1_notices_a_hole_that_was_forgotten) { IN_CHILD(forgotten_hole()); }

// --- a block that came back twice, and is in use (T3) --------------------------------------------

// Its place became a hole while it waited in some ring; from there it came back once more.
static void used_in_hole(void)
{
    struct fault_count faults = {EAGAIN, 0};
    struct page *page = with_holes();
    struct block *used = page_block_at(page, 64);
    hooks_set_error(count_fault, &faults);
    mark(used, STATE_IN_USE);
    paint(page, used);
    unsigned in_hole = (unsigned)os_page_bytes() / 512;
    EXPECT_EQ(take_every_block(page, blocks), page->capacity - 1u - in_hole);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT(is_painted(page, used));
    EXPECT(page->holes == 0 && page->out == page->capacity); // the others of that hole are lost
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

static void none_but_used_hole(void)
{
    struct fault_count faults = {EAGAIN, 0};
    bool is_clean;
    struct page *page = with_holes();
    hooks_set_error(count_fault, &faults);
    mark(page_block_at(page, 64), STATE_IN_USE);
    page->holes = 1 << 8;
    page->out = (uint32_t)(page->capacity - page->free_count - page_count_in_holes(page));
    ignore_result(page_take_all(page));
    page->local_free = NULL;
    EXPECT(page_has_room(page) && !refill_page(page, NULL, 0, &is_clean));
    EXPECT(!page_has_room(page) && page->out == page->capacity);
}

static void used_and_listed(void)
{
    start_quietly();
    struct page *page = nearly_empty(20);
    mark(page_block_at(page, 64), STATE_IN_USE);
    EXPECT_EQ(holes_give_back(page), 0);
    EXPECT(page->holes == 0 && fake_prim_count(FAKE_PRIM_purge) == 0);
}

static void used_beside_hole(void)
{
    struct page *page = with_holes();
    (void)put_own(page, page_block_at(page, 20));
    mark(page_block_at(page, 64), STATE_IN_USE); // in a hole; blocks may reach into the next strip
    EXPECT_EQ(holes_give_back(page), 0);
    mark(page_block_at(page, 64), STATE_FREE);
    EXPECT(holes_give_back(page) > 0);
}

TEST(holes_T3_are_not_listed_with_a_block_in_use)
{
    if (CFG_STATES) IN_CHILD(used_in_hole());
    if (CFG_STATES) IN_CHILD(none_but_used_hole());
}
TEST(holes_T3_are_not_made_where_a_free_block_is_in_use)
{
    if (CFG_STATES) IN_CHILD(used_and_listed());
    if (CFG_STATES) IN_CHILD(used_beside_hole());
}
