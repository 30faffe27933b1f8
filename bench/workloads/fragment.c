/* fragment.c: a server that runs for long, while the sizes and lifetimes of its blocks drift.
 *
 * Models why long-lived services grow though what they hold does not: blocks of an earlier phase
 * hold pages that a later phase, with other sizes, cannot use. The size of most blocks drifts
 * between 32 bytes and 8 KiB along a path of nine points, each block up to 2.8 times smaller or
 * larger than that; one in 200 is a buffer of 32 to 256 KiB. A block lives until a number of bytes
 * has been allocated after it: drawn from an exponential distribution with a mean of 1 MiB for
 * requests, 32 MiB for sessions (one block in four) and 1 GiB for caches, whose share drifts
 * between 2 % and 7 %. So live bytes depend on lifetimes alone, not on sizes: about 30 to 80 MiB at
 * scale 1, of 4 GiB allocated. Everything here follows from the seed, and there is one thread.
 *
 * What a run cannot show is time: it takes a second where a server takes days. An allocator that
 * gives memory back after seconds looks worse here than there.
 *
 * Values: mean_over_live, the mean of resident over live bytes after the first eighth of the run;
 * final_over_live at its end; peak_over_live. Series: live over resident bytes as the run goes on
 * (live_part), and both of them.
 *
 * Scale changes lifetimes and length alike up to 1, above it the length. One operation is one
 * block, from its malloc to its free.
 */
#include "sealed.h"

enum {
    TOTAL_MIB = 4096,
    TICKS = 1 << 16, // steps of the clock that counts bytes
    SAMPLES = 200,
    PATH_POINTS = 9,
    BUFFER_ONE_IN = 200,
    BUFFER_MIN_SHIFT = 15,
};

static const double REQUEST_MIB = 1, SESSION_MIB = 32, CACHE_MIB = 1024;
static const double SESSION_SHARE = 0.25;
static const double SPREAD = 3; // log2 of the largest over the smallest at one time

// At equal distances: log2 of the middle size, and the share of blocks that live long.
static const double size_path[PATH_POINTS] = {6.5, 9, 7, 11, 8, 12, 6.5, 10, 7.5};
static const double cache_path[PATH_POINTS] = {.04, .02, .07, .03, .02, .06, .03, .07, .02};

struct server {
    uint64_t random;
    size_t total;     // bytes to be allocated
    size_t allocated; // the clock
    size_t tick_bytes;
    size_t live;
    size_t highest_live;
    double mib; // bytes that stand for 1 MiB of the lifetimes
    double blocks;
    struct sealed **dying; // [tick] blocks that die then
};

// The value of a path when `part` of the way is done.
static double path_value(const double *path, double part)
{
    double at = part * (PATH_POINTS - 1);
    int point = (int)at < PATH_POINTS - 2 ? (int)at : PATH_POINTS - 2;
    return path[point] + (at - point) * (path[point + 1] - path[point]);
}

static size_t pick_bytes(struct server *server, double part)
{
    if (bench_random_below(&server->random, BUFFER_ONE_IN) == 0) {
        return (size_t)exp2(BUFFER_MIN_SHIFT + 3 * bench_random_unit(&server->random));
    }
    double middle = path_value(size_path, part);
    double shift = middle + SPREAD * (bench_random_unit(&server->random) - 0.5);
    size_t bytes = (size_t)exp2(shift);
    return bytes < SEALED_MIN_BYTES ? SEALED_MIN_BYTES : bytes;
}

// In bytes that are allocated meanwhile.
static size_t pick_lifetime(struct server *server, double part)
{
    double kind = bench_random_unit(&server->random);
    double caches = path_value(cache_path, part), mean = REQUEST_MIB;
    if (kind < caches)
        mean = CACHE_MIB;
    else if (kind < caches + SESSION_SHARE)
        mean = SESSION_MIB;
    return (size_t)(-log1p(-bench_random_unit(&server->random)) * mean * server->mib);
}

// Allocates one block, moves the clock, and frees what dies until then.
static void server_step(struct server *server)
{
    double part = (double)server->allocated / (double)server->total;
    size_t bytes = pick_bytes(server, part);
    size_t dies = (server->allocated + bytes + pick_lifetime(server, part)) / server->tick_bytes;
    size_t before = server->allocated / server->tick_bytes;
    sealed_push(&server->dying[dies < TICKS ? dies : TICKS], sealed_new(bytes));
    server->live += bytes;
    server->allocated += bytes;
    server->blocks++;
    if (server->live > server->highest_live) server->highest_live = server->live;
    size_t now = server->allocated / server->tick_bytes;
    for (size_t tick = before; tick < now && tick < TICKS; tick++) {
        server->live -= sealed_free_all(server->dying[tick]);
        server->dying[tick] = NULL;
    }
}

struct curves {
    struct bench_series *part, *resident, *live;
    double sum;
    int counted;
    double last;
};

static void look(struct curves *curves, const struct server *server)
{
    double x = (double)server->allocated / 0x1p20, live = (double)server->live / 1024;
    double resident = bench_resident_exact_kib();
    bench_add_point(curves->part, x, live / resident);
    bench_add_point(curves->resident, x, resident);
    bench_add_point(curves->live, x, live);
    curves->last = resident / live;
    if (server->allocated < server->total / 8) return;
    curves->sum += resident / live;
    curves->counted++;
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "fragment", 1);
    struct server server = {.random = bench_random_start(0)};
    server.total = (size_t)(bench.scale * TOTAL_MIB * 0x1p20);
    server.tick_bytes = server.total / TICKS + 1;
    server.mib = bench.scale < 1 ? bench.scale * 0x1p20 : 0x1p20;
    server.dying = (struct sealed **)bench_map((TICKS + 1) * sizeof *server.dying);
    struct curves curves = {.part = bench_add_series("live_part", "MiB", "1"),
                            .resident = bench_add_series("resident", "MiB", "KiB"),
                            .live = bench_add_series("live", "MiB", "KiB")};

    bench_begin();
    for (uint64_t sample = 1; bench_more(sample - 1, SAMPLES) && sample <= SAMPLES; sample++) {
        size_t until = (size_t)((double)server.total * (double)sample / SAMPLES);
        while (server.allocated < until) server_step(&server);
        look(&curves, &server);
    }
    bench_end();

    bench_add_value("mean_over_live", "1", curves.sum / (curves.counted > 0 ? curves.counted : 1));
    bench_add_value("final_over_live", "1", curves.last);
    double highest = (double)server.highest_live / 1024;
    bench_add_value("peak_over_live", "1", bench_peak_kib() / highest);
    bench_add_value("live_kib", "KiB", highest);
    for (size_t i = 0; i <= TICKS; i++) server.live -= sealed_free_all(server.dying[i]);
    bench_expect(server.live == 0);
    return bench_finish(server.blocks);
}
