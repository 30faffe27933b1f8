#include "region/search.h"

enum {
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

// A chunk's free slices, or those of them that were used before.
static uint64_t search_word(const struct arena *arena, size_t index, bool is_dirty)
{
    const struct chunk *chunk = &arena->chunks[index];
    uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed);
    return is_dirty ? free & atomic_load_explicit(&chunk->dirty, memory_order_relaxed) : free;
}

static size_t search_run(const struct arena *arena, size_t slice, size_t enough, size_t end,
                         bool is_dirty)
{
    size_t run = 0;
    if (slice >= end) return 0;
    if (enough > end - slice) enough = end - slice;
    while (run < enough) {
        uint64_t word = search_word(arena, (slice + run) / CHUNK_SLICES, is_dirty);
        unsigned first = (unsigned)((slice + run) % CHUNK_SLICES);
        unsigned here = bits_trailing_ones(word >> first);
        run += here;
        if (here < CHUNK_SLICES - first) break;
    }
    return run < enough ? run : enough;
}

static size_t search_next(const struct arena *arena, size_t slice, size_t end, bool is_dirty)
{
    while (slice < end) {
        uint64_t word = search_word(arena, slice / CHUNK_SLICES, is_dirty) >> slice % CHUNK_SLICES;
        if (word != 0) return slice + bits_lowest(word) < end ? slice + bits_lowest(word) : end;
        slice = bits_align_down(slice, CHUNK_SLICES) + CHUNK_SLICES;
    }
    return end;
}

size_t search_free_run(const struct arena *arena, size_t slice, size_t enough, size_t end)
{
    return search_run(arena, slice, enough, end, false);
}

// Only blocks of some length are worth it, and only where they go is up to us.
static bool search_is_choosy(size_t count, size_t alignment)
{
    return count >= SEARCH_LONG_SLICES && alignment <= SLICE_BYTES;
}

size_t search_same(const struct arena *arena, size_t count, size_t alignment, size_t end)
{
    if (!search_is_choosy(count, alignment) ||
        atomic_load_explicit(&arena->dirty_free, memory_order_relaxed) < count)
        return SIZE_MAX;
    size_t slice = atomic_load_explicit(&arena->first_free, memory_order_relaxed) * CHUNK_SLICES;
    if (slice < end && end - slice > SEARCH_SAME_CHUNKS * CHUNK_SLICES)
        end = slice + SEARCH_SAME_CHUNKS * CHUNK_SLICES;
    while ((slice = search_next(arena, slice, end, true)) < end) {
        size_t run = search_run(arena, slice, SIZE_MAX, end, true);
        if (run == count) return slice;
        slice += run == 0 ? 1 : run; // 0: taken meanwhile
    }
    return SIZE_MAX;
}

// Where in a free run with room for `count` slices so many begin of which most were used before.
static size_t search_used_part(const struct arena *arena, size_t slice, size_t count, size_t end)
{
    size_t first = search_next(arena, slice, slice + count, true);
    if (first == slice + count) return slice;
    size_t run = search_run(arena, first, count, end, false);
    return run < count - (first - slice) ? slice : first + run - count;
}

size_t search_long(const struct arena *arena, size_t count, size_t alignment, size_t *from,
                   size_t end)
{
    while ((*from = search_next(arena, *from, end, false)) < end) {
        size_t start = window_align_slice(arena, *from, alignment);
        size_t run = search_free_run(arena, start, count, end);
        bool is_found = run == count;
        if (is_found && search_is_choosy(count, alignment))
            start = search_used_part(arena, start, count, end);
        *from = start > *from ? start : *from + (run == 0 ? 1 : run);
        if (is_found) return start;
    }
    return SIZE_MAX;
}
