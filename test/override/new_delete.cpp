// mimalloc-new-delete.h: every operator of the program is ours, in each standard, with and without
// exceptions.
#include "mimalloc-new-delete.h"
#include <cstdio>
#include <cstdlib>
#include <string>

static int failed_count;

static void expect_ours(const void *block, int line)
{
    if (block == NULL || !mi_is_in_heap_region(block)) {
        failed_count++;
        std::fprintf(stderr, "line %d: another allocator's block\n", line);
    }
}
#define EXPECT_OURS(block) expect_ours(block, __LINE__)

static void test_forms()
{
    void *block = ::operator new(10);
    EXPECT_OURS(block);
    ::operator delete(block);
    block = ::operator new[](10);
    EXPECT_OURS(block);
    ::operator delete[](block);
    block = ::operator new(10, std::nothrow);
    EXPECT_OURS(block);
    ::operator delete(block, std::nothrow);
    block = ::operator new[](10, std::nothrow);
    EXPECT_OURS(block);
    ::operator delete[](block, std::nothrow);
    std::string text(1000, 'x');
    EXPECT_OURS(text.data());
}

#if defined(__cpp_aligned_new)
struct alignas(64) aligned_type { char bytes[64]; };

static void test_aligned_forms()
{
    aligned_type *one = new aligned_type;
    EXPECT_OURS(one);
    delete one;
    aligned_type *several = new aligned_type[3];
    EXPECT_OURS(several);
    delete[] several;
    one = new (std::nothrow) aligned_type;
    EXPECT_OURS(one);
    delete one;
}
#else
static void test_aligned_forms() {}
#endif

#if defined(__cpp_exceptions)
static void throwing_handler() { throw std::bad_alloc(); }

static void test_nothrow_forms_catch_what_the_new_handler_throws()
{
    static volatile std::size_t huge = ~std::size_t(0) / 2 - 1;
    std::set_new_handler(throwing_handler);
    if (::operator new(huge, std::nothrow) != NULL) failed_count++;
    if (::operator new[](huge, std::nothrow) != NULL) failed_count++;
#if defined(__cpp_aligned_new)
    if (::operator new(huge, std::align_val_t(64), std::nothrow) != NULL) failed_count++;
    if (::operator new[](huge, std::align_val_t(64), std::nothrow) != NULL) failed_count++;
#endif
    std::set_new_handler(NULL);
}
#else
static void test_nothrow_forms_catch_what_the_new_handler_throws() {}
#endif

int main()
{
    test_nothrow_forms_catch_what_the_new_handler_throws();
    test_forms();
    test_aligned_forms();
    return failed_count == 0 ? 0 : 1;
}
