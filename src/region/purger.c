#include "region/purger.h"
#include "core/options.h"
#include "core/stats.h"
#include "os/os.h"

// values of option background_purge
enum { PURGER_NEVER, PURGER_WITH_THREADS, PURGER_ALWAYS };

static ATOMIC(uint32_t) purger_alive;    // not 0 while its memory is in use; the OS clears it
static ATOMIC(uint32_t) purger_is_taken; // 1: the helper runs, or somebody starts it
static ATOMIC(uint32_t) purger_is_asked; // 1: it is to end
static void *purger_memory;              // [taken]
static ATOMIC(bool) purger_is_refused;   // the OS lets us have no helper

static bool purger_may_run(void)
{
    long wanted = options_get(OPTION_background_purge);
    if (wanted == PURGER_NEVER || options_get(OPTION_purge_delay) < 0) return false;
    return wanted >= PURGER_ALWAYS || stats_current(STAT_threads) > 1;
}

static bool purger_take(void)
{
    uint32_t none = 0;
    // acquire: pairs with the release in purger_leave
    return atomic_compare_exchange_strong_explicit(&purger_is_taken, &none, 1,
                                                   memory_order_acquire, memory_order_relaxed);
}

static void purger_leave(void)
{
    purge_delegate(false);
    atomic_store_explicit(&purger_is_taken, 0, memory_order_release);
}

// What the helper runs. It has no thread-locals and no part of the C library that needs a thread.
static void purger_run(void)
{
    enum { LEAST_MS = 10 };
    unsigned idle = 0;
    for (unsigned round = 0; round < PURGER_ROUNDS && idle < PURGER_IDLE_ROUNDS; round++) {
        long delay_ms = options_get(OPTION_purge_delay);
        if (delay_ms < 0) break;
        prim_wait(&purger_is_asked, 0, (uint32_t)(delay_ms < LEAST_MS ? LEAST_MS : delay_ms));
        // relaxed: a wish
        if (atomic_load_explicit(&purger_is_asked, memory_order_relaxed) != 0) break;
        idle = purge_whole_round() ? 0 : idle + 1;
    }
    purger_leave();
}

// The last helper may have left but not ended yet: then its stack is still in use for some
// instructions, and the next one who gives slices back tries again.
static bool purger_try_start(void)
{
    // acquire: what the OS did to the memory before it cleared the word
    if (atomic_load_explicit(&purger_alive, memory_order_acquire) != 0) return false;
    if (purger_memory == NULL) purger_memory = os_map(PRIM_HELPER_BYTES, os_page_bytes());
    if (purger_memory == NULL) return false;
    atomic_store_explicit(&purger_is_asked, 0, memory_order_relaxed);
    purge_delegate(true);
    if (prim_helper_start(purger_run, purger_memory, &purger_alive) == 0) return true;
    atomic_store_explicit(&purger_is_refused, true, memory_order_relaxed);
    return false;
}

void purger_start(void)
{
    if (atomic_load_explicit(&purger_is_taken, memory_order_relaxed) != 0) return;
    if (atomic_load_explicit(&purger_is_refused, memory_order_relaxed)) return;
    if (!purger_may_run() || !purger_take()) return;
    if (!purger_try_start()) {
        purger_leave();
        return;
    }
    // seq_cst: pairs with that in purger_stop. Either the last but one thread, which has counted
    // itself out, sees the helper, or its absence is seen here (B2).
    atomic_thread_fence(memory_order_seq_cst);
    if (!purger_may_run()) purger_stop();
}

void purger_stop(void)
{
    enum { WAIT_MS = 10 };
    uint32_t alive;
    atomic_thread_fence(memory_order_seq_cst); // pairs with that in purger_start
    if (atomic_load_explicit(&purger_alive, memory_order_relaxed) == 0) return;
    atomic_store_explicit(&purger_is_asked, 1, memory_order_relaxed);
    prim_wake(&purger_is_asked);
    // Another thread may come meanwhile, and start the next one: then there is no need to wait.
    while ((alive = atomic_load_explicit(&purger_alive, memory_order_acquire)) != 0 &&
           atomic_load_explicit(&purger_is_asked, memory_order_relaxed) != 0) {
        prim_wait(&purger_alive, alive, WAIT_MS);
    }
}

void purger_after_fork(void)
{
    atomic_store_explicit(&purger_alive, 0, memory_order_relaxed);
    purger_leave();
}
