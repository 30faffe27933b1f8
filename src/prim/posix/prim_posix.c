#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 // coarse clocks, RTLD_DEFAULT
#endif
#include "prim/posix/prim_posix.h"
#include "prim/prim.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

// --- memory --------------------------------------------------------------------------------------

int prim_unmap(void *start, size_t bytes)
{
    int before = errno;
    return prim_posix_result(munmap(start, bytes) == 0, before);
}

// --- time and the process ------------------------------------------------------------------------

uint64_t prim_clock_ms(void)
{
#if defined(CLOCK_MONOTONIC_COARSE)
    const clockid_t clock = CLOCK_MONOTONIC_COARSE;
#else
    const clockid_t clock = CLOCK_MONOTONIC;
#endif
    int before = errno;
    struct timespec now = {0, 0};
    // Fails only for a clock that does not exist.
    (void)prim_posix_result(clock_gettime(clock, &now) == 0, before);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void prim_abort(void) { abort(); }

void prim_exit(int code) { exit(code); }

void prim_yield(void)
{
    int before = errno;
    (void)prim_posix_result(sched_yield() == 0, before);
}

// --- symbols -------------------------------------------------------------------------------------

// Weak: nothing more is linked into a static program, where there is nothing to look up.
extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dlclose) dlclose __attribute__((weak));

static void *prim_posix_find_in(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == NULL) return NULL;
    void *symbol = dlsym(handle, name);
    (void)dlclose(handle); // whoever loaded it still has it
    return symbol;
}

void *prim_find_cxx(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1"};
    int before = errno;
    if (dlopen == NULL || dlsym == NULL || dlclose == NULL) return NULL;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0] && symbol == NULL; i++)
        symbol = prim_posix_find_in(libraries[i], name);
    errno = before;
    return symbol;
}

// --- thread exit ---------------------------------------------------------------------------------

// A key's destructor runs when a thread ends, after those of C++ thread-local objects. The system
// repeats the round of destructors while values are set, which is what allows to arm a thread again
// from inside its exit.
static pthread_key_t prim_posix_exit_key; // [const] while prim_posix_exit_is_ready
static ATOMIC(bool)  prim_posix_exit_is_ready;

int prim_thread_exit_init(void (*callback)(void *value))
{
    if (atomic_load_explicit(&prim_posix_exit_is_ready, memory_order_relaxed)) return EALREADY;
    int error = pthread_key_create(&prim_posix_exit_key, callback);
    if (error != 0) return error;
    // release: pairs with prim_thread_exit_arm
    atomic_store_explicit(&prim_posix_exit_is_ready, true, memory_order_release);
    return 0;
}

int prim_thread_exit_arm(void *value)
{
    // acquire: pairs with prim_thread_exit_init
    if (!atomic_load_explicit(&prim_posix_exit_is_ready, memory_order_acquire)) return ENOENT;
    int before = errno;
    // glibc keeps the first 32 keys in the thread and calls calloc for the block of a later one;
    // musl never does.
    int error = pthread_setspecific(prim_posix_exit_key, value);
    errno = before;
    return error;
}

void *prim_thread_exit_value(void)
{
    // acquire: pairs with prim_thread_exit_init
    bool is_ready = atomic_load_explicit(&prim_posix_exit_is_ready, memory_order_acquire);
    return is_ready ? pthread_getspecific(prim_posix_exit_key) : NULL;
}

void prim_thread_exit_done(void)
{
    // acq_rel: pairs with prim_thread_exit_init, and lets one caller only delete the key
    if (!atomic_exchange_explicit(&prim_posix_exit_is_ready, false, memory_order_acq_rel)) return;
    (void)pthread_key_delete(prim_posix_exit_key); // fails only for a key that does not exist
}
