#include "page/page.h"
#include "base/chacha.h"
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/batch.h"
#include "region/marks.h"
#include "region/purger.h"

// Of each class that has long pages. All of it is relaxed: no data hangs on it.
static data_apart ATOMIC(uint32_t) page_counts[CLASS_COUNT];

uint32_t page_count_of_class(size_t size_class)
{
    return atomic_load_explicit(&page_counts[size_class], memory_order_relaxed);
}

// One page more, or less. Threads make pages of small blocks too often to have a count in common.
static void page_count(const struct page *page, int32_t change)
{
    if (page->size_class == CLASS_COUNT || !class_has_long_pages(page->block_bytes)) return;
    atomic_fetch_add_explicit(&page_counts[page->size_class], (uint32_t)change,
                              memory_order_relaxed);
}

static uint16_t page_roomy(uint32_t reserved)
{
    return (uint16_t)(reserved - (reserved + 7) / 8);
}

struct page *page_init(void *memory, const struct page_plan *plan, const struct link_key *key)
{
    struct arena *arena = arena_of(memory);
    struct page *page = arena_descriptor(arena, arena_slice_of(arena, memory));
    check(page->block_bytes == 0 && page_owner(page) == 0);

    bool is_large = (plan->flags & PAGE_LARGE) != 0;
    size_t usable_bytes = ((size_t)plan->slices << SLICE_SHIFT) - plan->lost_bytes;
    page->start = (char *)memory;
    if (CFG_STATES) page->states = arena_state_of(arena, memory);
    page->slices = plan->slices;
    page->size_class = (uint8_t)plan->size_class;
    page->flags = (uint8_t)plan->flags;
    page->reserved = is_large ? 1 : (uint16_t)(usable_bytes / plan->block_bytes);
    if (!is_large) page->roomy = page_roomy(page->reserved);
    page->reciprocal = page_reciprocal_of(plan->block_bytes, is_large);
    if (key != NULL) page->key = *key;
    page->sink = (uintptr_t)&page->local_free;
    page->block_bytes = plan->block_bytes;
    // a pointer to a large block points into its first slice, or into pointer_slice, so its other
    // slices stay blank
    for (uint32_t i = 1; !is_large && i < plan->slices; i++) page[i].back = (uint16_t)i;

    int64_t bytes = (int64_t)page_total_bytes(page);
    stats_add(STAT_pages, 1);
    stats_add(STAT_page_bytes, bytes);
    if (is_large) stats_add(STAT_large, (int64_t)plan->block_bytes);
    else if (class_is_shared(plan->size_class)) stats_add(STAT_shared_bytes, bytes);
    page_count(page, 1);
    purge_if_wanted(plan->slices);
    return page;
}

struct page *page_of_far(const void *address)
{
    const struct arena *arena = arena_of(address);
    if (arena == NULL) return NULL;
    struct page *page = page_head(arena_descriptor(arena, arena_slice_of(arena, address)));
    return page->block_bytes != 0 ? page : NULL;
}

unsigned page_guard(char *memory, size_t bytes)
{
    size_t guard_bytes = os_page_bytes();
    switch (os_guard(memory + bytes - guard_bytes, guard_bytes)) {
    case OS_GUARD_CALL:  return PAGE_GUARDED;
    case OS_GUARD_SPLIT: return PAGE_GUARDED | PAGE_SPLIT;
    case OS_GUARD_NONE:  break;
    }
    return 0;
}

bool page_unguard(struct page *page)
{
    size_t guard_bytes = os_page_bytes();
    char *end = page->start + page_total_bytes(page);
    if ((page->flags & PAGE_GUARDED) == 0) return true;
    bool is_split = (page->flags & PAGE_SPLIT) != 0;
    if (!os_unguard(end - guard_bytes, guard_bytes, is_split ? OS_GUARD_SPLIT : OS_GUARD_CALL)) {
        return false;
    }
    page->flags = (uint8_t)(page->flags & ~(PAGE_GUARDED | PAGE_SPLIT));
    return true;
}

// Debug builds count each block: those of a heap that is destroyed are freed now.
static void page_count_removed(const struct page *page)
{
    if (!CFG_STAT_BLOCKS || page->out == 0) return;
    for (uint32_t index = 0; index < page->capacity; index++) {
        const struct block *block = page_block_at(page, index);
        if (!state_is(page_state_at(page, block), STATE_IN_USE)) continue;
        size_t requested_bytes = block_requested_bytes(block, page->block_bytes);
        stats_block_removed(page->size_class, page->block_bytes, requested_bytes);
    }
}

// Of a block.
static struct state *page_state_of(const struct page *page, uint32_t index)
{
    return page_state_at(page, page_block_at(page, index));
}

bool page_is_idle(const struct page *page, uint32_t first, uint32_t end)
{
    for (; first < end; first++) {
        if (!state_is_idle(page_state_of(page, first))) return false;
    }
    return true;
}

static void page_set_states(const struct page *page, uint32_t first, uint32_t count,
                            enum state_kind kind)
{
    for (uint32_t i = 0; i < count; i++) state_set(page_state_of(page, first + i), kind);
}

// T3: a block came back twice, and another one did not. The page stays as it is, but nobody's.
static bool page_has_doubled(struct page *page)
{
    if (!CFG_STATES || page->out != 0 || page_is_idle(page, 0, page->capacity)) return false;
    uintptr_t interior = page_owner(page) & OWNER_INTERIOR;
    if (!page_is_shared(page)) page_set_owner(page, OWNER_FULL | interior);
    report_fault_within(FAULT_DOUBLE_FREE, "free", page->start, page->block_bytes);
    return true;
}

// Zeroes a descriptor. Stale readers look at the atomic words only: they see a page of nobody's
// that is not parked.
static void page_blank(struct page *page)
{
    enum { FIRST = offsetof(struct page, local_free), SECOND = offsetof(struct page, roomy) };
    atomic_store_explicit(&page->owner, 0, memory_order_relaxed);
    atomic_store_explicit(&page->remote, 0, memory_order_relaxed);
    memset((char *)page + FIRST, 0, offsetof(struct page, remote) - FIRST);
    memset((char *)page + SECOND, 0, sizeof(*page) - SECOND);
}

// A2. A large block may have many slices, but only two that are described.
static void page_blank_all(struct page *page)
{
    uint32_t slices = page->slices;
    if ((page->flags & PAGE_LARGE) != 0) {
        if (page->pointer_slice != 0) page_blank(&page[page->pointer_slice]);
        slices = 1;
    }
    for (uint32_t i = 0; i < slices; i++) page_blank(&page[i]);
}

static void page_return(void *start, uint32_t slices, bool touched, struct batch *batch)
{
    if (batch == NULL) arena_release(start, slices, touched);
    else batch_add(batch, start, slices, touched);
}

// What cannot be used again is nobody's for good.
void page_release_later(struct page *page, struct batch *batch)
{
    char *start = page->start;
    if (unlikely(page_has_doubled(page))) return;
    uint32_t slices = page->slices;
    size_t bytes = page_total_bytes(page);
    page_count(page, -1);
    stats_remove(STAT_pages, 1);
    stats_remove(STAT_page_bytes, (int64_t)bytes);
    if ((page->flags & PAGE_LARGE) != 0) stats_remove(STAT_large, (int64_t)page->block_bytes);
    else if (class_is_shared(page->size_class)) stats_remove(STAT_shared_bytes, (int64_t)bytes);
    if (page->size_class < CLASS_COUNT)
        marks_clear(page_arena(page), page->size_class, arena_slice_of(page_arena(page), start));
    page_count_removed(page);
    if (CFG_STATES) page_set_states(page, 0, page->capacity, STATE_NONE);
    bool is_usable = page_unguard(page), is_lost = false;
    // where others free a heap's block they leave a link in it
    bool is_clean = (page->flags & (PAGE_CLEAN | PAGE_PINNED)) == PAGE_CLEAN;
    if ((page->flags & PAGE_MOVED) != 0) is_clean = os_restore(start, bytes, &is_lost);

    page_blank_all(page);
    if (is_usable && !is_lost) page_return(start, slices, !is_clean, batch);
    purger_consider();
}

void page_release(struct page *page) { page_release_later(page, NULL); }

// About an OS page: in new memory each is a page fault, and the caller waits. Few blocks have few
// orders, so at random it is eight of them if four OS pages hold so many.
static uint32_t page_cut_count(const struct page *page, bool is_random, size_t used_bytes)
{
    enum { RANDOM_BLOCKS = 8, RANDOM_OS_PAGES = 4 };
    size_t uncut = (size_t)(page->reserved - page->capacity);
    size_t count = os_page_bytes() / page->block_bytes;
    if (is_random && count < RANDOM_BLOCKS) {
        count = RANDOM_OS_PAGES * os_page_bytes() / page->block_bytes;
        if (count > RANDOM_BLOCKS) count = RANDOM_BLOCKS;
    }
    size_t used_count = (page->flags & PAGE_ZERO) != 0 ? 0 : used_bytes / page->block_bytes;
    if (count < used_count) count = used_count;
    if (count == 0) count = 1;
    return (uint32_t)(count < uncut ? count : uncut);
}

static void page_fill_cut(const struct page *page, uint32_t first, uint32_t count)
{
    if (CFG_DEBUG >= 1) memset(page_block_at(page, first), FILL_FREED, count * page->block_bytes);
}

// Links blocks first .. first + count - 1 in order of address.
static struct block *page_link_in_order(const struct page *page, uint32_t first, uint32_t count)
{
    struct block *start = page_block_at(page, first);
    struct block *last = page_block_at(page, first + count - 1);
    for (struct block *block = start, *next; block != last; block = next) {
        next = (struct block *)(void *)((char *)block + page->block_bytes);
        block_set_next(block, next, &page->key);
    }
    block_set_next(last, NULL, &page->key);
    return start;
}

// Blocks first .. first + count - 1, piece by piece in random order: so small blocks that are
// handed out one after the other still lie on few OS pages. The order of a piece is i -> start +
// i * stride modulo its length, a power of two; with an odd stride that is a permutation. Hardware
// prefetchers follow a stride, but no shuffled order (doc/decisions.md 7).
static struct block *page_link_at_random(const struct page *page, uint32_t first, uint32_t count,
                                         struct chacha *chacha)
{
    uint32_t piece = 64;
    struct block *next = NULL;
    while (count > 0) {
        while (piece > count) piece /= 2;
        uint32_t draw = chacha_next32(chacha), start = draw, stride = draw >> 16 | 1;
        for (uint32_t i = 0; i < piece; i++) {
            uint32_t index = (start + i * stride) % piece;
            struct block *block = page_block_at(page, first + index);
            block_set_next(block, next, &page->key);
            next = block;
        }
        first += piece;
        count -= piece;
    }
    return next;
}

void page_list_blocks(struct page *page, uint32_t first, uint32_t count, struct chacha *chacha)
{
    check(page->free == NULL);
    page_fill_cut(page, first, count);
    if (CFG_STATES) page_set_states(page, first, count, STATE_FREE);
    page->free = chacha != NULL ? page_link_at_random(page, first, count, chacha)
                                : page_link_in_order(page, first, count);
    page->free_count = (uint16_t)count;
}

bool page_cut(struct page *page, struct chacha *chacha, size_t used_bytes)
{
    uint32_t count = page_cut_count(page, chacha != NULL, used_bytes);
    if (count == 0) return false;
    page_list_blocks(page, page->capacity, count, chacha);
    page->capacity = (uint16_t)(page->capacity + count);
    stats_count(COUNT_page_extends, 1);
    return true;
}

size_t page_strip_bytes(const struct page *page)
{
    return bits_align_up(page_total_bytes(page) / PAGE_STRIPS, os_page_bytes());
}

struct page_range page_beginning_in(const struct page *page, unsigned strip)
{
    size_t strip_bytes = page_strip_bytes(page), block_bytes = page->block_bytes;
    size_t start = strip * strip_bytes + block_bytes - 1; // rounds up
    size_t first = start / block_bytes, end = (start + strip_bytes) / block_bytes;
    struct page_range range;
    range.first = (uint32_t)(first < page->capacity ? first : page->capacity);
    range.end = (uint32_t)(end < page->capacity ? end : page->capacity);
    return range;
}

uint32_t page_count_in_holes(const struct page *page)
{
    uint32_t count = 0;
    for (uint32_t left = page->holes; left != 0; left &= left - 1) {
        struct page_range range = page_beginning_in(page, bits_lowest(left));
        count += range.end - range.first;
    }
    return count;
}

struct block *page_next(const struct page *page, const struct block *block)
{
    struct block *next = block_next(block, &page->key);
    if (!CFG_STATES || next == NULL) return next;
    const struct state *state = page_state_at(page, next);
    if (state != NULL && state_is_idle(state)) return next;
    report_fault_within(FAULT_LINK, "collect", next, page->block_bytes);
    return NULL;
}

void page_put_list(struct page *page, struct block *list, unsigned count)
{
    if (count == 0) return;
    if (page->free != NULL && page->local_free == NULL && count > CFG_SHORT_LIST) {
        page->out -= count;
        page->local_free = list;
        return;
    }
    if (page->free != NULL) {
        struct block *last = list, *next;
        unsigned joined = 1;
        for (; joined < count && (next = page_next(page, last)) != NULL; joined++) last = next;
        block_set_next(last, page->free, &page->key);
        count = joined;
    }
    page->out -= count;
    page->free = list;
    page->free_count = (uint16_t)(page->free_count + count);
}

unsigned page_list_count(const struct page *page, const struct block *list)
{
    unsigned count = 0;
    for (; list != NULL && count <= page->capacity; list = block_next(list, &page->key), count++) {
        if (!page_has_block_at(page, list)) return page->capacity + 1u;
    }
    return count;
}

// Stops at a block that is not the page's.
static void page_mark_list(const struct page *page, const struct block *list, uint64_t *is_free)
{
    for (unsigned i = 0; list != NULL && i < page->capacity;
         i++, list = block_next(list, &page->key)) {
        if (!page_has_block_at(page, list)) return;
        uint32_t index = page_index_of(page, list);
        is_free[index / 64] |= UINT64_C(1) << index % 64;
    }
}

void page_mark_free(const struct page *page, uint64_t is_free[PAGE_MAX_BLOCKS / 64])
{
    memset(is_free, 0, PAGE_MAX_BLOCKS / 8);
    page_mark_list(page, page->free, is_free);
    page_mark_list(page, page->local_free, is_free);
    for (uint32_t left = page->holes; left != 0; left &= left - 1) {
        struct page_range range = page_beginning_in(page, bits_lowest(left));
        for (uint32_t i = range.first; i < range.end; i++)
            is_free[i / 64] |= UINT64_C(1) << i % 64;
    }
}

bool page_is_descriptor(const void *address)
{
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        const struct arena *arena = arena_at(i);
        if (arena == NULL) return false;
        uintptr_t offset = (uintptr_t)address - (uintptr_t)arena->descriptors;
        uintptr_t span = atomic_load_explicit(&arena->span_units, memory_order_acquire);
        if (offset >> DESCRIPTOR_SHIFT < span >> (SLICE_SHIFT - GRANULE_SHIFT) &&
            offset % DESCRIPTOR_BYTES == 0)
            return true;
    }
    return false;
}

// A large block.
static bool page_has_pointer_slice(const struct page *page)
{
    unsigned slice = page->pointer_slice;
    bool is_interior = (page_owner(page) & OWNER_INTERIOR) != 0;
    return slice == 0 || (is_interior && slice < page->slices && page[slice].back == slice);
}

// What page_init wrote follows from the descriptor's place and a few numbers.
static bool page_is_as_made(const struct page *page)
{
    const struct arena *arena = page_arena(page);
    if (arena == NULL) return false;
    if (page != arena_descriptor(arena, arena_slice_of(arena, page->start))) return false;
    if (!bits_is_aligned(page->start, SLICE_BYTES) || page->block_bytes == 0) return false;
    if (page->back != 0) return false;
    if (page->slices == 0 || !page_is_descriptor(page + page->slices - 1)) return false;
    size_t bytes = page_total_bytes(page);
    if (page->reserved == 0 || page->block_bytes > bytes / page->reserved) return false;
    bool is_large = (page->flags & PAGE_LARGE) != 0;
    if (page->reciprocal != page_reciprocal_of(page->block_bytes, is_large)) return false;
    if (CFG_STATES && page->states != arena_state_of(arena, page->start)) return false;
    if (is_large) return page->reserved == 1 && page_has_pointer_slice(page);
    if (page->roomy != page_roomy(page->reserved)) return false;
    for (uint32_t i = 1; i < page->slices; i++) {
        if (page[i].block_bytes != 0 || page[i].back != i) return false;
    }
    return true;
}

// Of the memory what comes next is read.
static bool page_is_uncut_zero(const struct page *page)
{
    if ((page->flags & PAGE_ZERO) == 0) return true;
    const uint64_t *words = (const uint64_t *)(const void *)page_block_at(page, page->capacity);
    size_t uncut_bytes = (size_t)(page->reserved - page->capacity) * page->block_bytes;
    if (uncut_bytes > os_page_bytes()) uncut_bytes = os_page_bytes();
    for (size_t i = 0; i < uncut_bytes / sizeof(*words); i++) {
        if (words[i] != 0) return false;
    }
    return true;
}

bool page_is_idle_list(const struct page *page, const struct block *list)
{
    for (; list != NULL; list = block_next(list, &page->key)) {
        if (!state_is_idle(page_state_at(page, list))) return false;
    }
    return true;
}

static bool page_has_uncut_state(const struct page *page)
{
    for (uint32_t i = page->capacity; i < page->reserved; i++) {
        if (!state_is(page_state_of(page, i), STATE_NONE)) return true;
    }
    return false;
}

static const char *page_broken_states(const struct page *page)
{
    if (page_has_uncut_state(page)) return "P5: a block has a state that was never cut";
    if (!page_is_idle_list(page, page->free) || !page_is_idle_list(page, page->local_free))
        return "T3: a listed block is in use";
    return NULL;
}

static bool page_has_any_in_hole(const struct page *page, const struct block *list)
{
    for (; list != NULL; list = block_next(list, &page->key)) {
        if (page_has_in_hole(page, list)) return true;
    }
    return false;
}

static const char *page_broken_holes(const struct page *page)
{
    if (page->holes == 0) return NULL;
    if (page_has_any_in_hole(page, page->free) || page_has_any_in_hole(page, page->local_free))
        return "P6: a listed block begins in a hole";
    for (uint32_t left = page->holes; left != 0; left &= left - 1) {
        struct page_range range = page_beginning_in(page, bits_lowest(left));
        if (range.first >= range.end) return "P6: a hole in which no block begins";
        if (CFG_STATES && !page_is_idle(page, range.first, range.end))
            return "P6: a block is out that begins in a hole";
    }
    return NULL;
}

const char *page_broken_rule(const struct page *page)
{
    if (page->capacity > page->reserved) return "P1: more blocks cut than fit";
    if (!page_is_as_made(page)) return "P3: what is constant has changed";
    unsigned on_free = page_list_count(page, page->free);
    unsigned on_local = page_list_count(page, page->local_free);
    if (on_free > page->capacity) return "P2: the free list loops or leaves the page";
    if (on_local > page->capacity) return "P2: the local free list loops or leaves the page";
    if (on_free != page->free_count) return "P1: the free list is not as long as its count";
    if (page->out + on_free + on_local + page_count_in_holes(page) != page->capacity)
        return "P1: blocks lost or doubled";
    if (!page_is_uncut_zero(page)) return "P5: the uncut rest is not zero";
    const char *broken = page_broken_holes(page);
    return broken == NULL && CFG_STATES ? page_broken_states(page) : broken;
}
