// An mmap for preloading that allocates, as one that keeps a record of mappings does: blocks of
// some sizes, every second one of which it keeps for a while.
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread volatile int is_inside; // volatile: malloc is declared not to come back here
static __thread void *kept[64];
static __thread unsigned count;

static void allocate(void)
{
    static const size_t sizes[] = {1, 16, 48, 200, 300, 1000, 3000, 20000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = malloc(sizes[i]);
        if (i % 2 == 0) {
            void **place = &kept[count++ % 64];
            void *before = *place;
            *place = block;
            block = before;
        }
        free(block);
    }
}

void *mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (!is_inside) {
        is_inside = 1;
        allocate();
        is_inside = 0;
    }
    return (void *)syscall(SYS_mmap, hint, bytes, protection, flags, file, offset);
}
