#include "heap/cache.h"
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/limit.h"
#include "region/purger.h"

enum {
    CACHE_SHARE  = 8,  // all caches together: so large a part of what is in pages of theirs
    CACHE_GROWTH = 4,  // with each bin that was dry: so large a part of the limit
    // A run is what is given away while no block is handed out, more than at one time. Too much is
    // more than so small a part of the limit, and so often what the longest run of late was, the
    // limit at most.
    CACHE_CALM   = 2,
    CACHE_RUNS   = 3,
    // A thread that only frees: so many blocks may go by until one takes a look at the cache; few
    // while that gives away what it has of before
    CACHE_FEW_PASSES = 7,
    CACHE_PASSES = 63,
    // so many chains are given away at a time, if they are shorter than the block that comes
    CACHE_GIFTS  = 8,
    CACHE_LOOK_BLOCKS = 64,
    CACHE_TOLD_BYTES = 64 * 1024 // so much that was given away at a time: see purger_expect
};

static size_t cache_fair_bytes(void)
{
    if (limit_wants_memory()) return 0;
    // both are about right only, as others count on
    int64_t pages = stats_current(STAT_shared_bytes);
    int64_t threads = stats_current(STAT_threads);
    size_t bytes = CACHE_SPARE_BYTES + (pages > 0 ? (size_t)pages / CACHE_SHARE : 0);
    if (threads > 1) bytes /= (size_t)threads;
    if (bytes < CACHE_LEAST_BYTES) return CACHE_LEAST_BYTES;
    return bytes < CACHE_MOST_BYTES ? bytes : CACHE_MOST_BYTES;
}

static void cache_set_limit(struct cache *cache, size_t limit)
{
    size_t fair = cache_fair_bytes();
    if (limit < CACHE_LEAST_BYTES) limit = CACHE_LEAST_BYTES;
    cache->limit = limit < fair ? limit : fair;
}

static void cache_end_run(struct cache *cache)
{
    size_t run = cache->given > DEPOT_CHAIN_BYTES ? cache->given - DEPOT_CHAIN_BYTES : 0;
    if (run > CACHE_MOST_BYTES) run = CACHE_MOST_BYTES;
    if (run > cache->run) cache->run = run;
    cache->given = 0;
}

void cache_miss(struct cache *cache)
{
    cache_end_run(cache);
    cache_set_limit(cache, cache->limit + cache->limit / CACHE_GROWTH);
}

// Blocks have been handed out while the cache overflowed.
static bool cache_is_of_use(struct cache *cache)
{
    if (cache->seen_beats != cache->beats) cache_end_run(cache);
    cache->seen_beats = cache->beats;
    size_t run = cache->run < cache->limit ? cache->run : cache->limit;
    size_t most = cache->limit / CACHE_CALM + CACHE_RUNS * run;
    return cache->given <= (most > DEPOT_CHAIN_BYTES ? most : DEPOT_CHAIN_BYTES);
}

// --- room ----------------------------------------------------------------------------------------

static void cache_recount(struct cache *cache, size_t size_class)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    unsigned now = cache_held(bin);
    size_t block_bytes = class_block_bytes(size_class);
    cache->held_bytes = cache->held_bytes - bin->counted * block_bytes + now * block_bytes;
    bin->counted = (uint16_t)now;
}

static void cache_add_room(struct cache *cache, size_t size_class, unsigned count)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    bin->room = (uint16_t)(bin->room + count);
    bin->left += count;
    cache->room_bytes += count * class_block_bytes(size_class);
    cache_recount(cache, size_class);
}

static void cache_remove_room(struct cache *cache, size_t size_class, unsigned count)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    check(count <= bin->left);
    bin->room = (uint16_t)(bin->room - count);
    bin->left -= count;
    cache->room_bytes -= count * class_block_bytes(size_class);
    cache_recount(cache, size_class);
}

// No free into that bin is to pass without a look.
static void cache_close_bin(struct cache *cache, size_t size_class)
{
    cache_remove_room(cache, size_class, cache_bin_of(cache, size_class)->left);
}

// The class after `size_class`, round and round.
static unsigned cache_class_after(unsigned size_class)
{
    return size_class < CLASS_SHARED_FIRST || size_class >= CLASS_COUNT - 1 ? CLASS_SHARED_FIRST
                                                                            : size_class + 1;
}

// Leaves so many bytes of room to all bins: one after the other loses half of what it has left, but
// not the one of that class.
static void cache_trim_room(struct cache *cache, size_t bytes, size_t size_class)
{
    for (unsigned i = CLASS_SHARED_FIRST; i < CLASS_COUNT && cache->room_bytes > bytes; i++) {
        cache->room_turn = cache_class_after(cache->room_turn);
        unsigned left = cache_bin_of(cache, cache->room_turn)->left;
        if (left == 0 || cache->room_turn == size_class) continue;
        cache_remove_room(cache, cache->room_turn, (left + 1) / 2);
    }
}

// --- giving away ---------------------------------------------------------------------------------

// The first blocks of a list that is not empty, `most` of them at most.
static struct depot_chain cache_cut_off(struct block **list, size_t size_class, unsigned most)
{
    struct depot_chain chain = {*list, 1};
    struct block *last = *list, *rest = depot_next(last, size_class);
    for (; rest != NULL && chain.count < most; chain.count++) {
        last = rest;
        rest = depot_next(last, size_class);
    }
    block_set_next(last, NULL, CFG_SECURE ? &page_of(last)->key : NULL);
    *list = rest;
    return chain;
}

// A list of a class. Its first block was a link when the one before was handed out: in debug and
// secure builds a list that begins with anything but an idle block is reported, and dropped.
static struct block *cache_first(struct block **list, size_t size_class)
{
    struct block *first = *list;
    if (!CFG_STATES || first == NULL || depot_may_hold(first, size_class)) return first;
    *list = NULL;
    report_fault_within(FAULT_LINK, "collect", first, class_block_bytes(size_class));
    return NULL;
}

void cache_drop(struct cache *cache, size_t size_class)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    bin->list = NULL;
    bin->left = bin->room;
    cache_recount(cache, size_class);
}

// Blocks have left a bin. Where a link led astray all of them have.
static void cache_count_taken(struct cache *cache, size_t size_class, unsigned count)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    unsigned held = bin->list == NULL || cache_held(bin) < count ? 0 : cache_held(bin) - count;
    bin->left = bin->room - held;
    cache_recount(cache, size_class);
}

// At most so many blocks of a bin.
static struct depot_chain cache_take(struct cache *cache, size_t size_class, unsigned most)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    struct depot_chain chain = {NULL, 0};
    if (cache_first(&bin->list, size_class) != NULL)
        chain = cache_cut_off(&bin->list, size_class, most);
    cache_count_taken(cache, size_class, chain.count);
    return chain;
}

// What was given away can go back to the OS, should nobody have use for it.
static void cache_tell(struct cache *cache, size_t bytes)
{
    cache->untold += bytes;
    if (cache->untold < CACHE_TOLD_BYTES) return;
    purger_expect(cache->untold);
    cache->untold = 0;
}

static void cache_give_chain(struct cache *cache, size_t size_class, struct depot_chain chain)
{
    size_t bytes = chain.count * class_block_bytes(size_class);
    cache->given += bytes;
    if (chain.first != NULL) depot_put(size_class, chain);
    cache_tell(cache, bytes);
}

// At most a chain of a class, and no more than half of the bin.
static void cache_give(struct cache *cache, size_t size_class)
{
    unsigned most = depot_chain_blocks(size_class);
    unsigned half = (cache_held(cache_bin_of(cache, size_class)) + 1) / 2;
    cache_give_chain(cache, size_class, cache_take(cache, size_class, half < most ? half : most));
}

// A chain of a list, which no free comes across. false: all are empty.
static bool cache_give_of_lists(struct cache *cache, struct block **lists)
{
    for (unsigned size_class = CLASS_SHARED_FIRST; size_class < CLASS_BINNED_FIRST; size_class++) {
        if (cache_first(&lists[size_class], size_class) == NULL) continue;
        unsigned most = depot_chain_blocks(size_class);
        cache_give_chain(cache, size_class, cache_cut_off(&lists[size_class], size_class, most));
        return true;
    }
    return false;
}

// Of the class whose turn it is: so one that is not used any more does not stay for ever. false:
// there is nothing to give.
static bool cache_give_in_turn(struct cache *cache)
{
    for (unsigned i = CLASS_SHARED_FIRST; i < CLASS_COUNT; i++) {
        cache->give_turn = cache_class_after(cache->give_turn);
        const struct cache_bin *bin = cache_bin_of(cache, cache->give_turn);
        if (bin->list == NULL && bin->counted == 0) continue;
        cache_recount(cache, cache->give_turn); // malloc does not
        if (cache_held(bin) == 0) continue;
        cache_give(cache, cache->give_turn);
        return true;
    }
    return false;
}

// Gives away, if the cache holds too much, more than what comes: so it does for a while only, after
// its limit has fallen. false: that would be too many chains.
static bool cache_give_some(struct cache *cache, size_t block_bytes)
{
    size_t before = cache->held_bytes;
    for (int gifts = 0; cache->held_bytes + block_bytes > cache->limit; gifts++) {
        bool is_enough = cache->held_bytes + 2 * block_bytes <= before;
        if (gifts > 0 && is_enough) return true;
        if (gifts == CACHE_GIFTS || !cache_give_in_turn(cache)) break;
    }
    return cache->held_bytes + block_bytes <= cache->limit;
}

static void cache_flush_list(struct block **list, size_t size_class, bool to_pages)
{
    unsigned most = depot_chain_blocks(size_class);
    struct block *rest = cache_first(list, size_class);
    *list = NULL;
    while (rest != NULL) {
        struct depot_chain chain = cache_cut_off(&rest, size_class, most);
        if (to_pages) depot_return(chain);
        else depot_put(size_class, chain);
    }
}

// Neither blocks nor room remain.
static void cache_flush_bin(struct cache *cache, size_t size_class, bool to_pages)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    if (bin->list != NULL) cache_flush_list(&bin->list, size_class, to_pages);
    bin->left = bin->room;
    cache_close_bin(cache, size_class);
}

bool cache_may_return(struct cache_passing passing)
{
    return page_of(passing.block) == passing.page &&
           depot_may_hold(passing.block, passing.page->size_class);
}

void cache_return(struct cache_passing passing)
{
    struct page *page = passing.page;
    if (CFG_STATES && unlikely(!cache_may_return(passing))) {
        report_fault_within(FAULT_DOUBLE_FREE, "free", passing.block, page->block_bytes);
        return;
    }
    retire_push(page, passing.block, passing.block, 1);
}

// Nothing waits any more.
static void cache_return_passing(struct cache *cache)
{
    struct cache_passing last = cache->passing;
    cache->passing.page = NULL;
    if (last.page != NULL) cache_return(last);
}

// Puts a list behind what is in the bin, and takes it away.
static void cache_join(struct cache *cache, size_t size_class, struct block **list)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    struct block *last = cache_first(&bin->list, size_class), *next;
    struct block *rest = cache_first(list, size_class);
    *list = NULL;
    if (last == NULL) bin->list = rest;
    if (last == NULL || rest == NULL) return;
    for (unsigned i = 1; i < cache_held(bin); i++) { // a corrupt list may have no end
        if ((next = depot_next(last, size_class)) == NULL) break;
        last = next;
    }
    block_set_next(last, rest, CFG_SECURE ? &page_of(last)->key : NULL);
}

void cache_flush(struct cache *cache, struct block **lists, bool to_pages)
{
    cache_return_passing(cache);
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_BINNED_FIRST; size_class++)
        cache_join(cache, size_class, &lists[size_class]);
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        const struct cache_bin *bin = cache_bin_of(cache, size_class);
        if (bin->list != NULL || bin->room != 0) cache_flush_bin(cache, size_class, to_pages);
    }
}

// --- blocks come and go --------------------------------------------------------------------------

static void cache_grow_bin(struct cache *cache, size_t size_class)
{
    size_t block_bytes = class_block_bytes(size_class), most = CACHE_ROOMY * cache->limit;
    size_t count = cache->limit / CACHE_STEP / block_bytes;
    if (count == 0) count = 1;
    if (size_class >= CACHE_LONG_FIRST &&
        cache_bin_of(cache, size_class)->room + count > CACHE_LONG_BLOCKS)
        return;
    cache_trim_room(cache, most - count * block_bytes, size_class);
    if (cache->room_bytes + count * block_bytes <= most)
        cache_add_room(cache, size_class, (unsigned)count);
}

// From now on it keeps long blocks of this class, or of none if they do not fit.
static void cache_keep_long(struct cache *cache, unsigned size_class)
{
    if (size_class != 0 && class_block_bytes(size_class) > cache->limit) size_class = 0;
    if (cache->long_class == size_class) return;
    if (cache->long_class != 0) cache_flush_bin(cache, cache->long_class, true);
    cache->long_class = size_class;
}

// A bin gives what it has, a chain at most, and has no room for more. false: it is empty.
static bool cache_give_all(struct cache *cache, size_t size_class)
{
    struct depot_chain chain = cache_take(cache, size_class, depot_chain_blocks(size_class));
    cache_close_bin(cache, size_class);
    if (chain.first != NULL) cache_give_chain(cache, size_class, chain);
    return chain.first != NULL;
}

// Of another class, or of a list, which no free comes across. false: what is left is little.
static bool cache_give_of_others(struct cache *cache, struct block **lists)
{
    cache_keep_long(cache, 0);
    if (cache_give_of_lists(cache, lists)) return true;
    if (cache->room_bytes <= cache->limit || !cache_give_in_turn(cache)) return false;
    cache_close_bin(cache, cache->give_turn);
    return true;
}

// A cache of no use, for its thread only frees: a bin that is full gives what it has, and gets room
// again for blocks that then go together, if there is any; else the block goes by.
static void cache_pass_on(struct cache *cache, struct block **lists, size_t size_class)
{
    size_t block_bytes = class_block_bytes(size_class), most = depot_chain_blocks(size_class);
    for (size_t i = CLASS_SHARED_FIRST; !cache->only_frees && i < CLASS_COUNT; i++)
        cache_close_bin(cache, i);
    cache->only_frees = true;
    if (cache_give_all(cache, size_class) && cache->passes > 0) cache->passes--;
    else if (cache_give_of_others(cache, lists)) cache->passes = CACHE_FEW_PASSES;
    else cache->passes = cache->limit == 0 ? 0 : CACHE_PASSES;
    size_t spare_bytes = cache->room_bytes < cache->limit ? cache->limit - cache->room_bytes : 0;
    size_t count = spare_bytes / block_bytes;
    if (count > most) count = most;
    if (count > 1) {
        cache_add_room(cache, size_class, (unsigned)count);
        return;
    }
    cache->given += block_bytes;
    depot_shrink(size_class);
}

// For one block more at least, if that can be: in the worst case the bin gives away what it has.
static no_inline void cache_make_room(struct cache *cache, struct block **lists,
                                      size_t size_class)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    size_t block_bytes = class_block_bytes(size_class);
    cache_recount(cache, size_class);
    bool is_of_use = cache_is_of_use(cache);
    cache_set_limit(cache, is_of_use ? cache->limit : 0);
    if (!is_of_use || cache->limit == 0) { // or memory is wanted back
        cache_pass_on(cache, lists, size_class);
        return;
    }
    cache->only_frees = false;
    cache->passes = 0;
    bool is_long = size_class >= CACHE_LONG_FIRST;
    bool is_kept = block_bytes <= cache->limit && (!is_long || size_class == cache->long_class);
    cache_keep_long(cache, is_long ? (unsigned)size_class : cache->long_class);
    if (!cache_give_some(cache, is_kept ? block_bytes : 0)) is_kept = false;
    if (!is_kept) { // too long, also for what was given away, or the first long one of its class
        cache_close_bin(cache, size_class);
        cache_trim_room(cache, CACHE_ROOMY * cache->limit, 0);
        return;
    }
    if (cache->held_bytes + block_bytes <= cache->limit) {
        cache_grow_bin(cache, size_class);
    } else { // it holds too much: a closer look at each block
        cache_trim_room(cache, CACHE_ROOMY * cache->limit, 0);
        if (bin->left > 1) cache_remove_room(cache, size_class, bin->left - 1u);
    }
    if (bin->left == 0) cache_give(cache, size_class);
}

void cache_put(struct cache *cache, struct block **lists, struct page *page, struct block *block)
{
    struct cache_bin *bin = cache_bin_of(cache, page->size_class);
    if (bin->left <= 1) {
        if (cache_try_pass(cache, page, block)) return;
        cache_make_room(cache, lists, page->size_class);
    }
    if (bin->left == 0) {
        struct cache_passing now = {page, block};
        if (cache->only_frees && cache->limit != 0) cache_pass(cache, page, block);
        else cache_return(now);
        return;
    }
    block_set_next(block, bin->list, &page->key);
    bin->list = block;
    bin->left--;
}

void cache_fill(struct cache *cache, size_t size_class, struct depot_chain chain)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    check(bin->list == NULL);
    if (bin->left < chain.count) cache_add_room(cache, size_class, chain.count - bin->left);
    bin->left -= chain.count;
    bin->list = chain.first;
}

struct block *cache_unload(struct cache *cache, size_t size_class)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    struct block *list = cache_first(&bin->list, size_class);
    cache_set_loaded(cache, size_class, cache_held(bin));
    bin->list = NULL;
    bin->left = bin->room;
    cache_end_run(cache);
    return list;
}

size_t cache_bytes(const struct cache *cache, struct block *const *lists)
{
    size_t bytes = cache->passing.page == NULL ? 0 : cache->passing.page->block_bytes;
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++) {
        size_t i = size_class - CLASS_SHARED_FIRST, count = cache_held(&cache->bin[i]);
        if (size_class < CLASS_BINNED_FIRST && lists[size_class] != NULL) count += cache->loaded[i];
        if (count != 0) bytes += count * class_block_bytes(size_class);
    }
    return bytes;
}

// --- now and then --------------------------------------------------------------------------------

static void cache_trim(struct cache *cache)
{
    if (cache->room_bytes <= CACHE_LEAST_BYTES) return;
    cache_set_limit(cache, cache->limit);
    cache_keep_long(cache, cache->long_class);
    if (cache->held_bytes > cache->limit) ignore_result(cache_give_in_turn(cache));
    cache_trim_room(cache, CACHE_ROOMY * cache->limit, 0);
}

// Of the first blocks of both lists of a class; 0 only where there is none, so that a new one is
// not taken for old by chance. (golden ratio, odd)
static uint16_t cache_mark_of(const struct block *loaded, const struct block *freed)
{
    if (loaded == NULL && freed == NULL) return 0;
    uintptr_t mixed = ((uintptr_t)loaded + 3 * (uintptr_t)freed) / CLASS_STEP_BYTES;
    return (uint16_t)((uint32_t)mixed * UINT32_C(0x9E3779B9) >> 16 | 1);
}

// Returns the blocks of a class that is out of use, some at most: as a rule blocks that came and
// went leave another first block behind. How many.
static unsigned cache_look_at(struct cache *cache, struct block **list, size_t size_class)
{
    struct cache_bin *bin = cache_bin_of(cache, size_class);
    uint16_t *seen = &cache->seen[size_class - CLASS_SHARED_FIRST];
    struct depot_chain chain = {NULL, 0};
    struct block *loaded = cache_first(list, size_class);
    struct block *freed = cache_first(&bin->list, size_class);
    cache_recount(cache, size_class);
    if (*seen == cache_mark_of(loaded, freed)) {
        if (loaded != NULL) {
            chain = cache_cut_off(list, size_class, CACHE_LOOK_BLOCKS);
        } else if (freed != NULL) {
            chain = cache_cut_off(&bin->list, size_class, CACHE_LOOK_BLOCKS);
            cache_count_taken(cache, size_class, chain.count);
            cache_close_bin(cache, size_class);
        }
        depot_return(chain);
    }
    *seen = cache_mark_of(*list, bin->list);
    return chain.count;
}

static unsigned cache_look_at_next(struct cache *cache, struct block **lists)
{
    struct block *none = NULL;
    size_t size_class = cache->looked;
    return cache_look_at(cache, size_class < CLASS_BINNED_FIRST ? &lists[size_class] : &none,
                         size_class);
}

// Goes on with the classes until all were looked at, or many blocks returned.
static void cache_look(struct cache *cache, struct block **lists, uint64_t now_ms)
{
    if (cache->due_ms == 0) { // a new thread: nothing is old
        cache->looked = CLASS_COUNT;
        cache->due_ms = now_ms + CACHE_REVIEW_MS;
    } else if (cache->looked >= CLASS_COUNT && now_ms >= cache->due_ms) {
        cache->looked = CLASS_SHARED_FIRST;
        cache->run /= 2;
        cache->due_ms = now_ms + CACHE_REVIEW_MS;
    }
    for (unsigned count = 0; cache->looked < CLASS_COUNT && count < CACHE_LOOK_BLOCKS;) {
        unsigned returned = cache_look_at_next(cache, lists);
        count += returned;
        if (returned == 0) cache->looked++; // else there may be more
    }
}

void cache_review(struct cache *cache, struct block **lists, uint64_t now_ms)
{
    cache_return_passing(cache);
    if (limit_wants_memory()) cache_flush(cache, lists, true);
    cache_trim(cache);
    cache_look(cache, lists, now_ms);
    depot_review(now_ms);
}

// Pages end with slices, and their guards are the last OS pages there. (No page of one slice has
// blocks that begin in it.)
static bool cache_may_be_guarded(const struct block *block)
{
    return CFG_SECURE && (uintptr_t)block % SLICE_BYTES >= SLICE_BYTES - os_page_bytes();
}

// Blocks that another thread hands out meanwhile may have anything where their link was: so each
// must be a block of the class, and there is an end. Their page may come to an end, too, and
// another one's guard be there.
size_t cache_count(const struct block *list, size_t size_class)
{
    size_t count = 0, most = CACHE_ROOMY * CACHE_MOST_BYTES / class_block_bytes(size_class) + 1;
    for (; count < most && list != NULL; count++) {
        const struct page *page = page_of(list);
        if (page == NULL || page->size_class != size_class) break;
        if (!page_has_block_at(page, list)) break;
        list = cache_may_be_guarded(list) ? NULL : block_next(list, &page->key);
    }
    return count;
}

const char *cache_broken_bin(const struct cache_bin *bin, size_t size_class)
{
    const struct block *block = bin->list;
    unsigned count = 0;
    if (bin->left > bin->room) return "H7: a bin has more room left than it has";
    for (; block != NULL && count <= cache_held(bin); count++) {
        if (!depot_may_hold(block, size_class)) return "H6: the cache holds what is not for it";
        block = block_next(block, &page_of(block)->key);
    }
    return count == cache_held(bin) ? NULL : "H7: a bin does not hold as much as is counted";
}
