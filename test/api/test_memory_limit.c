/* test_memory_limit.c: a program that holds itself to a limit. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <errno.h>

enum { MIB = 1024 * 1024, BLOCKS = 100000, BLOCK_BYTES = 1000, ROUNDS = 4 };

static void *blocks[BLOCKS];

// Blocks until one is refused; how many that were.
static int take(size_t bytes)
{
    int count = 0;
    while (count < BLOCKS && (blocks[count] = mi_malloc(bytes)) != NULL) {
        memset(blocks[count], 1, bytes);
        count++;
    }
    return count;
}

static void give(int count)
{
    for (int i = 0; i < count; i++) mi_free(blocks[i]);
}

static long long committed_bytes(void)
{
    static char json[100000];
    EXPECT(mi_stats_get_json(sizeof json, json) != NULL);
    return json_number(json, "committed", "current");
}

// Small blocks, then large ones from the same memory.
static void hard(void *arg)
{
    (void)arg;
    mi_option_set(mi_option_memory_limit_hard, 16 * 1024);
    for (int round = 0; round < ROUNDS; round++) {
        errno = 0;
        int count = take(BLOCK_BYTES);
        EXPECT(count < BLOCKS && errno == ENOMEM);
        EXPECT(count > 12 * MIB / BLOCK_BYTES && count < 16 * MIB / BLOCK_BYTES);
        EXPECT(mi_realloc(blocks[0], 20 * MIB) == NULL);
        give(count);
        count = take(MIB);
        EXPECT(count >= 12 && count <= 16);
        give(count);
        EXPECT(mi_malloc(17 * MIB) == NULL);
    }
    EXPECT(TEST_IS_SANITIZED || process_resident_kib() < 32 * 1024);
    mi_option_set(mi_option_memory_limit_hard, 0);
    void *block = mi_malloc(17 * MIB);
    EXPECT(block != NULL);
    mi_free(block);
}

static void expect_well(void (*run)(void *arg))
{
    static struct child child;
    child_run(&child, run, NULL);
    EXPECT(child_is_well(&child));
}

TEST(memory_limit_hard_refuses_and_all_is_well_after_frees) { expect_well(hard); }

static void soft(void *arg)
{
    (void)arg;
    mi_option_set(mi_option_purge_delay, -1); // nothing goes back by itself
    mi_option_set(mi_option_memory_limit, 16 * 1024);
    for (int round = 0; round < ROUNDS; round++) {
        int count = take(BLOCK_BYTES);
        EXPECT(count == BLOCKS); // it refuses nothing
        give(count);
        EXPECT(committed_bytes() <= 17 * MIB);
    }
}

TEST(memory_limit_gives_back_at_once_and_refuses_nothing) { expect_well(soft); }

TEST_MAIN
