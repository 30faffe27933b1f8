/* measure.c: runs a program and reports what it cost.
 *
 *   measure [--end] [--report FD|FILE] [--limit SECONDS] [--preload LIBRARY] PROGRAM [ARGUMENT...]
 *
 * Two lines of JSON go to the report (a descriptor's number, or a file; default: stderr): at the
 * start {"pid": N}; at the end elapsed, user and system seconds, peak_kib (the largest process,
 * counting children that were waited for), end_kib, minor_faults, major_faults, exit (status, null
 * when a signal ended it), signal (or null), timed_out.
 *
 * end_kib is what the program itself held resident when it was first sent a signal through here (a
 * server that is told to stop), or with --end when it began to exit; else, and where the system
 * does not let us see, null. For --end the program's main thread is traced: it stands still when it
 * exits, but also for each signal, such as that of a child that ended.
 *
 * Linked statically: LIBRARY is preloaded into the program alone. And small: the kernel hands the
 * peak of the process that calls exec on to the program.
 *
 * The program gets a process group of its own. SIGINT, SIGTERM and SIGHUP are handed on to it.
 * After the limit, when nobody reads the report any more, and when the program has ended, all that
 * is left of the group is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_SECONDS = 1 }; // how often to see whether anybody still waits for the report

struct request {
    bool end;
    int report;
    double limit_s; // 0: none
    const char *preload;
    char **argv;
};

struct cost {
    double elapsed;
    double paused; // part of `elapsed` in which the program stood still for us
    long end_kib;  // -1: unknown
    int status;
    struct rusage usage;
    bool timed_out;
};

static _Noreturn void refuse(const char *what, const char *value)
{
    fprintf(stderr, "measure: %s %s\n", what, value);
    exit(2);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

// --- what a process holds ------------------------------------------------------------------------

// The number after `name` in a file of /proc, -1 when it is not there.
static long number_in_file(pid_t process, const char *file, const char *name)
{
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)process, file);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0) return -1;
    ssize_t bytes = read(opened, text, sizeof text - 1);
    close(opened);
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *line = strstr(text, name);
    return line == NULL ? -1 : strtol(line + strlen(name), NULL, 10);
}

// The first of the two counts pages; the second may be off by some pages for each CPU.
static long resident_kib(pid_t process)
{
    long exact = number_in_file(process, "smaps_rollup", "\nRss:");
    return exact >= 0 ? exact : number_in_file(process, "status", "\nVmRSS:");
}

// --- the program ---------------------------------------------------------------------------------

static void waited_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

// In the child: waits until it is traced, then becomes the program.
static _Noreturn void become_program(const struct request *request, int gate)
{
    char byte;
    sigset_t set;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(gate, &byte, 1) < 0 && errno == EINTR) {}
    waited_signals(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (request->preload != NULL) setenv("LD_PRELOAD", request->preload, 1);
    execvp(request->argv[0], request->argv);
    fprintf(stderr, "measure: cannot run %s: %s\n", request->argv[0], strerror(errno));
    _exit(127);
}

static pid_t start_program(const struct request *request, double *start)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0) refuse("no pipe:", strerror(errno));
    pid_t child = fork();
    if (child < 0) refuse("no process:", strerror(errno));
    if (child == 0) {
        close(gate[1]);
        become_program(request, gate[0]);
    }
    setpgid(child, child);
    long options = PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL;
    // Refused in some containers; end_kib is unknown then.
    if (request->end) ptrace(PTRACE_SEIZE, child, NULL, (void *)options);
    dprintf(request->report, "{\"pid\": %d}\n", (int)child);
    *start = now_s();
    close(gate[0]);
    close(gate[1]); // opens the gate
    return child;
}

static bool is_group_stop(int status)
{
    int number = WSTOPSIG(status);
    return status >> 16 == PTRACE_EVENT_STOP &&
           (number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU);
}

// The traced program stands still: take what we want to know and let it go on.
static void pass_stop(pid_t child, int status, struct cost *cost)
{
    int event = status >> 16;
    double start = now_s();
    if (event == PTRACE_EVENT_EXIT && cost->end_kib < 0) cost->end_kib = resident_kib(child);
    cost->paused += now_s() - start;
    if (is_group_stop(status)) {
        ptrace(PTRACE_LISTEN, child, NULL, NULL);
        return;
    }
    long number = event == 0 ? WSTOPSIG(status) : 0; // a signal on its way
    ptrace(PTRACE_CONT, child, NULL, (void *)number);
}

// Who asked for the report has closed its end of the pipe.
static bool is_reader_gone(int report)
{
    struct pollfd end = {.fd = report};
    return poll(&end, 1, 0) > 0 && (end.revents & POLLERR) != 0;
}

// Waits a while for news of the program or a signal, and deals with the signal.
static void wait_for_signal(pid_t child, const struct request *request, double deadline,
                            struct cost *cost)
{
    sigset_t set;
    waited_signals(&set);
    double left = deadline - now_s();
    if (left > LOOK_SECONDS || cost->timed_out) left = LOOK_SECONDS;
    if (left < 0) left = 0;
    struct timespec rest = {.tv_sec = (time_t)left};
    rest.tv_nsec = (long)((left - (double)rest.tv_sec) * 1e9);
    int number = sigtimedwait(&set, NULL, &rest);
    if (number > 0 && number != SIGCHLD) {
        if (cost->end_kib < 0) cost->end_kib = resident_kib(child);
        kill(child, number);
    }
    if (number < 0 && errno == EAGAIN) {
        cost->timed_out = now_s() >= deadline;
        if (cost->timed_out || is_reader_gone(request->report)) kill(-child, SIGKILL);
    }
}

static void watch_program(pid_t child, const struct request *request, double start,
                          struct cost *cost)
{
    double deadline = start + (request->limit_s > 0 ? request->limit_s : 1e9);
    for (;;) {
        int status;
        pid_t seen = wait4(child, &status, WNOHANG | __WALL, &cost->usage);
        if (seen == child && WIFSTOPPED(status)) {
            pass_stop(child, status, cost);
        } else if (seen == child) {
            cost->elapsed = now_s() - start - cost->paused;
            cost->status = status;
            return;
        } else if (seen == 0) {
            wait_for_signal(child, request, deadline, cost);
        } else if (errno != EINTR) {
            refuse("the program is lost:", strerror(errno));
        }
    }
}

// --- report --------------------------------------------------------------------------------------

static const char *number_or_null(char *text, size_t bytes, bool known, long number)
{
    snprintf(text, bytes, known ? "%ld" : "null", number);
    return text;
}

static void write_report(int report, const struct cost *cost)
{
    char end[24], code[24], number[24];
    int status = cost->status;
    const struct rusage *usage = &cost->usage;
    long peak_kib = usage->ru_maxrss > cost->end_kib ? usage->ru_maxrss : cost->end_kib;
    dprintf(report,
            "{\"elapsed\": %.6f, \"user\": %.6f, \"system\": %.6f, \"peak_kib\": %ld, "
            "\"end_kib\": %s, \"minor_faults\": %ld, \"major_faults\": %ld, "
            "\"exit\": %s, \"signal\": %s, \"timed_out\": %s}\n",
            cost->elapsed, seconds_of(usage->ru_utime), seconds_of(usage->ru_stime), peak_kib,
            number_or_null(end, sizeof end, cost->end_kib >= 0, cost->end_kib), usage->ru_minflt,
            usage->ru_majflt,
            number_or_null(code, sizeof code, WIFEXITED(status), WEXITSTATUS(status)),
            number_or_null(number, sizeof number, WIFSIGNALED(status), WTERMSIG(status)),
            cost->timed_out ? "true" : "false");
}

static int open_report(const char *where)
{
    char *end;
    long number = strtol(where, &end, 10);
    if (end != where && *end == '\0') {
        if (fcntl((int)number, F_SETFD, FD_CLOEXEC) != 0) refuse("not open: descriptor", where);
        return (int)number;
    }
    int report = open(where, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (report < 0) refuse("cannot write", where);
    return report;
}

static double parse_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0') refuse("no number of seconds:", text);
    return seconds;
}

static void parse_arguments(struct request *request, char **next)
{
    for (; next[0] != NULL && strncmp(next[0], "--", 2) == 0; next++) {
        const char *flag = next[0];
        if (strcmp(flag, "--end") == 0) {
            request->end = true;
            continue;
        }
        const char *value = *++next;
        if (value == NULL) refuse("no value for", flag);
        if (strcmp(flag, "--report") == 0) {
            request->report = open_report(value);
        } else if (strcmp(flag, "--limit") == 0) {
            request->limit_s = parse_seconds(value);
        } else if (strcmp(flag, "--preload") == 0) {
            request->preload = value;
        } else {
            refuse("unknown flag", flag);
        }
    }
    if (next[0] == NULL) {
        refuse("usage: measure [--end] [--report FD|FILE] [--limit SECONDS] [--preload LIBRARY]",
               "PROGRAM [ARGUMENT...]");
    }
    request->argv = next;
}

int main(int argc, char **argv)
{
    struct request request = {.report = STDERR_FILENO};
    if (argc > 0) parse_arguments(&request, argv + 1);
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    waited_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);

    double start;
    struct cost cost = {.end_kib = -1};
    pid_t child = start_program(&request, &start);
    watch_program(child, &request, start, &cost);
    kill(-child, SIGKILL); // what it left in the background
    write_report(request.report, &cost);
    return 0;
}
