/* large_reuse.c: a buffer of 8 MiB for each request, with a pause after it.
 *
 * Models services that take a large buffer for each request and are idle for a moment between two
 * of them. An allocator that gives free memory back soon makes each request pay for it: the memory
 * is faulted in and zeroed again each time. A request takes its 8 MiB as one block (with
 * --block-kib as several smaller ones), writes to each 4 KiB of it, checks and frees it; then the
 * program sleeps for 50 ms (--pause, in seconds). The first fifth of the requests (with --seconds
 * the first one) is warm-up.
 *
 * Values: faults, minor page faults for each request after the warm-up (2048 when all of the memory
 * is new); request_us, how long the request takes; resident_kib, what is resident at the end of
 * pauses.
 *
 * The work at scale 1 is 40 requests, not shorter than two. One operation is a request.
 */
#include "sealed.h"

enum {
    REQUEST_KIB = 8192,
    REQUESTS = 40,
    WARM_UP_PART = 5,
};

static void request(size_t block_kib)
{
    struct sealed *list = NULL;
    for (size_t kib = 0; kib < REQUEST_KIB; kib += block_kib) {
        sealed_push(&list, sealed_new(block_kib << 10));
    }
    bench_expect(sealed_free_all(list) >= (size_t)REQUEST_KIB << 10);
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--block-kib", "--pause", NULL};
    bench_start_with_flags(argc, argv, "large-reuse", 1, flags);
    size_t block_kib = (size_t)bench_flag_number("--block-kib", REQUEST_KIB, 8, REQUEST_KIB);
    double pause = bench_flag_number("--pause", 0.05, 0, 60);
    uint64_t total = bench_scaled(REQUESTS, 2);
    uint64_t warm_up = bench.seconds > 0 ? 1 : (total - 1) / WARM_UP_PART + 1;
    double seconds = 0, resident = 0, counted = 0;
    long faults = 0;
    uint64_t done = 0;

    bench_begin();
    for (; bench_more(done, total); done++) {
        double start = bench_now();
        long before = bench_minor_faults();
        request(block_kib);
        double end = bench_now();
        long after = bench_minor_faults();
        bench_sleep(pause);
        if (done < warm_up) continue;
        seconds += end - start;
        faults += after - before;
        resident += bench_resident_exact_kib();
        counted++;
    }
    bench_end();

    bench_expect(counted > 0);
    bench_add_value("faults", "1", (double)faults / counted);
    bench_add_value("request_us", "us", seconds * 1e6 / counted);
    bench_add_value("resident_kib", "KiB", resident / counted);
    return bench_finish((double)done);
}
