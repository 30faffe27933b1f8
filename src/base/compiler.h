/* compiler.h: the only place for compiler extensions. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__GNUC__)
#error "only gcc and clang are described here yet"
#endif

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define cold        __attribute__((cold, noinline))
#define must_use    __attribute__((warn_unused_result))
// where failing makes no difference: say why there
#define ignore_result(call) do { if (call) { } } while (0)
#define run_at_start __attribute__((constructor))
#define run_at_exit  __attribute__((destructor))
#define no_inline   __attribute__((noinline))
#define always_inline inline __attribute__((always_inline))
// Reads what the address sanitizer takes for out of bounds.
#define no_address_check __attribute__((no_sanitize_address, noinline))
// The fast paths: else some programs take up to 4 % longer in one build than in another, by chance.
// And where a line is read by all threads, or written, and its neighbours are not.
#define on_cache_line __attribute__((aligned(64)))
// Zeroed data, of several OS pages, that many programs never touch: behind all other data, so that
// what each program touches lies on few.
#if defined(__ELF__)
#define data_apart __attribute__((section(".bss.apart")))
#else
#define data_apart
#endif

// A function shared by modules: static in the one-object build that is shipped, else hidden.
#if defined(MI_ONE_OBJECT)
#define INTERNAL static __attribute__((unused))
#else
#define INTERNAL __attribute__((visibility("hidden")))
#endif

// Data shared by modules: SHARED_DATA in the header declares it (and in the one-object build
// defines it, static and zeroed, or with a value), DEFINE_DATA in one .c file defines it for
// separate compilation.
#if defined(MI_ONE_OBJECT)
#define SHARED_DATA(declaration) static declaration
#define SHARED_DATA_SET(declaration, value) static declaration = value
#define DEFINE_DATA(declaration)
#define DEFINE_DATA_SET(declaration, value)
#else
#define SHARED_DATA(declaration) extern __attribute__((visibility("hidden"))) declaration
#define SHARED_DATA_SET(declaration, value) SHARED_DATA(declaration)
#define DEFINE_DATA(declaration) declaration;
#define DEFINE_DATA_SET(declaration, value) declaration = value;
#endif

#if MI_LOCAL_DYNAMIC_TLS
#define THREAD_LOCAL __thread __attribute__((tls_model("local-dynamic")))
#else
#define THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
#endif

// Fetches a cache line that is soon written; any address is allowed.
static always_inline void compiler_prefetch(const void *address)
{
    __builtin_prefetch(address, 1);
}

// The same value, but the compiler cannot see what is known about it.
static always_inline uintptr_t compiler_hide(uintptr_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

// Counts down by one; true when no more than one was left. The processor's flags say so at no cost,
// which the compilers do not see.
static always_inline bool compiler_count_down(uint32_t *left)
{
#if defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__)
    bool is_last;
    __asm__("sub $1, %0" : "+r"(*left), "=@ccbe"(is_last));
    return is_last;
#else
    return (*left)-- <= 1;
#endif
}

static inline unsigned bits_leading_zeros64(unsigned long long word)
{
    return (unsigned)__builtin_clzll(word);
}
static inline unsigned bits_trailing_zeros64(unsigned long long word)
{
    return (unsigned)__builtin_ctzll(word);
}
static inline unsigned bits_popcount64(unsigned long long word)
{
    return (unsigned)__builtin_popcountll(word);
}

#endif
