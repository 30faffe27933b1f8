/* os.h: memory from the OS, with statistics, options and secure-build policy on top of prim.
 *
 * All calls return false (or NULL) on failure and leave things as they were, unless they say
 * something else; none reports: the caller knows what it can do instead. Ranges are multiples of
 * the OS page.
 */
#ifndef OS_OS_H
#define OS_OS_H
#include "base/base.h"
#include "prim/prim.h"

// Facts about the machine; os_init reads them once, before any other call here.
INTERNAL void os_init(void);
INTERNAL const struct prim_info *os_info(void);

INTERNAL size_t os_page_bytes(void);

// Addresses without memory, aligned; NULL when refused. Released with os_release.
INTERNAL void *os_reserve(size_t bytes, size_t alignment);
// Zeroed memory anywhere, aligned.
INTERNAL void *os_map(size_t bytes, size_t alignment);
// The same in whole OS pages, which the child of a fork sees zeroed. 0, or ENOMEM, or the error of
// a system that has none.
INTERNAL must_use int os_map_wiped(size_t bytes, void **memory);
// Zeroed memory at exactly `start`. taken is set when something else is mapped there.
INTERNAL bool os_map_at(void *start, size_t bytes, bool *taken);
INTERNAL void  os_release(void *start, size_t bytes);
// Opens reserved memory for reading and writing.
INTERNAL bool  os_open(void *start, size_t bytes);
// Gives the memory back, if it may at once (reset_decommits, or a limit): true when the range
// reads as zeroes now.
INTERNAL bool  os_purge(void *start, size_t bytes);
// Fresh memory over a range of ours, whatever its mapping went through, with os_advise. Here and in
// os_restore `is_lost`, when they fail: the range must not be used again, for the system had taken
// it away when it found that there was no more memory. That is rare: it is asked first.
INTERNAL must_use bool os_map_again(void *start, size_t bytes, bool *is_lost);
// Moves pages without copying, one mapping after the other. Returns how many bytes, from the
// beginning on; where they were reads as zeroes. The others are where they were, and what was in
// the rest of the new range may be lost. The new range has mappings of its own until os_restore,
// which gives up what is in it; so few ranges are moved at a time, and none that has more mappings
// than OS_MOVE_PIECES, as one gets that is moved again and again; and none when the system would
// not give as much memory once more.
enum { OS_MOVE_PIECES = 16 };
INTERNAL size_t os_move(void *from, size_t bytes, void *to);
INTERNAL must_use bool os_restore(void *start, size_t bytes, bool *is_lost);
// An inaccessible range inside memory of ours. NONE when the system or the budget of mappings
// refuses: that guard is counted as thinned out. SPLIT: it took mappings. os_unguard makes the
// range usable again, or says that it cannot; it reads as zeroes after CALL, as before after SPLIT.
enum os_guard_kind { OS_GUARD_NONE, OS_GUARD_CALL, OS_GUARD_SPLIT };
INTERNAL enum os_guard_kind os_guard(void *start, size_t bytes);
INTERNAL must_use bool os_unguard(void *start, size_t bytes, enum os_guard_kind kind);
// Applies MIMALLOC_ALLOW_THP to a fresh mapping that makes the process's heap `heap_bytes` large.
INTERNAL void  os_advise(void *start, size_t bytes, size_t heap_bytes);
// Zeroed memory of large OS pages (2 MiB or 1 GiB each), at `start` if given, else anywhere; NULL
// when the system has none to give, or not there (*taken). It cannot be purged.
INTERNAL void *os_map_large(void *start, size_t bytes, size_t page_bytes, int numa_node,
                            bool *taken);

#endif
