#include "page/depot.h"
#include "core/report.h"
#include "core/stats.h"
#include "page/retire.h"
#include "region/limit.h"

// Addresses have no use for their highest bits, and blocks begin at multiples of 16: shifted to the
// left they have room for a count.
enum { DEPOT_WORD_SHIFT = 3, DEPOT_WORD_BLOCKS = CLASS_STEP_BYTES << DEPOT_WORD_SHIFT };
static_assert((int)DEPOT_CHAIN_BLOCKS < (int)DEPOT_WORD_BLOCKS, "the low bits hold the count");

struct depot_class {
    ATOMIC(uintptr_t) slot[DEPOT_SLOTS]; // [any] see depot.h
    // [any] what was in the slots at the last review
    ATOMIC(uintptr_t) seen[DEPOT_SLOTS];
    // [any] how many slots are filled: more when a thread found no chain, fewer when one found no
    // room, so that nothing waits for threads that only free
    ATOMIC(unsigned)  wanted;
};

static data_apart struct depot_class depot_classes[DEPOT_CLASSES];

static uintptr_t depot_pack(struct depot_chain chain)
{
    return (uintptr_t)chain.first << DEPOT_WORD_SHIFT | chain.count;
}

static struct depot_chain depot_unpack(uintptr_t word)
{
    struct depot_chain chain;
    chain.count = (unsigned)(word % DEPOT_WORD_BLOCKS);
    chain.first = (struct block *)((word - chain.count) >> DEPOT_WORD_SHIFT);
    return chain;
}

bool depot_may_hold(const struct block *block, size_t size_class)
{
    const struct page *page = page_of(block);
    if (!depot_is_of(page, size_class)) return false;
    if (!CFG_STATES) return page_has_block_at(page, block);
    const struct state *state = arena_state_at(block);
    return state != NULL && state_is_idle(state);
}

struct block *depot_next(const struct block *block, size_t size_class)
{
    static const struct link_key no_key = {0, 0};
    if (!CFG_STATES) return block_next(block, &no_key);
    const struct page *page = page_of(block);
    struct block *next = block_next(block, &page->key);
    if (next == NULL || depot_may_hold(next, size_class)) return next;
    report_fault_within(FAULT_LINK, "collect", next, page->block_bytes);
    return NULL;
}

unsigned depot_chain_blocks(size_t size_class)
{
    size_t count = DEPOT_CHAIN_BYTES / class_block_bytes(size_class);
    if (count > DEPOT_CHAIN_BLOCKS) count = DEPOT_CHAIN_BLOCKS;
    return count > 1 ? (unsigned)count : 1;
}

// Blocks of one page that follow each other are pushed at once.
void depot_return(struct depot_chain chain)
{
    struct block *first = chain.first, *last, *next;
    struct page *page = first == NULL ? NULL : page_of(first), *next_page;
    while (page != NULL) {
        unsigned count = 0;
        next = first;
        do {
            last = next;
            count++;
            next = count == chain.count ? NULL : depot_next(last, page->size_class);
            next_page = next == NULL ? NULL : page_of(next); // the end, or a link led astray
        } while (next_page == page);
        chain.count -= count;
        retire_push(page, first, last, count);
        first = next;
        page = next_page;
    }
}

// The class that has chains, or NULL.
static struct depot_class *depot_class_of(size_t size_class)
{
    size_t number = size_class - CLASS_SHARED_FIRST;
    return number < DEPOT_CLASSES ? &depot_classes[number] : NULL;
}

// Those that may be filled.
static unsigned depot_slots(const struct depot_class *of_class)
{
    // about right only, as others count on, and may count down what they have not counted up yet
    int64_t bytes = stats_current(STAT_shared_bytes);
    unsigned most = DEPOT_FEW_SLOTS;
    unsigned wanted = atomic_load_explicit(&of_class->wanted, memory_order_relaxed);
    if (limit_wants_memory() || stats_current(STAT_threads) <= 1) return 0;
    if (bytes > DEPOT_SLOTS * (int64_t)DEPOT_SLOT_SHARE_BYTES) return wanted;
    if (bytes > 0) most += (unsigned)(bytes / DEPOT_SLOT_SHARE_BYTES);
    return wanted < most ? wanted : most;
}

static bool depot_try_put(struct depot_class *of_class, unsigned slots, struct depot_chain chain)
{
    for (unsigned i = 0; i < slots; i++) {
        uintptr_t none = 0;
        if (atomic_load_explicit(&of_class->slot[i], memory_order_relaxed) != 0) continue;
        // release: pairs with depot_take_slot, so that who takes the chain can follow its links
        if (atomic_compare_exchange_strong_explicit(&of_class->slot[i], &none, depot_pack(chain),
                                                    memory_order_release, memory_order_relaxed))
            return true;
    }
    return false;
}

// Threads may lose each other's steps: it is about right only.
static void depot_want(struct depot_class *of_class, int steps)
{
    int before = (int)atomic_load_explicit(&of_class->wanted, memory_order_relaxed);
    int wanted = before + steps;
    if (wanted < 0) return;
    if (wanted > DEPOT_SLOTS) wanted = DEPOT_SLOTS;
    if (wanted != before) // others read that cache line
        atomic_store_explicit(&of_class->wanted, (unsigned)wanted, memory_order_relaxed);
}

static struct depot_chain depot_take_slot(struct depot_class *of_class, unsigned i)
{
    uintptr_t word = atomic_load_explicit(&of_class->slot[i], memory_order_relaxed);
    // acquire: pairs with depot_put
    if (word != 0) word = atomic_exchange_explicit(&of_class->slot[i], 0, memory_order_acquire);
    return depot_unpack(word);
}

// Returns a chain that lies in a slot that is not to be filled any more.
static void depot_return_from(struct depot_class *of_class, unsigned slots)
{
    for (unsigned i = DEPOT_SLOTS; i-- > slots;) {
        if (atomic_load_explicit(&of_class->slot[i], memory_order_relaxed) == 0) continue;
        depot_return(depot_take_slot(of_class, i));
        return;
    }
}

void depot_put(size_t size_class, struct depot_chain chain)
{
    struct depot_class *of_class = depot_class_of(size_class);
    if (of_class != NULL && depot_try_put(of_class, depot_slots(of_class), chain)) return;
    depot_shrink(size_class);
    depot_return(chain);
}

void depot_shrink(size_t size_class)
{
    struct depot_class *of_class = depot_class_of(size_class);
    if (of_class == NULL) return;
    // what is there although nothing is wanted is left to the next review
    if (atomic_load_explicit(&of_class->wanted, memory_order_relaxed) == 0) return;
    depot_want(of_class, -1);
    depot_return_from(of_class, depot_slots(of_class));
}

// The one that was put last as a rule, which is likely to be in the processor's cache.
struct depot_chain depot_take(size_t size_class)
{
    struct depot_class *of_class = depot_class_of(size_class);
    struct depot_chain chain = {NULL, 0};
    if (of_class == NULL) return chain;
    for (unsigned i = DEPOT_SLOTS; chain.first == NULL && i-- > 0;) {
        chain = depot_take_slot(of_class, i);
    }
    if (chain.first == NULL) depot_want(of_class, 2);
    return chain;
}

static ATOMIC(uint64_t) depot_due_ms;                  // when the next review begins
static ATOMIC(unsigned) depot_number = DEPOT_CLASSES; // the class where it goes on, counted from 0

// Returns the first chain that has been there since the last review; false when there is none.
static bool depot_look_at(struct depot_class *of_class)
{
    for (unsigned i = 0; i < DEPOT_SLOTS; i++) {
        uintptr_t word = atomic_load_explicit(&of_class->slot[i], memory_order_relaxed);
        uintptr_t seen = atomic_load_explicit(&of_class->seen[i], memory_order_relaxed);
        if (word != 0 && word == seen) {
            depot_return(depot_take_slot(of_class, i));
            return true;
        }
        if (word != seen) atomic_store_explicit(&of_class->seen[i], word, memory_order_relaxed);
    }
    return false;
}

bool depot_review_goes_on(void)
{
    return atomic_load_explicit(&depot_number, memory_order_relaxed) < DEPOT_CLASSES;
}

void depot_review(uint64_t now_ms)
{
    uint64_t due = atomic_load_explicit(&depot_due_ms, memory_order_relaxed);
    // relaxed, all of it: if two threads are at it, or lose each other's steps, it is only less
    // even
    if (now_ms >= due) {
        atomic_store_explicit(&depot_due_ms, now_ms + DEPOT_REVIEW_MS, memory_order_relaxed);
        atomic_store_explicit(&depot_number, 0, memory_order_relaxed);
    }
    unsigned number = atomic_load_explicit(&depot_number, memory_order_relaxed), start = number;
    for (unsigned chains = 0; number < DEPOT_CLASSES && chains < DEPOT_REVIEW_CHAINS;) {
        if (depot_look_at(&depot_classes[number])) chains++;
        else number++;
    }
    if (number != start) atomic_store_explicit(&depot_number, number, memory_order_relaxed);
}

void depot_drain_class(unsigned number)
{
    for (unsigned i = 0; i < DEPOT_SLOTS; i++)
        depot_return(depot_take_slot(&depot_classes[number], i));
}

void depot_drain(void)
{
    for (unsigned number = 0; number < DEPOT_CLASSES; number++) depot_drain_class(number);
}

size_t depot_count(size_t size_class)
{
    struct depot_class *of_class = depot_class_of(size_class);
    size_t count = 0;
    for (unsigned i = 0; of_class != NULL && i < DEPOT_SLOTS; i++) {
        count += depot_unpack(atomic_load_explicit(&of_class->slot[i], memory_order_relaxed)).count;
    }
    return count;
}

static const char *depot_broken_chain(struct depot_chain chain, size_t size_class)
{
    if (chain.count > depot_chain_blocks(size_class)) return "D2: a chain is too long";
    const struct block *block = chain.first;
    for (unsigned i = 0; i < chain.count; i++) {
        if (!depot_may_hold(block, size_class)) return "D2: a chain holds what is not for it";
        block = block_next(block, &page_of(block)->key);
    }
    return block == NULL ? NULL : "D2: a chain is longer than its word says";
}

const char *depot_broken_rule(void)
{
    for (unsigned number = 0; number < DEPOT_CLASSES; number++) {
        for (unsigned i = 0; i < DEPOT_SLOTS; i++) {
            // acquire: pairs with depot_put
            uintptr_t word = atomic_load_explicit(&depot_classes[number].slot[i],
                                                  memory_order_acquire);
            const char *broken = depot_broken_chain(depot_unpack(word),
                                                    number + CLASS_SHARED_FIRST);
            if (broken != NULL) return broken;
        }
    }
    return NULL;
}
