/* prim_linux.h: what the files of this port share, and tests want to see. */
#ifndef PRIM_LINUX_PRIM_LINUX_H
#define PRIM_LINUX_PRIM_LINUX_H
#include "base/base.h"

// Below 0 on failure, with errno, which these two change.
INTERNAL int prim_linux_open(const char *path);
INTERNAL void prim_linux_close(int file);
// 0 or an error; *bytes: how many were read, 0 at the end and on failure.
INTERNAL int prim_linux_read(int file, void *buffer, size_t capacity, size_t *bytes);
// Reads a small file of /proc or /sys, which come in one piece, as a string; an empty one when it
// cannot be read. 0, or why.
INTERNAL int prim_linux_read_text(const char *path, char *buffer, size_t capacity);

// As prim_memory_limit: the least that control groups set. `groups` is the file that names them
// (/proc/self/cgroup), `root` where their file systems are (/sys/fs/cgroup).
INTERNAL must_use int prim_linux_group_limit(const char *groups, const char *root, size_t *bytes);
// What the innermost group tells about its pressure (of version 2 only); false: none does.
INTERNAL must_use bool prim_linux_group_pressure(const char *groups, const char *root,
                                                 unsigned *percent);

#endif
