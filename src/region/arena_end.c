#include "os/os.h"
#include "region/arena.h"

static bool arena_is_absent(const struct arena *arena, size_t chunk)
{
    return atomic_load_explicit(&arena->chunks[chunk].kind, memory_order_relaxed) == CHUNK_ABSENT;
}

// Neighbours in one call: an OS page of 1 GiB cannot be unmapped in part. What describes them last.
static void arena_unmap(struct arena *arena)
{
    size_t chunks = window_mapped_chunks(arena);
    for (size_t first = 0, end; first < chunks; first = end + 1) {
        for (end = first; end < chunks && !arena_is_absent(arena, end);) end++;
        size_t slices = arena->capacity - first * CHUNK_SLICES; // the last may be partial
        if (slices > (end - first) * CHUNK_SLICES) slices = (end - first) * CHUNK_SLICES;
        if (slices == 0) continue;
        os_release(arena_slice_start(arena, first * CHUNK_SLICES), slices << SLICE_SHIFT);
    }
    os_release(arena->side, arena->side_bytes);
}

void arena_unmap_all(void)
{
    arena_unmap(&arena_main);
    for (unsigned i = 1; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) break;
        if (!arena->is_ours) continue;
        arena_unmap(arena);
        os_release(arena, bits_align_up(sizeof(struct arena), os_page_bytes()));
    }
}
