#include "heap/ahead.h"
#include "region/arena.h"
#include "region/limit.h"

static bool ahead_claim(struct ahead *ahead, uint32_t count)
{
    bool is_zero; // each slice is looked at when it is taken
    ahead->start = (char *)arena_claim(count, SLICE_BYTES, &is_zero);
    if (ahead->start == NULL) return false;
    ahead->slices = count;
    ahead->claimed += count;
    return true;
}

void *ahead_take(struct ahead *ahead, bool *is_zero)
{
    if (ahead->slices == 0) {
        uint32_t count = limit_wants_memory() ? 1 : 1 + ahead->claimed / 2;
        if (count > AHEAD_MOST) count = AHEAD_MOST;
        if (!ahead_claim(ahead, count) && (count == 1 || !ahead_claim(ahead, 1))) return NULL;
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
    if (ahead->slices != 0) arena_unclaim(ahead->start, ahead->slices);
    ahead->slices = 0;
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
        const uint64_t *words = (const uint64_t *)(const void *)arena_descriptor(arena, slice);
        for (size_t word = 0; word < DESCRIPTOR_BYTES / sizeof(*words); word++) {
            if (words[word] != 0) return "H8: what was claimed ahead is a page";
        }
    }
    return NULL;
}
