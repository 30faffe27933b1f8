/* one.c: the whole library as one object, floor by floor (see doc/design.md, section 9).
 *
 * Functions shared by modules are static here, so the compiler sees every call and nothing but the
 * public names leaves the object. The order below is the order of the floors: a file calls only
 * what stands above it, which tools/check_floors.py checks.
 */
#define MI_ONE_OBJECT 1

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 // for prim; here already, because base includes the first system headers
#endif

// F0 base
#include "base/check.c"
#include "base/text.c"
#include "base/chacha.c"

// F1 prim
#if defined(__linux__)
#include "prim/posix/prim_posix.c"
#include "prim/posix/posix_path.c"
#include "prim/linux/prim_linux.c"
#include "prim/linux/linux_helper.c"
#include "prim/linux/linux_limit.c"
#endif

// F2 core
#include "core/stats.c"
#include "core/hooks.c"
#include "core/options.c"
#include "core/report.c"
#include "core/random.c"

// F3 os
#include "os/os.c"
#include "os/fork.c"

// F4 region
#include "region/pool.c"
#include "region/limit.c"
#include "region/window.c"
#include "region/search.c"
#include "region/arena.c"
#include "region/arena_end.c"
#include "region/batch.c"
#include "region/marks.c"
#include "region/purge.c"
#include "region/purger.c"

// F5 page
#include "page/page.c"
#include "page/holes.c"
#include "page/remote.c"
#include "page/refill.c"
#include "page/retire.c"
#include "page/depot.c"

// F6 heap
#include "heap/ahead.c"
#include "heap/cache.c"
#include "heap/ring.c"
#include "heap/local_heap.c"
#include "heap/local_heap_end.c"
#include "heap/local_heap_rules.c"
#include "heap/heap.c"
#include "heap/idle.c"
#include "heap/thread.c"
#include "heap/walk.c"

// F7 alloc
#include "alloc/alloc.c"
#include "alloc/free.c"
#include "alloc/resize.c"
#include "alloc/aligned.c"

// F8 api
#include "api/api_lines.c"
#include "api/api_stats.c"
#include "api/api_json.c"
#include "api/api_report.c"
#include "api/api_glibc.c"
#include "api/api_process.c"
#include "api/api_heap.c"
#include "api/api_string.c"
#include "api/api_posix.c"
#include "api/api_new.c"
#include "api/api_options.c"
#include "api/api_hooks.c"

// F9 override
#if MI_OVERRIDE
#include "override/override_elf.c"
#endif
