/* exercise.h: four threads that allocate, check and free each other's blocks, with the functions of
 * any allocator. */
#ifndef TEST_OVERRIDE_EXERCISE_H
#define TEST_OVERRIDE_EXERCISE_H
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXERCISE_THREADS = 4, EXERCISE_SLOTS = 512, EXERCISE_ROUNDS = 20000 };

struct exercise {
    void *(*take)(size_t bytes);
    void (*put)(void *block);
    size_t *slots[EXERCISE_SLOTS]; // blocks in flight; each begins with its own size
    int failures;
};

// false when the first or the last byte of a block has changed
static bool exercise_is_intact(const size_t *block)
{
    return ((const unsigned char *)block)[block[0] - 1] == (unsigned char)block[0];
}

static void exercise_failed(struct exercise *exercise)
{
    __atomic_fetch_add(&exercise->failures, 1, __ATOMIC_RELAXED);
}

static void *exercise_thread(void *arg)
{
    struct exercise *exercise = (struct exercise *)arg;
    uint64_t seed = (uintptr_t)&seed | 1;
    for (int round = 0; round < EXERCISE_ROUNDS; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t bytes = sizeof(size_t) + 1 + (seed >> 33) % ((round & 255) == 0 ? 200000 : 500);
        size_t *block = (size_t *)exercise->take(bytes);
        if (block == NULL) {
            exercise_failed(exercise);
            continue;
        }
        block[0] = bytes;
        ((unsigned char *)block)[bytes - 1] = (unsigned char)bytes;
        size_t **slot = &exercise->slots[(seed >> 20) % EXERCISE_SLOTS];
        block = __atomic_exchange_n(slot, block, __ATOMIC_ACQ_REL);
        if (block == NULL) continue;
        if (!exercise_is_intact(block)) exercise_failed(exercise);
        exercise->put(block);
    }
    return NULL;
}

// Failures, 0 if all went well.
__attribute__((unused)) static int exercise_run(void *(*take)(size_t), void (*put)(void *))
{
    static struct exercise exercise;
    memset(&exercise, 0, sizeof exercise);
    exercise.take = take;
    exercise.put = put;
    pthread_t threads[EXERCISE_THREADS];
    for (int i = 0; i < EXERCISE_THREADS; i++) {
        if (pthread_create(&threads[i], NULL, exercise_thread, &exercise) != 0) abort();
    }
    for (int i = 0; i < EXERCISE_THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < EXERCISE_SLOTS; i++) {
        if (exercise.slots[i] != NULL) put(exercise.slots[i]);
    }
    return exercise.failures;
}

#endif
