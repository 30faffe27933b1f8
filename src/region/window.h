/* window.h: the addresses of an arena and the memory that describes them.
 *
 * The side memory is reserved for the whole window at once and opened from the bottom up as the
 * window is used: what was never used costs addresses only
 *
 *   |guard| chunks |guard| marks |guard| states (debug, secure) |guard| descriptors |guard|
 *
 * Rules (see window_broken_rule; test_window.c reads all of it):
 *   W1  everything about the slices below `span` can be read, and `mapped` never passes it
 */
#ifndef REGION_WINDOW_H
#define REGION_WINDOW_H
#include "region/chunk.h"
#include "region/state.h"

enum {
    DESCRIPTOR_SHIFT  = 7,
    DESCRIPTOR_BYTES  = 1 << DESCRIPTOR_SHIFT,
    GRANULE_SHIFT     = 4,   // blocks start at multiples of 16 bytes
    STATES_OF_SLICE   = SLICE_BYTES >> GRANULE_SHIFT,
    MARK_KINDS        = 113 // sets of slices that the floor above keeps (one for each size class)
};

struct page; // a descriptor; this floor only knows its size and that a blank one is all zeroes

// [any] hints for the floor above; a stale bit does no harm
struct marks { ATOMIC(uint64_t) kind[MARK_KINDS]; };

struct arena {
    // Read for nearly each free, and hardly ever written:
    on_cache_line uintptr_t base; // [const] address of slice 0
    // [any] bytes with descriptors, in granules; 0 before the arena is ready
    ATOMIC(uintptr_t) span_units;
    char             *descriptors; // [const] DESCRIPTOR_BYTES for each slice
    struct chunk     *chunks;      // [const] one for each 64 slices
    struct marks     *marks;       // [const] one for each 64 slices
    struct state     *states;      // [const] STATES_OF_SLICE for each slice, or NULL
    size_t            capacity;    // [const] slices
    // [any] slices below this are mapped, or were found to be taken by others
    ATOMIC(size_t)    mapped;
    // Written with each page that comes or goes:
    on_cache_line ATOMIC(size_t) first_free; // [any] a hint: no chunk before had a free slice
    ATOMIC(size_t)    dirty_free;  // [any] slices that are free and dirty: is a purge worthwhile?
    // [purge.c's turn] chunk at which the running purge round goes on
    size_t            purge_cursor;
    // [any] a hint: slices that short runs took elsewhere since a long run was released; search.h
    ATOMIC(size_t)    spared;
    ATOMIC(uint32_t)  mark_count[MARK_KINDS]; // [any] marks set, about
    ATOMIC(uint32_t)  mark_hint[MARK_KINDS];  // [any] chunk of the latest mark
    // Hardly ever read:
    void             *side;        // [const] mapping that holds all of the above but this struct
    size_t            side_bytes;  // [const]
    bool              is_fixed;    // [const] it does not grow
    bool              is_ours;     // [const] mapped by us: unmapped at exit when that is asked for
    bool              is_exclusive;// [const] only for heaps that ask for it
};

// Reserves side memory for `capacity` slices; fills in the fields that depend on it. `base` is set.
INTERNAL must_use bool window_init(struct arena *arena, size_t capacity);
// What the side memory of a slice in use can cost: its descriptor, states, and share of a chunk.
INTERNAL size_t window_bytes_per_slice(void);
// acquire: pairs with window_take, so that the chunk records can be read
static inline size_t window_mapped_chunks(const struct arena *arena)
{
    size_t mapped = atomic_load_explicit(&arena->mapped, memory_order_acquire);
    return (mapped + CHUNK_SLICES - 1) / CHUNK_SLICES; // the last of a user's arena may be partial
}

// First slice >= from whose address is a multiple of alignment.
INTERNAL size_t window_align_slice(const struct arena *arena, size_t from, size_t alignment);
INTERNAL void window_set_kind(struct arena *arena, size_t first, size_t slices,
                              enum chunk_kind kind);
// A piece of the window that was taken: [first, first+slices). What was skipped for its alignment,
// [from, first), stays unused.
struct window_piece { size_t from, first, slices; };

// Takes the next `slices` of the window, aligned; false when it is used up.
INTERNAL must_use bool window_take(struct arena *arena, size_t slices, size_t alignment,
                                   struct window_piece *piece);
// Nothing was mapped there: these addresses, and the skipped ones, are the next to be taken, unless
// something of others' is there (is_taken), or others went on meanwhile; then they stay unused.
INTERNAL void window_put_back(struct arena *arena, const struct window_piece *piece, bool is_taken);
// NULL while W1 holds, and A1 and A5 (arena.h), also while other threads are at it. Reads the arena
// only, not its side memory.
INTERNAL const char *window_broken_rule(const struct arena *arena);

#endif
