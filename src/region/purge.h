/* purge.h: when the memory of free slices goes back to the OS.
 *
 * A round visits every chunk once: what was free and dirty at the last round already is purged, the
 * rest is marked as aging. Rounds begin MIMALLOC_PURGE_DELAY ms apart, so free memory is given back
 * after one to two delays, and what is reused within one delay never is. A round is cut into steps
 * of bounded work, made on slow paths by whichever thread comes by; a thread that finds another one
 * at it goes on without waiting. When the user or the system wants memory back (limit.h), whoever
 * claims or releases a page makes steps in which nothing is too young.
 * Rules (G1 is a matter of order: test/model/test_regions.cpp, and the mutant that breaks it):
 *   G1  memory is purged only while its free bits are taken away, so that nobody can claim it
 *       meanwhile
 *   G2  in the child of a fork nobody makes a step before purge_after_fork, so that two are never
 *       at it (test_purger.c)
 */
#ifndef REGION_PURGE_H
#define REGION_PURGE_H
#include "region/arena.h"
#include "region/limit.h"

// the most that one step visits, and the runs of slices that it gives back; the calls of the OS for
// each: one for its states (state.h), too
enum { PURGE_STEP_CHUNKS = 32, PURGE_STEP_RUNS = 16, PURGE_RUN_CALLS = CFG_STATES ? 2 : 1 };

// One step of a round if one is due.
INTERNAL void purge_tick(void);
SHARED_DATA(ATOMIC(bool) purge_goes_on); // a step was made, and the round is not complete

// Whether a slow path, the count-th of its thread, is one that calls it: some are, and all while a
// round goes on, so that it is soon over.
static inline bool purge_has_turn(uint64_t count)
{
    enum { PURGE_EVERY = 8 };
    // relaxed: a hint
    return count % PURGE_EVERY == 0 || atomic_load_explicit(&purge_goes_on, memory_order_relaxed);
}

// More is in use than the user wants, and so many slices are about to be: steps, due or not, and
// without regard to age, until more than that was given back: two steps, and one more for each 16
// slices, with PURGE_STEP_RUNS runs, and one more for each slice.
INTERNAL void purge_relieve(size_t slices);
// The same, if somebody wants memory back.
static inline void purge_if_wanted(size_t slices)
{
    if (limit_wants_memory()) purge_relieve(slices);
}

// One step, due or not, for the helper (purger.h). is_first: a round begins with it. *is_complete:
// it was the last one of its round, or another thread is at it. true when something was done, or
// can be in the next round: what the OS was told once, and what cannot be purged, does not count.
INTERNAL bool purge_step_now(bool is_first, bool *is_complete);
// Everything free, now, without regard to age. Returns the bytes given back. It waits for nobody:
// what another thread is purging at this moment is left to that thread.
INTERNAL size_t purge_all(void);

// Slices that are being purged are nobody's, but no search finds them. So one that failed is worth
// another try when this is true: others were at it since it began, of whom one has ended now, or a
// millisecond has gone by. `search` is what the first returned before it; it becomes that of the
// next one.
enum { PURGE_PATIENCE = 100 }; // tries, for one call
INTERNAL uint32_t purge_search_begins(void);
INTERNAL must_use bool purge_wait_for_others(uint32_t *search);
// In the child of a fork, before fork_settle: whoever was at it is gone.
INTERNAL void purge_after_fork(void);

#endif
