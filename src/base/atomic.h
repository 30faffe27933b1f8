/* atomic.h: C11 atomics under names that also compile as C++. Every use names its order. */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H
#include <stdint.h>

#ifdef __cplusplus
#include <atomic>
#define ATOMIC(type) std::atomic<type>
using std::atomic_compare_exchange_strong_explicit;
using std::atomic_compare_exchange_weak_explicit;
using std::atomic_exchange_explicit;
using std::atomic_fetch_add_explicit;
using std::atomic_fetch_and_explicit;
using std::atomic_fetch_or_explicit;
using std::atomic_fetch_sub_explicit;
using std::atomic_load_explicit;
using std::atomic_signal_fence;
using std::atomic_store_explicit;
using std::atomic_thread_fence;
using std::memory_order;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using std::memory_order_seq_cst;
#else
#include <stdatomic.h>
#define ATOMIC(type) _Atomic(type)
#endif

/* A relaxed load of a pointer-sized word that the compiler may fold into the instruction that uses
 * it; gcc and clang never fold an atomic one, which costs the fast paths an instruction each time.
 * For use outside loops only. */
typedef uintptr_t __attribute__((may_alias)) atomic_plain_word;
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOMIC_LOADS_ARE_WATCHED 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define ATOMIC_LOADS_ARE_WATCHED 1
#endif
#if defined(ATOMIC_LOADS_ARE_WATCHED)
#define ATOMIC_FOLDED_LOAD(word) atomic_load_explicit(word, memory_order_relaxed)
#else
#define ATOMIC_FOLDED_LOAD(word) (*(const atomic_plain_word *)(const void *)(word))
#endif

#endif
