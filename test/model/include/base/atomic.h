/* atomic.h: stands in for src/base/atomic.h in the model check. The names are the same; each
 * operation goes to the scheduler of model.h instead of the machine. */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H
#include <stdint.h>
#include <string.h>
#include "model.h"

template <class T> struct model_atomic {
    T value; // read and written by the scheduler only
    model_atomic() = default;
    constexpr model_atomic(T initial) : value(initial) {}
    model_atomic &operator=(T initial) // before other threads know it
    {
        value = initial;
        return *this;
    }
};
#define ATOMIC(type) model_atomic<type>

enum memory_order {
    memory_order_relaxed = MODEL_RELAXED,
    memory_order_acquire = MODEL_ACQUIRE,
    memory_order_release = MODEL_RELEASE,
    memory_order_acq_rel = MODEL_ACQUIRE | MODEL_RELEASE,
    memory_order_seq_cst = MODEL_ACQUIRE | MODEL_RELEASE
};

template <class T> struct model_same { typedef T type; };
#define MODEL_VALUE(T) typename model_same<T>::type

template <class T> static inline uint64_t model_word(T value)
{
    uint64_t word = 0;
    static_assert(sizeof(T) <= sizeof(word), "an atomic fits a word");
    memcpy(&word, &value, sizeof(T));
    return word;
}

template <class T> static inline T model_value(uint64_t word)
{
    T value;
    memcpy((void *)&value, &word, sizeof(T));
    return value;
}

template <class T> static inline T atomic_load_explicit(const model_atomic<T> *at,
                                                        memory_order order)
{
    return model_value<T>(model_load(at, sizeof(T), order));
}

template <class T> static inline void atomic_store_explicit(model_atomic<T> *at,
                                                            MODEL_VALUE(T) value,
                                                            memory_order order)
{
    model_store(at, sizeof(T), model_word<T>(value), order);
}

#define MODEL_CHANGE(name, kind) \
    template <class T> static inline T name(model_atomic<T> *at, MODEL_VALUE(T) value, \
                                            memory_order order) \
    { \
        return model_value<T>(model_change(at, sizeof(T), kind, model_word<T>(value), order)); \
    }
MODEL_CHANGE(atomic_exchange_explicit, MODEL_EXCHANGE)
MODEL_CHANGE(atomic_fetch_add_explicit, MODEL_ADD)
MODEL_CHANGE(atomic_fetch_sub_explicit, MODEL_SUBTRACT)
MODEL_CHANGE(atomic_fetch_and_explicit, MODEL_AND)
MODEL_CHANGE(atomic_fetch_or_explicit, MODEL_OR)

#define MODEL_SWAP(name, is_weak) \
    template <class T> static inline bool name(model_atomic<T> *at, T *expected, \
                                               MODEL_VALUE(T) wanted, memory_order success, \
                                               memory_order failure) \
    { \
        struct model_swap swap = {model_word<T>(*expected), model_word<T>(wanted), \
                                  success, failure, is_weak}; \
        bool done = model_compare_swap(at, sizeof(T), &swap); \
        if (!done) *expected = model_value<T>(swap.expected); \
        return done; \
    }
MODEL_SWAP(atomic_compare_exchange_weak_explicit, true)
MODEL_SWAP(atomic_compare_exchange_strong_explicit, false)

#define ATOMIC_FOLDED_LOAD(word) atomic_load_explicit(word, memory_order_relaxed)

// The compiler's instrumentation does not see what the C library writes.
#define memset(start, byte, bytes) model_memset(start, byte, bytes)

#endif
