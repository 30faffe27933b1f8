/* sealed.h: blocks that know their size, can stand in a list, and notice when others write to them.
 *
 *     | next | bytes | ...            touched            ... | seal |
 *
 * The memory workloads hold millions of blocks: the list runs through the blocks, so that nothing
 * but blocks is on the heap, and the seal at the end depends on size and address.
 */
#ifndef WORKLOADS_SEALED_H
#define WORKLOADS_SEALED_H
#include "bench.h"

struct sealed {
    struct sealed *next;
    size_t bytes;
};

enum { SEALED_MIN_BYTES = sizeof(struct sealed) + sizeof(uint64_t) };

static inline uint64_t sealed_seal(const struct sealed *block)
{
    return ((uint64_t)block->bytes << 40 | block->bytes) ^ ~(uint64_t)(uintptr_t)block;
}

// Makes memory of at least SEALED_MIN_BYTES a block that is resident throughout.
static inline struct sealed *sealed_init(void *memory, size_t bytes)
{
    struct sealed *block = (struct sealed *)memory;
    if (bytes > 4096) bench_touch(memory, bytes);
    block->next = NULL;
    block->bytes = bytes;
    uint64_t seal = sealed_seal(block);
    memcpy((char *)memory + bytes - sizeof seal, &seal, sizeof seal);
    return block;
}

// Ends the program when somebody else wrote into the block. Its size.
static inline size_t sealed_check(const struct sealed *block)
{
    uint64_t seal;
    size_t bytes = block->bytes;
    bench_expect(bytes >= SEALED_MIN_BYTES && bytes < (size_t)1 << 40);
    memcpy(&seal, (const char *)block + bytes - sizeof seal, sizeof seal);
    bench_expect(seal == sealed_seal(block));
    return bytes;
}

static inline struct sealed *sealed_new(size_t bytes)
{
    return sealed_init(bench_block(malloc(bytes)), bytes);
}

// Checks and frees; the size.
static inline size_t sealed_free(struct sealed *block)
{
    size_t bytes = sealed_check(block);
    free(block);
    return bytes;
}

static inline void sealed_push(struct sealed **list, struct sealed *block)
{
    block->next = *list;
    *list = block;
}

// Checks and frees a whole list; its bytes.
static inline size_t sealed_free_all(struct sealed *block)
{
    size_t bytes = 0;
    while (block != NULL) {
        struct sealed *next = block->next;
        bytes += sealed_free(block);
        block = next;
    }
    return bytes;
}

// A size from 32 bytes to below 32 << octaves. Each doubling is half as likely as the one below, so
// that every octave gets the same number of bytes; the mean is 24 bytes for each octave.
static inline size_t sealed_octave_bytes(uint64_t *random, int octaves)
{
    uint64_t bits = bench_random(random);
    int octave = __builtin_ctzll(bits | (uint64_t)1 << 40) % octaves;
    size_t low = (size_t)32 << octave;
    return low + bench_random_below(random, (uint32_t)low);
}

#endif
