/* test.h: a small frame for unit tests, which see the insides of the library.
 *
 *   TEST(name) { ... }           registers itself; `name` is the fact that it proves
 *   EXPECT(condition)            any thread; a failure prints one line, and the test goes on
 *   EXPECT_EQ(a, b)              integers, printed when they differ
 *   EXPECT_TEXT(a, b)            strings, either may be NULL
 *   EXPECT_DEATH(statement, part)
 *                                the statement ends a child process with a signal or a status other
 *                                than 0, and what it wrote to stderr contains `part`
 *   EXPECT_STDERR(statement, all)
 *                                the statement runs to its end in a child process, and all that
 *                                it wrote to stderr is `all`
 *
 * test.c has main: it runs all tests of the program, or those named as arguments; 0 is success.
 * Works in C11 and C++17.
 */
#ifndef TEST_SUPPORT_TEST_H
#define TEST_SUPPORT_TEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "sanitizers.h"

struct test_case {
    const char       *name;
    void            (*run)(void);
    struct test_case *next;
};

// Adds a test to the program's list; the tests of a file run in the order of the file.
void test_add(struct test_case *test_case);
void test_fail(const char *file, int line, const char *text);
void test_expect_equal(const char *file, int line, const char *text, long long a, long long b);
void test_expect_text(const char *file, int line, const char *a, const char *b);

// Returns true in a child whose stderr is caught, and false in the parent after it has ended.
bool test_fork(void);
void test_child_end(void);
// Both judge the child of the last test_fork.
void test_expect_death(const char *file, int line, const char *part);
void test_expect_stderr(const char *file, int line, const char *all);

// A seed from the environment variable TEST_SEED, or a new one; printed, to be used again.
uint64_t test_seed(void);
// The next number of a sequence that starts with a seed.
uint64_t test_random(uint64_t *state);

#define TEST(name) \
    static void test_run_##name(void); \
    static struct test_case test_case_##name = {#name, test_run_##name, NULL}; \
    __attribute__((constructor)) static void test_add_##name(void) \
    { \
        test_add(&test_case_##name); \
    } \
    static void test_run_##name(void)

#define EXPECT(condition) \
    do { \
        if (!(condition)) test_fail(__FILE__, __LINE__, #condition); \
    } while (0)

#define EXPECT_EQ(a, b) \
    test_expect_equal(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b))

#define EXPECT_TEXT(a, b) test_expect_text(__FILE__, __LINE__, a, b)

#define EXPECT_DEATH(statement, part) \
    do { \
        if (test_fork()) { \
            statement; \
            test_child_end(); \
        } \
        test_expect_death(__FILE__, __LINE__, part); \
    } while (0)

#define EXPECT_STDERR(statement, all) \
    do { \
        if (test_fork()) { \
            statement; \
            test_child_end(); \
        } \
        test_expect_stderr(__FILE__, __LINE__, all); \
    } while (0)

#endif
