/* prim_linux.h: what the files of this port share, and tests want to see. */
#ifndef PRIM_LINUX_PRIM_LINUX_H
#define PRIM_LINUX_PRIM_LINUX_H
#include "base/base.h"

// Reads a small file of /proc or /sys, which come in one piece, as a string; an empty one when it
// cannot be read.
INTERNAL void prim_linux_read_text(const char *path, char *buffer, size_t capacity);

// The least limit that control groups set, SIZE_MAX for none. `groups` is the text of
// /proc/self/cgroup, `root` where their file systems are (/sys/fs/cgroup).
INTERNAL size_t prim_linux_group_limit(const char *groups, const char *root);
// What the innermost group tells about its pressure (of version 2 only); false: none does.
INTERNAL must_use bool prim_linux_group_pressure(const char *groups, const char *root,
                                                 unsigned *percent);

#endif
