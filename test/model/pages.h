/* pages.h: what test_pages.cpp runs: the real sources from the marks up to free, over an arena of a
 * few slices that is simulated here, and what must be true before and after the threads.
 */
#ifndef MODEL_PAGES_H
#define MODEL_PAGES_H
#define MI_ONE_OBJECT 1
#define MI_SHORT_LIST 0
#include "base/base.h"
#include "core/random.h"
#include "core/report.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/batch.h"
#include "region/marks.h"
#include "region/purger.h"
#include "alloc/free.h"
#include "heap/ahead.h"
#include "heap/cache.h"

// --- what lies below -----------------------------------------------------------------------------

enum {
    SLICES = 3,
    UNIT_BYTES = 1024,
    UNITS = SLICE_BYTES / UNIT_BYTES,
    // Of pages that are owned. The scenarios give it larger blocks than its own, which wait in no
    // ring.
    CLASS = 40,
    // Of pages that are shared, with the depot's slots that are in use.
    PAIRS = 64,  // 8 KiB: a cache gets two from a page at a time
    MIDDLE = 72, // 16 KiB: one at a time; a cache may have one
    LONG = 74,   // 20 KiB: one at a time, and the depot is not for it
    CHAINS = DEPOT_FEW_SLOTS
};

alignas(SLICE_BYTES) static char pages_memory[SLICES][SLICE_BYTES];
alignas(DESCRIPTOR_BYTES) static char pages_descriptors[SLICES][DESCRIPTOR_BYTES];
static struct state pages_states[SLICES * STATES_OF_SLICE];
static struct marks pages_marks;
static uint32_t pages_is_out[SLICES][UNITS]; // blocks in the program's hands
static ATOMIC(uint64_t) pages_free_slices;
static unsigned pages_claims, pages_releases;
static bool pages_are_exhausted;
static int64_t pages_levels[STATS_LEVEL_COUNT];
static struct local_heap pages_heaps[MODEL_THREADS];
static struct local_heap pages_part; // of a made heap, in thread 0
static struct block *pages_held[4];

static void stats_add(enum stats_level_id id, int64_t amount) { pages_levels[id] += amount; }
static void stats_remove(enum stats_level_id id, int64_t amount) { pages_levels[id] -= amount; }
static void stats_count(enum stats_counter_id, uint64_t) {}
static int64_t stats_current(enum stats_level_id id) { return pages_levels[id]; }
static void stats_add_tally(struct stats_tally *tally)
{
    for (int id = 0; id < STATS_TALLIED_LEVELS; id++)
        pages_levels[id] += tally->level[id].added - tally->level[id].removed;
    memset(tally, 0, sizeof(*tally));
}
static void stats_block_added(unsigned, size_t, size_t) {}
static void stats_block_removed(unsigned, size_t, size_t) {}
void report_fault(enum fault, const char *, const void *, size_t)
{
    model_fail("a correct call was reported as a mistake");
}
static void report_fault_within(enum fault, const char *, const void *, size_t)
{
    model_fail("a correct call was reported as a mistake");
}
static void report_within(const char *, const char *) {}
static uint32_t chacha_below(struct chacha *, uint32_t) { return 0; }
static uint32_t chacha_next32(struct chacha *) { return 0; }
static uint64_t chacha_next64(struct chacha *) { return 0; }
static size_t os_page_bytes(void) { return 4096; }
static enum os_guard_kind os_guard(void *, size_t) { return OS_GUARD_NONE; }
static bool os_unguard(void *, size_t, enum os_guard_kind) { return true; }
static bool os_purge(void *start, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += UNIT_BYTES) // so much that no link survives
        ((struct block *)(void *)((char *)start + at))->link = 0;
    return true;
}
static bool arena_is_pinned(const struct arena *, const void *, size_t) { return false; }
static bool os_restore(void *, size_t, bool *) { return true; }
static void purger_tick(void) {}
static void purger_start(void) {}
static void purger_expect(size_t) {}
static long options_get(enum option) { return 0; }
static bool limit_is_below(enum option, int64_t) { return false; }
static void limit_ask_system(void) {}
static void purge_relieve(size_t) {}
void report_left_fault(void) {}
static struct local_heap *thread_begin_to_free(const struct local_heap *) { return NULL; }
static void thread_come_by(void) {}
static bool idle_has_any() { return false; }
static void idle_review(uint64_t) {}
static uint64_t prim_clock_ms() { return 0; }
static bool prim_is_single_threaded() { return false; }
static bool alloc_padding_is_intact(const struct page *, const void *) { return true; }

static struct arena *arena_at(unsigned index) { return index == 0 ? &arena_main : NULL; }
static struct arena *arena_of(const void *) { return &arena_main; }
static struct state *arena_state_far(const void *address)
{
    size_t offset = (size_t)((const char *)address - pages_memory[0]);
    return offset % CLASS_STEP_BYTES == 0 ? &pages_states[offset >> GRANULE_SHIFT] : NULL;
}
static void *arena_claim_again(size_t, bool *) { return NULL; }

static void *arena_claim(size_t count, size_t, bool *is_zero)
{
    *is_zero = false;
    uint64_t free = atomic_load_explicit(&pages_free_slices, memory_order_relaxed);
    do {
        if (count != 1 || pages_are_exhausted || free == 0) return NULL;
        // acquire: pairs with arena_release
    } while (!atomic_compare_exchange_strong_explicit(&pages_free_slices, &free, free & (free - 1),
                                                      memory_order_acquire, memory_order_relaxed));
    pages_claims++;
    return pages_memory[bits_lowest(free)];
}

static void arena_release(void *start, size_t count, bool)
{
    size_t slice = (size_t)((char *)start - pages_memory[0]) / SLICE_BYTES;
    const uint64_t *words = (const uint64_t *)(const void *)pages_descriptors[slice];
    if (count != 1 || slice >= SLICES) model_fail("released slices that are no page");
    for (size_t i = 0; i < UNITS; i++) {
        if (pages_is_out[slice][i] != 0) model_fail("released a page with a block out");
    }
    for (size_t i = 0; i < DESCRIPTOR_BYTES / sizeof(uint64_t); i++) {
        if (words[i] != 0) model_fail("A2: released a page with its descriptor in use");
    }
    uint64_t bit = UINT64_C(1) << slice;
    pages_releases++;
    if ((atomic_fetch_or_explicit(&pages_free_slices, bit, memory_order_release) & bit) != 0)
        model_fail("released a page twice");
}

// --- the real sources ----------------------------------------------------------------------------

// What claims and gives back one slice at a time.
static void batch_add(struct batch *, void *start, size_t count, bool touched)
{
    arena_release(start, count, touched);
}
static void *ahead_take(struct ahead *, bool *is_zero)
{
    return arena_claim(1, SLICE_BYTES, is_zero);
}
static void ahead_return(struct ahead *) {}
static const char *ahead_broken_rule(const struct ahead *) { return NULL; }

#include "region/marks.c"
#include "page/page.c"
#include "page/holes.c"
#include "page/remote.c"
#include "page/refill.c"
#include "page/retire.c"
#include "page/depot.c"
#include "heap/cache.c"
#include "heap/ring.c"
#include "heap/local_heap.c"
#include "heap/local_heap_rules.c"
#include "alloc/free.c"

// --- a program -----------------------------------------------------------------------------------

static uint32_t *pages_ledger(const void *block)
{
    return &pages_is_out[0][(size_t)((const char *)block - pages_memory[0]) / UNIT_BYTES];
}

static void pages_hand_out(void *block)
{
    if (*pages_ledger(block) != 0) model_fail("a block was handed out twice");
    *pages_ledger(block) = 1;
    if (CFG_STATES) state_set(arena_state_at(block), STATE_IN_USE);
    ((struct block *)block)->link = (uintptr_t)block; // the program's own data
}

// The program is done with the block.
static void pages_let_go(void *block)
{
    if (((struct block *)block)->link != (uintptr_t)block) model_fail("a block in use was changed");
    ((struct block *)block)->link = 0;
    *pages_ledger(block) = 0;
}

static void pages_give(void *block)
{
    if (block == NULL) return;
    pages_let_go(block);
    mi_free(block);
}

// NULL when memory is exhausted. As in alloc.c, with what housekeeping does first.
static void *pages_take(struct local_heap *heap, size_t size_class)
{
    struct block **list = local_heap_list(heap, size_class), *block = *list;
    if (block == NULL) {
        ring_flush(&heap->main->ring);
        block = local_heap_load(heap, size_class);
        if (block == NULL) return NULL;
    }
    bool is_cached = local_heap_has_cached(heap, size_class);
    const struct page *page = alloc_page_of(heap, size_class, block, is_cached);
    bool is_binned = is_cached && size_class >= CLASS_BINNED_FIRST;
    if (is_binned) ignore_result(alloc_unlink_binned(heap, page, size_class, true));
    else ignore_result(alloc_unlink(page, list, size_class, is_cached));
    pages_hand_out(block);
    return block;
}

static void *pages_take_large(struct local_heap *heap)
{
    bool is_zero;
    void *block = local_heap_take_large(heap, SLICE_BYTES - 4096, 1, &is_zero);
    if (block != NULL) pages_hand_out(block);
    return block;
}

// --- before and after the threads ----------------------------------------------------------------

static void pages_begin_heap(struct local_heap *heap, struct local_heap *main)
{
    model_clear((void *)heap, sizeof(*heap));
    heap->main = main;
    heap->makes_pages = true;
    heap->heap.value = &heap->backing;
    heap->cache.limit = CACHE_LEAST_BYTES;
}

// Of this class, every depot but for its first slots stays empty: there is little in pages.
static void pages_begin_depot(size_t size_class)
{
    struct depot_class *of_class = depot_class_of(size_class);
    model_clear((void *)of_class, sizeof(*of_class));
    of_class->wanted = CHAINS;
    for (unsigned i = CHAINS; i < DEPOT_SLOTS; i++)
        model_fix(&of_class->slot[i], sizeof(of_class->slot[i]));
    model_name(&of_class->slot[0], sizeof(of_class->slot[0]), "depot slot 0");
    model_name(&of_class->slot[1], sizeof(of_class->slot[1]), "depot slot 1");
    model_name(&of_class->wanted, sizeof(of_class->wanted), "depot wanted");
}

static void pages_begin()
{
    static const char *const owners[] = {"page 0 owner", "page 1 owner", "page 2 owner"};
    static const char *const words[] = {"page 0 remote", "page 1 remote", "page 2 remote"};
    model_watch(pages_memory, sizeof(pages_memory));
    model_watch(pages_descriptors, sizeof(pages_descriptors));
    model_watch(pages_is_out, sizeof(pages_is_out));
    model_watch(pages_heaps, sizeof(pages_heaps));
    model_clear(pages_descriptors, sizeof(pages_descriptors));
    model_clear(pages_is_out, sizeof(pages_is_out));
    model_clear((void *)&pages_marks, sizeof(pages_marks));
    model_clear((void *)pages_states, CFG_STATES ? sizeof(pages_states) : 0);
    model_clear((void *)&arena_main, sizeof(arena_main));
    model_clear((void *)pages_held, sizeof(pages_held));
    model_clear(pages_levels, sizeof(pages_levels));
    pages_levels[STAT_threads] = MODEL_THREADS; // the depot is closed to one that is alone
    for (unsigned i = 0; i < MODEL_THREADS; i++) pages_begin_heap(&pages_heaps[i], &pages_heaps[i]);
    pages_begin_heap(&pages_part, &pages_heaps[0]);
    pages_begin_depot(PAIRS);
    pages_begin_depot(MIDDLE);
    pages_part.is_pinned = true;
    pages_heaps[0].next_of_thread = &pages_part;
    pages_claims = pages_releases = 0;
    pages_are_exhausted = false;
    arena_main.base = (uintptr_t)pages_memory;
    arena_main.span_units = sizeof(pages_memory) >> GRANULE_SHIFT;
    arena_main.mapped = CHUNK_SLICES;
    arena_main.capacity = CHUNK_SLICES;
    arena_main.descriptors = pages_descriptors[0];
    arena_main.marks = &pages_marks;
    arena_main.states = pages_states;
    pages_free_slices = bits_ones(SLICES);
    for (unsigned i = 0; i < SLICES; i++) {
        struct page *page = arena_descriptor(&arena_main, i);
        model_name(&page->owner, sizeof(page->owner), owners[i]);
        model_name(&page->remote, sizeof(page->remote), words[i]);
    }
    static const size_t classes[] = {CLASS, PAIRS, MIDDLE, LONG};
    for (size_t size_class : classes) {
        model_name(&pages_marks.kind[size_class], 8, "marks");
        model_name(&arena_main.mark_count[size_class], 4, "count of marks");
        model_name(&arena_main.mark_hint[size_class], 4, "hint of marks");
    }
    model_name(&arena_main.span_units, 8, "span");
    model_name(&pages_free_slices, 8, "free slices");
    model_on_switch([](unsigned thread) { thread_heap_slot = &pages_heaps[thread]; });
}

struct pages_shape { uint32_t block_bytes, blocks, out; unsigned size_class; };

// A page of which `out` blocks are in pages_held, not yet in its place.
static struct page *pages_make_loose(struct local_heap *heap, struct pages_shape shape)
{
    unsigned flags = heap->is_pinned ? PAGE_PINNED : 0;
    struct page_plan plan = {shape.block_bytes, shape.size_class, 1, flags,
                             SLICE_BYTES - shape.blocks * shape.block_bytes};
    bool is_zero;
    struct page *page = page_init(arena_claim(1, 1, &is_zero), &plan, NULL);
    page_set_owner(page, (uintptr_t)heap);
    for (uint32_t count = 0; count < shape.blocks;) {
        if (!refill_page(page, NULL, 0, &is_zero)) model_fail("a page is smaller than planned");
        struct block *block = page_take_all(page), *next;
        for (; block != NULL; block = next, count++) {
            next = block_next(block, &page->key);
            if (count < shape.out) {
                pages_hand_out(block);
                pages_held[count] = block;
            } else {
                ignore_result(page_put(page, block));
            }
        }
    }
    return page;
}

static struct page *pages_make(struct local_heap *heap, struct pages_shape shape)
{
    struct page *page = pages_make_loose(heap, shape);
    local_heap_place(heap, page);
    return page;
}

static unsigned pages_out_of(const struct page *page)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < page->reserved; i++) count += *pages_ledger(page_block_at(page, i));
    return count;
}

// Of a list with blocks of several pages.
static unsigned pages_listed_of(const struct block *block, const struct page *page)
{
    unsigned count = 0, length = 0;
    for (; block != NULL; block = block_next(block, &page->key), length++) {
        if (length > SLICES * UNITS) model_fail("a list does not end");
        if (page_of(block) == page) count++;
    }
    return count;
}

// In the list that malloc takes its blocks from.
static unsigned pages_loaded_of(const struct local_heap *heap, const struct page *page)
{
    size_t size_class = page->size_class;
    bool is_cached = local_heap_has_cached(heap, size_class);
    if (!is_cached && heap->own[size_class].current != page) return 0;
    unsigned count = pages_listed_of(local_heap_first(heap, size_class), page);
    if (is_cached && size_class < CLASS_BINNED_FIRST)
        count += pages_listed_of(heap->cache.bin[size_class - CLASS_SHARED_FIRST].list, page);
    return count;
}

// In the depot.
static unsigned pages_chained_of(const struct page *page)
{
    const struct depot_class *of_class = depot_class_of(page->size_class);
    unsigned count = 0;
    for (unsigned i = 0; of_class != NULL && i < CHAINS; i++) {
        struct depot_chain chain = depot_unpack(
            atomic_load_explicit(&of_class->slot[i], memory_order_relaxed));
        check_rules(depot_broken_chain(chain, page->size_class));
        count += pages_listed_of(chain.first, page);
    }
    return count;
}

// Every block is somewhere, once.
static void pages_check(const struct page *page)
{
    check_rules(page_broken_rule(page));
    check_rules(remote_broken_rule(page));
    unsigned loaded = pages_loaded_of(&pages_part, page);
    for (unsigned i = 0; i < MODEL_THREADS; i++) loaded += pages_loaded_of(&pages_heaps[i], page);
    if (page->out !=
        pages_out_of(page) + loaded + pages_chained_of(page) + remote_waiting(page))
        model_fail("blocks lost or doubled");
    bool is_shared = class_is_shared(page->size_class) && (page->flags & PAGE_PINNED) == 0;
    if (is_shared && page_named_by(page_owner(page)) != NULL)
        model_fail("a shared page names an owner");
}

static void pages_check_mark(const struct page *page)
{
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_relaxed);
    uint64_t marks =
        atomic_load_explicit(&pages_marks.kind[page->size_class], memory_order_relaxed);
    bool is_marked = (marks >> arena_slice_of(&arena_main, page->start) & 1) != 0;
    if ((word & REMOTE_IS_LISTED) != 0 && !is_marked)
        model_fail("a parked page with room has lost its mark");
}

// As depot_drain, for one class.
static void pages_drain(size_t size_class)
{
    for (unsigned i = 0; i < DEPOT_SLOTS; i++)
        depot_return(depot_take_slot(depot_class_of(size_class), i));
}

static void pages_end(bool with_marks)
{
    for (unsigned i = 0; i < MODEL_THREADS; i++) ring_flush(&pages_heaps[i].ring);
    for (unsigned i = 0; i < SLICES; i++) {
        const struct page *page = arena_descriptor(&arena_main, i);
        if (page->block_bytes == 0) continue;
        pages_check(page);
        if (with_marks) pages_check_mark(page);
    }
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        check_rules(local_heap_broken_rule(&pages_heaps[i]));

    thread_heap_slot = &pages_heaps[0];
    for (unsigned i = 0; i < SLICES * UNITS; i++) {
        if (pages_is_out[0][i] != 0) pages_give(pages_memory[0] + i * UNIT_BYTES);
    }
    ring_flush(&pages_heaps[0].ring);
    local_heap_collect(&pages_part, true);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        local_heap_collect(&pages_heaps[i], true);
        local_heap_abandon(&pages_heaps[i]);
        stats_add_tally(&pages_heaps[i].tally);
    }
    pages_drain(PAIRS);
    pages_drain(MIDDLE);
    if (pages_claims != pages_releases) model_fail("all is freed, but not all is released");
    if (pages_levels[STAT_pages] != 0 || pages_levels[STAT_pages_parked] != 0 ||
        pages_levels[STAT_large] != 0 || pages_levels[STAT_shared_bytes] != 0)
        model_fail("S1: the pages that are counted are not those that are there");
}

static void pages_finish() { pages_end(true); }
static void pages_finish_hints() { pages_end(false); }

// --- what a thread does --------------------------------------------------------------------------

static struct local_heap *pages_own() { return &pages_heaps[model_thread()]; }

static void give_0() { pages_give(pages_held[0]); }
static void give_1() { pages_give(pages_held[1]); }
static void give_2() { pages_give(pages_held[2]); }
static void leave() { local_heap_abandon(pages_own()); }
static void give_holes_back() { retire_give_back_of(arena_descriptor(&arena_main, 0)); }
static void move_part() { local_heap_move_pages(&pages_part, &pages_heaps[0]); }

#endif
