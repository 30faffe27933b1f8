/* cache.h: blocks above 1 KiB that a thread has freed, whoever allocated them, and hands out
 * again before it looks at any page.
 *
 *   free, any thread's block ----> list[c] of the main local heap ----> malloc
 *                                     |  ^
 *          the cache holds too much   |  |   the list is empty
 *                                     v  |
 *                               depot: chains of blocks, any thread (page/depot.h)
 *                                     |  ^
 *                          no room    |  |   nothing there: some blocks of one page
 *                                     v  |
 *                                 shared pages (page/page.h)
 *
 * To its page a block in a cache is out, and may be all that keeps the page from becoming empty. So
 * a thread holds only what it has use for: its limit grows when it finds a list empty, and falls to
 * CACHE_LEAST_BYTES when it has given three times as much away without handing a block out. So a
 * thread that frees all it has and then sleeps keeps little. What all caches may hold together is
 * an eighth of what is in pages, and CACHE_SPARE_BYTES, in even parts of CACHE_MOST_BYTES at most.
 *
 * Rules: H6 and H7 (local_heap.h). Owner only, but for cache_count.
 */
#ifndef HEAP_CACHE_H
#define HEAP_CACHE_H
#include "page/page.h"

static const size_t CACHE_SPARE_BYTES = 2 * 1024 * 1024;
static const size_t CACHE_MOST_BYTES = 4 * 1024 * 1024;
enum {
    CACHE_LEAST_BYTES = 16 * 1024,
    CACHE_REVIEW_MS = 200,
    // after so many blocks out of the cache malloc takes a slow path, though the list is not dry
    CACHE_BEATS = 128
};

// The blocks are on lists of the local heap, which every call gets: lists[c] for class c.
struct cache {
    size_t   bytes;      // of the blocks on the lists of shared classes
    size_t   limit;      // what they may come to
    size_t   given;      // bytes given away while `beats` was seen_beats
    unsigned beats;      // counts down with each block that is handed out, see CACHE_BEATS
    unsigned seen_beats;
    unsigned turn;       // the class that gave blocks away last
    unsigned looked;     // the class that is looked at next
    uint64_t due_ms;     // when all are looked at again
    // of each class's list, what its first block was when it was looked at last
    uint32_t seen[CLASS_COUNT - CLASS_SHARED_FIRST];
};

// A list was empty: the thread may hold more from now on, as long as it does not hold too much.
INTERNAL void cache_miss(struct cache *cache);
// The cache holds more than it may: gives some of it away. `size_class` is what was put last.
INTERNAL cold void cache_overflow(struct cache *cache, struct block **lists, size_t size_class);
// Now and then, `now_ms` being the time: what the cache may hold may have become less. Lists that
// have not changed for CACHE_REVIEW_MS, nor chains in the depot, go back to their pages, which they
// keep from becoming empty.
INTERNAL void cache_review(struct cache *cache, struct block **lists, uint64_t now_ms);
// All of it, to the depot or straight to the pages.
INTERNAL void cache_flush(struct cache *cache, struct block **lists, bool to_pages);
// Blocks of that class in a cache; another thread's may change meanwhile.
INTERNAL size_t cache_count(struct block *const *lists, size_t size_class);
// Bytes of all blocks in the cache.
INTERNAL size_t cache_count_bytes(struct block *const *lists);

// Takes a block of a shared page, out until now.
static inline void cache_put(struct cache *cache, struct block **lists, const struct page *page,
                             struct block *block)
{
    size_t size_class = page->size_class;
    block_set_next(block, lists[size_class], &page->key);
    lists[size_class] = block;
    cache->bytes += page->block_bytes;
    if (unlikely(cache->bytes > cache->limit)) cache_overflow(cache, lists, size_class);
}

#endif
