/* fifo.h: a bounded queue of pointers between threads, moved by the batch.
 *
 * A thread that must wait sleeps: it does not take the processor from the ones it waits for. The
 * table is not on the heap. Nobody takes a block that was not put for at least `keep` others: so a
 * queue that is kept at `capacity` holds a live set of constant size.
 */
#ifndef WORKLOADS_FIFO_H
#define WORKLOADS_FIFO_H
#include "bench.h"

struct fifo {
    pthread_mutex_t lock; // guards all that follows
    pthread_cond_t room;
    pthread_cond_t filled;
    size_t capacity;
    size_t keep; // so many stay until the queue is closed
    size_t head; // counts all that were ever taken
    size_t tail; // counts all that were ever put
    bool closed;
    void **slot;
};

static inline void fifo_init(struct fifo *fifo, size_t capacity, size_t keep)
{
    pthread_mutex_init(&fifo->lock, NULL);
    pthread_cond_init(&fifo->room, NULL);
    pthread_cond_init(&fifo->filled, NULL);
    fifo->capacity = capacity;
    fifo->keep = keep;
    fifo->head = fifo->tail = 0;
    fifo->closed = false;
    fifo->slot = (void **)bench_map(capacity * sizeof *fifo->slot);
}

// Waits until there is room. All users of a queue move batches of the same count.
static inline void fifo_put(struct fifo *fifo, void *const *batch, size_t count)
{
    pthread_mutex_lock(&fifo->lock);
    while (fifo->tail - fifo->head + count > fifo->capacity) {
        pthread_cond_wait(&fifo->room, &fifo->lock);
    }
    for (size_t i = 0; i < count; i++) fifo->slot[fifo->tail++ % fifo->capacity] = batch[i];
    pthread_cond_signal(&fifo->filled);
    pthread_mutex_unlock(&fifo->lock);
}

// Waits until so many can be taken, or the queue is closed: then takes what is left. How many.
static inline size_t fifo_take(struct fifo *fifo, void **batch, size_t count)
{
    pthread_mutex_lock(&fifo->lock);
    while (!fifo->closed && fifo->tail - fifo->head < fifo->keep + count) {
        pthread_cond_wait(&fifo->filled, &fifo->lock);
    }
    size_t left = fifo->tail - fifo->head;
    if (count > left) count = left;
    for (size_t i = 0; i < count; i++) batch[i] = fifo->slot[fifo->head++ % fifo->capacity];
    pthread_cond_signal(&fifo->room);
    pthread_mutex_unlock(&fifo->lock);
    return count;
}

// No more will be put.
static inline void fifo_close(struct fifo *fifo)
{
    pthread_mutex_lock(&fifo->lock);
    fifo->closed = true;
    pthread_cond_broadcast(&fifo->filled);
    pthread_mutex_unlock(&fifo->lock);
}

#endif
