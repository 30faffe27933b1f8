/* stress_heaps.c: threads make heaps, hand blocks of them to others, and delete or destroy them.
 *
 * A heap may be deleted at any time, while others free its blocks. It may be destroyed when the
 * blocks that others hold have been freed: each heap counts those. Freed by another thread does not
 * mean arrived: such a block may still be on its way when the heap is destroyed and its memory is
 * used anew.
 */
#include "stress.h"
#include "../support/process_info.h"
#include <sched.h>

enum { SHARED_COUNT = 300, OWN_COUNT = 120, RESIDENT_LIMIT_KIB = 64 * 1024 };

struct guest {
    void *block;
    size_t bytes;
    uint64_t tag;
    size_t *away; // [any] atomic: blocks of the heap that others hold; NULL when the heap will be
                  // deleted
};

static struct guest *shared[SHARED_COUNT];
static struct stress_options options;

static struct guest *exchange(size_t slot, struct guest *guest)
{
    return __atomic_exchange_n(&shared[slot], guest,
                               __ATOMIC_ACQ_REL); // pairs with itself in other threads
}

static void free_guest(struct guest *guest)
{
    if (guest == NULL) return;
    EXPECT(pattern_is_kept(guest->block, guest->bytes, guest->tag));
    mi_free(guest->block);
    if (guest->away != NULL)
        __atomic_sub_fetch(guest->away, 1, __ATOMIC_RELEASE); // pairs with wait_until_home
    mi_free(guest);
}

static void wait_until_home(size_t *away)
{
    for (size_t slot = 0; __atomic_load_n(away, __ATOMIC_ACQUIRE) > 0;
         slot = (slot + 1) % SHARED_COUNT) {
        free_guest(exchange(slot, NULL));
        if (slot == 0) sched_yield();
    }
}

static size_t guest_size(struct test_random *random)
{
    return random_below(random, random_below(random, 100) == 0 ? 300000 : 1500);
}

static void hand_out(mi_heap_t *heap, size_t *away, struct test_random *random)
{
    struct guest *guest = (struct guest *)mi_malloc(sizeof *guest);
    EXPECT(guest != NULL);
    if (guest == NULL) return;
    guest->bytes = guest_size(random);
    guest->tag = random_next(random);
    guest->away = away;
    guest->block = mi_heap_malloc(heap, guest->bytes);
    EXPECT(guest->block != NULL);
    pattern_fill(guest->block, guest->bytes, guest->tag);
    if (away != NULL) __atomic_add_fetch(away, 1, __ATOMIC_RELAXED);
    free_guest(exchange(random_below(random, SHARED_COUNT), guest));
}

// Fills a heap with blocks that stay and blocks that others get.
static void use_heap(mi_heap_t *heap, size_t *away, struct item *own, struct test_random *random)
{
    for (size_t i = 0; i < OWN_COUNT; i++) {
        own[i].bytes = guest_size(random);
        own[i].block = mi_heap_malloc(heap, own[i].bytes);
        EXPECT(own[i].block != NULL);
        item_fill(&own[i], random_next(random));
        if (i % 2 == 0) hand_out(heap, away, random);
    }
    for (size_t i = 0; i < OWN_COUNT; i++) EXPECT(item_is_kept(&own[i]));
}

static void *work(void *arg)
{
    struct test_random random = stress_random(&options, (size_t)(uintptr_t)arg);
    struct item own[OWN_COUNT];
    size_t away = 0;
    for (size_t op = 0; op < options.ops; op++) {
        bool is_destroyed = random_below(&random, 2) == 0;
        mi_heap_t *heap = mi_heap_new();
        EXPECT(heap != NULL);
        if (heap == NULL) break;
        if (op % 5 == 3 && !is_destroyed)
            mi_heap_set_default(heap); // guests themselves live in it then
        use_heap(heap, is_destroyed ? &away : NULL, own, &random);
        if (is_destroyed) {
            wait_until_home(&away);
            mi_heap_destroy(heap);
            continue;
        }
        mi_heap_delete(heap);
        for (size_t i = 0; i < OWN_COUNT; i++) {
            EXPECT(item_is_kept(&own[i]));
            mi_free(own[i].block);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 4, 500);
    for (int round = 0; round < 2; round++) stress_run_threads(options.threads, work);
    for (size_t i = 0; i < SHARED_COUNT; i++) free_guest(exchange(i, NULL));
    mi_collect(true);
    if (TEST_RESIDENT_TELLS && !TEST_IS_DEBUG) EXPECT(process_resident_kib() < RESIDENT_LIMIT_KIB);
    return stress_result(argv[0], &options);
}
