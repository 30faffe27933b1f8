// operator new for C++: asks the new-handler for memory until there is some, then throws or gives
// up.
#include <errno.h>
#include "base/base.h"
#include "base/cxx.h"
#include "core/report.h"
#include "mimalloc.h"
#include "prim/prim.h"

// What one of the functions here was asked for. `old` is the block to be resized, or NULL.
struct new_request {
    void  *old;
    size_t bytes;
    size_t alignment; // 0: as mi_malloc aligns
};

static void *new_try(const struct new_request *request)
{
    if (request->old != NULL) return mi_realloc(request->old, request->bytes);
    if (request->alignment != 0) return mi_malloc_aligned(request->bytes, request->alignment);
    return mi_malloc(request->bytes);
}

// Does not return, except by throwing.
static cold void new_fail(void)
{
    cxx_throw_bad_alloc(prim_find_cxx);
    cxx_throw_any(prim_find_cxx, mi_malloc, mi_free);
    report_always("out of memory in 'new', and no C++ library to throw std::bad_alloc", NULL);
    prim_exit(ENOMEM);
}

// The handler must free memory, install another handler, throw, or end the process: so says the
// standard, and so the loop ends.
static cold void *new_retry(const struct new_request *request)
{
    for (;;) {
        cxx_handler *handler = cxx_new_handler(prim_find_cxx);
        if (handler == NULL) new_fail();
        else handler();
        void *block = new_try(request);
        if (block != NULL) return block;
    }
}

// What the handler throws goes on to the caller: C cannot catch it.
static cold void *new_retry_nothrow(const struct new_request *request)
{
    for (;;) {
        cxx_handler *handler = cxx_new_handler(prim_find_cxx);
        if (handler == NULL) return NULL;
        handler();
        void *block = new_try(request);
        if (block != NULL) return block;
    }
}

// No handler can help against these.
static cold void *new_refused(size_t bytes, bool is_too_large)
{
    if (is_too_large) (void)report_no_memory(bytes, true);
    new_fail();
    return NULL;
}

on_cache_line void *mi_new(size_t size)
{
    void *block = mi_malloc(size);
    if (likely(block != NULL)) return block;
    struct new_request request = {NULL, size, 0};
    return new_retry(&request);
}

on_cache_line void *mi_new_nothrow(size_t size)
{
    void *block = mi_malloc(size);
    if (likely(block != NULL)) return block;
    struct new_request request = {NULL, size, 0};
    return new_retry_nothrow(&request);
}

void *mi_new_aligned(size_t size, size_t alignment)
{
    void *block = mi_malloc_aligned(size, alignment);
    if (likely(block != NULL)) return block;
    if (!bits_is_power_of_two(alignment)) return new_refused(size, false);
    struct new_request request = {NULL, size, alignment};
    return new_retry(&request);
}

void *mi_new_aligned_nothrow(size_t size, size_t alignment)
{
    void *block = mi_malloc_aligned(size, alignment);
    if (likely(block != NULL) || !bits_is_power_of_two(alignment)) return block;
    struct new_request request = {NULL, size, alignment};
    return new_retry_nothrow(&request);
}

void *mi_new_n(size_t count, size_t size)
{
    size_t bytes;
    if (unlikely(!bits_multiply(count, size, &bytes))) return new_refused(SIZE_MAX, true);
    return mi_new(bytes);
}

void *mi_new_realloc(void *p, size_t newsize)
{
    void *block = mi_realloc(p, newsize);
    if (likely(block != NULL)) return block;
    struct new_request request = {p, newsize, 0};
    return new_retry(&request);
}

void *mi_new_reallocn(void *p, size_t newcount, size_t size)
{
    size_t bytes;
    if (unlikely(!bits_multiply(newcount, size, &bytes))) return new_refused(SIZE_MAX, true);
    return mi_new_realloc(p, bytes);
}
