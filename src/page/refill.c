#include "page/refill.h"
#include "base/chacha.h"
#include "page/holes.h"

static void refill_put(struct page *page, struct remote_list taken)
{
    page_put_list(page, taken.first, taken.count);
}

void refill_from_remote(struct page *page) { refill_put(page, remote_take(page)); }

bool refill_claim(struct page *page)
{
    struct remote_list taken;
    if (!remote_try_claim(page, 0, &taken)) return false;
    refill_put(page, taken);
    return true;
}

static void refill_from_local(struct page *page)
{
    page->free = page->local_free;
    // P1, with an empty free list
    page->free_count = (uint16_t)(page->capacity - page->out - page_count_in_holes(page));
    page->local_free = NULL;
}

bool refill_adopt(struct page *page)
{
    struct remote_list taken;
    if (!remote_try_claim(page, 0, &taken)) return false;
    bool is_walk = taken.count > CFG_SHORT_LIST && page->free != NULL && page->local_free != NULL;
    if (!is_walk || !remote_try_return(page, taken)) refill_put(page, taken);
    return true;
}

bool refill_page(struct page *page, struct chacha *chacha, size_t used_bytes, bool *is_zero)
{
    *is_zero = false;
    if (page->free == NULL && page->local_free != NULL) refill_from_local(page);
    if (page->free == NULL) refill_from_remote(page);
    if (page->free != NULL || holes_fill(page, chacha)) return true;
    *is_zero = (page->flags & PAGE_ZERO) != 0 && CFG_DEBUG == 0;
    return page_cut(page, chacha, used_bytes);
}
