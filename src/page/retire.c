#include "page/retire.h"
#include "core/stats.h"
#include "page/holes.h"
#include "page/refill.h"
#include "region/marks.h"
#include "region/purger.h"

enum { RETIRE_SEARCH_CHUNKS = 32, RETIRE_TRIES = 4 };

// Where the mark of a page goes: read while the page cannot change, for once it is parked or its
// block is pushed it may be claimed, released and begin a new life. Then the mark is stale, which
// whoever takes it finds out by the state word.
struct retire_place { const char *start; size_t size_class; };

static struct retire_place retire_place_of(const struct page *page)
{
    struct retire_place place = {page->start, page->size_class};
    return place;
}

static void retire_mark(struct retire_place place)
{
    struct arena *arena = arena_of(place.start);
    marks_set(arena, place.size_class, arena_slice_of(arena, place.start));
}

void retire_push(struct page *page, struct block *first, struct block *last, unsigned count)
{
    struct retire_place place = retire_place_of(page);
    switch (remote_push(page, first, last, count)) {
    case REMOTE_DONE:   break;
    case REMOTE_LISTED:
        retire_mark(place);
        purger_expect(SLICE_BYTES);
        break;
    case REMOTE_LAST:
        stats_remove(STAT_pages_parked, 1);
        page->out = 0; // it was frozen while the page was parked
        page_release(page);
        break;
    }
}

bool retire_full(struct page *page, struct stats_tally *tally)
{
    uintptr_t owner = page_owner(page);
    page_set_owner(page, owner | OWNER_FULL); // before others can claim it and store their own
    if (remote_try_park(page)) {
        stats_tally_add(tally, STAT_pages_parked, 1);
        return true;
    }
    page_set_owner(page, owner);
    refill_from_remote(page);
    return false;
}

void retire_park(struct page *page, bool is_for_good)
{
    uintptr_t kept = is_for_good ? page_owner(page) & OWNER_INTERIOR : page_owner(page);
    // before others can claim it and store their own
    if (!page_is_shared(page)) page_set_owner(page, OWNER_FULL | kept);
    for (;;) {
        refill_from_remote(page);
        if (CFG_STATES && page->out > page->capacity) page->out = 0; // see page_put
        if (page->out == 0) {
            page_release(page);
            return;
        }
        bool has_room = page_has_room(page);
        struct retire_place place = retire_place_of(page);
        if (remote_try_park(page)) {
            stats_add(STAT_pages_parked, 1);
            if (has_room) retire_mark(place);
            if (has_room && is_for_good) purger_expect(SLICE_BYTES);
            return;
        }
    }
}

bool retire_claim(struct page *page)
{
    if (!refill_claim(page)) return false;
    stats_remove(STAT_pages_parked, 1);
    return true;
}

static void retire_give_back_of(struct page *page)
{
    if (!remote_is_listed(page) || !retire_claim(page)) return;
    ignore_result(holes_give_back(page));
    retire_park(page, false); // the former owner's name stays
}

static cold void retire_give_back_of_chunk(const struct arena *arena, size_t chunk)
{
    // relaxed: what is claimed meanwhile is left out
    uint64_t used = ~atomic_load_explicit(&arena->chunks[chunk].free, memory_order_relaxed);
    for (; used != 0; used &= used - 1) {
        size_t slice = chunk * CHUNK_SLICES + bits_lowest(used);
        retire_give_back_of(arena_descriptor(arena, slice));
    }
}

bool retire_give_back_holes_of(size_t number)
{
    for (unsigned i = 0; i < ARENA_MAX; i++) {
        const struct arena *arena = arena_at(i);
        if (arena == NULL) return false;
        size_t chunks = window_mapped_chunks(arena);
        if (number < chunks) {
            retire_give_back_of_chunk(arena, number);
            return true;
        }
        number -= chunks;
    }
    return false;
}

void retire_give_back_holes(void)
{
    for (size_t number = 0; retire_give_back_holes_of(number);) number++;
}

bool retire_large(struct page *page)
{
    struct remote_list none;
    if (!remote_try_claim(page, PAGE_LARGE, &none)) return false;
    stats_remove(STAT_pages_parked, 1);
    page_release(page);
    return true;
}

bool retire_push_large(struct page *page)
{
    do {
        if (retire_large(page) || remote_push_large(page)) return true;
    } while (remote_is_parked(page)); // its heap was deleted just now
    return false;
}

struct page *retire_adopt(size_t size_class, void (*take_other)(void *taker, struct page *page),
                          void *taker)
{
    unsigned tries = RETIRE_TRIES;
    for (unsigned i = 0; tries > 0; i++) {
        struct arena *arena = arena_at(i);
        if (arena == NULL) break;
        struct page *page = marks_take(arena, size_class, RETIRE_SEARCH_CHUNKS);
        if (page == NULL) continue;
        tries--;
        i--; // the same arena may have more
        if (!refill_adopt(page)) continue; // a stale mark
        stats_remove(STAT_pages_parked, 1);
        stats_count(COUNT_page_adopts, 1);
        if (page->size_class == size_class && page_has_room(page)) return page;
        take_other(taker, page);
    }
    return NULL;
}
