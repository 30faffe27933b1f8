// An mmap for preloading that allocates, as one that keeps a record of mappings does.
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread volatile int is_inside; // volatile: malloc is declared not to come back here

void *mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (!is_inside) {
        is_inside = 1;
        free(malloc(1));
        is_inside = 0;
    }
    return (void *)syscall(SYS_mmap, hint, bytes, protection, flags, file, offset);
}
