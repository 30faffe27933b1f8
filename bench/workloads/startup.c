/* startup.c: a program that allocates once, run many times.
 *
 * Models shell tools and short jobs, for which an allocator is mostly its own start: the program
 * starts itself 500 times at scale 1, one after the other. Each child asks for one block of 100
 * bytes, writes to it, frees it, reads its own resident memory and page faults, and ends.
 *
 * The time includes the kernel's and the dynamic linker's part, which are the same for all: compare
 * with the C library's. Values: time_each; resident_each and faults_each, the mean of what the
 * children reported, with the program and its libraries in it.
 *
 * One operation is a child.
 */
#include "bench.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum {
    CHILDREN = 500,
    BLOCK_BYTES = 100,
};

struct report {
    double resident_kib;
    double faults;
};

// The child: writes its report to the file that was opened for it.
static int allocate_once(int file)
{
    char *block = (char *)bench_block(malloc(BLOCK_BYTES));
    bench_mark(block, BLOCK_BYTES, 1);
    bench_check(block, BLOCK_BYTES, 1);
    free(block);
    struct report report = {bench_resident_exact_kib(), (double)bench_minor_faults()};
    return write(file, &report, sizeof report) == (ssize_t)sizeof report ? 0 : 1;
}

static void run_child(char **argv, const int pipe_end[2], struct report *sum)
{
    char flag[] = "--report", number[16];
    char *child_argv[] = {argv[0], flag, number, NULL};
    struct report report;
    pid_t child;
    int status;
    snprintf(number, sizeof number, "%d", pipe_end[1]);
    int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, child_argv, environ);
    if (error != 0) bench_fail(1, "cannot start itself: %s", strerror(error));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (status != 0) bench_fail(1, "a child ended with status %d", status);
    bench_expect(read(pipe_end[0], &report, sizeof report) == (ssize_t)sizeof report);
    sum->resident_kib += report.resident_kib;
    sum->faults += report.faults;
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--report", NULL};
    bench_start_with_flags(argc, argv, "startup", 1, flags);
    int file = (int)bench_flag_number("--report", -1, 0, 1 << 20);
    if (file >= 0) return allocate_once(file);

    struct report sum = {0, 0};
    int pipe_end[2];
    if (pipe(pipe_end) != 0) bench_fail(1, "no pipe: %s", strerror(errno));
    uint64_t done = 0;
    bench_begin();
    for (; bench_more(done, bench_scaled(CHILDREN, 1)); done++) run_child(argv, pipe_end, &sum);
    bench_end();

    double children = (double)done;
    bench_add_value("time_each", "us", (bench.ended - bench.began) * 1e6 / children);
    bench_add_value("resident_each", "KiB", sum.resident_kib / children);
    bench_add_value("faults_each", "1", sum.faults / children);
    return bench_finish(children);
}
