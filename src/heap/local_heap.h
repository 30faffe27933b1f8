/* local_heap.h: the part of a heap that one thread owns.
 *
 *   list[c]     free blocks of class c that are handed out next: the free list of current[c],
 *               loaded whole, so that malloc does not touch the page. From CLASS_BINNED_FIRST on
 *               it is in cache.bin[c]; see local_heap_list
 *   cache       of shared classes, if the heap cannot be destroyed, the blocks that the thread has
 *               freed (cache.h); list[c] then has what was taken out of the bin or of any page
 *   own[c]      current: the page of list[c], or NULL; queue: other pages with room, owned, in the
 *               order in which they are taken. Not of shared classes that have a cache
 *   full,       pages without room, of heaps that can be destroyed; other heaps park theirs
 *   large       (remote.h) and forget them
 *   ring        blocks of other threads' pages on their way home, in chains by page
 *
 * Rules (see local_heap_broken_rule; that no page of the heap is anywhere else, walk_broken_rule):
 *   H1  list[c] != NULL only with own[c].current != NULL, and its blocks belong to that page; but
 *       for classes that have a cache, see H6
 *   H2  a page is current, in one queue, on `full` or `large`, or parked: exactly one of these
 *   H3  a queued page has room, and its class is the queue's
 *   H4  ring: at most RING_MAX_BYTES of blocks; none of a pinned page, none of its own pages
 *   H5  kept_bytes is the sum of those of its pages, which are empty, and LOCAL_HEAP_KEPT_BYTES at
 *       most
 *   H6  each block in the cache, and in the lists of its classes, is out, in a shared page of its
 *       class
 *   H7  a bin holds room - left blocks, and the sums of the cache are those of its bins; a heap
 *       that can be destroyed has no room
 *   H8  what is claimed ahead is neither free nor a page; only heaps that can be destroyed do so
 * All fields belong to the owner thread but those marked [any].
 */
#ifndef HEAP_LOCAL_HEAP_H
#define HEAP_LOCAL_HEAP_H
#include "base/base.h"
#include "base/chacha.h"
#include "core/stats.h"
#include "heap/ahead.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "page/page.h"

enum {
    LOCAL_HEAP_KEPT_BYTES = 128 * 1024, // of empty pages, for each thread
    LOCAL_HEAP_RELEASED = 32,
    // full pages that a thread claims back, and has not emptied, while malloc does not run dry
    LOCAL_HEAP_CLAIMS = 32
};

// The public handle. A thread's backing heap has it inside its main local heap, others come from a
// pool.
struct mi_heap_s {
    struct local_heap *local;               // [const] of the thread that made it
    ATOMIC(struct local_heap *) others;     // [any] parts of other threads, linked by next_of_heap
    uint32_t state;                         // [owner] enum heap_state
    uint32_t reserve;
};
enum heap_state { HEAP_UNUSED = 0, HEAP_BACKING = 0x6861, HEAP_MADE = 0x6862 };

// Of a class whose pages the local heap owns.
struct local_class { struct page *current, *queue; };

// Pages without room of a heap that can be destroyed. `cursor`: where the search for remote frees
// goes on.
struct full_pages { struct page *first, *cursor; };

struct local_heap {
    struct block      *list[CLASS_BINNED_FIRST]; // of other classes: local_heap_list
    // bit c: blocks of the list of class c read as zeroes but for their links
    uint64_t           zero_list[2];
    struct cache       cache;               // main only, but for `beats` and the bins' lists
    struct full_pages  full, large;         // of small blocks; of large ones
    struct ahead       ahead;               // of a heap that can be destroyed
    // of the same thread; itself for the main one; NULL: that thread has ended
    struct local_heap *main;
    // local parts of other heaps in this thread (from the main one on)
    struct local_heap *next_of_thread, *prev_of_thread;
    struct local_heap *next_spare;          // main only: where the search for spare parts goes on
    struct local_heap *near;                // main only: the last part asked for, or itself
    struct local_heap *chosen;              // main only: NULL, or what was the default one last
    struct local_heap *next_of_heap;        // see mi_heap_s.others
    struct mi_heap_s   backing;             // handle of the main local heap
    struct ring        ring;                // main only, as all below
    unsigned long long heartbeat;           // slow paths of this thread
    struct stats_tally tally;
    unsigned           claims;              // see LOCAL_HEAP_CLAIMS
    unsigned           kept;                // see heap_drop_kept
    unsigned           free_turns;          // frees that may have to look at the clock
    size_t             kept_bytes;          // in empty pages: current, or the only one of a class
    // The last slices of arena 0 that were pages of this thread and came free, in a ring; 1 more
    // than their number, 0: none. They are anybody's, but this thread looks there first.
    uint32_t           released[LOCAL_HEAP_RELEASED];
    unsigned           released_count;
    // For hooks_deferred_free. HOOKS_NEVER in a transient one: what the hook allocates would borrow
    // another one, which would call it again.
    uintptr_t          is_in_hook;
    bool               is_pinned;           // its heap can be destroyed
    // the thread has ended already; the local heap is ended after each call
    bool               is_transient;
    // a page may be made: no idle heap (idle.h) has one
    bool               makes_pages;
    struct chacha      random;
    // From here on: what others look at, also while the local heap waits for its next thread. So it
    // is not zeroed when that one comes.
    // [any] `main` once more, for threads that do not know whether the local heap is theirs
    ATOMIC(struct local_heap *) thread;
    // [any] NULL: that heap is gone, its thread may use this part again
    ATOMIC(struct mi_heap_s *) heap;
    // [any] main: 1: some thread has it; 2: that thread vanished in a fork. Parts: heap.c
    ATOMIC(uint32_t)   is_used;
    // [any] 1: give back what you can at your next slow path, 2: all
    ATOMIC(uint32_t)   collect_asked;
    // [any] when it became idle; idle.h
    ATOMIC(uint64_t)   idle_since_ms;
    // Again the thread's. A main local heap has those of local_heap_owned_classes only: its item in
    // the pool ends there.
    struct local_class own[CLASS_COUNT];
};
enum {
    LOCAL_HEAP_MAIN_BYTES =
        offsetof(struct local_heap, own) + CLASS_SHARED_FIRST * sizeof(struct local_class)
};
static_assert(LOCAL_HEAP_MAIN_BYTES <= 4096, "one OS page at most");

// Read by any thread. relaxed: who finds its own there stored it itself.
static always_inline struct local_heap *local_heap_thread_of(const struct local_heap *heap)
{
    return atomic_load_explicit(&heap->thread, memory_order_relaxed);
}

static always_inline struct mi_heap_s *local_heap_handle_of(const struct local_heap *heap)
{
    return atomic_load_explicit(&heap->heap, memory_order_relaxed);
}

// Loads a fresh list of the class; the loaded list is empty. Returns its first block, which stays
// on the list, or NULL when memory is exhausted, or a page would have to be made and that is not
// allowed. The slow path of malloc.
INTERNAL must_use struct block *local_heap_load(struct local_heap *heap, size_t size_class);
// A block with a run of slices of its own. *is_zero: it reads as zeroes.
INTERNAL void *local_heap_take_large(struct local_heap *heap, size_t bytes, size_t alignment,
                                     bool *is_zero);

// The owner's page has no block out any more.
INTERNAL void local_heap_page_is_empty(struct local_heap *heap, struct page *page);
// The owner of a page that is full frees a block into it; false when somebody else owns the page by
// now, or the thread has claimed enough: then the block goes back as others' do.
INTERNAL must_use bool local_heap_put_in_full(struct local_heap *heap, struct page *page,
                                              struct block *block);
// What the local heap hands out of that class comes out of the thread's cache.
static inline bool local_heap_has_cached(const struct local_heap *heap, size_t size_class)
{
    return class_is_shared(size_class) && !heap->is_pinned;
}

// The first so many classes are those whose pages it owns.
static inline size_t local_heap_owned_classes(const struct local_heap *heap)
{
    return heap->is_pinned ? (size_t)CLASS_COUNT : (size_t)CLASS_SHARED_FIRST;
}

// Where in a local heap the sink of a shared page lies: for page_share.
static inline size_t local_heap_bin_offset(size_t size_class)
{
    return offsetof(struct local_heap, cache.bin) +
           (size_class - CLASS_SHARED_FIRST) * sizeof(struct cache_bin);
}

// Blocks of that class in the thread's cache, which may be another thread's and change meanwhile.
INTERNAL size_t local_heap_count_cached(const struct local_heap *heap, size_t size_class);

// The list that malloc takes blocks of that class from.
static always_inline struct block **local_heap_list(struct local_heap *heap, size_t size_class)
{
    return size_class < CLASS_BINNED_FIRST ? &heap->list[size_class]
                                            : &cache_bin_of(&heap->cache, size_class)->list;
}

static inline const struct block *local_heap_first(const struct local_heap *heap,
                                                   size_t size_class)
{
    return size_class < CLASS_BINNED_FIRST ? heap->list[size_class]
                                            : heap->cache.bin[size_class - CLASS_SHARED_FIRST].list;
}

// A page of this heap that was parked, and has been claimed, is owned again. For walks.
INTERNAL void local_heap_take_back(struct local_heap *heap, struct page *page);
// Frees the large block of a pinned heap.
INTERNAL void local_heap_free_large(struct local_heap *heap, struct page *page);

// Gives back what is empty. is_forced: unloads the lists first, so that everything free is seen,
// and parks the pages that remain, so that this thread may sleep while others free in them.
INTERNAL void local_heap_collect(struct local_heap *heap, bool is_forced);
// The thread leaves a heap that can be destroyed: nothing stays loaded, and some of what is empty
// is given back. Not all is looked at, for it may be the heap's many pages.
INTERNAL void local_heap_leave_part(struct local_heap *heap);
// The thread ends or leaves the heap: every page is parked or released.
INTERNAL void local_heap_abandon(struct local_heap *heap);
// The thread ends: pages that wait in queues are parked or released. Current ones stay, as do lists
// and the cache.
INTERNAL void local_heap_leave_queues(struct local_heap *heap);
// All pages become those of `to`, a local heap of the same thread that is not pinned.
INTERNAL void local_heap_move_pages(struct local_heap *heap, struct local_heap *to);
// All pages are released, whatever is in them.
INTERNAL void local_heap_destroy_pages(struct local_heap *heap);

// NULL while all rules hold. Bounded also when lists are corrupt. Owner only.
INTERNAL const char *local_heap_broken_rule(const struct local_heap *heap);

static inline void local_heap_set_zero(struct local_heap *heap, size_t size_class, bool is_zero)
{
    uint64_t bit = UINT64_C(1) << size_class % 64;
    uint64_t *word = &heap->zero_list[size_class / 64];
    *word = is_zero ? *word | bit : *word & ~bit;
}

static inline bool local_heap_is_zero(const struct local_heap *heap, size_t size_class)
{
    return (heap->zero_list[size_class / 64] >> size_class % 64 & 1) != 0;
}

#endif
