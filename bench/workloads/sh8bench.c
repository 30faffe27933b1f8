/* sh8bench.c: shbench.h where the blocks that are kept go to another thread.
 *
 * What it models, differs in and counts is said there. Here the window that is kept is exchanged
 * for one that another thread left behind, and that one is freed with the next filling: so a
 * quarter of all blocks is freed by another thread than the one that allocated it. There are as
 * many places to exchange at as threads, and each thread goes from place to place: threads that run
 * in step never meet their own blocks, and the number of blocks on their way is always the same.
 */
#include "shbench.h"
#include <stdatomic.h>

struct sh_parcel {
    void *block[SH_WINDOW];
    uint16_t bytes[SH_WINDOW];
};

static _Atomic(struct sh_parcel *) sh_places[BENCH_THREADS_MAX];

// The empty parcel that each thread has for its next exchange.
static _Thread_local struct sh_parcel *sh_spare;

static void sh_keep(struct sh_table *table)
{
    void **blocks = table->block + table->window;
    uint16_t *bytes = table->bytes + table->window;
    if (sh_spare == NULL) sh_spare = bench_map(sizeof *sh_spare);

    memcpy(sh_spare->block, blocks, sizeof sh_spare->block);
    memcpy(sh_spare->bytes, bytes, sizeof sh_spare->bytes);
    size_t place = (table->fillings + (size_t)table->number) % (size_t)bench.threads;
    sh_spare = atomic_exchange_explicit(&sh_places[place], sh_spare, memory_order_acq_rel);
    memcpy(blocks, sh_spare->block, sizeof sh_spare->block);
    memcpy(bytes, sh_spare->bytes, sizeof sh_spare->bytes);
}

static void sh_parcel_free(const struct sh_parcel *parcel)
{
    for (size_t i = 0; i < SH_WINDOW; i++) {
        bench_check(parcel->block[i], parcel->bytes[i], sh_tag(i, parcel->bytes[i]));
        free(parcel->block[i]);
    }
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "sh8bench", 2);
    for (int i = 0; i < bench.threads; i++) {
        atomic_init(&sh_places[i], bench_map(sizeof(struct sh_parcel)));
    }
    double operations = sh_run_threads();
    for (int i = 0; i < bench.threads; i++) sh_parcel_free(atomic_load(&sh_places[i]));
    return bench_finish(operations);
}
