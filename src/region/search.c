#include "region/search.h"

enum {
    SEARCH_LONG_SLICES = CHUNK_SLICES,
    SEARCH_CHUNKS = 32 // with free slices: so far for those that are not kept
};

// Threads may lose each other's steps: what is lost is a hint.
void search_note_claim(struct arena *arena, size_t count)
{
    if (count < SEARCH_LONG_SLICES || count > UINT32_MAX) return;
    uint32_t turn = atomic_load_explicit(&arena->long_run_count, memory_order_relaxed);
    atomic_store_explicit(&arena->long_runs[turn % WINDOW_LONG_RUNS], (uint32_t)count,
                          memory_order_relaxed);
    atomic_store_explicit(&arena->long_run_count, turn + 1, memory_order_relaxed);
}

bool search_comes_again(const struct arena *arena, size_t count)
{
    unsigned times = 0;
    if (count < SEARCH_LONG_SLICES) return false;
    for (unsigned i = 0; i < WINDOW_LONG_RUNS; i++)
        times += atomic_load_explicit(&arena->long_runs[i], memory_order_relaxed) == count;
    return times > 1;
}

size_t search_short(const struct arena *arena, size_t count, size_t *from, size_t to)
{
    size_t among_kept = SIZE_MAX, index = *from;
    for (unsigned looks = 0; index < to && looks < SEARCH_CHUNKS; index++) {
        const struct chunk *chunk = &arena->chunks[index];
        uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed);
        if (free == 0) continue;
        looks++;
        uint64_t kept = chunk_kept(chunk);
        uint64_t starts = chunk_run_starts(free & ~kept, (unsigned)count);
        if (starts != 0) {
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
