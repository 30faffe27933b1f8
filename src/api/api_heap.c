// First-class heaps: making, ending, looking into them.
#include "alloc/free.h"
#include "core/report.h"
#include "heap/walk.h"
#include "page/retire.h"

// The thread's main local heap, for a call that ends with thread_finish: one that has ended borrows
// one. NULL when memory is exhausted.
static struct local_heap *api_main(void)
{
    struct local_heap *now = thread_ready(thread_heap());
    return now == NULL ? NULL : now->main;
}

// NULL in a thread that has ended, too: it has no heaps of its own.
static struct local_heap *api_lasting_main(void)
{
    return thread_heap() == &thread_ended_heap ? NULL : api_main();
}

// The same as api_main; NULL after a report if the heap is none.
static struct local_heap *api_main_for(mi_heap_t *heap, const char *call)
{
    struct local_heap *main = api_main();
    if (main == NULL) return NULL;
    thread_mind_fork(main);
    if (heap_is_valid(heap, main)) return main;
    thread_finish(main);
    report_fault(FAULT_HEAP, call, heap, 0);
    return NULL;
}

mi_heap_t *mi_heap_new(void)
{
    struct local_heap *main = api_lasting_main();
    mi_heap_t *heap = main == NULL ? NULL : heap_new(main);
    return heap != NULL ? heap : (mi_heap_t *)report_no_memory(sizeof(struct local_heap), false);
}

// Not a backing heap, which ends with its thread. No heap that ends stays the default one.
static void api_end(mi_heap_t *heap, const char *call,
                    void (*end)(struct mi_heap_s *heap, struct local_heap *main))
{
    struct local_heap *main = heap == NULL ? NULL : api_main_for(heap, call);
    if (main == NULL) return;
    bool is_default = local_heap_handle_of(thread_heap()) == heap;
    if (heap->state != HEAP_BACKING) {
        if (is_default) thread_set_default(main);
        end(heap, main);
    }
    thread_finish(main);
}

void mi_heap_delete(mi_heap_t *heap) { api_end(heap, "mi_heap_delete", heap_delete); }
void mi_heap_destroy(mi_heap_t *heap) { api_end(heap, "mi_heap_destroy", heap_destroy); }

mi_heap_t *mi_heap_get_backing(void)
{
    struct local_heap *main = api_lasting_main();
    return main == NULL ? NULL : &main->backing;
}

mi_heap_t *mi_heap_get_default(void)
{
    return api_lasting_main() == NULL ? NULL : local_heap_handle_of(thread_heap());
}

mi_heap_t *mi_heap_set_default(mi_heap_t *heap)
{
    mi_heap_t *before = mi_heap_get_default();
    if (before == NULL) return NULL;
    struct local_heap *main = api_main_for(heap, "mi_heap_set_default");
    struct local_heap *part = main == NULL ? NULL : heap_local(heap, main);
    if (part != NULL) thread_set_default(part);
    return before;
}

void mi_heap_collect(mi_heap_t *heap, bool force)
{
    struct local_heap *main = api_main_for(heap, "mi_heap_collect");
    if (main == NULL) return;
    struct local_heap *part = heap_own_part(heap, main);
    if (part != NULL) {
        local_heap_collect(part, force);
        check_rules(local_heap_broken_rule(part));
    }
    if (heap->state == HEAP_MADE) heap_visit_parts(heap, heap_collect_left, main);
    thread_finish(main);
}

bool mi_is_in_heap_region(const void *p) { return arena_of(p) != NULL && page_of(p) != NULL; }

bool mi_heap_check_owned(mi_heap_t *heap, const void *p)
{
    const struct page *page = page_of(p);
    return heap != NULL && page != NULL && walk_is_of(page, heap);
}

bool mi_check_owned(const void *p) { return mi_heap_check_owned(mi_heap_get_default(), p); }

struct api_block_search {
    const void *wanted;
    bool found;
};

static cold bool api_search_block(void *block, void *arg)
{
    struct api_block_search *search = (struct api_block_search *)arg;
    if (block == search->wanted) search->found = true;
    return !search->found;
}

// Whose lists have to be unloaded before those of one of the heap's pages can be read: the part
// that owns it; of a shared page the thread's cache. NULL: they are another thread's. *is_held:
// another thread has left the part.
static struct local_heap *api_part_to_read(const struct page *page, struct local_heap *main,
                                           bool *is_held)
{
    struct local_heap *part = page_named_by(page_owner(page));
    *is_held = false;
    if (page_is_shared(page)) return main;
    if (part == NULL) return NULL; // parked just now
    if (part == main || local_heap_thread_of(part) == main)
        return part;
    *is_held = heap_wait_for_part(part);
    return *is_held ? part : NULL;
}

// The block is not free, as far as that can be told. Collecting may have parked the page, or
// released it.
static bool api_is_live(mi_heap_t *heap, const struct local_heap *part, void *block)
{
    struct page *page = page_of(block);
    if (page == NULL || !walk_is_of(page, heap)) return false;
    bool is_parked = page_is_shared(page) || walk_is_parked_by(page, part);
    bool is_claimed = is_parked && walk_claim(page);
    if (!is_claimed && !walk_is_readable(page, part)) return true;
    struct api_block_search search = {block, false};
    (void)walk_blocks(page, api_search_block, &search);
    if (is_claimed) retire_park(page, false);
    return search.found;
}

static bool api_contains_block(mi_heap_t *heap, struct local_heap *main, const void *p)
{
    struct page *page = page_of(p);
    if (page == NULL || heap == NULL || !walk_is_of(page, heap)) return false;
    void *block = page_block_at(page, page_index_of(page, p));
    if (block != p && (page_owner(page) & OWNER_INTERIOR) == 0) return false;

    bool is_held;
    struct local_heap *part = api_part_to_read(page, main, &is_held);
    if (part == NULL) return true; // only the block's place can be checked
    local_heap_collect(part, true);
    check_rules(local_heap_broken_rule(part));
    bool is_live = api_is_live(heap, part, block);
    if (is_held) heap_let_go_part(part, main);
    return is_live;
}

cold bool mi_heap_contains_block(mi_heap_t *heap, const void *p)
{
    struct local_heap *main = api_main();
    if (main == NULL) return false;
    bool is_contained = api_contains_block(heap, main, p);
    thread_finish(main);
    return is_contained;
}

// --- visiting ------------------------------------------------------------------------------------

struct api_visit {
    const mi_heap_t *heap;
    bool blocks;
    mi_block_visit_fun *visitor;
    void *arg;
    mi_heap_area_t area;
    size_t block_bytes;
};

static cold bool api_visit_block(void *block, void *arg)
{
    struct api_visit *visit = (struct api_visit *)arg;
    return visit->visitor(visit->heap, &visit->area, block, visit->block_bytes, visit->arg);
}

static bool api_count_block(void *block, void *arg)
{
    (void)block;
    ((struct api_visit *)arg)->area.used++;
    return true;
}

// Of a page that is full and parked: each block is live. Others may free all of them, and make a
// page of their own of it, while the visitor is at it; so it is not read for more than its owner.
static cold bool api_visit_full(const struct page *page, const struct local_heap *part,
                                struct api_visit *visit)
{
    char *start = (char *)visit->area.blocks;
    size_t bytes = visit->block_bytes + ALLOC_PADDING_BYTES;
    for (size_t at = 0; at < visit->area.committed; at += bytes) {
        if (page_named_by(page_owner(page)) != part) return true;
        if (!api_visit_block(start + at, visit)) return false;
    }
    return true;
}

static cold bool api_visit_page(struct page *page, const struct local_heap *part, void *arg)
{
    struct api_visit *visit = (struct api_visit *)arg;
    visit->block_bytes = page->block_bytes - ALLOC_PADDING_BYTES;
    visit->area.blocks = page->start;
    visit->area.reserved = page->reserved * page->block_bytes;
    visit->area.committed = page->capacity * page->block_bytes;
    visit->area.block_size = visit->block_bytes;
    visit->area.used = 0;
    bool is_claimed = page_is_shared(page);
    if (is_claimed || walk_is_readable(page, part)) (void)walk_blocks(page, api_count_block, visit);
    else visit->area.used = page->capacity;
    if (visit->area.used == 0) return true;
    if (!visit->visitor(visit->heap, &visit->area, NULL, visit->block_bytes, visit->arg))
        return false;
    if (!visit->blocks) return true;
    // asked again: the visitor may have filled the page, and so parked it
    if (is_claimed || walk_is_readable(page, part))
        return walk_blocks(page, api_visit_block, visit);
    return api_visit_full(page, part, visit);
}

cold bool mi_heap_visit_blocks(const mi_heap_t *heap, bool visit_all_blocks,
                               mi_block_visit_fun *visitor, void *arg)
{
    mi_heap_t *handle = (mi_heap_t *)(uintptr_t)heap;
    if (visitor == NULL) return false;
    struct local_heap *main = api_main_for(handle, "mi_heap_visit_blocks");
    if (main == NULL) return false;
    struct api_visit visit;
    memset((void *)&visit, 0, sizeof(visit));
    visit.heap = heap;
    visit.blocks = visit_all_blocks;
    visit.visitor = visitor;
    visit.arg = arg;
    bool is_complete = walk_heap_pages(handle, main, api_visit_page, &visit);
    thread_finish(main);
    return is_complete;
}
