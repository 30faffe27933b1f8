/* batch.h: slices of a few chunks that are given back chunk by chunk.
 *
 * All threads claim in the same few chunks, so with each claim and each release a cache line goes
 * from one processor to another. Who gives back many slices does so once for each chunk.
 */
#ifndef REGION_BATCH_H
#define REGION_BATCH_H
#include "region/arena.h"

enum { BATCH_CHUNKS = 4 };

// Of one chunk; bits 0: of none. They are still claimed, and dirty.
struct batch_part { struct arena *arena; size_t chunk_index; uint64_t bits; };
// A thread's, zeroes at first. A chunk has its part by its number.
struct batch { struct batch_part part[BATCH_CHUNKS]; };

// As arena_release, but they are free only after batch_release, or when slices of another chunk
// take their part. At once while memory is wanted back, and slices that are clean, or not of one
// chunk.
INTERNAL void batch_add(struct batch *batch, void *start, size_t count, bool touched);
INTERNAL void batch_release(struct batch *batch);

#endif
