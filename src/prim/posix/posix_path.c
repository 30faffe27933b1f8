// Paths, for every system with realpath(3).
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include "prim/prim.h"

#if defined(PATH_MAX)
static_assert(PATH_MAX <= PRIM_PATH_BYTES, "realpath writes up to PATH_MAX characters");
#endif

int prim_real_path(const char *path, char *buffer)
{
    int saved = errno;
    int error = realpath(path, buffer) != NULL ? 0 : errno;
    errno = saved;
    return error;
}
