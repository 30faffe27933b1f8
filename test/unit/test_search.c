#include "unit_test.h"
#include "region/search.h"

enum { CHUNKS = 40, SLICES = CHUNKS * CHUNK_SLICES };

static struct chunk records[CHUNKS];
static struct arena made; // of chunk records only

static void start(void)
{
    memset((void *)records, 0, sizeof records);
    memset((void *)&made, 0, sizeof made);
    made.chunks = records;
    made.capacity = SLICES;
    made.mapped = SLICES;
}

static void set_free(size_t first, size_t count)
{
    for (size_t slice = first; slice < first + count; slice++)
        records[slice / CHUNK_SLICES].free |= UINT64_C(1) << slice % CHUNK_SLICES;
}

static bool is_free(size_t slice)
{
    return slice < SLICES &&
           (records[slice / CHUNK_SLICES].free >> slice % CHUNK_SLICES & 1) != 0;
}

static void keep(size_t first, size_t count)
{
    for (size_t slice = first; slice < first + count; slice++) {
        uint64_t bit = UINT64_C(1) << slice % CHUNK_SLICES;
        records[slice / CHUNK_SLICES].kept |= bit;
        records[slice / CHUNK_SLICES].dirty |= bit;
    }
}

static bool is_kept(size_t slice)
{
    return (chunk_kept(&records[slice / CHUNK_SLICES]) >> slice % CHUNK_SLICES & 1) != 0;
}

static size_t find(size_t count)
{
    size_t from = 0;
    return search_short(&made, count, &from, CHUNKS);
}

TEST(search_takes_kept_slices_when_there_is_no_other_room_nearby)
{
    start();
    EXPECT_EQ(find(1), SIZE_MAX);
    set_free(10, 131); // as a block of 8 MiB and a bit leaves it, over three chunks
    EXPECT_EQ(find(16), 10);
    keep(10, 131);
    EXPECT_EQ(find(16), 10);
    set_free(141, 2);
    EXPECT_EQ(find(1), 141);
    EXPECT_EQ(find(2), 141);
    EXPECT_EQ(find(3), 10);
    set_free(200, 40);
    made.spared = 0;
    EXPECT_EQ(find(3), 200);
    made.spared = 0;
    for (unsigned i = 0; i < CHUNKS; i++) records[i].dirty = 0; // purged
    EXPECT_EQ(find(1), 10);
}

TEST(search_looks_for_other_room_in_some_chunks_only_and_says_where_it_stopped)
{
    start();
    set_free(0, 36 * CHUNK_SLICES);
    keep(0, 36 * CHUNK_SLICES);
    set_free(SLICES - 1, 1);
    size_t from = 0;
    EXPECT_EQ(search_short(&made, 1, &from, CHUNKS), 0);
    EXPECT_EQ(from, 32);
    EXPECT_EQ(search_short(&made, 1, &from, CHUNKS), SLICES - 1);
    EXPECT_EQ(from, CHUNKS);
    from = 3;
    EXPECT_EQ(search_short(&made, 5, &from, 4), 3 * CHUNK_SLICES);
    EXPECT_EQ(from, 4);
}

TEST(search_spares_what_is_kept_for_some_slices_only)
{
    start();
    set_free(10, 131);
    keep(10, 131);
    set_free(200, 40);
    EXPECT(search_keeps(&made, 131));
    for (unsigned i = 0; i < SEARCH_SPARED_SLICES; i++) EXPECT_EQ(find(1), 200);
    EXPECT_EQ(find(1), 10);
    EXPECT(!search_keeps(&made, CHUNK_SLICES - 1)); // too short
    EXPECT_EQ(find(1), 10);
    EXPECT(search_keeps(&made, CHUNK_SLICES));
    EXPECT_EQ(find(SEARCH_SPARED_SLICES), 200); // as many at once
    EXPECT_EQ(find(1), 10);
}

static size_t find_same(size_t count, size_t end)
{
    return search_same(&made, count, SLICE_BYTES, end);
}

TEST(search_finds_where_a_long_block_of_the_same_length_was)
{
    start();
    set_free(10, 300);
    keep(10, 150); // longer
    set_free(320, 131);
    keep(320, 131);
    set_free(500, 131);
    keep(500, 131);
    set_free(700, 63);
    keep(700, 63);
    made.dirty_free = 130; // to look is no use
    EXPECT_EQ(find_same(131, SLICES), SIZE_MAX);
    made.dirty_free = 475;
    EXPECT_EQ(find_same(131, SLICES), 320);
    EXPECT_EQ(find_same(150, SLICES), 10);
    EXPECT_EQ(find_same(130, SLICES), SIZE_MAX); // no longer one's part
    EXPECT_EQ(find_same(63, SLICES), SIZE_MAX);  // too short
    EXPECT_EQ(search_same(&made, 131, 2 * SLICE_BYTES, SLICES), SIZE_MAX);
    EXPECT_EQ(find_same(131, 320 + 131), 320);
    EXPECT_EQ(find_same(131, 320 + 130), SIZE_MAX);
    made.first_free = 6; // chunks below it have no free slice, as far as one knows
    EXPECT_EQ(find_same(131, SLICES), 500);
}

TEST(search_for_a_run_of_one_length_has_an_end)
{
    enum { MANY = SEARCH_SAME_CHUNKS + 2, LAST = SEARCH_SAME_CHUNKS * CHUNK_SLICES };
    static struct chunk many[MANY];
    start();
    made.chunks = many;
    made.dirty_free = 2 * CHUNK_SLICES;
    many[SEARCH_SAME_CHUNKS].free = many[SEARCH_SAME_CHUNKS].dirty = ~UINT64_C(0);
    EXPECT_EQ(find_same(CHUNK_SLICES, (size_t)MANY * CHUNK_SLICES), SIZE_MAX);
    made.first_free = 1;
    EXPECT_EQ(find_same(CHUNK_SLICES, (size_t)MANY * CHUNK_SLICES), LAST);
}

static size_t find_long(size_t from, size_t count, size_t end)
{
    return search_long(&made, count, SLICE_BYTES, &from, end);
}

TEST(search_leaves_clean_what_a_long_block_need_not_have)
{
    start();
    set_free(10, 300);
    EXPECT_EQ(find_long(0, 131, SLICES), 10);
    keep(310 - 131, 131);
    EXPECT_EQ(find_long(0, 131, SLICES), 10); // it is too far
    EXPECT_EQ(find_long(60, 131, SLICES), 310 - 131);
    EXPECT_EQ(find_long(150, 63, SLICES), 150); // a short one
    keep(50, 20);
    EXPECT_EQ(find_long(0, 131, SLICES), 50);
    keep(10, 1);
    EXPECT_EQ(find_long(0, 131, SLICES), 10);
    EXPECT_EQ(find_long(100, 131, 250), 250 - 131); // the most there is room for
    EXPECT_EQ(find_long(100, 151, 250), SIZE_MAX);
}

// --- against a simple one ------------------------------------------------------------------------

static size_t find_simply(size_t count, bool with_kept)
{
    for (size_t slice = 0, run = 0; slice < SLICES; slice++) {
        if (slice % CHUNK_SLICES == 0) run = 0;
        run = is_free(slice) && (with_kept || !is_kept(slice)) ? run + 1 : 0;
        if (run == count) return slice + 1 - count;
    }
    return SIZE_MAX;
}

static bool is_dirty(size_t slice)
{
    return is_free(slice) && (records[slice / CHUNK_SLICES].dirty >> slice % CHUNK_SLICES & 1) != 0;
}

static size_t find_same_simply(size_t count, size_t end)
{
    for (size_t slice = 0, run = 0; slice <= end; slice++) {
        if (slice < end && is_dirty(slice)) run++;
        else if (run == count) return slice - run;
        else run = 0;
    }
    return SIZE_MAX;
}

static size_t count_dirty(size_t slice, size_t count)
{
    size_t dirty = 0;
    for (size_t i = slice; i < slice + count; i++) dirty += is_dirty(i);
    return dirty;
}

static bool has_room(size_t slice, size_t count, size_t end)
{
    if (count > end - slice) return false;
    for (size_t i = slice; i < slice + count; i++) {
        if (!is_free(i)) return false;
    }
    return true;
}

// The lowest room, or in a long run the part of it that was used most.
static void expect_long(size_t from, size_t count, size_t shift, size_t end)
{
    size_t step = (size_t)1 << shift, lowest = (from + step - 1) / step * step;
    while (lowest < end && !has_room(lowest, count, end)) lowest += step;
    size_t next = from, found = search_long(&made, count, (size_t)SLICE_BYTES << shift, &next, end);
    if (lowest >= end) {
        EXPECT_EQ(found, SIZE_MAX);
    } else if (count < SEARCH_LONG_SLICES || shift > 0) {
        EXPECT_EQ(found, lowest);
    } else {
        EXPECT(found >= lowest && has_room(lowest, count + found - lowest, end));
        EXPECT(count_dirty(found, count) >= count_dirty(lowest, count));
    }
}

static void make_holes(uint64_t *random)
{
    static const unsigned most[] = {3, 20, 90, 200};
    start();
    for (size_t slice = 0; slice < SLICES;) {
        size_t used = 1 + test_random(random) % most[test_random(random) % 4];
        size_t free = test_random(random) % most[test_random(random) % 4];
        slice += used;
        if (slice + free > SLICES) break;
        set_free(slice, free);
        if (test_random(random) % 2 == 0) keep(slice, free);
        slice += free;
    }
}

TEST(search_finds_what_a_simple_search_finds)
{
    enum { ROUNDS = 2000 };
    uint64_t random = test_seed();
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_holes(&random);
        size_t count = 1 + test_random(&random) % 16, first = find(count);
        size_t other = find_simply(count, false), any = find_simply(count, true);
        bool is_far = other == SIZE_MAX || other / CHUNK_SLICES >= 32;
        EXPECT(first == other || (is_far && first == any));

        size_t slice = test_random(&random) % SLICES, run = 0;
        size_t enough = 1 + test_random(&random) % 300, end = SLICES - test_random(&random) % 70;
        while (run < enough && slice + run < end && is_free(slice + run)) run++;
        EXPECT_EQ(search_free_run(&made, slice, enough, end), run);
        made.dirty_free = SLICES;
        if (enough >= SEARCH_LONG_SLICES)
            EXPECT_EQ(find_same(enough, end), find_same_simply(enough, end));
        expect_long(slice, enough, 0, end);
        expect_long(slice, count, test_random(&random) % 4, end);
    }
}

// --- what it is for ------------------------------------------------------------------------------

static void *claim(size_t count)
{
    bool is_zero;
    return arena_claim(count, SLICE_BYTES, &is_zero);
}

// A table of 8 MiB and a bit that comes again and again finds the place of the last one, though
// pages are made meanwhile, if they are few.
static void table_again(unsigned between)
{
    enum { TABLE = 131, PAGES = 8 };
    void *pages[PAGES], *page = NULL;
    start_quietly();
    void *table = claim(TABLE);
    for (unsigned i = 0; i < PAGES; i++) EXPECT((pages[i] = claim(1)) != NULL);
    arena_release(table, TABLE, true);
    for (unsigned i = 0; i < between; i++) EXPECT((page = claim(1)) != NULL);
    bool is_kept = between <= SEARCH_SPARED_SLICES;
    EXPECT((page == table) != is_kept);
    EXPECT((claim(TABLE) == table) == is_kept);
    arena_release(page, 1, true);
    expect_arena_rules();
}

TEST(search_keeps_the_place_of_a_large_block_free_for_the_next_one)
{
    IN_CHILD(table_again(1));
    IN_CHILD(table_again(SEARCH_SPARED_SLICES));
    IN_CHILD(table_again(SEARCH_SPARED_SLICES + 1));
}

// What is released by somebody else is nobody's to keep.
static void kept_no_more(void)
{
    enum { TABLE = 131 };
    start_quietly();
    void *table = claim(TABLE);
    arena_release(table, TABLE, true);
    EXPECT(claim(TABLE) == table);
    arena_release(table, TABLE, true);
    while (claim(1) != table) {} // all other room first
    arena_release(table, 1, true);
    EXPECT(claim(1) == table);
    expect_arena_rules();
}

TEST(search_forgets_what_was_kept_when_a_page_had_it) { IN_CHILD(kept_no_more()); }
