#include "unit_test.h"

static void claim(size_t count)
{
    bool is_clean;
    if (arena_claim(count, SLICE_BYTES, &is_clean) == NULL) abort();
}

static size_t span_of(const struct arena *arena)
{
    return atomic_load_explicit(&arena->span_units, memory_order_acquire) >>
           (SLICE_SHIFT - GRANULE_SHIFT);
}

static void read_part(const void *part, size_t bytes)
{
    const volatile char *start = (const volatile char *)part;
    for (size_t at = 0; at < bytes; at += 4096) (void)start[at];
    if (bytes != 0) (void)start[bytes - 1];
}

// All that describes the slices below the span.
static void read_side(const struct arena *arena)
{
    size_t slices = span_of(arena), chunks = (slices + CHUNK_SLICES - 1) / CHUNK_SLICES;
    read_part(arena->chunks, chunks * sizeof(struct chunk));
    read_part(arena->marks, chunks * sizeof(struct marks));
    read_part(arena->descriptors, slices * DESCRIPTOR_BYTES);
    if (!CFG_STATES) return;
    read_part(arena->states, slices * STATES_OF_SLICE * sizeof(struct state));
}

static void all_can_be_read(void)
{
    start_quietly();
    read_side(&arena_main);
    for (size_t count = 1; count < 20000; count = count * 5 / 2 + 1) {
        claim(count);
        EXPECT(arena_main.mapped <= span_of(&arena_main));
        read_side(&arena_main);
    }
    for (size_t slices = 1; slices < 300; slices = slices * 3 + 2) {
        size_t bytes = slices * SLICE_BYTES;
        struct arena *arena = arena_add(os_map(bytes, SLICE_BYTES), bytes, ARENA_ZERO);
        EXPECT(arena != NULL && span_of(arena) == slices);
        read_side(arena);
    }
    expect_arena_rules();
}

TEST(window_W1_all_that_describes_the_slices_below_the_span_can_be_read)
{
    IN_CHILD(all_can_be_read());
}

static void span_too_far(void)
{
    start_quietly();
    claim(1);
    read_side(&arena_main);
    fprintf(stderr, "so far so good");
    arena_main.span_units = arena_main.capacity << (SLICE_SHIFT - GRANULE_SHIFT);
    read_side(&arena_main);
}

TEST(window_W1_broken_beyond_what_is_open_nothing_can_be_read)
{
    EXPECT_DEATH(span_too_far(), "so far so good");
}

static void part_moved(void)
{
    start_quietly();
    claim(1);
    EXPECT_TEXT(window_broken_rule(&arena_main), NULL);
    arena_main.marks++;
    EXPECT_TEXT(window_broken_rule(&arena_main),
                "W1: a part of the side memory is not in its place");
    arena_main.marks--;
    arena_main.side_bytes -= os_page_bytes();
    EXPECT_TEXT(window_broken_rule(&arena_main),
                "W1: a part of the side memory is not in its place");
}

TEST(window_W1_notices_a_part_that_is_not_in_its_place) { IN_CHILD(part_moved()); }
