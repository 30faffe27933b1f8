/* arena.h: windows of address space, cut into slices; which slice is free; which page an address
 * belongs to.
 *
 *   base                                     mapped        span            capacity
 *    |chunk 0 (64 slices)|chunk 1| ...         |             |               |      slices
 *    `------ memory, used or free ------------'`- not mapped-'
 *    `------ descriptors and chunk records can be read ------'
 *
 * Rules (see arena_broken_rule; what a stale reader meets, A5: test/model/test_pages.cpp):
 *   A1  mapped <= span <= capacity, and span never falls
 *   A2  a slice whose free bit is set belongs to nobody: its descriptor is blank (block_bytes 0,
 *       owner 0), and no block begins there (state.h)
 *   A3  a bit of `aging` implies that its slice was free and dirty at the last purge round or has
 *       been claimed since
 *   A4  a free slice that is not dirty reads as zeroes
 *   A5  descriptors never move and never become anything else: a stale reader finds a descriptor
 *
 * Who may do what: claiming a slice is clearing its free bit, by compare-and-swap; who cleared it
 * owns the slice, its descriptor and its memory until arena_release sets the bit again. No call
 * here waits for another thread.
 */
#ifndef REGION_ARENA_H
#define REGION_ARENA_H
#include "region/window.h"

enum { ARENA_MAX = 240 };

SHARED_DATA(struct arena arena_main); // arena 0; where nearly all memory is

// Makes arena 0 ready. false: no address space; then every claim fails.
INTERNAL bool arena_init(void);

// Takes `count` consecutive slices, the first at a multiple of `alignment` bytes (a power of two,
// at least SLICE_BYTES). *is_zero tells whether they read as zeroes. NULL when memory is exhausted.
INTERNAL void *arena_claim(size_t count, size_t alignment, bool *is_zero);
// Gives slices back. `touched` false: they still read as zeroes. Blanks nothing: descriptors are
// blank already (A2).
INTERNAL void arena_release(void *start, size_t count, bool touched);
// Takes a claim back: nobody has touched the memory since.
INTERNAL void arena_unclaim(void *start, size_t count);
// Sets the free bits of slices of one chunk whose other bits are as they shall be.
INTERNAL void arena_free_bits(struct arena *arena, size_t chunk_index, uint64_t bits);
// Takes the slices [start, start+count) of this arena if all are there and free: growth in place.
INTERNAL bool arena_claim_at(struct arena *arena, void *start, size_t count, bool *is_zero);

// The same for one slice of arena 0, by its number, and only if it holds something that was not
// given back to the OS: who had it last likely has it in its processor's cache.
INTERNAL void *arena_claim_again(size_t slice, bool *is_zero);

// Hands memory to the allocator for good: page-aligned pieces at both ends that fill no slice are
// left alone. NULL when it holds no slice, or the table is full.
enum arena_flags {
    ARENA_ZERO      = 1, // the memory reads as zeroes
    ARENA_PINNED    = 2, // it cannot be purged or moved (large OS pages)
    ARENA_OURS      = 8, // mapped by us, not handed over by the user
    ARENA_EXCLUSIVE = 4  // only for heaps that ask for it
};
INTERNAL struct arena *arena_add(void *start, size_t bytes, unsigned flags);
// Maps at least `bytes` more as an arena of its own.
INTERNAL struct arena *arena_add_mapped(size_t bytes);
// Maps at least `bytes` more: in arena 0 if that can be, where blocks are found faster than
// elsewhere. false: the system gives none.
INTERNAL must_use bool arena_reserve(size_t bytes);
// Now what options ask for is reserved: from here on disallow_os_alloc counts, which does at once
// where nothing is asked for.
INTERNAL void arena_end_reservations(void);

// Maps `bytes` made of large OS pages of `page_bytes`, in arena 0 if that can be. false: the system
// gives none.
INTERNAL bool arena_add_large(size_t bytes, size_t page_bytes, int numa_node);
// Large OS pages hold some of these slices: they can be neither purged nor moved.
INTERNAL bool arena_is_pinned(const struct arena *arena, const void *start, size_t count);

INTERNAL struct arena *arena_at(unsigned index); // NULL beyond the last
INTERNAL struct arena *arena_of(const void *address); // NULL when no arena covers the address
// At process exit, when asked for: no block may be used afterwards (arena_end.c).
INTERNAL void arena_unmap_all(void);
// NULL while all rules hold. O(memory). Only when no other thread is inside the allocator; whoever
// claims slices looks at A2 and A4 for them.
INTERNAL const char *arena_broken_rule(const struct arena *arena);
// The same for slices that were claimed and are not in use yet, of a long run for the first ones.
INTERNAL const char *arena_broken_claim(const struct arena *arena, size_t slice, size_t count,
                                        bool is_clean);

// How far into arena 0 an address lies, in granules; huge for addresses elsewhere and for those
// that are no multiple of 16: the rotation moves the low bits that must be 0 to the top, so that
// one compare refuses both.
static always_inline uintptr_t arena_units(const void *address)
{
    return bits_rotate_right((uintptr_t)address - arena_main.base, GRANULE_SHIFT);
}

// Whether arena 0 has a descriptor for them. Acquire would pair with the release in
// window_open; relaxed is enough: a pointer of ours came to this thread by some synchronisation
// that already ordered the opening before it.
static always_inline bool arena_has_units(uintptr_t units)
{
    return units < ATOMIC_FOLDED_LOAD(&arena_main.span_units);
}

static always_inline void *arena_descriptor_near(uintptr_t units)
{
    enum { SHIFT = SLICE_SHIFT - DESCRIPTOR_SHIFT - GRANULE_SHIFT };
    return arena_main.descriptors + (units >> SHIFT & ~(uintptr_t)(DESCRIPTOR_BYTES - 1));
}

static inline size_t arena_slice_of(const struct arena *arena, const void *address)
{
    return ((uintptr_t)address - arena->base) >> SLICE_SHIFT;
}

static inline void *arena_slice_start(const struct arena *arena, size_t slice)
{
    return (void *)(arena->base + (slice << SLICE_SHIFT));
}

static inline struct page *arena_descriptor(const struct arena *arena, size_t slice)
{
    return (struct page *)(void *)(arena->descriptors + (slice << DESCRIPTOR_SHIFT));
}

// --- states (debug and secure builds) ------------------------------------------------------------

static always_inline struct state *arena_state_near(uintptr_t units)
{
    return arena_main.states + units;
}

// The state of the granule of that arena that begins there.
static inline struct state *arena_state_of(const struct arena *arena, const void *address)
{
    return arena->states + (((uintptr_t)address - arena->base) >> GRANULE_SHIFT);
}

// NULL for addresses that are no arena's, and for those that are no multiple of 16.
INTERNAL struct state *arena_state_far(const void *address);

// The state of the granule that begins there. Not NULL for a block's address. Where another arena
// lies in the window of arena 0, that has no blocks.
static always_inline struct state *arena_state_at(const void *address)
{
    uintptr_t units = arena_units(address);
    if (likely(arena_has_units(units)) && likely(!state_is(arena_state_near(units), STATE_NONE)))
        return arena_state_near(units);
    return arena_state_far(address);
}

#endif
