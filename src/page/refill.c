#include "page/refill.h"
#include "base/chacha.h"
#include "core/report.h"

// The marks of each block end with its time on the remote list. Returns how many links can be
// trusted.
static unsigned refill_check_list(struct page *page, struct block *block, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        // a block that is not live was freed by its owner at the same instant
        if (!page_has_block_at(page, block) ||
            (CFG_STATES && !state_is_live(page_state_of(page, block)))) {
            report_fault(FAULT_LINK, "collect", block, page->block_bytes);
            return i;
        }
        if (CFG_STATES) state_clear(page_state_of(page, block));
        block = block_next(block, &page->key);
    }
    return count;
}

// Ends a list after `count` blocks.
static void refill_cut_list(struct page *page, struct block *block, unsigned count)
{
    if (count == 0) return;
    for (unsigned i = 1; i < count; i++) block = block_next(block, &page->key);
    block_set_next(block, NULL, &page->key);
}

static void refill_put(struct page *page, struct remote_list taken)
{
    if (taken.count == 0) return;
    if (CFG_STATES) {
        unsigned trusted = refill_check_list(page, taken.first, taken.count);
        if (trusted < taken.count) refill_cut_list(page, taken.first, trusted);
        taken.count = trusted;
    }
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
    page->free_count = (uint16_t)(page->capacity - page->out); // P1, with an empty free list
    page->local_free = NULL;
}

bool refill_page(struct page *page, struct chacha *chacha, bool *is_zero)
{
    *is_zero = false;
    if (page->free == NULL && page->local_free != NULL) refill_from_local(page);
    if (page->free == NULL) refill_from_remote(page);
    if (page->free != NULL) return true;
    *is_zero = (page->flags & PAGE_ZERO) != 0 && CFG_DEBUG == 0;
    return page_cut(page, chacha);
}
