/* cxx.h: the C++ runtime, if the program has one: the new-handler, and throwing std::bad_alloc.
 *
 * Compiled as C++ both are called directly. Compiled as C the library must not need libstdc++, so
 * that they are weak references: NULL in a program without the C++ library. They stay NULL when
 * that is loaded later, with a plugin, so then its names are looked up. An exception passes through
 * our frames because they hold nothing to clean up and have unwind tables; on machines where C has
 * none by default, build with -fexceptions.
 *
 * A static program may have parts of the C++ library only: what it does not name is not linked, and
 * a weak reference does not change that. Where bad_alloc is not there, nobody can name it either,
 * but catch (...) can be, and it takes exceptions of any language (Itanium C++ ABI, 1.6.4): so the
 * operators of the C++ library that take std::nothrow return null then, too.
 */
#ifndef BASE_CXX_H
#define BASE_CXX_H
#include "base/base.h"

typedef void cxx_handler(void);
// The address of a name in what has been loaded meanwhile, or NULL. Given by the caller: it takes
// the OS.
typedef void *cxx_find(const char *name);
// Memory for what is thrown, from the caller, too, and back to it.
typedef void *cxx_take(size_t bytes);
typedef void cxx_give(void *memory);

#if defined(__cplusplus)
#include <new>

static inline cxx_handler *cxx_new_handler(cxx_find *) { return std::get_new_handler(); }

// Returns only where exceptions are switched off.
static inline void cxx_throw_bad_alloc(cxx_find *)
{
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#endif
}

static inline void cxx_throw_any(cxx_find *, cxx_take *, cxx_give *) {}

#else
#include <unwind.h>
#if MI_STATIC_OBJECT
#pragma weak _Unwind_RaiseException // there if the program catches anything
#define CXX_RAISE _Unwind_RaiseException
#else
#define CXX_RAISE NULL // looked up only: each weak reference of a library takes time at its start
#endif

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

struct cxx_runtime {
    void *(*allocate_exception)(size_t bytes);
    void (*throw_exception)(void *exception, void *type, void (*destructor)(void *));
    void (*destructor)(void *exception);
    void **table, **type;
};

// *pointer is a pointer of any type, also to a function.
static inline void cxx_look_up(void *pointer, const char *name, cxx_find *find)
{
    void *address = find(name);
    memcpy(pointer, &address, sizeof address);
}

static inline cxx_handler *cxx_new_handler(cxx_find *find)
{
    cxx_handler *(*get)(void) = _ZSt15get_new_handlerv;
    if (get == NULL) cxx_look_up(&get, "_ZSt15get_new_handlerv", find);
    return get == NULL ? NULL : get();
}

static inline bool cxx_can_throw(const struct cxx_runtime *runtime)
{
    return runtime->allocate_exception != NULL && runtime->throw_exception != NULL &&
           runtime->destructor != NULL && runtime->table != NULL && runtime->type != NULL;
}

// All of it: parts of two libraries do not fit together.
static inline void cxx_look_up_runtime(struct cxx_runtime *runtime, cxx_find *find)
{
    cxx_look_up(&runtime->allocate_exception, "__cxa_allocate_exception", find);
    cxx_look_up(&runtime->throw_exception, "__cxa_throw", find);
    cxx_look_up(&runtime->destructor, "_ZNSt9bad_allocD1Ev", find);
    cxx_look_up(&runtime->table, "_ZTVSt9bad_alloc", find);
    cxx_look_up(&runtime->type, "_ZTISt9bad_alloc", find);
}

// Returns only where there is no C++ library to throw with.
static inline void cxx_throw_bad_alloc(cxx_find *find)
{
    struct cxx_runtime runtime = {__cxa_allocate_exception, __cxa_throw, _ZNSt9bad_allocD1Ev,
                                  _ZTVSt9bad_alloc, _ZTISt9bad_alloc};
    if (!cxx_can_throw(&runtime)) cxx_look_up_runtime(&runtime, find);
    if (!cxx_can_throw(&runtime)) return;
    void **exception = (void **)runtime.allocate_exception(sizeof(void *));
    *exception = runtime.table + 2; // behind the offset to the top and the type
    runtime.throw_exception(exception, runtime.type, runtime.destructor);
}

// An exception that is not bad_alloc, in memory that is taken from `take` and ends with `give`.
// Returns when nobody catches it.
struct cxx_any {
    struct _Unwind_Exception exception;
    cxx_give *give;
};

static inline void cxx_end_any(_Unwind_Reason_Code reason, struct _Unwind_Exception *exception)
{
    (void)reason;
    struct cxx_any *any = (struct cxx_any *)exception;
    any->give(any);
}

static inline void cxx_throw_any(cxx_find *find, cxx_take *take, cxx_give *give)
{
    _Unwind_Reason_Code (*raise)(struct _Unwind_Exception *exception) = CXX_RAISE;
    if (raise == NULL) cxx_look_up(&raise, "_Unwind_RaiseException", find);
    struct cxx_any *any = raise == NULL ? NULL : (struct cxx_any *)take(sizeof *any);
    if (any == NULL) return;
    memset((void *)any, 0, sizeof *any); // of no known language
    any->exception.exception_cleanup = cxx_end_any;
    any->give = give;
    (void)raise(&any->exception);
    give(any);
}

#endif
#endif
