#include "region/window.h"
#include "core/stats.h"
#include "os/os.h"

// Where the parts lie in the side memory of an arena of `capacity` slices. Guards: the first and
// the last OS page, and one between parts (they are never opened).
struct window_layout { size_t chunks, marks, states, descriptors, end; };

// what the states of a slice take
static const size_t window_state_bytes =
    CFG_STATES ? STATES_OF_SLICE * sizeof(struct state) : 0;

static struct window_layout window_lay_out(size_t capacity)
{
    size_t os_page = os_page_bytes();
    size_t chunk_count = (capacity + CHUNK_SLICES - 1) / CHUNK_SLICES;
    size_t state_bytes = chunk_count * CHUNK_SLICES * window_state_bytes;
    struct window_layout layout;
    layout.chunks = os_page;
    layout.marks =
        layout.chunks + bits_align_up(chunk_count * sizeof(struct chunk), os_page) + os_page;
    layout.states =
        layout.marks + bits_align_up(chunk_count * sizeof(struct marks), os_page) + os_page;
    layout.descriptors = layout.states + bits_align_up(state_bytes, os_page) + os_page;
    layout.end = layout.descriptors +
                 bits_align_up(chunk_count * CHUNK_SLICES * DESCRIPTOR_BYTES, os_page) + os_page;
    return layout;
}

size_t window_bytes_per_slice(void)
{
    size_t chunk_bytes = sizeof(struct chunk) + sizeof(struct marks);
    return DESCRIPTOR_BYTES + window_state_bytes + chunk_bytes / CHUNK_SLICES;
}

cold bool window_init(struct arena *arena, size_t capacity)
{
    struct window_layout layout = window_lay_out(capacity);
    char *side = (char *)os_reserve(layout.end, os_page_bytes());
    if (side == NULL) return false;

    arena->side = side;
    arena->side_bytes = layout.end;
    arena->chunks = (struct chunk *)(void *)(side + layout.chunks);
    arena->marks = (struct marks *)(void *)(side + layout.marks);
    arena->states = CFG_STATES ? (struct state *)(void *)(side + layout.states) : NULL;
    arena->descriptors = side + layout.descriptors;
    arena->capacity = capacity;
    return true;
}

static bool window_open_part(void *part, size_t item_bytes, size_t from, size_t to)
{
    uintptr_t start = bits_align_down((uintptr_t)part + from * item_bytes, os_page_bytes());
    uintptr_t end = bits_align_up((uintptr_t)part + to * item_bytes, os_page_bytes());
    return os_open((void *)start, end - start);
}

// Makes everything about the slices below `slices` readable. Threads that do this at the same time
// open the same ranges, each from the present edge on, so that the edge may move whoever is first.
static bool window_open(struct arena *arena, size_t slices)
{
    size_t open = atomic_load_explicit(&arena->span_units, memory_order_acquire) >>
                  (SLICE_SHIFT - GRANULE_SHIFT);
    if (slices <= open) return true;

    size_t step = (size_t)CHUNK_SLICES * 8; // opens in steps of 32 MiB of blocks, to save calls
    size_t edge = bits_align_up(slices, step) < arena->capacity ? bits_align_up(slices, step)
                                                                : arena->capacity;
    size_t from = open / CHUNK_SLICES, to = (edge + CHUNK_SLICES - 1) / CHUNK_SLICES;
    size_t state_bytes = CHUNK_SLICES * window_state_bytes;
    if (!window_open_part(arena->chunks, sizeof(struct chunk), from, to)) return false;
    if (!window_open_part(arena->marks, sizeof(struct marks), from, to)) return false;
    if (CFG_STATES && !window_open_part(arena->states, state_bytes, from, to)) return false;
    if (!window_open_part(arena->descriptors, DESCRIPTOR_BYTES * (size_t)CHUNK_SLICES, from, to))
        return false;

    uintptr_t seen = open << (SLICE_SHIFT - GRANULE_SHIFT);
    uintptr_t units = edge << (SLICE_SHIFT - GRANULE_SHIFT);
    // release: what was opened is open for whoever reads the new edge
    while (seen < units &&
           !atomic_compare_exchange_weak_explicit(&arena->span_units, &seen, units,
                                                  memory_order_release, memory_order_relaxed)) {}
    return true;
}

size_t window_align_slice(const struct arena *arena, size_t from, size_t alignment)
{
    uintptr_t address = bits_align_up(arena->base + (from << SLICE_SHIFT), alignment);
    return (address - arena->base) >> SLICE_SHIFT;
}

void window_set_kind(struct arena *arena, size_t first, size_t slices, enum chunk_kind kind)
{
    size_t end = (first + slices + CHUNK_SLICES - 1) / CHUNK_SLICES;
    for (size_t i = first / CHUNK_SLICES; i < end; i++) {
        atomic_store_explicit(&arena->chunks[i].kind, (uint64_t)kind, memory_order_relaxed);
    }
}

const char *window_broken_rule(const struct arena *arena)
{
    // in this order: a thread that takes more at this moment moves the span first. acquire: pairs
    // with window_take
    size_t mapped = atomic_load_explicit(&arena->mapped, memory_order_acquire);
    size_t span = atomic_load_explicit(&arena->span_units, memory_order_acquire) >>
                  (SLICE_SHIFT - GRANULE_SHIFT);
    if (mapped > span || span > arena->capacity)
        return "A1: more slices are mapped than have descriptors";
    if (arena->capacity == 0) return NULL; // not ready

    struct window_layout layout = window_lay_out(arena->capacity);
    const char *side = (const char *)arena->side;
    if (arena->descriptors != side + layout.descriptors) return "A5: the descriptors have moved";
    if ((const char *)arena->chunks != side + layout.chunks ||
        (const char *)arena->marks != side + layout.marks ||
        (CFG_STATES && (const char *)arena->states != side + layout.states) ||
        arena->side_bytes != layout.end)
        return "W1: a part of the side memory is not in its place";
    return NULL;
}

cold bool window_take(struct arena *arena, size_t slices, size_t alignment,
                      struct window_piece *piece)
{
    size_t before = atomic_load_explicit(&arena->mapped, memory_order_relaxed), first;
    // acq_rel: pairs with window_mapped_chunks, whose caller then reads chunk records
    do {
        first = window_align_slice(arena, before, alignment);
        if (slices > arena->capacity || first > arena->capacity - slices) return false;
        if (!window_open(arena, first + slices)) return false;
    } while (!atomic_compare_exchange_weak_explicit(&arena->mapped, &before, first + slices,
                                                    memory_order_acq_rel, memory_order_relaxed));
    stats_add(STAT_metadata, (int64_t)(slices * window_bytes_per_slice()));
    window_set_kind(arena, before, first - before, CHUNK_ABSENT);
    check_rules(window_broken_rule(arena));
    piece->from = before;
    piece->first = first;
    piece->slices = slices;
    return true;
}

void window_put_back(struct arena *arena, const struct window_piece *piece, bool is_taken)
{
    size_t end = piece->first + piece->slices;
    window_set_kind(arena, piece->first, piece->slices, CHUNK_ABSENT); // for as long as it lasts
    stats_remove(STAT_metadata, (int64_t)(piece->slices * window_bytes_per_slice()));
    if (is_taken) return;
    // release: pairs with window_take, whose kind is to come after ours
    ignore_result(atomic_compare_exchange_strong_explicit(
        &arena->mapped, &end, piece->from, memory_order_release, memory_order_relaxed));
}
