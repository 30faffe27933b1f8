/* api_test.h: what every test shares that sees the library only through its public headers.
 *
 *   TEST(name) { ... }     registers itself; `name` is the fact that it proves
 *   EXPECT(condition)      any thread; one line for a failure, the test goes on
 *   ENSURE(condition)      the same, and leaves the function
 *   TEST_MAIN              main: runs every test, or those whose names contain an argument
 *
 * Works in C11 and C++17. A block is filled with a pattern that depends on its address and length,
 * so that a block that overlaps another one, or lost its contents, is noticed wherever it is
 * checked.
 */
#ifndef TEST_SUPPORT_API_TEST_H
#define TEST_SUPPORT_API_TEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "sanitizers.h"

#ifndef MI_DEBUG
#define MI_DEBUG 0
#endif
#ifndef MI_SECURE
#define MI_SECURE 0
#endif

enum {
    TEST_IS_DEBUG = (MI_DEBUG > 0),
    TEST_IS_SECURE = (MI_SECURE > 0),
    TEST_HAS_STATES = (MI_DEBUG > 0 || MI_SECURE > 0), // each bad free is found at the call
    TEST_IS_EXACT = (MI_DEBUG == 0),              // no padding: usable size is the block's size
    TEST_IS_SANITIZED = (TEST_ASAN || TEST_TSAN), // slow
    // Resident memory says how much is in use. Not with a sanitizer's own, nor with all checkers:
    // they read fresh memory, and not every kernel has one page of zeros for all that is only read.
    TEST_RESIDENT_TELLS = (!TEST_IS_SANITIZED && MI_DEBUG < 2),
    TEST_MAX_COUNT = 256,
    TEST_MAX_LINES = 10 // failures shown per test: a loop must not flood
};

struct test_entry {
    const char *name;
    void (*run)(void);
};

struct test_state {
    struct test_entry entries[TEST_MAX_COUNT];
    int count;
    int failures; // [any] atomic
    int shown;    // [any] atomic, of the running test
};

static struct test_state test_state;

__attribute__((unused)) static void test_add(const char *name, void (*run)(void))
{
    if (test_state.count == TEST_MAX_COUNT) return;
    test_state.entries[test_state.count].name = name;
    test_state.entries[test_state.count].run = run;
    test_state.count++;
}

#define TEST(name) \
    static void test_##name(void); \
    __attribute__((constructor)) static void test_add_##name(void) \
    { \
        test_add(#name, test_##name); \
    } \
    static void test_##name(void)

__attribute__((unused)) static void test_failed(const char *file, int line, const char *text)
{
    // relaxed: numbers to be read when all threads are joined
    __atomic_add_fetch(&test_state.failures, 1, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&test_state.shown, 1, __ATOMIC_RELAXED) > TEST_MAX_LINES) return;
    fprintf(stderr, "%s:%d: expected %s\n", file, line, text);
}

__attribute__((unused)) static int test_failures(void)
{
    return __atomic_load_n(&test_state.failures, __ATOMIC_RELAXED);
}

#define EXPECT(condition) \
    do { \
        if (!(condition)) test_failed(__FILE__, __LINE__, #condition); \
    } while (0)
#define ENSURE(condition) \
    do { \
        if (!(condition)) { \
            test_failed(__FILE__, __LINE__, #condition); \
            return; \
        } \
    } while (0)

__attribute__((unused)) static int test_run_all(int argc, char **argv)
{
    int ran = 0;
    for (int i = 0; i < test_state.count; i++) {
        struct test_entry *entry = &test_state.entries[i];
        if (argc > 1 && strstr(entry->name, argv[1]) == NULL) continue;
        ran++;
        int before = test_failures();
        __atomic_store_n(&test_state.shown, 0, __ATOMIC_RELAXED);
        entry->run();
        if (test_failures() > before) {
            fprintf(stderr, "FAILED %s (%d)\n", entry->name, test_failures() - before);
        }
    }
    if (ran == 0) fprintf(stderr, "no test has that name\n");
    return ran > 0 && test_failures() == 0 ? 0 : 1;
}

#define TEST_MAIN \
    int main(int argc, char **argv) { return test_run_all(argc, argv); }

// Hides from the compiler where a pointer comes from: tests pass pointers that a compiler would
// warn of, and calls whose result it would remove or assume.
__attribute__((unused)) static void *launder(const void *pointer)
{
    void *volatile hidden = (void *)(uintptr_t)pointer;
    return hidden;
}

__attribute__((unused)) static size_t launder_size(size_t value)
{
    volatile size_t hidden = value;
    return hidden;
}

// xorshift64*: repeatable on every machine.
struct test_random {
    uint64_t state;
};

__attribute__((unused)) static uint64_t random_next(struct test_random *random)
{
    uint64_t x = random->state != 0 ? random->state : 0x9E3779B97F4A7C15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * 0x2545F4914F6CDD1Du;
}

__attribute__((unused)) static size_t random_below(struct test_random *random, size_t bound)
{
    return (size_t)((random_next(random) >> 11) % bound);
}

__attribute__((unused)) static bool is_aligned(const void *pointer, size_t alignment)
{
    return ((uintptr_t)pointer & (alignment - 1)) == 0;
}

__attribute__((unused)) static unsigned char pattern_byte(uint64_t tag)
{
    return (unsigned char)((tag * 0x9E3779B97F4A7C15u) >> 56);
}

// Marks the whole of a short block, and of a long one its ends and a byte in every 4 KiB, so that
// tests of large blocks stay quick.
__attribute__((unused)) static void pattern_fill(void *pointer, size_t bytes, uint64_t tag)
{
    unsigned char *block = (unsigned char *)pointer;
    unsigned char value = pattern_byte(tag);
    if (bytes <= 2048) {
        memset(block, value, bytes);
        return;
    }
    memset(block, value, 512);
    memset(block + bytes - 512, value, 512);
    for (size_t at = 4096; at < bytes - 512; at += 4096) block[at] = value;
}

__attribute__((unused)) static bool pattern_is_kept(const void *pointer, size_t bytes, uint64_t tag)
{
    const unsigned char *block = (const unsigned char *)pointer;
    unsigned char value = pattern_byte(tag);
    size_t edge = bytes <= 2048 ? bytes : 512;
    for (size_t i = 0; i < edge; i++) {
        if (block[i] != value || block[bytes - 1 - i] != value) return false;
    }
    for (size_t at = 4096; at + 512 < bytes; at += 4096) {
        if (block[at] != value) return false;
    }
    return true;
}

__attribute__((unused)) static bool is_zero(const void *pointer, size_t bytes)
{
    const unsigned char *block = (const unsigned char *)pointer;
    for (size_t i = 0; i < bytes; i++) {
        if (block[i] != 0) return false;
    }
    return true;
}

#endif
