/* ring.h: blocks of pages that this thread does not own, collected by page and pushed as chains, so
 * that a run of remote frees into one page costs one compare-and-swap.
 *
 * A slot is chosen by the page's address; another page's block in the same slot flushes it first.
 * The ring is flushed on every slow path, when it holds RING_MAX_BYTES, and when the thread ends.
 * Large blocks and blocks of pinned pages never enter it (H4). (Compare "BatchIt", ISMM 2024.)
 */
#ifndef HEAP_RING_H
#define HEAP_RING_H
#include "heap/local_heap.h"

enum { RING_FLUSH_BYTES = RING_MAX_BYTES - RING_BLOCK_BYTES }; // beyond it, all is flushed

// Neighbouring descriptors, and those of pages of several slices, fall into different slots.
static inline struct ring_slot *ring_slot_of(struct local_heap *main, const struct page *page)
{
    uintptr_t number = (uintptr_t)page >> DESCRIPTOR_SHIFT;
    return &main->ring[(number ^ number >> 4) % RING_SLOTS];
}

// The usual case: the ring holds blocks of that page, which so stays what it is, and has room for
// one more. What else a block must be for the ring, the others of its page were already.
static inline bool ring_can_extend(struct local_heap *main, const struct page *page)
{
    return ring_slot_of(main, page)->page == page &&
           main->ring_bytes + page->block_bytes <= RING_FLUSH_BYTES;
}

static inline void ring_extend(struct local_heap *main, const struct page *page,
                               struct block *block)
{
    struct ring_slot *slot = ring_slot_of(main, page);
    block_set_next(block, slot->first, &page->key);
    slot->first = block;
    slot->count++;
    main->ring_bytes += page->block_bytes;
}

INTERNAL void ring_flush(struct local_heap *main);
// The page has become this thread's: what the ring holds of it goes back at once (H4).
INTERNAL void ring_take_home(struct local_heap *main, struct page *page);
// Takes the block, or pushes it at once where the ring is not for it.
INTERNAL void ring_put(struct local_heap *main, struct page *page, struct block *block);
// for checkers and walks
INTERNAL bool ring_has(const struct local_heap *main, const struct page *page);
INTERNAL size_t ring_count(const struct local_heap *main, const struct page *page);

#endif
