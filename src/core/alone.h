/* alone.h: whether no other thread can be at work in here at this moment. Then what threads share
 * is changed by a load and a store: a locked instruction costs some 20 cycles, and waits for all
 * writes before it, often to a freed block that is in no cache.
 *
 * The first thread that a process starts is started by its only one, which begins no such change
 * meanwhile, and the new one sees all that was done before. That holds for the helper, too, which
 * the C library does not know (region/purger.h), so a process that ever tried to start one counts
 * as one of many threads. So does one whose second thread was started behind the C library's back
 * (by another copy of that, or a bare system call), from its first call on: that one call may come
 * in the midst of a change of the first thread's, which the C library's own malloc bears no better.
 */
#ifndef CORE_ALONE_H
#define CORE_ALONE_H
#include "base/base.h"
#include "prim/prim.h"

// Set before the first helper starts, and when a second thread comes by.
SHARED_DATA(ATOMIC(bool) alone_no_more);

static inline void alone_end(void)
{
    // relaxed: who starts a thread, and that thread, see it
    atomic_store_explicit(&alone_no_more, true, memory_order_relaxed);
}

static always_inline bool alone_is_here(void)
{
    return prim_is_single_threaded() &&
           !atomic_load_explicit(&alone_no_more, memory_order_relaxed);
}

#endif
