/* late_cxx_host.c: a C program that gets the C++ library with a plugin, which it does not share.
 *
 * usage: late_cxx_host PLUGIN */
#include <dlfcn.h>
#include <stdbool.h>
#include "ours.h"

int main(int argc, char **argv)
{
    static const char *const names[] = {"plugin_catches", "plugin_handles",
                                        "plugin_is_told_by_null"};
    if (argc != 2) return 2;
    EXPECT(is_ours(malloc(10)));
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int (*run)(void);
        *(void **)&run = dlsym(plugin, names[i]);
        EXPECT(run != NULL && run() == 0);
    }
    return failed_count == 0 ? 0 : 1;
}
