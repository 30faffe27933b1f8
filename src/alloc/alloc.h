/* alloc.h: where a block is handed out. The public functions of this floor are declared in
 * mimalloc.h.
 *
 * There is one place where a block leaves (alloc_hand_out); what debug builds do to blocks happens
 * there.
 *
 * Debug padding, at the end of a block:
 *   | requested bytes | FILL_PADDING ... | canary, 8 bytes | number of requested bytes, 8 bytes |
 */
#ifndef ALLOC_ALLOC_H
#define ALLOC_ALLOC_H
#include "mimalloc.h"
#include "heap/thread.h"
#include "page/depot.h"

static const size_t ALLOC_MAX_BYTES = PTRDIFF_MAX; // larger requests fail
enum { ALLOC_PADDING_BYTES = BLOCK_PADDING_BYTES };

// A block from this local heap (any state: the slow path makes it ready). NULL after
// report_no_memory.
INTERNAL cold void *alloc_slow(struct local_heap *heap, size_t bytes, bool is_zeroed);
// The same, with a run of slices of its own, whatever its size, that is aligned.
INTERNAL no_inline void *alloc_slow_large(struct local_heap *heap, size_t bytes, size_t alignment,
                                          bool is_zeroed);
INTERNAL no_inline void *alloc_medium(struct local_heap *heap, size_t bytes, bool is_zeroed);
// The thread's part of a heap, for a call that ends with alloc_finish; NULL when it is not usable
// (reported) or memory is exhausted.
INTERNAL no_inline struct local_heap *alloc_find_part(mi_heap_t *heap);
// A block where one can be had without trying hard: NULL, and nothing is reported, while the thread
// has no heap, or there is no memory at once. For who can do with less. Not where blocks have
// padding. `bytes` up to ALLOC_MAX_BYTES. Leaves errno alone.
INTERNAL void *alloc_quietly(struct local_heap *heap, size_t bytes);
// The loaded list begins with something else than a free block: reports that, drops the list, and
// goes on as alloc_slow.
INTERNAL cold void *alloc_bad_list(struct local_heap *heap, size_t bytes, bool is_zeroed);
// Debug builds: nobody wrote to the free block; its contents become those of a new one.
INTERNAL void alloc_open_block(const struct page *page, struct block *block);
// Debug builds: writes padding, counts.
INTERNAL void alloc_mark(const struct page *page, void *block, size_t bytes);
// The same for a block that was marked with another number before.
INTERNAL void alloc_mark_anew(const struct page *page, void *block, size_t bytes);

INTERNAL bool alloc_padding_is_intact(const struct page *page, const void *block);

// The usual case, without a call: `now`, which malloc uses, is the thread's part of that heap. The
// handle is not read: it may be none.
static always_inline bool alloc_is_part_of(const struct local_heap *now, const mi_heap_t *heap)
{
    return heap != NULL && local_heap_handle_of(now) == heap;
}

static inline struct local_heap *alloc_part(mi_heap_t *heap)
{
    struct local_heap *now = thread_heap();
    return likely(alloc_is_part_of(now, heap)) ? now : alloc_find_part(heap);
}

// What the call gives. A thread that has ended has borrowed the part.
static inline void *alloc_finish(struct local_heap *part, void *block)
{
    if (unlikely(thread_heap() == &thread_ended_heap)) thread_finish(part);
    return block;
}

// The page of a list's first block, which may be wrong where `is_cached`: then it may be NULL.
// Debug and secure builds only.
static always_inline struct page *alloc_page_of(const struct local_heap *heap, size_t size_class,
                                                const struct block *block, bool is_cached)
{
    if (!CFG_STATES) return NULL;
    return is_cached ? page_of(block) : heap->own[size_class].current;
}

static always_inline bool alloc_check(const struct page *page, size_t size_class,
                                      const struct block *block, bool is_cached)
{
    if (is_cached && unlikely(!depot_is_of(page, size_class))) return false;
    struct state *state = is_cached ? arena_state_at(block) : page_state_at(page, block);
    return likely(state != NULL) && state_hand_out(state);
}

// Unlinks the first block of a list: of a loaded one, or of cached blocks. false: it is no free
// block of the class. Only debug and secure builds look. Debug builds open the block when all is
// counted, since that may report a fault.
static always_inline bool alloc_unlink(const struct page *page, struct block **list,
                                       size_t size_class, bool is_cached)
{
    static const struct link_key no_key = {0, 0};
    struct block *block = *list;
    if (CFG_STATES && unlikely(!alloc_check(page, size_class, block, is_cached))) return false;
    struct block *next = block_next(block, CFG_SECURE ? &page->key : &no_key);
    *list = next;
    // The next call needs its link, and the user after that writes there: lists of blocks that were
    // used long ago lie in no cache.
    compiler_prefetch(next);
    return true;
}

// Of a list of the heap's own.
static always_inline bool alloc_unlink_listed(const struct page *page, struct block **list,
                                              size_t size_class, bool is_cached)
{
    struct block *block = *list;
    if (!alloc_unlink(page, list, size_class, is_cached)) return false;
    if (CFG_DEBUG >= 1) alloc_open_block(page, block);
    return true;
}

// Of a bin.
static always_inline bool alloc_unlink_binned(struct local_heap *heap, const struct page *page,
                                               size_t size_class, bool is_cached)
{
    struct cache_bin *bin = cache_bin_of(&heap->cache, size_class);
    struct block *block = bin->list;
    if (!alloc_unlink(page, &bin->list, size_class, is_cached)) return false;
    bin->left += is_cached;
    if (CFG_DEBUG >= 1) alloc_open_block(page, block);
    return true;
}

// Debug builds write padding and count.
static always_inline void *alloc_hand_out(const struct page *page, void *block, size_t bytes)
{
    if (CFG_PADDING) alloc_mark(page, block, bytes);
    return block;
}

static always_inline void *alloc_zeroed(struct local_heap *heap, size_t size_class,
                                        struct block *block)
{
    if (local_heap_is_zero(heap, size_class)) block->link = 0;
    else bits_wipe((void *)block, class_block_bytes(size_class));
    return block;
}

// From a list of the heap's own, not of a bin.
static always_inline void *alloc_listed(struct local_heap *heap, size_t size_class, size_t bytes,
                                        bool is_zeroed)
{
    // The address in a register, not an index: some processors hand a value that was stored a
    // moment ago on to a load without delay only where the address of both is so simple.
    struct block **list = (struct block **)compiler_hide((uintptr_t)&heap->list[size_class]);
    struct block *block = *list;
    if (unlikely(block == NULL)) return alloc_slow(heap, bytes, is_zeroed);
    bool is_cached = CFG_STATES && local_heap_has_cached(heap, size_class);
    const struct page *page = alloc_page_of(heap, size_class, block, is_cached);
    if (unlikely(!alloc_unlink_listed(page, list, size_class, is_cached))) {
        return alloc_bad_list(heap, bytes, is_zeroed);
    }
    if (is_zeroed) alloc_zeroed(heap, size_class, block);
    return alloc_hand_out(page, block, bytes);
}

// The fast path: a small size and a list that is not empty.
static always_inline void *alloc_from(struct local_heap *heap, size_t bytes, bool is_zeroed)
{
    size_t need = bytes + ALLOC_PADDING_BYTES;
    if (unlikely(need > CLASS_LINEAR_BYTES || (CFG_PADDING && bytes > CLASS_LINEAR_BYTES))) {
        return alloc_medium(heap, bytes, is_zeroed);
    }
    return alloc_listed(heap, class_of_linear(need), bytes, is_zeroed);
}

#endif
