#include "heap/local_heap.h"
#include "page/depot.h"
#include "page/page_list.h"
#include "page/remote.h"

static uintptr_t local_heap_named_by(const struct page *page)
{
    return page_owner(page) & ~(uintptr_t)OWNER_INTERIOR;
}

// Only as long as its pages: the list says nothing about its length.
static const char *local_heap_broken_cached_list(const struct block *block, size_t size_class)
{
    size_t most = CACHE_ROOMY * CACHE_MOST_BYTES / class_block_bytes(size_class);
    for (size_t count = 0; block != NULL; count++) {
        if (count > most) return "H6: a list of cached blocks has no end";
        if (!depot_may_hold(block, size_class)) return "H6: the cache holds what is not for it";
        block = block_next(block, &page_of(block)->key);
    }
    return NULL;
}

static const char *local_heap_broken_cache(const struct local_heap *heap)
{
    size_t room_bytes = 0, held_bytes = 0;
    struct cache_passing passing = heap->cache.passing;
    if (passing.page != NULL && !cache_may_return(passing))
        return "H6: what goes by the cache is not for it";
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        const struct cache_bin *bin = &heap->cache.bin[size_class - CLASS_SHARED_FIRST];
        const char *broken = cache_broken_bin(bin, size_class);
        if (broken == NULL && size_class < CLASS_BINNED_FIRST)
            broken = local_heap_broken_cached_list(heap->list[size_class], size_class);
        if (broken != NULL) return broken;
        room_bytes += bin->room * class_block_bytes(size_class);
        held_bytes += bin->counted * class_block_bytes(size_class);
    }
    bool is_sum = room_bytes == heap->cache.room_bytes && held_bytes == heap->cache.held_bytes;
    return is_sum ? NULL : "H7: the bins do not come to what is counted";
}

// The bins of a pinned heap are lists only.
static const char *local_heap_broken_bins(const struct local_heap *heap)
{
    for (size_t i = 0; i < CLASS_COUNT - CLASS_SHARED_FIRST; i++) {
        if (heap->cache.bin[i].room != 0 || heap->cache.bin[i].left != 0)
            return "H7: a heap that can be destroyed has a cache";
    }
    return NULL;
}

static const char *local_heap_broken_current(const struct local_heap *heap, size_t size_class)
{
    const struct page *page = heap->own[size_class].current;
    const struct block *list = local_heap_first(heap, size_class);
    if (page == NULL) return list == NULL ? NULL : "H1: a loaded list without a page";
    if (!page_is_descriptor(page) || page->size_class != size_class)
        return "H1: the current page is none of the class";
    if (page_list_count(page, list) > page->out)
        return "H1: the loaded list is longer than what the page has out";
    if (local_heap_named_by(page) != (uintptr_t)heap)
        return "H2: the current page has another owner";
    if (page->next != NULL || page->prev != NULL)
        return "H2: the current page is queued";
    return NULL;
}

static const char *local_heap_broken_queue(const struct local_heap *heap, size_t size_class)
{
    const struct page *first = heap->own[size_class].queue, *page = first, *before = NULL;
    for (; page != NULL; before = page, page = page->next) {
        if (!page_list_is_linked(first, page, before)) return "H2: a queue is torn";
        if (page == heap->own[size_class].current) return "H2: the current page is queued";
        if (page->size_class != size_class) return "H3: a page is in the queue of another class";
        if (!page_has_room(page)) return "H3: a queued page has no room";
        if (local_heap_named_by(page) != (uintptr_t)heap)
            return "H2: a queued page has another owner";
    }
    return NULL;
}

static const char *local_heap_broken_full(const struct local_heap *heap,
                                          const struct full_pages *full)
{
    const struct page *first = full->first, *page = first, *before = NULL;
    bool has_cursor = full->cursor == NULL;
    if (page != NULL && !heap->is_pinned) return "H2: a full page is not parked";
    for (; page != NULL; before = page, page = page->next) {
        if (!page_list_is_linked(first, page, before))
            return "H2: the list of full pages is torn";
        if (local_heap_named_by(page) != ((uintptr_t)heap | OWNER_FULL))
            return "H2: a full page has another owner";
        if (remote_is_parked(page)) return "H2: a full page is parked and on the list";
        bool is_large = (page->flags & PAGE_LARGE) != 0;
        if (is_large != (full == &heap->large)) return "H2: a full page is on the other list";
        has_cursor = has_cursor || page == full->cursor;
    }
    return has_cursor ? NULL : "H2: the search goes on at a page that is not full";
}

static const char *local_heap_broken_slot(const struct local_heap *heap,
                                          const struct ring_slot *slot)
{
    const struct page *page = slot->page;
    const struct block *block = slot->first, *last = NULL;
    if (!page_is_descriptor(page) || page->block_bytes == 0) return "H4: the ring names no page";
    if (page->block_bytes > RING_BLOCK_BYTES || (page->flags & (PAGE_PINNED | PAGE_LARGE)) != 0)
        return "H4: the ring holds what is not for it";
    if (local_heap_named_by(page) == (uintptr_t)heap)
        return "H4: the ring holds blocks of the heap's own pages";
    for (size_t i = 0; i < slot->count; i++) {
        if (!page_has_block_at(page, block)) return "H4: a chain in the ring is torn";
        last = block;
        block = block_next(block, &page->key);
    }
    return block == NULL && last == slot->last ? NULL : "H4: a chain in the ring is torn";
}

static const char *local_heap_broken_ring(const struct local_heap *heap)
{
    size_t bytes = 0;
    if (heap->ring.bytes > RING_MAX_BYTES) return "H4: the ring holds too much";
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        const struct ring_slot *slot = &heap->ring.slot[i];
        if (slot->page == NULL) continue;
        if (slot->count > RING_MAX_BYTES / CLASS_STEP_BYTES) return "H4: the ring holds too much";
        const char *broken = local_heap_broken_slot(heap, slot);
        if (broken != NULL) return broken;
        bytes += slot->count * slot->page->block_bytes;
    }
    return bytes == heap->ring.bytes ? NULL : "H4: the ring does not hold what it counts";
}

// false: a page that is kept is in use.
static bool local_heap_adds_kept(const struct page *page, size_t *bytes)
{
    *bytes += page->kept_bytes;
    return page->kept_bytes == 0 || page->out == 0;
}

// For lists that are not torn. A pinned heap has none of either kind.
static const char *local_heap_broken_counts(const struct local_heap *heap)
{
    size_t bytes = 0;
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++) {
        const struct page *page = heap->own[size_class].current;
        if (page != NULL && !local_heap_adds_kept(page, &bytes))
            return "H5: a page in use counts as empty";
        // the only one when it was kept; others may have been queued before it since
        for (page = heap->own[size_class].queue; page != NULL; page = page->next) {
            if (!local_heap_adds_kept(page, &bytes)) return "H5: a page in use counts as empty";
        }
    }
    if (bytes != heap->kept_bytes) return "H5: the empty pages are not what is counted";
    if (bytes > LOCAL_HEAP_KEPT_BYTES) return "H5: too many empty pages are kept";
    return NULL;
}

const char *local_heap_broken_rule(const struct local_heap *heap)
{
    const char *broken = NULL;
    size_t classes = local_heap_owned_classes(heap);
    for (size_t size_class = 0; size_class < classes && broken == NULL; size_class++) {
        broken = local_heap_broken_current(heap, size_class);
        if (broken == NULL) broken = local_heap_broken_queue(heap, size_class);
    }
    if (broken == NULL) broken = local_heap_broken_full(heap, &heap->full);
    if (broken == NULL) broken = local_heap_broken_full(heap, &heap->large);
    if (broken == NULL) broken = local_heap_broken_counts(heap);
    if (broken == NULL && !heap->is_pinned && heap->ahead.slices != 0)
        broken = "H8: a heap that is not destroyed claims ahead";
    if (broken == NULL) broken = ahead_broken_rule(&heap->ahead);
    if (broken == NULL)
        broken = heap->is_pinned ? local_heap_broken_bins(heap) : local_heap_broken_cache(heap);
    return broken != NULL ? broken : local_heap_broken_ring(heap);
}
