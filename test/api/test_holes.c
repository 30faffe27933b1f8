/* test_holes.c: mi_collect(true) gives back OS pages between blocks that are in use, and they come
 * back when they are needed. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <pthread.h>

enum { KIB = 1024, MIB = 1024 * KIB, FILL_BYTES = 64 * MIB, SURVIVOR_OF = 64 };

// What tells one block from all others, at both ends.
static void paint(unsigned char *block, size_t bytes, size_t number)
{
    memset(block, 0, bytes);
    memcpy(block, &number, sizeof number);
    memcpy(block + bytes - sizeof number, &number, sizeof number);
}

static bool is_painted(const unsigned char *block, size_t bytes, size_t number)
{
    return memcmp(block, &number, sizeof number) == 0 &&
           memcmp(block + bytes - sizeof number, &number, sizeof number) == 0;
}

static void fill(unsigned char **blocks, size_t count, size_t bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (blocks[i] != NULL) continue;
        blocks[i] = (unsigned char *)mi_malloc(bytes);
        paint(blocks[i], bytes, i);
    }
}

// Blocks of one size, of which each 64th survives a collect: what is resident then, and whether all
// is well when the others come anew.
static void thin_out(void *arg)
{
    size_t bytes = *(const size_t *)arg, count = FILL_BYTES / bytes;
    unsigned char **blocks = (unsigned char **)mi_calloc(count, sizeof *blocks);
    memset((void *)blocks, 0, count * sizeof *blocks); // resident from the start
    size_t base_kib = process_resident_kib();
    for (int round = 0; round < 2; round++) {
        fill(blocks, count, bytes);
        EXPECT(process_resident_kib() >= base_kib + FILL_BYTES / KIB);
        for (size_t i = 0; i < count; i++) {
            if (i % SURVIVOR_OF == 0) continue;
            mi_free(blocks[i]);
            blocks[i] = NULL;
        }
        mi_collect(true);
        // a survivor keeps the OS pages that it lies on, and up to two strips around it
        size_t survivors = count / SURVIVOR_OF + 1, kept_bytes = bytes + 2 * 4096;
        if (bytes > 32768) kept_bytes = 2 * bytes; // strips are longer
        size_t most_kib = base_kib + survivors * kept_bytes / KIB + 2 * KIB;
        EXPECT(process_resident_kib() <= most_kib);
        for (size_t i = 0; i < count; i += SURVIVOR_OF) EXPECT(is_painted(blocks[i], bytes, i));
    }
    fill(blocks, count, bytes);
    for (size_t i = 0; i < count; i++) {
        EXPECT(is_painted(blocks[i], bytes, i));
        mi_free(blocks[i]);
    }
}

TEST(collecting_gives_back_the_pages_between_survivors)
{
    static const size_t sizes[] = {512, 1000, 3000, 20000, 100000};
    static struct child child;
    if (TEST_IS_SANITIZED || TEST_IS_DEBUG) return; // what is resident is the tools' there
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        child_run(&child, thin_out, (void *)(uintptr_t)&sizes[i]);
        EXPECT(child_is_well(&child));
    }
}

// --- while others allocate -----------------------------------------------------------------------

enum { THREADS = 4, SLOTS = 2000, ROUNDS = TEST_IS_SANITIZED ? 20000 : 200000, MOST_BYTES = 6000 };

struct slot { unsigned char *block; size_t bytes, number; };
static struct slot slots[THREADS][SLOTS];
static int running;

static void replace(struct slot *slot, struct test_random *random)
{
    if (slot->block != NULL) {
        EXPECT(is_painted(slot->block, slot->bytes, slot->number));
        mi_free(slot->block);
    }
    slot->bytes = 16 + random_below(random, MOST_BYTES);
    slot->number = random_below(random, SIZE_MAX);
    slot->block = (unsigned char *)mi_malloc(slot->bytes);
    paint(slot->block, slot->bytes, slot->number);
}

static void *work(void *number)
{
    struct test_random random = {(uintptr_t)number + 7};
    struct slot *own = slots[(uintptr_t)number];
    for (int i = 0; i < ROUNDS; i++) replace(&own[random_below(&random, SLOTS)], &random);
    __atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
    return NULL; // what it holds is parked now
}

static void collect_beside(void *arg)
{
    pthread_t threads[THREADS];
    (void)arg;
    for (int generation = 0; generation < 3; generation++) { // they free what others allocated
        __atomic_store_n(&running, THREADS, __ATOMIC_RELAXED);
        for (size_t i = 0; i < THREADS; i++)
            ENSURE(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
        while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0) mi_collect(true);
        for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < THREADS * SLOTS; i++) {
        struct slot *slot = &slots[0][0] + i;
        EXPECT(slot->block == NULL || is_painted(slot->block, slot->bytes, slot->number));
        mi_free(slot->block);
    }
    mi_collect(true);
}

TEST(collecting_while_others_allocate_disturbs_nobody)
{
    static struct child child;
    child_run(&child, collect_beside, NULL);
    EXPECT(child_is_well(&child));
}

TEST_MAIN
