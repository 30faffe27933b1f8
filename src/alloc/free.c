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

// Debug and secure builds: takes the block, whoever's it is. false: it is none in use, and the call
// does nothing. What was read of its page before this can be out of date if it was not in use then.
static bool free_take(struct page *page, char *block, const void *pointer)
{
    struct state *state = arena_state_at(block);
    bool is_taken = state != NULL && state_take(state);
    if (is_taken && likely(page_of(pointer) == page && free_start_of(page, pointer) == block)) {
        if (CFG_DEBUG >= 1) free_close_block(page, block);
        return true;
    }
    if (is_taken) state_untake(state);
    free_refuse(page, pointer, "free");
    return false;
}

bool free_find(const void *pointer, const char *call, struct free_place *place)
{
    struct page *page = page_of(pointer);
    char *block = page == NULL ? NULL : free_start_of(page, pointer);
    bool is_valid = block != NULL;
    if (CFG_STATES && is_valid) {
        const struct state *state = arena_state_at(block);
        is_valid = state != NULL && state_is(state, STATE_IN_USE);
    }
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
    size_t offset = (size_t)((const char *)pointer - place->block);
    if (CFG_PADDING) bytes = block_requested_bytes(place->block, bytes);
    return bytes > offset ? bytes - offset : 0; // the padding may have been written over
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
    return named != NULL && local_heap_thread_of(named) == main ? named : NULL;
}

// Where malloc is not called any more, idle heaps are ended here, whose pages frees empty.
static void free_look_at_idle(struct local_heap *main)
{
    if (likely(!idle_has_any()) || !purge_has_turn(++main->free_turns)) return;
    idle_review(prim_clock_ms());
}

// Own page that is not full.
static void free_to_own(struct local_heap *part, struct page *page, struct block *block)
{
    if (page_put(page, block)) local_heap_page_is_empty(part, page);
}

static no_inline void free_to_ring(struct local_heap *main, struct page *page, struct block *block)
{
    ring_put(&main->ring, page, block);
    free_look_at_idle(main);
}

// By a thread that has no heap. It may get the very heap that the page is of (idle.h), where H4
// wants the block at home. A full page is parked.
static cold void free_first(struct local_heap *heap, struct page *page, struct block *block)
{
    struct local_heap *main = thread_ready_to_free(heap);
    if (main == NULL) retire_push(page, block, block, 1);
    else if ((page_owner(page) & ~(uintptr_t)OWNER_INTERIOR) == (uintptr_t)main)
        free_to_own(main, page, block);
    else free_to_ring(main, page, block);
}

static void free_to_others(struct local_heap *heap, struct page *page, struct block *block)
{
    struct local_heap *main = heap->main;
    if (unlikely(main == NULL)) free_first(heap, page, block);
    else if (likely(ring_can_extend(&main->ring, page))) ring_extend(&main->ring, page, block);
    else free_to_ring(main, page, block);
}

// A large block keeps PAGE_PINNED when its heap is deleted and its page parked: retire_push_large
// knows what to do with it in either state.
static void free_large(struct local_heap *part, struct page *page, char *block)
{
    if ((page->flags & PAGE_PINNED) == 0) {
        if (!retire_large(page)) free_refuse(NULL, block, "free");
        return;
    }
    bool is_own = part != NULL && part->is_pinned, is_freed = false;
    if (!is_own) is_freed = !retire_push_large(page);
    else if (remote_waiting(page) != 0) is_freed = true;
    else local_heap_free_large(part, page);
    if (is_freed) free_refuse(page, block, "free");
}

// Own page that is full or has interior pointers, or is another heap's than the default one's.
// `owner` is as it was read once: without OWNER_FULL it is only there if this thread stored it;
// with it, it may be out of date: then the claim fails and the page is somebody else's.
static void free_to_part(struct local_heap *part, uintptr_t owner, struct page *page,
                         struct block *block)
{
    if ((owner & OWNER_FULL) != 0) {
        if (!local_heap_put_in_full(part, page, block)) free_to_others(part, page, block);
    } else {
        free_to_own(part, page, block);
    }
}

// A block of a shared page.
static no_inline on_cache_line void free_to_cache(struct local_heap *heap, struct page *page,
                                                  struct block *block)
{
    struct local_heap *main = thread_ready_to_free(heap);
    if (main == NULL) {
        retire_push(page, block, block, 1);
        return;
    }
    cache_put(&main->cache, main->list, page, block);
    free_look_at_idle(main);
}

// A block that was in use.
static void free_block(struct local_heap *heap, struct page *page, char *block)
{
    uintptr_t owner = page_owner(page);
    struct local_heap *part = free_own_part(heap, owner);
    if ((page->flags & PAGE_LARGE) != 0) {
        if (unlikely(heap->main == NULL)) thread_come_by();
        free_large(part, page, block);
    } else if ((owner & OWNER_SHARED) != 0)
        free_to_cache(heap, page, (struct block *)(void *)block);
    else if (part != NULL) free_to_part(part, owner, page, (struct block *)(void *)block);
    else free_to_others(heap, page, (struct block *)(void *)block);
}

static no_inline on_cache_line void free_elsewhere(const void *pointer, struct local_heap *heap)
{
    if (pointer == NULL) return;
    struct page *page = page_of(pointer);
    char *block = page == NULL ? NULL : free_start_of(page, pointer);
    if (unlikely(block == NULL)) free_refuse(page, pointer, "free");
    else if (!CFG_STATES || free_take(page, block, pointer)) free_block(heap, page, block);
}

// A thread that only frees looks at the clock here now and then, as others do on the slow path of
// malloc.
static cold void free_emptied(struct page *page, struct local_heap *heap)
{
    local_heap_page_is_empty(heap, page);
    if (!purge_has_turn(++heap->main->free_turns)) return;
    if (idle_has_any()) idle_review(prim_clock_ms());
    purger_tick();
    report_if_left();
}

// The usual case of another thread's block.
static always_inline bool free_try_ring(struct local_heap *heap, uintptr_t owner, struct page *page,
                                        char *block)
{
    struct local_heap *main = heap->main;
    if (main == NULL || (owner & OWNER_INTERIOR) != 0) return false;
    if (!ring_can_extend(&main->ring, page)) return false;
    ring_extend(&main->ring, page, (struct block *)(void *)block);
    return true;
}

// The last block of a page, or a bin that takes no more; a thread that has no bins yet finds those
// of the empty heap, and a heap that can be destroyed has none.
static no_inline on_cache_line void free_in_full_sink(struct page *page, struct local_heap *heap,
                                                      struct block *block)
{
    if (page_owner(page) == (uintptr_t)heap) {
        if (page_put(page, block)) free_emptied(page, heap);
        return;
    }
    page = page_head(page);
    if (unlikely(idle_has_any()) || !cache_try_pass(&heap->cache, page, block))
        free_to_cache(heap, page, block);
}

// Whatever is in a sink is written only when it is this thread's to write. `first` describes the
// slice that the block is in; `differs` as in page_sink, and the page has a sink.
static always_inline void free_to_sink(struct local_heap *heap, struct page *first,
                                       uintptr_t differs, char *address)
{
    static const struct link_key no_key = {0, 0};
    struct block *block = (struct block *)(void *)address;
    struct block **list = (struct block **)page_sink(first, differs);
    uint32_t *sink_left = (uint32_t *)(void *)((char *)list + PAGE_SINK_LEFT);
    uint32_t left = *sink_left;
    if (unlikely(compiler_count_down(&left))) {
        free_in_full_sink(first, heap, block);
        return;
    }
    block_set_next(block, *list, CFG_SECURE ? &page_head(first)->key : &no_key);
    *list = block;
    *sink_left = left;
}

// The usual case in debug and secure builds: a block of a page of its own. `units`: of its address.
static always_inline bool free_try_own(struct local_heap *heap, uintptr_t units, char *block)
{
    struct page *page = (struct page *)arena_descriptor_near(units);
    if (unlikely(ATOMIC_FOLDED_LOAD(&page->owner) != (uintptr_t)heap)) return false;
    if (unlikely(!state_free(arena_state_near(units)))) {
        free_refuse(page, block, "free");
        return true;
    }
    if (CFG_DEBUG >= 1) free_close_block(page, block);
    if (CFG_DEBUG >= 1 && unlikely(page_owner(page) != (uintptr_t)heap)) {
        // an error handler has used up the page, which is parked, or another thread's by now
        state_set(arena_state_near(units), STATE_FREED);
        free_block(heap, page, block);
        return true;
    }
    if (unlikely(page_put(page, (struct block *)(void *)block))) free_emptied(page, heap);
    return true;
}

// The next usual cases in those builds. What is no block in use is left to free_elsewhere. The page
// is looked at when the block is taken, and the page stays what it is.
static no_inline void free_checked(struct local_heap *heap, uintptr_t units, char *block)
{
    if (unlikely(!state_take(arena_state_near(units)))) {
        free_elsewhere(block, heap);
        return;
    }
    struct page *first = (struct page *)arena_descriptor_near(units);
    if (CFG_DEBUG >= 1) free_close_block(page_head(first), block);
    // acquire: pairs with page_share
    uintptr_t owner = atomic_load_explicit(&first->owner, memory_order_acquire);
    if (likely(owner == PAGE_OWNER_ALL)) free_to_sink(heap, first, owner ^ (uintptr_t)heap, block);
    else if (!free_try_ring(heap, owner, first, block)) free_block(heap, page_head(first), block);
}

// The usual cases in other builds: a block of a page of its own, of a shared one, or for the ring.
static always_inline bool free_try_any(struct local_heap *heap, uintptr_t units, char *block)
{
    struct page *first = (struct page *)arena_descriptor_near(units);
    // acquire: pairs with page_share
    uintptr_t differs = atomic_load_explicit(&first->owner, memory_order_acquire) ^ (uintptr_t)heap;
    if (unlikely(!page_has_sink(differs)))
        return free_try_ring(heap, page_owner(first), first, block); // not to keep it costs less
    free_to_sink(heap, first, differs, block);
    return true;
}

on_cache_line void mi_free(void *p)
{
    struct local_heap *heap = thread_heap();
    uintptr_t units = arena_units(p);
    if (likely(arena_has_units(units))) {
        if (CFG_STATES) {
            if (!free_try_own(heap, units, (char *)p)) free_checked(heap, units, (char *)p);
            return;
        }
        if (likely(free_try_any(heap, units, (char *)p))) return;
    }
    free_elsewhere(p, heap);
}

size_t mi_usable_size(const void *p)
{
    struct free_place place;
    if (p == NULL || !free_find(p, "usable_size", &place)) return 0;
    return free_usable_bytes(&place, p);
}
