#include "heap/walk.h"
#include "core/stats.h"
#include "heap/ring.h"
#include "page/refill.h"

enum { WALK_MAX_BLOCKS = SLICE_BYTES / CLASS_STEP_BYTES }; // of a page

bool walk_all_pages(bool (*visit)(struct page *page, void *arg), void *arg)
{
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) return true;
        size_t slices = arena_mapped_chunks(arena) * CHUNK_SLICES;
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

struct mi_heap_s *walk_heap_of(const struct page *page)
{
    struct local_heap *part = (struct local_heap *)(page_owner(page) & ~(uintptr_t)OWNER_FLAGS);
    return part == NULL ? NULL : atomic_load_explicit(&part->heap, memory_order_relaxed);
}

// --- blocks of one page --------------------------------------------------------------------------

// Sets the bit of each block on a list; stops at a block that is not the page's.
static void walk_mark_list(const struct page *page, const struct block *list, uint64_t *is_free)
{
    for (unsigned i = 0; list != NULL && i < page->capacity;
         i++, list = block_next(list, &page->key)) {
        if (!page_has_block_at(page, list)) return;
        uint32_t index = page_index_of(page, list);
        is_free[index / 64] |= UINT64_C(1) << index % 64;
    }
}

bool walk_blocks(struct page *page, bool (*visit)(void *block, void *arg), void *arg)
{
    uint64_t is_free[WALK_MAX_BLOCKS / 64];
    memset(is_free, 0, sizeof(is_free));
    refill_from_remote(page);
    walk_mark_list(page, page->free, is_free);
    walk_mark_list(page, page->local_free, is_free);
    for (uint32_t index = 0; index < page->capacity; index++) {
        if ((is_free[index / 64] >> index % 64 & 1) != 0) continue;
        if (!visit(page_block_at(page, index), arg)) return false;
    }
    return true;
}

// --- pages of one heap ---------------------------------------------------------------------------

static bool walk_take_back(struct page *page, void *arg)
{
    struct local_heap *main = (struct local_heap *)arg;
    if (page_owner(page) == ((uintptr_t)main | OWNER_FULL) &&
        (page->flags & (PAGE_PINNED | PAGE_LARGE)) == 0) {
        local_heap_take_back(main, page);
    }
    return true;
}

struct walk_heap_visit {
    struct local_heap *part;
    bool (*visit)(struct page *page, void *arg);
    void *arg;
    bool goes_on;
};

static void walk_part(struct local_heap *part, void *arg)
{
    struct walk_heap_visit *walk = (struct walk_heap_visit *)arg;
    if (walk->goes_on) walk->goes_on = local_heap_visit_pages(part, walk->visit, walk->arg);
}

static bool walk_owned_by(struct page *page, void *arg)
{
    struct walk_heap_visit *walk = (struct walk_heap_visit *)arg;
    uintptr_t owner = page_owner(page) & ~(uintptr_t)OWNER_FLAGS;
    return owner != (uintptr_t)walk->part || walk->visit(page, walk->arg);
}

bool walk_heap_pages(struct mi_heap_s *heap, bool (*visit)(struct page *page, void *arg), void *arg)
{
    struct walk_heap_visit walk = {heap->local, visit, arg, true};
    if (heap->state == HEAP_MADE) {
        heap_visit_parts(heap, walk_part, &walk);
        return walk.goes_on;
    }
    // a backing heap knows only its pages with room: full ones are found by their owner word
    local_heap_collect(heap->local, true);
    (void)walk_all_pages(walk_take_back, heap->local);
    return walk_all_pages(walk_owned_by, &walk);
}

// --- counting ------------------------------------------------------------------------------------

static void walk_subtract_ring(struct local_heap *main, void *arg)
{
    struct walk_totals *totals = (struct walk_totals *)arg;
    for (unsigned i = 0; i < RING_SLOTS; i++) {
        const struct ring_slot *slot = &main->ring[i];
        const struct page *page = slot->page;
        if (page == NULL || page->size_class >= CLASS_COUNT) continue;
        totals->blocks -= slot->count;
        totals->bytes -= slot->count * page->block_bytes;
        totals->class_blocks[page->size_class] -= slot->count;
    }
}

static void walk_subtract_loaded(struct local_heap *part, struct walk_totals *totals)
{
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        const struct page *page = part->current[size_class];
        if (page == NULL || part->list[size_class] == NULL) continue;
        unsigned count = page_list_count(page, part->list[size_class]);
        if (count > page->capacity) continue; // it changed under our eyes
        totals->blocks -= count;
        totals->bytes -= count * page->block_bytes;
        totals->class_blocks[size_class] -= count;
    }
}

static bool walk_add_page(struct page *page, void *arg)
{
    struct walk_totals *totals = (struct walk_totals *)arg;
    size_t waiting = remote_waiting(page), out = page->out;
    size_t blocks = out > waiting ? out - waiting : 0;
    totals->pages++;
    totals->blocks += blocks;
    totals->bytes += blocks * page->block_bytes;
    if ((page->flags & PAGE_LARGE) == 0) {
        totals->class_blocks[page->size_class] += blocks;
    } else {
        totals->large_blocks += blocks;
        totals->large_bytes += blocks * page->block_bytes;
    }
    return true;
}

void walk_count(struct walk_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    (void)walk_all_pages(walk_add_page, totals);
    thread_visit_all(walk_subtract_ring, totals);
    for (uint32_t i = 0; i < heap_part_count(); i++) {
        struct local_heap *part = heap_part_at(i);
        if (part != NULL && atomic_load_explicit(&part->heap, memory_order_acquire) != NULL) {
            walk_subtract_loaded(part, totals);
        }
    }
}
