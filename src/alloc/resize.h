/* resize.h: blocks that grow and shrink: in place, by taking free slices behind, by moving pages,
 * or by a copy. */
#ifndef ALLOC_RESIZE_H
#define ALLOC_RESIZE_H
#include "alloc/free.h"

// Makes a block hold `bytes` without moving it; what is new is not zeroed. false: it stays as it
// was.
INTERNAL must_use bool resize_in_place(const struct free_place *place, const void *pointer,
                                       size_t bytes);

// There was no memory for a smaller block, and errno tells: the one there is will do, less what can
// be given back. Returns it, and restores errno.
INTERNAL void *resize_stay(const struct free_place *place, void *pointer, int errno_before);

// Zeroes what follows the kept bytes, to the end of what the user may use.
INTERNAL void resize_clear_tail(void *block, size_t kept);

#endif
