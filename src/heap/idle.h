/* idle.h: main local heaps of threads that have ended a moment ago, left as they were for threads
 * that start soon.
 *
 *   thread ends ---> slot | heap | heap |  .  | ...  ---> thread starts
 *                             |
 *                             `--> ended: its pages parked, its cache given away
 *
 * So where threads come and go, one that starts finds pages, lists and bins ready, and one that
 * ends has nothing to give back block by block. What waits in an idle heap is nobody's loss: before
 * a thread makes a new page it ends one of them, and so do who collects, and who reviews them for
 * one that has waited for IDLE_MS. One at a time, for it takes as long as it holds blocks. Only
 * short-lived threads leave theirs idle: what others hold may be much, and giving it back little,
 * compared with what they have done.
 *
 * Rules (see idle_broken_rule):
 *   I1  an idle heap is in one slot. It is no thread's: is_used is 0, and its rules hold
 *   I2  it has current pages and what the cache holds, but no queued pages, ring or parts
 */
#ifndef HEAP_IDLE_H
#define HEAP_IDLE_H
#include "heap/heap.h"

enum {
    IDLE_SLOTS       = 8,
    IDLE_MS          = 100,
    IDLE_SLOW_PATHS  = 4096,       // of malloc: a thread that had more is not short-lived
    IDLE_CACHE_BYTES = 1024 * 1024 // that wait in bins and on the cache's lists
};

// An idle heap, one of the last, which is the caller's from then on; NULL when there is none. Any
// thread, as all below.
INTERNAL struct local_heap *idle_take(void);
// Leaves the local heap to others, idle or ended. No thread uses it any more.
INTERNAL void idle_put(struct local_heap *main);
// Ends such a local heap at once: its pages are parked, its cache is given away.
INTERNAL void idle_end(struct local_heap *main);
// About: threads that put and take at this moment may not be counted yet.
INTERNAL bool idle_has_any(void);
// Ends an idle heap; false when there was none.
INTERNAL bool idle_end_one(void);
INTERNAL void idle_end_all(void);
// Now and then, `now_ms` being the time: ends one that has waited for long.
INTERNAL void idle_review(uint64_t now_ms);
// In the child of a fork, where a thread that vanished may have been about to count.
INTERNAL void idle_count_anew(void);

// NULL while I1 and I2 hold. When no other thread is at it.
INTERNAL const char *idle_broken_rule(void);

#endif
