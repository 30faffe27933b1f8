/* test_memory_limit.c: a program that holds itself to a limit. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <errno.h>
#include <sys/stat.h>

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
    EXPECT(!TEST_RESIDENT_TELLS || process_resident_kib() < 32 * 1024);
    mi_option_set(mi_option_memory_limit_hard, 0);
    void *block = mi_malloc(17 * MIB);
    EXPECT(block != NULL);
    mi_free(block);
}

// A program at its limit can give memory up: a block becomes smaller, though there is none for
// another one.
static void shrink(void *arg)
{
    (void)arg;
    mi_option_set(mi_option_memory_limit_hard, 16 * 1024);
    char *large = (char *)mi_malloc(2 * MIB), *aligned = (char *)mi_malloc_aligned(2 * MIB, MIB);
    EXPECT(large != NULL && aligned != NULL);
    memset(large, 7, 2 * MIB);
    memset(aligned, 7, 2 * MIB);
    int count = take(40000);
    while (mi_malloc(3000) != NULL) {}
    errno = 0;
    large = (char *)mi_realloc(large, 3000);
    EXPECT(large != NULL && errno == 0 && large[0] == 7 && large[2999] == 7);
    while (mi_malloc(3000) != NULL) {} // what it gave back
    errno = 0;
    aligned = (char *)mi_rezalloc_aligned(aligned, 3000, MIB);
    EXPECT(aligned != NULL && errno == 0 && (uintptr_t)aligned % MIB == 0);
    EXPECT(aligned[0] == 7 && aligned[2999] == 7);
    size_t usable = mi_usable_size(aligned);
    const char *cleared = (const char *)launder(aligned);
    for (size_t i = 3000; i < usable; i++) EXPECT(cleared[i] == 0);
    while (mi_malloc(3000) != NULL) {}
    void *medium = blocks[0];
    errno = 0;
    medium = mi_realloc(medium, 3000);
    EXPECT(medium != NULL && errno == 0);
    mi_free(medium);
    mi_free(large);
    mi_free(aligned);
    for (int i = 1; i < count; i++) mi_free(blocks[i]);
}

// There is memory for what was asked for, but not for room to grow.
static void grow(void *arg)
{
    (void)arg;
    char *block = (char *)mi_malloc(2 * MIB), *behind = (char *)mi_malloc(2 * MIB);
    EXPECT(block != NULL && behind != NULL);
    memset(block, 7, 2 * MIB);
    long used_kib = (long)(stats_number("committed", "current") / 1024);
    mi_option_set(mi_option_memory_limit_hard, used_kib + 2200);
    errno = 0;
    block = (char *)mi_realloc(block, 2 * MIB + 10000);
    EXPECT(block != NULL && errno == 0 && block[0] == 7 && block[2 * MIB - 1] == 7);
    EXPECT(mi_usable_size(block) < 2 * MIB + MIB / 4);
    mi_free(behind);
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
        EXPECT(stats_number("committed", "current") <= 17 * MIB);
    }
}

TEST(memory_limit_hard_lets_a_block_become_smaller) { expect_well(shrink); }

TEST(memory_limit_hard_lets_a_block_grow_that_would_have_more_room_without_it)
{
    expect_well(grow);
}

TEST(memory_limit_gives_back_at_once_and_refuses_nothing) { expect_well(soft); }

// --- in a control group --------------------------------------------------------------------------

enum { GROUP_MIB = 256, SMALL_MIB = 170, LARGE_MIB = 20, LARGE_BLOCKS = 5, SURVIVOR = 256 };

static char group[128];

static bool group_write(const char *file, long long number)
{
    char path[256], text[32];
    snprintf(path, sizeof path, "%s/%s", group, file);
    int length = snprintf(text, sizeof text, "%lld", number);
    int fd = open(path, O_WRONLY);
    bool is_written = fd >= 0 && write(fd, text, (size_t)length) == length;
    if (fd >= 0) close(fd);
    return is_written;
}

// A group of our own with a limit; false: the system does not let this process make one.
static bool group_make(const char *root, const char *file)
{
    snprintf(group, sizeof group, "%s/mi-test-%ld", root, (long)getpid());
    if (mkdir(group, 0700) != 0) return false;
    if (group_write(file, GROUP_MIB * (long long)MIB)) return true;
    (void)rmdir(group);
    return false;
}

static bool group_find(void)
{
    return group_make("/sys/fs/cgroup/memory", "memory.limit_in_bytes") ||
           group_make("/sys/fs/cgroup", "memory.max");
}

static void *many[SMALL_MIB * 1024];

// Small blocks, of which a few survive, so that nothing large has room between them; then large
// ones. Both together are more than the group has, what is in use at any time is not.
static void frees_what_it_should(void)
{
    static void *large[LARGE_BLOCKS];
    for (int i = 0; i < SMALL_MIB * 1024; i++) {
        many[i] = mi_malloc(1024);
        memset(many[i], 1, 1024);
    }
    for (int i = 0; i < SMALL_MIB * 1024; i++) {
        if (i % SURVIVOR != 0) mi_free(many[i]);
    }
    for (int i = 0; i < LARGE_BLOCKS; i++) {
        large[i] = mi_malloc(LARGE_MIB * (size_t)MIB);
        memset(large[i], 1, LARGE_MIB * (size_t)MIB);
    }
    for (int i = 0; i < LARGE_BLOCKS; i++) mi_free(large[i]);
    for (int i = 0; i < SMALL_MIB * 1024; i += SURVIVOR) mi_free(many[i]);
}

static void in_group(void *arg)
{
    mi_option_set(mi_option_purge_delay, -1); // nothing goes back by itself
    mi_option_set(mi_option_memory_limit, *(const long *)arg);
    EXPECT(group_write("cgroup.procs", getpid()));
    for (int round = 0; round < ROUNDS; round++) frees_what_it_should();
}

static void in_group_hard(void *arg)
{
    (void)arg;
    mi_option_set(mi_option_memory_limit_hard, -1);
    EXPECT(group_write("cgroup.procs", getpid()));
    int count = 0;
    errno = 0;
    while (count < 2 * GROUP_MIB && (many[count] = mi_malloc(MIB)) != NULL) {
        memset(many[count++], 1, MIB);
    }
    EXPECT(errno == ENOMEM && count > GROUP_MIB / 2 && count < GROUP_MIB);
}

// Once without a limit, to see that the group has one.
static void expect_life_in_group(struct child *child)
{
    static const long none = 0, that_of_group = -1;
    child_run(child, in_group, (void *)(uintptr_t)&that_of_group);
    EXPECT(child_is_well(child));
    child_run(child, in_group_hard, NULL);
    EXPECT(child_is_well(child));
    if (process_field_kib("/proc/meminfo", "SwapTotal:") != 0) return;
    child_run(child, in_group, (void *)(uintptr_t)&none);
    EXPECT(child->signal == SIGKILL && !child->timed_out);
}

TEST(memory_limit_of_a_control_group_is_kept)
{
    static struct child child;
    if (TEST_IS_SANITIZED || !group_find()) return;
    expect_life_in_group(&child);
    EXPECT(rmdir(group) == 0);
}

TEST_MAIN
