/* purger.h: a helper thread that purges, so that a process that has become idle gives memory back.
 *
 *   alive == 0 --- purger_start ---> STARTING ---> thread number --- it ends ---> 0, by the OS
 *                                                       | old: the next one starts beside it,
 *                                                       `----- and then asks it to end
 *
 * It is started by whoever gives slices back when much is free and dirty, or blocks when much
 * could become free, and the process has other threads already: a program with one thread never
 * gets a second one unless it asks (MIMALLOC_BACKGROUND_PURGE=2). It is made without the C
 * library, because a thread may be started there neither inside malloc nor inside free, while the
 * C library may hold its own locks. It has no thread-locals (core/helper.h) and all signals
 * blocked, and while it lives it alone purges. When threads have given little back for
 * PURGER_QUIET_MS, it drains what they share: local heaps that wait for a thread, the depot,
 * and OS pages of parked pages that hold nothing but free blocks. It ends when it has found
 * nothing to do for PURGER_IDLE_ROUNDS.
 * Rules (tested under these names in test_purger.c and test_background_purge.c):
 *   B1  one that has lived, after a round, for PURGER_LIFE_MS or PURGER_ROUNDS ends when less than
 *       PURGER_MIN_SLICES are left, and as little is expected; else the next thread that gives back
 *       anything replaces it, and if none comes, the program is idle and soon nothing is left. So
 *       nothing is forgotten, and it outlives no change of the program's rights or limits for long
 *   B2  when the last but one thread that allocates ends, it has ended before, unless it was not
 *       let run for PURGER_PATIENCE_MS: a program that has joined its threads is one with a single
 *       thread. Not with MIMALLOC_BACKGROUND_PURGE=2
 *   B3  none is started where it could keep rights that the program gives up: by a thread of root,
 *       or with capabilities, unless asked for with 2; by one with several user numbers; ever in a
 *       set-user-ID program. Nor by a thread that runs before all others, or when no other does: so
 *       would the helper
 *   B4  none is started in the child of a fork before the child is recognised, and none is after
 *       purger_end: not even the memory of its code is needed then
 *   B5  it drains in steps of bounded work, and who finds a page claimed by one, or wants to count
 *       what it has in hand, waits for its end: what is claimed after that is another page
 */
#ifndef REGION_PURGER_H
#define REGION_PURGER_H
#include "region/purge.h"

enum {
    PURGER_LIFE_MS     = 10000,
    PURGER_ROUNDS      = 20,
    PURGER_IDLE_ROUNDS = 4,
    PURGER_PATIENCE_MS = 100,
    PURGER_PAUSE_MS    = 1000, // between two attempts, when none could be started
    PURGER_VAIN_MS     = 5000, // after one that found nothing to do where much is dirty
    PURGER_MIN_SLICES  = 64,   // 4 MiB free and dirty in arena 0, or expected: worth a thread
    PURGER_QUIET_MS    = 2000, // what a program does once a second keeps what it needs
    PURGER_LITTLE_BYTES = 256 * 1024 // expected: not worth a look
};

// After slices went back. Any thread.
INTERNAL void purger_start(void);
static inline void purger_consider(void)
{
    purge_if_wanted(0);
    // relaxed: a wish
    if (atomic_load_explicit(&arena_main.dirty_free, memory_order_relaxed) >= PURGER_MIN_SLICES)
        purger_start();
}
// So much more may go back when it is drained: blocks in the depot, or in pages with room. About;
// any thread.
INTERNAL void purger_expect(size_t bytes);
// What drains it, in steps: false when there is no step of that number, counted from 0.
typedef bool purger_drain(size_t step);
INTERNAL void purger_set_drain(purger_drain *drain);
// Waits for the step that the helper is making, if it is (B5), but no longer than
// PURGER_PATIENCE_MS. Any thread.
INTERNAL void purger_wait_for_steps(void);
// After a thread has counted itself out (B2). Waits for one step of a round in the helper at most.
INTERNAL void purger_review(void);
// Before the library is unmapped: waits until the helper is gone, however long that takes.
INTERNAL void purger_end(void);
// One step of a round if one is due, and no helper sees to it.
INTERNAL void purger_tick(void);

#endif
