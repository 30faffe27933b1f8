#include "heap/ring.h"
#include "core/report.h"
#include "page/retire.h"

// Debug and secure builds: blocks on their way keep their page as it is, unless another block was
// freed twice at the same instant and was counted in their place.
static bool ring_leads_home(const struct page *page, const struct block *first)
{
    return page_of(first) == page && state_is(page_state_at(page, first), STATE_FREED);
}

// Empties the slot. false: its chain leads nowhere, and is lost.
static bool ring_clear_slot(struct local_heap *main, struct ring_slot *slot)
{
    struct page *page = slot->page;
    slot->page = NULL;
    main->ring_bytes -= (size_t)slot->count * slot->block_bytes;
    if (!CFG_STATES || likely(ring_leads_home(page, slot->first))) return true;
    report_fault(FAULT_DOUBLE_FREE, "free", slot->first, slot->block_bytes);
    return false;
}

static void ring_flush_slot(struct local_heap *main, struct ring_slot *slot)
{
    struct page *page = slot->page;
    main->chains++;
    main->chain_blocks += slot->count;
    if (ring_clear_slot(main, slot)) retire_push(page, slot->first, slot->last, slot->count);
}

void ring_take_home(struct local_heap *main, struct page *page)
{
    struct ring_slot *slot = ring_slot_of(main, page);
    if (slot->page != page || !ring_clear_slot(main, slot)) return;
    page_put_list(page, slot->first, slot->count);
}

void ring_flush(struct local_heap *main)
{
    if (main->ring_bytes == 0) return;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        if (main->ring[i].page != NULL) ring_flush_slot(main, &main->ring[i]);
    }
    check(main->ring_bytes == 0);
}

void ring_put(struct local_heap *main, struct page *page, struct block *block)
{
    if (page->block_bytes > RING_BLOCK_BYTES || (page->flags & (PAGE_PINNED | PAGE_LARGE)) != 0) {
        main->chains++;
        main->chain_blocks++;
        retire_push(page, block, block, 1);
        return;
    }
    struct ring_slot *slot = ring_slot_of(main, page);
    if (slot->page != page) {
        if (slot->page != NULL) ring_flush_slot(main, slot);
        slot->page = page;
        slot->first = NULL;
        slot->last = block;
        slot->count = 0;
        slot->block_bytes = (uint32_t)page->block_bytes;
    }
    ring_extend(main, page, block);
    if (main->ring_bytes > RING_FLUSH_BYTES) ring_flush(main);
}

size_t ring_count(const struct local_heap *main, const struct page *page)
{
    size_t count = 0;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        if (main->ring[i].page == page) count += main->ring[i].count;
    }
    return count;
}

bool ring_has(const struct local_heap *main, const struct page *page)
{
    return ring_count(main, page) != 0;
}
