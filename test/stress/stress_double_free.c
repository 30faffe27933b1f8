/* stress_double_free.c: two threads free one block at the same instant, one of them the owner of
 * its page, so that now and then both frees count (T3, region/state.h). Blocks in use do not
 * overlap then, whatever lists the block is on. (What is in it nobody promises: a link may be
 * written there when its list goes home.)
 */
#include "stress.h"
#include <errno.h>
#include <sched.h>

enum { LIVE = 200, SPINS = 100, COLLECT_EVERY = 64, COLLECT_ALL_EVERY = 512 };

static struct stress_options options;
static void *shared_block; // [any] atomic; to be freed by both
// [any] atomic; blocks offered by the owner, found by the other thread, and freed by it, too
static unsigned long offered, found, freed;
static unsigned long faults; // [any] atomic

static void count_fault(int code, void *arg)
{
    (void)arg;
    // a list that leads to a block in use may be found where it is only walked, too
    EXPECT(code == EAGAIN || code == EFAULT);
    __atomic_add_fetch(&faults, 1, __ATOMIC_RELAXED);
}

static void wait_for(const unsigned long *number, unsigned long value)
{
    for (unsigned spins = 0; __atomic_load_n(number, __ATOMIC_ACQUIRE) < value; spins++) {
        if (spins % SPINS == SPINS - 1) sched_yield();
    }
}

// Those of the owner that are in use.
static struct { char *block; size_t bytes; } live[LIVE];

static bool overlaps_any(const char *block, size_t bytes)
{
    for (size_t i = 0; i < LIVE; i++) {
        if (live[i].block < block + bytes && block < live[i].block + live[i].bytes) return true;
    }
    return false;
}

static char *new_block(struct test_random *random, size_t *bytes)
{
    char *block = (char *)mi_malloc(1 + random_below(random, 64));
    EXPECT(block != NULL);
    *bytes = mi_usable_size(block);
    EXPECT(!overlaps_any(block, *bytes));
    return block;
}

static void replace(size_t i, struct test_random *random)
{
    mi_free(live[i].block);
    live[i].block = NULL;
    live[i].bytes = 0;
    size_t bytes;
    live[i].block = new_block(random, &bytes);
    live[i].bytes = bytes;
}

// Offers a block after the other, and replaces its own of the same sizes.
static void own(struct test_random *random)
{
    for (unsigned long offer = 1; offer <= options.ops; offer++) {
        size_t bytes;
        void *block = new_block(random, &bytes);
        __atomic_store_n(&shared_block, block, __ATOMIC_RELAXED);
        __atomic_store_n(&offered, offer, __ATOMIC_RELEASE);
        wait_for(&found, offer);
        mi_free(block);
        wait_for(&freed, offer); // else it may free the next block at that place
        for (int i = 0; i < 4; i++) replace(random_below(random, LIVE), random);
        // what is free becomes holes (page/holes.h)
        if (offer % COLLECT_ALL_EVERY == 0) mi_collect(true);
    }
}

static void free_too(void)
{
    for (unsigned long offer = 1; offer <= options.ops; offer++) {
        wait_for(&offered, offer);
        void *block = __atomic_load_n(&shared_block, __ATOMIC_RELAXED);
        __atomic_store_n(&found, offer, __ATOMIC_RELEASE);
        mi_free(block);
        __atomic_store_n(&freed, offer, __ATOMIC_RELEASE);
        if (offer % COLLECT_EVERY == 0) mi_collect(false); // what it freed goes home
    }
}

static void *work(void *number)
{
    struct test_random random = stress_random(&options, (size_t)(uintptr_t)number);
    if (number == NULL) own(&random);
    else free_too();
    return NULL;
}

int main(int argc, char **argv)
{
    // a full debug build stops at the first list that is not as it should be
    if (!TEST_IS_SECURE || TEST_IS_DEBUG || TEST_IS_SANITIZED) return 77;
    options = stress_read_options(argc, argv, 2, 100000);
    mi_option_disable(mi_option_show_errors);
    mi_register_error(count_fault, NULL);
    stress_run_threads(2, work);
    EXPECT(faults >= options.ops / 2); // as a rule one of two is refused
    return stress_result(argv[0], &options);
}
