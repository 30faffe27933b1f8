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
static bool ring_clear_slot(struct ring *ring, struct ring_slot *slot)
{
    struct page *page = slot->page;
    slot->page = NULL;
    ring->bytes -= (size_t)slot->count * slot->block_bytes;
    if (!CFG_STATES || likely(ring_leads_home(page, slot->first))) return true;
    report_fault_within(FAULT_DOUBLE_FREE, "free", slot->first, slot->block_bytes);
    return false;
}

static void ring_flush_slot(struct ring *ring, struct ring_slot *slot)
{
    struct page *page = slot->page;
    ring->chains++;
    ring->chain_blocks += slot->count;
    if (ring_clear_slot(ring, slot)) retire_push(page, slot->first, slot->last, slot->count);
}

void ring_take_home(struct ring *ring, struct page *page)
{
    struct ring_slot *slot = ring_slot_of(ring, page);
    if (slot->page != page || !ring_clear_slot(ring, slot)) return;
    page_put_list(page, slot->first, slot->count);
}

void ring_flush(struct ring *ring)
{
    if (ring->bytes == 0) return;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        if (ring->slot[i].page != NULL) ring_flush_slot(ring, &ring->slot[i]);
    }
    check(ring->bytes == 0);
}

void ring_put(struct ring *ring, struct page *page, struct block *block)
{
    if (page->block_bytes > RING_BLOCK_BYTES || (page->flags & (PAGE_PINNED | PAGE_LARGE)) != 0) {
        ring->chains++;
        ring->chain_blocks++;
        retire_push(page, block, block, 1);
        return;
    }
    struct ring_slot *slot = ring_slot_of(ring, page);
    if (slot->page != page) {
        if (slot->page != NULL) ring_flush_slot(ring, slot);
        slot->page = page;
        slot->first = NULL;
        slot->last = block;
        slot->count = 0;
        slot->block_bytes = (uint32_t)page->block_bytes;
    }
    ring_extend(ring, page, block);
    if (ring->bytes > RING_FLUSH_BYTES) ring_flush(ring);
}

size_t ring_count(const struct ring *ring, const struct page *page)
{
    size_t count = 0;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        if (ring->slot[i].page == page) count += ring->slot[i].count;
    }
    return count;
}

bool ring_has(const struct ring *ring, const struct page *page)
{
    return ring_count(ring, page) != 0;
}
