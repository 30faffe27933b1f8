#include "region/arena.h"
#include "core/options.h"
#include "core/report.h"
#include "core/random.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/limit.h"
#include "region/search.h"

DEFINE_DATA(struct arena arena_main)

// Arenas 1.. in order of their making; a slot is written once. release: pairs with the acquire in
// arena_at
static ATOMIC(struct arena *) arena_table[ARENA_MAX];
static ATOMIC(bool) arena_has_reserved; // what options ask for. relaxed: no data hangs on it

static const size_t arena_min_window_bytes = (size_t)16 << 20;
static const size_t arena_usual_window_bytes = (size_t)64 << 30;
static const size_t arena_max_step_bytes = (size_t)1 << 30;

// --- claiming and releasing ----------------------------------------------------------------------

void arena_free_bits(struct arena *arena, size_t chunk_index, uint64_t bits)
{
    // release: pairs with the acquire in chunk_claim
    atomic_fetch_or_explicit(&arena->chunks[chunk_index].free, bits, memory_order_release);
    size_t hint = atomic_load_explicit(&arena->first_free, memory_order_relaxed);
    while (chunk_index < hint &&
           !atomic_compare_exchange_weak_explicit(&arena->first_free, &hint, chunk_index,
                                                  memory_order_relaxed, memory_order_relaxed)) {}
}

static void arena_free_range(struct arena *arena, size_t slice, size_t count)
{
    while (count > 0) {
        size_t covered;
        uint64_t bits = chunk_bits(slice, count, &covered);
        arena_free_bits(arena, slice / CHUNK_SLICES, bits);
        slice += covered;
        count -= covered;
    }
}

static bool arena_has_states(const struct arena *arena, size_t slice)
{
    const struct state *first = &arena->states[slice * STATES_OF_SLICE];
    for (size_t i = 0; i < STATES_OF_SLICE; i++) {
        if (!state_is(&first[i], STATE_NONE)) return true;
    }
    return false;
}

// A slice that nobody else can claim, before its new owner touches it. Of its memory each OS page's
// first and last word are read.
static const char *arena_broken_slice(const struct arena *arena, size_t slice, bool is_clean)
{
    const uint64_t *words = (const uint64_t *)(const void *)arena_descriptor(arena, slice);
    for (size_t i = 0; i < DESCRIPTOR_BYTES / sizeof(*words); i++) {
        if (words[i] != 0) return "A2: a free slice has a descriptor in use";
    }
    if (CFG_STATES && arena_has_states(arena, slice)) return "A2: a free slice has a block";
    const uint64_t *memory = (const uint64_t *)arena_slice_start(arena, slice);
    size_t step = os_page_bytes() / sizeof(*memory);
    for (size_t i = 0; is_clean && i < SLICE_BYTES / sizeof(*memory); i += step) {
        if ((memory[i] | memory[i + step - 1]) != 0) return "A4: a clean slice is not zero";
    }
    return NULL;
}

const char *arena_broken_claim(const struct arena *arena, size_t slice, size_t count,
                               bool is_clean)
{
    enum { CHECKED_SLICES = 16 };
    const char *broken = NULL;
    for (size_t i = 0; i < count && i < CHECKED_SLICES && broken == NULL; i++) {
        broken = arena_broken_slice(arena, slice + i, is_clean);
    }
    return broken;
}

// All of [slice, slice+count) or nothing.
static bool arena_claim_range(struct arena *arena, size_t slice, size_t count, bool *is_zero)
{
    size_t dirty = 0;
    for (size_t done = 0; done < count;) {
        size_t covered;
        uint64_t bits = chunk_bits(slice + done, count - done, &covered);
        if (!chunk_claim(&arena->chunks[(slice + done) / CHUNK_SLICES], bits, &dirty)) {
            arena_free_range(arena, slice, done);
            return false;
        }
        done += covered;
    }
    *is_zero = dirty == 0;
    if (dirty != 0) atomic_fetch_sub_explicit(&arena->dirty_free, dirty, memory_order_relaxed);
    if (dirty != count) stats_add(STAT_committed, (int64_t)((count - dirty) << SLICE_SHIFT));
    check_rules(arena_broken_claim(arena, slice, count, *is_zero));
    return true;
}

enum {
    ARENA_SHORT_SLICES = 16, // runs up to this stay inside a chunk
    ARENA_SHORT_TRIES = 3    // who loses so many races goes on to later chunks
};

// A run inside one of the chunks [from, to).
static size_t arena_claim_short(struct arena *arena, size_t count, size_t from, size_t to,
                                bool *is_zero)
{
    for (unsigned lost = 0; from < to;) {
        size_t next = from, slice = search_short(arena, count, &next, to);
        if (slice != SIZE_MAX) {
            if (arena_claim_range(arena, slice, count, is_zero)) return slice;
            if (++lost < ARENA_SHORT_TRIES) continue;
        }
        from = next;
        lost = 0;
    }
    return SIZE_MAX;
}

// The first chunk with free slices moves up to where the search found some, so that the next one
// begins there. A slice that is freed below it at this instant lowers it again, or is found by the
// search from 0 that comes before growth.
static void arena_raise_first_free(struct arena *arena, size_t lowest)
{
    size_t chunks = window_mapped_chunks(arena), first = lowest;
    while (first < chunks &&
           atomic_load_explicit(&arena->chunks[first].free, memory_order_relaxed) == 0)
        first++;
    if (first == lowest) return;
    atomic_compare_exchange_strong_explicit(&arena->first_free, &lowest, first,
                                            memory_order_relaxed, memory_order_relaxed);
}

// At low addresses if there is room: so that memory in use lies together, and what was used before
// is used again before anything else is touched.
static size_t arena_claim_low(struct arena *arena, size_t count, bool *is_zero)
{
    size_t mapped = window_mapped_chunks(arena);
    size_t lowest = atomic_load_explicit(&arena->first_free, memory_order_relaxed);
    size_t slice = arena_claim_short(arena, count, lowest, mapped, is_zero);
    if (slice == SIZE_MAX && lowest != 0)
        slice = arena_claim_short(arena, count, 0, lowest, is_zero);
    if (slice != SIZE_MAX) arena_raise_first_free(arena, lowest);
    return slice;
}

static size_t arena_claim_long(struct arena *arena, size_t count, size_t alignment, bool *is_zero)
{
    size_t end = window_mapped_chunks(arena) * CHUNK_SLICES, from = 0;
    size_t slice = search_same(arena, count, alignment, end);
    if (slice == SIZE_MAX) slice = search_long(arena, count, alignment, &from, end);
    while (slice != SIZE_MAX && !arena_claim_range(arena, slice, count, is_zero))
        slice = search_long(arena, count, alignment, &from, end); // it was taken meanwhile
    return slice;
}

// What is already mapped. An arena that can grow rather does than that it looks for a short run
// across chunks; in others the runs lie close together.
static size_t arena_claim_mapped(struct arena *arena, size_t count, size_t alignment, bool *is_zero)
{
    bool can_grow = !arena->is_fixed && !options_is_on(OPTION_disallow_os_alloc);
    size_t most = can_grow ? ARENA_SHORT_SLICES : 1;
    if (count <= most && alignment <= SLICE_BYTES) return arena_claim_low(arena, count, is_zero);
    return arena_claim_long(arena, count, alignment, is_zero);
}

// --- growth --------------------------------------------------------------------------------------

// How many slices to map when `count` are needed: an eighth of what there is, in chunks.
static size_t arena_step_slices(const struct arena *arena, size_t count)
{
    size_t step = atomic_load_explicit(&arena->mapped, memory_order_relaxed) / 8;
    size_t max_step = arena_max_step_bytes >> SLICE_SHIFT;
    size_t asked = options_get_bytes(OPTION_arena_reserve) >> SLICE_SHIFT;
    if (asked > step) step = asked;
    if (step > max_step) step = max_step;
    if (step < count) step = count;
    return bits_align_up(step, CHUNK_SLICES);
}

// One try to map more. Where there is no memory the addresses can be used by a smaller request.
// *again: others hold them, the next ones may do.
static size_t arena_grow_once(struct arena *arena, size_t slices, bool *again)
{
    struct window_piece piece;
    *again = false;
    if (!window_take(arena, slices, CHUNK_BYTES, &piece)) return SIZE_MAX;

    void *start = arena_slice_start(arena, piece.first);
    if (!os_map_at(start, slices << SLICE_SHIFT, again)) {
        window_put_back(arena, &piece, *again);
        return SIZE_MAX;
    }
    window_set_kind(arena, piece.first, slices, CHUNK_USUAL);
    stats_add(STAT_reserved, (int64_t)(slices << SLICE_SHIFT));
    os_advise(start, slices << SLICE_SHIFT, (piece.first + slices) << SLICE_SHIFT);
    return piece.first;
}

// Of slices [first, first+slices) that nobody else knows yet: keeps `count`, the first aligned, and
// returns that one.
static size_t arena_keep(struct arena *arena, size_t first, size_t slices, size_t count,
                         size_t alignment)
{
    size_t start = window_align_slice(arena, first, alignment);
    arena_free_range(arena, first, start - first);
    arena_free_range(arena, start + count, first + slices - start - count);
    stats_add(STAT_committed, (int64_t)(count << SLICE_SHIFT));
    return start;
}

// Maps more memory and keeps `count` slices of it, the first aligned. Returns that slice, or
// SIZE_MAX.
static size_t arena_grow(struct arena *arena, size_t count, size_t alignment)
{
    enum { TRIES = 8 };
    size_t extra = alignment > CHUNK_BYTES ? alignment >> SLICE_SHIFT : CHUNK_SLICES;
    if (alignment <= SLICE_BYTES) extra = 0;
    if (arena->capacity == 0 || arena->is_fixed || count > arena->capacity - extra) return SIZE_MAX;

    size_t slices = arena_step_slices(arena, count + extra);
    for (int i = 0; i < TRIES; i++) {
        bool again;
        size_t first = arena_grow_once(arena, slices, &again);
        if (first != SIZE_MAX) return arena_keep(arena, first, slices, count, alignment);
        size_t least = bits_align_up(count + extra, CHUNK_SLICES);
        if (!again && slices == least) return SIZE_MAX;
        if (!again) slices = least;
    }
    return SIZE_MAX;
}

// --- arenas --------------------------------------------------------------------------------------

struct arena *arena_at(unsigned index)
{
    if (index == 0) return &arena_main;
    // acquire: pairs with the release in arena_publish
    return index < ARENA_MAX ? atomic_load_explicit(&arena_table[index], memory_order_acquire)
                             : NULL;
}

static bool arena_covers(const struct arena *arena, const void *address)
{
    uintptr_t offset = (uintptr_t)address - arena->base;
    uintptr_t span = atomic_load_explicit(&arena->span_units, memory_order_acquire);
    return offset >> GRANULE_SHIFT < span;
}

// Arena 0 comes last: another one may lie in its window, where it will find the addresses taken.
struct arena *arena_of(const void *address)
{
    for (unsigned i = 1; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) break;
        if (arena_covers(arena, address)) return arena;
    }
    return arena_covers(&arena_main, address) ? &arena_main : NULL;
}

struct state *arena_state_far(const void *address)
{
    const struct arena *arena = arena_of(address);
    if (arena == NULL || !bits_is_aligned(address, 1 << GRANULE_SHIFT)) return NULL;
    return arena_state_of(arena, address);
}

// Window of arena 0: twice the memory there is, unless address space is scarce.
static size_t arena_window_bytes(void)
{
    size_t window = arena_usual_window_bytes;
    while (window / 2 < os_info()->physical_bytes && window < SIZE_MAX / 4) window *= 2;
    while (window > arena_min_window_bytes && window > os_info()->address_limit_bytes) window /= 2;
    return window;
}

// Secure builds begin at a random chunk of a hole twice as large.
static uintptr_t arena_random_base(uintptr_t hole, size_t window)
{
    struct chacha chacha;
    random_init(&chacha);
    return hole + (size_t)chacha_below(&chacha, (uint32_t)(window / CHUNK_BYTES)) * CHUNK_BYTES;
}

// A hole is held until the side memory is reserved, which else lies at its beginning where the
// system gives low addresses first.
static bool arena_place(size_t window)
{
    size_t hole_bytes = (CFG_SECURE ? 2 * window : window) + CHUNK_BYTES;
    void *hole = os_reserve(hole_bytes, os_page_bytes());
    if (hole == NULL) return false;
    uintptr_t base = bits_align_up((uintptr_t)hole, CHUNK_BYTES);
    arena_main.base = CFG_SECURE ? arena_random_base(base, window) : base;
    bool is_placed = window_init(&arena_main, window >> SLICE_SHIFT);
    if (is_placed) stats_add(STAT_arenas, 1);
    os_release(hole, hole_bytes);
    return is_placed;
}

bool arena_init(void)
{
    size_t window = arena_window_bytes();
    while (window >= arena_min_window_bytes && !arena_place(window)) window /= 2;
    return window >= arena_min_window_bytes;
}

bool arena_is_pinned(const struct arena *arena, const void *start, size_t count)
{
    size_t first = arena_slice_of(arena, start);
    size_t last = (first + count - 1) / CHUNK_SLICES;
    for (size_t i = first / CHUNK_SLICES; i <= last; i++) {
        if (atomic_load_explicit(&arena->chunks[i].kind, memory_order_relaxed) == CHUNK_PINNED)
            return true;
    }
    return false;
}

static struct arena *arena_publish(struct arena *arena)
{
    for (unsigned i = 1; i < ARENA_MAX; i++) {
        struct arena *none = NULL;
        // release: pairs with the acquire in arena_at
        if (atomic_compare_exchange_strong_explicit(&arena_table[i], &none, arena,
                                                    memory_order_release, memory_order_relaxed)) {
            stats_add(STAT_arenas, 1);
            return arena;
        }
    }
    return NULL;
}

// An arena of which no slice is free yet: whoever makes it is the first who can take any.
static cold struct arena *arena_make(void *start, size_t bytes, unsigned flags)
{
    uintptr_t base = bits_align_up((uintptr_t)start, SLICE_BYTES);
    if (bytes < base - (uintptr_t)start + SLICE_BYTES) return NULL;
    size_t slices = (bytes - (base - (uintptr_t)start)) >> SLICE_SHIFT;

    struct arena *arena = (struct arena *)os_map(
        bits_align_up(sizeof(struct arena), os_page_bytes()), os_page_bytes());
    if (arena == NULL) return NULL;
    struct window_piece all;
    arena->base = base;
    arena->is_fixed = true;
    arena->is_exclusive = (flags & ARENA_EXCLUSIVE) != 0;
    arena->is_ours = (flags & ARENA_OURS) != 0;
    bool is_zero = (flags & ARENA_ZERO) != 0;
    if (window_init(arena, slices)) {
        if (window_take(arena, slices, SLICE_BYTES, &all)) {
            for (size_t i = 0; !is_zero && i < window_mapped_chunks(arena); i++)
                arena->chunks[i].dirty = ~UINT64_C(0);
            if ((flags & ARENA_PINNED) != 0) window_set_kind(arena, 0, slices, CHUNK_PINNED);
            if (!is_zero) arena->dirty_free = slices;
            if (arena_publish(arena) != NULL) {
                stats_add(STAT_reserved, (int64_t)(slices << SLICE_SHIFT));
                if (!is_zero) stats_add(STAT_committed, (int64_t)(slices << SLICE_SHIFT));
                return arena;
            }
            window_put_back(arena, &all, false);
        }
        os_release(arena->side, arena->side_bytes);
    }
    os_release(arena, bits_align_up(sizeof(struct arena), os_page_bytes()));
    return NULL;
}

struct arena *arena_add(void *start, size_t bytes, unsigned flags)
{
    struct arena *arena = arena_make(start, bytes, flags);
    if (arena != NULL) arena_free_range(arena, 0, arena->capacity);
    return arena;
}

// A piece of arena 0's window of large OS pages.
static cold bool arena_grow_large(size_t bytes, size_t page_bytes, int numa_node)
{
    struct window_piece piece;
    if (!window_take(&arena_main, bytes >> SLICE_SHIFT, page_bytes, &piece)) return false;
    void *start = arena_slice_start(&arena_main, piece.first);
    bool taken;
    if (os_map_large(start, bytes, page_bytes, numa_node, &taken) == NULL) {
        window_put_back(&arena_main, &piece, taken);
        return false;
    }
    stats_add(STAT_reserved, (int64_t)bytes);
    window_set_kind(&arena_main, piece.first, piece.slices, CHUNK_PINNED);
    arena_free_range(&arena_main, piece.first, piece.slices);
    return true;
}

cold bool arena_add_large(size_t bytes, size_t page_bytes, int numa_node)
{
    bytes = bits_align_up(bytes, page_bytes > CHUNK_BYTES ? page_bytes : CHUNK_BYTES);
    if (arena_grow_large(bytes, page_bytes, numa_node)) return true;
    bool taken;
    void *start = os_map_large(NULL, bytes, page_bytes, numa_node, &taken);
    if (start == NULL) return false;
    if (arena_add(start, bytes, ARENA_ZERO | ARENA_PINNED | ARENA_OURS) != NULL) return true;
    os_release(start, bytes);
    return false;
}

// Growth by 2 MiB pages where MIMALLOC_LARGE_OS_PAGES asks for it. The first refusal ends the
// tries.
static bool arena_try_large(size_t slices)
{
    static ATOMIC(int) is_refused;
    const size_t step_bytes = (size_t)32 << 20;
    size_t page_bytes = os_info()->large_page_bytes, bytes = slices << SLICE_SHIFT;
    if (!options_is_on(OPTION_large_os_pages) || page_bytes == 0) return false;
    if (atomic_load_explicit(&is_refused, memory_order_relaxed) != 0) return false;
    if (arena_add_large(bytes > step_bytes ? bytes : step_bytes, page_bytes, -1)) return true;
    atomic_store_explicit(&is_refused, 1, memory_order_relaxed);
    report_verbose_later("large OS pages are not available; going on with small ones");
    return false;
}

static struct arena *arena_map_apart(size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t rounded = bits_align_up(bytes, CHUNK_BYTES);
    void *start = os_map(rounded, SLICE_BYTES);
    if (start == NULL) return NULL;
    os_advise(start, rounded, (size_t)stats_current(STAT_reserved) + rounded);
    struct arena *arena = arena_make(start, rounded, ARENA_ZERO | ARENA_OURS);
    if (arena == NULL) os_release(start, rounded);
    return arena;
}

struct arena *arena_add_mapped(size_t bytes)
{
    struct arena *arena = arena_map_apart(bytes);
    if (arena != NULL) arena_free_range(arena, 0, arena->capacity);
    return arena;
}

// Of one more arena, when arena 0 cannot grow: an eighth of what there is, or as little as will do.
static void *arena_claim_apart(size_t count, size_t alignment)
{
    size_t bytes = (count << SLICE_SHIFT) + (alignment > SLICE_BYTES ? alignment : 0);
    size_t step_bytes = (size_t)stats_current(STAT_reserved) / 8;
    struct arena *arena = NULL;
    if (step_bytes > arena_max_step_bytes) step_bytes = arena_max_step_bytes;
    if (step_bytes > bytes) arena = arena_map_apart(step_bytes);
    if (arena == NULL) arena = arena_map_apart(bytes);
    if (arena == NULL) return NULL;
    return arena_slice_start(arena, arena_keep(arena, 0, arena->capacity, count, alignment));
}

bool arena_reserve(size_t bytes)
{
    bool again;
    if (bytes > SIZE_MAX / 2) return false;
    size_t slices = bits_align_up(bytes, CHUNK_BYTES) >> SLICE_SHIFT;
    size_t first = arena_grow_once(&arena_main, slices, &again);
    if (first == SIZE_MAX) return arena_add_mapped(bytes) != NULL;
    arena_free_range(&arena_main, first, slices);
    return true;
}

void arena_end_reservations(void)
{
    atomic_store_explicit(&arena_has_reserved, true, memory_order_relaxed);
}

// What options ask for at the start is reserved by our constructor, and those of other libraries
// may run first: until then disallow_os_alloc would leave them nothing.
static bool arena_may_map(void)
{
    if (!options_is_on(OPTION_disallow_os_alloc)) return true;
    return !atomic_load_explicit(&arena_has_reserved, memory_order_relaxed) &&
           (options_get(OPTION_reserve_os_memory) > 0 ||
            options_get(OPTION_reserve_huge_os_pages) > 0);
}

// Every other arena in turn. Returns the memory or NULL.
static void *arena_claim_elsewhere(size_t count, size_t alignment, bool *is_zero)
{
    for (unsigned i = 1; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) return NULL;
        if (arena->is_exclusive) continue;
        size_t slice = arena_claim_mapped(arena, count, alignment, is_zero);
        if (slice != SIZE_MAX) return arena_slice_start(arena, slice);
    }
    return NULL;
}

static void *arena_claim_anywhere(size_t count, size_t alignment, bool *is_zero)
{
    size_t slice = arena_claim_mapped(&arena_main, count, alignment, is_zero);
    if (slice == SIZE_MAX) {
        // memory handed over by the user or reserved on request is used before more is mapped
        void *elsewhere = arena_claim_elsewhere(count, alignment, is_zero);
        if (elsewhere != NULL) return elsewhere;
        if (arena_may_map() && arena_try_large(count))
            slice = arena_claim_mapped(&arena_main, count, alignment, is_zero);
    }
    if (slice == SIZE_MAX && arena_may_map()) {
        *is_zero = true;
        slice = arena_grow(&arena_main, count, alignment);
        if (slice == SIZE_MAX) {
            void *apart = arena_claim_apart(count, alignment);
            if (apart != NULL) return apart;
        }
    }
    // what was left alone as long as arena 0 could grow: a short run across chunks
    if (slice == SIZE_MAX) slice = arena_claim_long(&arena_main, count, alignment, is_zero);
    return slice == SIZE_MAX ? NULL : arena_slice_start(&arena_main, slice);
}

void arena_release(void *start, size_t count, bool touched)
{
    struct arena *arena = arena_of(start);
    check(arena != NULL);
    size_t slice = arena_slice_of(arena, start);
    bool is_kept = search_keeps(arena, count);
    for (size_t done = 0; done < count;) {
        size_t covered;
        uint64_t bits = chunk_bits(slice + done, count - done, &covered);
        struct chunk *chunk = &arena->chunks[(slice + done) / CHUNK_SLICES];
        chunk_change(&chunk->dirty, bits, touched);
        chunk_change(&chunk->kept, bits, is_kept);
        done += covered;
    }
    if (touched) atomic_fetch_add_explicit(&arena->dirty_free, count, memory_order_relaxed);
    else stats_remove(STAT_committed, (int64_t)(count << SLICE_SHIFT));
    arena_free_range(arena, slice, count);
}

// What is dirty is what was.
void arena_unclaim(void *start, size_t count)
{
    struct arena *arena = arena_of(start);
    size_t slice = arena_slice_of(arena, start);
    size_t dirty = chunk_count_dirty(arena->chunks, slice, count);
    if (dirty != 0) atomic_fetch_add_explicit(&arena->dirty_free, dirty, memory_order_relaxed);
    if (dirty != count) stats_remove(STAT_committed, (int64_t)((count - dirty) << SLICE_SHIFT));
    arena_free_range(arena, slice, count);
}

// What would go above the hard limit goes back at once.
static bool arena_is_allowed(void *start, size_t count)
{
    if (!limit_is_exceeded(OPTION_memory_limit_hard)) return true;
    arena_unclaim(start, count);
    return false;
}

// Addresses are not mapped for what could never be handed out.
static bool arena_is_possible(size_t count)
{
    return !options_is_on(OPTION_memory_limit_hard) ||
           !limit_is_below(OPTION_memory_limit_hard, (int64_t)(count << SLICE_SHIFT));
}

void *arena_claim(size_t count, size_t alignment, bool *is_zero)
{
    if (unlikely(!arena_is_possible(count))) return NULL;
    void *start = arena_claim_anywhere(count, alignment, is_zero);
    return start != NULL && arena_is_allowed(start, count) ? start : NULL;
}

bool arena_claim_at(struct arena *arena, void *start, size_t count, bool *is_zero)
{
    size_t slice = arena_slice_of(arena, start), end = window_mapped_chunks(arena) * CHUNK_SLICES;
    if (slice > end || count > end - slice) return false;
    return search_free_run(arena, slice, count, slice + count) == count &&
           arena_claim_range(arena, slice, count, is_zero) &&
           arena_is_allowed(start, count);
}

void *arena_claim_again(size_t slice, bool *is_zero)
{
    const struct chunk *chunk = &arena_main.chunks[slice / CHUNK_SLICES];
    uint64_t dirty = atomic_load_explicit(&chunk->dirty, memory_order_relaxed);
    if ((dirty >> slice % CHUNK_SLICES & 1) == 0) return NULL;
    void *start = arena_slice_start(&arena_main, slice);
    return arena_claim_at(&arena_main, start, 1, is_zero) ? start : NULL;
}

// --- rules ---------------------------------------------------------------------------------------

const char *arena_broken_rule(const struct arena *arena)
{
    const char *broken = window_broken_rule(arena);
    size_t mapped = atomic_load_explicit(&arena->mapped, memory_order_acquire);
    for (size_t slice = 0; slice < mapped && broken == NULL; slice++) {
        const struct chunk *chunk = &arena->chunks[slice / CHUNK_SLICES];
        uint64_t bit = UINT64_C(1) << (slice % CHUNK_SLICES);
        if ((atomic_load_explicit(&chunk->free, memory_order_acquire) & bit) == 0) continue;
        bool is_clean = (atomic_load_explicit(&chunk->dirty, memory_order_relaxed) & bit) == 0;
        if (is_clean && (atomic_load_explicit(&chunk->aging, memory_order_relaxed) & bit) != 0)
            broken = "A3: a clean slice grows old";
        else broken = arena_broken_slice(arena, slice, is_clean);
    }
    return broken;
}
