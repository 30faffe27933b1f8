// A shared object that uses mi_malloc: from the library it is linked to, or from a copy inside
// itself.
#include "exercise.h"
#include "mimalloc.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int plugin_exercise(void) { return exercise_run(mi_malloc, mi_free); }
EXPORT int plugin_exercise_malloc(void) { return exercise_run(malloc, free); }
// Much is free, and a helper thread of the library's gives it back.
EXPORT void plugin_start_helper(void)
{
    enum { BLOCKS = 2000, BLOCK_BYTES = 30000 };
    void *blocks[BLOCKS];
    mi_option_set(mi_option_background_purge, 2);
    mi_option_set(mi_option_purge_delay, 20);
    for (int i = 0; i < BLOCKS; i++) blocks[i] = mi_malloc(BLOCK_BYTES);
    for (int i = 0; i < BLOCKS; i++) memset(blocks[i], 1, BLOCK_BYTES);
    for (int i = 0; i < BLOCKS; i++) mi_free(blocks[i]);
}

EXPORT void *plugin_take(size_t bytes) { return mi_malloc(bytes); }
EXPORT void plugin_put(void *block) { mi_free(block); }
EXPORT bool plugin_owns(const void *block) { return mi_is_in_heap_region(block); }
