// The program's callbacks. Those of version 1.2 take no argument: a trampoline gets the function
// itself as the hook's.
#include "base/base.h"
#include "core/hooks.h"
#include "mimalloc.h"

static_assert(sizeof(mi_output_fun *) == sizeof(void *), "a function fits in a hook's argument");

// C has no conversion between a function and an object pointer; POSIX and Windows give both the
// same representation.
union hook_argument {
    void                 *value;
    mi_output_fun        *output;
    mi_deferred_free_fun *deferred_free;
};

static void hook_call_output(const char *message, void *arg)
{
    union hook_argument argument;
    argument.value = arg;
    argument.output(message);
}

static void hook_call_deferred_free(bool force, unsigned long long heartbeat, void *arg)
{
    union hook_argument argument;
    argument.value = arg;
    argument.deferred_free(force, heartbeat);
}

void mi_register_output(mi_output_fun *out)
{
    union hook_argument argument;
    argument.output = out;
    hooks_set_output(out == NULL ? NULL : hook_call_output, argument.value);
}

void mi_register_deferred_free(mi_deferred_free_fun *deferred_free)
{
    union hook_argument argument;
    argument.deferred_free = deferred_free;
    hooks_set_deferred_free(deferred_free == NULL ? NULL : hook_call_deferred_free, argument.value);
}

void mi_register_error(mi_error_fun *fun, void *arg) { hooks_set_error(fun, arg); }

int mi_version(void) { return MI_MALLOC_VERSION; }
