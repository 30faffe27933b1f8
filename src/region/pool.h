/* pool.h: our own structures of one size, found again by a number. Items are never unmapped and
 * never become another type, so a stale pointer finds an item of the same kind. New items are
 * zeroed; an item that comes back keeps what it holds. Take and put are lock-free.
 *
 *   block 0: 16 items | block 1: 16 | block 2: 32 | block 3: 64 | ...    (each its own mapping)
 *
 * Rules (see pool_broken_rule; the tag: test/model/test_regions.cpp):
 *   L1  free items are on the list: `head` is {tag, index + 1}; the tag changes with each take, so
 *       that a thread that was asleep between reading the list and changing it fails (the ABA
 *       problem)
 */
#ifndef REGION_POOL_H
#define REGION_POOL_H
#include "base/base.h"

enum { POOL_FIRST_ITEMS = 16, POOL_BLOCKS = 24 };

struct pool {
    size_t           item_bytes;          // [const] a multiple of 64
    ATOMIC(char *)   block[POOL_BLOCKS];  // [any] NULL until needed
    ATOMIC(uint32_t) used;                // [any] items ever handed out
    ATOMIC(uint64_t) head;                // [any] see L1
};

// NULL when memory is exhausted. *is_new: the item is zeroed and was never used.
INTERNAL void *pool_take(struct pool *pool, bool *is_new);
INTERNAL void  pool_put(struct pool *pool, void *item);
// Items 0 .. pool_used - 1 exist (a few may be NULL for a moment while their block is being
// mapped).
INTERNAL void *pool_at(const struct pool *pool, uint32_t index);
INTERNAL uint32_t pool_used(const struct pool *pool);
// is exactly the start of an item
INTERNAL bool pool_owns(const struct pool *pool, const void *item);
// NULL while L1 holds, `taken` items being in use. Only when no other thread takes or puts.
INTERNAL const char *pool_broken_rule(const struct pool *pool, uint32_t taken);

#endif
