#include <errno.h>
#include "base/text.h"
#include "prim/linux/prim_linux.h"
#include "prim/prim.h"

// Memory limits of control groups. Version 2 has one tree, of which /proc/self/cgroup names our
// place as "0::/path"; version 1 one for each resource: "5:memory:/path". A limit counts for all
// groups below. Inside a container the path may be one that only the host can see: then the folders
// do not exist, and the topmost one is the container's.

enum { LINUX_LIMIT_PATH_BYTES = 1024 };

// 0: no number is there ("max").
static size_t linux_limit_read(const char *path)
{
    char text[32];
    size_t value = 0;
    prim_linux_read_text(path, text, sizeof text);
    for (const char *at = text; *at >= '0' && *at <= '9'; at++) {
        if (value > SIZE_MAX / 10 - 1) return SIZE_MAX;
        value = value * 10 + (size_t)(*at - '0');
    }
    return value;
}

// Of the folder `root` `tree` `path` and all above it up to `root` `tree`; SIZE_MAX: none.
static size_t linux_limit_least(const char *root, const char *tree, struct text *path,
                                const char *file)
{
    size_t least = SIZE_MAX;
    for (;;) {
        char buffer[LINUX_LIMIT_PATH_BYTES];
        struct text name;
        text_init(&name, buffer, sizeof buffer);
        text_add(&name, root);
        text_add(&name, tree);
        text_add(&name, path->start);
        text_add(&name, file);
        size_t limit = linux_limit_read(buffer);
        if (limit != 0 && limit < least) least = limit;
        if (path->length == 0) return least;
        while (path->length > 0 && path->start[--path->length] != '/') {}
        path->start[path->length] = '\0';
    }
}

// Of one line, "number:resources:path", which ends at `end`; SIZE_MAX: it is not about memory.
static size_t linux_limit_of_line(const char *line, const char *end, const char *root)
{
    const char *names = (const char *)memchr(line, ':', (size_t)(end - line));
    if (names == NULL) return SIZE_MAX;
    names++;
    const char *path = (const char *)memchr(names, ':', (size_t)(end - names));
    if (path == NULL) return SIZE_MAX;

    char buffer[LINUX_LIMIT_PATH_BYTES / 2];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    for (const char *at = path + 1; at < end; at++) text_add_char(&text, *at);
    if (path == names) return linux_limit_least(root, "", &text, "/memory.max");
    // "memory" stands alone unless an administrator has put it together with other resources
    static const char memory[] = "memory";
    bool is_memory = path == names + sizeof memory - 1 &&
                     memcmp(names, memory, sizeof memory - 1) == 0;
    return is_memory ? linux_limit_least(root, "/memory", &text, "/memory.limit_in_bytes")
                     : SIZE_MAX;
}

size_t prim_linux_group_limit(const char *groups, const char *root)
{
    size_t least = SIZE_MAX;
    for (const char *line = groups, *end; *line != '\0'; line = *end == '\0' ? end : end + 1) {
        end = strchr(line, '\n');
        if (end == NULL) end = line + strlen(line);
        size_t limit = linux_limit_of_line(line, end, root);
        if (limit < least) least = limit;
    }
    return least;
}

int prim_memory_limit(size_t *bytes)
{
    char groups[2 * LINUX_LIMIT_PATH_BYTES];
    prim_linux_read_text("/proc/self/cgroup", groups, sizeof groups);
    size_t limit = prim_linux_group_limit(groups, "/sys/fs/cgroup");
    if (limit == SIZE_MAX) return ENOENT;
    *bytes = limit;
    return 0;
}
