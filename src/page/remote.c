#include "page/remote.h"
#include "core/alone.h"

enum {
    REMOTE_HEAD_MASK    = (1 << 13) - 1,
    REMOTE_NUMBER_SHIFT = 13,
    REMOTE_PARKED       = 1 << 26,
    REMOTE_IS_LISTED    = 1 << 27,
    REMOTE_IS_LARGE     = 1 << 28
};

static unsigned remote_number(uint32_t word)
{
    return word >> REMOTE_NUMBER_SHIFT & REMOTE_HEAD_MASK;
}

static uint32_t remote_word(uint32_t head, unsigned number, uint32_t flags)
{
    return head | number << REMOTE_NUMBER_SHIFT | flags;
}

static struct block *remote_head(const struct page *page, uint32_t word)
{
    uint32_t head = word & REMOTE_HEAD_MASK;
    return head == 0 ? NULL : page_block_at(page, head - 1);
}

// Compare and swap of a page's word; *seen is what it was.
static always_inline bool remote_swap(struct page *page, uint32_t *seen, uint32_t after,
                                      memory_order order)
{
    if (!alone_is_here()) {
        return atomic_compare_exchange_strong_explicit(&page->remote, seen, after, order,
                                                       memory_order_relaxed);
    }
    // relaxed, both: see alone.h
    uint32_t expected = *seen;
    *seen = atomic_load_explicit(&page->remote, memory_order_relaxed);
    if (*seen != expected) return false;
    atomic_store_explicit(&page->remote, after, memory_order_relaxed);
    return true;
}

// The word after `count` blocks more, the first of them with this head.
static uint32_t remote_word_after_push(const struct page *page, uint32_t word, uint32_t head,
                                       unsigned count)
{
    unsigned number = remote_number(word);
    if ((word & REMOTE_PARKED) == 0) return remote_word(head, number + count, 0);
    // T3: when blocks have come back twice there may be fewer left than come now
    unsigned left = CFG_STATES && unlikely(count > number) ? 0 : number - count;
    // owned by the caller, nothing on the list: the page is about to be released
    if (left == 0) return 0;
    uint32_t listed = left <= page->roomy ? REMOTE_IS_LISTED : word & REMOTE_IS_LISTED;
    return remote_word(head, left, REMOTE_PARKED | listed);
}

enum remote_result remote_push(struct page *page, struct block *first, struct block *last,
                               unsigned count)
{
    uint32_t head = page_index_of(page, first) + 1;
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_relaxed), after;
    do {
        block_set_next(last, remote_head(page, word), &page->key);
        after = remote_word_after_push(page, word, head, count);
        // acq_rel (R3): pairs with remote_take, remote_try_claim, and the push that comes last
    } while (!remote_swap(page, &word, after, memory_order_acq_rel));
    if ((word & REMOTE_PARKED) == 0) return REMOTE_DONE;
    if (after == 0) return REMOTE_LAST;
    return (word & REMOTE_IS_LISTED) == 0 && (after & REMOTE_IS_LISTED) != 0 ? REMOTE_LISTED
                                                                             : REMOTE_DONE;
}

bool remote_push_large(struct page *page)
{
    struct block *block = page_block_at(page, 0);
    uint32_t none = 0;
    block_set_next(block, NULL, &page->key);
    // release (R3): pairs with remote_take
    return remote_swap(page, &none, remote_word(1, 1, 0), memory_order_release);
}

struct remote_list remote_take(struct page *page)
{
    struct remote_list taken = {NULL, 0};
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_relaxed);
    do {
        if (word == 0) return taken; // the usual case: no write
        check((word & REMOTE_PARKED) == 0);
        if ((word & REMOTE_PARKED) != 0) return taken; // the caller is wrong; do no more harm
        // acq_rel (R3): pairs with remote_push. Owned, so the whole word is list and number
    } while (!remote_swap(page, &word, 0, memory_order_acq_rel));
    taken.first = remote_head(page, word);
    taken.count = remote_number(word);
    return taken;
}

bool remote_try_park(struct page *page)
{
    check(page->out > 0);
    uint32_t none = 0;
    uint32_t listed = page_has_room(page) ? REMOTE_IS_LISTED : 0;
    uint32_t large = (page->flags & PAGE_LARGE) != 0 ? REMOTE_IS_LARGE : 0;
    uint32_t parked = remote_word(0, page->out, REMOTE_PARKED | listed | large);
    // release (R3): whoever claims sees lists and counts
    return remote_swap(page, &none, parked, memory_order_release);
}

bool remote_try_claim(struct page *page, unsigned kind, struct remote_list *taken)
{
    uint32_t large = kind == PAGE_LARGE ? REMOTE_IS_LARGE : 0;
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_relaxed);
    do {
        if ((word & REMOTE_PARKED) == 0 || (word & REMOTE_IS_LARGE) != large) return false;
        // acq_rel (R3): pairs with remote_try_park and remote_push
    } while (!remote_swap(page, &word, 0, memory_order_acq_rel));
    taken->first = remote_head(page, word);
    // `out` can be read now that the page is ours (R2)
    taken->count = page->out - remote_number(word);
    return true;
}

bool remote_try_return(struct page *page, struct remote_list list)
{
    uint32_t none = 0, head = page_index_of(page, list.first) + 1;
    check(list.count > 0 && list.count <= page->out);
    // release (R3): pairs with remote_take
    return remote_swap(page, &none, remote_word(head, list.count, 0), memory_order_release);
}

bool remote_is_parked(const struct page *page)
{
    return (atomic_load_explicit(&page->remote, memory_order_relaxed) & REMOTE_PARKED) != 0;
}

bool remote_is_listed(const struct page *page)
{
    return (atomic_load_explicit(&page->remote, memory_order_relaxed) & REMOTE_IS_LISTED) != 0;
}

unsigned remote_waiting(const struct page *page)
{
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_acquire);
    return (word & REMOTE_PARKED) == 0 ? remote_number(word) : page->out - remote_number(word);
}

const char *remote_broken_rule(const struct page *page)
{
    // acquire: pairs with remote_push, so that the links can be followed from this head on
    uint32_t word = atomic_load_explicit(&page->remote, memory_order_acquire);
    unsigned number = remote_number(word);
    bool is_large = (page->flags & PAGE_LARGE) != 0;
    if ((word & REMOTE_HEAD_MASK) > page->reserved) return "R1: the remote list begins nowhere";
    unsigned count = page_list_count(page, remote_head(page, word));
    if ((word & REMOTE_PARKED) == 0) {
        if ((word & (REMOTE_IS_LISTED | REMOTE_IS_LARGE)) != 0)
            return "R5: listed or large, but not parked";
        return count == number && number <= page->out
                   ? NULL : "R1: the remote list is not as long as its number";
    }
    if (((word & REMOTE_IS_LARGE) != 0) != is_large) return "R5: parked as the other kind";
    if (number == 0 || number > page->out) return "R2: parked with no block out";
    return count == page->out - number ? NULL : "R2: blocks lost or doubled while parked";
}
