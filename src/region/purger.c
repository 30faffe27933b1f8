#include "region/purger.h"
#include "core/options.h"
#include "core/stats.h"
#include "os/os.h"

// values of option background_purge
enum { PURGER_NEVER, PURGER_WITH_THREADS, PURGER_ALWAYS };

// The first OS page of the helper's memory. The child of a fork, where there is no helper, sees all
// of it wiped: so there these words say what is true there.
struct purger {
    ATOMIC(uint32_t) alive;    // not 0 while the helper's memory is in use; the OS clears it
    ATOMIC(uint32_t) is_taken; // 1: the helper runs, or somebody starts it
    ATOMIC(uint32_t) is_asked; // 1: it is to end
};

static ATOMIC(struct purger *) purger_here;
static ATOMIC(bool) purger_is_refused; // the OS lets us have no helper

static struct purger *purger_get(void)
{
    // acquire: pairs with the release in purger_make
    return atomic_load_explicit(&purger_here, memory_order_acquire);
}

static bool purger_may_run(void)
{
    long wanted = options_get(OPTION_background_purge);
    if (wanted == PURGER_NEVER || options_get(OPTION_purge_delay) < 0) return false;
    return wanted >= PURGER_ALWAYS || stats_current(STAT_threads) > 1;
}

// NULL when the OS gives no memory, or none that is wiped on fork: then there is no helper.
static struct purger *purger_make(void)
{
    size_t bytes = os_page_bytes() + PRIM_HELPER_BYTES;
    struct purger *made = (struct purger *)os_map(bytes, os_page_bytes()), *none = NULL;
    if (made == NULL) return NULL;
    bool is_wiped = prim_wipe_on_fork((void *)made, bytes) == 0;
    if (is_wiped && atomic_compare_exchange_strong_explicit(&purger_here, &none, made,
                                                            memory_order_release,
                                                            memory_order_relaxed)) {
        return made;
    }
    os_release((void *)made, bytes);
    return is_wiped ? purger_get() : NULL;
}

static bool purger_take(struct purger *purger)
{
    uint32_t none = 0;
    // acquire: pairs with the release in purger_leave
    return atomic_compare_exchange_strong_explicit(&purger->is_taken, &none, 1,
                                                   memory_order_acquire, memory_order_relaxed);
}

static void purger_leave(struct purger *purger)
{
    atomic_store_explicit(&purger->is_taken, 0, memory_order_release);
}

// What the helper runs. It has no thread-locals and no part of the C library that needs a thread.
static void purger_run(void)
{
    enum { LEAST_MS = 10 };
    struct purger *purger = purger_get();
    unsigned idle = 0;
    for (unsigned round = 0; round < PURGER_ROUNDS && idle < PURGER_IDLE_ROUNDS; round++) {
        long delay_ms = options_get(OPTION_purge_delay);
        if (delay_ms < 0) break;
        prim_wait(&purger->is_asked, 0, (uint32_t)(delay_ms < LEAST_MS ? LEAST_MS : delay_ms));
        // relaxed: a wish
        if (atomic_load_explicit(&purger->is_asked, memory_order_relaxed) != 0) break;
        idle = purge_whole_round() ? 0 : idle + 1;
    }
    purger_leave(purger);
}

// The last helper may have left but not ended yet: then its stack is still in use for some
// instructions, and the next one who gives slices back tries again.
static bool purger_try_start(struct purger *purger)
{
    // acquire: what the OS did to the memory before it cleared the word
    if (atomic_load_explicit(&purger->alive, memory_order_acquire) != 0) return false;
    atomic_store_explicit(&purger->is_asked, 0, memory_order_relaxed);
    void *memory = (char *)purger + os_page_bytes();
    if (prim_helper_start(purger_run, memory, &purger->alive) == 0) return true;
    atomic_store_explicit(&purger_is_refused, true, memory_order_relaxed);
    return false;
}

static bool purger_is_running(void)
{
    struct purger *purger = purger_get();
    return purger != NULL && atomic_load_explicit(&purger->is_taken, memory_order_relaxed) != 0;
}

void purger_start(void)
{
    if (purger_is_running()) return;
    if (atomic_load_explicit(&purger_is_refused, memory_order_relaxed)) return;
    if (!purger_may_run()) return;
    struct purger *purger = purger_get();
    if (purger == NULL) purger = purger_make();
    if (purger == NULL || !purger_take(purger)) return;
    if (!purger_try_start(purger)) {
        purger_leave(purger);
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
    struct purger *purger = purger_get();
    uint32_t alive;
    if (purger == NULL) return;
    atomic_thread_fence(memory_order_seq_cst); // pairs with that in purger_start
    if (atomic_load_explicit(&purger->alive, memory_order_relaxed) == 0) return;
    atomic_store_explicit(&purger->is_asked, 1, memory_order_relaxed);
    prim_wake(&purger->is_asked);
    // Another thread may come meanwhile, and start the next one: then there is no need to wait.
    while ((alive = atomic_load_explicit(&purger->alive, memory_order_acquire)) != 0 &&
           atomic_load_explicit(&purger->is_asked, memory_order_relaxed) != 0) {
        prim_wait(&purger->alive, alive, WAIT_MS);
    }
}

void purger_tick(void)
{
    if (!purger_is_running()) purge_tick();
}
