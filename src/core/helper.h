/* helper.h: whether this is the helper thread (region/purger.h). It has no thread-locals: so it has
 * no tally, and no hook may run there. A mistake of the program's that it finds is left to the next
 * thread that comes by (report.h).
 */
#ifndef CORE_HELPER_H
#define CORE_HELPER_H
#include "base/base.h"

// The memory that its stack lies in, which no other thread's does. Set by the helper itself, so it
// is there when that asks; for others it makes no difference when they see it.
SHARED_DATA(ATOMIC(uintptr_t) helper_start);
SHARED_DATA(ATOMIC(uintptr_t) helper_end);

static inline void helper_set_memory(void *start, size_t bytes)
{
    atomic_store_explicit(&helper_end, (uintptr_t)start + bytes, memory_order_relaxed);
    atomic_store_explicit(&helper_start, (uintptr_t)start, memory_order_relaxed);
}

static inline bool helper_is_here(void)
{
    char here;
    uintptr_t start = atomic_load_explicit(&helper_start, memory_order_relaxed);
    return unlikely(start != 0) && (uintptr_t)&here >= start &&
           (uintptr_t)&here < atomic_load_explicit(&helper_end, memory_order_relaxed);
}

#endif
