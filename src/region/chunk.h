/* chunk.h: 64 slices of an arena: a bit for each in a few words.
 *
 * Claiming a slice is clearing its free bit by compare-and-swap; setting it again gives the slice
 * back. All orders that make a slice pass from one thread to the next are here and in the release
 * of arena_free_bits, which alone sets free bits.
 */
#ifndef REGION_CHUNK_H
#define REGION_CHUNK_H
#include "base/base.h"

enum {
    SLICE_SHIFT       = 16,
    SLICE_BYTES       = 1 << SLICE_SHIFT,
    CHUNK_SLICES      = 64,
    CHUNK_BYTES       = CHUNK_SLICES * SLICE_BYTES
};

enum chunk_kind {
    CHUNK_USUAL,
    CHUNK_PINNED, // of large OS pages: it can be neither purged nor moved
    CHUNK_ABSENT  // its addresses are not ours: taken by others, or mapping failed
};

// A cache line: who works in one chunk does not disturb those in the next.
struct chunk {
    on_cache_line ATOMIC(uint64_t) free; // [any] 1: nobody's
    ATOMIC(uint64_t) dirty; // [any] 1: may hold something else than zeroes
    ATOMIC(uint64_t) aging; // [any] 1: was free and dirty at the last purge round
    // [any] 1: free and dirty since the OS was told to take it back when it wants to
    ATOMIC(uint64_t) advised;
    // [any] 1: kept for the next large block as long as it is free and dirty; search.h
    ATOMIC(uint64_t) kept;
    ATOMIC(uint64_t) kind;  // [any] enum chunk_kind
};
static_assert(sizeof(struct chunk) == 64, "a cache line");

// The fewest slices that hold so many bytes.
static inline size_t chunk_slices_for(size_t bytes)
{
    return (bytes + SLICE_BYTES - 1) >> SLICE_SHIFT;
}

// Sets or clears `bits`, of slices of the caller's, in a word of a chunk. As a rule they are so
// already, and all threads write there: so they are looked at first.
static inline void chunk_change(ATOMIC(uint64_t) *word, uint64_t bits, bool is_set)
{
    uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
    if (is_set && (now & bits) != bits)
        atomic_fetch_or_explicit(word, bits, memory_order_relaxed);
    else if (!is_set && (now & bits) != 0)
        atomic_fetch_and_explicit(word, ~bits, memory_order_relaxed);
}

// Takes `bits` if all are free; adds the dirty ones among them to *dirty_count.
static inline bool chunk_claim(struct chunk *chunk, uint64_t bits, size_t *dirty_count)
{
    uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed);
    // acquire: pairs with the release of whoever set them, so that the slices' last user is done
    // with them
    do {
        if ((free & bits) != bits) return false;
    } while (!atomic_compare_exchange_weak_explicit(&chunk->free, &free, free & ~bits,
                                                    memory_order_acquire, memory_order_relaxed));
    chunk_change(&chunk->aging, bits, false); // reuse makes it young again (A3)
    chunk_change(&chunk->advised, bits, false);
    *dirty_count +=
        bits_popcount64(atomic_load_explicit(&chunk->dirty, memory_order_relaxed) & bits);
    return true;
}

// Those that are kept if they are free.
static inline uint64_t chunk_kept(const struct chunk *chunk)
{
    uint64_t kept = atomic_load_explicit(&chunk->kept, memory_order_relaxed);
    return kept == 0 ? 0 : kept & atomic_load_explicit(&chunk->dirty, memory_order_relaxed);
}

// The part of [slice, slice+count) that lies in the chunk of `slice`.
static inline uint64_t chunk_bits(size_t slice, size_t count, size_t *covered)
{
    unsigned first = (unsigned)(slice % CHUNK_SLICES);
    size_t room = CHUNK_SLICES - first;
    *covered = count < room ? count : room;
    return bits_ones((unsigned)*covered) << first;
}

// How many of the slices, which the caller has claimed, were used before, and not purged since.
static inline size_t chunk_count_dirty(const struct chunk *chunks, size_t slice, size_t count)
{
    size_t dirty = 0;
    for (size_t done = 0, covered; done < count; done += covered) {
        uint64_t bits = chunk_bits(slice + done, count - done, &covered);
        const struct chunk *chunk = &chunks[(slice + done) / CHUNK_SLICES];
        dirty += bits_popcount64(atomic_load_explicit(&chunk->dirty, memory_order_relaxed) & bits);
    }
    return dirty;
}

// Bits at which `count` consecutive ones of `word` begin, 1 <= count <= 64.
static inline uint64_t chunk_run_starts(uint64_t word, unsigned count)
{
    unsigned have = 1;
    while (have < count && word != 0) {
        unsigned shift = count - have < have ? count - have : have;
        word &= word >> shift;
        have += shift;
    }
    return word;
}

#endif
