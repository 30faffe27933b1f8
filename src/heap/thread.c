#include "heap/thread.h"
#include <errno.h>
#include "core/alone.h"
#include "core/hooks.h"
#include "core/options.h"
#include "core/random.h"
#include "core/report.h"
#include "core/stats.h"
#include "heap/cache.h"
#include "heap/ring.h"
#include "os/fork.h"
#include "os/os.h"
#include "page/depot.h"
#include "page/retire.h"
#include "region/purger.h"

DEFINE_DATA_SET(const struct local_heap thread_empty_heap, {{0}})
DEFINE_DATA_SET(const struct local_heap thread_ended_heap, {{0}})
DEFINE_DATA_SET(THREAD_LOCAL struct local_heap *thread_heap_slot,
                (struct local_heap *)&thread_empty_heap)

static void thread_exit(void *value);

// --- the process ---------------------------------------------------------------------------------

// While a thread starts the process: the address of its errno, which names it.
enum { PROCESS_NEW, PROCESS_READY };
static ATOMIC(uintptr_t) thread_process_state;

static bool thread_has_heap, thread_has_callback;

static struct stats_tally *thread_find_tally(void)
{
    struct local_heap *main = thread_heap_slot->main; // NULL before the thread's start and after
    return main != NULL ? &main->tally : NULL;
}

// See purger_set_drain. By the helper, which has no thread-locals.
static bool thread_drain(size_t step)
{
    if (step < IDLE_SLOTS) {
        ignore_result(idle_end_one());
        return true;
    }
    step -= IDLE_SLOTS;
    if (step >= DEPOT_CLASSES) return retire_give_back_holes_of(step - DEPOT_CLASSES);
    depot_drain_class((unsigned)step);
    return true;
}

static void thread_prepare_process(void)
{
    stats_set_tally_finder(thread_find_tally);
    purger_set_drain(thread_drain);
    os_init();
    thread_has_heap = arena_init();
    thread_has_callback = prim_thread_exit_init(thread_exit) == 0;
}

// What may print, and so may call an output hook that allocates: after the start.
static void thread_report_start(void)
{
    options_init();
    if (!thread_has_heap) report_warning("no address space for a heap", NULL);
    if (!thread_has_callback) {
        report_warning("no thread exit callback: threads that end leave their pages behind", NULL);
    }
}

cold bool thread_start_process(void)
{
    uintptr_t state = PROCESS_NEW, self = (uintptr_t)&errno;
    // acquire: pairs with the release below, so that everybody sees what was started
    if (atomic_load_explicit(&thread_process_state, memory_order_acquire) == PROCESS_READY)
        return true;
    if (!atomic_compare_exchange_strong_explicit(&thread_process_state, &state, self,
                                                 memory_order_acquire, memory_order_acquire)) {
        if (state == self) return false;
        while (atomic_load_explicit(&thread_process_state, memory_order_acquire) != PROCESS_READY)
            prim_yield();
        return true;
    }
    thread_prepare_process();
    atomic_store_explicit(&thread_process_state, PROCESS_READY, memory_order_release);
    thread_report_start();
    return true;
}

static void thread_mark_vanished(struct local_heap *main, void *arg)
{
    if (main == (struct local_heap *)arg) return;
    atomic_store_explicit(&main->is_used, 2, memory_order_relaxed);
}

// In the child of a fork, where all other threads are gone, before any thread counts itself in.
// Their local heaps are never used again; what is in them can be freed but not handed out. `main`
// is NULL for a thread that has none yet: then the one that forked finds itself marked.
static no_inline void thread_in_child(struct local_heap *main)
{
    purge_after_fork();
    thread_visit_all(thread_mark_vanished, main);
    idle_count_anew();
    hooks_in_child();
    report_in_child();
    // those too that were just counting themselves in or out
    stats_remove(STAT_threads, stats_current(STAT_threads) - (main != NULL));
    if (CFG_SECURE && main != NULL) random_init(&main->random);
    stats_count(COUNT_fork_children, 1);
    fork_settle();
}

void thread_come_by(void)
{
    if (stats_current(STAT_threads) != 0) alone_end();
}

static no_inline void thread_survive(struct local_heap *main)
{
    atomic_store_explicit(&main->is_used, 1, memory_order_relaxed);
    if (CFG_SECURE) random_init(&main->random);
    thread_come_by();
    stats_add(STAT_threads, 1);
}

void thread_mind_fork(struct local_heap *main)
{
    if (unlikely(fork_take())) thread_in_child(main);
    if (unlikely(atomic_load_explicit(&main->is_used, memory_order_relaxed) == 2)) {
        thread_survive(main);
    }
}

void thread_end_process(void) { prim_thread_exit_done(); }

// --- threads -------------------------------------------------------------------------------------

// A local heap that was idle has those of its last thread.
static void thread_begin_counts(struct local_heap *main)
{
    main->heartbeat = main->ring.chains = main->ring.chain_blocks = 0;
    main->claims = main->free_turns = 0;
    main->chosen = NULL;
    main->kept = 0;
    main->is_in_hook = HOOKS_OUTSIDE;
}

// A transient one is to come by each slow path, so it has nothing on its lists.
static struct local_heap *thread_new_main(bool is_transient)
{
    if (unlikely(fork_take())) thread_in_child(NULL);
    struct local_heap *main = is_transient ? NULL : idle_take();
    if (main == NULL) main = heap_take_main();
    if (main == NULL) return NULL;
    thread_begin_counts(main);
    main->main = main->near = main;
    atomic_store_explicit(&main->heap, &main->backing, memory_order_relaxed);
    main->cache.beats = CACHE_BEATS;
    main->backing.local = main;
    main->backing.state = HEAP_BACKING;
    atomic_store_explicit(&main->collect_asked, 0, memory_order_relaxed);
    if (CFG_SECURE) random_init(&main->random);
    stats_add(STAT_threads, 1);
    // release: pairs with the acquire in thread_visit_all
    atomic_store_explicit(&main->is_used, 1, memory_order_release);
    bool is_second = stats_current(STAT_threads) > 1;
    if (is_second) alone_end();
    // Without it a child is none the worse but for its statistics, in a secure build its random
    // numbers, and purging when a thread that vanished was at it.
    if (!fork_is_watched() && (CFG_SECURE || is_second)) ignore_result(fork_watch());
    return main;
}

// The thread has no local heap any more.
static void thread_count_out(struct local_heap *main)
{
    stats_add_tally(&main->tally); // S3
    stats_count(COUNT_slow_paths, main->heartbeat);
    stats_count(COUNT_remote_chains, main->ring.chains);
    stats_count(COUNT_remote_blocks, main->ring.chain_blocks);
    atomic_store_explicit(&main->is_used, 0, memory_order_release);
    stats_remove(STAT_threads, 1);
    atomic_store_explicit(&main->heap, NULL, memory_order_release);
}

static void thread_leave(struct local_heap *main, void (*leave_to_others)(struct local_heap *main))
{
    thread_mind_fork(main); // else it might be counted out twice
    ring_flush(&main->ring);
    heap_leave_all(main);
    thread_count_out(main);
    leave_to_others(main);
    purger_review();
}

// The heap of the part has ended: by another thread, which knows nothing of our default heap, or by
// this one, in a hook. Returns what is the default one then.
static cold struct local_heap *thread_leave_ended(struct local_heap *part)
{
    struct local_heap *now = thread_heap_slot;
    if (thread_is_ready(now) && local_heap_handle_of(now) == NULL)
        now = thread_heap_slot = now->main;
    return thread_is_ready(now) ? now : part->main; // which this thread has borrowed
}

struct local_heap *thread_ready(struct local_heap *heap)
{
    if (likely(thread_is_ready(heap)))
        return likely(local_heap_handle_of(heap) != NULL) ? heap : thread_leave_ended(heap);
    if (!thread_start_process()) return NULL;
    bool is_transient = heap == &thread_ended_heap;
    // started by thread_start_process's own calls
    if (!is_transient && thread_is_ready(thread_heap_slot)) return thread_heap_slot;

    struct local_heap *main = thread_new_main(is_transient);
    if (main == NULL) return NULL;
    main->is_transient = is_transient;
    if (is_transient) main->is_in_hook = HOOKS_NEVER;
    if (is_transient) return main;
    if (unlikely(thread_is_ready(thread_heap_slot))) { // started by an mmap that allocates
        thread_leave(main, idle_end);
        return thread_heap_slot;
    }
    thread_heap_slot = main; // before the next call, which may allocate
    if (prim_thread_exit_arm(main) != 0)
        report_warning("a thread will leave its pages behind", NULL);
    return main;
}

// The first few get none, for they may be the last: the C library frees when a thread is past all
// callbacks (glibc does, what belongs to stacks of threads that were detached), and nobody would
// end a heap that begins there. They are counted in what the callback gets.
cold struct local_heap *thread_begin_to_free(const struct local_heap *heap)
{
    thread_come_by();
    if (heap == &thread_ended_heap) return NULL;
    uintptr_t frees = (uintptr_t)prim_thread_exit_value() + 1; // or it has had a heap
    if (frees <= THREAD_FEW_FREES && prim_thread_exit_arm((void *)frees) == 0) return NULL;
    const struct local_heap *now = thread_ready((struct local_heap *)&thread_empty_heap);
    return now == NULL ? NULL : now->main;
}

void thread_finish(struct local_heap *heap)
{
    if (unlikely(heap->main->is_transient)) thread_leave(heap->main, idle_end);
}

static void thread_exit(void *value)
{
    (void)value; // a heap, which thread_done may have ended, or a number of frees
    struct local_heap *now = thread_heap_slot;
    hooks_end_thread();
    thread_heap_slot = (struct local_heap *)&thread_ended_heap;
    if (thread_is_ready(now)) thread_leave(now->main, idle_put);
}

void thread_done(void)
{
    struct local_heap *heap = thread_heap_slot;
    // the caller of a hook goes on with it
    if (!thread_is_ready(heap) || hooks_is_inside(heap->main->is_in_hook)) return;
    thread_heap_slot = (struct local_heap *)&thread_empty_heap;
    thread_leave(heap->main, idle_end); // it was asked for
}

void thread_set_default(struct local_heap *heap) { thread_heap_slot = heap->main->chosen = heap; }

struct thread_visit {
    void (*visit)(struct local_heap *main, void *arg);
    void *arg;
};

static void thread_visit_used(struct local_heap *main, void *arg)
{
    const struct thread_visit *each = (const struct thread_visit *)arg;
    // acquire: pairs with the release in thread_new_main
    if (atomic_load_explicit(&main->is_used, memory_order_acquire) == 1)
        each->visit(main, each->arg);
}

void thread_visit_all(void (*visit)(struct local_heap *main, void *arg), void *arg)
{
    struct thread_visit each = {visit, arg};
    heap_visit_all_mains(thread_visit_used, &each);
}

// --- on slow paths -------------------------------------------------------------------------------

static void thread_ask_to_collect(struct local_heap *main, void *arg)
{
    uint32_t wish = *(const uint32_t *)arg;
    // relaxed: a wish; the other thread sees it at some later slow path
    if (main != thread_heap_slot->main)
        atomic_store_explicit(&main->collect_asked, wish, memory_order_relaxed);
}

// Not the thread's parts of other heaps: another one may be ending one of those just now.
static void thread_collect_own(struct local_heap *main, bool is_forced)
{
    ring_flush(&main->ring);
    local_heap_collect(main, is_forced);
    check_rules(local_heap_broken_rule(main));
}

void thread_collect(struct local_heap *heap, bool is_forced)
{
    if (heap != NULL && thread_is_ready(heap)) {
        struct local_heap *main = heap->main;
        thread_mind_fork(main);
        hooks_deferred_free(&main->is_in_hook, is_forced, main->heartbeat);
        if (local_heap_handle_of(heap) == NULL) heap = main; // the hook has ended it
        thread_collect_own(main, is_forced);
        if (heap != main) local_heap_collect(heap, is_forced);
        check_rules(local_heap_broken_rule(heap));
        if (is_forced) heap_visit_all_parts(heap_collect_left, main);
    } else {
        thread_come_by();
    }
    uint32_t wish = is_forced ? 2 : 1;
    if (is_forced) thread_visit_all(thread_ask_to_collect, &wish);
    if (is_forced) idle_end_all();
    if (is_forced) depot_drain();
    if (is_forced) (void)purge_all();
    else purger_tick();
    report_if_left();
}

// What may run a hook. Returns what thread_ready does then.
static struct local_heap *thread_run_hooks(struct local_heap *heap)
{
    struct local_heap *main = heap->main;
    hooks_deferred_free(&main->is_in_hook, false, main->heartbeat);
    report_if_left();
    report_if_text_waits();
    return thread_ready(heap);
}

// By threads that have not called us yet, too. Where it cannot be done it is tried no more.
static cold void thread_watch_forks(void)
{
    static ATOMIC(bool) is_refused; // relaxed: no data hangs on it
    if (prim_is_single_threaded()) return;
    if (atomic_load_explicit(&is_refused, memory_order_relaxed)) return;
    if (fork_watch() != 0) atomic_store_explicit(&is_refused, true, memory_order_relaxed);
}

struct local_heap *thread_housekeep(struct local_heap *heap)
{
    thread_mind_fork(heap->main);
    heap->main->heartbeat++;
    heap->main->claims = 0;
    if (unlikely(heap->main->kept != 0)) heap_drop_kept(heap->main, heap);
    if (heap->cache.beats == 0) heap->cache.beats = CACHE_BEATS;
    heap = thread_run_hooks(heap);
    if (heap == NULL) return NULL;
    struct local_heap *main = heap->main;
    ring_flush(&main->ring);
    uint32_t asked = atomic_load_explicit(&main->collect_asked, memory_order_relaxed);
    if (unlikely(asked != 0)) {
        atomic_store_explicit(&main->collect_asked, 0, memory_order_relaxed);
        thread_collect_own(main, asked > 1);
    }
    if (!purge_has_turn(main->heartbeat) && !depot_review_goes_on()) return heap;
    if (unlikely(!fork_is_watched())) thread_watch_forks();
    uint64_t now_ms = prim_clock_ms();
    cache_review(&main->cache, main->list, now_ms);
    idle_review(now_ms);
    purger_tick();
    return heap;
}

struct block *thread_load(struct local_heap *heap, size_t size_class)
{
    struct local_heap *main = heap->main;
    if (local_heap_handle_of(heap) == NULL) return NULL; // an error handler has just ended it
    ring_flush(&main->ring); // what it has freed may be of a page that becomes this heap's (H4)
    main->makes_pages = !idle_has_any();
    struct block *block = local_heap_load(heap, size_class);
    if (block != NULL || main->makes_pages) return block;
    ignore_result(idle_end_one());
    main->makes_pages = true;
    return local_heap_load(heap, size_class);
}
