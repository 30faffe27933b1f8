/* larson.h: a server whose threads are replaced all the time and inherit each other's blocks.
 *
 * Models: the `larson` benchmark of P.-A. Larson and M. Krishnan, "Memory Allocation for
 * Long-Running Server Applications", ISMM 1998, with the parameters of today's suites: each of N
 * threads owns an array of 5000 blocks of 8 to 1000 bytes. It replaces randomly chosen ones (free
 * and malloc), and after a round it starts a successor that takes the array over, so that most
 * blocks are freed by another thread than the one that asked for them ("bleeding").
 *
 * Differs: the work is fixed, not the time, so that memory can be compared: 3,000,000 replacements
 * for each thread at scale 1; with more threads than CPUs as much less as there are more. A round
 * is 50,000 replacements, a tenth of the usual, so that short runs have successors too (at least
 * one). Each block carries a mark that is checked when it is freed.
 *
 * One operation is one replacement: a free and a malloc.
 *
 * The program that includes this gives larson_allocate() and larson_release().
 */
#ifndef WORKLOADS_LARSON_H
#define WORKLOADS_LARSON_H
#include "bench.h"

static inline void *larson_allocate(size_t bytes); // never NULL
static inline void larson_release(void *block, size_t bytes);

enum {
    LARSON_BLOCKS = 5000,
    LARSON_MIN_BYTES = 8,
    LARSON_MAX_BYTES = 1000,
    LARSON_REPLACEMENTS = 3000000,
    LARSON_ROUND = 50000,
    LARSON_MIN_ROUNDS = 2,
};

struct larson_slot {
    void *block;
    size_t bytes;
};

// One line of successors: an array of blocks, handed from each thread to the next.
struct larson_server {
    struct larson_slot slot[LARSON_BLOCKS];
    uint64_t random;
    uint64_t round; // replacements in one
    uint64_t rounds;
    uint64_t rounds_done;
    struct bench_thread thread[2]; // of even rounds and of odd ones
    pthread_mutex_t lock;          // guards `ended`
    pthread_cond_t changed;
    bool ended;
};

static void larson_fill(struct larson_server *server, struct larson_slot *slot)
{
    slot->bytes = bench_random_between(&server->random, LARSON_MIN_BYTES, LARSON_MAX_BYTES);
    slot->block = larson_allocate(slot->bytes);
    bench_mark(slot->block, slot->bytes, (uintptr_t)slot);
}

static void larson_empty(struct larson_slot *slot)
{
    bench_check(slot->block, slot->bytes, (uintptr_t)slot);
    larson_release(slot->block, slot->bytes);
}

static void larson_end(struct larson_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->ended = true;
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void larson_run_round(int number, void *argument)
{
    struct larson_server *server = (struct larson_server *)argument;
    for (uint64_t i = 0; i < server->round; i++) {
        struct larson_slot *slot =
            &server->slot[bench_random_below(&server->random, LARSON_BLOCKS)];
        larson_empty(slot);
        larson_fill(server, slot);
    }
    // The thread before is joined only here, so that its end overlaps the work of this one.
    struct bench_thread *other = &server->thread[(server->rounds_done + 1) % 2];
    if (server->rounds_done > 0) bench_thread_join(other);
    server->rounds_done++;
    if (bench_more(server->rounds_done, server->rounds)) {
        bench_thread_start(other, number, larson_run_round, server);
    } else {
        larson_end(server);
    }
}

static void larson_init(struct larson_server *server, uint64_t number)
{
    uint64_t work = bench_scaled_each(LARSON_REPLACEMENTS, LARSON_MIN_ROUNDS);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    server->random = bench_random_start(number);
    server->round = bench_round(work, LARSON_ROUND, LARSON_MIN_ROUNDS);
    server->rounds = work / server->round;
    for (int i = 0; i < LARSON_BLOCKS; i++) larson_fill(server, &server->slot[i]);
}

static void larson_wait(struct larson_server *server)
{
    pthread_mutex_lock(&server->lock);
    while (!server->ended) pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    bench_thread_join(&server->thread[(server->rounds_done + 1) % 2]);
}

static int larson_main(int argc, char **argv, const char *name)
{
    bench_start(argc, argv, name, 2);
    size_t count = (size_t)bench.threads;
    struct larson_server *servers =
        (struct larson_server *)bench_block(calloc(count, sizeof *servers));
    for (size_t i = 0; i < count; i++) larson_init(&servers[i], i);

    bench_begin();
    for (size_t i = 0; i < count; i++) {
        bench_thread_start(&servers[i].thread[0], (int)i, larson_run_round, &servers[i]);
    }
    double operations = 0;
    for (size_t i = 0; i < count; i++) {
        larson_wait(&servers[i]);
        operations += (double)servers[i].rounds_done * (double)servers[i].round;
    }
    bench_end();

    for (size_t i = 0; i < count; i++) {
        for (int k = 0; k < LARSON_BLOCKS; k++) larson_empty(&servers[i].slot[k]);
    }
    free(servers);
    return bench_finish(operations);
}

#endif
