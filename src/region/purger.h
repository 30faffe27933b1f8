/* purger.h: a helper thread that purges, so that a process that has become idle gives memory back.
 *
 * It is started by whoever gives slices back when much is free and dirty, and the process has other
 * threads already: a program with one thread never gets a second one unless it asks
 * (MIMALLOC_BACKGROUND_PURGE=2). It is made without the C library, because a thread may be started
 * there neither inside malloc nor inside free, where the C library may hold its own locks. It
 * touches nothing but atomics and the OS, has all signals blocked, and while it lives it alone
 * purges.
 *   B1  it lives for PURGER_ROUNDS rounds at most, so that a program that changes its rights
 *       (setuid) does not keep a thread with the old ones
 *   B2  when the last but one thread that allocates ends, it has ended before: a program that has
 *       joined its threads is one with a single thread
 */
#ifndef REGION_PURGER_H
#define REGION_PURGER_H
#include "region/purge.h"

enum {
    PURGER_ROUNDS      = 20,
    PURGER_IDLE_ROUNDS = 4,   // it ends after so many without anything to do
    PURGER_MIN_SLICES  = 256  // 16 MiB free and dirty in arena 0: worth a thread
};

// After slices went back. Any thread.
INTERNAL void purger_start(void);
static inline void purger_consider(void)
{
    // relaxed: a wish
    if (atomic_load_explicit(&arena_main.dirty_free, memory_order_relaxed) >= PURGER_MIN_SLICES)
        purger_start();
}
// Asks the helper to end, and waits until it has: for one step of a round at most.
INTERNAL void purger_stop(void);
// One step of a round if one is due, and no helper sees to it.
INTERNAL void purger_tick(void);

#endif
