/* walk.h: looking at pages and blocks from outside the fast paths: for visitors, reports and
 * ownership queries.
 *
 * What another thread does at the same time is seen or not seen; counts are exact when no thread is
 * inside the allocator. (In builds with guards nearly, where another thread has free blocks of a
 * heap that can be destroyed at hand.) No call here writes to a page that the calling thread does
 * not own.
 */
#ifndef HEAP_WALK_H
#define HEAP_WALK_H
#include "heap/thread.h"
#include "page/remote.h"

// Calls visit(page, arg) for every page of every arena that is in use, until it returns false. Read
// only.
INTERNAL bool walk_all_pages(bool (*visit)(struct page *page, void *arg), void *arg);
// The same for the pages of one heap, with the part that each is of; the calling thread's own lists
// are unloaded first, and its parked pages taken back. Its parts in other running threads are left
// out. Shared pages are of each backing heap: they are claimed while they are visited, so that
// their lists can be read. `main`: of the calling thread.
typedef bool walk_visit(struct page *page, const struct local_heap *part, void *arg);
INTERNAL bool walk_heap_pages(struct mi_heap_s *heap, struct local_heap *main, walk_visit *visit,
                              void *arg);
// The page was full, or was collected: its part has parked it, and would have it back.
INTERNAL bool walk_is_parked_by(const struct page *page, const struct local_heap *part);
// Claims a page that nobody has, also when the helper had it for a moment.
INTERNAL must_use bool walk_claim(struct page *page);
// The page is of that part, by now, which is the calling thread's or held by it, and so its lists
// may be looked at. Not said of shared pages, which are claimed to be read.
INTERNAL bool walk_is_readable(const struct page *page, const struct local_heap *part);
// Calls visit(block, arg) for each block of a readable page that is with the user (or in some
// thread's ring), until it returns false. The page's list must not be loaded.
INTERNAL bool walk_blocks(struct page *page, bool (*visit)(void *block, void *arg), void *arg);
// The page is one of this heap's, as far as its owner word tells: a page of a thread that has ended
// is nobody's, a shared one the calling thread's backing heap's.
INTERNAL bool walk_is_of(const struct page *page, const struct mi_heap_s *heap);

// NULL while all rules of the local heap hold, and H2 for every page that names it as its owner.
// O(slices). Owner only, also while other threads are at theirs.
INTERNAL const char *walk_broken_rule(const struct local_heap *heap);

// What is with the user, from page counters minus listed blocks.
struct walk_totals {
    size_t pages, blocks, bytes; // blocks of any size, in bytes of block sizes
    size_t large_blocks, large_bytes;
    size_t class_blocks[CLASS_COUNT];
};
INTERNAL void walk_count(struct walk_totals *totals);

#endif
