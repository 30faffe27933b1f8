/* stress.h: what the stress programs share: options, scaled defaults, items with patterns.
 *
 *   --threads N   --ops N   --seed N      a run is repeatable but for the order of the threads; the
 * seed is printed when it fails
 *
 * An item is a block together with what must be in it. Items travel between threads through slots,
 * each an atomic pointer: who takes an item out owns it.
 */
#ifndef TEST_STRESS_STRESS_H
#define TEST_STRESS_STRESS_H
#include "mimalloc.h"
#include "../support/api_test.h"
#include <pthread.h>
#include <stdlib.h>

enum { STRESS_MAX_THREADS = 64 };

// Operations take longer there; the defaults are meant for about two seconds.
enum { STRESS_SLOWNESS = TEST_IS_SANITIZED ? 20 : MI_DEBUG > 1 ? 10 : MI_DEBUG > 0 ? 4 : 1 };

struct stress_options {
    size_t threads, ops;
    uint64_t seed;
};

static inline struct stress_options stress_read_options(int argc, char **argv, size_t threads,
                                                        size_t ops)
{
    struct stress_options options = {threads, ops / STRESS_SLOWNESS, 42};
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned long long value = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--threads") == 0) options.threads = (size_t)value;
        if (strcmp(argv[i], "--ops") == 0) options.ops = (size_t)value;
        if (strcmp(argv[i], "--seed") == 0) options.seed = value;
    }
    if (options.threads == 0) options.threads = 1;
    if (options.threads > STRESS_MAX_THREADS) options.threads = STRESS_MAX_THREADS;
    return options;
}

static inline int stress_result(const char *program, const struct stress_options *options)
{
    if (test_failures() == 0) return 0;
    fprintf(stderr, "%s --threads %zu --ops %zu --seed %llu: %d failures\n", program,
            options->threads, options->ops, (unsigned long long)options->seed, test_failures());
    return 1;
}

static inline struct test_random stress_random(const struct stress_options *options, size_t thread)
{
    struct test_random random = {(options->seed + 1) * 0x9E3779B97F4A7C15u ^
                                 ((uint64_t)thread << 32)};
    random_next(&random);
    return random;
}

// Mostly small, now and then some megabytes.
static inline size_t stress_size(struct test_random *random)
{
    size_t kind = random_below(random, 1000);
    if (kind < 700) return random_below(random, 256);
    if (kind < 920) return random_below(random, 4096);
    if (kind < 992) return random_below(random, 70000);
    return random_below(random, 2000000);
}

struct item {
    void *block;
    size_t bytes;
    uint64_t tag;
};

static inline void item_fill(struct item *item, uint64_t tag)
{
    item->tag = tag;
    pattern_fill(item->block, item->bytes, tag);
}

static inline bool item_is_kept(const struct item *item)
{
    return pattern_is_kept(item->block, item->bytes, item->tag) &&
           mi_usable_size(item->block) >= item->bytes;
}

// An item with a fresh block, filled; NULL when memory is out, which no stress program expects.
static inline struct item *item_new(size_t bytes, uint64_t tag)
{
    struct item *item = (struct item *)mi_malloc(sizeof *item);
    if (item == NULL) return NULL;
    item->block = mi_malloc(bytes);
    item->bytes = bytes;
    if (item->block == NULL) {
        mi_free(item);
        return NULL;
    }
    item_fill(item, tag);
    return item;
}

// Checks the block before it is freed.
static inline void item_free(struct item *item)
{
    if (item == NULL) return;
    EXPECT(item_is_kept(item));
    mi_free(item->block);
    mi_free(item);
}

// Puts `item` (or NULL) into a slot and returns what was there.
static inline struct item *slot_exchange(struct item **slot, struct item *item)
{
    return __atomic_exchange_n(slot, item,
                               __ATOMIC_ACQ_REL); // pairs with the exchange in another thread
}

static inline void stress_run_threads(size_t count, void *(*body)(void *))
{
    pthread_t threads[STRESS_MAX_THREADS];
    size_t started = 0;
    while (started < count &&
           pthread_create(&threads[started], NULL, body, (void *)(uintptr_t)started) == 0)
        started++;
    EXPECT(started == count);
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

#endif
