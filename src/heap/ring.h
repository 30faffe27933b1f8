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

INTERNAL void ring_flush(struct local_heap *main);
// Takes the block, or pushes it at once where the ring is not for it.
INTERNAL void ring_put(struct local_heap *main, struct page *page, struct block *block);
// for checkers and walks
INTERNAL bool ring_has(const struct local_heap *main, const struct page *page);
INTERNAL size_t ring_count(const struct local_heap *main, const struct page *page);

#endif
