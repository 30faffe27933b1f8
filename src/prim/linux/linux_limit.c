#include "prim/posix/prim_posix.h"
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

// A file that is read line by line: that of groups can have many, of version 1, with long paths.
struct linux_lines {
    int         file, error; // of the last read
    size_t      next, end;   // what is left of `piece`
    struct text line;      // what does not fit is cut off: of a path that long the groups around it
    char        piece[LINUX_LIMIT_PATH_BYTES / 2], buffer[LINUX_LIMIT_PATH_BYTES];
};

static int linux_lines_open(struct linux_lines *lines, const char *path)
{
    int before = errno;
    lines->next = lines->end = 0;
    lines->error = 0;
    lines->file = prim_linux_open(path);
    return prim_posix_result(lines->file >= 0, before);
}

// false: there is none, or it cannot be read.
static bool linux_lines_next(struct linux_lines *lines)
{
    text_init(&lines->line, lines->buffer, sizeof lines->buffer);
    for (char next = '\0'; next != '\n'; lines->next++) {
        if (lines->next == lines->end) {
            lines->error = prim_linux_read(lines->file, lines->piece, sizeof lines->piece,
                                           &lines->end);
            lines->next = 0;
            if (lines->end == 0) return lines->error == 0 && lines->line.length > 0;
        }
        next = lines->piece[lines->next];
        text_add_char(&lines->line, next);
    }
    return true;
}

// Of one line, "number:resources:path"; false: it is not about memory.
static bool linux_group_parse(struct linux_group *group, const char *line, const char *root)
{
    const char *end = strchr(line, '\n');
    if (end == NULL) end = line + strlen(line);
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

static cold int linux_group_read(const struct linux_group *group, const char *file, char *buffer,
                                 size_t capacity)
{
    char name[LINUX_LIMIT_PATH_BYTES];
    struct text text;
    text_init(&text, name, sizeof name);
    text_add(&text, group->root);
    text_add(&text, group->tree);
    text_add(&text, group->path.start);
    text_add(&text, file);
    return prim_linux_read_text(name, buffer, capacity);
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

// A file may be there that cannot be opened, or read, just now.
static bool linux_is_passing(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR;
}

// Of the group and all around it: *least becomes no more than that. 0, or an error that passes.
static int linux_group_limit(struct linux_group *group, size_t *least)
{
    const char *file = group->is_newest ? "/memory.max" : "/memory.limit_in_bytes";
    do {
        char text[32];
        int error = linux_group_read(group, file, text, sizeof text);
        if (linux_is_passing(error)) return error;
        size_t limit = linux_limit_number(text);
        if (limit != 0 && limit < *least) *least = limit;
    } while (linux_group_leave(group));
    return 0;
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

// The next group about memory; false: there is none.
static cold bool linux_group_next(struct linux_group *group, struct linux_lines *lines,
                                  const char *root)
{
    while (linux_lines_next(lines)) {
        if (linux_group_parse(group, lines->line.start, root)) return true;
    }
    return false;
}

cold int prim_linux_group_limit(const char *groups, const char *root, size_t *bytes)
{
    struct linux_lines lines;
    struct linux_group group;
    size_t least = SIZE_MAX;
    int before = errno, error = linux_lines_open(&lines, groups);
    if (error != 0) return linux_is_passing(error) ? error : ENOENT;
    while (error == 0 && linux_group_next(&group, &lines, root))
        error = linux_group_limit(&group, &least);
    if (error == 0 && linux_is_passing(lines.error)) error = lines.error;
    prim_linux_close(lines.file);
    errno = before;
    if (error == 0 && least == SIZE_MAX) error = ENOENT;
    if (error == 0) *bytes = least;
    return error;
}

cold bool prim_linux_group_pressure(const char *groups, const char *root, unsigned *percent)
{
    struct linux_lines lines;
    struct linux_group group;
    int before = errno;
    bool is_told = false;
    if (linux_lines_open(&lines, groups) != 0) return false;
    while (!is_told && linux_group_next(&group, &lines, root))
        is_told = linux_group_pressure(&group, percent);
    prim_linux_close(lines.file);
    errno = before;
    return is_told;
}

static const char linux_groups[] = "/proc/self/cgroup", linux_groups_root[] = "/sys/fs/cgroup";

int prim_memory_limit(size_t *bytes)
{
    return prim_linux_group_limit(linux_groups, linux_groups_root, bytes);
}

int prim_memory_pressure(unsigned *percent)
{
    char text[64];
    if (prim_linux_group_pressure(linux_groups, linux_groups_root, percent)) return 0;
    prim_linux_read_text("/proc/pressure/memory", text, sizeof text);
    return linux_pressure_parse(text, percent) ? 0 : ENOENT;
}
