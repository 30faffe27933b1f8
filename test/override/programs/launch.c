/* launch.c: runs a program and reports its time and peak memory. Built by run.py.
 *
 *   launch REPORT PROGRAM ARGUMENT...
 *
 * Linked statically: no preload gets in, and it is so small that its own memory, which the kernel
 * counts as the program's until the exec, does not show. The report has two lines: "pid N" at the
 * start, and at the end "STATUS SECONDS USER SYSTEM PEAK_KIB", where a status from 1000 on is
 * 1000 + the signal. SIGTERM is handed on, and the program dies with the launcher.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void hand_on(int number)
{
    if (child > 0) kill(child, number);
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    FILE *report = fopen(argv[1], "we");
    if (report == NULL) return 2;
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    double start = seconds_now();
    child = fork();
    if (child < 0) return 2;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[2], argv + 2);
        fprintf(stderr, "launch: cannot run %s\n", argv[2]);
        _exit(127);
    }
    signal(SIGTERM, hand_on);
    fprintf(report, "pid %d\n", (int)child);
    fflush(report);

    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0) {
        if (errno != EINTR) return 2;
    }
    int code = WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
    fprintf(report, "%d %.3f %.3f %.3f %ld\n", code, seconds_now() - start,
            seconds_of(usage.ru_utime), seconds_of(usage.ru_stime), usage.ru_maxrss);
    return fclose(report) == 0 ? 0 : 2;
}
