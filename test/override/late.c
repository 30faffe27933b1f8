/* late.c: loads the library after others have taken the storage for initial-exec thread variables.
 *
 * usage: late LIBRARY [FILLER...]   the fillers are loaded until one fails; one must */
#include <dlfcn.h>
#include "exercise.h"

int main(int argc, char **argv)
{
    bool is_full = argc == 2;
    for (int i = 2; i < argc; i++) {
        if (dlopen(argv[i], RTLD_NOW) == NULL) {
            if (strstr(dlerror(), "static TLS") != NULL) is_full = true;
            break;
        }
    }
    if (!is_full) {
        fprintf(stderr, "the fillers did not use up the static TLS\n");
        return 1;
    }
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void *(*take)(size_t);
    void (*put)(void *);
    *(void **)&take = dlsym(library, "mi_malloc");
    *(void **)&put = dlsym(library, "mi_free");
    int failures = take == NULL || put == NULL || exercise_run(take, put) != 0;
    dlclose(library);
    return failures;
}
