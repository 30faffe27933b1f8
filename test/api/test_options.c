/* test_options.c: options by call, by environment (in a fresh process: this program starts itself
 * again), and by a string in the program. */
#include "mimalloc.h"
#include "../support/child.h"

// Read by the library before main; the environment is stronger.
extern const char *mi_default_options;
const char *mi_default_options = "max_warnings=7 purge_delay=1234";

TEST(options_are_set_and_read_by_call)
{
    long before = mi_option_get(mi_option_max_errors);
    EXPECT(before == 16);
    mi_option_set(mi_option_max_errors, 99);
    EXPECT(mi_option_get(mi_option_max_errors) == 99);
    EXPECT(mi_option_get_clamp(mi_option_max_errors, 0, 10) == 10);
    EXPECT(mi_option_get_clamp(mi_option_max_errors, 200, 300) == 200);
    mi_option_set(mi_option_max_errors, before);

    mi_option_enable(mi_option_page_reset);
    EXPECT(mi_option_is_enabled(mi_option_page_reset) && mi_option_get(mi_option_page_reset) == 1);
    mi_option_disable(mi_option_page_reset);
    EXPECT(!mi_option_is_enabled(mi_option_page_reset));
    mi_option_set_enabled(mi_option_page_reset, true);
    EXPECT(mi_option_is_enabled(mi_option_page_reset));
    mi_option_set_enabled(mi_option_page_reset, false);
}

TEST(a_default_is_weaker_than_a_value)
{
    mi_option_set_default(mi_option_os_tag, 101);
    EXPECT(mi_option_get(mi_option_os_tag) == 101); // nobody had chosen
    mi_option_set(mi_option_os_tag, 102);
    mi_option_set_default(mi_option_os_tag, 103);
    EXPECT(mi_option_get(mi_option_os_tag) == 102);
    mi_option_set(mi_option_cache_reset, 0);
    mi_option_set_enabled_default(mi_option_cache_reset, true);
    EXPECT(!mi_option_is_enabled(mi_option_cache_reset));
}

TEST(sizes_are_counted_in_KiB)
{
    mi_option_set(mi_option_arena_reserve, 2048);
    EXPECT(mi_option_get_size(mi_option_arena_reserve) == 2048 * 1024);
    mi_option_set(mi_option_arena_reserve, 0);
    EXPECT(mi_option_get_size(mi_option_arena_reserve) == 0);
}

TEST(a_value_that_is_no_option_is_ignored)
{
    mi_option_t none = (mi_option_t)_mi_option_last;
    mi_option_set(none, 5);
    EXPECT(mi_option_get(none) == 0 && !mi_option_is_enabled(none));
}

TEST(the_string_in_the_program_sets_options_before_main)
{
    EXPECT(mi_option_get(mi_option_max_warnings) == 7);
    EXPECT(mi_option_get(mi_option_purge_delay) == 1234);
}

// --- by environment ------------------------------------------------------------------------------

static char self[4096];

// Starts this program again with one variable and compares what it reads for an option.
static void expect_read(const char *variable, mi_option_t option, long expected, size_t lines)
{
    static struct child child;
    char number[20], wanted[40], text[200];
    const char *env[] = {variable, NULL};
    snprintf(number, sizeof number, "%d", (int)option);
    const char *argv[] = {self, "--read-option", number, NULL};
    snprintf(wanted, sizeof wanted, "=%ld\n", expected);
    child_exec(&child, argv, env);
    bool is_expected =
        child.exit_code == 0 && child_says(&child, wanted) && child_line_count(&child) == lines + 1;
    if (is_expected) return;
    snprintf(text, sizeof text, "%s gives %ld and %zu lines, not: %.80s", variable, expected, lines,
             child.text);
    test_failed(__FILE__, __LINE__, text);
}

TEST(the_environment_sets_options_in_upper_and_lower_case)
{
    expect_read("MIMALLOC_MAX_ERRORS=5", mi_option_max_errors, 5, 0);
    expect_read("mimalloc_max_errors=6", mi_option_max_errors, 6, 0);
    expect_read("MIMALLOC_PURGE_DELAY=-1", mi_option_purge_delay, -1, 0);
    expect_read("MIMALLOC_MAX_WARNINGS=3", mi_option_max_warnings, 3,
                0); // stronger than the program's string
    expect_read("UNRELATED=1", mi_option_max_errors, 16, 0);
}

TEST(truth_values_are_read_in_all_their_spellings)
{
    static const char *const on[] = {"1", "TRUE", "true", "YES", "yes", "ON", "on", ""};
    static const char *const off[] = {"0", "FALSE", "false", "NO", "no", "OFF", "off"};
    char variable[80];
    for (size_t i = 0; i < sizeof on / sizeof on[0]; i++) {
        snprintf(variable, sizeof variable, "MIMALLOC_PAGE_RESET=%s", on[i]);
        expect_read(variable, mi_option_page_reset, 1, 0);
    }
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        snprintf(variable, sizeof variable, "MIMALLOC_RESET_DECOMMITS=%s", off[i]);
        expect_read(variable, mi_option_reset_decommits, 0, 0);
    }
}

TEST(sizes_take_suffixes)
{
    expect_read("MIMALLOC_ARENA_RESERVE=65536", mi_option_arena_reserve, 65536, 0);
    expect_read("MIMALLOC_ARENA_RESERVE=64M", mi_option_arena_reserve, 65536, 0);
    expect_read("MIMALLOC_ARENA_RESERVE=1G", mi_option_arena_reserve, 1024 * 1024, 0);
    expect_read("MIMALLOC_ARENA_RESERVE=128K", mi_option_arena_reserve, 128, 0);
}

TEST(a_wrong_value_gives_one_line_and_the_default)
{
    expect_read("MIMALLOC_MAX_ERRORS=many", mi_option_max_errors, 16, 1);
    expect_read("MIMALLOC_PAGE_RESET=perhaps", mi_option_page_reset, 0, 1);
    expect_read("MIMALLOC_MAX_ERRORS=12monkeys", mi_option_max_errors, 16, 1);
    expect_read("MIMALLOC_MAX_ERRORS=99999999999999999999999", mi_option_max_errors, 16, 1);
}

// --- what an option does -------------------------------------------------------------------------

static char outside[64] __attribute__((aligned(16)));

static struct child *run_self(const char *what, const char *variable)
{
    static struct child child;
    const char *env[] = {variable, NULL};
    const char *argv[] = {self, what, NULL};
    child_exec(&child, argv, env);
    return &child;
}

TEST(on_foreign_rules_what_happens_to_foreign_pointers_in_every_build)
{
    struct child *child = run_self("--free-foreign", "MIMALLOC_ON_FOREIGN=ignore");
    EXPECT(child->exit_code == 0 && child->bytes == 0);
    child = run_self("--free-foreign", "MIMALLOC_ON_FOREIGN=report");
    EXPECT(child->exit_code == 0 && child_line_count(child) == 1 &&
           child_says(child, "invalid pointer"));
    child = run_self("--free-foreign", "MIMALLOC_ON_FOREIGN=abort");
    EXPECT(child->signal == SIGABRT && child_says(child, "invalid pointer"));
}

TEST(verbose_says_what_was_chosen)
{
    struct child *child = run_self("--nothing", "MIMALLOC_VERBOSE=1");
    EXPECT(child->exit_code == 0 && child_line_count(child) > 5);
    EXPECT(child_says(child, "mimalloc: ") && child_says(child, "purge_delay"));
    child = run_self("--nothing", "MIMALLOC_VERBOSE=0");
    EXPECT(child->exit_code == 0 && child->bytes == 0);
}

TEST(show_stats_prints_a_table_at_exit)
{
    struct child *child = run_self("--nothing", "MIMALLOC_SHOW_STATS=1");
    EXPECT(child->exit_code == 0 && child_line_count(child) > 10);
    EXPECT(child_says(child, "committed") && child_says(child, "reserved") &&
           child_says(child, "elapsed"));
}

static int play_child(const char *what, const char *argument)
{
    void *block = mi_malloc(100);
    if (strcmp(what, "--read-option") == 0)
        printf("=%ld\n", mi_option_get((mi_option_t)atoi(argument)));
    if (strcmp(what, "--free-foreign") == 0) mi_free(launder(outside + 16));
    mi_free(block);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strncmp(argv[1], "--", 2) == 0)
        return play_child(argv[1], argc > 2 ? argv[2] : "0");
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return 77;
    return test_run_all(argc, argv);
}
