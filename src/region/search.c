#include "region/search.h"

enum {
    SEARCH_LONG_SLICES = CHUNK_SLICES,
    SEARCH_CHUNKS = 32 // with free slices: so far for those that are not kept
};

// Threads may lose each other's steps here, and below: what is lost is a hint.
bool search_keeps(struct arena *arena, size_t count)
{
    if (count < SEARCH_LONG_SLICES) return false;
    atomic_store_explicit(&arena->spared, 0, memory_order_relaxed);
    return true;
}

size_t search_short(struct arena *arena, size_t count, size_t *from, size_t to)
{
    size_t among_kept = SIZE_MAX, index = *from;
    size_t spared = atomic_load_explicit(&arena->spared, memory_order_relaxed);
    for (unsigned looks = 0; index < to && looks < SEARCH_CHUNKS; index++) {
        const struct chunk *chunk = &arena->chunks[index];
        uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed);
        if (free == 0) continue;
        looks++;
        uint64_t kept = spared < SEARCH_SPARED_SLICES ? chunk_kept(chunk) : 0;
        uint64_t starts = chunk_run_starts(free & ~kept, (unsigned)count);
        if (starts != 0) {
            if (among_kept != SIZE_MAX)
                atomic_store_explicit(&arena->spared, spared + count, memory_order_relaxed);
            *from = index + 1;
            return index * CHUNK_SLICES + bits_lowest(starts);
        }
        if (kept == 0 || among_kept != SIZE_MAX) continue;
        starts = chunk_run_starts(free, (unsigned)count);
        if (starts != 0) among_kept = index * CHUNK_SLICES + bits_lowest(starts);
    }
    *from = index;
    return among_kept;
}

size_t search_free_run(const struct arena *arena, size_t slice, size_t enough, size_t end)
{
    size_t run = 0;
    if (slice >= end) return 0;
    if (enough > end - slice) enough = end - slice;
    while (run < enough) {
        const struct chunk *chunk = &arena->chunks[(slice + run) / CHUNK_SLICES];
        unsigned first = (unsigned)((slice + run) % CHUNK_SLICES);
        unsigned here =
            bits_trailing_ones(atomic_load_explicit(&chunk->free, memory_order_relaxed) >> first);
        run += here;
        if (here < CHUNK_SLICES - first) break;
    }
    return run < enough ? run : enough;
}

size_t search_next_free(const struct arena *arena, size_t slice, size_t end)
{
    while (slice < end) {
        uint64_t free =
            atomic_load_explicit(&arena->chunks[slice / CHUNK_SLICES].free, memory_order_relaxed);
        free >>= slice % CHUNK_SLICES;
        if (free != 0) return slice + bits_lowest(free);
        slice = bits_align_down(slice, CHUNK_SLICES) + CHUNK_SLICES;
    }
    return end;
}
