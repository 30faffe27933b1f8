/* bits.h: arithmetic on sizes, addresses and words. Alignments are powers of two. */
#ifndef BASE_BITS_H
#define BASE_BITS_H
#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool bits_is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

// Rounds up; the caller knows that the result fits.
static inline size_t bits_align_up(size_t value, size_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline size_t bits_align_down(size_t value, size_t alignment)
{
    return value & ~(alignment - 1);
}

static inline bool bits_is_aligned(const void *address, size_t alignment)
{
    return ((uintptr_t)address & (alignment - 1)) == 0;
}

// Position of the highest set bit; value is not 0.
// xor, where a difference would do as well: the compiler sees that it undoes its own behind `bsr`.
static inline unsigned bits_highest(size_t value) { return 63u ^ bits_leading_zeros64(value); }

// Position of the lowest set bit; value is not 0.
static inline unsigned bits_lowest(uint64_t value) { return bits_trailing_zeros64(value); }

// How many ones there are from bit 0 upward.
static inline unsigned bits_trailing_ones(uint64_t value)
{
    return value == ~UINT64_C(0) ? 64 : bits_trailing_zeros64(~value);
}

// `count` ones, 0 <= count <= 64, from bit 0 upward.
static inline uint64_t bits_ones(unsigned count)
{
    return count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;
}

// Zeroes `bytes`, a multiple of 16, at an address that is one. Compilers make a string instruction
// of a memset that is known to be short, which takes longer to begin than all of these stores: a
// calloc of 64 bytes with its free took 24 ns so, and takes 15.
static always_inline void bits_wipe(void *start, size_t bytes)
{
    enum { WIPE_CALL_BYTES = 64 };
    if (bytes > WIPE_CALL_BYTES) {
        memset(start, 0, compiler_hide(bytes));
        return;
    }
    uint64_t *word = (uint64_t *)start, *end = word + bytes / sizeof(*word);
    do {
        word[0] = word[1] = 0;
        word += 2;
    } while (word != end);
}

static inline uintptr_t bits_rotate_right(uintptr_t value, unsigned shift)
{
    return (value >> shift) | (value << (sizeof(value) * 8 - shift));
}

// a * b = high * 2^64 + low.
struct bits_product { uint64_t high, low; };

// Where the compiler has no integer of 128 bits: by halves, each product of which fits in 64.
static inline struct bits_product bits_multiply_by_halves(uint64_t a, uint64_t b)
{
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t other = a_low * b_high + (uint32_t)middle;
    struct bits_product product = {a_high * b_high + (middle >> 32) + (other >> 32),
                                   other << 32 | (uint32_t)low};
    return product;
}

static always_inline struct bits_product bits_multiply_wide(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __extension__ unsigned __int128 both = (unsigned __int128)a * b;
    struct bits_product product = {(uint64_t)(both >> 64), (uint64_t)both};
    return product;
#else
    return bits_multiply_by_halves(a, b);
#endif
}

// a * b into *result; false when it does not fit in a size_t.
static inline must_use bool bits_multiply(size_t a, size_t b, size_t *result)
{
    return !__builtin_mul_overflow(a, b, result);
}

#endif
