/* limit.h: how much memory the heap may take, as the user wants it.
 *
 *   MIMALLOC_MEMORY_LIMIT        above it free memory goes back to the OS at once (purge.h), and
 *                                threads keep no empty pages
 *   MIMALLOC_MEMORY_PRESSURE     the same while the system says that memory is short, which is
 *                                asked once a second at most
 *   MIMALLOC_MEMORY_LIMIT_HARD   slices that would go above it are not handed out (arena.c): so
 *                                malloc gives back all that is free, tries once more, and fails
 *
 * What is compared is STAT_committed, the slices that were handed out or are not given back yet:
 * more than what is resident, since parts of them may never have been touched. Threads that claim
 * slices at the same moment may all be refused where one would have fitted.
 */
#ifndef REGION_LIMIT_H
#define REGION_LIMIT_H
#include "base/base.h"
#include "core/options.h"
#include "core/stats.h"

SHARED_DATA(ATOMIC(bool) limit_is_pressed); // when somebody asked last

INTERNAL bool limit_is_below(enum option limit, int64_t bytes); // when it is set
INTERNAL void limit_ask_system(void);                           // if it is time to

// limit: OPTION_memory_limit or OPTION_memory_limit_hard.
static inline bool limit_is_exceeded(enum option limit)
{
    return unlikely(options_is_on(limit)) && limit_is_below(limit, stats_current(STAT_committed));
}

// What is free shall go back, whatever its age.
static inline bool limit_wants_memory(void)
{
    // relaxed: a wish
    return limit_is_exceeded(OPTION_memory_limit) ||
           (unlikely(options_is_on(OPTION_memory_pressure)) &&
            atomic_load_explicit(&limit_is_pressed, memory_order_relaxed));
}

// Now and then, on slow paths.
static inline void limit_tick(void)
{
    if (unlikely(options_is_on(OPTION_memory_pressure))) limit_ask_system();
}

#endif
