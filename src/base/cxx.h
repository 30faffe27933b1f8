/* cxx.h: the C++ runtime, if the program has one: the new-handler, and throwing std::bad_alloc.
 *
 * Compiled as C++ both are called directly. Compiled as C the library must not need libstdc++, so
 * that they are weak references: NULL in a program without the C++ library. An exception passes
 * through our frames because they hold nothing to clean up and have unwind tables; on machines
 * where C has none by default, build with -fexceptions.
 */
#ifndef BASE_CXX_H
#define BASE_CXX_H
#include "base/base.h"

typedef void cxx_handler(void);

#if defined(__cplusplus)
#include <new>

static inline cxx_handler *cxx_new_handler(void) { return std::get_new_handler(); }

// Returns only where exceptions are switched off.
static inline void cxx_throw_bad_alloc(void)
{
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#endif
}

// Calls the handler. true: try again; false: it threw, and the caller may not.
static inline bool cxx_call_handler_nothrow(cxx_handler *handler)
{
#if defined(__cpp_exceptions)
    try { handler(); } catch (const std::bad_alloc &) { return false; }
#else
    handler();
#endif
    return true;
}

#else

// std::get_new_handler(), and what a throw-expression is made of in the Itanium C++ ABI. Any of
// these may be missing from a static program. A program that catches bad_alloc has its type at
// least, and what throws; std::__throw_bad_alloc() is often not there.
extern cxx_handler *_ZSt15get_new_handlerv(void) __attribute__((weak));
extern void *__cxa_allocate_exception(size_t bytes) __attribute__((weak));
extern void __cxa_throw(void *exception, void *type, void (*destructor)(void *))
    __attribute__((weak, noreturn));
extern void *_ZTVSt9bad_alloc[] __attribute__((weak)); // its virtual functions
extern void *_ZTISt9bad_alloc[] __attribute__((weak)); // its type
extern void _ZNSt9bad_allocD1Ev(void *exception) __attribute__((weak));

static inline cxx_handler *cxx_new_handler(void)
{
    return _ZSt15get_new_handlerv == NULL ? NULL : _ZSt15get_new_handlerv();
}

// Returns only where there is no C++ library to throw with.
static inline void cxx_throw_bad_alloc(void)
{
    if (__cxa_allocate_exception == NULL || __cxa_throw == NULL) return;
    if (_ZTVSt9bad_alloc == NULL || _ZTISt9bad_alloc == NULL || _ZNSt9bad_allocD1Ev == NULL) return;
    void **exception = (void **)__cxa_allocate_exception(sizeof(void *));
    *exception = _ZTVSt9bad_alloc + 2; // behind the offset to the top and the type
    __cxa_throw(exception, _ZTISt9bad_alloc, _ZNSt9bad_allocD1Ev);
}

// C cannot catch: what the handler throws goes on to the caller.
static inline bool cxx_call_handler_nothrow(cxx_handler *handler)
{
    handler();
    return true;
}

#endif
#endif
