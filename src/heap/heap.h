/* heap.h: first-class heaps: a handle, and a part (a local heap) for each thread that allocated in
 * it.
 *
 *   mi_heap_s ---- local: the part of the thread that made it
 *             `--- others -> part of thread B -> part of thread C     (next_of_heap)
 *   main local heap of thread B -> its parts of other heaps            (next_of_thread)
 *
 * Parts are pinned: their pages are never parked, so that they can be found and released at once. A
 * part whose thread has ended waits, with what is in it, for the next thread that allocates in the
 * heap:
 *
 *   in use ---- its thread ends ----> left ----> taken over by a thread: in use
 *                                     | ^
 *                  heap_hold_part     v |     heap_let_go_part
 *                                     held
 *
 * Rules (see heap_broken_rule, and test/model/test_parts.cpp for what threads do at once):
 *   F1  a part is on its thread's list until that thread ends, also after another one, or this one
 *       inside a hook, has ended its heap (heap == NULL)
 *   F2  a heap whose making thread ends lives on only if another thread has a part in it
 *   F3  what is in a part is changed by its thread; when it is left, by who holds it; when its heap
 *       ends, by who ends that, or if the part is held just then, by who lets go of it
 * `main` is always the calling thread's main local heap. Deleting or destroying a heap while
 * another thread allocates in it or looks into it is the user's mistake; that a thread which has no
 * part in it frees its blocks during a delete is not.
 */
#ifndef HEAP_HEAP_H
#define HEAP_HEAP_H
#include "heap/local_heap.h"

// Main local heaps; a new one is zeroed. NULL when memory is exhausted. They and the parts of made
// heaps come from pools of their own: the stale owner word of a page that an ended thread parked
// may name a main local heap that is in use again, but never a part, which is pinned.
INTERNAL struct local_heap *heap_take_main(void);
INTERNAL void heap_put_main(struct local_heap *main); // it owns nothing any more
// Runs `visit` over every local heap there ever was, of one kind. Main ones that a thread uses have
// is_used 1; parts in use have a heap.
INTERNAL void heap_visit_all_mains(void (*visit)(struct local_heap *main, void *arg), void *arg);
INTERNAL void heap_visit_all_parts(void (*visit)(struct local_heap *part, void *arg), void *arg);

INTERNAL struct mi_heap_s *heap_new(struct local_heap *main); // NULL when memory is exhausted
// live blocks move to `main`
INTERNAL void heap_delete(struct mi_heap_s *heap, struct local_heap *main);
// everything is freed at once
INTERNAL void heap_destroy(struct mi_heap_s *heap, struct local_heap *main);
INTERNAL bool heap_is_valid(const struct mi_heap_s *heap, const struct local_heap *main);
// The calling thread's part of a valid heap; when it has none, one that was left, or a new one.
// NULL when memory is exhausted.
INTERNAL struct local_heap *heap_local(struct mi_heap_s *heap, struct local_heap *main);
// The same, NULL when it has none.
INTERNAL struct local_heap *heap_own_part(struct mi_heap_s *heap, struct local_heap *main);
// To look into a part that its thread has left; false: it has not, or somebody else is at it.
INTERNAL must_use bool heap_hold_part(struct local_heap *part);
// The same, after whoever is at it just now, if that is soon over.
INTERNAL must_use bool heap_wait_for_part(struct local_heap *part);
INTERNAL void heap_let_go_part(struct local_heap *part, struct local_heap *main);
// For heap_visit_parts: gives back what is free in a part that was left. `main`: a local heap.
INTERNAL void heap_collect_left(struct local_heap *part, void *main);
// Of parts whose heaps the thread has ended inside hooks: those that no caller of one can be at any
// more. Nor is it at any but `but` now.
INTERNAL void heap_drop_kept(struct local_heap *main, const struct local_heap *but);
// The thread ends: heaps that it made are deleted, unless F2.
INTERNAL void heap_leave_all(struct local_heap *main);
// NULL while F1 holds for the thread's parts, and F1 and F2 for `heap`, which no other thread is
// ending. heap NULL: the thread's parts only.
INTERNAL const char *heap_broken_rule(const struct mi_heap_s *heap, const struct local_heap *main);
// Runs `visit` over all parts of a heap.
INTERNAL void heap_visit_parts(struct mi_heap_s *heap,
                               void (*visit)(struct local_heap *part, void *arg), void *arg);

#endif
