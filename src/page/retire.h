/* retire.h: pages that nobody owns, and frees that end a page's life. */
#ifndef PAGE_RETIRE_H
#define PAGE_RETIRE_H
#include "core/stats.h"
#include "page/remote.h"

// Returns a chain of blocks to a page that the calling thread does not own: pushes it, marks the
// page for adopters when it became roomy, releases it when these were the last blocks out.
INTERNAL void retire_push(struct page *page, struct block *first, struct block *last,
                          unsigned count);

// The owner leaves a page: it is parked and, when it has room, marked for adopters; released when
// it is empty. In no queue, not loaded. is_for_good: its thread ends; else it claims the page back
// when it frees into it, as it does with a full one. A shared page stays one.
INTERNAL void retire_park(struct page *page, bool is_for_good);

// Claims a parked page and counts that; false: it is not parked, or some other thread was first.
// The caller becomes owner. retire_park undoes it.
INTERNAL must_use bool retire_claim(struct page *page);

// The owner's page is full: park it, and count that in the owner's tally. false when remote frees
// have made room meanwhile: it stays owned, collected.
INTERNAL must_use bool retire_full(struct page *page, struct stats_tally *tally);

// Frees a parked large block from any thread; false when another free was first.
INTERNAL must_use bool retire_large(struct page *page);
// The same for one of a heap that can be destroyed, which is parked only when that heap was
// deleted: else it goes to its owner. Not by that.
INTERNAL must_use bool retire_push_large(struct page *page);

// Gives back the OS pages that hold nothing but free blocks (holes.h), of every parked page with
// room: of the number-th chunk, all arenas counted; false when there is none. Any thread.
INTERNAL bool retire_give_back_holes_of(size_t number);
INTERNAL void retire_give_back_holes(void); // O(slices)

// A parked page of that class with room, taken over; NULL when a bounded search found none. The
// caller sets `owner`, unless the page is shared. Pages of other classes that it came across are
// handed to `take_other`.
INTERNAL struct page *retire_adopt(size_t size_class,
                                   void (*take_other)(void *taker, struct page *page), void *taker);

#endif
