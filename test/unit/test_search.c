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

        size_t slice = test_random(&random) % SLICES, run = 0, next = slice;
        size_t enough = 1 + test_random(&random) % 300, end = SLICES - test_random(&random) % 70;
        while (run < enough && slice + run < end && is_free(slice + run)) run++;
        EXPECT_EQ(search_free_run(&made, slice, enough, end), run);
        while (next < SLICES && !is_free(next)) next++;
        EXPECT_EQ(search_next_free(&made, slice, SLICES), next);
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
