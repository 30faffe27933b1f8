#include "os/fork.h"
#include "os/os.h"

typedef ATOMIC(uint32_t) fork_word;
enum { FORK_WIPED, FORK_TAKEN = 0x70617264, FORK_WATCHED };

// NULL while nobody watches. Written once.
static ATOMIC(fork_word *) fork_here;

static fork_word *fork_get(void)
{
    // acquire: pairs with the release in fork_watch, so that the mark is seen with it
    return atomic_load_explicit(&fork_here, memory_order_acquire);
}

int fork_watch(void)
{
    if (fork_is_watched()) return 0;
    fork_word *none = NULL;
    void *made;
    int error = os_map_wiped(os_page_bytes(), &made);
    if (error != 0) return error;
    atomic_store_explicit((fork_word *)made, FORK_WATCHED, memory_order_relaxed);
    // release: pairs with the acquire in fork_get
    if (!atomic_compare_exchange_strong_explicit(&fork_here, &none, (fork_word *)made,
                                                 memory_order_release, memory_order_relaxed))
        os_release(made, os_page_bytes());
    return 0;
}

bool fork_is_watched(void) { return fork_get() != NULL; }

bool fork_is_fresh(void)
{
    fork_word *word = fork_get();
    // acquire: pairs with the release in fork_settle, so that what was mended is seen
    return word != NULL && atomic_load_explicit(word, memory_order_acquire) != FORK_WATCHED;
}

static cold bool fork_take_or_wait(fork_word *word)
{
    uint32_t wiped = FORK_WIPED;
    // relaxed: the fork itself orders what the child sees of the parent
    if (atomic_compare_exchange_strong_explicit(word, &wiped, FORK_TAKEN, memory_order_relaxed,
                                                memory_order_relaxed))
        return true;
    for (int waited_ms = 0; waited_ms < FORK_PATIENCE_MS && fork_is_fresh(); waited_ms++)
        prim_wait(word, FORK_TAKEN, 1);
    return false;
}

bool fork_take(void) { return fork_is_fresh() && fork_take_or_wait(fork_get()); }

// release: pairs with the acquire in fork_is_fresh
void fork_settle(void) { atomic_store_explicit(fork_get(), FORK_WATCHED, memory_order_release); }
