#include "unit_test.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static void *claim(size_t count, size_t alignment)
{
    bool is_clean;
    return arena_claim(count, alignment, &is_clean);
}

static void claim_alignments(void)
{
    start_quietly();
    for (size_t count = 1; count < 200; count += 13) {
        for (size_t alignment = SLICE_BYTES; alignment <= 64 * (size_t)MIB; alignment *= 2) {
            char *memory = (char *)claim(count, alignment);
            EXPECT(memory != NULL && bits_is_aligned(memory, alignment));
            EXPECT_EQ(used_slices(), count);
            memory[0] = memory[count * SLICE_BYTES - 1] = 1;
            arena_release(memory, count, true);
            EXPECT_EQ(used_slices(), 0);
        }
    }
    expect_arena_rules();
}

TEST(arena_claim_gives_runs_of_any_length_and_alignment) { IN_CHILD(claim_alignments()); }

static void random_claims(size_t limit_bytes)
{
    enum { SLOTS = 128, ROUNDS = 5000 };
    static struct {
        uint64_t *start;
        size_t count;
    } slots[SLOTS];
    uint64_t random = test_seed();
    start_with_limit(limit_bytes);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(test_random(&random) % SLOTS);
        if (slots[at].start != NULL) {
            EXPECT(slots[at].start[0] == at &&
                   slots[at].start[slots[at].count * SLICE_BYTES / 8 - 1] == at);
            arena_release(slots[at].start, slots[at].count, true);
        }
        bool is_clean;
        slots[at].count = (size_t)1 << test_random(&random) % 8;
        slots[at].count += test_random(&random) % slots[at].count;
        slots[at].start = (uint64_t *)arena_claim(
            slots[at].count, (size_t)SLICE_BYTES << test_random(&random) % 4, &is_clean);
        if (slots[at].start == NULL) abort();
        if (is_clean)
            EXPECT(is_zero(slots[at].start, 64) &&
                   slots[at].start[slots[at].count * SLICE_BYTES / 8 - 1] == 0); // A4
        slots[at].start[0] = slots[at].start[slots[at].count * SLICE_BYTES / 8 - 1] = at;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].start != NULL) arena_release(slots[i].start, slots[i].count, true);
    }
    EXPECT_EQ(used_slices(), 0);
    (void)purge_all();
    EXPECT_EQ(level_now(STAT_committed), 0);
    for (unsigned i = 0; i < ARENA_MAX && arena_at(i) != NULL; i++)
        EXPECT_EQ(arena_at(i)->dirty_free, 0);
    expect_arena_rules();
}

TEST(arena_random_claims_never_overlap_and_counts_agree_at_the_end)
{
    IN_CHILD(random_claims(SIZE_MAX));
}
TEST(arena_random_claims_go_on_beyond_a_small_window) { IN_CHILD(random_claims(32 * MIB)); }

// --- start and growth ----------------------------------------------------------------------------

static void window_follows_limit(void)
{
    start_with_limit(100 * MIB);
    EXPECT_EQ(arena_main.capacity, 64 * MIB / SLICE_BYTES);
    EXPECT(arena_main.capacity % CHUNK_SLICES == 0);
}

static void window_has_a_least(void)
{
    start_with_limit(1 * MIB);
    EXPECT_EQ(arena_main.capacity, 16 * MIB / SLICE_BYTES);
}

static void window_shrinks(unsigned n, enum fake_prim_call call)
{
    fake_prim_reset();
    os_init();
    fake_prim_fail_once(call, n, ENOMEM);
    EXPECT(arena_init());
    EXPECT(claim(1, SLICE_BYTES) != NULL);
}

static void no_window(void)
{
    fake_prim_reset();
    os_init();
    fake_prim_fail_from(FAKE_PRIM_map, 1, ENOMEM);
    EXPECT(!arena_init());
    EXPECT(claim(1, SLICE_BYTES) == NULL && claim(1000, MIB) == NULL);
    EXPECT(arena_of(&arena_main) == NULL);
    fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
    EXPECT(claim(1, SLICE_BYTES) != NULL); // from an arena of its own
}

TEST(arena_0_is_no_larger_than_the_address_limit) { IN_CHILD(window_follows_limit()); }
TEST(arena_0_has_a_least_size) { IN_CHILD(window_has_a_least()); }
TEST(arena_init_takes_a_smaller_window_when_one_is_refused)
{
    for (unsigned n = 1; n < 5; n++) IN_CHILD(window_shrinks(n, FAKE_PRIM_map));
}
TEST(arena_init_without_address_space_is_false_and_claims_are_NULL) { IN_CHILD(no_window()); }

static void grow_fails(enum fake_prim_call call)
{
    start_quietly();
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    size_t mapped = arena_main.mapped;
    fake_prim_fail_from(call, 1, ENOMEM);
    EXPECT(claim(600, SLICE_BYTES) == NULL); // beyond what has descriptors
    EXPECT_EQ(arena_main.mapped, mapped);    // the addresses are not lost
    fake_prim_fail_from(call, 0, 0);
    char *memory = (char *)claim(600, SLICE_BYTES);
    EXPECT(memory != NULL && arena_slice_of(&arena_main, memory) + 600 <= arena_main.mapped);
    EXPECT_TEXT(arena_broken_rule(&arena_main), NULL);
}

static void grow_large_fails(void)
{
    const size_t gib = (size_t)1 << 30;
    start_quietly();
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    size_t mapped = arena_main.mapped;
    int64_t metadata = level_now(STAT_metadata);
    fake_prim_fail_from(FAKE_PRIM_map_large, 1, ENOMEM);
    for (int i = 0; i < 5; i++) EXPECT(!arena_add_large(gib, gib, -1));
    EXPECT_EQ(arena_main.mapped, mapped); // what is skipped for the alignment is not lost either
    EXPECT_EQ(level_now(STAT_metadata), metadata);
    EXPECT(claim(600, SLICE_BYTES) != NULL);
    expect_arena_rules();
}

TEST(arena_that_gets_no_large_pages_keeps_its_window) { IN_CHILD(grow_large_fails()); }
TEST(arena_that_cannot_map_keeps_its_window) { IN_CHILD(grow_fails(FAKE_PRIM_map)); }
TEST(arena_that_cannot_open_its_side_memory_keeps_its_window)
{
    IN_CHILD(grow_fails(FAKE_PRIM_access));
}

static void addresses_taken(void)
{
    bool taken;
    start_quietly();
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    char *foreign = (char *)arena_slice_start(&arena_main, arena_main.mapped);
    EXPECT(os_map_at(foreign, 3 * MIB, &taken));
    memset(foreign, 7, 3 * MIB);
    for (int i = 0; i < 300; i++) {
        char *memory = (char *)claim(1, SLICE_BYTES);
        EXPECT(memory != NULL && (memory < foreign || memory >= foreign + 3 * MIB));
        memory[0] = 1;
    }
    EXPECT(foreign[0] == 7 && foreign[3 * MIB - 1] == 7);
    expect_arena_rules();
}

TEST(arena_passes_over_addresses_that_others_have) { IN_CHILD(addresses_taken()); }

static void unmap_all_spares_others(void)
{
    bool taken;
    start_quietly();
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    volatile char *foreign = (volatile char *)arena_slice_start(&arena_main, arena_main.mapped);
    EXPECT(os_map_at((char *)(uintptr_t)foreign, 3 * MIB, &taken));
    for (int i = 0; i < 300; i++) EXPECT(claim(1, SLICE_BYTES) != NULL);
    arena_unmap_all();
    foreign[0] = 1;
}

TEST(arena_unmap_all_leaves_the_mappings_of_others_alone) { IN_CHILD(unmap_all_spares_others()); }

static void unmap_all_leaves_nothing(void)
{
    start_with_limit(100 * MIB); // a window of 64 MiB
    fake_prim_make_up_large();
    size_t before = fake_prim_mapped_bytes() - arena_main.side_bytes;
    EXPECT(arena_add_large(20 * MIB, 2 * MIB, -1) && arena_at(1) == NULL);
    EXPECT(arena_add_large(90 * MIB, 2 * MIB, -1) && arena_at(1) != NULL);
    EXPECT(claim(200, SLICE_BYTES) != NULL);
    unsigned long unmaps = fake_prim_count(FAKE_PRIM_unmap);
    arena_unmap_all();
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_unmap) - unmaps, 2 + 3); // memory each in one piece
}

TEST(arena_unmap_all_unmaps_large_pages_too_and_what_describes_them)
{
    IN_CHILD(unmap_all_leaves_nothing());
}

static void huge_first(void)
{
    start_with_limit(100 * MIB);
    char *huge = (char *)claim(90 * MIB / SLICE_BYTES,
                               SLICE_BYTES); // does not fit into the window of 64 MiB
    EXPECT(huge != NULL);
    struct arena *home = arena_of(huge);
    EXPECT(home != NULL && home != &arena_main);
    for (unsigned i = 0; i < 100; i++) EXPECT(claim(1, SLICE_BYTES) != NULL);
    for (size_t at = 0; at < 90 * MIB; at += MIB) EXPECT(arena_of(huge + at) == home);
    arena_release(huge, 90 * MIB / SLICE_BYTES, true);
    EXPECT_EQ(used_slices(), 100);
}

TEST(arena_of_tells_a_later_arena_in_the_window_of_arena_0_apart) { IN_CHILD(huge_first()); }

static void no_os_memory(void)
{
    start_quietly();
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    options_set(OPTION_disallow_os_alloc, 1);
    EXPECT(claim(5000, SLICE_BYTES) == NULL);
    EXPECT(claim(1, SLICE_BYTES) != NULL);
}

TEST(arena_claim_asks_the_OS_for_nothing_when_it_may_not) { IN_CHILD(no_os_memory()); }

// --- reservations --------------------------------------------------------------------------------

enum { RESERVED_MIB = 64, RESERVED_SLICES = RESERVED_MIB * MIB / SLICE_BYTES };

static void reserved(void)
{
    start_quietly();
    EXPECT(arena_reserve(RESERVED_MIB * MIB) && arena_at(1) == NULL);
    options_set(OPTION_disallow_os_alloc, 1);
    for (int i = 0; i < RESERVED_SLICES; i++)
        EXPECT(arena_of(claim(1, SLICE_BYTES)) == &arena_main);
    EXPECT(claim(1, SLICE_BYTES) == NULL);
    EXPECT(!arena_reserve(SIZE_MAX));
    expect_arena_rules();
}

// Runs that reach into the next chunk, too, once there is nothing else.
static void reserved_to_the_end(void)
{
    enum { RUN = 13 }; // slices
    int runs = 0;
    start_quietly();
    EXPECT(arena_reserve(RESERVED_MIB * MIB) && arena_at(1) == NULL);
    options_set(OPTION_disallow_os_alloc, 1);
    while (claim(RUN, SLICE_BYTES) != NULL) runs++;
    EXPECT(runs >= RESERVED_SLICES / RUN - 2);
}

static void reserved_elsewhere(void)
{
    start_with_limit(100 * MIB);
    EXPECT(arena_reserve(92 * MIB) && arena_at(1) != NULL); // the window has 64
    options_set(OPTION_disallow_os_alloc, 1);
    for (int i = 0; i < 92 * MIB / SLICE_BYTES; i++) {
        EXPECT(claim(1, SLICE_BYTES) != NULL);
        size_t full = (size_t)i / CHUNK_SLICES;
        EXPECT(arena_at(1)->first_free >= full); // none is searched twice
    }
    EXPECT(claim(1, SLICE_BYTES) == NULL && claim(3, SLICE_BYTES) == NULL);
    arena_release((void *)(arena_at(1)->base + 62 * SLICE_BYTES), 4, true);
    EXPECT(claim(4, SLICE_BYTES) != NULL); // across chunks, for it does not grow
}

TEST(arena_reserve_takes_addresses_of_arena_0) { IN_CHILD(reserved()); }
TEST(arena_that_cannot_grow_gives_runs_across_chunks) { IN_CHILD(reserved_to_the_end()); }
TEST(arena_reserve_makes_an_arena_when_the_window_is_too_small) { IN_CHILD(reserved_elsewhere()); }

static void constructors_first(void)
{
    start_quietly();
    options_set(OPTION_disallow_os_alloc, 1);
    options_set(OPTION_reserve_os_memory, RESERVED_MIB * KIB);
    EXPECT(claim(1, SLICE_BYTES) != NULL); // another library's constructor came before ours
    EXPECT(arena_reserve(RESERVED_MIB * MIB));
    arena_end_reservations();
    EXPECT(claim(RESERVED_SLICES, SLICE_BYTES) != NULL);
    EXPECT(claim(CHUNK_SLICES, SLICE_BYTES) == NULL);
}

TEST(arena_claim_maps_what_it_needs_before_a_reservation_that_is_asked_for)
{
    IN_CHILD(constructors_first());
}

static void advised(void)
{
    start_quietly();
    options_set(OPTION_allow_thp, 0);
    EXPECT(arena_add_mapped(64 * MIB) != NULL);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_advise_huge), 1);
    EXPECT(arena_reserve(64 * MIB));
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_advise_huge), 2);
}

TEST(arena_memory_of_each_kind_follows_allow_thp) { IN_CHILD(advised()); }

// --- memory of the user --------------------------------------------------------------------------

static void add_sizes(void)
{
    start_quietly();
    const size_t odd = 4096 + 48;
    char *memory = (char *)os_map(256 * MIB, MIB);
    for (size_t slices = 1; slices < 200; slices = slices * 3 / 2 + 1) {
        char *start = memory + odd; // neither end is that of a slice
        size_t bytes = slices * SLICE_BYTES + (SLICE_BYTES - odd) + 100;
        struct arena *arena = arena_add(start, bytes, ARENA_ZERO);
        EXPECT(arena != NULL && arena->base == (uintptr_t)memory + SLICE_BYTES);
        size_t taken = 0;
        options_set(OPTION_disallow_os_alloc, 1);
        for (char *slice; (slice = (char *)claim(1, SLICE_BYTES)) != NULL; taken++) {
            EXPECT(slice >= start && slice + SLICE_BYTES <= start + bytes);
            memset(slice, 1, SLICE_BYTES);
        }
        EXPECT_EQ(taken, slices);
        memory += bits_align_up(bytes + odd, CHUNK_BYTES) + CHUNK_BYTES;
    }
    EXPECT(arena_add(memory + 16, SLICE_BYTES, 0) == NULL);
    EXPECT(arena_add(memory, SLICE_BYTES - 1, 0) == NULL);
}

TEST(arena_add_uses_the_whole_slices_of_odd_memory_and_no_byte_more) { IN_CHILD(add_sizes()); }

static void add_neighbours(void)
{
    start_quietly();
    char *memory = (char *)os_map(8 * MIB, MIB);
    struct arena *first = arena_add(memory, MIB, ARENA_ZERO);
    struct arena *second = arena_add(memory + MIB, MIB, ARENA_ZERO);
    EXPECT(first != NULL && second != NULL);
    EXPECT(arena_of(memory + MIB - 16) == first);
    EXPECT(arena_of(memory + MIB) ==
           second); // and not the unused end of the first one's last chunk
    EXPECT(arena_of(memory + 2 * MIB) == NULL);
    void *held[32];
    for (int i = 0; i < 32; i++) held[i] = claim(1, SLICE_BYTES);
    EXPECT(used_slices_of(first) >= 16 && used_slices_of(second) >= 16);
    size_t beyond = used_slices() - 32;
    for (int i = 0; i < 32; i++) arena_release(held[i], 1, true);
    EXPECT_EQ(used_slices(), beyond);
    EXPECT_EQ(used_slices_of(first), used_slices_of(second)); // each got back what it gave
}

TEST(arena_add_of_neighbouring_memory_keeps_both_apart) { IN_CHILD(add_neighbours()); }

static void add_fails(void)
{
    start_quietly();
    char *memory = (char *)os_map(8 * MIB, MIB);
    size_t before = fake_prim_mapped_bytes();
    static const enum fake_prim_call calls[] = {FAKE_PRIM_map, FAKE_PRIM_access};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = 1; n < 20; n++) {
            fake_prim_fail_once(calls[i], n, ENOMEM);
            struct arena *arena = arena_add(memory, 8 * MIB, 0);
            fake_prim_fail_once(calls[i], 0, 0);
            if (arena != NULL) break;
            EXPECT_EQ(fake_prim_mapped_bytes(), before);
            EXPECT(n < 19);
        }
        memory = (char *)os_map(8 * MIB, MIB);
        before = fake_prim_mapped_bytes();
    }
    fake_prim_fail_once(FAKE_PRIM_map, 2, ENOMEM);
    EXPECT(arena_add_mapped(MIB) == NULL);
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
    EXPECT(arena_add_mapped(SIZE_MAX) == NULL && arena_add_mapped(SIZE_MAX / 2) == NULL);
}

TEST(arena_add_that_fails_at_any_call_leaves_nothing_behind) { IN_CHILD(add_fails()); }

static void flags(void)
{
    bool is_clean;
    start_quietly();
    char *memory = (char *)os_map(16 * MIB, CHUNK_BYTES);
    EXPECT(arena_add(memory, 4 * MIB, ARENA_EXCLUSIVE | ARENA_ZERO) != NULL);
    struct arena *dirty = arena_add(memory + 4 * MIB, 4 * MIB, ARENA_PINNED);
    options_set(OPTION_disallow_os_alloc, 1);
    char *slice = (char *)arena_claim(1, SLICE_BYTES, &is_clean);
    EXPECT(slice >= memory + 4 * MIB && slice < memory + 8 * MIB && !is_clean);
    slice[0] = 5;
    arena_release(slice, 1, true);
    (void)purge_all();
    EXPECT(slice[0] == 5 && arena_is_pinned(dirty, slice, 1));
    EXPECT(!arena_is_pinned(arena_of(memory), memory, 1));
}

TEST(arena_flags_exclude_pin_and_tell_zeroes) { IN_CHILD(flags()); }

static void table_full(void)
{
    start_quietly();
    unsigned added = 0;
    size_t before = 0;
    while (added < 2 * ARENA_MAX) {
        before = fake_prim_mapped_bytes();
        if (arena_add_mapped(SLICE_BYTES) == NULL) break;
        added++;
    }
    EXPECT_EQ(added, ARENA_MAX - 1);
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
    EXPECT(arena_at(ARENA_MAX - 1) != NULL && arena_at(ARENA_MAX) == NULL);
    EXPECT(arena_of(&added) == NULL);
}

TEST(arena_add_to_a_full_table_gives_NULL) { IN_CHILD(table_full()); }

// --- growth in place -----------------------------------------------------------------------------

static void claim_at(void)
{
    bool is_clean;
    start_quietly();
    char *memory = (char *)claim(3, SLICE_BYTES), *behind = memory + 3 * SLICE_BYTES;
    EXPECT(!arena_claim_at(&arena_main, memory, 1, &is_clean)); // in use
    EXPECT(arena_claim_at(&arena_main, behind, 58, &is_clean) && is_clean);
    EXPECT(
        !arena_claim_at(&arena_main, behind + 57 * SLICE_BYTES, 2, &is_clean)); // half of it in use
    EXPECT_EQ(used_slices(), 61);
    char *end = (char *)arena_slice_start(&arena_main, arena_main.mapped);
    EXPECT(!arena_claim_at(&arena_main, end, 1, &is_clean) &&
           !arena_claim_at(&arena_main, end - SLICE_BYTES, 2, &is_clean));
    EXPECT(!arena_claim_at(&arena_main, (char *)arena_main.base - SLICE_BYTES, 1,
                           &is_clean)); // not ours
    EXPECT_EQ(used_slices(), 61);
    arena_release(claim(1000, SLICE_BYTES), 1000, true);
    EXPECT(arena_claim_at(&arena_main, memory + 61 * SLICE_BYTES, 200, &is_clean)); // over chunks
    EXPECT_EQ(used_slices(), 261);
}

static void claim_again(void)
{
    bool is_clean;
    start_quietly();
    char *memory = (char *)claim(2, SLICE_BYTES);
    size_t slice = arena_slice_of(&arena_main, memory);
    EXPECT(arena_claim_again(slice, &is_clean) == NULL); // in use
    arena_release(memory, 1, false);
    EXPECT(arena_claim_again(slice, &is_clean) == NULL); // never touched
    arena_release(memory + SLICE_BYTES, 1, true);
    EXPECT(arena_claim_again(slice + 1, &is_clean) == memory + SLICE_BYTES && !is_clean);
    EXPECT_EQ(used_slices(), 1);
}

TEST(arena_claim_again_gives_what_is_free_and_was_touched) { IN_CHILD(claim_again()); }

TEST(arena_claim_at_takes_exactly_what_is_free_or_nothing) { IN_CHILD(claim_at()); }

// --- the first chunk with free slices ------------------------------------------------------------

enum { FULL_CHUNKS = 100 };

// A thread at the bottom of a dense heap does not cost the others a long walk each.
static void passes_full_chunks(void)
{
    bool is_clean;
    start_quietly();
    char *memory = (char *)claim(FULL_CHUNKS * CHUNK_SLICES, CHUNK_BYTES);
    EXPECT(memory != NULL && claim(1, SLICE_BYTES) != NULL);
    arena_release(memory, 1, true);
    EXPECT(arena_claim_again(arena_slice_of(&arena_main, memory), &is_clean) == memory);
    EXPECT_EQ(arena_main.first_free, 0);
    EXPECT(claim(1, SLICE_BYTES) != NULL);
    EXPECT_EQ(arena_main.first_free, FULL_CHUNKS);
}

TEST(arena_claim_passes_over_full_chunks_once) { IN_CHILD(passes_full_chunks()); }

// --- rules, broken on purpose --------------------------------------------------------------------

static void broken_span(void)
{
    start_quietly();
    (void)claim(1, SLICE_BYTES);
    EXPECT_TEXT(arena_broken_rule(&arena_main), NULL);
    arena_main.mapped = arena_main.capacity;
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A1: more slices are mapped than have descriptors");
}

static void broken_descriptor(size_t at)
{
    start_quietly();
    (void)claim(1, SLICE_BYTES);
    ((char *)(void *)arena_descriptor(&arena_main, 9))[at] = 1;
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A2: a free slice has a descriptor in use");
}

static void broken_state(size_t granule)
{
    start_quietly();
    char *memory = (char *)claim(1, SLICE_BYTES) + 9 * SLICE_BYTES;
    state_set(arena_state_at(memory + (granule << GRANULE_SHIFT)), STATE_FREE);
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A2: a free slice has a block");
}

static void broken_age(void)
{
    start_quietly();
    (void)claim(1, SLICE_BYTES);
    atomic_store_explicit(&arena_main.chunks[0].aging, 1, memory_order_relaxed);
    EXPECT_TEXT(arena_broken_rule(&arena_main), NULL); // claimed since
    atomic_store_explicit(&arena_main.chunks[0].aging, 1 << 3, memory_order_relaxed);
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A3: a clean slice grows old");
}

static char *broken_zero(size_t at)
{
    start_quietly();
    char *memory = (char *)claim(1, SLICE_BYTES) + 7 * SLICE_BYTES;
    memory[at] = 1;
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A4: a clean slice is not zero");
    return memory;
}

static void claim_what_is_not_zero(void)
{
    bool is_clean;
    EXPECT(arena_claim_at(&arena_main, broken_zero(0), 1, &is_clean));
}

static void broken_place(void)
{
    start_quietly();
    (void)claim(1, SLICE_BYTES);
    arena_main.descriptors += DESCRIPTOR_BYTES;
    EXPECT_TEXT(arena_broken_rule(&arena_main), "A5: the descriptors have moved");
}

static void descriptors_stay(void)
{
    start_quietly();
    const struct page *before = arena_descriptor(&arena_main, 3);
    for (size_t count = 1; count < 20000; count *= 7) {
        (void)claim(count, SLICE_BYTES);
        EXPECT(arena_descriptor(&arena_main, 3) == before);
    }
}

TEST(arena_A3_notices_a_clean_slice_that_ages) { IN_CHILD(broken_age()); }
TEST(arena_A4_notices_a_clean_slice_that_is_not_zero)
{
    IN_CHILD(broken_zero(0));
    IN_CHILD(broken_zero(SLICE_BYTES - 1));
    if (CFG_DEBUG >= 2) EXPECT_DEATH(claim_what_is_not_zero(), "A4: a clean slice is not zero");
}
TEST(arena_A5_notices_descriptors_that_moved) { IN_CHILD(broken_place()); }
TEST(arena_A5_descriptors_stay_where_they_are_when_the_arena_grows)
{
    IN_CHILD(descriptors_stay());
}
TEST(arena_A1_notices_slices_without_descriptors) { IN_CHILD(broken_span()); }
TEST(arena_A2_notices_a_free_slice_that_is_described)
{
    IN_CHILD(broken_descriptor(0));
    IN_CHILD(broken_descriptor(DESCRIPTOR_BYTES - 1));
}
TEST(arena_A2_notices_a_free_slice_in_which_a_block_begins)
{
    if (!CFG_STATES) return;
    IN_CHILD(broken_state(0));
    IN_CHILD(broken_state(STATES_OF_SLICE - 1));
}

// --- many threads --------------------------------------------------------------------------------

enum { THREADS = 4, ROUNDS = 3000, HELD = 8 };

static void *hammer(void *number)
{
    uint64_t *held[HELD] = {NULL}, self = (uintptr_t)number + 1, random = self;
    size_t counts[HELD] = {0};
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = (unsigned)(test_random(&random) % HELD);
        if (held[at] != NULL) {
            EXPECT(held[at][0] == self && held[at][counts[at] * SLICE_BYTES / 8 - 1] == self);
            held[at][0] = held[at][counts[at] * SLICE_BYTES / 8 - 1] = 0;
            arena_release(held[at], counts[at], true);
        }
        bool is_clean;
        counts[at] = 1 + test_random(&random) % 40;
        held[at] = (uint64_t *)arena_claim(counts[at], SLICE_BYTES, &is_clean);
        if (held[at] == NULL) abort();
        EXPECT(held[at][0] == 0);
        held[at][0] = held[at][counts[at] * SLICE_BYTES / 8 - 1] = self;
        if (i % 100 == 0) (void)purge_all();
    }
    for (unsigned at = 0; at < HELD; at++) {
        if (held[at] == NULL) continue;
        held[at][0] = held[at][counts[at] * SLICE_BYTES / 8 - 1] = 0;
        arena_release(held[at], counts[at], true);
    }
    return NULL;
}

enum { ARENAS = 60 };
static ATOMIC(unsigned) claims_made;

// Until each claim has ended, wants a slice of the arena that is made for it.
static void *snatch(void *unused)
{
    bool is_clean;
    for (unsigned i = 1; i <= ARENAS; i++) {
        while (atomic_load_explicit(&claims_made, memory_order_relaxed) < i) {
            struct arena *arena = arena_at(i);
            if (arena == NULL) continue;
            EXPECT(!arena_claim_at(arena, (void *)arena->base, 1, &is_clean));
        }
    }
    return unused;
}

static void each_its_own(void)
{
    pthread_t other;
    fake_prim_reset();
    os_init(); // and no window
    if (pthread_create(&other, NULL, snatch, NULL) != 0) abort();
    for (int i = 0; i < ARENAS; i++) {
        EXPECT(claim(CHUNK_SLICES, SLICE_BYTES) != NULL);
        atomic_fetch_add_explicit(&claims_made, 1, memory_order_relaxed);
    }
    pthread_join(other, NULL);
}

TEST(arena_that_is_made_for_a_claim_is_not_another_thread_s)
{
    for (int i = 0; i < 200; i++) IN_CHILD(each_its_own());
}

static void hammer_all(void)
{
    start_quietly();
    run_threads(THREADS, hammer);
    EXPECT_EQ(used_slices(), 0);
    (void)purge_all();
    EXPECT_EQ(arena_main.dirty_free, 0);
    EXPECT_EQ(level_now(STAT_committed), 0);
    expect_arena_rules();
}

TEST(arena_gives_each_slice_to_one_of_many_threads_also_while_it_is_purged)
{
    IN_CHILD(hammer_all());
}
