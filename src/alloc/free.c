#include "alloc/free.h"
#include "core/report.h"
#include "core/stats.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "page/retire.h"
#include "prim/prim.h"
#include "region/purger.h"

// --- validation ----------------------------------------------------------------------------------

// The start of the block that an address lies in.
static char *free_block_start(const struct page *page, const void *pointer)
{
    return (char *)page_block_at(page, page_index_of(page, pointer));
}

// A block may have been handed out with an offset into it (aligned allocation with an offset).
static bool free_may_be_interior(const struct page *page)
{
    return (page_owner(page) & OWNER_INTERIOR) != 0;
}

static cold void free_refuse(const struct page *page, const void *pointer, const char *call)
{
    enum fault fault = FAULT_FOREIGN;
    if (page != NULL) {
        fault = page_has_block_at(page, pointer) || free_may_be_interior(page) ? FAULT_DOUBLE_FREE
                                                                               : FAULT_INTERIOR;
    }
    report_fault(fault, call, pointer, page == NULL ? 0 : page->block_bytes);
}

// The start of the block that `pointer` stands for, or NULL when no block can begin there.
static char *free_start_of(const struct page *page, const void *pointer)
{
    if (likely(page_has_block_at(page, pointer))) return (char *)(uintptr_t)pointer;
    return free_may_be_interior(page) ? free_block_start(page, pointer) : NULL;
}

static cold void free_report_overflow(const struct page *page, const void *block)
{
    report_fault(FAULT_OVERFLOW, "free", block, page->block_bytes);
}

static void free_fill(const struct page *page, void *block)
{
    if (page->size_class < CLASS_COUNT) memset(block, FILL_FREED, page->block_bytes);
}

// Debug builds: the padding is as it was; then the block is filled.
static void free_close_block(struct page *page, char *block)
{
    if (!alloc_padding_is_intact(page, block)) free_report_overflow(page, block);
    size_t requested_bytes = block_requested_bytes(block, page->block_bytes);
    stats_block_removed(page->size_class, page->block_bytes, requested_bytes);
    free_fill(page, block);
}

// Where the state of a block is if a page begins at `start`. The page of a block that is in use
// stays what it is; any other may be gone, or be another one by now: then what is read of it need
// not fit together. Whatever it is, `state` lies among the states, and false means that there is
// no such block.
static always_inline bool free_state_at(const struct page *page, const char *start,
                                        const char *block, struct state *state)
{
    const struct arena *arena = arena_of(block);
    uintptr_t offset = (uintptr_t)block - (uintptr_t)start;
    uint64_t index = bits_multiply_wide(offset, page->reciprocal).high;
    if ((uintptr_t)start < arena->base || start > block || index > offset >> GRANULE_SHIFT)
        return false;
    *state = state_at(arena_states_of(arena, start), index);
    return true;
}

static bool free_state_of(const struct page *page, const char *block, struct state *state)
{
    return free_state_at(page, page->start, block, state);
}

static bool free_take(const struct page *page, const char *block, bool is_own)
{
    char *start = page->start;
    struct state state;
    if (!free_state_at(page, start, block, &state)) return false;
    if (is_own) return state_take_own(state);
    if (!state_take_from_others(state)) return false;
    // now that a block is marked its page stays: is it the block that is meant?
    if (page->start == start && page_has_block_at(page, block) &&
        page_index_of(page, block) == state.index)
        return true;
    state_unmark(state.states, state_mask(state));
    return false;
}

// Debug and secure builds. false: reported, and the pointer is ignored.
static bool free_validate(struct page *page, char *block, const void *pointer, bool is_own)
{
    if (unlikely(!free_take(page, block, is_own))) {
        free_refuse(page, pointer, "free");
        return false;
    }
    if (CFG_DEBUG >= 1) free_close_block(page, block);
    return true;
}

bool free_find(const void *pointer, const char *call, struct free_place *place)
{
    struct page *page = page_of(pointer);
    char *block = page == NULL ? NULL : free_start_of(page, pointer);
    bool is_valid = block != NULL;
    struct state state;
    if (CFG_STATES && is_valid)
        is_valid = free_state_of(page, block, &state) && state_is_in_use(state);
    if (unlikely(!is_valid)) {
        free_refuse(page, pointer, call);
        return false;
    }
    place->page = page;
    place->block = block;
    return true;
}

size_t free_usable_bytes(const struct free_place *place, const void *pointer)
{
    size_t bytes = place->page->block_bytes;
    if (CFG_PADDING) bytes = block_requested_bytes(place->block, bytes);
    return bytes - (size_t)((const char *)pointer - place->block);
}

// --- frees that are not the simple case ----------------------------------------------------------

// This thread's local heap that the page belongs to, or belonged to when it became full; NULL for
// others' pages.
static struct local_heap *free_own_part(struct local_heap *heap, uintptr_t owner)
{
    struct local_heap *named = page_named_by(owner);
    struct local_heap *main = heap->main; // NULL in a thread that has no heap
    if (main == NULL || named == main) return main;
    if (main->next_of_thread == NULL) return NULL; // the usual case: others' memory is not read
    // Local heaps stay local heaps, so this can be read whoever's it is; a part of this thread was
    // named so by this thread.
    bool is_own =
        named != NULL && atomic_load_explicit(&named->thread, memory_order_relaxed) == main;
    return is_own ? named : NULL;
}

// Whose ring and cache take what this thread frees: a thread that only frees has both, too. NULL
// when it has ended, or memory is exhausted.
static struct local_heap *free_ready_main(struct local_heap *heap)
{
    if (heap == &thread_empty_heap) heap = thread_ready(heap);
    return heap == NULL ? NULL : heap->main;
}

// Where malloc is not called any more, idle heaps are ended here, whose pages frees empty.
static void free_look_at_idle(struct local_heap *main)
{
    if (likely(!idle_has_any()) || !purge_has_turn(++main->free_turns)) return;
    idle_review(prim_clock_ms());
}

static no_inline void free_to_ring(struct local_heap *heap, struct page *page, struct block *block)
{
    struct local_heap *main = free_ready_main(heap);
    if (main == NULL) {
        retire_push(page, block, block, 1);
        return;
    }
    ring_put(main, page, block);
    free_look_at_idle(main);
}

static void free_to_others(struct local_heap *heap, struct page *page, struct block *block)
{
    if (likely(heap->main != NULL) && likely(ring_can_extend(heap->main, page)))
        ring_extend(heap->main, page, block);
    else free_to_ring(heap, page, block);
}

// A large block keeps PAGE_PINNED when its heap is deleted and its page parked: retire_push knows
// what to do with it in either state.
static void free_large(struct local_heap *part, struct page *page, char *block)
{
    if (part != NULL && part->is_pinned) {
        local_heap_free_large(part, page);
    } else if ((page->flags & PAGE_PINNED) != 0) {
        retire_push(page, (struct block *)(void *)block, (struct block *)(void *)block, 1);
    } else if (!retire_large(page)) {
        free_refuse(NULL, block, "free");
    }
}

// Own page that is full or has interior pointers, or is another heap's than the default one's.
// `owner` is as it was read once: without OWNER_FULL it is only there if this thread stored it;
// with it, it may be out of date: then the claim fails and the page is somebody else's.
static void free_to_part(struct local_heap *part, uintptr_t owner, struct page *page,
                         struct block *block)
{
    if ((owner & OWNER_FULL) != 0) {
        if (!local_heap_put_in_full(part, page, block)) free_to_others(part, page, block);
    } else if (page_put(page, block)) {
        local_heap_page_is_empty(part, page);
    }
}

// A block of a shared page.
static no_inline on_cache_line void free_to_cache(struct local_heap *heap, struct page *page,
                                                  struct block *block)
{
    struct local_heap *main = free_ready_main(heap);
    if (main == NULL) {
        retire_push(page, block, block, 1);
        return;
    }
    cache_put(&main->cache, page, block);
    free_look_at_idle(main);
}

static no_inline on_cache_line void free_elsewhere(const void *pointer, struct local_heap *heap)
{
    if (pointer == NULL) return;
    struct page *page = page_of(pointer);
    char *block = page == NULL ? NULL : free_start_of(page, pointer);
    if (unlikely(block == NULL)) {
        free_refuse(page, pointer, "free");
        return;
    }
    uintptr_t owner = page_owner(page);
    struct local_heap *part = free_own_part(heap, owner);
    bool is_own = part != NULL && (owner & OWNER_FULL) == 0;
    if (CFG_STATES && !free_validate(page, block, pointer, is_own)) return;

    if ((page->flags & PAGE_LARGE) != 0) free_large(part, page, block);
    else if ((owner & OWNER_SHARED) != 0)
        free_to_cache(heap, page, (struct block *)(void *)block);
    else if (part != NULL) free_to_part(part, owner, page, (struct block *)(void *)block);
    else free_to_others(heap, page, (struct block *)(void *)block);
}

// A thread that only frees looks at the clock here now and then, as others do on the slow path of
// malloc.
static cold void free_emptied(struct page *page, struct local_heap *heap)
{
    local_heap_page_is_empty(heap, page);
    if (!purge_has_turn(++heap->main->free_turns)) return;
    if (idle_has_any()) idle_review(prim_clock_ms());
    purger_tick();
}

// The same as free_validate, for an address in the first slice of a page that stays what it is, and
// that has no interior pointers. Blocks that do not exist are never live, and no multiple of 16
// below block 0 looks like the start of a block, so no index is too large.
static always_inline bool free_take_near(const struct page *page, const char *block, bool is_own)
{
    struct bits_product place = page_place_of(page, block);
    if (place.low >= page->reciprocal) return false;
    struct state state = state_at(page->states, place.high);
    return is_own ? state_take_own(state) : state_take_from_others(state);
}

// The usual case of another thread's block. A block that is not to be freed is left to
// free_elsewhere, which finds the same.
static always_inline bool free_try_ring(struct local_heap *heap, uintptr_t owner, struct page *page,
                                        char *block)
{
    struct local_heap *main = heap->main;
    if (main == NULL || (owner & OWNER_INTERIOR) != 0 || !ring_can_extend(main, page)) return false;
    if (CFG_STATES && unlikely(!free_take_near(page, block, false))) return false;
    if (CFG_DEBUG >= 1) free_close_block(page, block);
    ring_extend(main, page, (struct block *)(void *)block);
    return true;
}

// The last block of a page, or a bin that takes no more; a thread that has no bins yet finds those
// of the empty heap, and a heap that can be destroyed has none.
static cold void free_in_full_sink(struct page *page, struct local_heap *heap, struct block *block)
{
    if (page_owner(page) != (uintptr_t)heap) free_to_cache(heap, page_head(page), block);
    else if (page_put(page, block)) free_emptied(page, heap);
}

// The usual case in debug and secure builds: a block of a page of its own.
static always_inline bool free_try_own(struct local_heap *heap, struct page *page, char *block)
{
    if (unlikely(ATOMIC_FOLDED_LOAD(&page->owner) != (uintptr_t)heap)) return false;
    if (unlikely(!free_take_near(page, block, true))) {
        free_refuse(page, block, "free");
        return true;
    }
    if (CFG_DEBUG >= 1) free_close_block(page, block);
    if (unlikely(page_put(page, (struct block *)(void *)block))) free_emptied(page, heap);
    return true;
}

// The usual case in other builds: a block of a page of its own, or of a shared one. Whatever is in
// the sink is written only when it is this thread's to write.
static always_inline bool free_try_sink(struct local_heap *heap, struct page *page, char *address)
{
    static const struct link_key no_key = {0, 0};
    // acquire: pairs with page_share
    uintptr_t differs = atomic_load_explicit(&page->owner, memory_order_acquire) ^ (uintptr_t)heap;
    if (unlikely(!page_has_sink(differs))) return false;
    struct block *block = (struct block *)(void *)address;
    struct block **list = (struct block **)page_sink(page, differs);
    uint32_t *sink_left = (uint32_t *)(void *)((char *)list + PAGE_SINK_LEFT);
    uint32_t left = *sink_left;
    if (unlikely(compiler_count_down(&left))) {
        free_in_full_sink(page, heap, block);
        return true;
    }
    block_set_next(block, *list, &no_key);
    *list = block;
    *sink_left = left;
    return true;
}

on_cache_line void mi_free(void *p)
{
    struct local_heap *heap = thread_heap();
    uintptr_t units = arena_units(p);
    if (likely(arena_has_units(units))) {
        struct page *page = (struct page *)arena_descriptor_near(units);
        bool is_done = CFG_STATES ? free_try_own(heap, page, (char *)p)
                                  : free_try_sink(heap, page, (char *)p);
        if (likely(is_done) || free_try_ring(heap, page_owner(page), page, (char *)p)) return;
    }
    free_elsewhere(p, heap);
}

size_t mi_usable_size(const void *p)
{
    struct free_place place;
    if (p == NULL || !free_find(p, "usable_size", &place)) return 0;
    return free_usable_bytes(&place, p);
}
