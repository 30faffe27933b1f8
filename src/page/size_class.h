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
 *   C2  the tail of a page, where no block fits, is at most 1/16 of it
 */
#ifndef PAGE_SIZE_CLASS_H
#define PAGE_SIZE_CLASS_H
#include "region/arena.h"

enum {
    CLASS_STEP_BYTES   = 16,
    CLASS_LINEAR_BYTES = 512,
    CLASS_MAX_BYTES    = 512 * 1024,
    CLASS_COUNT        = 113,
    CLASS_OWNED_BYTES  = 1024, // the largest blocks of pages that one thread owns
    // of larger blocks, which are multiples of CLASS_SHARED_ALIGNMENT
    CLASS_SHARED_FIRST     = 41,
    CLASS_SHARED_ALIGNMENT = 128
};
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

// Pages of these classes are shared by all threads (page.h): no two of their blocks have a cache
// line in common, so it does no harm when neighbours are different threads'.
static inline bool class_is_shared(size_t size_class) { return size_class >= CLASS_SHARED_FIRST; }

// Slices of a page of this class: few, but so many that C2 holds, with two blocks at least, if
// `lost_bytes` at the page's end cannot be used (a guard). The shorter a page, the sooner all of it
// is free.
static inline unsigned class_page_slices(size_t size_class, size_t lost_bytes)
{
    size_t block_bytes = class_block_bytes(size_class);
    size_t least_bytes = 2 * block_bytes + lost_bytes;
    size_t slices = (least_bytes + SLICE_BYTES - 1) >> SLICE_SHIFT;
    while (((slices << SLICE_SHIFT) - lost_bytes) % block_bytes > (slices << SLICE_SHIFT) / 16)
        slices++;
    return (unsigned)slices;
}

#endif
