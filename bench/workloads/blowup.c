/* blowup.c: producers and consumers in a ring that change their roles, with a constant live set.
 *
 * Models the blowup that E. Berger and others describe ("Hoard: A Scalable Memory Allocator for
 * Multithreaded Applications", ASPLOS 2000): when blocks that a consumer frees stay with it, the
 * producer draws new memory for ever; when they go home to the producer, memory grows with the
 * number of threads as soon as roles change. Between each two neighbours of a ring of threads
 * (--threads, 4 unless told) stands a queue of blocks, full from the start (64 MiB in all at scale
 * 1). In even phases the even threads produce for their right neighbours, which free as many of the
 * oldest bytes as come in; in odd phases the odd threads do. A queue whose producer rests keeps
 * what it has. An active queue is renewed twice in a phase. After two phases the sizes change, from
 * 32 to 128 bytes to 128 to 512, 512 to 2048, and back to the first.
 *
 * Value: peak_over_live, the peak of the resident memory over the live bytes.
 *
 * Scale changes the number of phases (24 at scale 1, at least the six in which everything happens
 * once), and below 1 the queues. One operation is one block, from its malloc to its free.
 */
#include "sealed.h"

enum {
    PHASES = 24,
    LIVE_MIB = 64,
    RENEWALS = 2, // in one phase
    RANGES = 3,
    PHASES_WITH_RANGE = 2,
    SMALLEST_BYTES = 32,
    BATCH_BYTES = 64 << 10,
};

// From thread t to thread t + 1. The list runs through the blocks.
struct edge {
    pthread_mutex_t lock; // guards all that follows
    pthread_cond_t changed;
    struct sealed *oldest;
    struct sealed **end; // where the next one goes
    size_t bytes;
    bool ended; // the producer is done with this phase
};

static struct edge *edges; // [const], one for each thread
static size_t edge_bytes;  // [const] what an edge holds
static pthread_barrier_t phase_edge;
static uint64_t phases; // [const]
static uint64_t phase;  // set by thread 0 between two barriers
static bool go_on;      // the same
static uint64_t blocks[BENCH_THREADS_MAX];

static void edge_init(struct edge *edge)
{
    pthread_mutex_init(&edge->lock, NULL);
    pthread_cond_init(&edge->changed, NULL);
    edge->end = &edge->oldest;
}

// Waits until no more than one batch will be too much.
static void edge_put(struct edge *edge, struct sealed *first, struct sealed **end, size_t bytes)
{
    pthread_mutex_lock(&edge->lock);
    while (edge->bytes > edge_bytes) pthread_cond_wait(&edge->changed, &edge->lock);
    *edge->end = first;
    edge->end = end;
    edge->bytes += bytes;
    pthread_cond_signal(&edge->changed);
    pthread_mutex_unlock(&edge->lock);
}

// Waits for more than the edge holds, and takes the oldest blocks that are too many. NULL when the
// phase is over.
static struct sealed *edge_take(struct edge *edge)
{
    struct sealed *taken = NULL;
    pthread_mutex_lock(&edge->lock);
    while (edge->bytes <= edge_bytes && !edge->ended) {
        pthread_cond_wait(&edge->changed, &edge->lock);
    }
    while (edge->bytes > edge_bytes) {
        struct sealed *block = edge->oldest;
        edge->oldest = block->next;
        edge->bytes -= block->bytes;
        sealed_push(&taken, block);
    }
    if (edge->oldest == NULL) edge->end = &edge->oldest;
    pthread_cond_signal(&edge->changed);
    pthread_mutex_unlock(&edge->lock);
    return taken;
}

static void edge_set_ended(struct edge *edge, bool ended)
{
    pthread_mutex_lock(&edge->lock);
    edge->ended = ended;
    pthread_cond_signal(&edge->changed);
    pthread_mutex_unlock(&edge->lock);
}

// Puts a batch of new blocks; its bytes.
static size_t produce_batch(struct edge *edge, int number, uint64_t *random)
{
    size_t low = (size_t)SMALLEST_BYTES << (phase / PHASES_WITH_RANGE % RANGES * 2);
    struct sealed *first = NULL;
    struct sealed **end = &first;
    size_t bytes = 0;
    for (; bytes < BATCH_BYTES && bytes < edge_bytes; blocks[number]++) {
        *end = sealed_new(bench_random_between(random, low, 4 * low));
        bytes += (*end)->bytes;
        end = &(*end)->next;
    }
    edge_put(edge, first, end, bytes);
    return bytes;
}

static void produce(int number, uint64_t *random)
{
    struct edge *edge = &edges[number];
    edge_set_ended(edge, false);
    pthread_barrier_wait(&phase_edge);
    for (size_t bytes = 0; bytes < RENEWALS * edge_bytes;) {
        bytes += produce_batch(edge, number, random);
    }
    edge_set_ended(edge, true);
}

static void consume(int number)
{
    struct sealed *taken;
    pthread_barrier_wait(&phase_edge);
    while ((taken = edge_take(&edges[number])) != NULL) sealed_free_all(taken);
}

// In a ring of an odd number the last thread does not produce: its neighbour is no consumer then.
static bool is_producer(int number)
{
    bool has_turn = (uint64_t)number % 2 == phase % 2;
    return has_turn && !(bench.threads % 2 == 1 && number == bench.threads - 1);
}

static void member(int number, void *argument)
{
    (void)argument;
    int left = (number + bench.threads - 1) % bench.threads;
    uint64_t random = bench_random_start((uint64_t)number);
    for (size_t filled = 0; filled < edge_bytes;) {
        filled += produce_batch(&edges[number], number, &random);
    }
    for (;;) {
        pthread_barrier_wait(&phase_edge);
        if (number == 0) go_on = bench_more(phase, phases);
        pthread_barrier_wait(&phase_edge);
        if (!go_on) return;
        if (is_producer(number))
            produce(number, &random);
        else if (is_producer(left))
            consume(left);
        else
            pthread_barrier_wait(&phase_edge);
        pthread_barrier_wait(&phase_edge);
        if (number == 0) phase++;
    }
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "blowup", 4);
    if (bench.threads < 2) bench_fail(2, "--threads wants two or more");
    size_t live = (size_t)LIVE_MIB << 20;
    if (bench.scale < 1) live = (size_t)((double)live * bench.scale);
    edge_bytes = live / (size_t)bench.threads;
    phases = bench_scaled(PHASES, RANGES * PHASES_WITH_RANGE);
    edges = (struct edge *)bench_map((size_t)bench.threads * sizeof *edges);
    for (int i = 0; i < bench.threads; i++) edge_init(&edges[i]);
    pthread_barrier_init(&phase_edge, NULL, (unsigned)bench.threads);
    bench_run_threads(bench.threads, member, NULL);
    bench_end();

    double operations = 0, live_kib = 0;
    for (int i = 0; i < bench.threads; i++) {
        bench_expect(sealed_free_all(edges[i].oldest) == edges[i].bytes);
        live_kib += (double)edges[i].bytes / 1024;
        operations += (double)blocks[i];
    }
    bench_add_value("peak_over_live", "1", bench_peak_kib() / live_kib);
    bench_add_value("live_kib", "KiB", live_kib);
    return bench_finish(operations);
}
