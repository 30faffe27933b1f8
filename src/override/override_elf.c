/* override_elf.c: the standard names on ELF systems, for a library that replaces malloc.
 *
 * Where a standard function means the same as one of ours its name is an alias: a second symbol at
 * the same address, without a jump. That works only behind the definitions, in one object: one.c
 * includes this file last.
 *
 *   preloaded, or linked in front of the C library
 *       The dynamic linker finds these names before the C library's own, for the C library's own
 *       calls of malloc and free as well.
 *   mimalloc-override.o in a static program
 *       The linker has these names already when it comes to libc.a, and leaves libc.a's malloc.o
 *       out, if nothing else asks for it: see the end of the part on glibc.
 *
 * Nothing but mi_* and the names in this file leaves the shared library.
 */
#include "base/base.h"
#include "core/report.h"
#include "core/stats.h"
#include "mimalloc.h"

#if MI_OVERRIDE && defined(__ELF__)
#include <errno.h>
#if defined(__GLIBC__)
#include <limits.h>
#include <stdio.h> // malloc_info writes to a stream of the program's
#include "api/api_glibc.h"
#endif

#if defined(__cplusplus)
#define OVERRIDE_C extern "C"
#define OVERRIDE_NOEXCEPT noexcept // as the C library's headers declare these for C++
#else
#define OVERRIDE_C extern
#define OVERRIDE_NOEXCEPT
#endif
#define OVERRIDE_EXPORT OVERRIDE_C __attribute__((visibility("default"), used))

#if defined(__has_attribute)
#if __has_attribute(copy)
#define OVERRIDE_COPY(target) , copy(target)
#endif
#endif
#if !defined(OVERRIDE_COPY)
#define OVERRIDE_COPY(target)
#endif

// `name` is another symbol for the function `target`, with the same type and attributes.
#define OVERRIDE_ALIAS(name, target) \
    OVERRIDE_EXPORT __typeof__(target) name __attribute__((alias(#target) OVERRIDE_COPY(target)))

// In an object to be linked a C++ operator is weak: a program may bring its own,
// mimalloc-new-delete.h for instance.
#if MI_STATIC_OBJECT
#define OVERRIDE_OPERATOR(name, target) OVERRIDE_ALIAS(name, target) __attribute__((weak))
#else
#define OVERRIDE_OPERATOR(name, target) OVERRIDE_ALIAS(name, target)
#endif

// Sized and aligned deletes are plain frees, except where their arguments are checked.
#if MI_DEBUG > 0 || MI_SECURE > 0
#define OVERRIDE_CHECKED(name, checked) OVERRIDE_OPERATOR(name, checked)
#else
#define OVERRIDE_CHECKED(name, checked) OVERRIDE_OPERATOR(name, mi_free)
#endif

// --- C and POSIX --------------------------------------------------------------------------------

OVERRIDE_ALIAS(malloc, mi_malloc);
OVERRIDE_ALIAS(calloc, mi_calloc);
OVERRIDE_ALIAS(free, mi_free);
OVERRIDE_ALIAS(aligned_alloc, mi_aligned_alloc);
OVERRIDE_ALIAS(posix_memalign, mi_posix_memalign);

// glibc's realloc(p, 0) frees; the C libraries of other systems, and mi_realloc, return a minimal
// block.
// The standard functions as the program sees them: ours, unless it brings its own.
OVERRIDE_C void *override_any_malloc(size_t size) __asm__("malloc");
OVERRIDE_C void *override_any_realloc(void *p, size_t size) __asm__("realloc");
OVERRIDE_C void override_any_free(void *p) __asm__("free");

#if defined(__GLIBC__)
// Under a name of its own, and `realloc` an alias: clang lets calls of a function that it sees the
// body of go there, whatever the program brings.
OVERRIDE_C void *override_realloc(void *p, size_t size) OVERRIDE_NOEXCEPT;
void *override_realloc(void *p, size_t size) OVERRIDE_NOEXCEPT
{
    if (unlikely(size == 0 && p != NULL)) {
        mi_free(p);
        return NULL;
    }
    return mi_realloc(p, size);
}
OVERRIDE_ALIAS(realloc, override_realloc);

OVERRIDE_EXPORT void *reallocarray(void *p, size_t count, size_t size) OVERRIDE_NOEXCEPT;
void *reallocarray(void *p, size_t count, size_t size) OVERRIDE_NOEXCEPT
{
    size_t bytes;
    if (unlikely(!bits_multiply(count, size, &bytes))) return report_no_memory(SIZE_MAX, true);
    return override_any_realloc(p, bytes);
}
#else
OVERRIDE_ALIAS(realloc, mi_realloc);
OVERRIDE_ALIAS(reallocarray, mi_reallocarray);
#endif

// --- functions beside malloc and free ------------------------------------------------------------
// A program may bring a malloc of its own and take strdup from us: then the block must come from
// that malloc, which is what the dynamic symbol finds. So with free and free_sized.

OVERRIDE_EXPORT char *strdup(const char *s) OVERRIDE_NOEXCEPT;
char *strdup(const char *s) OVERRIDE_NOEXCEPT
{
    size_t bytes = strlen(s) + 1;
    char *copy = (char *)override_any_malloc(bytes);
    return copy == NULL ? NULL : (char *)memcpy(copy, s, bytes);
}

OVERRIDE_EXPORT char *strndup(const char *s, size_t n) OVERRIDE_NOEXCEPT;
char *strndup(const char *s, size_t n) OVERRIDE_NOEXCEPT
{
    const char *end = (const char *)memchr(s, 0, n);
    size_t length = end == NULL ? n : (size_t)(end - s);
    char *copy = length == SIZE_MAX ? NULL : (char *)override_any_malloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, s, length);
    copy[length] = '\0';
    return copy;
}

OVERRIDE_EXPORT void *reallocf(void *p, size_t size);
void *reallocf(void *p, size_t size)
{
    void *result = override_any_realloc(p, size);
    if (result == NULL && p != NULL && size != 0) override_any_free(p);
    return result;
}

// Where this build checks what free_sized is told, and the program does not bring its own free.
static bool override_checks_sizes(void)
{
    if (MI_DEBUG == 0 && MI_SECURE == 0) return false;
    void (*volatile function)(void *p) = override_any_free; // volatile: compilers know one `free`
    return function == mi_free;
}

OVERRIDE_EXPORT void free_sized(void *p, size_t size) OVERRIDE_NOEXCEPT;
void free_sized(void *p, size_t size) OVERRIDE_NOEXCEPT
{
    if (override_checks_sizes()) mi_free_size(p, size);
    else override_any_free(p);
}

// C23: the alignment comes first here, last in mi_free_size_aligned
OVERRIDE_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size) OVERRIDE_NOEXCEPT;
void free_aligned_sized(void *p, size_t alignment, size_t size) OVERRIDE_NOEXCEPT
{
    if (override_checks_sizes()) mi_free_size_aligned(p, size, alignment);
    else override_any_free(p);
}

// --- BSD, System V, macOS -----------------------------------------------------------------------
// reallocf and malloc_size are exported on every system, as in version 1.2.

OVERRIDE_ALIAS(memalign, mi_memalign);
OVERRIDE_ALIAS(valloc, mi_valloc);
OVERRIDE_ALIAS(pvalloc, mi_pvalloc);
OVERRIDE_ALIAS(malloc_size, mi_usable_size);
OVERRIDE_ALIAS(malloc_usable_size, mi_usable_size);
OVERRIDE_EXPORT void cfree(void *p) OVERRIDE_NOEXCEPT;
void cfree(void *p) OVERRIDE_NOEXCEPT { override_any_free(p); }

// --- glibc --------------------------------------------------------------------------------------

#if defined(__GLIBC__)
// 1 when memory went back to the system. `pad` is a wish about the top of a heap that is not made
// like ours.
OVERRIDE_EXPORT int malloc_trim(size_t pad) OVERRIDE_NOEXCEPT;
int malloc_trim(size_t pad) OVERRIDE_NOEXCEPT
{
    (void)pad;
    ATOMIC(int64_t) *given_back = &stats_process()->level[STAT_reset].added;
    // relaxed, both: numbers, and nothing else is read because of them
    int64_t before = atomic_load_explicit(given_back, memory_order_relaxed);
    mi_collect(true);
    return atomic_load_explicit(given_back, memory_order_relaxed) > before ? 1 : 0;
}

// glibc's parameters mean nothing here; programs stop when they are refused.
OVERRIDE_EXPORT int mallopt(int parameter, int value) OVERRIDE_NOEXCEPT;
int mallopt(int parameter, int value) OVERRIDE_NOEXCEPT
{
    (void)parameter;
    (void)value;
    return 1;
}

// The layouts are part of glibc's binary interface. <malloc.h> itself declares malloc_usable_size
// with another type than ours.
struct override_mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct override_mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

OVERRIDE_EXPORT struct override_mallinfo2 mallinfo2(void) OVERRIDE_NOEXCEPT;
struct override_mallinfo2 mallinfo2(void) OVERRIDE_NOEXCEPT
{
    struct glibc_numbers numbers;
    struct override_mallinfo2 info;
    glibc_gather(&numbers);
    info.arena = numbers.used_bytes + numbers.free_bytes;
    info.ordblks = numbers.free_blocks;
    info.smblks = info.usmblks = info.fsmblks = 0;
    info.hblks = numbers.large_blocks;
    info.hblkhd = numbers.large_bytes;
    info.uordblks = numbers.used_bytes;
    info.fordblks = numbers.free_bytes;
    info.keepcost = numbers.idle_bytes;
    return info;
}

static int override_saturate(size_t value) { return value > INT_MAX ? INT_MAX : (int)value; }

OVERRIDE_EXPORT struct override_mallinfo mallinfo(void) OVERRIDE_NOEXCEPT;
struct override_mallinfo mallinfo(void) OVERRIDE_NOEXCEPT
{
    struct override_mallinfo2 wide = mallinfo2();
    struct override_mallinfo info;
    info.arena = override_saturate(wide.arena);
    info.ordblks = override_saturate(wide.ordblks);
    info.smblks = info.usmblks = info.fsmblks = 0;
    info.hblks = override_saturate(wide.hblks);
    info.hblkhd = override_saturate(wide.hblkhd);
    info.uordblks = override_saturate(wide.uordblks);
    info.fordblks = override_saturate(wide.fordblks);
    info.keepcost = override_saturate(wide.keepcost);
    return info;
}

OVERRIDE_EXPORT void malloc_stats(void) OVERRIDE_NOEXCEPT;
void malloc_stats(void) OVERRIDE_NOEXCEPT { mi_stats_print(NULL); }

struct override_stream { FILE *file; bool has_failed; };

static void override_write(const char *line, void *arg)
{
    struct override_stream *stream = (struct override_stream *)arg;
    if (fputs(line, stream->file) < 0) stream->has_failed = true;
}

OVERRIDE_EXPORT int malloc_info(int options, FILE *file) OVERRIDE_NOEXCEPT;
int malloc_info(int options, FILE *file) OVERRIDE_NOEXCEPT
{
    struct override_stream stream = {file, false};
    if (options != 0) return EINVAL; // as glibc: none is defined
    glibc_write_xml(override_write, &stream);
    return stream.has_failed ? -1 : 0;
}

// Some programs and libraries call these to get past an interposed malloc. A block from one
// allocator must not be freed by another, so that they have to be the same.
OVERRIDE_ALIAS(__libc_malloc, mi_malloc);
OVERRIDE_ALIAS(__libc_calloc, mi_calloc);
OVERRIDE_ALIAS(__libc_realloc, realloc);
OVERRIDE_ALIAS(__libc_free, mi_free);
OVERRIDE_ALIAS(__libc_cfree, mi_free);
OVERRIDE_ALIAS(__libc_memalign, mi_memalign);
OVERRIDE_ALIAS(__libc_valloc, mi_valloc);
OVERRIDE_ALIAS(__libc_pvalloc, mi_pvalloc);
OVERRIDE_ALIAS(__posix_memalign, mi_posix_memalign);

#if MI_STATIC_OBJECT
/* What else libc.a asks its malloc.o for. Each of these, left undefined, would pull malloc.o in, so
 * that malloc, free and realloc were defined twice (they are strong there, the others weak).
 * Found in glibc 2.36 by comparing what malloc.o defines with what other members leave undefined:
 *
 *   malloc, calloc, realloc, free             everywhere
 *   __malloc_fork_lock_parent,                fork.o, around the fork: there is no lock here that a
 *     __malloc_fork_unlock_parent, _child     child could inherit
 *   __malloc_arena_thread_freeres             thread-freeres.o, when a thread ends: we have our own
 *                                             way to hear of that
 *
 * reallocarray.o, strdup.o and strndup.o define their names weak: they may come in without harm.
 * These are hidden, so that no program exports them. test/override/static_link.sh fails when
 * another version of the C library asks for more. */
#define OVERRIDE_LIBC_HOOK(name) \
    OVERRIDE_C __attribute__((visibility("hidden"), used)) void name(void); \
    void name(void) {}

OVERRIDE_LIBC_HOOK(__malloc_fork_lock_parent)
OVERRIDE_LIBC_HOOK(__malloc_fork_unlock_parent)
OVERRIDE_LIBC_HOOK(__malloc_fork_unlock_child)
OVERRIDE_LIBC_HOOK(__malloc_arena_thread_freeres)
#endif
#endif

// --- C++ ----------------------------------------------------------------------------------------
// operator new and delete by their mangled names, so that no C++ compiler is needed.
// Nw, Na: new, new[]. Dl, Da: delete, delete[]. Then the parameters: Pv a pointer, m or j a size_t
// (unsigned long or unsigned int), St11align_val_t an alignment, RKSt9nothrow_t std::nothrow.
// The nothrow forms of new stay the C++ library's. They call these, or malloc, and catch what a
// new-handler throws, which C cannot.

OVERRIDE_OPERATOR(_ZdlPv, mi_free);
OVERRIDE_OPERATOR(_ZdaPv, mi_free);
OVERRIDE_OPERATOR(_ZdlPvRKSt9nothrow_t, mi_free);
OVERRIDE_OPERATOR(_ZdaPvRKSt9nothrow_t, mi_free);
OVERRIDE_CHECKED(_ZdlPvSt11align_val_t, mi_free_aligned);
OVERRIDE_CHECKED(_ZdaPvSt11align_val_t, mi_free_aligned);
OVERRIDE_CHECKED(_ZdlPvSt11align_val_tRKSt9nothrow_t, mi_free_aligned);
OVERRIDE_CHECKED(_ZdaPvSt11align_val_tRKSt9nothrow_t, mi_free_aligned);

#if defined(__LP64__) || defined(__s390__)
OVERRIDE_OPERATOR(_Znwm, mi_new);
OVERRIDE_OPERATOR(_Znam, mi_new);
OVERRIDE_OPERATOR(_ZnwmSt11align_val_t, mi_new_aligned);
OVERRIDE_OPERATOR(_ZnamSt11align_val_t, mi_new_aligned);
OVERRIDE_CHECKED(_ZdlPvm, mi_free_size);
OVERRIDE_CHECKED(_ZdaPvm, mi_free_size);
OVERRIDE_CHECKED(_ZdlPvmSt11align_val_t, mi_free_size_aligned);
OVERRIDE_CHECKED(_ZdaPvmSt11align_val_t, mi_free_size_aligned);
#else
OVERRIDE_OPERATOR(_Znwj, mi_new);
OVERRIDE_OPERATOR(_Znaj, mi_new);
OVERRIDE_OPERATOR(_ZnwjSt11align_val_t, mi_new_aligned);
OVERRIDE_OPERATOR(_ZnajSt11align_val_t, mi_new_aligned);
OVERRIDE_CHECKED(_ZdlPvj, mi_free_size);
OVERRIDE_CHECKED(_ZdaPvj, mi_free_size);
OVERRIDE_CHECKED(_ZdlPvjSt11align_val_t, mi_free_size_aligned);
OVERRIDE_CHECKED(_ZdaPvjSt11align_val_t, mi_free_size_aligned);
#endif

#endif
