#include "heap/local_heap.h"
#include "core/random.h"
#include "core/report.h"
#include "core/stats.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "os/os.h"
#include "page/depot.h"
#include "page/page_list.h"
#include "page/refill.h"
#include "page/remote.h"
#include "page/retire.h"
#include "region/limit.h"

enum {
    LOCAL_HEAP_FULL_SCAN   = 8,
    LOCAL_HEAP_MANY_BLOCKS = 64,
    LOCAL_HEAP_TRIES       = 4,
    // what a cache gets from a page at a time: so much at least, or one block; but all that the
    // page lists where that is many blocks, since each step along a list may be a cache miss
    LOCAL_HEAP_FILL_BYTES  = 16 * 1024,
    LOCAL_HEAP_FILL_BLOCKS = 8
};

static struct chacha *local_heap_random(struct local_heap *heap)
{
    return CFG_SECURE ? &heap->main->random : NULL;
}

// --- queues --------------------------------------------------------------------------------------

static void local_heap_enqueue(struct local_heap *heap, struct page *page)
{
    check(page_has_room(page) && page->size_class < local_heap_owned_classes(heap));
    page_set_owner(page, (uintptr_t)heap | (page_owner(page) & OWNER_INTERIOR));
    page_list_add(&heap->own[page->size_class].queue, page);
}

static void local_heap_unqueue(struct local_heap *heap, struct page *page)
{
    page_list_remove(&heap->own[page->size_class].queue, page);
}

static struct full_pages *local_heap_full_of(struct local_heap *heap, const struct page *page)
{
    return (page->flags & PAGE_LARGE) != 0 ? &heap->large : &heap->full;
}

// The page is full: a pinned one goes on the heap's list, others are parked. false when it has room
// after all.
static bool local_heap_leave_full(struct local_heap *heap, struct page *page)
{
    if (!heap->is_pinned) return retire_full(page, &heap->main->tally);
    page_set_owner(page, page_owner(page) | OWNER_FULL);
    page_list_add(&local_heap_full_of(heap, page)->first, page);
    return true;
}

// A page of this thread, in no queue: gets its place. Not one of a shared class when the heap has a
// cache: the page is shared from now on.
static void local_heap_place(struct local_heap *heap, struct page *page)
{
    if (local_heap_has_cached(heap, page->size_class)) {
        if (!page_is_shared(page)) page_share(page, local_heap_bin_offset(page->size_class));
        retire_park(page, false);
        return;
    }
    page_set_owner(page, (uintptr_t)heap | (page_owner(page) & OWNER_INTERIOR));
    if (page_has_room(page) || !local_heap_leave_full(heap, page)) local_heap_enqueue(heap, page);
}

static void local_heap_take_other(void *heap, struct page *page)
{
    local_heap_place((struct local_heap *)heap, page);
}

// The page is no longer one that is empty and kept.
static void local_heap_unkeep(struct local_heap *heap, struct page *page)
{
    if (page->kept_bytes == 0) return;
    heap->main->kept_bytes -= page->kept_bytes;
    page->kept_bytes = 0;
}

static void local_heap_release_page(struct local_heap *heap, struct page *page)
{
    size_t slice = arena_slice_of(&arena_main, page->start);
    // of a heap that another thread may be ending not even `main` is read
    bool is_found_again =
        !heap->is_pinned && page->slices == 1 && page_arena(page) == &arena_main;
    if (is_found_again && slice < UINT32_MAX) {
        struct local_heap *main = heap->main;
        main->released[main->released_count++ % LOCAL_HEAP_RELEASED] = (uint32_t)slice + 1;
    }
    local_heap_unkeep(heap, page);
    page_release(page);
}

// Memory for a page of one slice: that was this thread's a short while ago, NULL as a rule when
// others have it by now; or that a heap which can be destroyed has claimed ahead.
static char *local_heap_claim_one(struct local_heap *heap, bool *is_zero)
{
    struct local_heap *main = heap->main;
    if (heap->is_pinned) return (char *)ahead_take(&heap->ahead, is_zero);
    for (int i = 0; i < LOCAL_HEAP_TRIES; i++) {
        uint32_t *last = &main->released[--main->released_count % LOCAL_HEAP_RELEASED];
        uint32_t number = *last;
        *last = 0;
        if (number == 0) return NULL;
        char *memory = (char *)arena_claim_again(number - 1, is_zero);
        if (memory != NULL) return memory;
    }
    return NULL;
}

// A queued page is released if all of its blocks have come back, from others too.
static bool local_heap_drop_empty(struct local_heap *heap, struct page *page)
{
    refill_from_remote(page);
    if (page->out != 0) return false;
    local_heap_unqueue(heap, page);
    local_heap_release_page(heap, page);
    return true;
}

// --- finding a page with room --------------------------------------------------------------------

// The page that has waited longest: most blocks have come back to it, so that it lasts longest
// before it is full again. If all of them have, and another page waits, it is released: others may
// want its memory more. Not one of few blocks, which is empty now and then by chance.
static struct page *local_heap_dequeue(struct local_heap *heap, size_t size_class)
{
    struct page *page = heap->own[size_class].queue;
    if (page != NULL && page->next != NULL && page->reserved >= LOCAL_HEAP_MANY_BLOCKS)
        ignore_result(local_heap_drop_empty(heap, page));
    page = heap->own[size_class].queue;
    if (page != NULL) local_heap_unqueue(heap, page);
    return page;
}

static void local_heap_unlink_full(struct local_heap *heap, struct page *page)
{
    struct full_pages *full = local_heap_full_of(heap, page);
    if (full->cursor == page) full->cursor = page->next;
    page_list_remove(&full->first, page);
}

// A few of the full pages, going round: others may have freed into them.
static void local_heap_scan_full(struct local_heap *heap, struct full_pages *full)
{
    for (int i = 0; i < LOCAL_HEAP_FULL_SCAN; i++) {
        struct page *page = full->cursor != NULL ? full->cursor : full->first;
        if (page == NULL) return;
        full->cursor = page->next;
        if (remote_waiting(page) == 0 && !page_has_room(page)) continue;
        local_heap_unlink_full(heap, page);
        refill_from_remote(page);
        if (page->out == 0) page_release(page);
        else local_heap_enqueue(heap, page);
    }
}

static struct page *local_heap_new_page(struct local_heap *heap, size_t size_class)
{
    if (!heap->is_pinned && !heap->main->makes_pages) return NULL;
    struct page_plan plan = {class_block_bytes(size_class), (unsigned)size_class, 0,
                             heap->is_pinned ? PAGE_PINNED : 0u, 0};
    if (CFG_SECURE) plan.lost_bytes = os_page_bytes();
    bool is_short = class_has_long_pages(plan.block_bytes) &&
                    page_count_of_class(size_class) < CLASS_SHORT_PAGES;
    plan.slices = is_short ? class_least_slices(size_class, plan.lost_bytes)
                           : class_page_slices(size_class, plan.lost_bytes);

    bool is_zero;
    char *memory = plan.slices == 1 ? local_heap_claim_one(heap, &is_zero) : NULL;
    if (memory == NULL) memory = (char *)arena_claim(plan.slices, SLICE_BYTES, &is_zero);
    if (memory == NULL) return NULL;
    if (is_zero) plan.flags |= PAGE_ZERO;
    size_t bytes = (size_t)plan.slices << SLICE_SHIFT;
    if (CFG_SECURE) plan.flags |= page_guard(memory, bytes);

    struct link_key key = {0, 0};
    if (CFG_SECURE) {
        key.add = (uintptr_t)chacha_next64(&heap->main->random);
        key.flip = (uintptr_t)chacha_next64(&heap->main->random);
    }
    struct page *page = page_init(memory, &plan, &key);
    page_set_owner(page, (uintptr_t)heap);
    return page;
}

static void local_heap_drop_current(struct local_heap *heap, size_t size_class);

// Where there is no current page. NULL when memory is exhausted.
static struct page *local_heap_next_page(struct local_heap *heap, size_t size_class)
{
    struct page *page = local_heap_dequeue(heap, size_class);
    if (page != NULL) return page;
    if (heap->is_pinned) {
        local_heap_scan_full(heap, &heap->full);
        page = local_heap_dequeue(heap, size_class);
    } else {
        page = retire_adopt(size_class, local_heap_take_other, heap);
    }
    if (page != NULL) {
        page_set_owner(page, (uintptr_t)heap | (page_owner(page) & OWNER_INTERIOR));
        return page;
    }
    page = local_heap_new_page(heap, size_class);
    local_heap_drop_current(heap, size_class); // none, unless the program's own mmap allocated
    return page;
}

// Broken rules of a page are most often a write to a free block, so they go to the user as such.
static void local_heap_check_page(const struct page *page)
{
    const char *broken = CFG_DEBUG >= 1 ? page_broken_rule(page) : NULL;
    if (CFG_DEBUG >= 1 && broken == NULL) broken = remote_broken_rule(page);
    if (broken == NULL) return;
    report_within("a page is not as it should be: ", broken);
    report_fault_within(FAULT_LINK, "malloc", page->start, page->block_bytes);
}

// Makes `current` a page whose free list is not empty.
static bool local_heap_refill(struct local_heap *heap, size_t size_class, bool *is_zero)
{
    struct page *page = heap->own[size_class].current;
    if (page == NULL) page = local_heap_next_page(heap, size_class);
    while (page != NULL) {
        heap->own[size_class].current = page;
        local_heap_check_page(page);
        local_heap_unkeep(heap, page);
        if (refill_page(page, local_heap_random(heap), 0, is_zero)) return true;
        if (!local_heap_leave_full(heap, page)) continue; // freed by others just now
        heap->own[size_class].current = NULL;
        page = local_heap_next_page(heap, size_class);
    }
    return false;
}

// --- the cache -----------------------------------------------------------------------------------

// A shared page with a free list that is not empty, claimed.
static struct page *local_heap_claim_shared(struct local_heap *heap, size_t size_class,
                                            bool *is_zero)
{
    for (;;) {
        struct page *page = retire_adopt(size_class, local_heap_take_other, heap);
        if (page == NULL) {
            page = local_heap_new_page(heap, size_class);
            if (page == NULL) return NULL;
            page_share(page, local_heap_bin_offset(size_class));
        }
        local_heap_check_page(page);
        if (refill_page(page, local_heap_random(heap), cache_fill_bytes(&heap->cache), is_zero))
            return page;
        retire_park(page, false); // all its room was a hole with a block in use (T3)
    }
}

// Some of the page's free list, or all of it: they are out from now on.
static struct depot_chain local_heap_take_some(struct local_heap *heap, struct page *page)
{
    struct depot_chain chain = {page->free, page->free_count};
    size_t bytes = cache_fill_bytes(&heap->cache);
    if (bytes < LOCAL_HEAP_FILL_BYTES) bytes = LOCAL_HEAP_FILL_BYTES;
    size_t most = bytes < page->block_bytes ? 1 : bytes / page->block_bytes;
    if (chain.count <= most || most >= LOCAL_HEAP_FILL_BLOCKS) {
        ignore_result(page_take_all(page));
        return chain;
    }
    struct block *last = page->free, *rest = page_next(page, last);
    for (chain.count = 1; chain.count < most && rest != NULL; chain.count++) {
        last = rest;
        rest = page_next(page, last);
    }
    page->free = rest;
    page->free_count = (uint16_t)(page->free_count - chain.count);
    page->out += chain.count;
    if (rest == NULL) ignore_result(page_take_all(page)); // a corrupt list: the others are lost
    block_set_next(last, NULL, &page->key);
    return chain;
}

// Some blocks of one page; none when memory is exhausted. *is_zero: they read as zeroes.
static struct depot_chain local_heap_take_shared(struct local_heap *heap, size_t size_class,
                                                 bool *is_zero)
{
    struct depot_chain chain = {NULL, 0};
    struct page *page = local_heap_claim_shared(heap, size_class, is_zero);
    if (page == NULL) return chain;
    chain = local_heap_take_some(heap, page);
    retire_park(page, false);
    return chain;
}

// A chain that another thread gave away, else some blocks of a page. *is_zero: as above. None if
// blocks are there by now: the program's own mmap has allocated.
static struct depot_chain local_heap_take_chain(struct local_heap *heap, size_t size_class,
                                                bool *is_zero)
{
    struct depot_chain chain = depot_take(size_class), none = {NULL, 0};
    *is_zero = false;
    cache_miss(&heap->cache);
    if (chain.first != NULL) return chain;
    chain = local_heap_take_shared(heap, size_class, is_zero);
    if (likely(*local_heap_list(heap, size_class) == NULL)) return chain;
    *is_zero = false;
    depot_return(chain);
    return none;
}

size_t local_heap_count_cached(const struct local_heap *heap, size_t size_class)
{
    if (!local_heap_has_cached(heap, size_class)) return 0;
    const struct cache_bin *bin = &heap->cache.bin[size_class - CLASS_SHARED_FIRST];
    size_t count = cache_held(bin); // which may be anything while its thread is changing both
    count = (count <= bin->room ? count : 0) + cache_is_passing(&heap->cache, size_class);
    if (size_class < CLASS_BINNED_FIRST) count += cache_count(heap->list[size_class], size_class);
    return count;
}

// Of smaller blocks all that this thread freed since the last time comes first.
static void local_heap_load_cached(struct local_heap *heap, size_t size_class, bool *is_zero)
{
    if (size_class >= CLASS_BINNED_FIRST) {
        struct depot_chain chain = local_heap_take_chain(heap, size_class, is_zero);
        *is_zero = *is_zero && chain.count == 1; // for all later ones
        if (chain.first != NULL) cache_fill(&heap->cache, size_class, chain);
        return;
    }
    *is_zero = false;
    heap->list[size_class] = cache_unload(&heap->cache, size_class);
    if (heap->list[size_class] != NULL) return;
    struct depot_chain chain = local_heap_take_chain(heap, size_class, is_zero);
    if (chain.first == NULL) return;
    heap->list[size_class] = chain.first;
    cache_set_loaded(&heap->cache, size_class, chain.count);
}

struct block *local_heap_load(struct local_heap *heap, size_t size_class)
{
    bool is_zero;
    struct block **list = local_heap_list(heap, size_class);
    check(*list == NULL);
    if (local_heap_has_cached(heap, size_class)) {
        local_heap_load_cached(heap, size_class, &is_zero);
    } else {
        if (!local_heap_refill(heap, size_class, &is_zero)) return NULL;
        *list = page_take_all(heap->own[size_class].current);
    }
    local_heap_set_zero(heap, size_class, is_zero);
    return *list;
}

// --- large blocks --------------------------------------------------------------------------------

void *local_heap_take_large(struct local_heap *heap, size_t bytes, size_t alignment, bool *is_zero)
{
    struct page_plan plan = {bits_align_up(bytes, os_page_bytes()), CLASS_COUNT, 0, PAGE_LARGE, 0};
    if (heap->is_pinned) plan.flags |= PAGE_PINNED;
    if (CFG_SECURE) plan.lost_bytes = os_page_bytes();
    size_t slices = chunk_slices_for(plan.block_bytes + plan.lost_bytes);
    if (slices > UINT32_MAX) return NULL;
    plan.slices = (uint32_t)slices;
    if (alignment < SLICE_BYTES) alignment = SLICE_BYTES;

    if (heap->is_pinned) local_heap_scan_full(heap, &heap->large);
    char *memory = (char *)arena_claim(slices, alignment, is_zero);
    if (memory == NULL) return NULL;
    size_t end_bytes = slices << SLICE_SHIFT;
    if (CFG_SECURE) plan.flags |= page_guard(memory, end_bytes);

    struct page *page = page_init(memory, &plan, NULL);
    page->capacity = 1;
    page->out = 1;
    page_set_owner(page, (uintptr_t)heap);
    bool is_left = local_heap_leave_full(heap, page);
    check(is_left);
    ignore_result(is_left); // nobody else knows the page yet, so nobody can have freed into it
    stats_count(COUNT_large_blocks, 1);
    return memory;
}

void local_heap_free_large(struct local_heap *heap, struct page *page)
{
    local_heap_unlink_full(heap, page);
    page_release(page);
}

// --- blocks come back ----------------------------------------------------------------------------

// An empty page is kept while the thread has little of that kind: so a single block can come and go
// at no cost, and a thread that goes to sleep holds little.
static bool local_heap_keep(struct local_heap *heap, struct page *page)
{
    if (heap->is_pinned) return true; // not counted: another thread may end this heap
    if (limit_wants_memory()) return false;
    size_t bytes = (size_t)page->capacity * page->block_bytes;
    if (heap->main->kept_bytes + bytes > LOCAL_HEAP_KEPT_BYTES) return false;
    heap->main->kept_bytes += bytes;
    page->kept_bytes = (uint32_t)bytes;
    return true;
}

// Debug and secure builds: the loaded list of the current page is not used up, so some block came
// back twice (T3). The page's count is mended.
static bool local_heap_has_doubled(struct local_heap *heap, struct page *page)
{
    const struct block *list = *local_heap_list(heap, page->size_class);
    if (!CFG_STATES || likely(list == NULL)) return false;
    page->out = page_list_count(page, list);
    report_fault_within(FAULT_DOUBLE_FREE, "free", list, page->block_bytes);
    return true;
}

void local_heap_page_is_empty(struct local_heap *heap, struct page *page)
{
    size_t size_class = page->size_class;
    bool is_current = page == heap->own[size_class].current;
    bool is_only = heap->own[size_class].current == NULL && page->prev == page;
    if (is_current && local_heap_has_doubled(heap, page)) return;
    if ((is_current || is_only) && local_heap_keep(heap, page)) return;
    if (is_current) heap->own[size_class].current = NULL;
    else local_heap_unqueue(heap, page);
    if (heap->main->claims > 0) heap->main->claims--;
    local_heap_release_page(heap, page);
}

// A thread that frees much and allocates nothing would gather all its full pages, and keep what is
// free in them from others, who may want it: so beyond some they stay parked. Those that it empties
// do not count any more.
static bool local_heap_may_claim(const struct local_heap *heap)
{
    return heap->main->claims < LOCAL_HEAP_CLAIMS || stats_current(STAT_threads) <= 1;
}

bool local_heap_put_in_full(struct local_heap *heap, struct page *page, struct block *block)
{
    if (heap->is_pinned) {
        local_heap_unlink_full(heap, page);
        refill_from_remote(page);
    } else {
        if (!local_heap_may_claim(heap)) return false;
        if (!refill_claim(page)) return false;
        ring_take_home(&heap->main->ring, page);
        stats_tally_remove(&heap->main->tally, STAT_pages_parked, 1);
    }
    stats_tally_count(&heap->main->tally, COUNT_page_claims, 1);
    heap->main->claims++;
    ignore_result(page_put(page, block));
    local_heap_enqueue(heap, page);
    if (page->out == 0) local_heap_page_is_empty(heap, page);
    return true;
}

void local_heap_take_back(struct local_heap *heap, struct page *page)
{
    ring_take_home(&heap->main->ring, page);
    if (page->out == 0) local_heap_release_page(heap, page);
    else local_heap_place(heap, page);
}

// --- collecting, leaving -------------------------------------------------------------------------

// Puts the rest of the loaded list back and forgets the current page; it is queued, left full, or
// released. A list that is none of blocks that are out is lost, and they stay out.
static void local_heap_drop_current(struct local_heap *heap, size_t size_class)
{
    struct page *page = heap->own[size_class].current;
    if (page == NULL) return;
    struct block **from = local_heap_list(heap, size_class), *list = *from;
    unsigned count = list == NULL ? 0 : page_list_count(page, list);
    bool is_corrupt = count > page->out;
    *from = NULL;
    heap->own[size_class].current = NULL;
    page_put_list(page, list, is_corrupt ? 0 : count);
    refill_from_remote(page);
    if (page->out == 0) local_heap_release_page(heap, page);
    else local_heap_place(heap, page);
    if (is_corrupt) report_fault_within(FAULT_LINK, "collect", list, class_block_bytes(size_class));
}

static void local_heap_collect_queue(struct local_heap *heap, size_t size_class)
{
    for (struct page *page = heap->own[size_class].queue, *next; page != NULL; page = next) {
        next = page->next;
        ignore_result(local_heap_drop_empty(heap, page));
    }
}

// What has room is anybody's then, and is released by whoever frees the last block in it.
static void local_heap_park_queue(struct local_heap *heap, size_t size_class, bool is_for_good)
{
    struct page *page;
    while ((page = heap->own[size_class].queue) != NULL) {
        local_heap_unqueue(heap, page);
        local_heap_unkeep(heap, page);
        retire_park(page, is_for_good);
    }
}

static void local_heap_collect_full(struct local_heap *heap, struct full_pages *full)
{
    for (struct page *page = full->first, *next; page != NULL; page = next) {
        next = page->next;
        refill_from_remote(page);
        if (page->out == page->capacity) continue;
        local_heap_unlink_full(heap, page);
        if (page->out == 0) local_heap_release_page(heap, page);
        else local_heap_enqueue(heap, page);
    }
}

void local_heap_collect(struct local_heap *heap, bool is_forced)
{
    if (is_forced && !heap->is_pinned) cache_flush(&heap->cache, heap->list, true);
    local_heap_collect_full(heap, &heap->full);
    local_heap_collect_full(heap, &heap->large);
    ahead_return(&heap->ahead);
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++) {
        if (is_forced) local_heap_drop_current(heap, size_class);
        local_heap_collect_queue(heap, size_class);
        if (is_forced && !heap->is_pinned) local_heap_park_queue(heap, size_class, false);
    }
}

void local_heap_leave_part(struct local_heap *heap)
{
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        local_heap_drop_current(heap, size_class);
        struct page *page = heap->own[size_class].queue;
        if (page != NULL) ignore_result(local_heap_drop_empty(heap, page));
    }
    local_heap_scan_full(heap, &heap->full);
    local_heap_scan_full(heap, &heap->large);
    ahead_return(&heap->ahead);
}

void local_heap_leave_queues(struct local_heap *heap)
{
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++)
        local_heap_park_queue(heap, size_class, true);
}

void local_heap_abandon(struct local_heap *heap)
{
    if (!heap->is_pinned) cache_flush(&heap->cache, heap->list, false); // for the next thread
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++)
        local_heap_drop_current(heap, size_class);
    local_heap_leave_queues(heap);
}

// A large block changes its heap: nothing but its owner word changes, for others may be freeing it.
static void local_heap_move_large(struct local_heap *to, struct page *page)
{
    page_set_owner(page, (uintptr_t)to | OWNER_FULL | (page_owner(page) & OWNER_INTERIOR));
    while (!remote_try_park(page)) {
        refill_from_remote(page);
        if (page->out != 0) continue;
        page_release(page);
        return;
    }
    stats_add(STAT_pages_parked, 1);
}

static void local_heap_move_page(struct local_heap *to, struct page *page)
{
    if ((page->flags & PAGE_LARGE) != 0) {
        local_heap_move_large(to, page);
        return;
    }
    refill_from_remote(page);
    if (page->out == 0) page_release(page);
    else local_heap_place(to, page);
}

void local_heap_move_pages(struct local_heap *heap, struct local_heap *to)
{
    struct page *page;
    local_heap_collect(heap, true);
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        while ((page = heap->own[size_class].queue) != NULL) {
            local_heap_unqueue(heap, page);
            local_heap_move_page(to, page);
        }
    }
    while ((page = heap->full.first) != NULL || (page = heap->large.first) != NULL) {
        local_heap_unlink_full(heap, page);
        local_heap_move_page(to, page);
    }
}
