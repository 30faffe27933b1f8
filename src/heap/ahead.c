#include "heap/ahead.h"
#include "core/options.h"
#include "region/arena.h"
#include "region/limit.h"
#include "region/purger.h"

// Others that need memory could not get at them.
static bool ahead_is_wise(const struct arena *arena)
{
    return !arena->is_fixed && !options_is_on(OPTION_memory_limit_hard) &&
           !options_is_on(OPTION_disallow_os_alloc) && !limit_wants_memory();
}

// How many slices behind this one, of its chunk, are free and not kept for a large block.
static uint32_t ahead_free_behind(const struct arena *arena, size_t slice)
{
    const struct chunk *chunk = &arena->chunks[slice / CHUNK_SLICES];
    uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed) & ~chunk_kept(chunk);
    // shifted twice, for the slice may be the last one
    return bits_trailing_ones(free >> slice % CHUNK_SLICES >> 1);
}

static void ahead_extend(struct ahead *ahead, char *memory)
{
    struct arena *arena = arena_of(memory);
    size_t slice = arena_slice_of(arena, memory);
    uint32_t count = ahead->claimed / 2, most = ahead_free_behind(arena, slice);
    bool is_zero; // each slice is looked at when it is taken
    if (count > AHEAD_MOST - 1) count = AHEAD_MOST - 1;
    if (count > most) count = most;
    if (count == 0 || !ahead_is_wise(arena)) return;
    char *start = memory + SLICE_BYTES;
    if (!arena_claim_at(arena, start, count, &is_zero)) return;
    ahead->start = start;
    ahead->slices = count;
    ahead->claimed += count;
}

void *ahead_take(struct ahead *ahead, bool *is_zero)
{
    if (ahead->slices == 0) {
        char *memory = (char *)arena_claim(1, SLICE_BYTES, is_zero);
        if (memory == NULL) return NULL;
        // still 0, unless an mmap of the program's own allocated in this heap
        if (ahead->slices == 0) ahead_extend(ahead, memory);
        ahead->claimed++;
        return memory;
    }
    void *memory = ahead->start;
    const struct arena *arena = arena_of(memory);
    *is_zero = chunk_count_dirty(arena->chunks, arena_slice_of(arena, memory), 1) == 0;
    ahead->start += SLICE_BYTES;
    ahead->slices--;
    return memory;
}

void ahead_return(struct ahead *ahead)
{
    if (ahead->slices == 0) return;
    arena_unclaim(ahead->start, ahead->slices);
    ahead->slices = 0;
    purger_consider();
}

const char *ahead_broken_rule(const struct ahead *ahead)
{
    for (uint32_t i = 0; i < ahead->slices; i++) {
        const char *start = ahead->start + (size_t)i * SLICE_BYTES;
        const struct arena *arena = arena_of(start);
        if (arena == NULL) return "H8: what was claimed ahead is no memory of ours";
        size_t slice = arena_slice_of(arena, start);
        const struct chunk *chunk = &arena->chunks[slice / CHUNK_SLICES];
        uint64_t free = atomic_load_explicit(&chunk->free, memory_order_relaxed);
        if ((free >> slice % CHUNK_SLICES & 1) != 0) return "H8: what was claimed ahead is free";
        if (arena_broken_claim(arena, slice, 1, false) != NULL)
            return "H8: what was claimed ahead is a page";
    }
    return NULL;
}
