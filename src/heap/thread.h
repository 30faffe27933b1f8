/* thread.h: the local heap of the calling thread, from before its first allocation to after its
 * last.
 *
 *   empty ---- first slow path ----> its own main local heap ---- exit callback ----> ended
 *              or 65th free                    ^ mi_thread_init      mi_thread_done -> empty
 *
 * `thread_heap` always points to a local heap. The empty and the ended one have nothing and own
 * nothing, so that fast paths need no test. A thread in the ended state borrows a local heap for
 * each call that needs one, and ends it again. Local heaps come from a pool, or idle.h, and go back
 * there; one that belongs to a vanished thread of a forked parent never does.
 */
#ifndef HEAP_THREAD_H
#define HEAP_THREAD_H
#include "heap/idle.h"

// Read-only: that nobody writes to them is what lets all threads have them.
SHARED_DATA_SET(const struct local_heap thread_empty_heap, {{0}});
SHARED_DATA_SET(const struct local_heap thread_ended_heap, {{0}});
SHARED_DATA_SET(THREAD_LOCAL struct local_heap *thread_heap_slot,
                (struct local_heap *)&thread_empty_heap);

// The local heap that malloc uses: that of the thread's default heap.
static always_inline struct local_heap *thread_heap(void) { return thread_heap_slot; }

static inline bool thread_is_ready(const struct local_heap *heap)
{
    return heap != &thread_empty_heap && heap != &thread_ended_heap;
}

// Starts process and thread where need be. Returns the default local heap, a transient one in an
// ended thread, or NULL when memory is exhausted or the call comes from inside the process's start.
// `heap`, if it is ready and its heap has not ended, is returned as it is. Whoever got a transient
// heap gives it back by thread_finish, also when nothing was allocated.
INTERNAL struct local_heap *thread_ready(struct local_heap *heap);
INTERNAL void thread_finish(struct local_heap *heap); // does nothing unless its main is transient
enum { THREAD_FEW_FREES = 64 };
INTERNAL struct local_heap *thread_begin_to_free(const struct local_heap *heap);
// Whose ring and cache take what this thread frees, which may have called nothing else. NULL when
// nobody's do: the thread has ended, or it has freed only a few blocks so far, or memory is
// exhausted.
static inline struct local_heap *thread_ready_to_free(struct local_heap *heap)
{
    return likely(thread_is_ready(heap)) ? heap->main : thread_begin_to_free(heap);
}
// A thread that is not counted frees, collects, or is about to be counted in: see core/alone.h.
INTERNAL void thread_come_by(void);
// What every slow path does first: heartbeat, deferred frees, ring, collect requests, purge.
// Returns the local heap to go on with, for a hook may have ended that one; NULL when memory is
// exhausted.
INTERNAL must_use struct local_heap *thread_housekeep(struct local_heap *heap);

// local_heap_load. When a page has to be made, one idle heap is ended first, whose pages may do.
INTERNAL must_use struct block *thread_load(struct local_heap *heap, size_t size_class);

// Before a thread looks at what others have: in the child of a fork it finds out who is gone.
INTERNAL void thread_mind_fork(struct local_heap *main);
INTERNAL void thread_set_default(struct local_heap *heap); // of this thread
INTERNAL void thread_done(void);                           // the thread may begin anew afterwards
// This thread now, others at their next slow path, and, if forced, parts that threads have left. Of
// this thread's local heaps the main one and `heap`; NULL, or not ready: neither.
INTERNAL void thread_collect(struct local_heap *heap, bool is_forced);
// Runs `visit` over all main local heaps that are in use, other threads' too.
INTERNAL void thread_visit_all(void (*visit)(struct local_heap *main, void *arg), void *arg);
// Idempotent; any thread. false: this very thread is at it, and its calls of the system came back,
// by way of an mmap of the program's own that allocates.
INTERNAL bool thread_start_process(void);
INTERNAL void thread_end_process(void);   // no thread that ends from now on calls back

#endif
