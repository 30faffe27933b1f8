/* block.h: the link inside a free block; the only place where it is read and written.
 *
 * Secure builds encode it with two keys of the page and the block's own address, the end of a list
 * too, so that neither a leaked link nor a known address gives a key away, and an overwritten link
 * decodes to garbage that its reader checks.
 */
#ifndef PAGE_BLOCK_H
#define PAGE_BLOCK_H
#include "base/base.h"

struct block { uintptr_t link; };

// Debug builds fill: a new block, the rest of a freed block after its link, the bytes after the
// requested ones.
enum { FILL_NEW = 0xD0, FILL_FREED = 0xDF, FILL_PADDING = 0xDE };

struct link_key { uintptr_t add, flip; }; // zeroes in normal builds

static inline struct block *block_next(const struct block *block, const struct link_key *key)
{
    if (!CFG_SECURE) return (struct block *)block->link;
    uintptr_t mixed = bits_rotate_right(block->link, 13) ^ key->flip ^ (uintptr_t)block;
    return (struct block *)(mixed - key->add);
}

static inline void block_set_next(struct block *block, struct block *next,
                                  const struct link_key *key)
{
    if (!CFG_SECURE) {
        block->link = (uintptr_t)next;
    } else {
        uintptr_t mixed = ((uintptr_t)next + key->add) ^ key->flip ^ (uintptr_t)block;
        block->link = bits_rotate_right(mixed, sizeof(mixed) * 8 - 13);
    }
}

// Debug builds: the last 8 bytes of a block that is in use say how many were asked for (see
// alloc/alloc.h). Bounded, also when they were overwritten.
enum { BLOCK_PADDING_BYTES = CFG_PADDING ? 16 : 0 };

static inline size_t block_requested_bytes(const void *block, size_t block_bytes)
{
    uint64_t bytes;
    memcpy(&bytes, (const char *)block + block_bytes - sizeof(bytes), sizeof(bytes));
    size_t most = block_bytes - BLOCK_PADDING_BYTES;
    return bytes <= most ? (size_t)bytes : most;
}

#endif
