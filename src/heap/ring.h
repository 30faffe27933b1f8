/* ring.h: blocks of pages that this thread does not own, collected by page and pushed as chains, so
 * that a run of remote frees into one page costs one compare-and-swap.
 *
 * A slot is chosen by the page's address; another page's block in the same slot flushes it first.
 * The ring is flushed on every slow path, when it holds RING_MAX_BYTES, and when the thread ends.
 * Large blocks and blocks of pinned pages never enter it (H4 of local_heap.h). (Compare "BatchIt",
 * ISMM 2024.)
 */
#ifndef HEAP_RING_H
#define HEAP_RING_H
#include "page/page.h"

enum {
    RING_SLOTS = 16,
    RING_MAX_BYTES = 16 * 1024,
    RING_BLOCK_BYTES = CFG_OWNED_BYTES,
    RING_FLUSH_BYTES = RING_MAX_BYTES - RING_BLOCK_BYTES // beyond it, all is flushed
};

struct ring_slot {
    struct page  *page; // NULL: nothing is in it
    struct block *first, *last;
    uint32_t      count;
    uint32_t      block_bytes;
};

// A thread's.
struct ring {
    struct ring_slot slot[RING_SLOTS];
    size_t           bytes;
    // what was pushed so far; added to the process's statistics when the thread ends
    uint64_t         chains, chain_blocks;
};

// Neighbouring descriptors, and those of pages of several slices, fall into different slots.
static inline struct ring_slot *ring_slot_of(struct ring *ring, const struct page *page)
{
    uintptr_t number = (uintptr_t)page >> DESCRIPTOR_SHIFT;
    return &ring->slot[(number ^ number >> 4) % RING_SLOTS];
}

// The usual case: the ring holds blocks of that page, which so stays what it is, and has room for
// one more. What else a block must be for the ring, the others of its page were already.
static inline bool ring_can_extend(struct ring *ring, const struct page *page)
{
    return ring_slot_of(ring, page)->page == page &&
           ring->bytes + page->block_bytes <= RING_FLUSH_BYTES;
}

static inline void ring_extend(struct ring *ring, const struct page *page, struct block *block)
{
    struct ring_slot *slot = ring_slot_of(ring, page);
    block_set_next(block, slot->first, &page->key);
    slot->first = block;
    slot->count++;
    ring->bytes += page->block_bytes;
}

INTERNAL void ring_flush(struct ring *ring);
// The page has become this thread's: what the ring holds of it goes back at once (H4).
INTERNAL void ring_take_home(struct ring *ring, struct page *page);
// Takes the block, or pushes it at once where the ring is not for it.
INTERNAL void ring_put(struct ring *ring, struct page *page, struct block *block);
// for checkers and walks
INTERNAL bool ring_has(const struct ring *ring, const struct page *page);
INTERNAL size_t ring_count(const struct ring *ring, const struct page *page);

#endif
