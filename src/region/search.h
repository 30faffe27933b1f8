/* search.h: looks for free slices, and claims none: what it finds may be somebody's already.
 *
 * What a large block leaves (of a chunk's slices or more) is kept for the next one, which often
 * comes at once: else single slices break it up. But it is purged some time, and short runs go
 * elsewhere only if there is other room nearby, and for SEARCH_SPARED_SLICES in all.
 *
 * Such a block goes where one of the same length was, else to the lowest room there is, and there
 * to what was used before: what has never been, or was purged, stays so.
 */
#ifndef REGION_SEARCH_H
#define REGION_SEARCH_H
#include "region/window.h"

enum {
    SEARCH_LONG_SLICES   = CHUNK_SLICES,
    SEARCH_SPARED_SLICES = 32,
    SEARCH_SAME_CHUNKS   = 512 // looked at for a run of one length
};

// A run of `count` slices is released: is it to be kept for the next one?
INTERNAL bool search_keeps(struct arena *arena, size_t count);
// A run of up to a chunk's slices that lies in one chunk: the first one without kept slices, or, if
// the next chunks with free slices have none, the first one. Chunks from *from on and below `to`.
// Returns its first slice or SIZE_MAX; *from becomes the chunk to go on with.
INTERNAL size_t search_short(struct arena *arena, size_t count, size_t *from, size_t to);
// The number of free slices from `slice` on and below `end`, up to `enough`.
INTERNAL size_t search_free_run(const struct arena *arena, size_t slice, size_t enough, size_t end);
// For a run of a chunk's slices and more, with no other alignment than theirs: the lowest run of
// free slices that were used before which has exactly that length. SIZE_MAX: none in the
// SEARCH_SAME_CHUNKS chunks from the first one with free slices on, or another kind.
INTERNAL size_t search_same(const struct arena *arena, size_t count, size_t alignment, size_t end);
// The lowest free run from *from on and below `end` with room for so many, aligned in bytes, and of
// a long one the part that was used most. SIZE_MAX: none. *from becomes where to go on.
INTERNAL size_t search_long(const struct arena *arena, size_t count, size_t alignment, size_t *from,
                            size_t end);

#endif
