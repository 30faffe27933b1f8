#include "alloc/resize.h"
#include <errno.h>
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/limit.h"
#include "region/purger.h"

// Less than this is copied: to move page table entries is not much cheaper, and a block that was
// moved once loses all of its memory when it is freed, however long it has become. So is more, if
// it goes where memory was used before, which would be lost too, and faulted in again.
static const size_t resize_move_min_bytes = (size_t)4 << 20;
static const size_t resize_move_onto_used_min_bytes = (size_t)32 << 20;
enum {
    RESIZE_GROWTH = 4, // a block that has to be copied to grow: by so small a part at least
    RESIZE_GROWTH_BYTES = 4096 // if it is so long
};

// --- large blocks --------------------------------------------------------------------------------

static bool resize_is_large(const struct free_place *place)
{
    return (place->page->flags & PAGE_LARGE) != 0;
}

static size_t resize_guard_bytes(const struct page *page)
{
    return (page->flags & PAGE_GUARDED) != 0 ? os_page_bytes() : 0;
}

static char *resize_page_end(const struct page *page)
{
    return page->start + page_total_bytes(page);
}

static void resize_set_slices(struct page *page, size_t slices, size_t block_bytes)
{
    int64_t page_bytes = ((int64_t)slices - (int64_t)page->slices) * SLICE_BYTES;
    int64_t large_bytes = (int64_t)block_bytes - (int64_t)page->block_bytes;
    if (page_bytes >= 0) stats_add(STAT_page_bytes, page_bytes);
    else stats_remove(STAT_page_bytes, -page_bytes);
    if (large_bytes >= 0) stats_add(STAT_large, large_bytes);
    else stats_remove(STAT_large, -large_bytes);
    page->slices = (uint32_t)slices;
    page->block_bytes = block_bytes;
}

// Takes the free slices behind the block. A guard moves to the new end.
static bool resize_grow_large(struct page *page, size_t block_bytes)
{
    size_t guard_bytes = resize_guard_bytes(page);
    size_t slices = chunk_slices_for(block_bytes + guard_bytes);
    bool is_zero;
    if (slices > UINT32_MAX) return false;
    if (slices <= page->slices) {
        resize_set_slices(page, page->slices, block_bytes);
        return true;
    }
    struct arena *arena = page_arena(page);
    char *end = resize_page_end(page);
    if (!arena_claim_at(arena, end, slices - page->slices, &is_zero)) return false;
    // what was moved is mapped anew one day, and large OS pages are to stay
    bool is_other_kind = (page->flags & PAGE_MOVED) != 0 &&
                         arena_is_pinned(arena, end, slices - page->slices);
    if (is_other_kind || !page_unguard(page)) {
        arena_unclaim(end, slices - page->slices);
        return false;
    }
    purge_if_wanted(slices - page->slices);
    resize_set_slices(page, slices, block_bytes);
    if (guard_bytes != 0) {
        page->flags = (uint8_t)(page->flags | page_guard(page->start, slices << SLICE_SHIFT));
    }
    return true;
}

// Gives slices at the end back.
static void resize_shrink_large(struct page *page, size_t block_bytes)
{
    size_t slices = chunk_slices_for(block_bytes + resize_guard_bytes(page));
    size_t spare = page->slices - slices;
    if (spare == 0) return;
    char *tail = page->start + (slices << SLICE_SHIFT);
    // of a moved mapping the end is mapped again, as what lies behind it; the rest is one as before
    bool is_moved = (page->flags & PAGE_MOVED) != 0, is_lost = false;
    if (is_moved && !os_map_again(tail, spare << SLICE_SHIFT, &is_lost) && !is_lost) return;
    bool is_guarded = (page->flags & PAGE_GUARDED) != 0;
    // a guard is lost with the end
    if (is_lost) page->flags = (uint8_t)(page->flags & ~(PAGE_GUARDED | PAGE_SPLIT));
    else if (!page_unguard(page)) return;
    resize_set_slices(page, slices, block_bytes);
    if (is_guarded) {
        page->flags = (uint8_t)(page->flags | page_guard(page->start, slices << SLICE_SHIFT));
    }
    if (!is_lost) arena_release(tail, spare, !is_moved);
    purger_consider();
}

static bool resize_large_in_place(struct page *page, size_t bytes)
{
    size_t block_bytes = bits_align_up(bytes + ALLOC_PADDING_BYTES, os_page_bytes());
    if (block_bytes > page->block_bytes) return resize_grow_large(page, block_bytes);
    if (bytes <= CLASS_MAX_BYTES) return false; // better placed among small ones
    resize_shrink_large(page, block_bytes);
    return true;
}

bool resize_in_place(const struct free_place *place, const void *pointer, size_t bytes)
{
    struct page *page = place->page;
    if (!resize_is_large(place) || pointer != place->block) return false;
    if (bytes > ALLOC_MAX_BYTES - ALLOC_PADDING_BYTES - CHUNK_BYTES) return false;
    // else free would not find that something was written there
    if (CFG_PADDING && !alloc_padding_is_intact(page, place->block)) return false;
    size_t block_bytes = page->block_bytes;
    size_t requested_bytes = CFG_PADDING ? block_requested_bytes(place->block, block_bytes) : 0;
    if (!resize_large_in_place(page, bytes)) return false;
    if (CFG_PADDING) {
        stats_block_removed(page->size_class, block_bytes, requested_bytes);
        alloc_mark(page, place->block, bytes);
    }
    return true;
}

void *resize_stay(const struct free_place *place, void *pointer, int errno_before)
{
    size_t least_bytes = CLASS_MAX_BYTES + 1;
    errno = errno_before;
    if (free_usable_bytes(place, pointer) > least_bytes)
        ignore_result(resize_in_place(place, pointer, least_bytes));
    return pointer;
}

// --- moving --------------------------------------------------------------------------------------

// Most of where the source would be moved to.
static bool resize_is_used(const struct page *target, const struct page *source)
{
    const struct arena *arena = page_arena(target);
    size_t slice = arena_slice_of(arena, target->start);
    return chunk_count_dirty(arena->chunks, slice, source->slices) > source->slices / 2;
}

// Moves the memory of a large block to another one instead of copying it. Returns how many bytes,
// from the beginning on: none where `pointer` lies within its block.
static cold size_t resize_move_pages(const struct free_place *from, const void *pointer,
                                     void *to, size_t bytes)
{
    struct page *source = from->page, *target = page_of(to);
    if (CFG_PADDING || pointer != from->block) return 0;
    if (bytes < resize_move_min_bytes || to != (void *)target->start) return 0;
    if ((target->flags & PAGE_LARGE) == 0) return 0;
    // they may begin in ordinary memory, and end in another kind
    if (arena_is_pinned(page_arena(target), target->start, target->slices) ||
        arena_is_pinned(page_arena(source), source->start, source->slices))
        return 0;
    // the whole run: what lies behind the block may hold old data, and is to be clean afterwards;
    // but not onto the target's guard, nor with the source's
    if (source->slices >= target->slices) return 0;
    if (bytes < resize_move_onto_used_min_bytes && resize_is_used(target, source)) return 0;
    if (!page_unguard(source)) return 0;
    size_t moved_bytes = os_move(source->start, page_total_bytes(source), to);
    if (moved_bytes != 0) target->flags = (uint8_t)(target->flags | PAGE_MOVED);
    if (moved_bytes == page_total_bytes(source))
        source->flags = (uint8_t)(source->flags | PAGE_CLEAN);
    return moved_bytes;
}

size_t resize_with_room(size_t usable, size_t bytes)
{
    size_t grown = usable + usable / RESIZE_GROWTH;
    bool may_copy = usable >= RESIZE_GROWTH_BYTES && usable < resize_move_onto_used_min_bytes;
    bool has_room = may_copy && bytes > usable && bytes < grown && !limit_wants_memory();
    return !CFG_PADDING && has_room ? grown : bytes;
}

// has_room: the block may get more than it asks for.
static void *resize_elsewhere(struct local_heap *heap, const struct free_place *place,
                              void *pointer, size_t bytes, bool has_room)
{
    size_t usable = free_usable_bytes(place, pointer), kept = usable < bytes ? usable : bytes;
    bool may_stay = bytes <= usable;
    size_t roomy = has_room ? resize_with_room(usable, bytes) : bytes;
    int before = may_stay ? errno : 0;
    char *moved = roomy != bytes ? (char *)alloc_quietly(heap, roomy) : NULL;
    if (moved == NULL) moved = (char *)alloc_from(heap, bytes, false);
    if (unlikely(moved == NULL)) return may_stay ? resize_stay(place, pointer, before) : NULL;
    size_t done = resize_is_large(place) ? resize_move_pages(place, pointer, moved, kept) : 0;
    if (done < kept) memcpy(moved + done, (char *)pointer + done, kept - done);
    mi_free(pointer);
    return moved;
}

// The rule of v1.2: a block stays where it is if it fits and wastes at most half.
static bool resize_fits(size_t usable, size_t bytes)
{
    return bytes <= usable && bytes >= usable - usable / 2 && bytes != 0;
}

void resize_clear_tail(void *block, size_t kept)
{
    size_t usable = mi_usable_size(block);
    if (usable > kept) memset((char *)block + kept, 0, usable - kept);
}

static void *resize(struct local_heap *heap, void *pointer, size_t bytes, bool has_room)
{
    if (pointer == NULL) return alloc_from(heap, bytes, false);
    struct free_place place;
    if (!free_find(pointer, "realloc", &place)) return NULL;
    if (bytes > ALLOC_MAX_BYTES) return report_no_memory(bytes, true);

    if (resize_fits(free_usable_bytes(&place, pointer), bytes) && !CFG_PADDING) return pointer;
    if (resize_is_large(&place) && resize_in_place(&place, pointer, bytes)) return pointer;
    return resize_elsewhere(heap, &place, pointer, bytes, has_room);
}

// Apart, so that realloc is as short as it can be.
static void *resize_zeroed(struct local_heap *heap, void *pointer, size_t bytes)
{
    if (pointer == NULL) return alloc_from(heap, bytes, true);
    struct free_place place;
    if (!free_find(pointer, "realloc", &place)) return NULL;
    size_t usable = free_usable_bytes(&place, pointer);
    // whole slices are given back rather than cleared
    bool has_shrunk = bytes < usable && resize_in_place(&place, pointer, bytes);
    void *result = has_shrunk ? pointer : resize(heap, pointer, bytes, false);
    // also behind a block that shrinks in its place: it may grow again
    if (result != NULL) resize_clear_tail(result, usable < bytes ? usable : bytes);
    return result;
}

static void *resize_counted(struct local_heap *heap, void *pointer, size_t count, size_t size,
                            bool is_zeroed)
{
    size_t bytes;
    if (!bits_multiply(count, size, &bytes)) return report_no_memory(SIZE_MAX, true);
    return is_zeroed ? resize_zeroed(heap, pointer, bytes) : resize(heap, pointer, bytes, true);
}

static void *resize_or_free(struct local_heap *heap, void *pointer, size_t bytes)
{
    void *result = resize(heap, pointer, bytes, true);
    if (result == NULL && pointer != NULL) mi_free(pointer);
    return result;
}

// --- public --------------------------------------------------------------------------------------

void *mi_realloc(void *p, size_t newsize) { return resize(thread_heap(), p, newsize, true); }
void *mi_rezalloc(void *p, size_t newsize) { return resize_zeroed(thread_heap(), p, newsize); }
void *mi_reallocf(void *p, size_t newsize) { return resize_or_free(thread_heap(), p, newsize); }
void *mi_reallocn(void *p, size_t count, size_t size)
{
    return resize_counted(thread_heap(), p, count, size, false);
}
void *mi_recalloc(void *p, size_t newcount, size_t size)
{
    return resize_counted(thread_heap(), p, newcount, size, true);
}

void *mi_expand(void *p, size_t newsize)
{
    struct free_place place;
    if (p == NULL || newsize > ALLOC_MAX_BYTES || !free_find(p, "expand", &place)) return NULL;
    if (newsize > free_usable_bytes(&place, p))
        return resize_in_place(&place, p, newsize) ? p : NULL;
    // else the padding stays as it is, for free to report
    if (CFG_PADDING && alloc_padding_is_intact(place.page, place.block))
        alloc_mark_anew(place.page, place.block, (size_t)((char *)p - place.block) + newsize);
    return p;
}

void *mi_heap_realloc(mi_heap_t *heap, void *p, size_t newsize)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, resize(part, p, newsize, true));
}

void *mi_heap_rezalloc(mi_heap_t *heap, void *p, size_t newsize)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, resize_zeroed(part, p, newsize));
}

void *mi_heap_reallocf(mi_heap_t *heap, void *p, size_t newsize)
{
    struct local_heap *part = alloc_part(heap);
    if (part != NULL) return alloc_finish(part, resize_or_free(part, p, newsize));
    mi_free(p);
    return NULL;
}

void *mi_heap_reallocn(mi_heap_t *heap, void *p, size_t count, size_t size)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, resize_counted(part, p, count, size, false));
}

void *mi_heap_recalloc(mi_heap_t *heap, void *p, size_t newcount, size_t size)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, resize_counted(part, p, newcount, size, true));
}

size_t mi_good_size(size_t size)
{
    // a debug build reports what was asked for
    if (CFG_PADDING || size > ALLOC_MAX_BYTES - CHUNK_BYTES) return size;
    return size <= CLASS_MAX_BYTES ? class_block_bytes(class_of(size))
                                   : bits_align_up(size, os_page_bytes());
}
