/* ahead.h: slices that a heap which can be destroyed has claimed before it needs them.
 *
 * Such a heap often takes many pages in a short time, and gives all of them back at once, while
 * other threads do the same. Each claim is a cache line from another processor; so it takes those
 * with it that are free behind the one it needs: half as many as there have been so far, and
 * AHEAD_MOST at a time at most. None while memory is limited, for nobody but their owner finds
 * them. What is not used when the heap is collected or ends, or its thread leaves it, goes back.
 * Rules: H8 (local_heap.h). Owner only.
 */
#ifndef HEAP_AHEAD_H
#define HEAP_AHEAD_H
#include "base/base.h"

enum { AHEAD_MOST = 8 };

struct ahead {
    char    *start;   // of those that are left, one after the other
    uint32_t slices;  // how many these are
    uint32_t claimed; // how many there have been
};

// Memory for a page of one slice; *is_zero: it reads as zeroes. NULL when memory is exhausted.
INTERNAL void *ahead_take(struct ahead *ahead, bool *is_zero);
INTERNAL void ahead_return(struct ahead *ahead);
// NULL while H8 holds.
INTERNAL const char *ahead_broken_rule(const struct ahead *ahead);

#endif
