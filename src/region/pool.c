#include "region/pool.h"
#include "core/stats.h"
#include "os/os.h"

// Block 0 holds items 0..15, block b > 0 holds 16 << (b - 1) items from that number on.
static unsigned pool_block_of(uint32_t index)
{
    return index < POOL_FIRST_ITEMS ? 0 : bits_highest(index / POOL_FIRST_ITEMS) + 1;
}

static uint32_t pool_block_first(unsigned block)
{
    return block == 0 ? 0 : (uint32_t)POOL_FIRST_ITEMS << (block - 1);
}
static uint32_t pool_block_items(unsigned block)
{
    return block == 0 ? POOL_FIRST_ITEMS : (uint32_t)POOL_FIRST_ITEMS << (block - 1);
}

// A block: its items, then their links (index + 1 of the next free one); an inaccessible OS page at
// the end.
static size_t pool_items_bytes(const struct pool *pool, unsigned block)
{
    return pool_block_items(block) * pool->item_bytes;
}

static size_t pool_block_bytes(const struct pool *pool, unsigned block)
{
    size_t links_bytes = pool_block_items(block) * sizeof(uint32_t);
    return bits_align_up(pool_items_bytes(pool, block) + links_bytes, os_page_bytes());
}

static char *pool_block(const struct pool *pool, unsigned block)
{
    // acquire: pairs with the release in pool_block_map
    return atomic_load_explicit(&pool->block[block], memory_order_acquire);
}

static ATOMIC(uint32_t) *pool_link(const struct pool *pool, uint32_t index)
{
    unsigned block = pool_block_of(index);
    char *links = pool_block(pool, block) + pool_items_bytes(pool, block);
    return (ATOMIC(uint32_t) *)(void *)links + (index - pool_block_first(block));
}

void *pool_at(const struct pool *pool, uint32_t index)
{
    unsigned block = pool_block_of(index);
    char *start = pool_block(pool, block);
    if (start == NULL) return NULL;
    return start + (index - pool_block_first(block)) * pool->item_bytes;
}

uint32_t pool_used(const struct pool *pool)
{
    return atomic_load_explicit(&pool->used, memory_order_acquire);
}

static uint32_t pool_index_of(const struct pool *pool, const void *item)
{
    for (unsigned block = 0; block < POOL_BLOCKS; block++) {
        const char *start = pool_block(pool, block);
        if (start == NULL) continue;
        uintptr_t offset = (uintptr_t)item - (uintptr_t)start;
        if (offset < pool_items_bytes(pool, block) && offset % pool->item_bytes == 0) {
            return pool_block_first(block) + (uint32_t)(offset / pool->item_bytes);
        }
    }
    return UINT32_MAX;
}

bool pool_owns(const struct pool *pool, const void *item)
{
    return pool_index_of(pool, item) < pool_used(pool);
}

// true when the block is there; two threads may map at once, one of them gives its own back.
static bool pool_block_map(struct pool *pool, unsigned block)
{
    if (pool_block(pool, block) != NULL) return true;
    size_t bytes = pool_block_bytes(pool, block), guard = os_page_bytes();
    char *start = (char *)os_reserve(bytes + guard, guard); // the guard is what stays closed
    if (start == NULL) return false;
    if (!os_open(start, bytes)) {
        os_release(start, bytes + guard);
        return false;
    }
    char *none = NULL;
    // release: pairs with the acquire in pool_block
    if (!atomic_compare_exchange_strong_explicit(&pool->block[block], &none, start,
                                                 memory_order_release, memory_order_relaxed)) {
        os_release(start, bytes + guard);
    }
    return true;
}

static void *pool_take_new(struct pool *pool)
{
    uint32_t index = atomic_load_explicit(&pool->used, memory_order_relaxed);
    do {
        unsigned block = pool_block_of(index);
        if (block >= POOL_BLOCKS || !pool_block_map(pool, block)) return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&pool->used, &index, index + 1,
                                                    memory_order_acq_rel, memory_order_relaxed));
    stats_add(STAT_metadata, (int64_t)pool->item_bytes);
    return pool_at(pool, index);
}

cold void *pool_take(struct pool *pool, bool *is_new)
{
    // acquire: pairs with the release in pool_put
    uint64_t head = atomic_load_explicit(&pool->head, memory_order_acquire);
    for (;;) {
        uint32_t first = (uint32_t)head;
        *is_new = first == 0;
        if (first == 0) return pool_take_new(pool);
        uint64_t next = atomic_load_explicit(pool_link(pool, first - 1), memory_order_relaxed);
        uint64_t tag = (head >> 32) + 1;
        if (atomic_compare_exchange_weak_explicit(&pool->head, &head, tag << 32 | next,
                                                  memory_order_acquire, memory_order_acquire)) {
            return pool_at(pool, first - 1);
        }
    }
}

void pool_put(struct pool *pool, void *item)
{
    uint32_t index = pool_index_of(pool, item);
    check(index != UINT32_MAX);
    uint64_t head = atomic_load_explicit(&pool->head, memory_order_relaxed);
    do {
        atomic_store_explicit(pool_link(pool, index), (uint32_t)head, memory_order_relaxed);
        // release: what was written to the item is seen by its next taker
    } while (!atomic_compare_exchange_weak_explicit(&pool->head, &head,
                                                    (head >> 32) << 32 | (index + 1),
                                                    memory_order_release, memory_order_relaxed));
}

const char *pool_broken_rule(const struct pool *pool, uint32_t taken)
{
    uint32_t used = pool_used(pool), free_count = 0;
    uint32_t next = (uint32_t)atomic_load_explicit(&pool->head, memory_order_acquire);
    for (; next != 0 && free_count <= used; free_count++) {
        if (next > used) return "L1: the list leads to what is no item";
        next = atomic_load_explicit(pool_link(pool, next - 1), memory_order_relaxed);
    }
    if (free_count > used) return "L1: the list loops";
    return free_count + taken == used ? NULL : "L1: items are lost, or free and taken";
}
