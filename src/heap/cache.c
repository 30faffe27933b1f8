#include "heap/cache.h"
#include "core/report.h"
#include "core/stats.h"
#include "page/depot.h"
#include "region/limit.h"

enum {
    CACHE_SHARE  = 8,  // all caches together: so large a part of what is in pages
    CACHE_GROWTH = 4,  // with each list that was dry: so large a part of the limit
    CACHE_RUN    = 3,  // so often the limit was given away while no block was handed out: too much
    CACHE_GIFTS  = 2,  // chains given away at a time; more if they are short
    CACHE_LOOK_BLOCKS = 64
};

static size_t cache_fair_bytes(void)
{
    if (limit_wants_memory()) return 0;
    // both are about right only, as others count on
    int64_t pages = stats_current(STAT_page_bytes), threads = stats_current(STAT_threads);
    size_t bytes = CACHE_SPARE_BYTES + (pages > 0 ? (size_t)pages / CACHE_SHARE : 0);
    if (threads > 1) bytes /= (size_t)threads;
    if (bytes < CACHE_LEAST_BYTES) return CACHE_LEAST_BYTES;
    return bytes < CACHE_MOST_BYTES ? bytes : CACHE_MOST_BYTES;
}

// Cuts a list behind its first `count` blocks, one at least, of which there are so many; returns
// the rest.
static struct block *cache_cut(struct block *list, size_t size_class, unsigned count)
{
    struct block *last = list;
    for (unsigned i = 1; i < count; i++) last = depot_next(last, size_class);
    struct block *rest = depot_next(last, size_class);
    block_set_next(last, NULL, CFG_SECURE ? &page_of(last)->key : NULL);
    return rest;
}

static unsigned cache_length(const struct block *list, size_t size_class, unsigned most)
{
    unsigned count = 0;
    for (; list != NULL && count < most; list = depot_next(list, size_class)) count++;
    return count;
}

// The first blocks of a list that is not empty, `most` of them at most.
static struct depot_chain cache_cut_off(struct block **list, size_t size_class, unsigned most)
{
    struct depot_chain chain = {*list, cache_length(*list, size_class, most)};
    *list = cache_cut(*list, size_class, chain.count);
    return chain;
}

// The list of a class. Its first block was a link when the one before was handed out: in debug and
// secure builds a list that begins with anything but a cached block is reported, and dropped.
static struct block *cache_list(struct block **lists, size_t size_class)
{
    struct block *first = lists[size_class];
    if (!CFG_STATES || first == NULL || depot_may_hold(first, size_class)) return first;
    lists[size_class] = NULL;
    report_fault(FAULT_LINK, "collect", first, class_block_bytes(size_class));
    return NULL;
}

// At most a chain of a class, and no more than half of the list: those blocks that have waited
// longest, unless the list is too long to look for them.
static struct depot_chain cache_take_some(struct block **lists, size_t size_class)
{
    unsigned most = depot_chain_blocks(size_class);
    struct block *first = cache_list(lists, size_class);
    unsigned length = cache_length(first, size_class, 2 * most + 1);
    struct depot_chain chain = {first, most};
    if (length > 2 * most) {
        lists[size_class] = cache_cut(first, size_class, most);
    } else if (length <= 1) {
        chain.count = length;
        lists[size_class] = NULL;
    } else {
        chain.count = length / 2;
        chain.first = cache_cut(first, size_class, length - chain.count);
    }
    return chain;
}

// Some blocks of a class are gone. Where links led astray others are, too.
static void cache_count_taken(struct cache *cache, struct block **lists, size_t size_class,
                              unsigned count)
{
    cache->bytes -= count * class_block_bytes(size_class);
    if (CFG_STATES && lists[size_class] == NULL) cache->bytes = cache_count_bytes(lists);
}

static void cache_give(struct cache *cache, struct block **lists, size_t size_class)
{
    struct depot_chain chain = cache_take_some(lists, size_class);
    cache_count_taken(cache, lists, size_class, chain.count);
    cache->given += chain.count * class_block_bytes(size_class);
    if (chain.first != NULL) depot_put(size_class, chain);
}

// The next class after `number` that has blocks in the cache, round and round; 0 when none has.
static unsigned cache_next_class(struct block *const *lists, unsigned number)
{
    for (unsigned i = CLASS_SHARED_FIRST; i < CLASS_COUNT; i++) {
        number = number < CLASS_SHARED_FIRST || number >= CLASS_COUNT - 1 ? CLASS_SHARED_FIRST
                                                                          : number + 1;
        if (lists[number] != NULL) return number;
    }
    return 0;
}

// Of the class whose turn it is: so one that is not used any more does not stay for ever.
static void cache_give_in_turn(struct cache *cache, struct block **lists)
{
    cache->turn = cache_next_class(lists, cache->turn);
    if (cache->turn != 0) cache_give(cache, lists, cache->turn);
}

static void cache_set_limit(struct cache *cache, size_t limit)
{
    size_t fair = cache_fair_bytes();
    if (limit < CACHE_LEAST_BYTES) limit = CACHE_LEAST_BYTES;
    cache->limit = limit < fair ? limit : fair;
}

// Blocks have been handed out while the cache overflowed.
static bool cache_is_of_use(struct cache *cache)
{
    if (cache->seen_beats != cache->beats) cache->given = 0;
    cache->seen_beats = cache->beats;
    return cache->given <= CACHE_RUN * cache->limit;
}

void cache_miss(struct cache *cache)
{
    cache->given = 0;
    cache_set_limit(cache, cache->limit + cache->limit / CACHE_GROWTH);
}

// Some chains, and in any case more than what was put last: so it holds too much for a while only,
// after its limit has fallen.
void cache_overflow(struct cache *cache, struct block **lists, size_t size_class)
{
    size_t block_bytes = class_block_bytes(size_class), before = cache->bytes;
    cache_set_limit(cache, cache_is_of_use(cache) ? cache->limit : 0);
    // a block that other blocks could hardly make room for
    bool is_long = block_bytes > DEPOT_BLOCK_BYTES;
    if (is_long && cache->bytes > cache->limit) cache_give(cache, lists, size_class);
    for (int gifts = 0; cache->bytes > cache->limit; gifts++) {
        if (gifts >= CACHE_GIFTS && before - cache->bytes >= 2 * block_bytes) return;
        cache_give_in_turn(cache, lists);
        if (cache->turn == 0) return;
    }
}

static void cache_trim(struct cache *cache, struct block **lists)
{
    if (cache->bytes <= CACHE_LEAST_BYTES && !limit_wants_memory()) return;
    cache_set_limit(cache, cache->limit);
    if (cache->bytes > cache->limit) cache_give_in_turn(cache, lists);
}

static uint32_t cache_mark_of(const struct block *block)
{
    return (uint32_t)((uintptr_t)block / CLASS_SHARED_ALIGNMENT);
}

// Returns the blocks of a class that is out of use, a chain at most: as a rule blocks that came and
// went leave another first block behind. How many.
static unsigned cache_look_at(struct cache *cache, struct block **lists, size_t size_class)
{
    uint32_t *seen = &cache->seen[size_class - CLASS_SHARED_FIRST];
    struct block *first = cache_list(lists, size_class);
    if (first == NULL || *seen != cache_mark_of(first)) {
        *seen = cache_mark_of(first);
        return 0;
    }
    struct depot_chain chain = cache_cut_off(&lists[size_class], size_class, CACHE_LOOK_BLOCKS);
    cache_count_taken(cache, lists, size_class, chain.count);
    depot_return(chain);
    if (lists[size_class] != NULL) *seen = cache_mark_of(lists[size_class]);
    return chain.count;
}

// Goes on with the classes until all were looked at, or many blocks returned.
static void cache_look(struct cache *cache, struct block **lists, uint64_t now_ms)
{
    if (cache->looked >= CLASS_COUNT && now_ms >= cache->due_ms) {
        cache->looked = CLASS_SHARED_FIRST;
        cache->due_ms = now_ms + CACHE_REVIEW_MS;
    }
    for (unsigned count = 0; cache->looked < CLASS_COUNT && count < CACHE_LOOK_BLOCKS;) {
        if (cache->looked >= CLASS_SHARED_FIRST)
            count += cache_look_at(cache, lists, cache->looked);
        cache->looked++;
    }
}

void cache_review(struct cache *cache, struct block **lists, uint64_t now_ms)
{
    if (cache->bytes != 0) {
        cache_trim(cache, lists);
        cache_look(cache, lists, now_ms);
    }
    depot_review(now_ms);
}

static void cache_flush_class(struct block **lists, size_t size_class, bool to_pages)
{
    unsigned most = depot_chain_blocks(size_class);
    struct block *list = cache_list(lists, size_class);
    lists[size_class] = NULL;
    while (list != NULL) {
        struct depot_chain chain = cache_cut_off(&list, size_class, most);
        if (to_pages) depot_return(chain);
        else depot_put(size_class, chain);
    }
}

void cache_flush(struct cache *cache, struct block **lists, bool to_pages)
{
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        if (lists[size_class] != NULL) cache_flush_class(lists, size_class, to_pages);
    }
    cache->bytes = 0;
}

// Blocks that another thread hands out meanwhile may have anything where their link was: so each
// must be a block of the class, and there is an end.
size_t cache_count(struct block *const *lists, size_t size_class)
{
    size_t count = 0, most = CACHE_MOST_BYTES / class_block_bytes(size_class) + 1;
    const struct block *block = lists[size_class];
    for (; count < most && block != NULL; count++) {
        const struct page *page = page_of(block);
        if (page == NULL || page->size_class != size_class) break;
        if (!page_has_block_at(page, block)) break;
        block = block_next(block, &page->key);
    }
    return count;
}

size_t cache_count_bytes(struct block *const *lists)
{
    size_t bytes = 0;
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        bytes += cache_count(lists, size_class) * class_block_bytes(size_class);
    }
    return bytes;
}
