#include "core/report.h"
#include "base/text.h"
#include "core/helper.h"
#include "core/hooks.h"
#include "core/options.h"
#include "core/stats.h"
#include "prim/prim.h"
#include <errno.h>

enum { REPORT_LINE_BYTES = 512 };
// What happens after a fault; also the values of option on_foreign.
enum { REPORT_AS_BUILT = -1, REPORT_IGNORES, REPORT_GOES_ON, REPORT_ABORTS };

// report_left, besides faults: some thread is about to say which.
static const uint32_t REPORT_LEAVING = UINT32_MAX;

struct report_line {
    struct text text;
    char        buffer[REPORT_LINE_BYTES];
};

struct report_kind {
    const char *text;
    int         code; // for the error hook
};

static const struct report_kind report_kinds[FAULT_COUNT] = { // by enum fault
    {"invalid pointer (not allocated here)", EINVAL},
    {"invalid pointer (inside a block, not at its start)", EINVAL},
    {"double free", EAGAIN},
    {"buffer overflow (bytes after the block were changed)", EFAULT},
    {"corrupted free list", EFAULT},
    {"use after free (a free block was changed)", EFAULT},
    {"wrong size or alignment", EINVAL},
    {"wrong use of a heap", EINVAL},
};

DEFINE_DATA(ATOMIC(uintptr_t) report_text_waits)
static ATOMIC(long) report_errors;   // lines printed so far
static ATOMIC(long) report_warnings;

static void report_begin(struct report_line *line)
{
    text_init(&line->text, line->buffer, sizeof line->buffer - 1); // room for the line end
    text_add(&line->text, "mimalloc: ");
}

static void report_close(struct report_line *line)
{
    line->buffer[line->text.length] = '\n';
    line->buffer[line->text.length + 1] = '\0';
}

static void report_end(struct report_line *line)
{
    report_close(line);
    hooks_output(line->buffer);
}

// Counts one more line; false when `limit` (negative: none) lines were printed before it.
static bool report_may_print(struct report_line *line, ATOMIC(long) *printed, long limit)
{
    if (limit < 0) return true;
    // relaxed: a number of lines, no data hangs on it. Looked at first, so that it cannot run over.
    if (atomic_load_explicit(printed, memory_order_relaxed) >= limit) return false;
    long before = atomic_fetch_add_explicit(printed, 1, memory_order_relaxed);
    if (before + 1 == limit) text_add(&line->text, " (further ones are not shown)");
    return before < limit;
}

// Ends the line and hands it over; false when there were too many before it.
static bool report_end_counted(struct report_line *line, ATOMIC(long) *printed, long limit)
{
    bool may_print = report_may_print(line, printed, limit);
    if (may_print) report_end(line);
    return may_print;
}

static bool report_end_error(struct report_line *line)
{
    return report_end_counted(line, &report_errors, options_get(OPTION_max_errors));
}

static void report_build_fault(struct report_line *line, enum fault fault, const char *call,
                               const void *pointer, size_t block_bytes)
{
    report_begin(line);
    text_add(&line->text, report_kinds[fault].text);
    text_add(&line->text, ": ");
    text_add(&line->text, call);
    text_add(&line->text, "(");
    text_add_hex(&line->text, (uint64_t)(uintptr_t)pointer);
    text_add(&line->text, ")");
    if (block_bytes == 0) return;
    text_add(&line->text, ": block of ");
    text_add_unsigned(&line->text, block_bytes);
    text_add(&line->text, " bytes");
}

static long report_reaction(enum fault fault)
{
    long chosen = REPORT_AS_BUILT;
    if (fault == FAULT_FOREIGN) chosen = options_get(OPTION_on_foreign);
    if (chosen >= REPORT_IGNORES && chosen <= REPORT_ABORTS) return chosen;
    return CFG_DEBUG >= 1 || CFG_SECURE >= 1 ? REPORT_ABORTS : REPORT_GOES_ON;
}

// A debug build says where it was; other builds have no frames to tell.
static cold void report_abort(void)
{
    void *frames[32];
    prim_backtrace_write(frames, prim_backtrace(frames, 32));
    prim_abort();
}

DEFINE_DATA(ATOMIC(uint32_t) report_left)
// Of the fault that was left; further ones are only counted until it is told.
static ATOMIC(const char *) report_left_call;
static ATOMIC(uintptr_t) report_left_place;
static ATOMIC(size_t) report_left_bytes;

static cold void report_leave(enum fault fault, const char *call, const void *pointer,
                              size_t block_bytes)
{
    uint32_t none = 0;
    // acquire: pairs with report_left_fault, so that it has read what is overwritten here
    if (!atomic_compare_exchange_strong_explicit(&report_left, &none, REPORT_LEAVING,
                                                 memory_order_acquire, memory_order_relaxed)) {
        stats_count(COUNT_faults, 1);
        return;
    }
    atomic_store_explicit(&report_left_call, call, memory_order_relaxed);
    atomic_store_explicit(&report_left_place, (uintptr_t)pointer, memory_order_relaxed);
    atomic_store_explicit(&report_left_bytes, block_bytes, memory_order_relaxed);
    // release: pairs with report_left_fault
    atomic_store_explicit(&report_left, (uint32_t)fault + 1, memory_order_release);
}

cold void report_in_child(void)
{
    uint32_t leaving = REPORT_LEAVING;
    // relaxed, both: what was not said to the end is forgotten
    (void)atomic_compare_exchange_strong_explicit(&report_left, &leaving, 0, memory_order_relaxed,
                                                  memory_order_relaxed);
}

cold void report_left_fault(void)
{
    // acquire: pairs with report_leave
    uint32_t left = atomic_load_explicit(&report_left, memory_order_acquire);
    const char *call = atomic_load_explicit(&report_left_call, memory_order_relaxed);
    uintptr_t place = atomic_load_explicit(&report_left_place, memory_order_relaxed);
    size_t block_bytes = atomic_load_explicit(&report_left_bytes, memory_order_relaxed);
    if (left == 0 || left == REPORT_LEAVING) return;
    // release: pairs with report_leave
    if (atomic_compare_exchange_strong_explicit(&report_left, &left, 0, memory_order_release,
                                                memory_order_relaxed))
        report_fault((enum fault)(left - 1), call, (void *)place, block_bytes);
}

cold void report_fault(enum fault fault, const char *call, const void *pointer, size_t block_bytes)
{
    if (helper_is_here()) {
        report_leave(fault, "collect", pointer, block_bytes);
        return;
    }
    int before = errno; // free leaves it alone, whatever a hook does
    long reaction = report_reaction(fault);
    stats_count(COUNT_faults, 1);
    if (reaction == REPORT_IGNORES) return;

    struct report_line line;
    bool is_told = false;
    report_build_fault(&line, fault, call, pointer, block_bytes);
    // A handler learns a code and no more, and may not return: who asks for messages gets the line
    // before it runs.
    if (options_is_on(OPTION_show_errors)) is_told = report_end_error(&line);
    if (!hooks_error(report_kinds[fault].code)) {
        if (!is_told && reaction == REPORT_ABORTS) report_end(&line); // last words are not counted
        if (reaction == REPORT_ABORTS) report_abort();
        if (!is_told) (void)report_end_error(&line);
    }
    errno = before;
}

cold void report_fault_within(enum fault fault, const char *call, const void *pointer,
                              size_t block_bytes)
{
    if (hooks_are_set() && !helper_is_here()) report_leave(fault, call, pointer, block_bytes);
    else report_fault(fault, call, pointer, block_bytes);
}

cold void *report_no_memory(size_t bytes, bool is_too_large)
{
    if (options_is_on(OPTION_show_errors)) {
        struct report_line line;
        report_begin(&line);
        text_add(&line.text, is_too_large ? "request too large: " : "out of memory: ");
        text_add_unsigned(&line.text, bytes);
        text_add(&line.text, " bytes");
        (void)report_end_error(&line);
    }
    (void)hooks_error(is_too_large ? EOVERFLOW : ENOMEM);
    errno = ENOMEM; // last, because a hook may have changed it
    return NULL;
}

static void report_build_text(struct report_line *line, const char *text, const char *value_text)
{
    report_begin(line);
    text_add(&line->text, text);
    if (value_text != NULL) text_add(&line->text, value_text);
}

cold void report_always(const char *text, const char *value_text)
{
    struct report_line line;
    report_build_text(&line, text, value_text);
    report_end(&line);
}

cold void report_within(const char *text, const char *value_text)
{
    struct report_line line;
    report_build_text(&line, text, value_text);
    report_close(&line);
    prim_write_error(line.buffer, line.text.length + 1);
}

cold void report_verbose(const char *text, const char *value_text)
{
    if (options_is_on(OPTION_verbose)) report_always(text, value_text);
}

// relaxed, as below: nothing but constants hangs on it
cold void report_verbose_later(const char *text)
{
    atomic_store_explicit(&report_text_waits, (uintptr_t)text, memory_order_relaxed);
}

cold void report_waiting_text(void)
{
    uintptr_t text = atomic_exchange_explicit(&report_text_waits, 0, memory_order_relaxed);
    if (text != 0) report_verbose((const char *)text, NULL);
}

cold void report_warning(const char *text, const char *value_text)
{
    struct report_line line;
    if (!options_is_on(OPTION_show_errors) && !options_is_on(OPTION_verbose)) return;
    report_build_text(&line, text, value_text);
    (void)report_end_counted(&line, &report_warnings, options_get(OPTION_max_warnings));
}
