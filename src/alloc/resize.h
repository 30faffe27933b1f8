/* resize.h: blocks that grow and shrink: in place, by taking free slices behind, by moving pages,
 * or by a copy. */
#ifndef ALLOC_RESIZE_H
#define ALLOC_RESIZE_H
#include "alloc/free.h"

// Makes a block hold `bytes` without moving it; what is new is not zeroed. false: it stays as it
// was.
INTERNAL must_use bool resize_in_place(const struct free_place *place, const void *pointer,
                                       size_t bytes);

// What to ask for when a block of which `usable` bytes can be used is copied to one of `bytes`:
// more, where it grows by little, for it is likely to do so again, and with each size class it
// would be copied anew. When each step is a quarter, what is copied comes to four times the length
// it has in the end. In fresh memory what is not written to of that quarter is not resident, but
// for the last OS page: so short blocks grow by classes. Padding tells where the request ends: no
// more room than that. Not where zeroes are promised, for what is behind the request is cleared
// with each call.
INTERNAL size_t resize_with_room(size_t usable, size_t bytes);

// There was no memory for a smaller block, and errno tells: the one there is will do, less what can
// be given back. Returns it, and restores errno.
INTERNAL void *resize_stay(const struct free_place *place, void *pointer, int errno_before);

// Zeroes what follows the kept bytes, to the end of what the user may use.
INTERNAL void resize_clear_tail(void *block, size_t kept);

#endif
