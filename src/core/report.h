/* report.h: what goes to the user: messages, warnings, and the report of a mistake in the program.
 *
 * One message is one line, is built on the stack, and reaches the output hook in one piece. Nothing
 * here allocates.
 *
 *   fault                what a program did wrong, or what we found corrupt (enum fault)
 *   reaction             normal build: one line, counted against MIMALLOC_MAX_ERRORS, and the call
 *                        is ignored; debug and secure builds: one line, then abort; a registered
 *                        error handler replaces both
 *   foreign pointers     MIMALLOC_ON_FOREIGN=ignore|report|abort rules in every build; the default
 *                        is report, and abort in debug and secure builds
 */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H
#include "base/base.h"

enum fault {
    FAULT_FOREIGN,       // pointer was not given out by us               EINVAL
    FAULT_INTERIOR,      // points into a block, not at its start         EINVAL
    FAULT_DOUBLE_FREE,   // block is free already                         EAGAIN
    FAULT_OVERFLOW,      // bytes after the block were changed            EFAULT
    FAULT_LINK,          // a free list link was changed                  EFAULT
    FAULT_USE_AFTER_FREE,// a free block was written to                   EFAULT
    FAULT_SIZE,          // sized free with a wrong size or alignment     EINVAL
    FAULT_HEAP,          // wrong use of a heap handle                    EINVAL
    FAULT_COUNT
};

// Reports one fault found in `call` ("free", "realloc", ...) at `pointer`; block_bytes 0 when no
// size class is known. Returns when the program is to go on (the caller then ignores the request).
INTERNAL cold void report_fault(enum fault fault, const char *call, const void *pointer,
                                size_t block_bytes);

// The same from where lists are not whole, and a hook, which may allocate, must not run: when there
// is one, and for what the helper finds (helper.h), the fault is left to the next thread that calls
// report_if_left.
INTERNAL cold void report_fault_within(enum fault fault, const char *call, const void *pointer,
                                       size_t block_bytes);
INTERNAL cold void report_left_fault(void);
// In the child of a fork: a thread that was leaving a fault just then has vanished.
INTERNAL cold void report_in_child(void);
SHARED_DATA(ATOMIC(uint32_t) report_left); // 1 more than the fault; 0: none
static inline void report_if_left(void)
{
    // relaxed: report_left_fault takes it
    if (unlikely(atomic_load_explicit(&report_left, memory_order_relaxed) != 0))
        report_left_fault();
}

// Out of memory or a request too large: calls the error hook with ENOMEM or EOVERFLOW, prints under
// show_errors, sets errno = ENOMEM. Returns NULL, so that it can end an allocation path.
INTERNAL cold void *report_no_memory(size_t bytes, bool is_too_large);

// A line "mimalloc: <text><value>" that only shows with MIMALLOC_VERBOSE=1 / with
// MIMALLOC_SHOW_ERRORS=1 / always. `value_text` may be NULL.
INTERNAL cold void report_verbose(const char *text, const char *value_text);
// The same from where an output hook, which may allocate, must not run: the next thread that calls
// report_if_text_waits says it. Of several texts the last one counts; all are constants.
INTERNAL cold void report_verbose_later(const char *text);
INTERNAL cold void report_waiting_text(void);
SHARED_DATA(ATOMIC(uintptr_t) report_text_waits); // the text; 0: none
static inline void report_if_text_waits(void)
{
    // relaxed: report_waiting_text takes it
    if (unlikely(atomic_load_explicit(&report_text_waits, memory_order_relaxed) != 0))
        report_waiting_text();
}
// counted against max_warnings
INTERNAL cold void report_warning(const char *text, const char *value_text);
INTERNAL cold void report_always(const char *text, const char *value_text);
// To stderr, whatever hook there is: from where that must not run.
INTERNAL cold void report_within(const char *text, const char *value_text);

#endif
