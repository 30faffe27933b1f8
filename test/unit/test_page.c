#include "unit_test.h"
#include "core/hooks.h"
#include "core/report.h"
#include "mimalloc.h"

enum { MAX_BLOCKS = 4096 };
static struct block *blocks[MAX_BLOCKS];

static void every_block_once(void)
{
    start_quietly();
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        struct page *page = new_page(size_class, 0);
        unsigned count = take_every_block(page, blocks);
        EXPECT_EQ(count, page->reserved);
        EXPECT_EQ(page->out, count);
        for (unsigned i = 0; i < count; i++) {
            EXPECT_EQ(page_index_of(page, blocks[i]), i); // in order without a random source
            EXPECT((char *)blocks[i] == page->start + i * page->block_bytes);
        }
        EXPECT_TEXT(page_broken_rule(page), NULL);
        for (unsigned i = 0; i < count; i++) EXPECT_EQ(put_own(page, blocks[i]), i == count - 1);
        EXPECT_TEXT(page_broken_rule(page), NULL);
        page_release(page);
    }
    EXPECT_EQ(used_slices(), 0);
    expect_arena_rules();
}

TEST(page_gives_each_block_once_in_every_class) { IN_CHILD(every_block_once()); }

static void index_is_exact(void)
{
    start_quietly();
    for (size_t size_class = 1; size_class < CLASS_COUNT; size_class++) {
        struct page *page = new_page(size_class, 0);
        (void)take_every_block(page, blocks);
        for (uint32_t i = 0; i < page->reserved; i++) {
            char *block = page->start + i * page->block_bytes;
            EXPECT_EQ(page_index_of(page, block), i);
            EXPECT_EQ(page_index_of(page, block + page->block_bytes - 1), i);
            EXPECT(page_has_block_at(page, block));
            EXPECT(!page_has_block_at(page, block + 1) &&
                   !page_has_block_at(page, block + page->block_bytes - 1));
        }
        EXPECT(!page_has_block_at(page, page->start - 1));
        EXPECT(!page_has_block_at(page, page->start + page->reserved * page->block_bytes));
        page_release(page);
    }
}

TEST(page_index_is_exact_at_both_ends_of_each_block) { IN_CHILD(index_is_exact()); }

// free looks no further than that, so it must hold below block 0 and behind the last one as well.
static void no_start_elsewhere(void)
{
    enum { GRANULE = 1 << GRANULE_SHIFT };
    start_quietly();
    for (size_t size_class = 1; size_class < CLASS_COUNT; size_class++) {
        struct page *page = new_page(size_class, 0);
        size_t bytes = (size_t)page->slices << SLICE_SHIFT;
        for (size_t offset = 0; offset < bytes; offset += GRANULE) {
            bool is_start = page_place_of(page, page->start + offset).low < page->reciprocal;
            EXPECT(is_start == (offset % page->block_bytes == 0));
            const char *below = page->start - offset - GRANULE;
            EXPECT(page_place_of(page, below).low >= page->reciprocal);
        }
        page_release(page);
    }
}

TEST(page_multiples_of_16_that_begin_no_block_never_look_so) { IN_CHILD(no_start_elsewhere()); }

TEST(page_index_without_integers_of_128_bits)
{
    static const uint64_t words[] = {0,           1,           2,
                                     UINT32_MAX,  1ull << 32,  UINT64_MAX,
                                     1ull << 63,  0x123456789, 0xfedcba9876543210,
                                     UINT64_MAX - UINT32_MAX};
    enum { COUNT = sizeof words / sizeof words[0] };
    for (int i = 0; i < COUNT * COUNT; i++) {
        uint64_t a = words[i / COUNT], b = words[i % COUNT];
        struct bits_product left = bits_multiply_by_halves(a, b), right = bits_multiply_wide(a, b);
        EXPECT(left.high == right.high && left.low == right.low);
    }
}

static void found_from_everywhere(void)
{
    start_quietly();
    struct page *page = new_page(100, 0);
    EXPECT(page->slices > 2);
    size_t bytes = (size_t)page->slices << SLICE_SHIFT;
    char *start = page->start;
    for (size_t at = 0; at < bytes; at += 4096) EXPECT(page_of(start + at) == page);
    EXPECT(page_of(start + bytes) == NULL);
    EXPECT(page_of(NULL) == NULL && page_of(&start) == NULL &&
           page_of((void *)(uintptr_t)-16) == NULL);
    page_release(page);
    for (size_t at = 0; at < bytes; at += 4096) EXPECT(page_of(start + at) == NULL);
}

TEST(page_of_finds_a_page_from_any_of_its_slices_and_nothing_elsewhere)
{
    IN_CHILD(found_from_everywhere());
}

static void expect_step(const struct page *page, bool is_random)
{
    size_t bytes = page->free_count * page->block_bytes;
    if (is_random) EXPECT(page->free_count <= 8 || bytes <= os_page_bytes());
    EXPECT(page->free_count == 1 || bytes <= (is_random ? 4 : 1) * os_page_bytes());
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

static void cut_in_steps(struct chacha *chacha)
{
    for (size_t size_class = 1; size_class < CLASS_COUNT; size_class += 7) {
        struct page *page = new_page(size_class, 0);
        while (page_cut(page, chacha, 0)) {
            expect_step(page, chacha != NULL);
            (void)page_take_all(page);
        }
        EXPECT_EQ(page->capacity, page->reserved);
        page->out = 0;
        page_release(page);
    }
}

static void cut_in_both_orders(void)
{
    struct chacha chacha;
    uint8_t seed[32] = {7};
    start_quietly();
    chacha_init(&chacha, seed, 0);
    cut_in_steps(NULL);
    cut_in_steps(&chacha);
}

TEST(page_cut_touches_one_OS_page_or_a_few_blocks) { IN_CHILD(cut_in_both_orders()); }

// Where no page fault can come, more is cut at a time, if the caller has use for it.
static void cut_used_memory(bool is_random)
{
    enum { BLOCK_CLASS = 49, USED_BYTES = 16 * 1024 };
    struct chacha random, *chacha = is_random ? &random : NULL;
    uint8_t seed[32] = {7};
    start_quietly();
    chacha_init(&random, seed, 0);
    struct page *page = new_page(BLOCK_CLASS, 0);
    uint32_t count = USED_BYTES / (uint32_t)page->block_bytes;
    EXPECT((page->flags & PAGE_ZERO) != 0);
    EXPECT(page_cut(page, chacha, USED_BYTES));
    EXPECT(page->free_count < count || is_random);
    expect_step(page, is_random);
    (void)page_take_all(page);
    page->flags = 0;
    EXPECT(page_cut(page, chacha, USED_BYTES));
    EXPECT_EQ(page->free_count, count);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    (void)page_take_all(page);
    while (page_cut(page, chacha, USED_BYTES)) (void)page_take_all(page);
    EXPECT_EQ(page->capacity, page->reserved);
    page->out = 0;
    page_release(page);
}

TEST(page_cut_takes_more_of_memory_that_was_used_before)
{
    IN_CHILD(cut_used_memory(false));
    IN_CHILD(cut_used_memory(true));
}

static void shuffled(void)
{
    struct chacha chacha;
    uint8_t seed[32] = {7};
    bool seen[MAX_BLOCKS] = {false};
    unsigned in_order = 0, count = 0;
    start_quietly();
    chacha_init(&chacha, seed, 0);
    struct page *page = new_page(1, 0);
    uint32_t last = 0;
    while (page_cut(page, &chacha, 0)) {
        for (struct block *block = page_take_all(page); block != NULL;
             block = block_next(block, &page->key)) {
            uint32_t index = page_index_of(page, block);
            EXPECT(index < page->capacity && !seen[index]);
            seen[index] = true;
            in_order += index == last + 1;
            last = index;
            count++;
        }
    }
    EXPECT_EQ(count, page->reserved);
    EXPECT(in_order < count / 8);
}

TEST(page_cut_in_random_order_gives_each_block_once) { IN_CHILD(shuffled()); }

// Blocks from .. from + count - 1 come back as one list.
static void put_some(struct page *page, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        mark(blocks[i], STATE_FREE);
        block_set_next(blocks[i], i + 1 < from + count ? blocks[i + 1] : NULL, &page->key);
    }
    page_put_list(page, blocks[from], count);
}

static void put_list(void)
{
    start_quietly();
    struct page *page = new_page(64, 0);
    unsigned count = take_every_block(page, blocks);
    put_some(page, 0, 2);
    EXPECT_EQ(page->out, count - 2);
    page_put_list(page, NULL, 0);
    put_some(page, 2, 1); // before those that are there
    EXPECT_EQ(page_list_count(page, page->free), 3);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(page_put_list_keeps_what_is_on_free) { IN_CHILD(put_list()); }

static void put_long_list(void)
{
    enum { LONG = CFG_SHORT_LIST + 1 };
    start_quietly();
    struct page *page = new_page(class_of(64), 0);
    unsigned count = take_every_block(page, blocks);
    put_some(page, 0, LONG);
    EXPECT(page->free == blocks[0] && page->local_free == NULL);
    put_some(page, LONG, LONG); // no walk
    EXPECT(page->free == blocks[0] && page->local_free == blocks[LONG]);
    EXPECT(page->free_count == LONG && page->out == count - 2 * LONG);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    put_some(page, 2 * LONG, LONG); // both are taken
    EXPECT(page->free == blocks[2 * LONG] && page->local_free == blocks[LONG]);
    EXPECT(page->free_count == 2 * LONG && page->out == count - 3 * LONG);
    EXPECT_TEXT(page_broken_rule(page), NULL);
}

TEST(page_put_list_walks_a_long_one_only_when_both_lists_have_blocks) { IN_CHILD(put_long_list()); }

// --- rules, broken on purpose --------------------------------------------------------------------

static struct page *half_full(void)
{
    bool is_clean;
    start_quietly();
    struct page *page = new_page(8, 0);
    EXPECT(refill_page(page, NULL, 0, &is_clean));
    struct block *block = page_take_all(page), *next = block_next(block, &page->key);
    EXPECT(!page_put(page, block) && !page_put(page, next));
    EXPECT(page_cut(page, NULL, 0));
    EXPECT_TEXT(page_broken_rule(page), NULL);
    return page;
}

static void lost_block(void)
{
    struct page *page = half_full();
    page->out--;
    EXPECT_TEXT(page_broken_rule(page), "P1: blocks lost or doubled");
    page->out += 2;
    EXPECT_TEXT(page_broken_rule(page), "P1: blocks lost or doubled");
}

static void wrong_count(void)
{
    struct page *page = half_full();
    page->free_count++;
    EXPECT_TEXT(page_broken_rule(page), "P1: the free list is not as long as its count");
}

static void cut_too_far(void)
{
    struct page *page = half_full();
    page->capacity = (uint16_t)(page->reserved + 1);
    EXPECT_TEXT(page_broken_rule(page), "P1: more blocks cut than fit");
}

static void loops(void)
{
    struct page *page = half_full();
    block_set_next(block_next(page->free, &page->key), page->free, &page->key);
    EXPECT_TEXT(page_broken_rule(page), "P2: the free list loops or leaves the page");
}

static void leaves_page(void)
{
    struct page *page = half_full();
    block_set_next(page->free, (struct block *)(void *)(page->start + 5), &page->key);
    EXPECT_TEXT(page_broken_rule(page), "P2: the free list loops or leaves the page");
    block_set_next(page->free, (struct block *)(uintptr_t)0x10,
                   &page->key); // where nothing can be read
    EXPECT_TEXT(page_broken_rule(page), "P2: the free list loops or leaves the page");
}

static void local_leaves_page(void)
{
    struct page *page = half_full();
    block_set_next(page->local_free, page->local_free, &page->key);
    EXPECT_TEXT(page_broken_rule(page), "P2: the local free list loops or leaves the page");
}

TEST(page_P1_notices_a_lost_or_doubled_block) { IN_CHILD(lost_block()); }
TEST(page_P1_notices_a_wrong_count) { IN_CHILD(wrong_count()); }
TEST(page_P1_notices_blocks_beyond_the_end) { IN_CHILD(cut_too_far()); }
TEST(page_P2_notices_a_list_that_loops) { IN_CHILD(loops()); }
TEST(page_P2_notices_a_list_that_leaves_the_page_and_survives_it) { IN_CHILD(leaves_page()); }
TEST(page_P2_notices_a_local_list_that_loops) { IN_CHILD(local_leaves_page()); }

// A field that page_init wrote is changed in one bit.
static void changed(size_t at)
{
    struct page *page = half_full();
    ((char *)page)[at] ^= 1;
    EXPECT_TEXT(page_broken_rule(page), "P3: what is constant has changed");
}

static void changed_later_slice(void)
{
    start_quietly();
    struct page *page = new_page(100, 0);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    page[2].back = 1;
    EXPECT_TEXT(page_broken_rule(page), "P3: what is constant has changed");
}

static void changed_length(void)
{
    struct page *page = half_full();
    page->slices = UINT32_MAX; // beyond what has descriptors
    EXPECT_TEXT(page_broken_rule(page), "P3: what is constant has changed");
}

TEST(page_P3_notices_a_constant_that_changed)
{
    IN_CHILD(changed(offsetof(struct page, start)));
    IN_CHILD(changed(offsetof(struct page, start) + 3));
    IN_CHILD(changed(offsetof(struct page, reserved) + 1));
    IN_CHILD(changed(offsetof(struct page, block_bytes)));
    IN_CHILD(changed(offsetof(struct page, block_bytes) + 2));
    IN_CHILD(changed(offsetof(struct page, reciprocal)));
    IN_CHILD(changed(offsetof(struct page, roomy)));
    IN_CHILD(changed(offsetof(struct page, back)));
    IN_CHILD(changed(offsetof(struct page, slices))); // one: none is left
    IN_CHILD(changed_length());
    IN_CHILD(changed_later_slice());
}

static void uncut_is_written(void)
{
    struct page *page = half_full();
    ((char *)page_block_at(page, page->capacity))[9] = 1;
    EXPECT_TEXT(page_broken_rule(page), "P5: the uncut rest is not zero");
}

static void uncut_is_live(void)
{
    struct page *page = half_full();
    mark(page_block_at(page, page->reserved - 1u), STATE_IN_USE);
    EXPECT_TEXT(page_broken_rule(page), "P5: a block has a state that was never cut");
}

static void listed_is_live(struct page *page, struct block *block)
{
    mark(block, STATE_IN_USE);
    EXPECT_TEXT(page_broken_rule(page), "T3: a listed block is in use");
}

static void free_is_live(void)
{
    struct page *page = half_full();
    listed_is_live(page, block_next(page->free, &page->key));
}

static void local_is_live(void)
{
    struct page *page = half_full();
    listed_is_live(page, page->local_free);
}

TEST(page_P5_notices_a_write_to_the_uncut_part_of_a_zero_page) { IN_CHILD(uncut_is_written()); }
TEST(page_P5_notices_a_block_that_is_in_use_and_was_never_cut)
{
    if (CFG_STATES) IN_CHILD(uncut_is_live());
}
TEST(page_T1_notices_a_listed_block_that_is_in_use)
{
    if (!CFG_STATES) return;
    IN_CHILD(free_is_live());
    IN_CHILD(local_is_live());
}

static void uncut_is_zero(void)
{
    start_quietly();
    struct page *page = new_page(20, 0);
    EXPECT((page->flags & PAGE_ZERO) != 0);
    bool is_clean = false;
    EXPECT(refill_page(page, NULL, 0, &is_clean) && is_clean == !CFG_DEBUG);
    char *uncut = page->start + page->capacity * page->block_bytes;
    EXPECT(is_zero(uncut, (size_t)page->slices * SLICE_BYTES - (size_t)(uncut - page->start)));
    for (struct block *block = page->free; is_clean && block != NULL;
         block = block_next(block, &page->key)) {
        EXPECT(is_zero((char *)block + sizeof *block, page->block_bytes - sizeof *block));
    }
}

TEST(page_P5_the_uncut_part_of_a_zero_page_reads_as_zeroes) { IN_CHILD(uncut_is_zero()); }

static void states(size_t size_class)
{
    struct page *page = new_page(size_class, 0), *next = new_page(size_class, 0);
    while (page_cut(page, NULL, 0)) page->free = NULL;
    for (uint32_t i = 0; i < page->reserved; i++) {
        struct state *state = arena_state_at(page_block_at(page, i));
        EXPECT(state == page_state_at(page, page_block_at(page, i)) && state_is(state, STATE_FREE));
        EXPECT(!state_take(state) && !state_free(state));
        EXPECT(state_hand_out(state) && !state_hand_out(state));
        EXPECT(state_take(state) && !state_take(state) && state_is(state, STATE_FREED));
        EXPECT(state_hand_out(state) && state_free(state) && state_is(state, STATE_FREE));
    }
    page->out = page->reserved;
    page->free_count = 0;
    EXPECT_TEXT(page_broken_rule(page), NULL);
    EXPECT_TEXT(page_broken_rule(next), NULL);
    mark(page_block_at(page, 0), STATE_IN_USE);
    page_release(page);
    page_release(next);
    expect_arena_rules(); // A2: no state is left
}

// Of one slice, with as many blocks as there can be, and of several.
static void states_of_pages(void)
{
    start_quietly();
    states(1);
    states(20);
    states(class_of(3 * SLICE_BYTES / 8));
}

TEST(page_states_belong_to_one_block_and_end_with_the_page)
{
    if (CFG_STATES) IN_CHILD(states_of_pages());
}

// A block counts as come back twice, and another one is in use.
static void doubled(void)
{
    struct fault_count faults = {EAGAIN, 0};
    start_quietly();
    hooks_set_error(count_fault, &faults);
    struct page *page = new_page(20, 0);
    EXPECT(page_cut(page, NULL, 0));
    struct block *used = page->free;
    mark(used, STATE_IN_USE);
    page_release(page);
    report_if_left();
    EXPECT_EQ(faults.count, 1);
    EXPECT(page_of(used) == page && page->block_bytes != 0 && level_now(STAT_pages) == 1);
    mark(used, STATE_FREE);
    page_release(page);
    EXPECT_EQ(level_now(STAT_pages), 0);
}

TEST(page_T3_is_not_released_while_a_block_is_in_use)
{
    if (CFG_STATES) IN_CHILD(doubled());
}

static void share(void)
{
    start_quietly();
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class += 7) {
        struct page *page = new_page(size_class, 64);
        EXPECT(!page_is_shared(page));
        page_share(page, local_heap_bin_offset(page->size_class));
        EXPECT(page_is_shared(page));
        for (uint32_t i = 0; i < page->slices; i++) EXPECT_EQ(page_owner(&page[i]), PAGE_OWNER_ALL);
        page_release(page);
        EXPECT_EQ(page_owner(page), 0);
    }
    expect_arena_rules(); // A2: no slice is left that names an owner
    struct page *page = new_page(CLASS_SHARED_FIRST, 64 | OWNER_FULL | OWNER_INTERIOR);
    page_share(page, local_heap_bin_offset(page->size_class));
    EXPECT_EQ(page_owner(page), OWNER_SHARED | OWNER_INTERIOR);
}

TEST(page_that_is_shared_says_so_in_each_slice_and_still_knows_interior_pointers)
{
    IN_CHILD(share());
}

// --- large blocks --------------------------------------------------------------------------------

// With a pointer into its slice number `slice`.
static struct page *large_block(size_t alignment, unsigned slice, char **pointer)
{
    start_quietly();
    *pointer = (char *)mi_malloc_aligned_at(64 * SLICE_BYTES, alignment, 16);
    struct page *page = page_of(*pointer);
    EXPECT((page->flags & PAGE_LARGE) != 0 && page->slices > 64 && *pointer != page->start);
    EXPECT_EQ(page->pointer_slice, slice);
    EXPECT_EQ((size_t)(*pointer - page->start) / SLICE_BYTES, slice);
    EXPECT_TEXT(page_broken_rule(page), NULL);
    return page;
}

// Of many slices it would take long, and each OS page of descriptors would be memory from then on.
static void few_are_blanked(size_t alignment, unsigned slice)
{
    char *pointer;
    struct page *page = large_block(alignment, slice, &pointer);
    for (uint32_t i = 1; i < page->slices; i++) {
        if (i != slice) page[i].kept_bytes = i; // nobody reads that
    }
    uint32_t slices = page->slices;
    mi_free(pointer);
    for (uint32_t i = 0; i < slices; i++) {
        EXPECT_EQ(page[i].kept_bytes, i != slice ? i : 0);
        page[i].kept_bytes = 0;
    }
    expect_arena_rules(); // A2: what was written is blank
    EXPECT_EQ(used_slices(), 0);
}

TEST(page_release_blanks_the_two_descriptors_that_a_large_block_has_written)
{
    IN_CHILD(few_are_blanked(4096, 0));
    IN_CHILD(few_are_blanked(8 * SLICE_BYTES, 7));
}

static void lost_pointer_slice(void)
{
    char *pointer;
    struct page *page = large_block(8 * SLICE_BYTES, 7, &pointer);
    page->pointer_slice = 6;
    EXPECT_TEXT(page_broken_rule(page), "P3: what is constant has changed");
    page->pointer_slice = UINT16_MAX; // not the block's
    EXPECT_TEXT(page_broken_rule(page), "P3: what is constant has changed");
}

TEST(page_P3_notices_that_the_slice_of_a_pointer_was_lost) { IN_CHILD(lost_pointer_slice()); }
