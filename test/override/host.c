/* host.c: loads a plugin, uses its allocator and malloc side by side, and unloads it under a
 * running thread.
 *
 * usage: host PLUGIN [same|apart] [--preloaded]
 *   same         malloc's blocks lie in memory that the plugin's mi_is_in_heap_region knows
 *   apart        they do not
 *   --preloaded  malloc is ours by LD_PRELOAD */
#include <dlfcn.h>
#include <unistd.h>
#include "exercise.h"
#include "ours.h"

struct plugin {
    void *handle;
    int (*exercise)(void);
    int (*exercise_malloc)(void);
    void *(*take)(size_t bytes);
    void (*put)(void *block);
    bool (*owns)(const void *block);
};

static void plugin_find(struct plugin *plugin, const char *name, void *function)
{
    void *address = dlsym(plugin->handle, name);
    if (address == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(function, &address, sizeof address);
}

static void plugin_load(struct plugin *plugin, const char *path)
{
    plugin->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin->handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    plugin_find(plugin, "plugin_exercise", &plugin->exercise);
    plugin_find(plugin, "plugin_exercise_malloc", &plugin->exercise_malloc);
    plugin_find(plugin, "plugin_take", &plugin->take);
    plugin_find(plugin, "plugin_put", &plugin->put);
    plugin_find(plugin, "plugin_owns", &plugin->owns);
}

// A thread that uses the plugin, and ends after the plugin was unloaded.
struct survivor {
    struct plugin *plugin;
    pthread_barrier_t used, unloaded;
};

static void *survivor_main(void *arg)
{
    struct survivor *survivor = (struct survivor *)arg;
    survivor->plugin->put(survivor->plugin->take(100));
    free(malloc(100));
    pthread_barrier_wait(&survivor->used);
    pthread_barrier_wait(&survivor->unloaded);
    free(malloc(100));
    return NULL;
}

static void test_a_thread_may_outlive_the_plugin(struct plugin *plugin)
{
    struct survivor survivor;
    pthread_t thread;
    survivor.plugin = plugin;
    pthread_barrier_init(&survivor.used, NULL, 2);
    pthread_barrier_init(&survivor.unloaded, NULL, 2);
    if (pthread_create(&thread, NULL, survivor_main, &survivor) != 0) abort();
    pthread_barrier_wait(&survivor.used);
    EXPECT(dlclose(plugin->handle) == 0);
    pthread_barrier_wait(&survivor.unloaded);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    bool same = argc > 2 && strcmp(argv[2], "same") == 0;
    bool preloaded = argc > 3 && strcmp(argv[3], "--preloaded") == 0;
    struct plugin plugin;
    if (argc < 3) return 2;

    for (int round = 0; round < 3; round++) {
        plugin_load(&plugin, argv[1]);
        void *block = malloc(100);
        void *other = plugin.take(100);
        EXPECT(is_ours(block) == preloaded);
        EXPECT(plugin.owns(other));
        EXPECT(plugin.owns(block) == same);
        free(block);
        plugin.put(other);
        EXPECT(plugin.exercise() == 0);
        EXPECT(plugin.exercise_malloc() == 0);
        EXPECT(exercise_run(malloc, free) == 0);
        test_a_thread_may_outlive_the_plugin(&plugin);
    }
    return failed_count == 0 ? 0 : 1;
}
