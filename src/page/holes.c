#include "page/holes.h"
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"

// T3: a block of the hole is in use, for it came back twice, and once more from a list. So the
// hole's blocks are out for good.
static void holes_lose(struct page *page, struct page_range range)
{
    page->out += range.end - range.first;
    report_fault_within(FAULT_DOUBLE_FREE, "free", page_block_at(page, range.first),
                        page->block_bytes);
}

bool holes_fill(struct page *page, struct chacha *chacha)
{
    while (page->holes != 0) {
        struct page_range range = page_beginning_in(page, bits_lowest(page->holes));
        page->holes = (uint16_t)(page->holes & (page->holes - 1));
        if (!CFG_STATES || likely(page_is_idle(page, range.first, range.end))) {
            page_list_blocks(page, range.first, range.end - range.first, chacha);
            return true;
        }
        holes_lose(page, range);
    }
    return false;
}

// --- giving back ---------------------------------------------------------------------------------

// Cut blocks that begin in the strip, and one that begins before and reaches into it.
static struct page_range holes_overlapping(const struct page *page, unsigned strip)
{
    struct page_range range = page_beginning_in(page, strip);
    size_t first = strip * page_strip_bytes(page) / page->block_bytes;
    if (first < range.first) range.first = (uint32_t)first;
    return range;
}

// Which strips are overlapped by cut blocks, all of them free.
static uint32_t holes_find(const struct page *page)
{
    uint64_t is_free[PAGE_MAX_BLOCKS / 64];
    uint32_t strips = 0;
    page_mark_free(page, is_free);
    for (unsigned strip = 0; strip < PAGE_STRIPS; strip++) {
        struct page_range range = holes_overlapping(page, strip);
        uint32_t index = range.first;
        while (index < range.end && (is_free[index / 64] >> index % 64 & 1) != 0) index++;
        if (range.first < range.end && index == range.end) strips |= UINT32_C(1) << strip;
    }
    return strips;
}

static uint32_t holes_with_beginning(const struct page *page, uint32_t strips)
{
    uint32_t some = 0;
    for (uint32_t left = strips; left != 0; left &= left - 1) {
        struct page_range range = page_beginning_in(page, bits_lowest(left));
        if (range.first < range.end) some |= left & (~left + 1);
    }
    return some;
}

// The list without the blocks that begin in holes, in the same order.
static struct block *holes_drop_listed(const struct page *page, struct block *list, unsigned *count)
{
    struct block *first = NULL, *last = NULL;
    *count = 0;
    for (struct block *next; list != NULL; list = next) {
        next = block_next(list, &page->key);
        if (page_has_in_hole(page, list)) continue;
        if (last == NULL) first = list;
        else block_set_next(last, list, &page->key);
        last = list;
        ++*count;
    }
    if (last != NULL) block_set_next(last, NULL, &page->key);
    return first;
}

static size_t holes_purge(const struct page *page, size_t start, size_t end)
{
    size_t lost_bytes = (page->flags & PAGE_GUARDED) != 0 ? os_page_bytes() : 0;
    size_t usable_bytes = page_total_bytes(page) - lost_bytes;
    if (end > usable_bytes) end = usable_bytes;
    if (start >= end || !os_purge(page->start + start, end - start)) return 0;
    return end - start;
}

// One call of the OS for each run.
static size_t holes_purge_strips(const struct page *page, uint32_t strips)
{
    size_t bytes = 0, strip_bytes = page_strip_bytes(page);
    while (strips != 0) {
        unsigned first = bits_lowest(strips), count = bits_trailing_ones(strips >> first);
        bytes += holes_purge(page, first * strip_bytes, (first + count) * strip_bytes);
        strips &= ~((uint32_t)bits_ones(count) << first);
    }
    return bytes;
}

// Debug builds know free blocks by what fills them: those that reach into what was given back.
static void holes_fill_listed(const struct page *page, struct block *list, uint32_t strips)
{
    size_t strip_bytes = page_strip_bytes(page);
    for (; list != NULL; list = block_next(list, &page->key)) {
        size_t offset = (size_t)((char *)list - page->start);
        size_t first = offset / strip_bytes, last = (offset + page->block_bytes - 1) / strip_bytes;
        if ((strips >> first & bits_ones((unsigned)(last - first + 1))) == 0) continue;
        memset((void *)(list + 1), FILL_FREED, page->block_bytes - sizeof(*list));
    }
}

// Of pages whose memory others had before.
static size_t holes_purge_uncut(struct page *page)
{
    size_t cut_bytes = page->capacity * page->block_bytes;
    if ((page->flags & PAGE_ZERO) != 0 || page->is_rest_back) return 0;
    page->is_rest_back = true;
    return holes_purge(page, bits_align_up(cut_bytes, os_page_bytes()), page_total_bytes(page));
}

// What is listed, or begins in a hole, is free, unless it came back twice (T3).
static bool holes_are_idle(const struct page *page)
{
    for (uint32_t left = page->holes; left != 0; left &= left - 1) {
        struct page_range range = page_beginning_in(page, bits_lowest(left));
        if (!page_is_idle(page, range.first, range.end)) return false;
    }
    return page_is_idle_list(page, page->free) && page_is_idle_list(page, page->local_free);
}

// A list that somebody wrote over, or that has a block in use, is left to malloc, which tells the
// user.
static bool holes_may_be(const struct page *page)
{
    unsigned listed = page_list_count(page, page->free) + page_list_count(page, page->local_free);
    return listed + page->out + page_count_in_holes(page) == page->capacity &&
           (!CFG_STATES || holes_are_idle(page)) &&
           !arena_is_pinned(page_arena(page), page->start, page->slices);
}

size_t holes_give_back(struct page *page)
{
    if (!holes_may_be(page)) return 0;
    uint32_t strips = holes_find(page) & ~(uint32_t)page->holes;
    size_t bytes = holes_purge_uncut(page);
    if (strips != 0) {
        unsigned free_count, local_count;
        page->holes = (uint16_t)(page->holes | holes_with_beginning(page, strips));
        page->free = holes_drop_listed(page, page->free, &free_count);
        page->local_free = holes_drop_listed(page, page->local_free, &local_count);
        page->free_count = (uint16_t)free_count;
        bytes += holes_purge_strips(page, strips);
        if (CFG_DEBUG >= 1) holes_fill_listed(page, page->free, strips);
        if (CFG_DEBUG >= 1) holes_fill_listed(page, page->local_free, strips);
    }
    stats_add(STAT_reset, (int64_t)bytes);
    return bytes;
}
