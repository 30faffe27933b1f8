/* api_glibc.h: what glibc's calls about its malloc (mallinfo2, malloc_info) tell, in terms of this
 * allocator.
 *
 * glibc tells small blocks, which lie in its heaps, from large ones, which it maps: so do these
 * numbers. What is committed and not in a large block counts as its heap: used + free.
 */
#ifndef API_API_GLIBC_H
#define API_API_GLIBC_H
#include "api/api_lines.h"

struct glibc_numbers {
    size_t committed_bytes, peak_committed_bytes, reserved_bytes;
    size_t used_bytes;                  // in small blocks with the program
    size_t free_bytes, free_blocks;     // the rest, large blocks left out; the blocks among it
    size_t large_bytes, large_blocks;   // blocks with a run of slices of their own
    size_t idle_bytes;                  // of free_bytes, what malloc_trim gives back at once
};

INTERNAL void glibc_gather(struct glibc_numbers *numbers);
// The same and the free blocks by size, as an XML document in the form that malloc_info has.
INTERNAL void glibc_write_xml(lines_write *write, void *arg);

#endif
