#include <errno.h>
#include "base/text.h"
#include "prim/linux/prim_linux.h"
#include "prim/prim.h"

// What control groups say about memory. Version 2 has one tree, of which /proc/self/cgroup names
// our place as "0::/path"; version 1 one for each resource: "5:memory:/path". A limit counts for
// all groups below. Inside a container the path may be one that only the host can see: then the
// folders do not exist, and the topmost one is the container's.

enum { LINUX_LIMIT_PATH_BYTES = 1024 };

struct linux_group {
    const char *root, *tree; // the folder of the topmost group
    bool        is_newest;   // of version 2
    struct text path;        // from there on; shorter with each step upward
    char        buffer[LINUX_LIMIT_PATH_BYTES / 2];
};

// Of one line, "number:resources:path", which ends at `end`; false: it is not about memory.
static bool linux_group_parse(struct linux_group *group, const char *line, const char *end,
                              const char *root)
{
    const char *names = (const char *)memchr(line, ':', (size_t)(end - line));
    if (names == NULL) return false;
    names++;
    const char *path = (const char *)memchr(names, ':', (size_t)(end - names));
    if (path == NULL) return false;

    // "memory" stands alone unless an administrator has put it together with other resources
    static const char memory[] = "memory";
    bool is_memory = path == names + sizeof memory - 1 &&
                     memcmp(names, memory, sizeof memory - 1) == 0;
    group->is_newest = path == names;
    group->root = root;
    group->tree = is_memory ? "/memory" : "";
    text_init(&group->path, group->buffer, sizeof group->buffer);
    for (const char *at = path + 1; at < end; at++) text_add_char(&group->path, *at);
    return is_memory || group->is_newest;
}

static void linux_group_read(const struct linux_group *group, const char *file, char *buffer,
                             size_t capacity)
{
    char name[LINUX_LIMIT_PATH_BYTES];
    struct text text;
    text_init(&text, name, sizeof name);
    text_add(&text, group->root);
    text_add(&text, group->tree);
    text_add(&text, group->path.start);
    text_add(&text, file);
    prim_linux_read_text(name, buffer, capacity);
}

// To the group around it; false when there is none.
static bool linux_group_leave(struct linux_group *group)
{
    struct text *path = &group->path;
    if (path->length == 0) return false;
    while (path->length > 0 && path->start[--path->length] != '/') {}
    path->start[path->length] = '\0';
    return true;
}

// The number that a text begins with; 0: none ("max").
static size_t linux_limit_number(const char *text)
{
    size_t value = 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++) {
        if (value > SIZE_MAX / 10 - 1) return SIZE_MAX;
        value = value * 10 + (size_t)(*at - '0');
    }
    return value;
}

// Of the group and all around it; SIZE_MAX: none.
static size_t linux_group_limit(struct linux_group *group)
{
    const char *file = group->is_newest ? "/memory.max" : "/memory.limit_in_bytes";
    size_t least = SIZE_MAX;
    do {
        char text[32];
        linux_group_read(group, file, text, sizeof text);
        size_t limit = linux_limit_number(text);
        if (limit != 0 && limit < least) least = limit;
    } while (linux_group_leave(group));
    return least;
}

// "some avg10=12.34 avg60=...": the part of the last ten seconds in which something waited for
// memory. (Documentation/accounting/psi.rst of Linux.)
static bool linux_pressure_parse(const char *text, unsigned *percent)
{
    static const char begin[] = "some avg10=";
    if (strncmp(text, begin, sizeof begin - 1) != 0) return false;
    *percent = (unsigned)linux_limit_number(text + sizeof begin - 1);
    return true;
}

// Of the innermost group that tells it.
static bool linux_group_pressure(struct linux_group *group, unsigned *percent)
{
    if (!group->is_newest) return false;
    do {
        char text[64];
        linux_group_read(group, "/memory.pressure", text, sizeof text);
        if (linux_pressure_parse(text, percent)) return true;
    } while (linux_group_leave(group));
    return false;
}

// The next group about memory of those that *groups names, which moves on; false: there is none.
static bool linux_group_next(struct linux_group *group, const char **groups, const char *root)
{
    while (**groups != '\0') {
        const char *line = *groups, *end = strchr(line, '\n');
        if (end == NULL) end = line + strlen(line);
        *groups = *end == '\0' ? end : end + 1;
        if (linux_group_parse(group, line, end, root)) return true;
    }
    return false;
}

size_t prim_linux_group_limit(const char *groups, const char *root)
{
    struct linux_group group;
    size_t least = SIZE_MAX;
    while (linux_group_next(&group, &groups, root)) {
        size_t limit = linux_group_limit(&group);
        if (limit < least) least = limit;
    }
    return least;
}

bool prim_linux_group_pressure(const char *groups, const char *root, unsigned *percent)
{
    struct linux_group group;
    while (linux_group_next(&group, &groups, root)) {
        if (linux_group_pressure(&group, percent)) return true;
    }
    return false;
}

static const char linux_groups_root[] = "/sys/fs/cgroup";
enum { LINUX_GROUPS_BYTES = 2 * LINUX_LIMIT_PATH_BYTES };

int prim_memory_limit(size_t *bytes)
{
    char groups[LINUX_GROUPS_BYTES];
    prim_linux_read_text("/proc/self/cgroup", groups, sizeof groups);
    size_t limit = prim_linux_group_limit(groups, linux_groups_root);
    if (limit == SIZE_MAX) return ENOENT;
    *bytes = limit;
    return 0;
}

int prim_memory_pressure(unsigned *percent)
{
    char text[LINUX_GROUPS_BYTES];
    prim_linux_read_text("/proc/self/cgroup", text, sizeof text);
    if (prim_linux_group_pressure(text, linux_groups_root, percent)) return 0;
    prim_linux_read_text("/proc/pressure/memory", text, sizeof text);
    return linux_pressure_parse(text, percent) ? 0 : ENOENT;
}
