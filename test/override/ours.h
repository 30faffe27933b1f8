/* ours.h: is a block from this allocator? For programs that may run without it, so that its
 * functions are looked up by name; LINKED says that the program is linked with it, perhaps
 * statically, and they are simply called. */
#ifndef TEST_OVERRIDE_OURS_H
#define TEST_OVERRIDE_OURS_H
#include <stdio.h>
#include <stdlib.h>

#if defined(LINKED)
#include "mimalloc.h"
static int is_ours(const void *p) { return mi_is_in_heap_region(p); }
#else
#include <dlfcn.h>
typedef bool is_ours_function(const void *p);
static int is_ours(const void *p)
{
    is_ours_function *function;
    *(void **)&function = dlsym(RTLD_DEFAULT, "mi_is_in_heap_region");
    return function != NULL && function(p);
}
#endif

static int failed_count;
#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            failed_count++; \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

#endif
