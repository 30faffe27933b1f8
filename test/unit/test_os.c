#include "unit_test.h"
#include <sys/syscall.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static void start(void)
{
    fake_prim_reset();
    os_init();
}

static void map_aligned(void)
{
    start();
    for (size_t alignment = os_page_bytes(); alignment <= 64 * (size_t)MIB; alignment *= 4) {
        size_t before = fake_prim_mapped_bytes();
        char *start_of = (char *)os_map(3 * 64 * KIB, alignment);
        EXPECT(start_of != NULL && bits_is_aligned(start_of, alignment));
        EXPECT(is_zero(start_of, 3 * 64 * KIB));
        memset(start_of, 1, 3 * 64 * KIB);
        EXPECT_EQ(fake_prim_mapped_bytes() - before, 3 * 64 * KIB);
        os_release(start_of, 3 * 64 * KIB);
        EXPECT_EQ(fake_prim_mapped_bytes(), before);
    }
}

TEST(os_map_gives_aligned_zeroed_memory_and_gives_the_rest_back) { IN_CHILD(map_aligned()); }

static void map_fails_at_each_call(void)
{
    start();
    size_t before = fake_prim_mapped_bytes();
    for (unsigned n = 1; n <= 2; n++) {
        fake_prim_fail_from(FAKE_PRIM_map, n, ENOMEM);
        void *memory =
            os_map(MIB, 64 * (size_t)MIB); // an alignment that needs a second try nearly always
        fake_prim_fail_from(FAKE_PRIM_map, 0, 0);
        if (memory != NULL) os_release(memory, MIB);
        EXPECT_EQ(fake_prim_mapped_bytes(), before);
    }
    fake_prim_fail_once(FAKE_PRIM_map, 1, ENOMEM);
    EXPECT(os_reserve(MIB, os_page_bytes()) == NULL);
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
}

TEST(os_map_that_fails_at_any_call_leaves_nothing_mapped) { IN_CHILD(map_fails_at_each_call()); }

TEST(os_map_refuses_sizes_that_do_not_fit_in_an_address)
{
    start();
    EXPECT(os_map(SIZE_MAX & ~(os_page_bytes() - 1), 4 * MIB) == NULL);
    EXPECT(os_reserve(SIZE_MAX / 2 + 1, 4 * MIB) == NULL);
}

static void reserve_and_open(void)
{
    start();
    char *memory = (char *)os_reserve(MIB, 64 * KIB);
    EXPECT(memory != NULL && os_open(memory + 64 * KIB, 64 * KIB));
    memset(memory + 64 * KIB, 1, 64 * KIB);
    fake_prim_fail_once(FAKE_PRIM_access, 1, ENOMEM);
    EXPECT(!os_open(memory, 64 * KIB));
    os_release(memory, MIB);
}

TEST(os_reserve_gives_addresses_that_os_open_makes_usable) { IN_CHILD(reserve_and_open()); }

static void touch_reserved(void)
{
    start();
    volatile char *memory = (volatile char *)os_reserve(MIB, 64 * KIB);
    *memory = 1;
}

TEST(os_reserve_gives_no_access) { EXPECT_DEATH(touch_reserved(), ""); }

static void map_at(void)
{
    bool taken;
    start();
    char *hole = (char *)os_reserve(4 * MIB, MIB);
    EXPECT(hole != NULL && bits_is_aligned(hole, MIB));
    os_release(hole, 4 * MIB);
    EXPECT(os_map_at(hole, MIB, &taken) && !taken);
    EXPECT(!os_map_at(hole, 2 * MIB, &taken) && taken);
    fake_prim_fail_once(FAKE_PRIM_map, 1, ENOMEM);
    EXPECT(!os_map_at(hole + MIB, MIB, &taken) && !taken);
    EXPECT(os_map_at(hole + MIB, MIB, &taken));
}

TEST(os_map_at_tells_a_taken_place_from_a_lack_of_memory) { IN_CHILD(map_at()); }

static void purge_and_map_again(void)
{
    start();
    char *memory = (char *)os_map(MIB, 64 * KIB);
    memset(memory, 1, MIB);
    fake_prim_fail_once(FAKE_PRIM_purge, 1, EINVAL);
    EXPECT(!os_purge(memory, 64 * KIB) && memory[0] == 1);
    EXPECT(os_purge(memory, 64 * KIB) && is_zero(memory, 64 * KIB) && memory[64 * KIB] == 1);
    options_set(OPTION_reset_decommits, 0);
    EXPECT(!os_purge(memory, MIB)); // it need not read as zeroes
    bool is_lost = true;
    EXPECT(os_map_again(memory, MIB, &is_lost) && !is_lost && is_zero(memory, MIB));
    memory[5] = is_lost = 1;
    fake_prim_fail_once(FAKE_PRIM_map, 1, ENOMEM); // it is not tried where there is no memory
    EXPECT(!os_map_again(memory, MIB, &is_lost) && !is_lost && memory[5] == 1);
    fake_prim_fail_once(FAKE_PRIM_map, 2, ENOMEM);
    EXPECT(!os_map_again(memory, MIB, &is_lost) && !is_lost);
    fake_prim_fail_once(FAKE_PRIM_map, 3, ENOMEM);
    EXPECT(!os_map_again(memory, MIB, &is_lost) && is_lost);
}

TEST(os_purge_is_true_only_when_the_range_reads_as_zeroes) { IN_CHILD(purge_and_map_again()); }

static bool restore(void *start, size_t bytes)
{
    bool is_lost = true, is_done = os_restore(start, bytes, &is_lost);
    return is_done && !is_lost;
}

static void move_pages(void)
{
    start();
    char *from = (char *)os_map(MIB, 64 * KIB), *to = (char *)os_map(MIB, 64 * KIB);
    memset(from, 7, MIB);
    fake_prim_fail_once(FAKE_PRIM_move, 1, ENOMEM);
    EXPECT(!os_move(from, MIB, to) && from[100] == 7);
    EXPECT(os_move(from, MIB, to) && to[MIB - 1] == 7 && is_zero(from, MIB));
    EXPECT(restore(to, MIB) && is_zero(to, MIB));
    fake_prim_fail_once(FAKE_PRIM_map, 1, ENOMEM); // that would be found too late
    EXPECT_EQ(os_move(from, MIB, to), 0);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_move), 2);
}

// Then nothing is moved, and nothing as large is mapped to find out: it would be there at once.
static void move_when_locked(void)
{
    enum { FUTURE = 2 };
    start();
    bool is_lost;
    char *from = (char *)os_map(MIB, 64 * KIB), *to = (char *)os_map(MIB, 64 * KIB);
    memset(from, 7, MIB);
    if (syscall(SYS_mlockall, FUTURE) != 0) test_child_end(); // not allowed here
    unsigned long calls = fake_prim_count(FAKE_PRIM_map);
    EXPECT(os_move(from, MIB, to) == 0 && from[0] == 7);
    EXPECT(!os_map_again(from, MIB, &is_lost) && !is_lost && from[0] == 7);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_map) - calls, 2); // an OS page each
}

TEST(os_move_asks_for_nothing_where_all_memory_is_locked) { IN_CHILD(move_when_locked()); }

TEST(os_move_moves_and_leaves_zeroes) { IN_CHILD(move_pages()); }

// Of which the second half is a mapping of its own.
static char *map_halves(void)
{
    char *memory = (char *)os_map(MIB, 64 * KIB);
    memset(memory, 7, MIB);
    EXPECT_EQ(prim_wipe_on_fork(memory + MIB / 2, MIB / 2), 0);
    return memory;
}

static void move_mappings(void)
{
    start();
    char *from = map_halves(), *to = (char *)os_map(2 * MIB, 64 * KIB);
    fake_prim_fail_once(FAKE_PRIM_move, 2, ENOMEM);
    EXPECT_EQ(os_move(from, MIB, to), MIB / 2);
    EXPECT(to[MIB / 2 - 1] == 7 && is_zero(from, MIB / 2));
    EXPECT(from[MIB / 2] == 7 && from[MIB - 1] == 7);
    EXPECT(restore(to, MIB));
    from = map_halves();
    EXPECT_EQ(os_move(from, MIB, to), MIB);
    EXPECT(to[MIB / 2 - 1] == 7 && to[MIB - 1] == 7 && is_zero(from, MIB));
}

// Kernels from 6.17 on move several mappings at one call, as far as they get. One that is sealed
// (from 6.10 on) does not move.
static void move_sealed(void)
{
    enum { MSEAL = 462 };
    start();
    char *from = map_halves(), *to = (char *)os_map(2 * MIB, 64 * KIB);
    if (syscall(MSEAL, from + MIB / 2, MIB / 2, 0) != 0) test_child_end();
    EXPECT_EQ(os_move(from, MIB, to), 0);
    EXPECT(from[0] == 7 && from[MIB / 2] == 7 && from[MIB - 1] == 7);
    to[0] = to[MIB / 2] = 1; // it is ours still
}

static void move_again_and_again(void)
{
    enum { MOVES = 20 };
    start();
    unsigned moves = 0;
    char *from = (char *)os_map(MIB, 64 * KIB);
    for (size_t bytes = MIB; moves < MOVES; moves++) {
        char *to = (char *)os_map(bytes + 64 * KIB, 64 * KIB);
        from[bytes - 1] = 1; // else the system makes one mapping of two
        to[bytes] = 1;
        if (os_move(from, bytes, to) != bytes) break;
        from = to;
        bytes += 64 * KIB;
    }
    EXPECT_EQ(moves, OS_MOVE_PIECES);
}

TEST(os_move_moves_mapping_by_mapping_and_tells_how_far_it_came)
{
    IN_CHILD(move_mappings());
    IN_CHILD(move_sealed());
    IN_CHILD(move_again_and_again());
}

static void restore_and_advise(void)
{
    start();
    options_set(OPTION_allow_thp, 0);
    char *from = (char *)os_map(MIB, 64 * KIB), *to = (char *)os_map(MIB, 64 * KIB);
    EXPECT(os_move(from, MIB, to));
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_advise_huge), 0); // the mappings keep what they had
    EXPECT(restore(to, MIB));
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_advise_huge), 1);
}

// What cannot be restored stays as it is, and counts.
static void restore_fails(void)
{
    start();
    size_t page = os_page_bytes();
    char *from = (char *)os_map(MIB, 64 * KIB), *to = (char *)os_map(MIB, 64 * KIB);
    unsigned moved = 0;
    while (os_move(from, page, to)) moved++;
    for (unsigned i = 0; i < 2; i++) { // there is no memory; it is gone just then
        bool is_lost = i == 0;
        fake_prim_fail_once(FAKE_PRIM_map, i + 2, ENOMEM);
        EXPECT(!os_restore(to, page, &is_lost) && is_lost == (i == 1));
        EXPECT_EQ(os_move(from, page, to + page), 0);
    }
    EXPECT(moved > 0 && restore(to, page) && os_move(from, page, to) == page);
}

TEST(os_restore_that_fails_keeps_the_range_or_tells_that_it_is_lost) { IN_CHILD(restore_fails()); }

TEST(os_restore_follows_allow_thp_as_the_neighbours_do) { IN_CHILD(restore_and_advise()); }

static void move_many(void)
{
    start();
    unsigned moved = 0;
    size_t page = os_page_bytes();
    char *memory = (char *)os_map(4 * MIB, 64 * KIB), *to = memory + page;
    while (moved < 5000 && os_move(memory, page, to)) moved++;
    EXPECT(moved > 0 && moved < 5000);
    EXPECT(restore(to, page) && os_move(memory, page, to) && !os_move(memory, page, to));
    for (unsigned i = 0; i < 1000; i++) { // failures give their share of the budget back
        fake_prim_fail_once(FAKE_PRIM_move, 1, ENOMEM);
        EXPECT(restore(to, page) && !os_move(memory, page, to) && os_move(memory, page, to));
    }
}

TEST(os_move_stops_at_a_number_of_ranges_and_goes_on_after_a_restore) { IN_CHILD(move_many()); }

// --- guards --------------------------------------------------------------------------------------

static void touch_guarded(enum fake_prim_call lacking)
{
    start();
    volatile char *memory = (volatile char *)os_map(MIB, 64 * KIB);
    if (lacking == FAKE_PRIM_guard) fake_prim_fail_from(FAKE_PRIM_guard, 1, EINVAL);
    EXPECT(os_guard((char *)(uintptr_t)memory + os_page_bytes(), os_page_bytes()));
    memory[0] = 1;
    memory[2 * os_page_bytes()] = 1;
    fprintf(stderr, "so far so good");
    memory[os_page_bytes()] = 1;
}

TEST(os_guard_makes_a_page_inaccessible)
{
    EXPECT_DEATH(touch_guarded(FAKE_PRIM_CALL_COUNT), "so far so good");
}
TEST(os_guard_works_without_the_guard_call)
{
    EXPECT_DEATH(touch_guarded(FAKE_PRIM_guard), "so far so good");
}

// Linux has the guard call from 6.13 on.
static bool system_guards(char *page)
{
    return prim_guard(page, os_page_bytes()) == 0 && prim_unguard(page, os_page_bytes()) == 0;
}

static void unguard(bool has_call)
{
    start();
    size_t page = os_page_bytes();
    char *memory = (char *)os_map(MIB, 64 * KIB);
    has_call = has_call && system_guards(memory);
    if (!has_call) fake_prim_fail_from(FAKE_PRIM_guard, 1, EINVAL);
    if (!has_call) fake_prim_fail_from(FAKE_PRIM_unguard, 1, EINVAL);
    for (int i = 0; i < 3; i++) {
        enum os_guard_kind kind = os_guard(memory + page, page);
        EXPECT_EQ(kind, has_call ? OS_GUARD_CALL : OS_GUARD_SPLIT);
        EXPECT(os_unguard(memory + page, page, kind));
        memory[page] = 1;
    }
}

TEST(os_unguard_makes_it_usable_again) { IN_CHILD(unguard(true)); }
TEST(os_unguard_makes_it_usable_again_without_the_guard_call) { IN_CHILD(unguard(false)); }

// A locked mapping, for one, refuses the guard call on kernels that have it.
static void guard_call_fails_later(void)
{
    start();
    size_t page = os_page_bytes();
    char *memory = (char *)os_map(MIB, 64 * KIB);
    if (!system_guards(memory)) return;
    enum os_guard_kind first = os_guard(memory, page);
    EXPECT_EQ(first, OS_GUARD_CALL);
    fake_prim_fail_once(FAKE_PRIM_guard, 1, EINVAL);
    enum os_guard_kind second = os_guard(memory + 2 * page, page);
    EXPECT_EQ(second, OS_GUARD_SPLIT);
    EXPECT(os_unguard(memory, page, first));
    EXPECT(os_unguard(memory + 2 * page, page, second));
    memory[0] = memory[2 * page] = 1;
}

TEST(os_unguard_removes_both_kinds_of_guards_when_the_guard_call_fails_once)
{
    IN_CHILD(guard_call_fails_later());
}

static void guards_thinned(void)
{
    start();
    size_t page = os_page_bytes();
    char *memory = (char *)os_map(MIB, 64 * KIB);
    fake_prim_fail_from(FAKE_PRIM_guard, 1, EINVAL);
    fake_prim_fail_from(FAKE_PRIM_unguard, 1, EINVAL);
    fake_prim_fail_once(FAKE_PRIM_access, 1, ENOMEM);
    EXPECT(!os_guard(memory, page));
    EXPECT_EQ(counter_now(COUNT_guards_thinned), 1);
    memory[0] = 1;
    unsigned guards = 0; // a budget of split mappings; each of these could be one
    while (guards < 100000 && os_guard(memory, page)) guards++;
    EXPECT(guards > 1000 && guards < 20000);
    EXPECT(os_unguard(memory, page, OS_GUARD_SPLIT));
    EXPECT(os_guard(memory, page));
    EXPECT(!os_guard(memory, page));
}

TEST(os_guard_stops_at_a_number_of_split_mappings) { IN_CHILD(guards_thinned()); }

// --- advice --------------------------------------------------------------------------------------

static unsigned long advice_calls(long allowed, size_t heap_bytes)
{
    start();
    options_set(OPTION_allow_thp, allowed);
    char *memory = (char *)os_map(4 * MIB, 2 * MIB);
    fake_prim_fail_once(FAKE_PRIM_advise_huge, 1, EINVAL); // a failure changes nothing
    os_advise(memory, 4 * MIB, heap_bytes);
    os_release(memory, 4 * MIB);
    return fake_prim_count(FAKE_PRIM_advise_huge);
}

static void advise(void)
{
    EXPECT_EQ(advice_calls(0, 1000 * (size_t)MIB), 1);
    EXPECT_EQ(advice_calls(1, MIB), 1);                // never for a small heap
    EXPECT_EQ(advice_calls(1, 1000 * (size_t)MIB), 0); // the system's own choice
    EXPECT_EQ(advice_calls(2, MIB), 1);
}

TEST(os_advise_leaves_large_heaps_to_the_system) { IN_CHILD(advise()); }

TEST(os_map_large_that_is_refused_gives_NULL)
{
    start();
    fake_prim_fail_once(FAKE_PRIM_map_large, 1, ENOMEM);
    bool taken;
    EXPECT(os_map_large(NULL, (size_t)1 << 30, (size_t)1 << 30, -1, &taken) == NULL && !taken);
}
