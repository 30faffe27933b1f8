/* prim_posix.h: what the ports to POSIX systems share; only files in prim/ include it. */
#ifndef PRIM_POSIX_PRIM_POSIX_H
#define PRIM_POSIX_PRIM_POSIX_H
#include "base/base.h"
#include <errno.h>

// Ends a call under rules M2 and M3: the error number of a failed system call (0 when it
// succeeded), with `errno` as it was before.
static inline int prim_posix_result(bool succeeded, int errno_before)
{
    int error = succeeded ? 0 : errno;
    errno = errno_before;
    return error;
}

#endif
