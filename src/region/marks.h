/* marks.h: sets of slices, kept for the floor above; in use for parked pages with room, a set for
 * each size class.
 *
 * A mark is a hint: it may be stale, and one may be missing. Whoever takes one finds out by the
 * page's own state.
 * Rules (see marks_broken_rule):
 *   K1  mark_count is the number of marks of a kind, but for those that a thread is just setting or
 *       taking
 */
#ifndef REGION_MARKS_H
#define REGION_MARKS_H
#include "region/arena.h"

INTERNAL void marks_set(struct arena *arena, size_t kind, size_t slice);
INTERNAL void marks_clear(struct arena *arena, size_t kind, size_t slice);
// Takes away one mark of that kind, searching at most `max_chunks` from the hint on. The descriptor
// of its slice; NULL when none was found.
INTERNAL struct page *marks_take(struct arena *arena, size_t kind, size_t max_chunks);
// NULL while K1 holds. Only when no other thread is inside the allocator.
INTERNAL const char *marks_broken_rule(const struct arena *arena);

#endif
