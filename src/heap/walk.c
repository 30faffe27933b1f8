#include "heap/walk.h"
#include "core/stats.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "page/depot.h"
#include "page/refill.h"
#include "page/retire.h"
#include "region/purger.h"

cold bool walk_all_pages(bool (*visit)(struct page *page, void *arg), void *arg)
{
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) return true;
        size_t slices = window_mapped_chunks(arena) * CHUNK_SLICES;
        for (size_t slice = 0; slice < slices;) {
            struct page *page = arena_descriptor(arena, slice);
            if (page->block_bytes == 0) {
                slice++;
                continue;
            }
            size_t next = slice + (page->slices != 0 ? page->slices : 1);
            if (!visit(page, arg)) return false;
            slice = next;
        }
    }
    return true;
}

bool walk_is_of(const struct page *page, const struct mi_heap_s *heap)
{
    if (page_is_shared(page)) {
        const struct local_heap *main = thread_heap()->main;
        return main != NULL && heap == &main->backing;
    }
    struct local_heap *part = page_named_by(page_owner(page));
    return part != NULL && local_heap_handle_of(part) == heap;
}

// --- blocks of one page --------------------------------------------------------------------------

cold bool walk_blocks(struct page *page, bool (*visit)(void *block, void *arg), void *arg)
{
    uint64_t is_free[PAGE_MAX_BLOCKS / 64];
    refill_from_remote(page);
    page_mark_free(page, is_free);
    for (uint32_t index = 0; index < page->capacity; index++) {
        if ((is_free[index / 64] >> index % 64 & 1) != 0) continue;
        if (!visit(page_block_at(page, index), arg)) return false;
    }
    return true;
}

cold bool walk_is_readable(const struct page *page, const struct local_heap *part)
{
    uintptr_t owner = page_owner(page);
    bool is_parked = !part->is_pinned && (owner & OWNER_FULL) != 0;
    return page_named_by(owner) == part && !is_parked;
}

cold bool walk_is_parked_by(const struct page *page, const struct local_heap *part)
{
    uintptr_t owner = page_owner(page) & ~(uintptr_t)OWNER_INTERIOR;
    return owner == ((uintptr_t)part | OWNER_FULL) && !part->is_pinned &&
           (page->flags & PAGE_LARGE) == 0;
}

cold bool walk_claim(struct page *page)
{
    if (retire_claim(page)) return true;
    purger_wait_for_steps();
    return retire_claim(page);
}

// --- pages of one heap ---------------------------------------------------------------------------

static cold bool walk_take_back(struct page *page, void *arg)
{
    struct local_heap *main = (struct local_heap *)arg;
    if (walk_is_parked_by(page, main) && walk_claim(page)) local_heap_take_back(main, page);
    return true;
}

struct walk_heap_visit {
    struct local_heap *main; // of the calling thread
    struct local_heap *part;
    walk_visit *visit;
    void *arg;
    bool goes_on;
};

static cold bool walk_list(struct page *page, const struct walk_heap_visit *walk)
{
    for (struct page *next; page != NULL; page = next) {
        next = page->next;
        if (!walk->visit(page, walk->part, walk->arg)) return false;
    }
    return true;
}

// With the lists unloaded first, so that every block that is not free is the user's.
static bool walk_pages_of(const struct walk_heap_visit *walk)
{
    struct local_heap *part = walk->part;
    local_heap_collect(part, true);
    for (size_t size_class = 0; size_class < local_heap_owned_classes(part); size_class++) {
        if (!walk_list(part->own[size_class].queue, walk)) return false;
    }
    return walk_list(part->full.first, walk) && walk_list(part->large.first, walk);
}

static cold void walk_part(struct local_heap *part, void *arg)
{
    struct walk_heap_visit *walk = (struct walk_heap_visit *)arg;
    bool is_own = local_heap_thread_of(part) == walk->main;
    if (!is_own && !heap_wait_for_part(part)) return; // a running thread's: left alone
    check_rules(walk_broken_rule(part));
    walk->part = part;
    if (walk->goes_on) walk->goes_on = walk_pages_of(walk);
    check_rules(local_heap_broken_rule(part));
    if (!is_own) heap_let_go_part(part, walk->main);
}

// A shared page is claimed for the visit, so that its lists can be read.
static cold bool walk_shared(struct page *page, struct walk_heap_visit *walk)
{
    if (!walk_claim(page)) return true; // some thread is just taking blocks of it
    bool goes_on = walk->visit(page, walk->part, walk->arg);
    retire_park(page, false);
    return goes_on;
}

static cold bool walk_owned_by(struct page *page, void *arg)
{
    struct walk_heap_visit *walk = (struct walk_heap_visit *)arg;
    if (page_is_shared(page)) return walk_shared(page, walk);
    return page_named_by(page_owner(page)) != walk->part ||
           walk->visit(page, walk->part, walk->arg);
}

cold bool walk_heap_pages(struct mi_heap_s *heap, struct local_heap *main, walk_visit *visit,
                          void *arg)
{
    struct walk_heap_visit walk = {main, heap->local, visit, arg, true};
    if (heap->state == HEAP_MADE) {
        heap_visit_parts(heap, walk_part, &walk);
        return walk.goes_on;
    }
    // a backing heap knows only its pages with room: full ones are found by their owner word, and
    // shared ones are each backing heap's
    local_heap_collect(heap->local, true);
    idle_end_all();
    depot_drain();
    purger_wait_for_steps(); // it may have had something of that in hand
    (void)walk_all_pages(walk_take_back, heap->local);
    check_rules(walk_broken_rule(heap->local));
    return walk_all_pages(walk_owned_by, &walk);
}

// --- rules ---------------------------------------------------------------------------------------

// Slices whose descriptor names the heap as their page's owner: nobody else writes that, and only
// that word is read of others' descriptors. Full pages of a heap that parks them may be anybody's.
static size_t walk_count_named(const struct local_heap *heap)
{
    size_t count = 0;
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        const struct arena *arena = arena_at(i);
        if (arena == NULL) break;
        size_t slices = window_mapped_chunks(arena) * CHUNK_SLICES;
        for (size_t slice = 0; slice < slices; slice++) {
            uintptr_t owner = page_owner(arena_descriptor(arena, slice));
            if (heap->is_pinned) owner &= ~(uintptr_t)OWNER_FULL;
            if ((owner & ~(uintptr_t)OWNER_INTERIOR) == (uintptr_t)heap) count++;
        }
    }
    return count;
}

static size_t walk_list_length(const struct page *page)
{
    size_t count = 0;
    for (; page != NULL; page = page->next) count++;
    return count;
}

const char *walk_broken_rule(const struct local_heap *heap)
{
    const char *broken = local_heap_broken_rule(heap);
    if (broken != NULL) return broken;
    size_t count = walk_list_length(heap->full.first) + walk_list_length(heap->large.first);
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++) {
        count += heap->own[size_class].current != NULL;
        count += walk_list_length(heap->own[size_class].queue);
    }
    return count == walk_count_named(heap) ? NULL : "H2: an owned page is nowhere";
}

// --- counting ------------------------------------------------------------------------------------

// Reads a field once: the page may change under our eyes.
static size_t walk_class_of(const struct page *page)
{
    size_t size_class = *(const volatile uint8_t *)&page->size_class;
    return size_class < CLASS_COUNT ? size_class : CLASS_COUNT;
}

// Never below zero: other threads may have cut pages, and loaded blocks, since pages were counted.
static void walk_subtract(struct walk_totals *totals, size_t size_class, size_t count)
{
    if (size_class == CLASS_COUNT) return;
    if (count > totals->class_blocks[size_class]) count = totals->class_blocks[size_class];
    totals->blocks -= count;
    totals->bytes -= count * class_block_bytes(size_class);
    totals->class_blocks[size_class] -= count;
}

static cold void walk_subtract_lists(struct local_heap *heap, void *arg)
{
    struct walk_totals *totals = (struct walk_totals *)arg;
    const struct local_heap *main = thread_heap()->main;
    bool is_own = main != NULL && (heap == main || local_heap_thread_of(heap) == main);
    for (size_t size_class = 0; size_class < local_heap_owned_classes(heap); size_class++) {
        const struct page *page = heap->own[size_class].current;
        const struct block *list = local_heap_first(heap, size_class);
        if (page == NULL || list == NULL) continue;
        size_t count = is_own ? page_list_count(page, list) : cache_count(list, size_class);
        if (count <= page->reserved) walk_subtract(totals, size_class, count); // else it changed
    }
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        walk_subtract(totals, size_class, local_heap_count_cached(heap, size_class));
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        const struct page *page = heap->ring.slot[i].page;
        if (page != NULL) walk_subtract(totals, walk_class_of(page), heap->ring.slot[i].count);
    }
}

static cold bool walk_add_page(struct page *page, void *arg)
{
    struct walk_totals *totals = (struct walk_totals *)arg;
    size_t size_class = walk_class_of(page), waiting = remote_waiting(page), out = page->out;
    size_t blocks = out > waiting ? out - waiting : 0, bytes = blocks * page->block_bytes;
    totals->pages++;
    totals->blocks += blocks;
    totals->bytes += bytes;
    if (size_class < CLASS_COUNT) {
        totals->class_blocks[size_class] += blocks;
    } else {
        totals->large_blocks += blocks;
        totals->large_bytes += bytes;
    }
    return true;
}

cold void walk_count(struct walk_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    purger_wait_for_steps();
    (void)walk_all_pages(walk_add_page, totals);
    for (size_t size_class = CLASS_SHARED_FIRST; size_class < CLASS_COUNT; size_class++)
        walk_subtract(totals, size_class, depot_count(size_class));
    heap_visit_all_mains(walk_subtract_lists, totals);
    heap_visit_all_parts(walk_subtract_lists, totals);
}
