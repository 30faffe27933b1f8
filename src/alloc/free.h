/* free.h: where a pointer comes back: the one place where it is validated. */
#ifndef ALLOC_FREE_H
#define ALLOC_FREE_H
#include "alloc/alloc.h"

// The page and the start of the block of a pointer that a call other than free was given; false,
// after a report that names `call`, when it is not a block of ours that is in use, as far as this
// build can tell.
struct free_place { struct page *page; char *block; };
INTERNAL must_use bool free_find(const void *pointer, const char *call, struct free_place *place);
// Bytes from the pointer to the end of what the user may use.
INTERNAL size_t free_usable_bytes(const struct free_place *place, const void *pointer);

// Cheap: a block of that many bytes may well begin there. Not only when it does: the pointer is
// free's to check.
static always_inline bool free_size_fits_near(const void *pointer, size_t bytes)
{
    uintptr_t units = arena_units(pointer);
    if (CFG_PADDING || !arena_has_units(units)) return false;
    const struct page *page = (const struct page *)arena_descriptor_near(units);
    return bytes <= page->block_bytes && (page_owner(page) & OWNER_INTERIOR) == 0;
}

#endif
