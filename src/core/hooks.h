/* hooks.h: the functions that lower floors call upward. There are three; a new one needs a
 * paragraph in doc/design.md.
 *
 * Each slot holds a function and its argument, set together under no lock: a hook that is replaced
 * while another thread calls it may be called once more with its old argument. [any]
 */
#ifndef CORE_HOOKS_H
#define CORE_HOOKS_H
#include "base/base.h"

typedef void hook_output(const char *message, void *arg);
typedef void hook_error(int code, void *arg);
typedef void hook_deferred_free(bool force, unsigned long long heartbeat, void *arg);

// NULL: back to stderr
INTERNAL void hooks_set_output(hook_output *function, void *arg);
// NULL: back to the default
INTERNAL void hooks_set_error(hook_error *function, void *arg);
INTERNAL void hooks_set_deferred_free(hook_deferred_free *function, void *arg); // NULL: none

// Hands one NUL-terminated piece of text to the output hook, or to stderr. Re-entrancy safe: text
// written by an output hook that allocates, from within itself, goes to stderr. So it does while
// more threads than we have places for are inside the hook or have left it by a jump; likewise the
// default reaction to an error.
INTERNAL void hooks_output(const char *message);
// There is a hook for either, which may allocate.
INTERNAL bool hooks_are_set(void);
// true when a hook took the error.
INTERNAL bool hooks_error(int code);
// The calling thread ends: it is inside no hook any more, though one may never have returned. Its
// name may be another thread's soon.
INTERNAL void hooks_end_thread(void);
// In the child of a fork: the other threads are inside no hook any more.
INTERNAL void hooks_in_child(void);
// Calls the deferred-free hook unless this thread is inside it already, of which `inside`, the
// caller's own word, keeps track.
enum { HOOKS_OUTSIDE, HOOKS_NEVER }; // what to begin with; NEVER: calls nothing
INTERNAL void hooks_deferred_free(uintptr_t *inside, bool force, unsigned long long heartbeat);
// The calling thread is inside a hook of any kind, so that somebody goes on when it returns.
INTERNAL bool hooks_is_inside(uintptr_t inside);

#endif
