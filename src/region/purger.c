#include "region/purger.h"
#include <errno.h>
#include "core/alone.h"
#include "core/helper.h"
#include "core/options.h"
#include "core/stats.h"
#include "os/fork.h"
#include "os/os.h"

// values of option background_purge
enum { PURGER_NEVER, PURGER_WITH_THREADS, PURGER_ALWAYS };

// alive while somebody is about to start one; no helper has the number of the system's first thread
enum { PURGER_STARTING = 1 };

// How often one that waits for the end of the helper looks up.
enum { PURGER_LOOK_MS = 10 };

// The first OS page of a helper's memory. The child of a fork, where there is none, sees all of it
// wiped: so there these words say what is true there.
struct purger {
    ATOMIC(uint32_t) alive;    // 0: this memory is nobody's; the OS clears it
    ATOMIC(uint32_t) is_asked; // 1: it is to end
    ATOMIC(uint32_t) is_old;   // 1: whoever comes by replaces it (B1)
    ATOMIC(uint32_t) is_draining; // 1: it is making a step (B5)
};

enum { PURGER_PLACES = 2 }; // for one, and the one that replaces it

static ATOMIC(char *) purger_places; // memory for them, one after another
static ATOMIC(bool) purger_is_refused;   // for good
static ATOMIC(purger_drain *) purger_drainer; // set before there is a helper
// see purger_expect; what was drained is taken away. relaxed, all three: about right only
static ATOMIC(size_t) purger_expected;
static ATOMIC(size_t) purger_seen;      // what that was in the last round of a helper
static ATOMIC(uint64_t) purger_loud_ms; // when a round found last that much had been added
static const size_t purger_min_bytes = (size_t)PURGER_MIN_SLICES << SLICE_SHIFT;
static ATOMIC(uint64_t) purger_retry_ms; // before that it is of no use to try; 0: it may be

// --- what the helper does ------------------------------------------------------------------------

static size_t purger_place_bytes(void) { return os_page_bytes() + PRIM_HELPER_BYTES; }

// NULL when there is no place, and so never was a helper.
static struct purger *purger_at(unsigned index)
{
    // acquire: pairs with the release in purger_make
    char *places = atomic_load_explicit(&purger_places, memory_order_acquire);
    if (places == NULL || index >= PURGER_PLACES) return NULL;
    return (struct purger *)(void *)(places + index * purger_place_bytes());
}

// 0 when there is none.
static uint32_t purger_alive(const struct purger *purger)
{
    // relaxed: whoever needs an order has a fence, or takes the memory by compare-exchange
    return atomic_load_explicit(&purger->alive, memory_order_relaxed);
}

static bool purger_may_run(void)
{
    long wanted = options_get(OPTION_background_purge);
    if (wanted == PURGER_NEVER || options_get(OPTION_purge_delay) < 0) return false;
    return wanted >= PURGER_ALWAYS || stats_current(STAT_threads) > 1;
}

static bool purger_is_asked(const struct purger *purger)
{
    // relaxed: a wish
    return atomic_load_explicit(&purger->is_asked, memory_order_relaxed) != 0;
}

// Until the next round; false when there is none. A long delay may become a short one meanwhile.
static bool purger_wait(struct purger *purger)
{
    enum { LEAST_MS = 10, MOST_MS = 1000 };
    uint64_t waited_ms = 0;
    do {
        long wanted_ms = options_get(OPTION_purge_delay);
        uint64_t delay_ms = wanted_ms < LEAST_MS ? LEAST_MS : (uint64_t)wanted_ms;
        if (waited_ms >= delay_ms) return true;
        uint64_t left_ms = delay_ms - waited_ms, wait_ms = left_ms < MOST_MS ? left_ms : MOST_MS;
        prim_wait(&purger->is_asked, 0, (uint32_t)wait_ms);
        waited_ms += wait_ms; // about so; there may be no clock
    } while (!purger_is_asked(purger) && purger_may_run());
    return false;
}

// true when something was done, or can be in the next round.
static bool purger_round(const struct purger *purger)
{
    bool has_work = false, is_complete = false;
    for (bool is_first = true; !is_complete && !purger_is_asked(purger); is_first = false) {
        if (purge_step_now(is_first, &is_complete)) has_work = true;
    }
    return has_work;
}

// false: there is none of that number.
static bool purger_make_step(struct purger *purger, size_t step)
{
    purger_drain *drain = atomic_load_explicit(&purger_drainer, memory_order_relaxed);
    atomic_store_explicit(&purger->is_draining, 1, memory_order_relaxed);
    // release: pairs with the fence in purger_wait_for_steps, so that who finds something taken by
    // this step sees that it is being made
    atomic_thread_fence(memory_order_release);
    bool is_made = drain != NULL && drain(step);
    // release: pairs with the load there, so that who has waited sees what the step did
    atomic_store_explicit(&purger->is_draining, 0, memory_order_release);
    return is_made;
}

static void purger_drain_all(struct purger *purger)
{
    size_t step = 0;
    size_t expected = atomic_exchange_explicit(&purger_expected, 0, memory_order_relaxed);
    while (!purger_is_asked(purger) && purger_make_step(purger, step)) step++;
    if (purger_is_asked(purger)) // not all of it
        atomic_fetch_add_explicit(&purger_expected, expected, memory_order_relaxed);
}

static void purger_see(void)
{
    size_t expected = atomic_load_explicit(&purger_expected, memory_order_relaxed);
    atomic_store_explicit(&purger_seen, expected, memory_order_relaxed);
}

// How long ago a round found that much had been added.
static uint64_t purger_quiet_ms(size_t expected, uint64_t now_ms)
{
    size_t added = expected - atomic_load_explicit(&purger_seen, memory_order_relaxed);
    if (added >= PURGER_LITTLE_BYTES)
        atomic_store_explicit(&purger_loud_ms, now_ms, memory_order_relaxed);
    return now_ms - atomic_load_explicit(&purger_loud_ms, memory_order_relaxed);
}

// true when something was done, or can be later.
static bool purger_drain_if_quiet(struct purger *purger, uint64_t now_ms)
{
    size_t expected = atomic_load_explicit(&purger_expected, memory_order_relaxed);
    uint64_t quiet_ms = purger_quiet_ms(expected, now_ms);
    if (quiet_ms >= PURGER_QUIET_MS && expected >= PURGER_LITTLE_BYTES) purger_drain_all(purger);
    purger_see();
    return expected >= PURGER_LITTLE_BYTES;
}

static bool purger_is_worthwhile(void)
{
    // relaxed: about right only
    size_t slices = atomic_load_explicit(&arena_main.dirty_free, memory_order_relaxed);
    size_t expected = atomic_load_explicit(&purger_expected, memory_order_relaxed);
    return slices >= PURGER_MIN_SLICES || expected >= purger_min_bytes;
}

static void purger_pause(uint64_t now_ms, uint64_t pause_ms)
{
    atomic_store_explicit(&purger_retry_ms, now_ms + pause_ms, memory_order_relaxed);
}

// It has no thread-locals and no part of the C library that needs a thread.
static cold void purger_run(void *place)
{
    struct purger *purger = (struct purger *)place;
    uint64_t now_ms = prim_helper_clock_ms(), old_ms = now_ms + PURGER_LIFE_MS;
    unsigned idle = 0;
    helper_set_memory(purger_at(0), PURGER_PLACES * purger_place_bytes());
    for (unsigned round = 1; idle < PURGER_IDLE_ROUNDS && purger_wait(purger); round++) {
        now_ms = prim_helper_clock_ms();
        bool has_work = purger_round(purger);
        if (purger_drain_if_quiet(purger, now_ms)) has_work = true;
        idle = has_work ? 0 : idle + 1;
        if (round < PURGER_ROUNDS && now_ms < old_ms) continue;
        if (!purger_is_worthwhile()) return;
        // relaxed: a wish
        atomic_store_explicit(&purger->is_old, 1, memory_order_relaxed);
    }
    // what is left is dirty for good, as large OS pages are
    bool has_looked = idle == PURGER_IDLE_ROUNDS;
    if (has_looked && purger_is_worthwhile()) purger_pause(now_ms, PURGER_VAIN_MS);
}

// --- its start -----------------------------------------------------------------------------------

// 0, or an error when the OS gives no memory, or none that is wiped on fork.
static int purger_make(void)
{
    if (purger_at(0) != NULL) return 0;
    size_t bytes = PURGER_PLACES * purger_place_bytes();
    char *none = NULL;
    void *made;
    int error = os_map_wiped(bytes, &made);
    if (error != 0) return error;
    // release: pairs with the acquire in purger_at
    if (!atomic_compare_exchange_strong_explicit(&purger_places, &none, (char *)made,
                                                 memory_order_release, memory_order_relaxed))
        os_release(made, bytes);
    return 0;
}

// Where the next one may start; NULL when there is one that is not old, or still one that was.
static struct purger *purger_find_place(void)
{
    struct purger *purger, *place = NULL;
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) {
        if (purger_alive(purger) == 0) place = purger;
        else if (atomic_load_explicit(&purger->is_old, memory_order_relaxed) == 0) return NULL;
    }
    return place;
}

// EAGAIN and ENOMEM pass: a limit on threads, or this thread is the wrong one. What else there is
// does not.
static void purger_note(int error)
{
    if (error == 0) return;
    if (error == EAGAIN || error == ENOMEM) purger_pause(prim_clock_ms(), PURGER_PAUSE_MS);
    else atomic_store_explicit(&purger_is_refused, true, memory_order_relaxed);
}

static bool purger_may_try(void)
{
    if (!purger_may_run() || fork_is_fresh()) return false; // B4
    if (atomic_load_explicit(&purger_is_refused, memory_order_relaxed)) return false;
    uint64_t retry_ms = atomic_load_explicit(&purger_retry_ms, memory_order_relaxed);
    return retry_ms == 0 || prim_clock_ms() >= retry_ms;
}

// Whether one that inherits from this thread would do (B3).
static int purger_judge_caller(void)
{
    unsigned caller = prim_caller();
    bool is_wanted_by_root = options_get(OPTION_background_purge) >= PURGER_ALWAYS;
    if ((caller & PRIM_CALLER_ELEVATED) != 0) return EPERM;
    if ((caller & (PRIM_CALLER_MIXED | PRIM_CALLER_SCHEDULED)) != 0) return EAGAIN;
    if ((caller & PRIM_CALLER_ROOT) != 0 && !is_wanted_by_root) return EAGAIN;
    return 0;
}

// Nothing happens when somebody else has come first.
static int purger_try_start(struct purger *purger)
{
    uint32_t none = 0;
    // seq_cst: pairs with those in purger_end, so that either this is seen there, or the end here
    if (!atomic_compare_exchange_strong_explicit(&purger->alive, &none, PURGER_STARTING,
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        return 0;
    }
    atomic_store_explicit(&purger->is_asked, 0, memory_order_relaxed);
    atomic_store_explicit(&purger->is_old, 0, memory_order_relaxed);
    bool is_refused = atomic_load_explicit(&purger_is_refused, memory_order_seq_cst);
    void *memory = (char *)purger + os_page_bytes();
    alone_end();
    int error = is_refused ? EPERM : prim_helper_start(purger_run, purger, memory, &purger->alive);
    // release: pairs with the next one's compare-exchange
    if (error != 0) atomic_store_explicit(&purger->alive, 0, memory_order_release);
    return error;
}

// The steps of a start: 0, or what is in the way.
static int purger_launch(void)
{
    int error = purger_judge_caller();
    // else a child might wait for ever for the purging of a helper that it does not have
    if (error == 0) error = fork_watch();
    if (error == 0) error = purger_make();
    if (error != 0) return error;
    struct purger *place = purger_find_place();
    return place == NULL ? 0 : purger_try_start(place);
}

// --- its end -------------------------------------------------------------------------------------

static void purger_ask(struct purger *purger)
{
    atomic_store_explicit(&purger->is_asked, 1, memory_order_relaxed);
    prim_wake(&purger->is_asked);
}

// Once there is one that does its work.
static void purger_ask_old(void)
{
    struct purger *purger;
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) {
        if (atomic_load_explicit(&purger->is_old, memory_order_relaxed) != 0) purger_ask(purger);
    }
}

static void purger_stop(struct purger *purger)
{
    uint32_t alive = purger_alive(purger);
    if (alive == 0) return;
    // Another thread may come meanwhile and start the next one: then there is no need to wait.
    for (int waited_ms = 0; waited_ms < PURGER_PATIENCE_MS && purger_alive(purger) == alive;
         waited_ms += PURGER_LOOK_MS) {
        purger_ask(purger);
        prim_wait(&purger->alive, alive, PURGER_LOOK_MS);
    }
}

void purger_review(void)
{
    struct purger *purger;
    // seq_cst: pairs with that in purger_start. Either the helper is seen here, by a thread that
    // has counted itself out, or it is seen there that this one is gone (B2).
    atomic_thread_fence(memory_order_seq_cst);
    if (purger_at(0) == NULL || purger_may_run()) return;
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) purger_stop(purger);
}

// What may follow is that the helper's code is unmapped, so here patience does not end. Instead it
// gets what this thread runs with, which sleeps; so it runs as soon as this one would.
static void purger_wait_for_end(struct purger *purger)
{
    uint32_t alive;
    for (int waited_ms = 0; (alive = purger_alive(purger)) != 0; waited_ms += PURGER_LOOK_MS) {
        bool is_late = waited_ms >= PURGER_PATIENCE_MS;
        // a signal has led this thread here out of a start, and there is nobody to wait for
        if (is_late && alive == PURGER_STARTING) return;
        if (is_late) prim_helper_hurry(alive);
        purger_ask(purger); // each time: a late start forgets it
        prim_wait(&purger->alive, alive, PURGER_LOOK_MS);
    }
}

void purger_end(void)
{
    struct purger *purger;
    // seq_cst: pairs with the compare-exchange in purger_try_start
    atomic_store_explicit(&purger_is_refused, true, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) purger_wait_for_end(purger);
}

// --- on slow paths -------------------------------------------------------------------------------

void purger_set_drain(purger_drain *drain)
{
    atomic_store_explicit(&purger_drainer, drain, memory_order_relaxed);
}

void purger_expect(size_t bytes)
{
    if (options_get(OPTION_background_purge) == PURGER_NEVER || helper_is_here()) return;
    size_t before = atomic_fetch_add_explicit(&purger_expected, bytes, memory_order_relaxed);
    if (before + bytes >= purger_min_bytes) purger_start();
}

static void purger_wait_for_step(struct purger *purger)
{
    // acquire: pairs with the release at its end
    for (int waited_ms = 0; waited_ms < PURGER_PATIENCE_MS &&
         atomic_load_explicit(&purger->is_draining, memory_order_acquire) != 0; waited_ms++)
        prim_wait(&purger->is_draining, 1, 1);
}

void purger_wait_for_steps(void)
{
    struct purger *purger;
    atomic_thread_fence(memory_order_acquire); // pairs with the release in purger_make_step
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) purger_wait_for_step(purger);
}

cold void purger_start(void)
{
    if (helper_is_here()) return;
    if (purger_at(0) != NULL && purger_find_place() == NULL) return;
    if (!purger_may_try()) return;
    int error = purger_launch();
    purger_note(error);
    if (error == 0) purger_ask_old();
    atomic_thread_fence(memory_order_seq_cst); // pairs with that in purger_review
    if (!purger_may_run()) purger_review();
}

void purger_tick(void)
{
    struct purger *purger;
    limit_tick();
    purge_if_wanted(0);
    for (unsigned i = 0; (purger = purger_at(i)) != NULL; i++) {
        if (purger_alive(purger) != 0) return;
    }
    purge_tick();
}
