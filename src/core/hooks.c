#include "core/hooks.h"
#include "prim/prim.h"
#include <errno.h>

typedef void hook_any(void); // a hook of any type; cast back before it is called

// Function and argument, written once before they are published: so nobody ever sees one hook's
// function with another's argument, and no lock is needed. A pair is used again only after
// HOOKS_PAIRS more registrations.
struct hook_pair {
    ATOMIC(hook_any *) function; // [any]
    ATOMIC(void *)     arg;      // [any]
};

// What a call of a hook has on the stack. A nested call runs deeper and finds the seal whole. After
// the hook was left by longjmp or an exception, a call is not deeper, or what ran since lay where
// the seal was, which is longer than any buffer of ours that stays unwritten. Only a call below a
// long buffer of the program's, to which nothing was written, may be taken for a nested one: it
// gets the default reaction. (A thread that leaves a hook on a stack of its own by a jump, and
// unmaps that stack, must not call us on one at lower addresses: the seal is looked for there.)
enum { HOOKS_SEAL_WORDS = 1024 / sizeof(uintptr_t) };
struct hook_stay {
    volatile uintptr_t seal[HOOKS_SEAL_WORDS]; // hooks_seal_of this, until the hook returns
    struct hook_visit *visit;                  // of hooks_enter
};

// A thread inside a hook, or one that has left it by a jump.
struct hook_visit {
    ATOMIC(uintptr_t)          thread; // [any] 0: free
    ATOMIC(struct hook_stay *) stay;   // [owner] written by the thread named above
};

enum { HOOKS_PAIRS = 8, HOOKS_VISITS = 64 };

struct hook_slot {
    ATOMIC(struct hook_pair *) current; // [any] NULL: no hook
    ATOMIC(unsigned)           next;    // [any] pair for the next registration, modulo HOOKS_PAIRS
    struct hook_pair           pairs[HOOKS_PAIRS];
};

static struct hook_slot hooks_of_output;
static struct hook_slot hooks_of_error;
static struct hook_slot hooks_of_deferred_free;

static struct hook_visit hooks_in_output[HOOKS_VISITS];
static struct hook_visit hooks_in_error[HOOKS_VISITS];

static void hooks_set(struct hook_slot *slot, hook_any *function, void *arg)
{
    struct hook_pair *pair = NULL;
    if (function != NULL) {
        unsigned turn = atomic_fetch_add_explicit(&slot->next, 1, memory_order_relaxed);
        pair = &slot->pairs[turn % HOOKS_PAIRS];
        atomic_store_explicit(&pair->function, function, memory_order_relaxed);
        atomic_store_explicit(&pair->arg, arg, memory_order_relaxed);
    }
    atomic_store_explicit(&slot->current, pair, memory_order_release); // pairs with hooks_get
}

// The registered function, or NULL.
static hook_any *hooks_get(struct hook_slot *slot, void **arg)
{
    // acquire: pairs with hooks_set
    struct hook_pair *pair = atomic_load_explicit(&slot->current, memory_order_acquire);
    if (pair == NULL) return NULL;
    *arg = atomic_load_explicit(&pair->arg, memory_order_relaxed);
    return atomic_load_explicit(&pair->function, memory_order_relaxed);
}

void hooks_set_output(hook_output *function, void *arg)
{
    hooks_set(&hooks_of_output, (hook_any *)function, arg);
}

void hooks_set_error(hook_error *function, void *arg)
{
    hooks_set(&hooks_of_error, (hook_any *)function, arg);
}

void hooks_set_deferred_free(hook_deferred_free *function, void *arg)
{
    hooks_set(&hooks_of_deferred_free, (hook_any *)function, arg);
}

// Each thread has an errno of its own, so its address names the thread, without a thread-local
// variable of ours.
static uintptr_t hooks_this_thread(void) { return (uintptr_t)&errno; }

static struct hook_visit *hooks_find_visit(struct hook_visit *visits, uintptr_t thread)
{
    for (int i = 0; i < HOOKS_VISITS; i++) {
        struct hook_visit *visit = &visits[i];
        // relaxed: only our own writes can put our own name there
        if (atomic_load_explicit(&visit->thread, memory_order_relaxed) == thread) return visit;
    }
    return NULL;
}

static struct hook_visit *hooks_claim_visit(struct hook_visit *visits, uintptr_t thread)
{
    for (int i = 0; i < HOOKS_VISITS; i++) {
        struct hook_visit *visit = &visits[i];
        uintptr_t nobody = 0;
        // relaxed: a name tag, no data hangs on it
        if (atomic_compare_exchange_strong_explicit(&visit->thread, &nobody, thread,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return visit;
        }
    }
    return NULL;
}

static uintptr_t hooks_seal_of(const struct hook_stay *stay)
{
    return (uintptr_t)stay ^ (uintptr_t)UINT64_C(0x9E3779B97F4A7C15);
}

// The stay may be gone; then its place on this thread's own stack is read all the same.
static no_address_check bool hooks_is_sealed(const struct hook_stay *stay)
{
    for (unsigned i = 0; i < HOOKS_SEAL_WORDS; i++) {
        if (stay->seal[i] != hooks_seal_of(stay)) return false;
    }
    return true;
}

static void hooks_seal(struct hook_stay *stay)
{
    for (unsigned i = 0; i < HOOKS_SEAL_WORDS; i++) stay->seal[i] = hooks_seal_of(stay);
}

// This thread, whose stack has come to `here`, is inside the call of a hook that has `outer`.
// Stacks grow downward.
static bool hooks_is_within(const struct hook_stay *outer, const void *here)
{
    return (uintptr_t)here < (uintptr_t)outer && hooks_is_sealed(outer);
}

static bool hooks_visit_has(struct hook_visit *visit, const void *here)
{
    return hooks_is_within(atomic_load_explicit(&visit->stay, memory_order_relaxed), here);
}

// False when this thread is inside the hook already, or might be: a call without a visit would not
// know itself again. Else `stay` is to be given to hooks_leave.
static bool hooks_enter(struct hook_visit *visits, struct hook_stay *stay)
{
    uintptr_t thread = hooks_this_thread();
    struct hook_visit *visit = hooks_find_visit(visits, thread);
    if (visit != NULL && hooks_visit_has(visit, stay)) return false;
    if (visit == NULL) visit = hooks_claim_visit(visits, thread);
    if (visit == NULL) return false;
    atomic_store_explicit(&visit->stay, stay, memory_order_relaxed);
    stay->visit = visit;
    hooks_seal(stay);
    return true;
}

static void hooks_free_visit(struct hook_visit *visit)
{
    if (visit != NULL) atomic_store_explicit(&visit->thread, 0, memory_order_relaxed);
}

// The visit may be another thread's by now: a call on a higher stack, within this one, took itself
// for the only one and freed it.
static void hooks_leave(struct hook_stay *stay)
{
    stay->seal[0] = 0;
    if (atomic_load_explicit(&stay->visit->thread, memory_order_relaxed) == hooks_this_thread())
        hooks_free_visit(stay->visit);
}

void hooks_end_thread(void)
{
    hooks_free_visit(hooks_find_visit(hooks_in_output, hooks_this_thread()));
    hooks_free_visit(hooks_find_visit(hooks_in_error, hooks_this_thread()));
}

// Threads that come in meanwhile may lose their visits: then a hook is called from within itself,
// once.
static void hooks_free_vanished(struct hook_visit *visits)
{
    for (int i = 0; i < HOOKS_VISITS; i++) {
        uintptr_t thread = atomic_load_explicit(&visits[i].thread, memory_order_relaxed);
        if (thread != 0 && thread != hooks_this_thread()) hooks_free_visit(&visits[i]);
    }
}

void hooks_in_child(void)
{
    hooks_free_vanished(hooks_in_output);
    hooks_free_vanished(hooks_in_error);
}

bool hooks_are_set(void)
{
    void *arg;
    return hooks_get(&hooks_of_output, &arg) != NULL || hooks_get(&hooks_of_error, &arg) != NULL;
}

cold void hooks_output(const char *message)
{
    void *arg = NULL;
    struct hook_stay stay;
    hook_output *function = (hook_output *)hooks_get(&hooks_of_output, &arg);
    if (function == NULL || !hooks_enter(hooks_in_output, &stay)) {
        prim_write_error(message, strlen(message));
        return;
    }
    function(message, arg);
    hooks_leave(&stay);
}

bool hooks_error(int code)
{
    void *arg = NULL;
    struct hook_stay stay;
    hook_error *function = (hook_error *)hooks_get(&hooks_of_error, &arg);
    if (function == NULL || !hooks_enter(hooks_in_error, &stay)) return false;
    function(code, arg);
    hooks_leave(&stay);
    return true;
}

// On its own, so that the seal lies on no stack where there is no hook.
static no_inline void hooks_call_deferred_free(uintptr_t *inside, bool force,
                                               unsigned long long heartbeat)
{
    void *arg = NULL;
    struct hook_stay stay;
    hook_deferred_free *function = (hook_deferred_free *)hooks_get(&hooks_of_deferred_free, &arg);
    if (function == NULL || hooks_is_within((const struct hook_stay *)*inside, &stay)) return;
    *inside = (uintptr_t)&stay;
    hooks_seal(&stay);
    function(force, heartbeat, arg);
    stay.seal[0] = 0;
    *inside = HOOKS_OUTSIDE;
}

static bool hooks_has_visit(struct hook_visit *visits, const void *here)
{
    struct hook_visit *visit = hooks_find_visit(visits, hooks_this_thread());
    return visit != NULL && hooks_visit_has(visit, here);
}

bool hooks_is_inside(uintptr_t inside)
{
    return (inside != HOOKS_NEVER && hooks_is_within((const struct hook_stay *)inside, &inside)) ||
           hooks_has_visit(hooks_in_error, &inside) || hooks_has_visit(hooks_in_output, &inside);
}

void hooks_deferred_free(uintptr_t *inside, bool force, unsigned long long heartbeat)
{
    void *arg;
    if (*inside == HOOKS_NEVER || hooks_get(&hooks_of_deferred_free, &arg) == NULL) return;
    hooks_call_deferred_free(inside, force, heartbeat);
}
