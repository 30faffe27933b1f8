// A shared object that uses mi_malloc: from the library it is linked to, or from a copy inside
// itself.
#include "exercise.h"
#include "mimalloc.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int plugin_exercise(void) { return exercise_run(mi_malloc, mi_free); }
EXPORT int plugin_exercise_malloc(void) { return exercise_run(malloc, free); }
EXPORT void *plugin_take(size_t bytes) { return mi_malloc(bytes); }
EXPORT void plugin_put(void *block) { mi_free(block); }
EXPORT bool plugin_owns(const void *block) { return mi_is_in_heap_region(block); }
