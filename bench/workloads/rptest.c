/* rptest.c: threads that churn blocks up to 16000 bytes and hand batches to each other to free.
 *
 * Models: M. Jansson's rpmalloc benchmark as mimalloc's suite runs it: random sizes of 8 to 16000
 * bytes, the larger the rarer (the density falls linearly to zero), 1000 blocks for each thread,
 * of which a turn replaces 100. Every second turn a thread asks for 100 blocks more, hands them to
 * another thread, and frees the batches that were handed to it. After 500 turns it frees all it
 * has and starts again.
 *
 * Differs: a thread's box holds at most 4 batches, so that memory does not depend on who is
 * scheduled when. A batch goes to the next thread with room, round robin; while nobody has room
 * its maker empties its own box and lets others run. Batches for which nobody is left are freed by
 * their maker. The work is fixed: 16 times 500 turns for each thread at scale 1, with more threads
 * than CPUs as much less as there are more. Only the ends of blocks are written, and checked.
 *
 * One operation is one block, from its malloc to its free. Values: `rate_per_thread`, operations
 * for each second of CPU time, and `crossed`, the share of blocks that another thread freed.
 */
#include "bench.h"
#include <stdatomic.h>

enum {
    BLOCKS = 1000,
    BLOCKS_PER_TURN = 100,
    BLOCKS_PER_BATCH = 100,
    TURNS_PER_BATCH = 2,
    TURNS_PER_PASS = 500,
    TURNS = 16 * TURNS_PER_PASS,
    MIN_TURNS = 2 * TURNS_PER_BATCH,
    BOX_BATCHES = 4,
    MIN_BYTES = 8,
    MAX_BYTES = 16000,
};

struct piece {
    void *block;
    uint32_t bytes;
    uint32_t tag;
};

struct batch {
    struct piece piece[BLOCKS_PER_BATCH];
};

struct worker {
    struct piece piece[BLOCKS];
    _Atomic(struct batch *) box[BOX_BATCHES]; // [any]
    atomic_bool closed;                       // [any] its thread ends and empties the box no more
    uint64_t random;
    uint64_t operations;
    uint64_t crossed;
    double cpu_seconds;
    int number;
    int next; // whom to try first with the next batch
};

static struct worker *workers; // [const]
static uint64_t turns;         // [const] for each thread

static void piece_new(struct piece *piece, uint64_t *random)
{
    uint32_t one = bench_random_below(random, MAX_BYTES - MIN_BYTES + 1);
    uint32_t two = bench_random_below(random, MAX_BYTES - MIN_BYTES + 1);
    piece->bytes = MIN_BYTES + (one < two ? one : two);
    piece->tag = one ^ two << 16;
    piece->block = bench_block(malloc(piece->bytes));
    bench_mark(piece->block, piece->bytes, piece->tag);
}

static void piece_free(struct piece *piece)
{
    if (piece->block == NULL) return;
    bench_check(piece->block, piece->bytes, piece->tag);
    free(piece->block);
    piece->block = NULL;
}

static void worker_replace(struct worker *worker)
{
    // A stride prime to the number of blocks: no block comes twice in one turn.
    static const uint32_t stride[] = {1, 3, 7, 11, 13, 17, 19, 23, 29, 31};
    uint32_t step = stride[bench_random_below(&worker->random, sizeof stride / sizeof *stride)];
    uint32_t start = bench_random_below(&worker->random, BLOCKS);
    for (uint32_t i = 0, at = start; i < BLOCKS_PER_TURN; i++, at += step) {
        piece_free(&worker->piece[at % BLOCKS]);
    }
    for (uint32_t i = 0, at = start; i < BLOCKS_PER_TURN; i++, at += step) {
        piece_new(&worker->piece[at % BLOCKS], &worker->random);
    }
    worker->operations += BLOCKS_PER_TURN;
}

// --- batches -------------------------------------------------------------------------------------

static struct batch *batch_new(struct worker *worker)
{
    struct batch *batch = bench_block(malloc(sizeof *batch));
    for (int i = 0; i < BLOCKS_PER_BATCH; i++) piece_new(&batch->piece[i], &worker->random);
    worker->operations += BLOCKS_PER_BATCH + 1;
    return batch;
}

static void batch_free(struct batch *batch)
{
    for (int i = 0; i < BLOCKS_PER_BATCH; i++) piece_free(&batch->piece[i]);
    free(batch);
}

static bool box_try_put(struct worker *to, struct batch *batch)
{
    for (int i = 0; i < BOX_BATCHES; i++) {
        struct batch *none = NULL;
        if (atomic_load_explicit(&to->box[i], memory_order_relaxed) != NULL) continue;
        // release: pairs with worker_empty_box
        if (atomic_compare_exchange_strong_explicit(&to->box[i], &none, batch, memory_order_release,
                                                    memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

// Frees what others have put into the box.
static void worker_empty_box(struct worker *worker)
{
    for (int i = 0; i < BOX_BATCHES; i++) {
        // acquire: pairs with box_try_put
        struct batch *batch = atomic_exchange_explicit(&worker->box[i], NULL, memory_order_acquire);
        if (batch == NULL) continue;
        batch_free(batch);
        worker->crossed += BLOCKS_PER_BATCH + 1;
    }
}

enum handed { HANDED, NO_ROOM, NOBODY_LEFT };

static enum handed worker_try_hand_over(struct worker *worker, struct batch *batch)
{
    enum handed result = NOBODY_LEFT;
    for (int i = 1; i < bench.threads; i++) {
        worker->next = (worker->next + 1) % bench.threads;
        if (worker->next == worker->number) worker->next = (worker->next + 1) % bench.threads;
        struct worker *to = &workers[worker->next];
        // relaxed: main frees what comes too late
        if (atomic_load_explicit(&to->closed, memory_order_relaxed)) continue;
        if (box_try_put(to, batch)) return HANDED;
        result = NO_ROOM;
    }
    return result;
}

static void worker_hand_over(struct worker *worker, struct batch *batch)
{
    enum handed result = worker_try_hand_over(worker, batch);
    while (result == NO_ROOM) {
        worker_empty_box(worker);
        sched_yield();
        result = worker_try_hand_over(worker, batch);
    }
    if (result == NOBODY_LEFT) batch_free(batch);
}

// --- threads -------------------------------------------------------------------------------------

static double thread_cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void worker_turn(struct worker *worker, uint64_t turn)
{
    worker_replace(worker);
    if (turn % TURNS_PER_BATCH == 0) {
        worker_hand_over(worker, batch_new(worker));
        worker_empty_box(worker);
    }
    if (turn % TURNS_PER_PASS == TURNS_PER_PASS - 1) {
        for (int i = 0; i < BLOCKS; i++) piece_free(&worker->piece[i]);
    }
}

static void worker_run(int number, void *argument)
{
    (void)argument;
    struct worker *worker = &workers[number];
    double start = thread_cpu_seconds();
    for (uint64_t turn = 0; bench_more(turn, turns); turn++) worker_turn(worker, turn);
    atomic_store_explicit(&worker->closed, true, memory_order_relaxed);
    worker_empty_box(worker);
    for (int i = 0; i < BLOCKS; i++) piece_free(&worker->piece[i]);
    worker->cpu_seconds = thread_cpu_seconds() - start;
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "rptest", 2);
    size_t count = (size_t)bench.threads;
    workers = bench_block(calloc(count, sizeof *workers));
    turns = bench_scaled_each(TURNS, MIN_TURNS);
    for (size_t i = 0; i < count; i++) {
        workers[i].number = workers[i].next = (int)i;
        workers[i].random = bench_random_start(i);
    }

    bench_begin();
    bench_run_threads(bench.threads, worker_run, NULL);
    bench_end();
    double operations = 0, crossed = 0, cpu_seconds = 0;
    for (size_t i = 0; i < count; i++) {
        worker_empty_box(&workers[i]);
        operations += (double)workers[i].operations;
        crossed += (double)workers[i].crossed;
        cpu_seconds += workers[i].cpu_seconds;
    }
    free(workers);
    bench_add_value("rate_per_thread", "1/s", operations / cpu_seconds);
    bench_add_value("crossed", "%", 100 * crossed / operations);
    return bench_finish(operations);
}
