/* test_errors.c: requests that must fail: sizes, products, names; errno; the error handler. */
#include "mimalloc.h"
#include "../support/child.h"
#include <errno.h>

// Every call that allocates must answer NULL and set errno to ENOMEM.
#define EXPECT_NO_MEMORY(call) \
    do { \
        errno = 0; \
        EXPECT((call) == NULL); \
        EXPECT(errno == ENOMEM); \
    } while (0)

TEST(sizes_over_PTRDIFF_MAX_fail_with_ENOMEM)
{
    static const size_t sizes[] = {SIZE_MAX,          SIZE_MAX - 1,           SIZE_MAX - 15,
                                   SIZE_MAX - 4096,   SIZE_MAX - 65536,       SIZE_MAX / 2 + 1,
                                   SIZE_MAX / 2 + 17, (size_t)PTRDIFF_MAX + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes = launder_size(sizes[i]);
        EXPECT_NO_MEMORY(mi_malloc(bytes));
        EXPECT_NO_MEMORY(mi_zalloc(bytes));
        EXPECT_NO_MEMORY(mi_calloc(1, bytes));
        EXPECT_NO_MEMORY(mi_calloc(bytes, 1));
        EXPECT_NO_MEMORY(mi_mallocn(bytes, 1));
        EXPECT_NO_MEMORY(mi_realloc(NULL, bytes));
        EXPECT_NO_MEMORY(mi_reallocf(NULL, bytes));
        EXPECT_NO_MEMORY(mi_rezalloc(NULL, bytes));
        EXPECT_NO_MEMORY(mi_valloc(bytes));
        EXPECT_NO_MEMORY(mi_pvalloc(bytes));
        EXPECT_NO_MEMORY(mi_memalign(64, bytes));
        EXPECT_NO_MEMORY(mi_aligned_alloc(64, bytes));
        EXPECT_NO_MEMORY(mi_malloc_aligned(bytes, 4096));
        EXPECT_NO_MEMORY(mi_zalloc_aligned(bytes, 1 << 20));
        EXPECT_NO_MEMORY(mi_new_nothrow(bytes));
        EXPECT_NO_MEMORY(mi_new_aligned_nothrow(bytes, 64));
        EXPECT_NO_MEMORY(mi_heap_malloc(mi_heap_get_default(), bytes));
        EXPECT_NO_MEMORY(mi_heap_zalloc(mi_heap_get_default(), bytes));
    }
}

TEST(sizes_that_no_machine_has_fail_with_ENOMEM)
{
    if (sizeof(size_t) < 8 || TEST_IS_SANITIZED) return;
    EXPECT_NO_MEMORY(mi_malloc(launder_size(PTRDIFF_MAX)));
    EXPECT_NO_MEMORY(mi_malloc(launder_size(PTRDIFF_MAX - 70000)));
    EXPECT_NO_MEMORY(mi_malloc(launder_size((size_t)1 << 50)));
    EXPECT_NO_MEMORY(mi_calloc(launder_size((size_t)1 << 30), (size_t)1 << 20));
    EXPECT_NO_MEMORY(mi_malloc_aligned(launder_size(PTRDIFF_MAX), 1 << 22));
    void *block = mi_malloc(100);
    EXPECT(block != NULL);
    mi_free(block);
}

TEST(products_that_overflow_fail_with_ENOMEM)
{
    static const size_t factors[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {SIZE_MAX / 2 + 1, 2},
        {SIZE_MAX / 3 + 1, 3},
        {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4)},
        {SIZE_MAX, SIZE_MAX},
        {SIZE_MAX / 16 + 2, 16} // wraps to a small size
    };
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        size_t count = launder_size(factors[i][0]);
        size_t bytes = launder_size(factors[i][1]);
        EXPECT_NO_MEMORY(mi_calloc(count, bytes));
        EXPECT_NO_MEMORY(mi_mallocn(count, bytes));
        EXPECT_NO_MEMORY(mi_reallocn(NULL, count, bytes));
        EXPECT_NO_MEMORY(mi_reallocarray(NULL, count, bytes));
        EXPECT_NO_MEMORY(mi_recalloc(NULL, count, bytes));
        EXPECT_NO_MEMORY(mi_calloc_aligned(count, bytes, 64));
        EXPECT_NO_MEMORY(mi_recalloc_aligned(NULL, count, bytes, 64));
        EXPECT_NO_MEMORY(mi_heap_calloc(mi_heap_get_default(), count, bytes));
    }
}

TEST(a_resize_that_fails_keeps_the_block)
{
    char *block = mi_strdup("kept");
    ENSURE(block != NULL);
    EXPECT_NO_MEMORY(mi_realloc(block, launder_size(SIZE_MAX)));
    EXPECT_NO_MEMORY(mi_reallocn(block, launder_size(SIZE_MAX), 2));
    EXPECT_NO_MEMORY(mi_rezalloc(block, launder_size(SIZE_MAX)));
    EXPECT_NO_MEMORY(mi_recalloc(block, launder_size(SIZE_MAX), 2));
    EXPECT_NO_MEMORY(mi_realloc_aligned(block, launder_size(SIZE_MAX), 64));
    EXPECT_NO_MEMORY(mi__expand(block, launder_size(SIZE_MAX)));
    EXPECT(strcmp(block, "kept") == 0);
    mi_free(block);
}

TEST(a_success_leaves_errno_alone)
{
    errno = 77;
    void *small = mi_malloc(10);
    void *large = mi_malloc(10000000);
    void *zeroed = mi_calloc(100, 100);
    void *aligned = mi_malloc_aligned(100, 65536);
    void *posix = NULL;
    EXPECT(mi_posix_memalign(&posix, 64, 100) == 0);
    EXPECT(mi_posix_memalign(&posix, 3, 100) == EINVAL);
    EXPECT(errno == 77);
    mi_free(small);
    mi_free(large);
    mi_free(zeroed);
    mi_free(aligned);
    mi_free(posix);
    mi_free(NULL);
    mi_collect(true);
    EXPECT(errno == 77);
}

TEST(free_leaves_errno_alone_in_any_order)
{
    static void *blocks[3000];
    for (size_t i = 0; i < 3000; i++) {
        blocks[i] = mi_malloc(i % 100 == 0 ? 400000 + i * 100 : i);
        ENSURE(blocks[i] != NULL);
    }
    errno = 77;
    for (size_t i = 0; i < 3000; i++) mi_free(blocks[(i * 7) % 3000]);
    EXPECT(errno == 77);
}

struct codes {
    int count, last;
    void *arg;
};
static struct codes codes;

static void record_code(int code, void *arg)
{
    codes.count++;
    codes.last = code;
    codes.arg = arg;
    errno = 5; // a handler may do that; the caller still sees ENOMEM
}

static void fail_with_handler(void *arg)
{
    (void)arg;
    mi_register_error(record_code, &codes);
    EXPECT_NO_MEMORY(mi_malloc(launder_size(SIZE_MAX)));
    EXPECT(codes.count == 1 && codes.last == EOVERFLOW && codes.arg == &codes);
    EXPECT_NO_MEMORY(mi_calloc(launder_size(SIZE_MAX), 2));
    EXPECT(codes.count == 2 && codes.last == EOVERFLOW);
    if (!TEST_IS_SANITIZED && sizeof(size_t) == 8) {
        EXPECT_NO_MEMORY(mi_malloc(launder_size((size_t)1 << 47)));
        EXPECT(codes.count == 3 && codes.last == ENOMEM);
    }
    int before = codes.count;
    mi_register_error(NULL, NULL);
    EXPECT_NO_MEMORY(mi_malloc(launder_size(SIZE_MAX)));
    EXPECT(codes.count == before);
}

TEST(a_registered_handler_hears_of_failed_requests)
{
    struct child child;
    child_run(&child, fail_with_handler, NULL);
    EXPECT(child_is_well(&child));
}

static void fail_quietly(void *arg)
{
    mi_option_set(mi_option_show_errors, *(const int *)arg);
    mi_option_set(mi_option_max_errors, 1000000); // the tests before have used some up
    EXPECT_NO_MEMORY(mi_malloc(launder_size(SIZE_MAX)));
}

TEST(a_failed_request_is_printed_only_when_asked_for)
{
    struct child child;
    int show = 0;
    child_run(&child, fail_quietly, &show);
    EXPECT(child_is_well(&child) && child.bytes == 0);
    show = 1;
    child_run(&child, fail_quietly, &show);
    EXPECT(child_is_well(&child) && child_line_count(&child) == 1);
    EXPECT(strncmp(child.text, "mimalloc: ", 10) == 0);
}

int main(int argc, char **argv)
{
    mi_option_set(mi_option_show_errors, 0); // debug builds would print each failure
    return test_run_all(argc, argv);
}
