/* mimalloc-new-delete.h: replaces operator new and delete of a whole C++ program.
 *
 * Include it in exactly one source file. All forms that the language lets a program replace are
 * here: plain, array and nothrow ones, sized deletes (C++14) and aligned ones (C++17). It compiles
 * with -fno-exceptions as well; mi_new throws std::bad_alloc where the program has the C++ library.
 */
#ifndef MIMALLOC_NEW_DELETE_H
#define MIMALLOC_NEW_DELETE_H
#if defined(__cplusplus)

#include <cstddef>
#include <new>
#include "mimalloc.h"

// Since C++11 a function without a specification may throw; before that the standard names what it
// throws.
#if (__cplusplus >= 201103L) || (defined(_MSC_VER) && _MSC_VER >= 1900)
#define MI_NEW_THROWS
#else
#define MI_NEW_THROWS throw(std::bad_alloc)
#endif

// The body of a nothrow form: what the new-handler throws ends here.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define MI_NEW_OR_NULL(call) { try { return call; } catch (...) { return NULL; } }
#else
#define MI_NEW_OR_NULL(call) { return call; }
#endif

void *operator new(std::size_t n) MI_NEW_THROWS { return mi_new(n); }
void *operator new[](std::size_t n) MI_NEW_THROWS { return mi_new(n); }

void *operator new(std::size_t n, const std::nothrow_t &) mi_attr_noexcept
MI_NEW_OR_NULL(mi_new_nothrow(n))
void *operator new[](std::size_t n, const std::nothrow_t &) mi_attr_noexcept
MI_NEW_OR_NULL(mi_new_nothrow(n))

void operator delete(void *p) mi_attr_noexcept { mi_free(p); }
void operator delete[](void *p) mi_attr_noexcept { mi_free(p); }
void operator delete(void *p, const std::nothrow_t &) mi_attr_noexcept { mi_free(p); }
void operator delete[](void *p, const std::nothrow_t &) mi_attr_noexcept { mi_free(p); }

#if (__cplusplus >= 201402L) || defined(__cpp_sized_deallocation) || defined(_MSC_VER)
void operator delete(void *p, std::size_t n) mi_attr_noexcept { mi_free_size(p, n); }
void operator delete[](void *p, std::size_t n) mi_attr_noexcept { mi_free_size(p, n); }
#endif

#if defined(__cpp_aligned_new)
void *operator new(std::size_t n, std::align_val_t a)
{
    return mi_new_aligned(n, static_cast<std::size_t>(a));
}
void *operator new[](std::size_t n, std::align_val_t a)
{
    return mi_new_aligned(n, static_cast<std::size_t>(a));
}
void *operator new(std::size_t n, std::align_val_t a, const std::nothrow_t &) noexcept
MI_NEW_OR_NULL(mi_new_aligned_nothrow(n, static_cast<std::size_t>(a)))
void *operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t &) noexcept
MI_NEW_OR_NULL(mi_new_aligned_nothrow(n, static_cast<std::size_t>(a)))

void operator delete(void *p, std::align_val_t a) noexcept
{
    mi_free_aligned(p, static_cast<std::size_t>(a));
}
void operator delete[](void *p, std::align_val_t a) noexcept
{
    mi_free_aligned(p, static_cast<std::size_t>(a));
}
void operator delete(void *p, std::align_val_t a, const std::nothrow_t &) noexcept
{
    mi_free_aligned(p, static_cast<std::size_t>(a));
}
void operator delete[](void *p, std::align_val_t a, const std::nothrow_t &) noexcept
{
    mi_free_aligned(p, static_cast<std::size_t>(a));
}
void operator delete(void *p, std::size_t n, std::align_val_t a) noexcept
{
    mi_free_size_aligned(p, n, static_cast<std::size_t>(a));
}
void operator delete[](void *p, std::size_t n, std::align_val_t a) noexcept
{
    mi_free_size_aligned(p, n, static_cast<std::size_t>(a));
}
#endif

#undef MI_NEW_OR_NULL
#undef MI_NEW_THROWS
#endif
#endif
