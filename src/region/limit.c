#include "region/limit.h"
#include <errno.h>
#include "os/os.h"

enum { LIMIT_ASK_MS = 1000 };

DEFINE_DATA(ATOMIC(bool) limit_is_pressed)
static ATOMIC(uint64_t) limit_next_ms; // nobody asks for the pressure before that
static ATOMIC(size_t) limit_of_system; // what it allows us; 0: not asked yet

// Seven eighths of what it allows: the rest is for memory that is not ours. Asked until it is told.
static size_t limit_from_system(void)
{
    // relaxed: whoever comes second asks for the same
    size_t bytes = atomic_load_explicit(&limit_of_system, memory_order_relaxed);
    if (bytes != 0) return bytes;
    int error = prim_memory_limit(&bytes);
    if (error != 0) bytes = SIZE_MAX;
    if (error != 0 && error != ENOENT) return bytes; // to be asked again
    bytes -= bytes / 8;
    atomic_store_explicit(&limit_of_system, bytes, memory_order_relaxed);
    return bytes;
}

bool limit_is_below(enum option limit, int64_t bytes)
{
    long wanted = options_get(limit); // once: it may be changed meanwhile
    if (wanted == 0) return false;
    size_t most_bytes = wanted < 0 ? limit_from_system() : options_bytes_of(wanted);
    return bytes > 0 && (uint64_t)bytes > most_bytes;
}

void limit_ask_system(void)
{
    uint64_t now = prim_clock_ms();
    // relaxed: whoever comes first asks; others go on with what was said before
    uint64_t next = atomic_load_explicit(&limit_next_ms, memory_order_relaxed);
    if (now < next) return;
    if (!atomic_compare_exchange_strong_explicit(&limit_next_ms, &next, now + LIMIT_ASK_MS,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    unsigned percent;
    bool is_pressed = prim_memory_pressure(&percent) == 0 &&
                      percent >= (unsigned)options_get(OPTION_memory_pressure);
    atomic_store_explicit(&limit_is_pressed, is_pressed, memory_order_relaxed);
}
