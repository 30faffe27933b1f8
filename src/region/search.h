/* search.h: looks for free slices, and claims none: what it finds may be somebody's already.
 *
 * What a large block leaves (of a chunk's slices or more) is kept for the next one, which often
 * comes at once: else single slices break it up. But it is purged some time, and short runs go
 * elsewhere only if there is other room nearby, and for SEARCH_SPARED_SLICES in all.
 */
#ifndef REGION_SEARCH_H
#define REGION_SEARCH_H
#include "region/window.h"

enum { SEARCH_SPARED_SLICES = 32 };

// A run of `count` slices is released: is it to be kept for the next one?
INTERNAL bool search_keeps(struct arena *arena, size_t count);
// A run of up to a chunk's slices that lies in one chunk: the first one without kept slices, or, if
// the next chunks with free slices have none, the first one. Chunks from *from on and below `to`.
// Returns its first slice or SIZE_MAX; *from becomes the chunk to go on with.
INTERNAL size_t search_short(struct arena *arena, size_t count, size_t *from, size_t to);
// The number of free slices from `slice` on and below `end`, up to `enough`.
INTERNAL size_t search_free_run(const struct arena *arena, size_t slice, size_t enough, size_t end);
// The first free slice from `slice` on, or `end`.
INTERNAL size_t search_next_free(const struct arena *arena, size_t slice, size_t end);

#endif
