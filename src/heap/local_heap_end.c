#include "heap/local_heap.h"
#include "page/page_list.h"
#include "region/batch.h"
#include "region/purger.h"

static void local_heap_release_list(struct page **head, struct batch *batch)
{
    struct page *page;
    while ((page = *head) != NULL) {
        page_list_remove(head, page);
        page_release_later(page, batch);
    }
}

void local_heap_destroy_pages(struct local_heap *heap)
{
    struct batch batch = {{{NULL, 0, 0}}};
    for (size_t size_class = 0; size_class < CLASS_COUNT; size_class++) {
        struct page *page = heap->own[size_class].current;
        // first: its blocks belong to no page from now on
        *local_heap_list(heap, size_class) = NULL;
        heap->own[size_class].current = NULL;
        if (page != NULL) page_release_later(page, &batch);
        local_heap_release_list(&heap->own[size_class].queue, &batch);
    }
    local_heap_release_list(&heap->full.first, &batch);
    local_heap_release_list(&heap->large.first, &batch);
    batch_release(&batch);
    ahead_return(&heap->ahead);
    purger_consider(); // page_release_later did, when these were not free yet
    heap->full.cursor = heap->large.cursor = NULL;
}
