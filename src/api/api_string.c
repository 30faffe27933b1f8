// Copies of strings, and the C library's functions that return one.
#include <errno.h>
#include <stdlib.h>
#include "base/base.h"
#include "mimalloc.h"
#include "prim/prim.h"

// Characters of a string, at most `max_count`. strnlen is not in C11.
static size_t string_length(const char *string, size_t max_count)
{
    const void *end = memchr(string, 0, max_count);
    return end == NULL ? max_count : (size_t)((const char *)end - string);
}

// Fills a fresh block of length + 1 bytes; passes NULL on.
static char *string_copy(void *block, const char *string, size_t length)
{
    if (block == NULL) return NULL;
    char *copy = (char *)block;
    memcpy(copy, string, length);
    copy[length] = 0;
    return copy;
}

char *mi_strdup(const char *s)
{
    if (s == NULL) return NULL;
    size_t length = strlen(s);
    return string_copy(mi_malloc(length + 1), s, length);
}

char *mi_strndup(const char *s, size_t n)
{
    if (s == NULL) return NULL;
    size_t length = string_length(s, n);
    return string_copy(mi_malloc(length + 1), s, length);
}

char *mi_heap_strdup(mi_heap_t *heap, const char *s)
{
    if (s == NULL) return NULL;
    size_t length = strlen(s);
    return string_copy(mi_heap_malloc(heap, length + 1), s, length);
}

char *mi_heap_strndup(mi_heap_t *heap, const char *s, size_t n)
{
    if (s == NULL) return NULL;
    size_t length = string_length(s, n);
    return string_copy(mi_heap_malloc(heap, length + 1), s, length);
}

// The absolute path in `buffer`; false with errno set on failure.
static bool string_resolve(const char *path, char *buffer)
{
    int error = prim_real_path(path, buffer);
    if (error != 0) errno = error;
    return error == 0;
}

cold char *mi_realpath(const char *fname, char *resolved_name)
{
    if (resolved_name != NULL) return string_resolve(fname, resolved_name) ? resolved_name : NULL;
    char path[PRIM_PATH_BYTES];
    return string_resolve(fname, path) ? mi_strdup(path) : NULL;
}

cold char *mi_heap_realpath(mi_heap_t *heap, const char *fname, char *resolved_name)
{
    if (resolved_name != NULL) return string_resolve(fname, resolved_name) ? resolved_name : NULL;
    char path[PRIM_PATH_BYTES];
    return string_resolve(fname, path) ? mi_heap_strdup(heap, path) : NULL;
}

unsigned short *mi_wcsdup(const unsigned short *s)
{
    if (s == NULL) return NULL;
    size_t count = 1; // with the terminator
    while (s[count - 1] != 0) count++;
    void *copy = mi_mallocn(count, sizeof *s);
    return copy == NULL ? NULL : (unsigned short *)memcpy(copy, s, count * sizeof *s);
}

unsigned char *mi_mbsdup(const unsigned char *s)
{
    return (unsigned char *)mi_strdup((const char *)s);
}

cold int mi_dupenv_s(char **buf, size_t *size, const char *name)
{
    if (buf == NULL || name == NULL) return EINVAL;
    const char *value = getenv(name);
    char *copy = mi_strdup(value);
    *buf = copy;
    if (size != NULL) *size = copy == NULL ? 0 : strlen(copy) + 1;
    return value != NULL && copy == NULL ? ENOMEM : 0;
}

cold int mi_wdupenv_s(unsigned short **buf, size_t *size, const unsigned short *name)
{
    if (buf == NULL || name == NULL) return EINVAL;
    *buf = NULL;
    if (size != NULL) *size = 0;
    return EINVAL; // no system described in prim/ has a wide environment
}
