#include "alloc/resize.h"
#include <errno.h>
#include "core/report.h"
#include "page/refill.h"

struct aligned_request {
    size_t bytes, alignment;
    size_t offset; // less than alignment: block + offset is what is aligned
    bool   is_zeroed;
};

// --- natural alignment: class C1, or a run of slices ---------------------------------------------

// A block whose size is a multiple of the alignment is aligned (C1). The padding of debug builds is
// part of that size.
static void *aligned_class_block(struct local_heap *heap, const struct aligned_request *request)
{
    size_t need = bits_align_up(request->bytes + ALLOC_PADDING_BYTES, request->alignment);
    void *block = alloc_from(heap, need - ALLOC_PADDING_BYTES, request->is_zeroed);
    if (block == NULL) return NULL;
    check(bits_is_aligned(block, request->alignment));
    // it counts with what was asked for, not with what it took
    if (CFG_PADDING) alloc_mark_anew(page_of(block), block, request->bytes);
    return block;
}

static void *aligned_natural(struct local_heap *heap, const struct aligned_request *request)
{
    size_t need = bits_align_up(request->bytes + ALLOC_PADDING_BYTES, request->alignment);
    bool is_class = request->alignment <= SLICE_BYTES && need <= CLASS_MAX_BYTES;
    if (is_class) return aligned_class_block(heap, request);
    return alloc_slow_large(heap, request->bytes, request->alignment, request->is_zeroed);
}

// --- with an offset: a larger block, and a pointer into it ---------------------------------------

// Later frees must find the block from a pointer into it.
static bool aligned_mark_interior(void *block, const char *pointer)
{
    struct page *page = page_of(block);
    uintptr_t slice = ((uintptr_t)pointer - (uintptr_t)page->start) >> SLICE_SHIFT;
    if ((page->flags & PAGE_LARGE) != 0 && slice > 0) {
        if (slice > UINT16_MAX) return false;
        page[slice].back = page->pointer_slice = (uint16_t)slice;
    }
    page_mark_interior(page);
    return true;
}

static void *aligned_with_offset(struct local_heap *heap, const struct aligned_request *request)
{
    size_t bytes = request->bytes + request->alignment - 1;
    // A thread that has ended keeps no page, and only its owner may mark one; a large block's page
    // is marked by its user.
    bool is_kept = heap != &thread_ended_heap;
    char *block = (char *)(is_kept ? alloc_from(heap, bytes, request->is_zeroed)
                                   : alloc_slow_large(heap, bytes, 1, request->is_zeroed));
    if (block == NULL) return NULL;
    char *pointer = (char *)bits_align_up((uintptr_t)block + request->offset, request->alignment) -
                    request->offset;
    if (pointer != block && !aligned_mark_interior(block, pointer)) {
        mi_free(block);
        return report_no_memory(request->bytes, true);
    }
    size_t before = (size_t)(pointer - block); // so that what follows is what was asked for
    if (CFG_PADDING) alloc_mark_anew(page_of(block), block, before + request->bytes);
    return pointer;
}

static void *aligned_alloc_from(struct local_heap *heap, struct aligned_request request)
{
    if (!bits_is_power_of_two(request.alignment)) {
        errno = EINVAL;
        return NULL;
    }
    const size_t most = ALLOC_MAX_BYTES - CHUNK_BYTES;
    if (request.bytes > most || request.alignment > most - request.bytes) {
        return report_no_memory(request.bytes, true);
    }
    request.offset &= request.alignment - 1;
    // so that it is rounded up to the alignment; padding is, too, and keeps the number
    if (request.bytes == 0 && !CFG_PADDING) request.bytes = 1;
    if (request.offset != 0) return aligned_with_offset(heap, &request);
    if (request.alignment <= CLASS_STEP_BYTES)
        return alloc_from(heap, request.bytes, request.is_zeroed);
    return aligned_natural(heap, &request);
}

// Without an offset. The usual way has no request in memory: what is stored in parts and then
// copied as a whole makes the processor wait.
static no_inline void *aligned_plain(struct local_heap *heap, size_t bytes, size_t alignment,
                                     bool is_zeroed)
{
    bool is_usual = bits_is_power_of_two(alignment) && alignment <= SLICE_BYTES &&
                    bytes - 1 < CLASS_MAX_BYTES; // not 0
    if (!CFG_PADDING && likely(is_usual))
        return alloc_from(heap, bits_align_up(bytes, alignment), is_zeroed);
    struct aligned_request request = {bytes, alignment, 0, is_zeroed};
    return aligned_alloc_from(heap, request);
}

static void *aligned_counted(struct local_heap *heap, size_t count, struct aligned_request request)
{
    if (!bits_multiply(count, request.bytes, &request.bytes))
        return report_no_memory(SIZE_MAX, true);
    return aligned_alloc_from(heap, request);
}

// --- resizing ------------------------------------------------------------------------------------

// With room to grow, where that can be had as simply as the usual aligned block; else NULL.
static void *aligned_with_room(struct local_heap *heap, size_t kept,
                               const struct aligned_request *request)
{
    size_t roomy = resize_with_room(kept, request->bytes);
    bool is_usual = request->offset == 0 && request->alignment <= SLICE_BYTES;
    if (roomy == request->bytes || request->is_zeroed || !is_usual) return NULL;
    roomy = bits_align_up(roomy, request->alignment);
    return roomy <= CLASS_MAX_BYTES ? alloc_quietly(heap, roomy) : NULL;
}

static void *aligned_move(struct local_heap *heap, void *pointer, size_t kept,
                          struct aligned_request request)
{
    void *moved = aligned_with_room(heap, kept, &request);
    if (moved == NULL) moved = aligned_alloc_from(heap, request);
    if (moved == NULL) return NULL;
    memcpy(moved, pointer, kept);
    mi_free(pointer);
    return moved;
}

static void *aligned_resize(struct local_heap *heap, void *pointer, struct aligned_request request)
{
    if (pointer == NULL) return aligned_alloc_from(heap, request);
    if (!bits_is_power_of_two(request.alignment)) {
        errno = EINVAL;
        return NULL;
    }
    struct free_place place;
    if (!free_find(pointer, "realloc_aligned", &place)) return NULL;

    size_t usable = free_usable_bytes(&place, pointer);
    size_t kept = request.bytes < usable ? request.bytes : usable;
    bool is_aligned = bits_is_aligned((char *)pointer + request.offset, request.alignment);
    bool fits = request.bytes <= usable && request.bytes >= usable - usable / 2 && !CFG_PADDING;
    // where zeroes are promised whole slices are given back rather than cleared
    bool has_shrunk = is_aligned && request.is_zeroed && request.bytes < usable &&
                      resize_in_place(&place, pointer, request.bytes);
    bool stays = has_shrunk ||
                 (is_aligned && (fits || resize_in_place(&place, pointer, request.bytes)));
    int before = errno;
    void *result = stays ? pointer : aligned_move(heap, pointer, kept, request);
    if (result == NULL && is_aligned && request.bytes <= usable)
        result = resize_stay(&place, pointer, before);
    if (request.is_zeroed && result != NULL) resize_clear_tail(result, kept);
    return result;
}

static void *aligned_resize_counted(struct local_heap *heap, void *pointer, size_t count,
                                    struct aligned_request request)
{
    if (!bits_multiply(count, request.bytes, &request.bytes))
        return report_no_memory(SIZE_MAX, true);
    return aligned_resize(heap, pointer, request);
}

static struct aligned_request aligned_ask(size_t bytes, size_t alignment, size_t offset,
                                          bool is_zeroed)
{
    struct aligned_request request = {bytes, alignment, offset, is_zeroed};
    return request;
}

static void *aligned_in_heap(mi_heap_t *heap, size_t count, struct aligned_request request)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, aligned_counted(part, count, request));
}

static void *aligned_resize_in_heap(mi_heap_t *heap, void *pointer, size_t count,
                                    struct aligned_request request)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL
               ? NULL
               : alloc_finish(part, aligned_resize_counted(part, pointer, count, request));
}

// --- public --------------------------------------------------------------------------------------

void *mi_malloc_aligned(size_t size, size_t alignment)
{
    return aligned_plain(thread_heap(), size, alignment, false);
}

void *mi_zalloc_aligned(size_t size, size_t alignment)
{
    return aligned_plain(thread_heap(), size, alignment, true);
}

void *mi_calloc_aligned(size_t count, size_t size, size_t alignment)
{
    return aligned_counted(thread_heap(), count, aligned_ask(size, alignment, 0, true));
}

void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment)
{
    return aligned_resize(thread_heap(), p, aligned_ask(newsize, alignment, 0, false));
}

void *mi_rezalloc_aligned(void *p, size_t newsize, size_t alignment)
{
    return aligned_resize(thread_heap(), p, aligned_ask(newsize, alignment, 0, true));
}

void *mi_recalloc_aligned(void *p, size_t newcount, size_t size, size_t alignment)
{
    return aligned_resize_counted(thread_heap(), p, newcount,
                                  aligned_ask(size, alignment, 0, true));
}

void *mi_malloc_aligned_at(size_t size, size_t alignment, size_t offset)
{
    return aligned_alloc_from(thread_heap(), aligned_ask(size, alignment, offset, false));
}

void *mi_zalloc_aligned_at(size_t size, size_t alignment, size_t offset)
{
    return aligned_alloc_from(thread_heap(), aligned_ask(size, alignment, offset, true));
}

void *mi_calloc_aligned_at(size_t count, size_t size, size_t alignment, size_t offset)
{
    return aligned_counted(thread_heap(), count, aligned_ask(size, alignment, offset, true));
}

void *mi_realloc_aligned_at(void *p, size_t newsize, size_t alignment, size_t offset)
{
    return aligned_resize(thread_heap(), p, aligned_ask(newsize, alignment, offset, false));
}

void *mi_rezalloc_aligned_at(void *p, size_t newsize, size_t alignment, size_t offset)
{
    return aligned_resize(thread_heap(), p, aligned_ask(newsize, alignment, offset, true));
}

void *mi_recalloc_aligned_at(void *p, size_t newcount, size_t size, size_t alignment, size_t offset)
{
    return aligned_resize_counted(thread_heap(), p, newcount,
                                  aligned_ask(size, alignment, offset, true));
}

void *mi_heap_malloc_aligned(mi_heap_t *heap, size_t size, size_t alignment)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, aligned_plain(part, size, alignment, false));
}

void *mi_heap_zalloc_aligned(mi_heap_t *heap, size_t size, size_t alignment)
{
    struct local_heap *part = alloc_part(heap);
    return part == NULL ? NULL : alloc_finish(part, aligned_plain(part, size, alignment, true));
}

void *mi_heap_calloc_aligned(mi_heap_t *heap, size_t count, size_t size, size_t alignment)
{
    return aligned_in_heap(heap, count, aligned_ask(size, alignment, 0, true));
}

void *mi_heap_realloc_aligned(mi_heap_t *heap, void *p, size_t newsize, size_t alignment)
{
    return aligned_resize_in_heap(heap, p, 1, aligned_ask(newsize, alignment, 0, false));
}

void *mi_heap_rezalloc_aligned(mi_heap_t *heap, void *p, size_t newsize, size_t alignment)
{
    return aligned_resize_in_heap(heap, p, 1, aligned_ask(newsize, alignment, 0, true));
}

void *mi_heap_recalloc_aligned(mi_heap_t *heap, void *p, size_t newcount, size_t size,
                               size_t alignment)
{
    return aligned_resize_in_heap(heap, p, newcount, aligned_ask(size, alignment, 0, true));
}

void *mi_heap_malloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
{
    return aligned_in_heap(heap, 1, aligned_ask(size, alignment, offset, false));
}

void *mi_heap_zalloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
{
    return aligned_in_heap(heap, 1, aligned_ask(size, alignment, offset, true));
}

void *mi_heap_calloc_aligned_at(mi_heap_t *heap, size_t count, size_t size, size_t alignment,
                                size_t offset)
{
    return aligned_in_heap(heap, count, aligned_ask(size, alignment, offset, true));
}

void *mi_heap_realloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                 size_t offset)
{
    return aligned_resize_in_heap(heap, p, 1, aligned_ask(newsize, alignment, offset, false));
}

void *mi_heap_rezalloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                  size_t offset)
{
    return aligned_resize_in_heap(heap, p, 1, aligned_ask(newsize, alignment, offset, true));
}

void *mi_heap_recalloc_aligned_at(mi_heap_t *heap, void *p, size_t newcount, size_t size,
                                  size_t alignment, size_t offset)
{
    return aligned_resize_in_heap(heap, p, newcount, aligned_ask(size, alignment, offset, true));
}
