#include "heap/idle.h"
#include "core/stats.h"
#include "prim/prim.h"
#include "region/limit.h"
#include "region/purger.h"

static ATOMIC(struct local_heap *) idle_slots[IDLE_SLOTS];
static ATOMIC(unsigned) idle_count; // filled slots, so that nobody needs to look at all of them

static bool idle_is_filled(unsigned i)
{
    return atomic_load_explicit(&idle_slots[i], memory_order_relaxed) != NULL;
}

static struct local_heap *idle_take_slot(unsigned i)
{
    if (!idle_is_filled(i)) return NULL;
    // acquire: pairs with idle_try_put
    struct local_heap *main = atomic_exchange_explicit(&idle_slots[i], NULL, memory_order_acquire);
    if (main != NULL) atomic_fetch_sub_explicit(&idle_count, 1, memory_order_relaxed);
    return main;
}

struct local_heap *idle_take(void)
{
    struct local_heap *main = NULL;
    if (!idle_has_any()) return NULL;
    for (unsigned i = IDLE_SLOTS; main == NULL && i-- > 0;) main = idle_take_slot(i);
    return main;
}

static bool idle_try_put(struct local_heap *main)
{
    for (unsigned i = 0; i < IDLE_SLOTS; i++) {
        struct local_heap *none = NULL;
        if (idle_is_filled(i)) continue;
        // release: who takes it sees what its last thread left there
        if (!atomic_compare_exchange_strong_explicit(&idle_slots[i], &none, main,
                                                     memory_order_release, memory_order_relaxed))
            continue;
        atomic_fetch_add_explicit(&idle_count, 1, memory_order_relaxed);
        return true;
    }
    return false;
}

bool idle_has_any(void)
{
    return atomic_load_explicit(&idle_count, memory_order_relaxed) != 0;
}

void idle_put(struct local_heap *main)
{
    size_t cached = cache_bytes(&main->cache, main->list);
    bool holds_little = main->heartbeat <= IDLE_SLOW_PATHS && cached <= IDLE_CACHE_BYTES;
    bool may_wait = holds_little && !limit_wants_memory();
    if (may_wait) {
        local_heap_leave_queues(main);
        atomic_store_explicit(&main->idle_since_ms, prim_clock_ms(), memory_order_relaxed);
        may_wait = idle_try_put(main);
    }
    if (may_wait) purger_expect(cached);
    else idle_end(main);
}

void idle_end(struct local_heap *main)
{
    local_heap_abandon(main);
    stats_add_tally(&main->tally); // S3
    heap_put_main(main);
}

bool idle_end_one(void)
{
    struct local_heap *main = idle_take();
    if (main == NULL) return false;
    idle_end(main);
    return true;
}

void idle_end_all(void)
{
    // not while idle_has_any: it may be wrong for a moment
    for (unsigned i = 0; i < IDLE_SLOTS; i++) {
        struct local_heap *main = idle_take_slot(i);
        if (main != NULL) idle_end(main);
    }
}

// It may be taken, and even put there again, at this moment: its word about the time is there all
// the same, as a local heap is never unmapped.
static bool idle_is_old(unsigned i, uint64_t now_ms)
{
    // acquire: pairs with idle_try_put
    struct local_heap *main = atomic_load_explicit(&idle_slots[i], memory_order_acquire);
    if (main == NULL) return false;
    uint64_t since = atomic_load_explicit(&main->idle_since_ms, memory_order_relaxed);
    return now_ms >= since + IDLE_MS || limit_wants_memory();
}

void idle_review(uint64_t now_ms)
{
    if (!idle_has_any()) return;
    for (unsigned i = 0; i < IDLE_SLOTS; i++) {
        struct local_heap *main = idle_is_old(i, now_ms) ? idle_take_slot(i) : NULL;
        if (main == NULL) continue;
        idle_end(main);
        return;
    }
}

void idle_count_anew(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < IDLE_SLOTS; i++) count += idle_is_filled(i);
    atomic_store_explicit(&idle_count, count, memory_order_relaxed);
}

const char *idle_broken_rule(void)
{
    for (unsigned i = 0; i < IDLE_SLOTS; i++) {
        // acquire: pairs with idle_try_put
        const struct local_heap *main = atomic_load_explicit(&idle_slots[i], memory_order_acquire);
        if (main == NULL) continue;
        for (unsigned other = 0; other < i; other++) {
            if (atomic_load_explicit(&idle_slots[other], memory_order_relaxed) == main)
                return "I1: an idle heap is in two slots";
        }
        if (atomic_load_explicit(&main->is_used, memory_order_relaxed) != 0)
            return "I1: some thread uses an idle heap";
        if (main->next_of_thread != NULL || main->ring.bytes != 0)
            return "I2: an idle heap has a ring or parts";
        for (size_t size_class = 0; size_class < CLASS_SHARED_FIRST; size_class++) {
            if (main->own[size_class].queue != NULL) return "I2: an idle heap has queued pages";
        }
        const char *broken = local_heap_broken_rule(main);
        if (broken != NULL) return broken;
    }
    return NULL;
}
