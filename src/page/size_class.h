/* size_class.h: block sizes. Pure arithmetic, no tables.
 *
 *   class      blocks                                     waste beyond rounding to 16
 *   0          16 bytes, for requests of 0 bytes          (so that size 0 needs no test on the fast
 *                                                         path)
 *   1 .. 32    16, 32, 48, ... 512                        none
 *   33 ..112   576, 640, ... 1024, 1152, ... 512 KiB      at most 1/8 of the request: eight steps
 *              per doubling
 *
 * Rules (tested for every size in test_size_class.c):
 *   C1  a size rounded up to a multiple of a power of two A <= 64 KiB falls into a class whose
 *       blocks are multiples of A
 *   C2  the tail of a page, where no block fits, is at most 1/16 of it. But of blocks that
 *       class_has_long_pages the first CLASS_SHORT_PAGES are as short as they can be
 */
#ifndef PAGE_SIZE_CLASS_H
#define PAGE_SIZE_CLASS_H
#include "region/arena.h"

enum {
    CLASS_STEP_BYTES   = 16,
    CLASS_LINEAR_BYTES = 512,
    CLASS_MAX_BYTES    = 512 * 1024,
    CLASS_COUNT        = 113,
    CLASS_SHORT_PAGES  = 4,
    CLASS_SHARED_FIRST = CFG_OWNED_BYTES == 256 ? 17 : 41, // beyond CFG_OWNED_BYTES
    // Of shared classes the first whose blocks are handed out last in, first out (heap/cache.h).
    CLASS_BINNED_FIRST = CFG_OWNED_BYTES == 256 ? 33 : 41
};
static_assert(CFG_OWNED_BYTES == 256 || CFG_OWNED_BYTES == 1024, "one of these");
static_assert((int)CLASS_COUNT == (int)MARK_KINDS, "one set of marks for each class");

// bytes <= CLASS_LINEAR_BYTES
static inline size_t class_of_linear(size_t bytes)
{
    return (bytes + CLASS_STEP_BYTES - 1) / CLASS_STEP_BYTES;
}

// CLASS_LINEAR_BYTES < bytes <= CLASS_MAX_BYTES
static inline size_t class_of_stepped(size_t bytes)
{
    unsigned top = bits_highest(bytes - 1); // 9 for 513 .. 1024
    return (top - 9) * 8 + 25 + ((bytes - 1) >> (top - 3));
}

static inline size_t class_of(size_t bytes)
{
    return bytes <= CLASS_LINEAR_BYTES ? class_of_linear(bytes) : class_of_stepped(bytes);
}

static inline size_t class_block_bytes(size_t size_class)
{
    if (size_class == 0) return CLASS_STEP_BYTES;
    if (size_class <= CLASS_LINEAR_BYTES / CLASS_STEP_BYTES)
        return (size_t)size_class * CLASS_STEP_BYTES;
    size_t step = size_class - 33;
    return (9 + step % 8) << (step / 8 + 6);
}

// Pages of these classes are shared by all threads (page.h): neighbours have one cache line of
// several in common at most, so it does little harm when they are different threads'.
static inline bool class_is_shared(size_t size_class) { return size_class >= CLASS_SHARED_FIRST; }

// Pages of smaller blocks have one slice, or as few as a guard lets them have.
static inline bool class_has_long_pages(size_t block_bytes)
{
    return block_bytes > SLICE_BYTES / 16;
}

// Slices of a short page: the fewest that hold a block, if `lost_bytes` at their end cannot be used
// (a guard). What a page has beyond is nobody else's, whether its blocks are asked for or not.
static inline unsigned class_least_slices(size_t size_class, size_t lost_bytes)
{
    return (unsigned)chunk_slices_for(class_block_bytes(size_class) + lost_bytes);
}

// Slices of other pages: few, but so many that C2 holds, with two blocks at least unless one fills
// its slices. The shorter a page, the sooner all of it is free.
static inline unsigned class_page_slices(size_t size_class, size_t lost_bytes)
{
    size_t block_bytes = class_block_bytes(size_class);
    size_t blocks = (block_bytes + lost_bytes) % SLICE_BYTES == 0 ? 1 : 2;
    size_t least_bytes = blocks * block_bytes + lost_bytes;
    size_t slices = chunk_slices_for(least_bytes);
    while (((slices << SLICE_SHIFT) - lost_bytes) % block_bytes > (slices << SLICE_SHIFT) / 16)
        slices++;
    return (unsigned)slices;
}

#endif
