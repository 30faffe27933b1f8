#include "region/batch.h"
#include "region/limit.h"
#include "region/search.h"

static void batch_release_part(struct batch_part *part)
{
    if (part->bits == 0) return;
    atomic_fetch_add_explicit(&part->arena->dirty_free, bits_popcount64(part->bits),
                              memory_order_relaxed);
    arena_free_bits(part->arena, part->chunk_index, part->bits);
    part->bits = 0;
}

void batch_release(struct batch *batch)
{
    for (unsigned i = 0; i < BATCH_CHUNKS; i++) batch_release_part(&batch->part[i]);
}

void batch_add(struct batch *batch, void *start, size_t count, bool touched)
{
    struct arena *arena = arena_of(start);
    size_t slice = arena_slice_of(arena, start), chunk_index = slice / CHUNK_SLICES, covered;
    uint64_t bits = chunk_bits(slice, count, &covered);
    bool is_short = covered == count && !search_keeps(arena, count);
    if (!touched || !is_short || limit_wants_memory()) {
        arena_release(start, count, touched);
        return;
    }
    struct batch_part *part = &batch->part[chunk_index % BATCH_CHUNKS];
    if (arena != part->arena || chunk_index != part->chunk_index) batch_release_part(part);
    part->arena = arena;
    part->chunk_index = chunk_index;
    part->bits |= bits;
    chunk_change(&arena->chunks[chunk_index].dirty, bits, true);
    chunk_change(&arena->chunks[chunk_index].kept, bits, false);
}
