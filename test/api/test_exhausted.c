/* test_exhausted.c: address space runs out (RLIMIT_AS): NULL and ENOMEM, no crash, and all is well
 * after frees. */
#include "mimalloc.h"
#include "../support/child.h"
#include "../support/process_info.h"
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

static const size_t MIB = 1024 * 1024;

// Leaves this process `more` bytes of address space.
static void limit_address_space(size_t more)
{
    size_t bytes = process_status_kib("VmSize:") * 1024 + more;
    struct rlimit limit = {bytes, bytes};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

struct chain {
    struct chain *next;
};

// Blocks of one size until there are no more.
static struct chain *take_all(struct chain *chain, size_t bytes, size_t *count)
{
    for (;;) {
        errno = 0;
        struct chain *block = (struct chain *)mi_malloc(bytes);
        if (block == NULL) break;
        block->next = chain;
        chain = block;
        ++*count;
    }
    EXPECT(errno == ENOMEM);
    return chain;
}

static void free_chain(struct chain *chain)
{
    errno = 77;
    while (chain != NULL) {
        struct chain *next = chain->next;
        mi_free(chain);
        chain = next;
    }
    EXPECT(errno == 77);
}

static void exhaust(void *arg)
{
    size_t bytes = *(size_t *)arg;
    limit_address_space(64 * MIB);
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        struct chain *chain = take_all(NULL, bytes, &count);
        EXPECT(count * bytes >= 24 * MIB); // most of the limit was of use, in each round
        EXPECT(mi_calloc(1, bytes) == NULL && errno == ENOMEM);
        free_chain(chain);
    }
    void *block = mi_malloc(16 * MIB);
    EXPECT(block != NULL);
    mi_free(block);
}

TEST(blocks_of_one_size_end_with_ENOMEM_and_come_back)
{
    static const size_t sizes[] = {16, 100, 1024, 20000, 300000, 1048576, 5000000};
    static struct child child;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes = sizes[i];
        child_run(&child, exhaust, &bytes);
        if (!child_is_well(&child)) fprintf(stderr, "blocks of %zu bytes\n", bytes);
        EXPECT(child.exit_code == 0);
    }
}

// There is room for what is asked for, but the limit is below what the process has: then the system
// takes the target of a move away before it refuses.
static void resize_beyond_limit(void *arg)
{
    (void)arg;
    char *block = (char *)mi_malloc(8 * MIB), *room = (char *)mi_malloc(64 * MIB);
    char *barrier = (char *)mi_malloc(MIB);
    EXPECT(block != NULL && room != NULL && barrier != NULL);
    memset(block, 7, 8 * MIB);
    mi_free(room);
    limit_address_space(0 - MIB);
    char *moved = (char *)mi_realloc(block, 16 * MIB);
    EXPECT(moved != NULL && moved[0] == 7 && moved[8 * MIB - 1] == 7);
    memset(moved, 8, 16 * MIB);
    mi_free(moved);
    mi_free(barrier);
}

// Moved when there was memory, freed and made smaller when there is none.
static void give_up_beyond_limit(void *arg)
{
    (void)arg;
    char *block[2];
    for (int i = 0; i < 2; i++) {
        block[i] = (char *)mi_malloc(8 * MIB);
        char *barrier = (char *)mi_malloc(MIB);
        EXPECT(block[i] != NULL && barrier != NULL);
        memset(block[i], 7, 8 * MIB);
        block[i] = (char *)mi_realloc(block[i], 16 * MIB);
        EXPECT(block[i] != NULL);
    }
    limit_address_space(0 - MIB);
    block[0] = (char *)mi_rezalloc(block[0], 5 * MIB);
    EXPECT(block[0] != NULL && block[0][5 * MIB - 1] == 7);
    for (int i = 0; i < 2; i++) mi_free(block[i]);
    char *again = (char *)mi_malloc(15 * MIB);
    EXPECT(again != NULL);
    memset(again, 1, 15 * MIB);
    mi_free(again);
}

TEST(large_blocks_are_resized_and_freed_when_the_limit_is_below_what_the_process_has)
{
    static struct child child;
    child_run(&child, resize_beyond_limit, NULL);
    EXPECT(child_is_well(&child));
    child_run(&child, give_up_beyond_limit, NULL);
    EXPECT(child_is_well(&child));
}

// Down to the smallest size: nothing is left anywhere.
static struct chain *take_everything(void)
{
    struct chain *chain = NULL;
    size_t count = 0;
    for (size_t bytes = 4 * MIB; bytes >= 16; bytes /= 2) chain = take_all(chain, bytes, &count);
    return chain;
}

static void fail_every_call(void *arg)
{
    (void)arg;
    limit_address_space(48 * MIB);
    char *kept = mi_strdup("kept");
    struct chain *chain = take_everything();
    void *none = &chain;
    EXPECT(mi_malloc(MIB) == NULL && errno == ENOMEM);
    EXPECT(mi_realloc(kept, MIB) == NULL && strcmp(kept, "kept") == 0);
    EXPECT(mi_malloc_aligned(MIB, MIB) == NULL);
    EXPECT(mi_posix_memalign(&none, 64, 2 * MIB) == ENOMEM && none == &chain);
    EXPECT(mi_new_nothrow(MIB) == NULL);
    EXPECT(mi_reallocf(mi_strdup("gone"), 2 * MIB) == NULL);
    mi_heap_t *heap = mi_heap_new(); // may fail or not, and must not crash
    if (heap != NULL) mi_free(mi_heap_malloc(heap, 100));
    if (heap != NULL) mi_heap_destroy(heap);
    mi_collect(true);
    free_chain(chain);
    kept = (char *)mi_realloc(kept, MIB);
    EXPECT(kept != NULL && strcmp(kept, "kept") == 0);
    mi_free(kept);
}

TEST(every_call_fails_cleanly_when_nothing_is_left)
{
    static struct child child;
    child_run(&child, fail_every_call, NULL);
    EXPECT(child_is_well(&child));
}

static int
    phase; // [any] atomic: 1 memory is exhausted, 2 the thread has seen it, 3 there is memory again

static void wait_for(int wanted)
{
    while (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) < wanted) usleep(500);
}

static void advance(int to) { __atomic_store_n(&phase, to, __ATOMIC_RELEASE); }

static void *start_without_memory(void *arg)
{
    (void)arg;
    wait_for(1);
    errno = 0;
    EXPECT(mi_malloc(MIB) == NULL && errno == ENOMEM); // this thread's first call
    void *small = mi_malloc(40);                       // may be served from what is left over
    if (small == NULL) EXPECT(errno == ENOMEM);
    if (small != NULL) memset(small, 1, 40);
    EXPECT(mi_calloc(1, 3 * MIB) == NULL);
    mi_free(small);
    mi_free(NULL);
    advance(2);
    wait_for(3);
    void *block = mi_malloc(MIB);
    EXPECT(block != NULL);
    mi_free(block);
    block = mi_malloc(40);
    EXPECT(block != NULL);
    mi_free(block);
    return NULL;
}

// One thread only: of several, one that ends makes room for another.
static void exhaust_before_a_thread_starts(void *arg)
{
    pthread_t thread;
    (void)arg;
    ENSURE(pthread_create(&thread, NULL, start_without_memory, NULL) == 0);
    limit_address_space(32 * MIB);
    struct chain *chain = take_everything();
    advance(1);
    wait_for(2);
    free_chain(chain);
    advance(3);
    pthread_join(thread, NULL);
}

TEST(a_new_thread_that_meets_exhausted_memory_gets_NULL)
{
    static struct child child;
    child_run(&child, exhaust_before_a_thread_starts, NULL);
    EXPECT(child_is_well(&child));
}

static void *allocate_somehow(void *arg)
{
    size_t *served = (size_t *)arg;
    wait_for(1);
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = (i * 7919) % 60000;
        char *block = (char *)mi_malloc(bytes);
        if (block == NULL) continue;
        memset(block, 1, bytes);
        ++*served;
        mi_free(block);
    }
    return NULL;
}

static void share_what_is_left(void *arg)
{
    pthread_t threads[4];
    size_t served[4] = {0};
    (void)arg;
    for (size_t i = 0; i < 4; i++) {
        ENSURE(pthread_create(&threads[i], NULL, allocate_somehow, &served[i]) == 0);
    }
    limit_address_space(8 * MIB);
    advance(1);
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    EXPECT(served[0] + served[1] + served[2] + served[3] > 0); // one thread may have taken it all
}

TEST(threads_at_the_limit_neither_crash_nor_hang)
{
    static struct child child;
    child_run(&child, share_what_is_left, NULL);
    EXPECT(child_is_well(&child));
}

int main(int argc, char **argv)
{
    if (TEST_IS_SANITIZED) return 77; // a sanitizer's own memory does not fit under a limit
    return test_run_all(argc, argv);
}
