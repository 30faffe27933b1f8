/* depot.h: chains of free blocks that some thread had too many of, for the next one that needs
 * them.
 *
 *   class 41   | chain | chain |   .   | ...        DEPOT_SLOTS for each class, any thread
 *   class 42   | chain |   .   |   .   | ...
 *
 * Only blocks of shared pages (page.h), of classes up to DEPOT_BLOCK_BYTES. A chain may have blocks
 * of several pages, all of them out. A slot is one atomic word: the first block's address, and in
 * its low bits how many blocks there are. It is only ever filled when it is empty and taken whole,
 * so a chain that comes back meanwhile does no harm. (Compare Bonwick, Adams, "Magazines and Vmem",
 * 2001.) While there is one thread no slot is filled: it would only keep pages from going back.
 * Rules (see depot_broken_rule; D1 also test/model/test_shared.cpp):
 *   D1  a chain is in one slot or with one thread
 *   D2  it has as many blocks as its word says, DEPOT_CHAIN_BLOCKS at most, all of the class
 */
#ifndef PAGE_DEPOT_H
#define PAGE_DEPOT_H
#include "page/page.h"

enum {
    DEPOT_SLOTS        = 16,
    DEPOT_FEW_SLOTS    = 2, // that a class may have however little is in use
    DEPOT_SLOT_SHARE_BYTES = 1024 * 1024, // in shared pages, for each slot more
    DEPOT_BLOCK_BYTES  = 16 * 1024,
    DEPOT_CHAIN_BYTES  = 64 * 1024, // of a chain with more than one block
    DEPOT_CHAIN_BLOCKS = 31,        // fits into the low bits of an address
    DEPOT_REVIEW_MS    = 200,
    DEPOT_REVIEW_CHAINS = 2,
    DEPOT_CLASSES      = 73 - CLASS_SHARED_FIRST // from that one on, up to DEPOT_BLOCK_BYTES
};

struct depot_chain { struct block *first; unsigned count; };

// How many blocks a chain of that class has at most, 1 at least.
INTERNAL unsigned depot_chain_blocks(size_t size_class);
// Takes the chain, or returns it block by block to its pages when there is no room. Any thread.
INTERNAL void depot_put(size_t size_class, struct depot_chain chain);
// There are more free blocks of that class than anybody wants: one slot less may be filled, and a
// chain beyond that goes back to its pages. Any thread.
INTERNAL void depot_shrink(size_t size_class);
// A chain of that class; first == NULL when there is none. Any thread.
INTERNAL struct depot_chain depot_take(size_t size_class);
// Now and then, `now_ms` being the time: chains that nobody has taken for DEPOT_REVIEW_MS go back
// to their pages. DEPOT_REVIEW_CHAINS at a time. Any thread.
INTERNAL void depot_review(uint64_t now_ms);
INTERNAL bool depot_review_goes_on(void); // there is more to do: it had better be called soon
// All chains go back to their pages. Any thread.
INTERNAL void depot_drain(void);
INTERNAL void depot_drain_class(unsigned number); // of that class only, counted from 0
// Returns each block of a chain to its page.
INTERNAL void depot_return(struct depot_chain chain);
// Blocks of that class in the depot, about.
INTERNAL size_t depot_count(size_t size_class);

// The next block of a list whose blocks are those of several shared pages; NULL at its end, and
// after report_fault_within() where a link leads to anything but a free block of the class. Only
// debug and secure builds look.
INTERNAL struct block *depot_next(const struct block *block, size_t size_class);
// Such a block: of a shared page, and, as far as the build can tell, not with the user.
INTERNAL bool depot_may_hold(const struct block *block, size_t size_class);
// The page of such a block.
static always_inline bool depot_is_of(const struct page *page, size_t size_class)
{
    return page != NULL && page->size_class == size_class && page_is_shared(page);
}

// NULL while D2 holds. When no other thread is at it.
INTERNAL const char *depot_broken_rule(void);

#endif
