/* api_stats.h: the numbers that all reports are made of, gathered before a word is printed, so that
 * a report does not count what printing it does.
 *
 * They are exact when no thread is inside the allocator.
 */
#ifndef API_API_STATS_H
#define API_API_STATS_H
#include "core/stats.h"
#include "heap/walk.h"
#include "prim/prim.h"

struct stats_numbers {
    struct walk_totals totals;             // what the program holds now
    size_t   class_cut[CLASS_COUNT];       // blocks cut in pages: with the program, or free
    size_t   free_bytes;                   // in blocks that are cut and free
    uint64_t counter[STATS_COUNTER_COUNT]; // of the process, threads that still run included
    struct prim_usage usage;
};

struct stats_of_thread {
    uint64_t slow_paths, remote_chains, remote_blocks;
    size_t   pages, pages_parked; // owned; filled and left to whoever frees in them next
    size_t   blocks, bytes;       // with the program (any thread of it), in pages that are owned
};

// A level at one moment.
struct stats_values { int64_t peak, added, removed, current; };

INTERNAL void stats_gather(struct stats_numbers *numbers);
// All zeroes for a thread that never allocated.
INTERNAL void stats_gather_thread(struct stats_of_thread *thread);
INTERNAL struct stats_values stats_read(struct stats_level *level);
// The sum of all size classes (debug builds). Its peak is the sum of their peaks, which they may
// have reached at different moments.
INTERNAL struct stats_values stats_read_classes(void);

#endif
