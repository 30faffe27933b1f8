/* app.c: uses an installed mimalloc and says whose malloc it got. */
#include <mimalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *ours = mi_strdup("text");
    void *theirs = malloc(100);
    int is_same_version = mi_version() == MI_MALLOC_VERSION;
    int is_text_kept = ours != NULL && strcmp(ours, "text") == 0;

    printf("version %d, malloc is %s\n", mi_version(),
           mi_is_in_heap_region(theirs) ? "overridden" : "the system's");
    mi_free(ours);
    free(theirs);
    return is_same_version && is_text_kept ? 0 : 1;
}
