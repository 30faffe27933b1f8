/* process_info.h: what the system knows about a process, read without allocating, and numbers out
 * of the library's statistics. */
#ifndef TEST_SUPPORT_PROCESS_INFO_H
#define TEST_SUPPORT_PROCESS_INFO_H
#include "api_test.h"
#include "mimalloc.h"
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

// A field of a file of /proc/self in KiB; 0 when it is not there.
static inline size_t process_field_kib(const char *path, const char *field)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0;
    const char *at = strstr(text, field);
    return at == NULL ? 0 : (size_t)strtoul(at + strlen(field), NULL, 10);
}

// "VmHWM:", "VmSize:". The kernel keeps resident sizes per CPU here: they may be off by 128 KiB and
// more for each.
static inline size_t process_status_kib(const char *field)
{
    return process_field_kib("/proc/self/status", field);
}

// Counted page by page, so that it is exact.
static inline size_t process_resident_kib(void)
{
    size_t kib = process_field_kib("/proc/self/smaps_rollup", "\nRss:");
    return kib != 0 ? kib : process_status_kib("VmRSS:");
}

static inline size_t process_mapping_count(void)
{
    char text[4096];
    size_t count = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    if (fd < 0) return 0;
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;) {
        for (ssize_t i = 0; i < got; i++) count += text[i] == '\n';
    }
    close(fd);
    return count;
}

static inline double process_cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline double process_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// The number after "key": behind the first "object": in a JSON text; -1 when it is not there. An
// empty object name looks for the key from the start.
static inline long long json_number(const char *json, const char *object, const char *key)
{
    char quoted[80];
    const char *at = json;
    if (at != NULL && object[0] != 0) {
        snprintf(quoted, sizeof quoted, "\"%s\":", object);
        at = strstr(at, quoted);
    }
    if (at == NULL) return -1;
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    at = strstr(at, quoted);
    return at == NULL ? -1 : strtoll(at + strlen(quoted), NULL, 10);
}

// The same of the library's statistics, where it must be.
static inline long long stats_number(const char *object, const char *key)
{
    static char json[1 << 18];
    EXPECT(mi_stats_get_json(sizeof json, json) == json);
    long long value = json_number(json, object, key);
    if (value < 0) {
        char text[100];
        snprintf(text, sizeof text, "\"%s\": {\"%s\": a number} in the statistics", object, key);
        test_failed(__FILE__, __LINE__, text);
    }
    return value;
}

#endif
