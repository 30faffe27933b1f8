/* unload.c: unloads a plugin that has a helper thread in it, which must be gone before its code is.
 *
 * usage: unload PLUGIN */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 20, PATIENCE_SECONDS = 10 };
#if defined(__x86_64__) && defined(__GLIBC__)
enum { LEAST_HELPED = ROUNDS };
#else
enum { LEAST_HELPED = 0 };
#endif

static int thread_count(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') count++;
    }
    if (directory != NULL) closedir(directory);
    return count;
}

static void fail(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(1);
}

int main(int argc, char **argv)
{
    int helped = 0;
    if (argc != 2) return 2;
    for (int round = 0; round < ROUNDS; round++) {
        void (*start_helper)(void);
        void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (plugin == NULL) fail(dlerror());
        *(void **)&start_helper = dlsym(plugin, "plugin_start_helper");
        if (start_helper == NULL) fail(dlerror());
        start_helper();
        helped += thread_count() == 2;
        if (dlclose(plugin) != 0) fail(dlerror());
        if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) != NULL) fail("the plugin is still there");
        // the system takes a moment to clean up a thread that has ended
        time_t end = time(NULL) + PATIENCE_SECONDS;
        while (thread_count() != 1) {
            if (time(NULL) > end) fail("there is still a helper");
        }
    }
    fprintf(stderr, "%d of %d times there was a helper\n", helped, ROUNDS);
    return helped >= LEAST_HELPED ? 0 : 1;
}
