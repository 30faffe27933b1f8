// mimalloc-override.h: the calls in this file are ours, those of the C library are not. C99 and
// later, C++98 and later.
#include "mimalloc-override.h"
#include <stdio.h>

static int failed_count;

static void expect_ours(void *block, const char *call)
{
    if (block == NULL || !mi_is_in_heap_region(block)) {
        failed_count++;
        fprintf(stderr, "%s gave another allocator's block\n", call);
    }
    free(block);
}
#define EXPECT_OURS(call) expect_ours(call, #call)

static void test_standard_names(void)
{
    void *block = NULL;
    EXPECT_OURS(malloc(10));
    EXPECT_OURS(calloc(10, 10));
    EXPECT_OURS(realloc(malloc(10), 10000));
    EXPECT_OURS(strdup("text"));
    EXPECT_OURS(strndup("text", 2));
    EXPECT_OURS(realpath("/", NULL));
    EXPECT_OURS(reallocf(NULL, 10));
    EXPECT_OURS(valloc(10));
    EXPECT_OURS(pvalloc(10));
    EXPECT_OURS(reallocarray(NULL, 10, 10));
    EXPECT_OURS(memalign(64, 10));
    EXPECT_OURS(aligned_alloc(64, 10));
    if (posix_memalign(&block, 64, 10) == 0) EXPECT_OURS(block);
    if (_posix_memalign(&block, 64, 10) == 0) EXPECT_OURS(block);
    block = malloc(100);
    if (malloc_size(block) < 100 || malloc_usable_size(block) < 100) failed_count++;
    cfree(block);
}

static void test_names_of_windows(void)
{
    unsigned short wide[] = {'a', 0};
    unsigned char bytes[] = "text";
    char *value = NULL;
    size_t length = 0;
    void *block = malloc(100);
    if (_expand(block, 50) != block || _msize(block) < 100) failed_count++;
    EXPECT_OURS(block);
    EXPECT_OURS(_recalloc(NULL, 10, 10));
    EXPECT_OURS(_strdup("text"));
    EXPECT_OURS(_strndup("text", 2));
    EXPECT_OURS(_wcsdup(wide));
    EXPECT_OURS(_mbsdup(bytes));
    if (_dupenv_s(&value, &length, "PATH") != 0 || length < 2) failed_count++;
    EXPECT_OURS(value);
    block = _aligned_malloc(10, 64);
    block = _aligned_realloc(block, 100, 64);
    if (_aligned_msize(block, 64, 0) < 100) failed_count++;
    _aligned_free(block);
    EXPECT_OURS(_aligned_recalloc(NULL, 10, 10, 64));
    block = _aligned_offset_malloc(100, 64, 16);
    EXPECT_OURS(_aligned_offset_realloc(block, 200, 64, 16));
    EXPECT_OURS(_aligned_offset_recalloc(NULL, 10, 10, 64, 16));
}

static void test_typed_macros(void)
{
    long *numbers = mi_mallocn_tp(long, 10);
    numbers = mi_reallocn_tp(numbers, long, 20);
    EXPECT_OURS(numbers);
    numbers = mi_calloc_tp(long, 10);
    numbers = mi_recalloc_tp(numbers, long, 20);
    if (numbers[19] != 0) failed_count++;
    EXPECT_OURS(numbers);
    EXPECT_OURS(mi_malloc_tp(long));
    EXPECT_OURS(mi_zalloc_tp(long));
}

int main(void)
{
    test_standard_names();
    test_names_of_windows();
    test_typed_macros();
    return failed_count == 0 ? 0 : 1;
}
