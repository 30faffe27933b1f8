/* stray.c: a malloc that goes wrong on purpose, in the program that $STRAY names as NAME:HOW, after
 * some calls: HOW is crash, hang, or wrong (a block is handed out twice). The rest of the family is
 * the C library's.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CALLS_BEFORE = 2000 };

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static _Atomic int calls;
static void *_Atomic twice;

static const char *stray_how(void)
{
    const char *value = getenv("STRAY"), *name = program_invocation_short_name;
    if (value == NULL || name == NULL) return "";
    size_t length = strlen(name);
    bool is_meant = strncmp(value, name, length) == 0 && value[length] == ':';
    return is_meant ? value + length + 1 : "";
}

void *malloc(size_t bytes)
{
    if (++calls >= CALLS_BEFORE) {
        const char *how = stray_how();
        if (strcmp(how, "crash") == 0) abort();
        while (strcmp(how, "hang") == 0) sleep(1);
        if (strcmp(how, "wrong") == 0 && bytes > 500) {
            if (twice == NULL) twice = __libc_malloc(4096);
            return twice;
        }
    }
    return __libc_malloc(bytes);
}

// Without it, a block that is handed out twice ends in the C library's own check.
void free(void *block) { (void)block; }

void *calloc(size_t count, size_t bytes) { return __libc_calloc(count, bytes); }
void *realloc(void *block, size_t bytes) { return __libc_realloc(block, bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return __libc_memalign(alignment, bytes); }
