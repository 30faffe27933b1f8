/* cache.h: blocks of shared pages that a thread has freed, whoever allocated them, and hands out
 * again before it looks at any page. The main local heap has a bin for each shared class.
 *
 *   free, any thread's block ----> bin ----> malloc     blocks above 512 bytes: last in, first out
 *                                  | ^ |
 *                                  | | +---> list[c] ----> malloc     smaller ones: the whole bin
 *          the cache holds too much| | the bin, and list[c], are empty      when list[c] is empty
 *                                  v |
 *                               depot: chains of blocks, any thread (page/depot.h)
 *                                  | ^
 *                          no room | | nothing there: some blocks of one page
 *                                  v |
 *                                 shared pages (page/page.h)
 *
 * A bin is a sink (page.h): as long as it has room, free puts a block there and looks no further.
 * Then cache_put counts what the cache holds and makes room, or gives blocks away: the first of a
 * bin, so the newest, which are reached without a walk.
 *
 * To its page a block in a cache is out, and may be all that keeps the page from becoming empty. So
 * a thread holds only what it has use for: its limit grows when it finds a bin empty, and falls to
 * CACHE_LEAST_BYTES when it has given away much more than it did of late without handing a block
 * out; then it gives its lists away, too, and lets most blocks go by, to their pages: the last one
 * with the next. So a thread that frees all it has and then sleeps keeps little. What all caches
 * may hold together is an eighth of what is in pages of shared classes, and CACHE_SPARE_BYTES, in
 * even parts of CACHE_MOST_BYTES at most; they are counted only now and then, so for a while it can
 * be CACHE_ROOMY times as much.
 *
 * Of blocks beyond 64 KiB it keeps some of one class at a time, when two such blocks after each
 * other were of that class: one block of each would be 7 MiB.
 *
 * Rules: H6 and H7 (local_heap.h). Owner only, but for cache_count and cache_is_passing.
 */
#ifndef HEAP_CACHE_H
#define HEAP_CACHE_H
#include "page/depot.h"
#include "page/retire.h"

static const size_t CACHE_SPARE_BYTES = 4 * 1024 * 1024;
static const size_t CACHE_MOST_BYTES = 4 * 1024 * 1024;
enum {
    CACHE_LEAST_BYTES = 16 * 1024,
    CACHE_ROOMY = 4,
    CACHE_STEP = 16, // so small a part of its limit it takes, or passes on, at a time
    CACHE_LONG_FIRST = 89, // the first class of long blocks, beyond 64 KiB
    CACHE_LONG_BLOCKS = 16, // of which there is room for so many
    CACHE_WAIT_BYTES = 16 * 1024, // blocks that go by and are longer do not wait
    CACHE_REVIEW_MS = 200,
    // after so many blocks out of the bins malloc takes a slow path, though no bin is dry
    CACHE_BEATS = 128
};

// Blocks of one class.
struct cache_bin {
    struct block *list;
    uint32_t left;    // how many more free puts here without a closer look
    uint16_t room;    // left, and the blocks on the list
    uint16_t counted; // of the bin's blocks: so many are in held_bytes
};
static_assert(offsetof(struct cache_bin, list) == 0 &&
                  offsetof(struct cache_bin, left) == PAGE_SINK_LEFT,
              "a sink, as a page is");

// A block that goes by, and its page.
struct cache_passing { struct page *page; struct block *block; };

struct cache {
    size_t   room_bytes; // what the bins have room for
    size_t   held_bytes; // what was in them when each was counted last
    size_t   limit;      // what that may come to
    size_t   given;      // bytes given away since a block was handed out, as far as one knows
    size_t   run;        // the most that this was of late: half as much with each review
    size_t   untold;     // bytes given away that purger_expect was not told of
    unsigned beats;      // counts down with each block above 512 bytes that is handed out
    unsigned seen_beats; // what that was when bytes were given away last
    unsigned give_turn;  // the class that gave blocks away last
    unsigned room_turn;  // the class that gave room away last
    bool     only_frees; // its thread does, as far as one knows: it is of no use
    unsigned passes;     // then so many blocks may go by until it is looked at
    unsigned looked;     // the class that is looked at next
    unsigned long_class; // of the long block that came last, if it fits; else 0
    struct cache_passing passing; // what went by last, see cache_pass; NULL: nothing waits
    uint64_t due_ms;     // when all are looked at again
    struct cache_bin bin[CLASS_COUNT - CLASS_SHARED_FIRST];
    // of each class, what its first blocks were when it was looked at last
    uint16_t seen[CLASS_COUNT - CLASS_SHARED_FIRST];
    // how many blocks were on each list[c], for classes that have one, when it was loaded
    uint16_t loaded[CLASS_BINNED_FIRST - CLASS_SHARED_FIRST + 1];
};

static always_inline struct cache_bin *cache_bin_of(struct cache *cache, size_t size_class)
{
    return &cache->bin[size_class - CLASS_SHARED_FIRST];
}

static inline unsigned cache_held(const struct cache_bin *bin)
{
    return (unsigned)(bin->room - bin->left);
}

// A block of that class went by, and waits. Of another thread's cache: as far as one can see.
static inline bool cache_is_passing(const struct cache *cache, size_t size_class)
{
    const struct page *page = cache->passing.page;
    return page != NULL && page->size_class == size_class;
}

// A bin was empty: the thread may hold more from now on, as long as it does not hold too much.
INTERNAL void cache_miss(struct cache *cache);
// How much an empty bin had best get at a time, where that costs no page faults.
static inline size_t cache_fill_bytes(const struct cache *cache)
{
    size_t bytes = cache->limit / CACHE_STEP;
    return bytes < DEPOT_CHAIN_BYTES ? bytes : DEPOT_CHAIN_BYTES;
}

// Takes a block of a shared page, out until now, whatever room there is. A bin that has none gets
// some, while the cache may hold more; else blocks are given away. `lists` are the local heap's.
INTERNAL void cache_put(struct cache *cache, struct block **lists, struct page *page,
                        struct block *block);
// Puts a chain into an empty bin.
INTERNAL void cache_fill(struct cache *cache, size_t size_class, struct depot_chain chain);
// Empties a bin. Returns its blocks, which become list[c].
INTERNAL struct block *cache_unload(struct cache *cache, size_t size_class);
// So many blocks of another place became list[c].
static inline void cache_set_loaded(struct cache *cache, size_t size_class, unsigned count)
{
    cache->loaded[size_class - CLASS_SHARED_FIRST] = (uint16_t)count;
}

// The block goes to its page. Debug and secure builds report one that may not: it was freed twice
// at the same instant, and has been handed out, or its page is gone.
INTERNAL void cache_return(struct cache_passing passing);
// It is a block of that page, out still, and, as far as the build can tell, not with the user.
INTERNAL bool cache_may_return(struct cache_passing passing);

// The block goes by the cache. Unless it is long, it waits until the next such one does: the word
// of its page is changed by an instruction that waits for all writes before it, among them that of
// the block's link, to memory that is seldom in the processor's cache, and is fetched meanwhile.
static always_inline void cache_pass(struct cache *cache, struct page *page, struct block *block)
{
    struct cache_passing now = {page, block}, last = cache->passing;
    if (unlikely(page->block_bytes > CACHE_WAIT_BYTES)) {
        cache_return(now);
        return;
    }
    compiler_prefetch(block);
    compiler_prefetch(&page->remote);
    cache->passing = now;
    if (likely(last.page != NULL)) cache_return(last);
}

// false: the cache is to be looked at, for it may be of use, or has room for the block.
static always_inline bool cache_try_pass(struct cache *cache, struct page *page,
                                         struct block *block)
{
    if (cache->passes == 0 || cache_bin_of(cache, page->size_class)->room != 0) return false;
    if (cache->seen_beats != cache->beats) return false;
    cache->passes--;
    cache->given += page->block_bytes;
    cache_pass(cache, page, block);
    return true;
}

// Forgets what is in a bin, in whose list something else was found.
INTERNAL void cache_drop(struct cache *cache, size_t size_class);
// Now and then, `now_ms` being the time: what the cache may hold may have become less. Blocks of
// classes that have not been used for CACHE_REVIEW_MS, and chains in the depot, go back to their
// pages, which they keep from becoming empty. `lists` are the local heap's.
INTERNAL void cache_review(struct cache *cache, struct block **lists, uint64_t now_ms);
// All of it, and of `lists`, to the depot or straight to the pages.
INTERNAL void cache_flush(struct cache *cache, struct block **lists, bool to_pages);
// At most so many bytes are in the bins, and on `lists`, the local heap's.
INTERNAL size_t cache_bytes(const struct cache *cache, struct block *const *lists);
// Blocks of that class on a list, of cached ones or of a page's, that is another thread's and may
// change meanwhile. In builds with guards the count ends with a block that begins where a guard can
// be one day.
INTERNAL size_t cache_count(const struct block *list, size_t size_class);

// NULL while H7 holds for that bin.
INTERNAL const char *cache_broken_bin(const struct cache_bin *bin, size_t size_class);

#endif
