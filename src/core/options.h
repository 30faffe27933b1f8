/* options.h: the options table. One line in OPTIONS_LIST is the whole definition of an option.
 *
 * Values come from, strongest first: mi_option_set, the environment (MIMALLOC_<NAME>, upper or
 * lower case), a string in the program (the weak symbol `mi_default_options`: "name=value
 * name=value"), the default here.
 * Rules (tested under these names in test_options.c):
 *   O1  a value is a single atomic word; reading one is a relaxed load and may happen anywhere
 *   O2  a value from the environment that cannot be read leaves the default and prints one line
 * The order is that of the public mi_option_t; old names never move.
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H
#include "base/base.h"

// X(name, default, unit, no_effect)
// unit: FLAG 0/1, COUNT (words for on and off too), MS (-1: never), KIB (plain numbers are KiB,
// suffixes K M G T allowed), LIMIT (the same, or "cgroup": -1), PERCENT, CHOICE (of words).
// no_effect: why setting the option changes nothing in this design, or NULL; MIMALLOC_VERBOSE=1
// says so.
#define OPTIONS_LIST(X) \
    X(show_errors, CFG_DEBUG, COUNT, NULL) \
    X(show_stats, 0, FLAG, NULL) \
    X(verbose, 0, COUNT, NULL) \
    X(eager_commit, 1, COUNT, "the system charges memory when it is touched") \
    X(eager_region_commit, 1, FLAG, "the system charges memory when it is touched") \
    X(large_os_pages, 0, COUNT, NULL) \
    X(reserve_huge_os_pages, 0, COUNT, NULL) \
    X(segment_cache, 0, COUNT, "free memory waits in its arena, for purge_delay") \
    X(page_reset, 0, FLAG, "an empty page goes back to its arena at once") \
    X(cache_reset, 0, FLAG, "there is no cache of segments") \
    X(reset_decommits, 1, FLAG, NULL) \
    X(eager_commit_delay, 0, COUNT, "pages are touched in small steps from the start") \
    X(segment_reset, 0, FLAG, "free memory is purged after purge_delay") \
    X(os_tag, 100, COUNT, "only macOS tags memory") \
    X(max_errors, 16, COUNT, NULL) \
    X(max_warnings, 16, COUNT, NULL) \
    X(reserve_huge_os_pages_at, -1, COUNT, NULL) \
    X(reserve_os_memory, 0, KIB, NULL) \
    X(purge_delay, 200, MS, NULL) \
    X(use_numa_nodes, 0, COUNT, "memory lies on the node of the thread that touches it first") \
    X(disallow_os_alloc, 0, FLAG, NULL) \
    X(destroy_on_exit, 0, FLAG, NULL) \
    X(arena_reserve, 0, KIB, NULL) \
    X(allow_thp, 1, COUNT, NULL) \
    X(on_foreign, -1, CHOICE, NULL) \
    X(show_stats_json, 0, FLAG, NULL) \
    X(background_purge, 0, COUNT, NULL) \
    X(memory_limit, 0, LIMIT, NULL) \
    X(memory_limit_hard, 0, LIMIT, NULL) \
    X(memory_pressure, 0, PERCENT, NULL)

enum option {
#define X(name, value, unit, no_effect) OPTION_##name,
    OPTIONS_LIST(X)
#undef X
    OPTION_COUNT
};

// Reads program string and environment; the first call that finds the environment ready does it,
// later ones nothing. Names also answer to their other spellings (arena_eager_commit,
// allow_large_os_pages, reset_delay, ...).
INTERNAL void options_init(void);
INTERNAL long options_get(enum option option); // the default before options_init
// any value: ranges are for what people type
INTERNAL void options_set(enum option option, long value);
// only where nobody has chosen a value
INTERNAL void options_set_default(enum option option, long value);
// KIB options in bytes, saturating; 0 when negative
INTERNAL size_t options_bytes_of(long kib);
INTERNAL size_t options_get_bytes(enum option option);
INTERNAL const char *options_name(enum option option);
INTERNAL void options_print(void); // one line an option: name, value, where it came from

static inline bool options_is_on(enum option option) { return options_get(option) != 0; }

#endif
