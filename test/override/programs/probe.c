/* probe.c: tells from inside a process whose malloc it runs on. Built and preloaded by run.py.
 *
 * At start it asks by behaviour: does a block of malloc count in the C library's own accounts, is
 * it in a heap of ours? At the end (exit, or _exit, which skips all destructors) it writes the
 * answers as JSON, with a live call of mi_stats_get_json, to $PROBE_FOLDER/<pid>.json. It allocates
 * nothing then: the process may be a child of vfork. It stands before the library, and before the C
 * library where that is preloaded, so that its _exit comes first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// weak: NULL in the run on the system's allocator, and with releases that lack a call
extern bool mi_is_in_heap_region(const void *p) __attribute__((weak));
extern char *mi_stats_get_json(size_t buffer_size, char *buffer) __attribute__((weak));

static struct mallinfo2 (*libc_mallinfo)(void);
static char folder[512];
static char stats[1 << 17];
static bool libc_serves, ours_serve;
static pid_t reported;

static size_t libc_bytes(void)
{
    if (libc_mallinfo == NULL) return 0;
    struct mallinfo2 info = libc_mallinfo();
    return info.uordblks + info.hblkhd;
}

static void ask_by_behaviour(void)
{
    // larger than what the C library keeps in its thread caches, which do not show in its accounts
    static const size_t bytes = 5000;
    size_t before = libc_bytes();
    char *volatile block = malloc(bytes);
    if (block == NULL) return;
    libc_serves = libc_bytes() >= before + bytes;
    char *volatile copy = strdup("allocated by the C library itself");
    ours_serve =
        mi_is_in_heap_region != NULL && mi_is_in_heap_region(block) && mi_is_in_heap_region(copy);
    free(copy);
    free(block);
}

__attribute__((constructor)) static void probe_start(void)
{
    const char *value = getenv("PROBE_FOLDER");
    if (value == NULL || strlen(value) > sizeof folder - 32) return;
    strcpy(folder, value);
    // the library exports mallinfo2 as well; the C library's own is wanted
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (libc != NULL) { *(void **)&libc_mallinfo = dlsym(libc, "mallinfo2"); }
    ask_by_behaviour();
}

static void write_all(int file, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t written = write(file, text, bytes);
        if (written <= 0) return;
        text += written;
        bytes -= (size_t)written;
    }
}

__attribute__((destructor)) static void probe_report(void)
{
    if (folder[0] == '\0' || reported == getpid()) return;
    reported = getpid();
    char name[sizeof folder + 32], partial[sizeof folder + 32], program[256], line[512];
    snprintf(name, sizeof name, "%s/%d.json", folder, (int)getpid());
    snprintf(partial, sizeof partial, "%s/%d.partial", folder, (int)getpid());
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    if (mi_stats_get_json == NULL || mi_stats_get_json(sizeof stats, stats) == NULL) {
        strcpy(stats, "null");
    }
    int file = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return;
    snprintf(line, sizeof line,
             "{\"program\": \"%s\", \"libc_serves\": %s, \"ours_serve\": %s, "
             "\"libc_bytes\": %zu, \"stats\": ",
             program, libc_serves ? "true" : "false", ours_serve ? "true" : "false", libc_bytes());
    write_all(file, line, strlen(line));
    write_all(file, stats, strlen(stats));
    write_all(file, "}\n", 2);
    close(file);
    rename(partial, name); // so that a process killed here leaves no half report
}

// NOLINTBEGIN: these names are the C library's
__attribute__((noreturn)) void _exit(int status)
{
    probe_report();
    for (;;) syscall(SYS_exit_group, status);
}

__attribute__((noreturn)) void _Exit(int status) { _exit(status); }
// NOLINTEND
