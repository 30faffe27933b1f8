#include "os/os.h"
#include <errno.h>
#include "core/options.h"
#include "core/report.h"
#include "core/stats.h"

static struct prim_info os_facts = {4096, 0, 0, SIZE_MAX};

// Guards that split a mapping (where the system has no other) stop at this many: a quarter of
// Linux's usual limit.
enum { OS_SPLIT_GUARD_LIMIT = 8192 };
static ATOMIC(int) os_split_guards;

// A heap smaller than this never gets transparent huge pages: each would cost up to 2 MiB resident.
static const size_t os_thp_min_heap_bytes = (size_t)64 << 20;

void os_init(void) { prim_info_read(&os_facts); }
const struct prim_info *os_info(void) { return &os_facts; }
size_t os_page_bytes(void) { return os_facts.page_bytes; }

void os_release(void *start, size_t bytes)
{
    stats_count(COUNT_munmap_calls, 1);
    // a failure leaves addresses mapped that nobody uses; nothing to be done
    ignore_result(prim_unmap(start, bytes));
}

// Cuts an aligned piece of `bytes` out of a mapping that is `alignment` larger than asked for.
static void *os_trim(char *start, size_t bytes, size_t alignment)
{
    char *aligned = (char *)bits_align_up((uintptr_t)start, alignment);
    size_t before = (size_t)(aligned - start);
    if (before != 0) os_release(start, before);
    if (alignment - before != 0) os_release(aligned + bytes, alignment - before);
    return aligned;
}

static void *os_map_anywhere(size_t bytes, size_t alignment, unsigned flags)
{
    void *start;
    stats_count(COUNT_mmap_calls, 1);
    if (prim_map(NULL, bytes, flags, &start) != 0) return NULL;
    if (bits_is_aligned(start, alignment)) return start;

    os_release(start, bytes);
    if (bytes > SIZE_MAX - alignment) return NULL;
    stats_count(COUNT_mmap_calls, 1);
    if (prim_map(NULL, bytes + alignment, flags, &start) != 0) return NULL;
    return os_trim((char *)start, bytes, alignment);
}

void *os_reserve(size_t bytes, size_t alignment)
{
    return os_map_anywhere(bytes, alignment, PRIM_MAP_NO_ACCESS);
}
void *os_map(size_t bytes, size_t alignment)
{
    return os_map_anywhere(bytes, alignment, PRIM_MAP_ANYWHERE);
}

int os_map_wiped(size_t bytes, void **memory)
{
    *memory = os_map(bytes, os_page_bytes());
    if (*memory == NULL) return ENOMEM;
    int error = prim_wipe_on_fork(*memory, bytes);
    if (error != 0) os_release(*memory, bytes);
    return error;
}

bool os_map_at(void *start, size_t bytes, bool *taken)
{
    void *mapped;
    stats_count(COUNT_mmap_calls, 1);
    int error = prim_map(start, bytes, PRIM_MAP_EXACT, &mapped);
    *taken = error == EEXIST;
    return error == 0;
}

void os_advise(void *start, size_t bytes, size_t heap_bytes)
{
    long allowed = options_get(OPTION_allow_thp);
    bool is_wanted = allowed >= 2 || options_is_on(OPTION_large_os_pages);
    bool is_refused = allowed <= 0 || heap_bytes < os_thp_min_heap_bytes;
    // Refused without a look at what the system does: that look would take longer than the call. A
    // failure changes nothing: it is a wish.
    if (is_wanted || is_refused) ignore_result(prim_advise_huge(start, bytes, is_wanted));
}

// What is mapped is there, and locked, at once (mlockall).
static bool os_is_all_locked(void)
{
    void *page = os_map_anywhere(os_page_bytes(), os_page_bytes(), PRIM_MAP_ANYWHERE);
    bool is_locked = page == NULL || prim_is_locked(page);
    if (page != NULL) os_release(page, os_page_bytes());
    return is_locked;
}

// The system would give so much at this moment, beside what it gave. Some of its calls take memory
// away before they find that there is none to put there: they are not made in vain. (Nor is all of
// that filled only to find out.)
static bool os_has_more(size_t bytes)
{
    if (os_is_all_locked()) return false;
    void *start = os_map_anywhere(bytes, os_page_bytes(), PRIM_MAP_ANYWHERE);
    if (start != NULL) os_release(start, bytes);
    return start != NULL;
}

bool os_map_again(void *start, size_t bytes, bool *is_lost)
{
    void *mapped;
    *is_lost = false;
    if (!os_has_more(bytes)) return false;
    stats_count(COUNT_mmap_calls, 1);
    *is_lost = prim_map(start, bytes, PRIM_MAP_REPLACE, &mapped) != 0;
    if (*is_lost) return false;
    os_advise(start, bytes, (size_t)stats_current(STAT_reserved)); // as its neighbours were
    return true;
}

bool os_open(void *start, size_t bytes)
{
    stats_count(COUNT_access_calls, 1);
    return prim_access(start, bytes, true) == 0;
}

bool os_purge(void *start, size_t bytes)
{
    stats_count(COUNT_purge_calls, 1);
    // what the OS drops when it wants to counts, and so would be kept from the program for good, or
    // be above the limit for good
    bool is_counted =
        options_is_on(OPTION_memory_limit_hard) || options_is_on(OPTION_memory_limit);
    if (is_counted || options_is_on(OPTION_reset_decommits)) return prim_purge(start, bytes) == 0;
    ignore_result(prim_reset(start, bytes)); // only advice
    return false;
}

// Ranges whose mapping is not mergeable with its neighbours' any more, because pages were moved
// there.
static ATOMIC(int) os_moved_ranges;
enum { OS_MOVED_LIMIT = 512 };

// The mappings that a range consists of: how many, or 0 when there are too many.
static unsigned os_find_pieces(char *start, size_t bytes, size_t piece_bytes[OS_MOVE_PIECES])
{
    unsigned count = 0;
    for (size_t at = 0; at < bytes; at += piece_bytes[count++]) {
        if (count == OS_MOVE_PIECES) return 0;
        piece_bytes[count] = prim_mapping_bytes(start + at, bytes - at);
        if (piece_bytes[count] == 0) return 0;
    }
    return count;
}

static bool os_move_piece(char *from, size_t bytes, char *to)
{
    bool is_lost = false;
    stats_count(COUNT_move_calls, 1);
    int error = prim_move(from, bytes, to, &is_lost);
    // The next user would fall into the hole, or into memory of others.
    if (is_lost) {
        report_always("out of memory: a move has failed, and taken its target away", NULL);
        prim_abort();
    }
    return error == 0;
}

static size_t os_move_pieces(char *from, size_t bytes, char *to)
{
    size_t piece_bytes[OS_MOVE_PIECES], moved = 0;
    unsigned count = os_has_more(bytes) ? os_find_pieces(from, bytes, piece_bytes) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (!os_move_piece(from + moved, piece_bytes[i], to + moved)) break;
        moved += piece_bytes[i];
    }
    return moved;
}

size_t os_move(void *from, size_t bytes, void *to)
{
    size_t moved = 0;
    // relaxed: a budget, no data hangs on it
    if (atomic_fetch_add_explicit(&os_moved_ranges, 1, memory_order_relaxed) < OS_MOVED_LIMIT)
        moved = os_move_pieces((char *)from, bytes, (char *)to);
    if (moved == 0) atomic_fetch_sub_explicit(&os_moved_ranges, 1, memory_order_relaxed);
    return moved;
}

bool os_restore(void *start, size_t bytes, bool *is_lost)
{
    bool is_done = os_map_again(start, bytes, is_lost);
    // else its mapping stays what it is
    if (is_done) atomic_fetch_sub_explicit(&os_moved_ranges, 1, memory_order_relaxed);
    return is_done;
}

enum os_guard_kind os_guard(void *start, size_t bytes)
{
    stats_count(COUNT_guard_calls, 1);
    if (prim_guard(start, bytes) == 0) return OS_GUARD_CALL;
    // relaxed: a budget, no data hangs on it
    if (atomic_fetch_add_explicit(&os_split_guards, 1, memory_order_relaxed) <
            OS_SPLIT_GUARD_LIMIT &&
        prim_access(start, bytes, false) == 0) {
        return OS_GUARD_SPLIT;
    }
    atomic_fetch_sub_explicit(&os_split_guards, 1, memory_order_relaxed);
    stats_count(COUNT_guards_thinned, 1);
    return OS_GUARD_NONE;
}

bool os_unguard(void *start, size_t bytes, enum os_guard_kind kind)
{
    bool is_lost;
    if (kind == OS_GUARD_CALL)
        return prim_unguard(start, bytes) == 0 || os_map_again(start, bytes, &is_lost);
    if (kind == OS_GUARD_SPLIT) {
        if (prim_access(start, bytes, true) != 0) return false;
        atomic_fetch_sub_explicit(&os_split_guards, 1, memory_order_relaxed);
    }
    return true;
}

void *os_map_large(void *start, size_t bytes, size_t page_bytes, int numa_node, bool *taken)
{
    void *mapped;
    stats_count(COUNT_mmap_calls, 1);
    *taken = false;
    if (prim_map_large(start, bytes, page_bytes, numa_node, &mapped) != 0) return NULL;
    if (start == NULL || mapped == start) return mapped;
    os_release(mapped, bytes);
    *taken = true;
    return NULL;
}
