/* tiny.c: the smallest program that allocates; prints its resident KiB, counted mapping by mapping:
 * the totals in /proc/self/status are approximate. The C library's own file is left out: how much
 * of it is mapped beside what is asked for depends on what the system has in its cache. Not linked
 * with the library: test_bounds preloads that and compares. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t resident_kib;
static bool is_counted; // the mapping whose lines come now

// "7f...-7f... r-xp 00000000 08:01 1234    /path" begins a mapping, "Rss:    12 kB" is its size.
static void read_line(const char *line)
{
    size_t word = strcspn(line, " ");
    if (word > 0 && line[word - 1] != ':') is_counted = strstr(line, "/libc.so") == NULL;
    if (is_counted && strncmp(line, "Rss:", 4) == 0) resident_kib += strtoul(line + 4, NULL, 10);
}

static bool read_all(const char *path)
{
    char text[4096], line[512];
    size_t length = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    while ((got = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] != '\n') {
                if (length < sizeof line - 1) line[length++] = text[i];
                continue;
            }
            line[length] = 0;
            length = 0;
            read_line(line);
        }
    }
    close(fd);
    return got == 0 && resident_kib > 0;
}

int main(void)
{
    char text[32];
    void *volatile block = malloc(1);
    free(block);
    if (!read_all("/proc/self/smaps")) return 1;
    int length = snprintf(text, sizeof text, "%zu\n", resident_kib);
    return write(1, text, (size_t)length) == length ? 0 : 1;
}
