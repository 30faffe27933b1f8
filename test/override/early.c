/* early.c: a library whose constructor allocates, before that of a preloaded library runs. */
#include <stdlib.h>

__attribute__((constructor)) static void early_start(void)
{
    void *volatile block = malloc(1000);
    if (block == NULL) abort();
    free(block);
}
