#include "core/report.h"
#include "core/hooks.h"
#include "core/options.h"
#include "core/stats.h"
#include "../support/fake_prim.h"
#include "../support/test.h"
#include <errno.h>

// Each test that writes lines runs in a child process, because lines are counted for the life of a
// process.

enum { IS_STRICT = CFG_DEBUG >= 1 || CFG_SECURE >= 1 }; // faults abort

static void *const somewhere = (void *)(uintptr_t)0xabc0;

static void quiet(void) { options_set(OPTION_show_errors, 0); }

// --- faults --------------------------------------------------------------------------------------

static void double_free(void)
{
    quiet();
    report_fault(FAULT_DOUBLE_FREE, "free", somewhere, 48);
}

TEST(report_a_fault_is_one_line_with_call_pointer_and_size)
{
    const char *line = "mimalloc: double free: free(0xabc0): block of 48 bytes\n";
    if (IS_STRICT) EXPECT_DEATH(double_free(), line);
    else EXPECT_STDERR(double_free(), line);
}

static void interior(void)
{
    quiet();
    report_fault(FAULT_INTERIOR, "realloc", somewhere, 0);
}

TEST(report_a_fault_without_a_size_class_leaves_it_out)
{
    const char *line = "mimalloc: invalid pointer (inside a block, not at its start): "
                       "realloc(0xabc0)\n";
    if (IS_STRICT) EXPECT_DEATH(interior(), line);
    else EXPECT_STDERR(interior(), line);
}

static void every_fault_with_a_handler(void);

static int handled[FAULT_COUNT], handled_count;

static void handle(int code, void *arg)
{
    EXPECT(arg == somewhere);
    handled[handled_count++ % FAULT_COUNT] = code;
    errno = ENOTDIR;
}

static void every_fault_with_a_handler(void)
{
    static const int codes[FAULT_COUNT] = {EINVAL, EINVAL, EAGAIN, EFAULT,
                                          EFAULT, EFAULT, EINVAL, EINVAL};
    quiet();
    hooks_set_error(handle, somewhere);
    for (int i = 0; i < FAULT_COUNT; i++) {
        errno = EBUSY;
        report_fault((enum fault)i, "free", somewhere, 16);
        EXPECT_EQ(errno, EBUSY); // free never changes it
    }
    EXPECT_EQ(handled_count, FAULT_COUNT);
    for (int i = 0; i < FAULT_COUNT; i++) EXPECT_EQ(handled[i], codes[i]);
    ATOMIC(uint64_t) *faults = &stats_process()->counter[COUNT_faults];
    EXPECT_EQ(atomic_load_explicit(faults, memory_order_relaxed), FAULT_COUNT);
}

TEST(report_an_error_handler_gets_the_code_and_replaces_line_and_abort)
{
    EXPECT_STDERR(every_fault_with_a_handler(), "");
}

static void shown_and_handled(void)
{
    options_set(OPTION_show_errors, 1);
    hooks_set_error(handle, somewhere);
    report_fault(FAULT_LINK, "malloc", somewhere, 16);
}

TEST(report_with_show_errors_the_line_comes_before_the_handler)
{
    EXPECT_STDERR(shown_and_handled(),
                  "mimalloc: corrupted free list: malloc(0xabc0): block of 16 bytes\n");
}

// As where lists are not whole.
static void from_within(void)
{
    quiet();
    report_fault_within(FAULT_LINK, "free", somewhere, 48);
}

static int code_told;
static void note_code(int code, void *arg)
{
    (void)arg;
    code_told = code;
}

static void from_within_with_a_handler(void)
{
    hooks_set_error(note_code, NULL);
    for (int i = 0; i < 2; i++) from_within();
    EXPECT_EQ(code_told, 0);
    report_if_left();
    EXPECT_EQ(code_told, EFAULT);
    code_told = 0;
    report_if_left(); // the other one was only counted
    EXPECT_EQ(code_told, 0);
}

static void write_line(const char *message, void *arg)
{
    (void)arg;
    prim_write_error(message, strlen(message));
}

static void from_within_with_an_output_hook(void)
{
    hooks_set_output(write_line, NULL);
    from_within();
    prim_write_error("-", 1);
    report_if_left();
}

TEST(report_fault_within_waits_where_there_is_a_hook)
{
    const char *line = "mimalloc: corrupted free list: free(0xabc0): block of 48 bytes\n";
    const char *late = "-mimalloc: corrupted free list: free(0xabc0): block of 48 bytes\n";
    EXPECT_STDERR(from_within_with_a_handler(), "");
    if (IS_STRICT) EXPECT_DEATH(from_within(), line);
    else EXPECT_STDERR(from_within(), line);
    if (IS_STRICT) EXPECT_DEATH(from_within_with_an_output_hook(), late);
    else EXPECT_STDERR(from_within_with_an_output_hook(), late);
}

static void vanish_while_leaving(void)
{
    hooks_set_error(note_code, NULL);
    report_left = UINT32_MAX; // as in the midst of report_fault_within, of another thread
    report_if_left();
    report_in_child();
    from_within();
    report_in_child(); // this one is whole
    report_if_left();
    EXPECT_EQ(code_told, EFAULT);
}

TEST(report_in_child_forgets_a_fault_that_nobody_will_leave)
{
    EXPECT_STDERR(vanish_while_leaving(), "");
}

static void foreign(long on_foreign)
{
    quiet();
    options_set(OPTION_on_foreign, on_foreign);
    report_fault(FAULT_FOREIGN, "free", somewhere, 0);
}

TEST(report_on_foreign_rules_in_every_build)
{
    const char *line = "mimalloc: invalid pointer (not allocated here): free(0xabc0)\n";
    EXPECT_STDERR(foreign(0), "");
    EXPECT_STDERR(foreign(1), line);
    EXPECT_DEATH(foreign(2), line);
    if (IS_STRICT) EXPECT_DEATH(foreign(-1), line);
    else EXPECT_STDERR(foreign(-1), line);
}

static void many_foreign(long show_errors, long limit)
{
    options_set(OPTION_show_errors, show_errors);
    options_set(OPTION_on_foreign, 1);
    options_set(OPTION_max_errors, limit);
    for (int i = 0; i < 4; i++) report_fault(FAULT_FOREIGN, "free", NULL, 0);
}

#define FOREIGN_LINE "mimalloc: invalid pointer (not allocated here): free(0x0)"
#define TWO_FOREIGN_LINES FOREIGN_LINE "\n" FOREIGN_LINE "\n"

TEST(report_max_errors_bounds_the_lines_and_the_last_one_says_so)
{
    const char *two = FOREIGN_LINE "\n" FOREIGN_LINE " (further ones are not shown)\n";
    EXPECT_STDERR(many_foreign(0, 2), two);
    EXPECT_STDERR(many_foreign(1, 2), two);
    EXPECT_STDERR(many_foreign(0, 0), "");
    EXPECT_STDERR(many_foreign(0, -1), TWO_FOREIGN_LINES TWO_FOREIGN_LINES);
}

static void last_words(long show_errors)
{
    options_set(OPTION_show_errors, show_errors);
    options_set(OPTION_on_foreign, 2);
    options_set(OPTION_max_errors, 0);
    report_fault(FAULT_FOREIGN, "free", NULL, 0);
}

TEST(report_last_words_are_printed_whatever_the_limit)
{
    EXPECT_DEATH(last_words(0), FOREIGN_LINE "\n");
    EXPECT_DEATH(last_words(1), FOREIGN_LINE "\n");
}

// --- out of memory -------------------------------------------------------------------------------

static void no_memory(long show_errors)
{
    options_set(OPTION_show_errors, show_errors);
    errno = 0;
    EXPECT(report_no_memory(123, false) == NULL);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT(report_no_memory(SIZE_MAX, true) == NULL);
    EXPECT_EQ(errno, ENOMEM);
}

TEST(report_no_memory_sets_errno_and_is_silent_unless_asked)
{
    EXPECT_STDERR(no_memory(0), "");
}

TEST(report_no_memory_prints_under_show_errors)
{
    if (sizeof(size_t) < 8) return;
    EXPECT_STDERR(no_memory(1), "mimalloc: out of memory: 123 bytes\n"
                                "mimalloc: request too large: 18446744073709551615 bytes\n");
}

static void no_memory_with_handler(void)
{
    quiet();
    hooks_set_error(handle, somewhere); // which spoils errno
    EXPECT(report_no_memory(1, false) == NULL);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT(report_no_memory(1, true) == NULL);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(handled[0], ENOMEM);
    EXPECT_EQ(handled[1], EOVERFLOW);
}

TEST(report_no_memory_tells_the_handler_which_and_sets_errno_last)
{
    EXPECT_STDERR(no_memory_with_handler(), "");
}

static void fail_inside(int code, void *arg)
{
    (void)arg;
    handled_count++;
    EXPECT(report_no_memory((size_t)code, false) == NULL); // a handler that needs memory itself
}

static void no_memory_for_the_handler(void)
{
    quiet();
    hooks_set_error(fail_inside, NULL);
    EXPECT(report_no_memory(1, false) == NULL);
    EXPECT_EQ(handled_count, 1);
}

TEST(report_no_memory_inside_the_handler_does_not_call_it_again)
{
    EXPECT_STDERR(no_memory_for_the_handler(), "");
}

// --- messages ------------------------------------------------------------------------------------

static void messages(long show_errors, long verbose)
{
    options_set(OPTION_show_errors, show_errors);
    options_set(OPTION_verbose, verbose);
    report_verbose("verbose ", "1");
    report_warning("warning ", NULL);
    report_always("always ", "3");
}

TEST(report_messages_show_as_the_options_say)
{
    EXPECT_STDERR(messages(0, 0), "mimalloc: always 3\n");
    EXPECT_STDERR(messages(1, 0), "mimalloc: warning \nmimalloc: always 3\n");
    EXPECT_STDERR(messages(0, 1), "mimalloc: verbose 1\nmimalloc: warning \nmimalloc: always 3\n");
}

static void said_later(long verbose)
{
    options_set(OPTION_verbose, verbose);
    report_if_text_waits();
    report_verbose_later("first");
    report_verbose_later("second");
    report_always("before", NULL);
    report_if_text_waits();
    report_if_text_waits();
}

TEST(report_verbose_later_waits_until_it_is_asked_for)
{
    EXPECT_STDERR(said_later(0), "mimalloc: before\n");
    EXPECT_STDERR(said_later(1), "mimalloc: before\nmimalloc: second\n");
}

static void many_warnings(void)
{
    options_set(OPTION_verbose, 1);
    options_set(OPTION_max_warnings, 1);
    for (int i = 0; i < 3; i++) report_warning("w", NULL);
}

TEST(report_max_warnings_bounds_the_lines)
{
    EXPECT_STDERR(many_warnings(), "mimalloc: w (further ones are not shown)\n");
}

static void count_line(const char *message, void *arg)
{
    size_t bytes = strlen(message);
    ++*(int *)arg;
    EXPECT(bytes > 0 && message[bytes - 1] == '\n');
    report_always("from the hook", NULL); // as an allocation inside the hook may do
}

static void long_message(void)
{
    char text[2000];
    int lines = 0;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    hooks_set_output(count_line, &lines);
    report_always(text, text);
    report_always(text, NULL);
    EXPECT_EQ(lines, 2);
}

TEST(report_a_message_reaches_the_hook_in_one_piece_with_its_line_end_also_when_it_is_too_long)
{
    EXPECT_STDERR(long_message(), "mimalloc: from the hook\nmimalloc: from the hook\n");
}
