#include "heap/heap.h"
#include "core/hooks.h"
#include "core/stats.h"
#include "os/os.h"
#include "region/pool.h"

enum { HEAP_HANDLE_BYTES = 64 };
static_assert(sizeof(struct mi_heap_s) <= HEAP_HANDLE_BYTES, "a handle fits its pool's items");

static struct pool heap_mains = {(LOCAL_HEAP_MAIN_BYTES + 63) / 64 * 64};
static struct pool heap_parts = {sizeof(struct local_heap)};
static struct pool heap_handles = {HEAP_HANDLE_BYTES};

// --- parts ---------------------------------------------------------------------------------------

static struct local_heap *heap_take_item(struct pool *pool)
{
    enum { OWN = offsetof(struct local_heap, own) };
    bool is_new;
    struct local_heap *item = (struct local_heap *)pool_take(pool, &is_new);
    // Where programs have addresses of the upper half, this one is lost: see page_sink
    if (((uintptr_t)item & PAGE_OWNER_ANYONE) != 0) return NULL;
    if (item == NULL || is_new) return item;
    // not what others may be looking at (free_own_part, thread_visit_all)
    memset((void *)item, 0, offsetof(struct local_heap, thread));
    memset((char *)item + OWN, 0, pool->item_bytes - OWN);
    return item;
}

static void heap_visit_pool(const struct pool *pool,
                            void (*visit)(struct local_heap *item, void *arg), void *arg)
{
    uint32_t count = pool_used(pool);
    for (uint32_t i = 0; i < count; i++) {
        struct local_heap *item = (struct local_heap *)pool_at(pool, i);
        if (item != NULL) visit(item, arg);
    }
}

struct local_heap *heap_take_main(void) { return heap_take_item(&heap_mains); }
void heap_put_main(struct local_heap *main) { pool_put(&heap_mains, main); }

void heap_visit_all_mains(void (*visit)(struct local_heap *main, void *arg), void *arg)
{
    heap_visit_pool(&heap_mains, visit, arg);
}

void heap_visit_all_parts(void (*visit)(struct local_heap *part, void *arg), void *arg)
{
    heap_visit_pool(&heap_parts, visit, arg);
}

// What `is_used` says of a part; 0: its thread and its heap are there. See F3.
enum {
    PART_THREAD_IS_GONE  = 4,
    PART_HEAP_IS_GONE    = 8,
    PART_IS_HELD         = 16, // some thread looks into a part whose thread is gone
    PART_IS_ENDING       = 32, // its heap ends: by now nobody else may begin to use it
    PART_IS_DESTROYED    = 64  // with that, and all that is in it
};

// A part ends when both its thread and its heap are gone. Whoever comes second is told so.
static bool heap_part_loses(struct local_heap *part, uint32_t what)
{
    uint32_t both = PART_THREAD_IS_GONE | PART_HEAP_IS_GONE;
    // acq_rel: the second sees what the first did to the part
    uint32_t before = atomic_fetch_or_explicit(&part->is_used, what, memory_order_acq_rel);
    return ((before | what) & both) == both;
}

// Of a part that its thread has left, to a thread that takes it over, 0, or holds it. false: the
// thread is still there, or somebody else was faster.
static bool heap_part_changes(struct local_heap *part, uint32_t to)
{
    uint32_t left = PART_THREAD_IS_GONE;
    // acquire: pairs with the release of whoever left it so
    return atomic_load_explicit(&part->is_used, memory_order_relaxed) == left &&
           atomic_compare_exchange_strong_explicit(&part->is_used, &left, to, memory_order_acquire,
                                                   memory_order_relaxed);
}

// Inside a hook, whose caller may be at any of the thread's parts: those whose heaps end are still
// to be told from others when it returns.
static bool heap_is_in_hook(const struct local_heap *main)
{
    return hooks_is_inside(main->is_in_hook);
}

// acquire: pairs with the release in heap_part_loses
static bool heap_is_spare(const struct local_heap *part, const struct local_heap *main)
{
    uint32_t used = atomic_load_explicit(&part->is_used, memory_order_acquire);
    return (used & PART_HEAP_IS_GONE) != 0 && part != main->chosen;
}

// One of the thread's parts whose heap is gone, to be used again, if it is not the default one. A
// few are looked at, going round: so each is, now and then, and a thread with many heaps makes
// another one as fast.
static struct local_heap *heap_find_spare(struct local_heap *main)
{
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++) {
        struct local_heap *part = main->next_spare;
        if (part == NULL) part = main->next_of_thread;
        if (part == NULL) return NULL;
        main->next_spare = part->next_of_thread;
        if (heap_is_spare(part, main)) return heap_is_in_hook(main) ? NULL : part;
    }
    return NULL;
}

// First where it most often is, then on the list that is shorter. The heap is valid.
static struct local_heap *heap_find_part(const struct mi_heap_s *heap, struct local_heap *main)
{
    if (local_heap_thread_of(heap->local) == main) return heap->local;
    struct local_heap *of_thread = main->next_of_thread;
    // acquire: pairs with the release in heap_local
    struct local_heap *of_heap = atomic_load_explicit(&heap->others, memory_order_acquire);
    while (of_thread != NULL && of_heap != NULL) {
        if (local_heap_handle_of(of_thread) == heap) return of_thread;
        if (local_heap_thread_of(of_heap) == main) return of_heap;
        of_thread = of_thread->next_of_thread;
        of_heap = of_heap->next_of_heap;
    }
    return NULL;
}

// NULL: nobody's. relaxed: who finds its own main there stored it itself, and nobody else can: a
// main local heap changes hands through its pool, after this.
static void heap_give_part(struct local_heap *part, struct local_heap *main)
{
    part->main = main;
    atomic_store_explicit(&part->thread, main, memory_order_relaxed);
}

// To the thread, and on its list.
static void heap_link_part(struct local_heap *part, struct local_heap *main)
{
    struct local_heap *next = main->next_of_thread;
    part->next_of_thread = next;
    part->prev_of_thread = main;
    if (next != NULL) next->prev_of_thread = part;
    main->next_of_thread = part;
    heap_give_part(part, main);
}

static void heap_unlink_part(struct local_heap *part, struct local_heap *main)
{
    struct local_heap *next = part->next_of_thread;
    part->prev_of_thread->next_of_thread = next;
    if (next != NULL) next->prev_of_thread = part->prev_of_thread;
    if (main->next_spare == part) main->next_spare = next;
    if (main->near == part) main->near = main;
    heap_give_part(part, NULL);
}

// One of the thread's parts whose heap is gone, or a new one, for `heap`.
static struct local_heap *heap_add_part(struct local_heap *main, struct mi_heap_s *heap)
{
    struct local_heap *part = heap_find_spare(main);
    if (part == NULL) {
        part = heap_take_item(&heap_parts);
        if (part == NULL) return NULL;
        heap_link_part(part, main);
    }
    part->is_pinned = true;
    part->ahead.claimed = 0;
    part->cache.beats = CACHE_BEATS;
    part->next_of_heap = NULL;
    atomic_store_explicit(&part->is_used, 0, memory_order_relaxed);
    atomic_store_explicit(&part->heap, heap, memory_order_relaxed);
    return part;
}

// Ends a part that owns nothing any more. Another thread's stays on that thread's list (F1), and
// this one's inside a hook.
static void heap_drop_part(struct local_heap *part, struct local_heap *main)
{
    bool is_own = local_heap_thread_of(part) == main;
    if (is_own && heap_is_in_hook(main)) {
        main->kept++;
        is_own = false;
    }
    if (is_own) heap_unlink_part(part, main);
    if (is_own || heap_part_loses(part, PART_HEAP_IS_GONE)) pool_put(&heap_parts, part);
}

void heap_drop_kept(struct local_heap *main, const struct local_heap *but)
{
    enum { SOME = 8 };
    if (heap_is_in_hook(main)) return;
    struct local_heap *part = main->next_of_thread, *next;
    for (unsigned looks = 2 * main->kept + SOME; part != NULL && looks > 0; looks--, part = next) {
        next = part->next_of_thread;
        if (part == but || !heap_is_spare(part, main)) continue;
        heap_unlink_part(part, main);
        pool_put(&heap_parts, part);
    }
    main->kept = 0; // what is further on is found by heap_find_spare
}

// What is in a part whose heap ends, and that nobody else can come to any more.
static void heap_empty_part(struct local_heap *part, struct local_heap *main, bool is_destroyed)
{
    if (is_destroyed) {
        local_heap_destroy_pages(part);
    } else {
        local_heap_move_pages(part, main);
        check_rules(local_heap_broken_rule(part));
        check_rules(local_heap_broken_rule(main));
    }
    heap_drop_part(part, main);
}

bool heap_hold_part(struct local_heap *part)
{
    return heap_part_changes(part, PART_THREAD_IS_GONE | PART_IS_HELD);
}

bool heap_wait_for_part(struct local_heap *part)
{
    enum { PATIENCE = 100 };
    for (int i = 0; i < PATIENCE; i++) {
        if (heap_hold_part(part)) return true;
        // relaxed: it is held, or was a moment ago, or there is nothing to wait for
        uint32_t used = atomic_load_explicit(&part->is_used, memory_order_relaxed);
        bool is_held = (used & (PART_IS_HELD | PART_IS_ENDING)) == PART_IS_HELD;
        if (!is_held && used != PART_THREAD_IS_GONE) return false;
        prim_yield();
    }
    return false;
}

void heap_let_go_part(struct local_heap *part, struct local_heap *main)
{
    // acq_rel: pairs with heap_part_changes, and with who ends the heap
    uint32_t used = atomic_fetch_and_explicit(&part->is_used, ~(uint32_t)PART_IS_HELD,
                                              memory_order_acq_rel);
    if ((used & PART_IS_ENDING) != 0)
        heap_empty_part(part, main, (used & PART_IS_DESTROYED) != 0);
}

// --- rules ---------------------------------------------------------------------------------------

// Only this thread makes a part its own, so that others do not disturb.
static const char *heap_broken_list(const struct local_heap *main)
{
    const struct local_heap *part = main->next_of_thread, *before = main;
    uint32_t most = pool_used(&heap_parts), listed = 0, own = 0;
    for (; part != NULL; before = part, part = part->next_of_thread, listed++) {
        if (listed == most || !pool_owns(&heap_parts, part) || part->prev_of_thread != before)
            return "F1: the list of a thread's parts is torn";
        if (part->main != main || local_heap_thread_of(part) != main)
            return "F1: a part is on another thread's list";
    }
    for (uint32_t i = 0; i < most; i++) {
        part = (const struct local_heap *)pool_at(&heap_parts, i);
        if (part != NULL && local_heap_thread_of(part) == main) own++;
    }
    return own == listed ? NULL : "F1: a part has left its thread's list";
}

static bool heap_has_part(const struct mi_heap_s *heap, const struct local_heap *part)
{
    return pool_owns(&heap_parts, part) && local_heap_handle_of(part) == heap && part->is_pinned;
}

const char *heap_broken_rule(const struct mi_heap_s *heap, const struct local_heap *main)
{
    const char *broken = heap_broken_list(main);
    if (heap == NULL || broken != NULL) return broken;
    if (heap->state != HEAP_MADE || !heap_has_part(heap, heap->local))
        return "F1: a heap has lost its part";
    bool is_left = local_heap_thread_of(heap->local) == NULL;
    // acquire: pairs with the release in heap_local
    const struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    if (is_left && part == NULL) return "F2: a heap lives on that no thread has";
    uint32_t most = pool_used(&heap_parts);
    for (uint32_t count = 0; part != NULL; part = part->next_of_heap, count++) {
        if (count == most || !heap_has_part(heap, part)) return "F1: a heap has lost a part";
    }
    return NULL;
}

// --- heaps ---------------------------------------------------------------------------------------

struct mi_heap_s *heap_new(struct local_heap *main)
{
    bool is_new;
    struct mi_heap_s *heap = (struct mi_heap_s *)pool_take(&heap_handles, &is_new);
    if (heap == NULL) return NULL;
    heap->local = heap_add_part(main, heap);
    if (heap->local == NULL) {
        pool_put(&heap_handles, heap);
        return NULL;
    }
    // release: pairs with the acquire in heap_is_alone
    atomic_store_explicit(&heap->others, NULL, memory_order_release);
    heap->state = HEAP_MADE;
    stats_add(STAT_heaps, 1);
    check_rules(heap_broken_rule(heap, main));
    return heap;
}

bool heap_is_valid(const struct mi_heap_s *heap, const struct local_heap *main)
{
    if (heap == &main->backing) return true;
    return heap != NULL && pool_owns(&heap_handles, heap) && heap->state == HEAP_MADE;
}

void heap_visit_parts(struct mi_heap_s *heap, void (*visit)(struct local_heap *part, void *arg),
                      void *arg)
{
    // acquire: pairs with the release in heap_local
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    while (part != NULL) {
        struct local_heap *next = part->next_of_heap; // before `visit`, which may end the part
        visit(part, arg);
        part = next;
    }
    if (heap->local != NULL) visit(heap->local, arg);
}

// A part that another thread left when it ended, with all that is in it.
static struct local_heap *heap_take_over(struct mi_heap_s *heap, struct local_heap *main)
{
    // acquire: pairs with the release in heap_local
    struct local_heap *part = atomic_load_explicit(&heap->others, memory_order_acquire);
    while (part != NULL && !heap_part_changes(part, 0)) part = part->next_of_heap;
    if (part == NULL && heap_part_changes(heap->local, 0)) part = heap->local;
    if (part != NULL) heap_link_part(part, main);
    return part;
}

struct local_heap *heap_own_part(struct mi_heap_s *heap, struct local_heap *main)
{
    return heap == &main->backing ? main : heap_find_part(heap, main);
}

struct local_heap *heap_local(struct mi_heap_s *heap, struct local_heap *main)
{
    struct local_heap *part = heap_own_part(heap, main);
    if (part == NULL) part = heap_take_over(heap, main);
    if (part != NULL) {
        main->near = part;
        return part;
    }
    part = heap_add_part(main, heap);
    if (part == NULL) return NULL;
    main->near = part;
    struct local_heap *others = atomic_load_explicit(&heap->others, memory_order_relaxed);
    do {
        part->next_of_heap = others;
        // release: pairs with the acquire in heap_visit_parts
    } while (!atomic_compare_exchange_weak_explicit(&heap->others, &others, part,
                                                    memory_order_release, memory_order_relaxed));
    check_rules(heap_broken_rule(heap, main));
    return part;
}

static void heap_end(struct mi_heap_s *heap)
{
    heap->state = HEAP_UNUSED;
    pool_put(&heap_handles, heap);
    stats_remove(STAT_heaps, 1);
}

// Of a thread that vanished in a fork, perhaps in the midst of a change to this part. (One that
// nobody knows to have survived counts as vanished.)
static bool heap_has_vanished(const struct local_heap *part)
{
    const struct local_heap *thread = local_heap_thread_of(part);
    return thread != NULL && atomic_load_explicit(&thread->is_used, memory_order_relaxed) == 2;
}

static void heap_end_part(struct local_heap *part, struct local_heap *main, uint32_t how)
{
    // first: its handle may be another heap's soon, and the part may be used again
    atomic_store_explicit(&part->heap, NULL, memory_order_relaxed);
    if (heap_has_vanished(part)) return; // what is in it is not used again
    // acq_rel: pairs with heap_let_go_part, and with the thread that has left it
    uint32_t used = atomic_fetch_or_explicit(&part->is_used, how, memory_order_acq_rel);
    if ((used & PART_IS_HELD) == 0) heap_empty_part(part, main, (how & PART_IS_DESTROYED) != 0);
}

static void heap_delete_part(struct local_heap *part, void *main)
{
    heap_end_part(part, (struct local_heap *)main, PART_IS_ENDING);
}

static void heap_destroy_part(struct local_heap *part, void *main)
{
    heap_end_part(part, (struct local_heap *)main, PART_IS_ENDING | PART_IS_DESTROYED);
}

void heap_delete(struct mi_heap_s *heap, struct local_heap *main)
{
    check_rules(heap_broken_rule(heap, main));
    heap_visit_parts(heap, heap_delete_part, main);
    heap_end(heap);
    check_rules(heap_broken_rule(NULL, main));
}

void heap_destroy(struct mi_heap_s *heap, struct local_heap *main)
{
    check_rules(heap_broken_rule(heap, main));
    heap_visit_parts(heap, heap_destroy_part, main);
    heap_end(heap);
    check_rules(heap_broken_rule(NULL, main));
}

void heap_collect_left(struct local_heap *part, void *main)
{
    if (!heap_hold_part(part)) return;
    local_heap_collect(part, true);
    check_rules(local_heap_broken_rule(part));
    heap_let_go_part(part, (struct local_heap *)main);
}

// F2: the heap lives on with this part and what is in it.
static void heap_leave_part(struct local_heap *part, struct local_heap *main)
{
    heap_unlink_part(part, main);
    if (heap_part_loses(part, PART_THREAD_IS_GONE)) {
        pool_put(&heap_parts, part);
    } else if (heap_hold_part(part)) {
        local_heap_leave_part(part);
        check_rules(local_heap_broken_rule(part));
        heap_let_go_part(part, main);
    }
}

// No other thread has a part in the heap that this one is of, and so this thread made it: what is
// in `others` stays there until the heap ends. If it has ended just now, and its handle is another
// one's by now, the part has lost its heap.
static bool heap_is_alone(const struct local_heap *part)
{
    const struct mi_heap_s *heap = local_heap_handle_of(part);
    // acquire: pairs with the release in heap_local, and in heap_new
    return heap != NULL &&
           atomic_load_explicit(&heap->others, memory_order_acquire) == NULL &&
           local_heap_handle_of(part) == heap;
}

void heap_leave_all(struct local_heap *main)
{
    struct local_heap *part;
    while ((part = main->next_of_thread) != NULL) {
        if (heap_is_alone(part)) heap_delete(local_heap_handle_of(part), main); // ends the part too
        else heap_leave_part(part, main);
    }
}
