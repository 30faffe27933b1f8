// First-class heaps: making, ending, looking into them.
#include "alloc/free.h"
#include "core/report.h"
#include "heap/walk.h"
#include "page/retire.h"

// NULL when memory is exhausted, and in a thread that has ended: it has no heaps of its own.
static struct local_heap *api_main(void)
{
    if (thread_heap() == &thread_ended_heap) return NULL;
    struct local_heap *now = thread_ready(thread_heap());
    return now == NULL ? NULL : now->main;
}

static bool api_is_usable(mi_heap_t *heap, const char *call)
{
    const struct local_heap *main = api_main();
    if (main != NULL && heap_is_valid(heap, main)) return true;
    report_fault(FAULT_HEAP, call, heap, 0);
    return false;
}

mi_heap_t *mi_heap_new(void)
{
    struct local_heap *main = api_main();
    mi_heap_t *heap = main == NULL ? NULL : heap_new(main);
    return heap != NULL ? heap : (mi_heap_t *)report_no_memory(sizeof(struct local_heap), false);
}

// true when the heap can end; it is not the default one any more then.
static bool api_prepare_end(mi_heap_t *heap, const char *call)
{
    if (heap == NULL || !api_is_usable(heap, call)) return false;
    if (heap->state == HEAP_BACKING) return false;
    if (thread_heap()->heap == heap) thread_set_default(thread_heap()->main);
    return true;
}

void mi_heap_delete(mi_heap_t *heap)
{
    if (api_prepare_end(heap, "mi_heap_delete")) heap_delete(heap, api_main());
}

void mi_heap_destroy(mi_heap_t *heap)
{
    if (api_prepare_end(heap, "mi_heap_destroy")) heap_destroy(heap, api_main());
}

mi_heap_t *mi_heap_get_backing(void)
{
    struct local_heap *main = api_main();
    return main == NULL ? NULL : &main->backing;
}

mi_heap_t *mi_heap_get_default(void)
{
    if (api_main() == NULL) return NULL;
    return atomic_load_explicit(&thread_heap()->heap, memory_order_relaxed);
}

mi_heap_t *mi_heap_set_default(mi_heap_t *heap)
{
    mi_heap_t *before = mi_heap_get_default();
    if (before == NULL || !api_is_usable(heap, "mi_heap_set_default")) return before;
    struct local_heap *part = heap_local(heap, api_main());
    if (part != NULL) thread_set_default(part);
    return before;
}

void mi_heap_collect(mi_heap_t *heap, bool force)
{
    struct local_heap *main = api_main();
    if (main == NULL || !api_is_usable(heap, "mi_heap_collect")) return;
    struct local_heap *part = heap_local(heap, main);
    if (part == NULL) return;
    local_heap_collect(part, force);
    check_rules(local_heap_broken_rule(part));
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

static bool api_search_block(void *block, void *arg)
{
    struct api_block_search *search = (struct api_block_search *)arg;
    if (block == search->wanted) search->found = true;
    return !search->found;
}

// The page's lists tell which blocks are live, if they are this thread's to read; of other pages
// only the block's place can be checked. Collecting may park the page (then each of its blocks is
// out) or release it.
bool mi_heap_contains_block(mi_heap_t *heap, const void *p)
{
    struct local_heap *main = api_main();
    struct page *page = page_of(p);
    if (page == NULL || heap == NULL || main == NULL || !walk_is_of(page, heap)) return false;
    void *block = page_block_at(page, page_index_of(page, p));
    if (block != p && (page_owner(page) & OWNER_INTERIOR) == 0) return false;
    if (!page_is_shared(page) && !walk_is_readable(page)) return true;

    struct local_heap *part = heap_local(heap, main);
    if (part == NULL) return true;
    local_heap_collect(part, true);
    check_rules(local_heap_broken_rule(part));
    page = page_of(p);
    if (page == NULL || !walk_is_of(page, heap)) return false;
    bool is_claimed = page_is_shared(page) && walk_claim(page);
    if (!is_claimed && !walk_is_readable(page)) return true;
    struct api_block_search search = {block, false};
    (void)walk_blocks(page, api_search_block, &search);
    if (is_claimed) retire_park(page, false);
    return search.found;
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

static bool api_visit_block(void *block, void *arg)
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

static bool api_visit_page(struct page *page, void *arg)
{
    struct api_visit *visit = (struct api_visit *)arg;
    visit->block_bytes = page->block_bytes - ALLOC_PADDING_BYTES;
    visit->area.blocks = page->start;
    visit->area.reserved = page->reserved * page->block_bytes;
    visit->area.committed = page->capacity * page->block_bytes;
    visit->area.block_size = visit->block_bytes;
    visit->area.used = 0;
    bool is_claimed = page_is_shared(page);
    if (is_claimed || walk_is_readable(page)) (void)walk_blocks(page, api_count_block, visit);
    else visit->area.used = page->capacity;
    if (visit->area.used == 0) return true;
    if (!visit->visitor(visit->heap, &visit->area, NULL, visit->block_bytes, visit->arg))
        return false;
    if (!visit->blocks) return true;
    // asked again: the visitor may have filled the page, and so parked it
    if (is_claimed || walk_is_readable(page)) return walk_blocks(page, api_visit_block, visit);
    for (uint32_t index = 0; index < page->capacity; index++) {
        if (!api_visit_block(page_block_at(page, index), visit)) return false;
    }
    return true;
}

bool mi_heap_visit_blocks(const mi_heap_t *heap, bool visit_all_blocks, mi_block_visit_fun *visitor,
                          void *arg)
{
    mi_heap_t *handle = (mi_heap_t *)(uintptr_t)heap;
    if (visitor == NULL || !api_is_usable(handle, "mi_heap_visit_blocks")) return false;
    struct api_visit visit;
    memset((void *)&visit, 0, sizeof(visit));
    visit.heap = heap;
    visit.blocks = visit_all_blocks;
    visit.visitor = visitor;
    visit.arg = arg;
    return walk_heap_pages(handle, api_visit_page, &visit);
}
