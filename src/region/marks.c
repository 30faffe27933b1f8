#include "region/marks.h"

void marks_set(struct arena *arena, size_t kind, size_t slice)
{
    uint64_t bit = UINT64_C(1) << (slice % CHUNK_SLICES);
    size_t chunk = slice / CHUNK_SLICES;
    // release: pairs with the acquire in marks_take, so that who takes a mark sees the page parked
    if ((atomic_fetch_or_explicit(&arena->marks[chunk].kind[kind], bit, memory_order_release) &
         bit) != 0)
        return;
    atomic_fetch_add_explicit(&arena->mark_count[kind], 1, memory_order_relaxed);
    atomic_store_explicit(&arena->mark_hint[kind], (uint32_t)chunk, memory_order_relaxed);
}

void marks_clear(struct arena *arena, size_t kind, size_t slice)
{
    uint64_t bit = UINT64_C(1) << (slice % CHUNK_SLICES);
    ATOMIC(uint64_t) *word = &arena->marks[slice / CHUNK_SLICES].kind[kind];
    if ((atomic_load_explicit(word, memory_order_relaxed) & bit) == 0) return;
    if ((atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed) & bit) == 0) return;
    atomic_fetch_sub_explicit(&arena->mark_count[kind], 1, memory_order_relaxed);
}

struct page *marks_take(struct arena *arena, size_t kind, size_t max_chunks)
{
    if (atomic_load_explicit(&arena->mark_count[kind], memory_order_relaxed) == 0) return NULL;
    size_t chunks = window_mapped_chunks(arena);
    size_t at = atomic_load_explicit(&arena->mark_hint[kind], memory_order_relaxed);
    for (size_t i = 0; i < max_chunks && i < chunks; i++, at++) {
        if (at >= chunks) at = 0;
        ATOMIC(uint64_t) *word = &arena->marks[at].kind[kind];
        uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
        if (bits == 0) continue;
        uint64_t bit = bits & (~bits + 1);
        // acquire: pairs with the release in marks_set
        if ((atomic_fetch_and_explicit(word, ~bit, memory_order_acquire) & bit) == 0) continue;
        atomic_fetch_sub_explicit(&arena->mark_count[kind], 1, memory_order_relaxed);
        atomic_store_explicit(&arena->mark_hint[kind], (uint32_t)at, memory_order_relaxed);
        return arena_descriptor(arena, at * CHUNK_SLICES + bits_lowest(bit));
    }
    atomic_store_explicit(&arena->mark_hint[kind], (uint32_t)(at < chunks ? at : 0),
                          memory_order_relaxed);
    return NULL;
}

const char *marks_broken_rule(const struct arena *arena)
{
    size_t chunks = window_mapped_chunks(arena);
    for (size_t kind = 0; kind < MARK_KINDS; kind++) {
        uint32_t count = 0;
        for (size_t i = 0; i < chunks; i++) {
            count += bits_popcount64(
                atomic_load_explicit(&arena->marks[i].kind[kind], memory_order_relaxed));
        }
        if (count != atomic_load_explicit(&arena->mark_count[kind], memory_order_relaxed))
            return "K1: marks are lost or miscounted";
    }
    return NULL;
}
