/* limit_calls.c: programs for test_limit.py, chosen by the first argument. Each checks its own
 * blocks and ends with status 0, or 1 and the line that is wrong. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SLOTS = 5000,
    REPLACEMENTS = 400000,
    MEBIBYTE = 1 << 20,
};

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static uint64_t random_state = 1;

// Uniform enough in [0, bound).
static size_t random_below(size_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % bound;
}

static bool is_filled(const unsigned char *block, size_t bytes, unsigned char value)
{
    for (size_t i = 0; i < bytes; i++) {
        if (block[i] != value) return false;
    }
    return true;
}

static void *malloc_filled(size_t bytes, unsigned char value)
{
    void *block = malloc(bytes);
    EXPECT(block != NULL && (uintptr_t)block % 16 == 0);
    EXPECT(malloc_usable_size(block) >= bytes);
    return memset(block, value, bytes);
}

// --- the calls of the family ---------------------------------------------------------------------

// All sizes live at once: two blocks that overlap would spoil each other.
static void check_sizes(void)
{
    static unsigned char *blocks[4000];
    static size_t sizes[4000];
    for (size_t i = 0; i < 4000; i++) {
        sizes[i] = i < 2100 ? i : random_below(i < 3990 ? 70000 : 3 * MEBIBYTE);
        blocks[i] = malloc_filled(sizes[i], (unsigned char)i);
    }
    for (size_t i = 0; i < 4000; i++) {
        EXPECT(is_filled(blocks[i], sizes[i], (unsigned char)i));
        free(blocks[i]);
    }
}

static void check_last_freed_is_next(void)
{
    void *first = malloc(100);
    void *second = malloc(100);
    free(first);
    free(second);
    EXPECT(malloc(100) == second);
    EXPECT(malloc(100) == first);
}

static void check_calloc(void)
{
    for (size_t bytes = 1; bytes < 4 * MEBIBYTE; bytes = bytes * 3 + 1) {
        for (int round = 0; round < 3; round++) {
            unsigned char *block = calloc(bytes, 1);
            EXPECT(block != NULL && is_filled(block, bytes, 0));
            memset(block, 0xff, bytes);
            free(block);
        }
    }
}

// Grows by steps from 1 byte, then jumps up and down: what both sizes have stays.
static void check_realloc(void)
{
    size_t bytes = 1;
    unsigned char *block = realloc(NULL, bytes);
    *block = 7;
    for (int step = 0; step < 400; step++) {
        size_t wanted = step < 60 ? bytes * 3 / 2 + 1 : 1 + random_below(8 * MEBIBYTE);
        if (wanted > 64 * MEBIBYTE) wanted = MEBIBYTE;
        block = realloc(block, wanted);
        size_t kept = wanted < bytes ? wanted : bytes;
        EXPECT(block != NULL && is_filled(block, kept, 7));
        bytes = wanted;
        memset(block, 7, bytes);
    }
    EXPECT(realloc(block, 0) == NULL);
}

static void check_aligned(void)
{
    for (size_t alignment = sizeof(void *); alignment <= 4 * MEBIBYTE; alignment *= 2) {
        for (size_t bytes = 1; bytes < 300000; bytes = bytes * 5 + 3) {
            void *block = NULL;
            EXPECT(posix_memalign(&block, alignment, bytes) == 0);
            unsigned char *other = memalign(alignment, bytes);
            void *third = aligned_alloc(alignment, bytes);
            EXPECT((uintptr_t)block % alignment == 0 && (uintptr_t)other % alignment == 0);
            EXPECT((uintptr_t)third % alignment == 0 && malloc_usable_size(third) >= bytes);
            memset(block, 1, bytes);
            memset(other, 2, bytes);
            other = realloc(other, bytes * 2);
            EXPECT(is_filled(block, bytes, 1) && is_filled(other, bytes, 2));
            free(block);
            free(other);
            free(third);
        }
    }
    EXPECT((uintptr_t)valloc(1) % 4096 == 0 && (uintptr_t)pvalloc(5000) % 4096 == 0);
}

static void check_refusals(void)
{
    volatile size_t huge = SIZE_MAX;
    void *block = NULL;
    EXPECT(malloc(huge) == NULL && errno == ENOMEM);
    EXPECT(malloc(huge / 2) == NULL && calloc(huge / 2, 3) == NULL);
    EXPECT(reallocarray(NULL, huge / 2, 3) == NULL && aligned_alloc(64, huge) == NULL);
    EXPECT(posix_memalign(&block, 64, huge) == ENOMEM && block == NULL);
    void *kept = malloc_filled(10, 3);
    EXPECT(realloc(kept, huge) == NULL && is_filled(kept, 10, 3));
    free(kept);
    free(NULL);
    EXPECT(malloc_usable_size(NULL) == 0);
    EXPECT(malloc(0) != NULL);
}

static void check_fork(void)
{
    void *block = malloc_filled(1000, 9);
    pid_t child = fork();
    if (child == 0) {
        EXPECT(is_filled(block, 1000, 9));
        free(block);
        free(malloc_filled(1000, 8));
        _exit(0);
    }
    int status = 1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(is_filled(block, 1000, 9));
}

static int calls(void)
{
    check_sizes();
    check_last_freed_is_next();
    check_calloc();
    check_realloc();
    check_aligned();
    check_refusals();
    check_fork();
    return 0;
}

// --- a server of one thread, as larson's ---------------------------------------------------------

struct slot {
    unsigned char *block;
    size_t bytes;
};

static void *serve(void *argument)
{
    struct slot *slots = argument;
    for (int i = 0; i < REPLACEMENTS; i++) {
        struct slot *slot = &slots[random_below(SLOTS)];
        EXPECT(is_filled(slot->block, slot->bytes, (unsigned char)slot->bytes));
        free(slot->block);
        slot->bytes = 8 + random_below(993);
        slot->block = malloc_filled(slot->bytes, (unsigned char)slot->bytes);
    }
    return slots;
}

// In threads of their own, one after the other; 0: in main.
static int server(int threads)
{
    static struct slot slots[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        slots[i].bytes = 8 + random_below(993);
        slots[i].block = malloc_filled(slots[i].bytes, (unsigned char)slots[i].bytes);
    }
    if (threads == 0) serve(slots);
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        void *result = NULL;
        EXPECT(pthread_create(&thread, NULL, serve, slots) == 0);
        EXPECT(pthread_join(thread, &result) == 0 && result == slots);
    }
    return 0;
}

// --- what cannot be served -----------------------------------------------------------------------

static int waits(void)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&lock);
    return pthread_cond_wait(&changed, &lock);
}

static void *nothing(void *argument) { return argument; }

static int second_thread(void)
{
    pthread_t first, second;
    pthread_create(&first, NULL, nothing, NULL);
    pthread_create(&second, NULL, nothing, NULL);
    return 0;
}

static int barrier(unsigned count)
{
    pthread_barrier_t all;
    EXPECT(pthread_barrier_init(&all, NULL, count) == 0);
    return pthread_barrier_wait(&all) == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : 1;
}

static int leaves(void) { pthread_exit(NULL); }

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "calls") == 0) return calls();
    if (strcmp(what, "server") == 0) return server(0);
    if (strcmp(what, "servers") == 0) return server(3);
    if (strcmp(what, "second") == 0) return second_thread();
    if (strcmp(what, "waits") == 0) return waits();
    if (strcmp(what, "barrier1") == 0) return barrier(1);
    if (strcmp(what, "barrier2") == 0) return barrier(2);
    if (strcmp(what, "leaves") == 0) return leaves();
    fprintf(stderr, "which program?\n");
    return 2;
}
