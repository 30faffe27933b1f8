#include "alloc/alloc.h"
#include <errno.h>
#include "core/report.h"
#include "core/stats.h"
#include "heap/cache.h"
#include "os/os.h"
#include "region/purge.h"

// --- what debug and secure builds do to a block --------------------------------------------------

// Of the padding's 16 bytes the first 8: they depend on place and size, so that no copied padding
// passes.
static uint64_t alloc_canary(const void *block, size_t bytes)
{
    // golden ratio, odd
    uint64_t mixed = ((uint64_t)(uintptr_t)block ^ bytes) * UINT64_C(0x9E3779B97F4A7C15);
    return mixed ^ mixed >> 32;
}

static unsigned char *alloc_padding(const struct page *page, const void *block)
{
    return (unsigned char *)(uintptr_t)block + page->block_bytes - ALLOC_PADDING_BYTES;
}

static void alloc_pad(const struct page *page, void *block, size_t bytes)
{
    unsigned char *padding = alloc_padding(page, block), *end = (unsigned char *)block + bytes;
    uint64_t words[2] = {alloc_canary(block, bytes), bytes};
    memset(end, FILL_PADDING, (size_t)(padding - end));
    memcpy(padding, words, sizeof(words));
}

bool alloc_padding_is_intact(const struct page *page, const void *block)
{
    const unsigned char *padding = alloc_padding(page, block);
    uint64_t words[2];
    memcpy(words, padding, sizeof(words));
    if (words[1] > page->block_bytes - ALLOC_PADDING_BYTES) return false;
    if (words[0] != alloc_canary(block, (size_t)words[1])) return false;
    for (const unsigned char *at = (const unsigned char *)block + words[1]; at < padding; at++) {
        if (*at != FILL_PADDING) return false;
    }
    return true;
}

void alloc_open_block(const struct page *page, struct block *block)
{
    const unsigned char *at = (const unsigned char *)block, *end = at + page->block_bytes;
    for (at += sizeof(*block); at < end; at++) {
        if (*at == FILL_FREED) continue;
        report_fault_within(FAULT_USE_AFTER_FREE, "malloc", block, page->block_bytes);
        break;
    }
    memset((void *)block, FILL_NEW, page->block_bytes);
}

void alloc_mark(const struct page *page, void *block, size_t bytes)
{
    alloc_pad(page, block, bytes);
    if (CFG_STAT_BLOCKS) stats_block_added(page->size_class, page->block_bytes, bytes);
}

void alloc_mark_anew(const struct page *page, void *block, size_t bytes)
{
    size_t before = block_requested_bytes(block, page->block_bytes);
    if (CFG_STAT_BLOCKS) stats_block_removed(page->size_class, page->block_bytes, before);
    alloc_mark(page, block, bytes);
}

// --- slow paths ----------------------------------------------------------------------------------

// A block that is in use is on the list: it was freed twice at the same instant, and neither free
// could see the other. Anything else was written there.
static cold void alloc_drop_list(struct local_heap *heap, size_t size_class)
{
    struct block **list = local_heap_list(heap, size_class), *block = *list;
    bool is_cached = local_heap_has_cached(heap, size_class);
    const struct state *state = arena_state_at(block);
    bool is_used = state != NULL && state_is(state, STATE_IN_USE);
    *list = NULL;
    if (is_cached && size_class >= CLASS_BINNED_FIRST) cache_drop(&heap->cache, size_class);
    enum fault fault = is_used ? FAULT_DOUBLE_FREE : FAULT_LINK;
    report_fault(fault, "malloc", block, class_block_bytes(size_class));
}

void *alloc_bad_list(struct local_heap *heap, size_t bytes, bool is_zeroed)
{
    alloc_drop_list(heap, class_of(bytes + ALLOC_PADDING_BYTES));
    return alloc_slow(heap, bytes, is_zeroed);
}

static void *alloc_class_block(struct local_heap *heap, size_t bytes, bool is_zeroed)
{
    size_t size_class = class_of(bytes + ALLOC_PADDING_BYTES);
    bool is_cached = local_heap_has_cached(heap, size_class), is_unlinked;
    bool is_binned = size_class >= CLASS_BINNED_FIRST;
    struct block **list = local_heap_list(heap, size_class), *block;
    const struct page *page;
    do { // again only after a corrupt list was dropped, so that it comes to an end
        block = *list != NULL ? *list : thread_load(heap, size_class);
        if (block == NULL) return NULL;
        page = alloc_page_of(heap, size_class, block, is_cached);
        is_unlinked = is_binned ? alloc_unlink_binned(heap, page, size_class, is_cached)
                                 : alloc_unlink_listed(page, list, size_class, is_cached);
        if (unlikely(!is_unlinked)) alloc_drop_list(heap, size_class);
    } while (unlikely(!is_unlinked));
    if (is_zeroed) alloc_zeroed(heap, size_class, block);
    // only this one was known to be
    if (is_binned && is_cached) local_heap_set_zero(heap, size_class, false);
    return alloc_hand_out(page, block, bytes);
}

static void *alloc_large(struct local_heap *heap, size_t bytes, size_t alignment, bool is_zeroed)
{
    bool is_zero;
    void *block = local_heap_take_large(heap, bytes + ALLOC_PADDING_BYTES, alignment, &is_zero);
    if (block == NULL) return NULL;
    const struct page *page = page_of(block);
    if (is_zeroed && !is_zero) memset(block, 0, page->block_bytes);
    if (CFG_STATES) state_set(page->states, STATE_IN_USE);
    return alloc_hand_out(page, block, bytes);
}

// alignment 0: a block of any kind will do; else a large one.
static void *alloc_try(struct local_heap *heap, size_t bytes, size_t alignment, bool is_zeroed)
{
    return alignment == 0 && bytes + ALLOC_PADDING_BYTES <= CLASS_MAX_BYTES
               ? alloc_class_block(heap, bytes, is_zeroed)
               : alloc_large(heap, bytes, alignment, is_zeroed);
}

// The last try. What other threads are giving back at this moment is free, too, but not yet found.
// (Part of a run that others want, and give up again because the rest is taken, may still be missed
// where nothing can be mapped.)
static cold void *alloc_try_again(struct local_heap *heap, size_t bytes, size_t alignment,
                                  bool is_zeroed)
{
    uint32_t search = purge_search_begins();
    void *block = alloc_try(heap, bytes, alignment, is_zeroed);
    for (int tries = 0;
         block == NULL && tries < PURGE_PATIENCE && purge_wait_for_others(&search); tries++)
        block = alloc_try(heap, bytes, alignment, is_zeroed);
    return block;
}

void *alloc_slow_large(struct local_heap *heap, size_t bytes, size_t alignment, bool is_zeroed)
{
    // a page counts its slices in 32 bits: beyond that no memory that is given back would help
    bool is_too_large = bytes > ALLOC_MAX_BYTES - ALLOC_PADDING_BYTES ||
                        bytes >> SLICE_SHIFT >= UINT32_MAX;
    if (is_too_large) return report_no_memory(bytes, true);
    bool is_borrowed = heap == &thread_ended_heap; // here; else whoever borrowed it gives it back
    heap = thread_ready(heap);
    if (heap == NULL) return report_no_memory(bytes, false);

    heap = thread_housekeep(heap);
    if (heap == NULL) return report_no_memory(bytes, false);
    void *block = alloc_try(heap, bytes, alignment, is_zeroed);
    if (unlikely(block == NULL)) { // once more, after giving back what lies idle
        thread_collect(thread_ready(heap), true);
        heap = thread_ready(heap);
        block = heap == NULL ? NULL : alloc_try_again(heap, bytes, alignment, is_zeroed);
    }
    if (unlikely(is_borrowed) && heap != NULL) thread_finish(heap);
    return block != NULL ? block : report_no_memory(bytes, false);
}

void *alloc_slow(struct local_heap *heap, size_t bytes, bool is_zeroed)
{
    return alloc_slow_large(heap, bytes, 0, is_zeroed);
}

void *alloc_quietly(struct local_heap *heap, size_t bytes)
{
    if (!thread_is_ready(heap)) return NULL;
    bool is_small = bytes <= CLASS_MAX_BYTES, is_due = heap->cache.beats <= 1;
    if (is_small && !is_due && *local_heap_list(heap, class_of(bytes)) != NULL)
        return alloc_from(heap, bytes, false); // it is there
    int before = errno;
    heap = thread_ready(heap);
    heap = heap == NULL ? NULL : thread_housekeep(heap);
    void *block = heap == NULL ? NULL : alloc_try(heap, bytes, 0, false);
    errno = before;
    return block;
}

on_cache_line void *alloc_medium(struct local_heap *heap, size_t bytes, bool is_zeroed)
{
    if (unlikely(bytes > CLASS_MAX_BYTES - ALLOC_PADDING_BYTES))
        return alloc_slow(heap, bytes, is_zeroed);
    size_t size_class = class_of_stepped(bytes + ALLOC_PADDING_BYTES);
    if (CFG_OWNED_BYTES > (int)CLASS_LINEAR_BYTES && size_class < CLASS_BINNED_FIRST)
        return alloc_listed(heap, size_class, bytes, is_zeroed);

    struct block *block = cache_bin_of(&heap->cache, size_class)->list;
    if (unlikely(block == NULL || --heap->cache.beats == 0))
        return alloc_slow(heap, bytes, is_zeroed);
    bool is_cached = !heap->is_pinned;
    const struct page *page = alloc_page_of(heap, size_class, block, is_cached);
    if (unlikely(!alloc_unlink_binned(heap, page, size_class, is_cached))) {
        return alloc_bad_list(heap, bytes, is_zeroed);
    }
    if (is_zeroed) alloc_zeroed(heap, size_class, block);
    return alloc_hand_out(page, block, bytes);
}

static cold struct local_heap *alloc_find_far_part(mi_heap_t *heap)
{
    struct local_heap *now = thread_ready(thread_heap());
    if (now == NULL) return (struct local_heap *)report_no_memory(0, false);
    bool is_valid = heap_is_valid(heap, now->main);
    struct local_heap *part = is_valid ? heap_local(heap, now->main) : NULL;
    if (part != NULL) return part;
    thread_finish(now);
    if (is_valid) return (struct local_heap *)report_no_memory(sizeof(*part), false);
    report_fault(FAULT_HEAP, "mi_heap_malloc", heap, 0);
    return NULL;
}

// Whose the thread's last part is can be told without a look at the handle: a part that is on its
// list, and names that heap, is its part of that heap.
struct local_heap *alloc_find_part(mi_heap_t *heap)
{
    const struct local_heap *main = thread_heap()->main; // NULL: the thread has none
    if (unlikely(main == NULL || heap == NULL)) return alloc_find_far_part(heap);
    bool is_near = local_heap_handle_of(main->near) == heap;
    return likely(is_near) ? main->near : alloc_find_far_part(heap);
}

// --- public --------------------------------------------------------------------------------------

on_cache_line void *mi_malloc(size_t size) { return alloc_from(thread_heap(), size, false); }
on_cache_line void *mi_zalloc(size_t size) { return alloc_from(thread_heap(), size, true); }
on_cache_line void *mi_malloc_small(size_t size) { return alloc_from(thread_heap(), size, false); }
void *mi_zalloc_small(size_t size) { return alloc_from(thread_heap(), size, true); }

static always_inline void *alloc_counted(struct local_heap *heap, size_t count, size_t size,
                                         bool is_zeroed)
{
    size_t bytes;
    if (unlikely(!bits_multiply(count, size, &bytes))) return report_no_memory(SIZE_MAX, true);
    return alloc_from(heap, bytes, is_zeroed);
}

on_cache_line void *mi_calloc(size_t count, size_t size)
{
    return alloc_counted(thread_heap(), count, size, true);
}
void *mi_mallocn(size_t count, size_t size)
{
    return alloc_counted(thread_heap(), count, size, false);
}

static no_inline void *alloc_from_far(mi_heap_t *heap, size_t bytes, bool is_zeroed)
{
    struct local_heap *part = alloc_find_part(heap);
    return part == NULL ? NULL : alloc_finish(part, alloc_from(part, bytes, is_zeroed));
}

on_cache_line void *mi_heap_malloc(mi_heap_t *heap, size_t size)
{
    struct local_heap *now = thread_heap();
    if (unlikely(!alloc_is_part_of(now, heap))) return alloc_from_far(heap, size, false);
    return alloc_from(now, size, false);
}

void *mi_heap_zalloc(mi_heap_t *heap, size_t size)
{
    struct local_heap *now = thread_heap();
    if (unlikely(!alloc_is_part_of(now, heap))) return alloc_from_far(heap, size, true);
    return alloc_from(now, size, true);
}

void *mi_heap_malloc_small(mi_heap_t *heap, size_t size) { return mi_heap_malloc(heap, size); }

void *mi_heap_zalloc_small(mi_heap_t *heap, size_t size) { return mi_heap_zalloc(heap, size); }

void *mi_heap_calloc(mi_heap_t *heap, size_t count, size_t size)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, alloc_counted(part, count, size, true));
}

void *mi_heap_mallocn(mi_heap_t *heap, size_t count, size_t size)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, alloc_counted(part, count, size, false));
}
