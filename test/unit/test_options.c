#include "core/options.h"
#include "core/hooks.h"
#include "../support/fake_prim.h"
#include "../support/test.h"
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

// What a program would define. Options are read once in a process: each test that reads them has
// its own child.
const char *mi_default_options;

static void init_with(const char *name, const char *value)
{
    fake_prim_set_env(name, value);
    options_init();
}

static long value_after(const char *name, const char *value, enum option option)
{
    init_with(name, value);
    return options_get(option);
}

// --- before and without options_init -------------------------------------------------------------

TEST(options_have_their_defaults_before_they_are_read)
{
    EXPECT_EQ(options_get(OPTION_purge_delay), 200);
    EXPECT_EQ(options_get(OPTION_max_errors), 16);
    EXPECT_EQ(options_get(OPTION_on_foreign), -1);
    EXPECT_EQ(options_get(OPTION_show_errors), CFG_DEBUG);
    EXPECT(options_is_on(OPTION_eager_commit));
    EXPECT(!options_is_on(OPTION_verbose));
}

TEST(options_names_follow_the_list)
{
    EXPECT_TEXT(options_name(OPTION_show_errors), "show_errors");
    EXPECT_TEXT(options_name(OPTION_show_stats_json), "show_stats_json");
    EXPECT_TEXT(options_name(OPTION_COUNT), "");
}

TEST(options_outside_the_list_read_as_zero_and_are_not_written)
{
    options_set(OPTION_COUNT, 5);
    options_set_default(OPTION_COUNT, 5);
    EXPECT_EQ(options_get(OPTION_COUNT), 0);
    EXPECT_EQ(options_get_bytes(OPTION_COUNT), 0);
}

// O1: a reader finds a value that was set as a whole, whoever sets another one meanwhile.
static const long option_pattern = LONG_MAX / 5;

static void *set_in_turn(void *unused)
{
    for (int i = 0; i < 20000; i++)
        options_set(OPTION_max_errors, i % 2 == 0 ? option_pattern : -option_pattern);
    return unused;
}

static void read_while_set(void)
{
    pthread_t thread;
    options_set(OPTION_max_errors, option_pattern);
    EXPECT_EQ(pthread_create(&thread, NULL, set_in_turn, NULL), 0);
    for (int i = 0; i < 20000; i++) {
        long value = options_get(OPTION_max_errors);
        EXPECT(value == option_pattern || value == -option_pattern);
    }
    pthread_join(thread, NULL);
}

TEST(O1_a_value_that_is_being_set_reads_as_the_old_or_the_new_one)
{
    EXPECT_STDERR(read_while_set(), "");
}

static void early(void)
{
    fake_prim_set_env("MIMALLOC_PURGE_DELAY", "7");
    fake_prim_set_env_ready(false);
    options_init();
    EXPECT_EQ(options_get(OPTION_purge_delay), 200);
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_env), 0);
    fake_prim_set_env_ready(true);
    options_init();
    EXPECT_EQ(options_get(OPTION_purge_delay), 7);
    fake_prim_set_env("MIMALLOC_PURGE_DELAY", "8");
    options_init();
    EXPECT_EQ(options_get(OPTION_purge_delay), 7);
}

TEST(options_are_read_by_the_first_call_that_finds_the_environment_ready)
{
    EXPECT_STDERR(early(), "");
}

// --- the environment -----------------------------------------------------------------------------

static void expect_value(const char *name, const char *value, enum option option, long expected)
{
    EXPECT_EQ(value_after(name, value, option), expected);
}

TEST(options_env_names_are_upper_or_lower_case)
{
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "12", OPTION_purge_delay, 12), "");
    EXPECT_STDERR(expect_value("mimalloc_purge_delay", "13", OPTION_purge_delay, 13), "");
}

TEST(options_answer_to_their_other_spellings)
{
    EXPECT_STDERR(expect_value("MIMALLOC_RESET_DELAY", "14", OPTION_purge_delay, 14), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ALLOW_LARGE_OS_PAGES", "2", OPTION_large_os_pages, 2), "");
    EXPECT_STDERR(
        expect_value("MIMALLOC_ARENA_EAGER_COMMIT", "0", OPTION_eager_region_commit, 0), "");
    EXPECT_STDERR(expect_value("MIMALLOC_LIMIT_OS_ALLOC", "1", OPTION_disallow_os_alloc, 1), "");
    EXPECT_STDERR(expect_value("mimalloc_purge_decommits", "0", OPTION_reset_decommits, 0), "");
}

static void both_spellings(void)
{
    fake_prim_set_env("MIMALLOC_RESET_DELAY", "14");
    expect_value("MIMALLOC_PURGE_DELAY", "15", OPTION_purge_delay, 15);
}

TEST(options_own_name_wins_over_an_other_spelling)
{
    EXPECT_STDERR(both_spellings(), "");
}

static void expect_words(const char *const *words, long before, long expected)
{
    for (; *words != NULL; words++) {
        if (test_fork()) {
            options_set_default(OPTION_show_stats, before);
            options_set_default(OPTION_verbose, before);
            fake_prim_set_env("MIMALLOC_SHOW_STATS", *words);
            fake_prim_set_env("MIMALLOC_VERBOSE", *words);
            options_init();
            EXPECT_EQ(options_get(OPTION_show_stats), expected);
            EXPECT_EQ(options_get(OPTION_verbose), expected);
            test_child_end();
        }
        test_expect_stderr(__FILE__, __LINE__, "");
    }
}

TEST(options_know_the_words_for_on_and_off)
{
    static const char *const on[] = {"", "1", "TRUE", "true", "YES", "yes", "On", NULL};
    static const char *const off[] = {"0", "FALSE", "False", "NO", "no", "OFF", NULL};
    expect_words(on, 0, 1);
    expect_words(off, 1, 0);
}

TEST(options_read_numbers_sizes_and_choices)
{
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "-1", OPTION_purge_delay, -1), "");
    EXPECT_STDERR(expect_value("MIMALLOC_MAX_ERRORS", "-5", OPTION_max_errors, -5), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ARENA_RESERVE", "100", OPTION_arena_reserve, 100), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ARENA_RESERVE", "2G", OPTION_arena_reserve, 2097152), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ARENA_RESERVE", "64mib", OPTION_arena_reserve, 65536), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "ignore", OPTION_on_foreign, 0), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "Report", OPTION_on_foreign, 1), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "ABORT", OPTION_on_foreign, 2), "");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "2", OPTION_on_foreign, 2), "");
}

TEST(options_that_are_flags_are_on_for_every_number_but_0)
{
    EXPECT_STDERR(expect_value("MIMALLOC_SHOW_STATS", "2", OPTION_show_stats, 1), "");
    EXPECT_STDERR(expect_value("MIMALLOC_SHOW_STATS", "00", OPTION_show_stats, 0), "");
    EXPECT_STDERR(
        expect_value("MIMALLOC_ARENA_EAGER_COMMIT", "2", OPTION_eager_region_commit, 1), "");
}

TEST(options_read_a_limit_as_a_size_or_as_that_of_the_group)
{
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_LIMIT", "2MiB", OPTION_memory_limit, 2048), "");
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_LIMIT", "cgroup", OPTION_memory_limit, -1), "");
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_LIMIT_HARD", "CGroup", OPTION_memory_limit_hard,
                               -1), "");
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_LIMIT", "half", OPTION_memory_limit, 0),
                  "mimalloc: option memory_limit: \"half\" is neither a number of KiB nor cgroup; "
                  "it stays 0\n");
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_PRESSURE", "20", OPTION_memory_pressure, 20), "");
    EXPECT_STDERR(expect_value("MIMALLOC_MEMORY_PRESSURE", "101", OPTION_memory_pressure, 0),
                  "mimalloc: option memory_pressure: \"101\" is out of range; it stays 0\n");
}

TEST(O2_a_value_that_cannot_be_read_leaves_the_default_and_prints_one_line)
{
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "soon", OPTION_purge_delay, 200),
                  "mimalloc: option purge_delay: \"soon\" is not a number of milliseconds; "
                  "it stays 200\n");
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "5k", OPTION_purge_delay, 200),
                  "mimalloc: option purge_delay: \"5k\" is not a number of milliseconds; "
                  "it stays 200\n");
    EXPECT_STDERR(expect_value("MIMALLOC_SHOW_STATS", "2x", OPTION_show_stats, 0),
                  "mimalloc: option show_stats: \"2x\" is neither on nor off; it stays 0\n");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "yes", OPTION_on_foreign, -1),
                  "mimalloc: option on_foreign: \"yes\" is not ignore, report or abort; "
                  "it stays -1\n");
    EXPECT_STDERR(expect_value("MIMALLOC_USE_NUMA_NODES", "\033[2J", OPTION_use_numa_nodes, 0),
                  "mimalloc: option use_numa_nodes: \"?[2J\" is not a number; it stays 0\n");
    EXPECT_STDERR(expect_value("MIMALLOC_MAX_WARNINGS", "1234567890123456789012345678901234567890x",
                               OPTION_max_warnings, 16),
                  "mimalloc: option max_warnings: \"1234567890123456789012345678901234567890...\" "
                  "is not a number; it stays 16\n");
}

static void expect_stays(const char *name, enum option option, const char *problem)
{
    static const char *const on[] = {"", "true", "YES", "on", NULL};
    char line[256];
    for (int i = 0; on[i] != NULL; i++) {
        snprintf(line, sizeof line, "mimalloc: option %s: \"%s\" %s; it stays %ld\n",
                 options_name(option), on[i], problem, options_get(option));
        EXPECT_STDERR(expect_value(name, on[i], option, options_get(option)), line);
    }
    EXPECT_STDERR(expect_value(name, "off", option, 0), "");
    EXPECT_STDERR(expect_value(name, "No", option, 0), "");
    EXPECT_STDERR(expect_value(name, "1", option, 1), "");
}

TEST(O2_nothing_and_the_words_for_on_say_not_how_much)
{
    expect_stays("MIMALLOC_MEMORY_LIMIT_HARD", OPTION_memory_limit_hard,
                 "is neither a number of KiB nor cgroup");
    expect_stays("MIMALLOC_ARENA_RESERVE", OPTION_arena_reserve, "is not a number of KiB");
    expect_stays("MIMALLOC_PURGE_DELAY", OPTION_purge_delay, "is not a number of milliseconds");
    expect_stays("MIMALLOC_MEMORY_PRESSURE", OPTION_memory_pressure, "is not a number of percent");
}

TEST(O2_a_value_out_of_range_leaves_the_default_and_prints_one_line)
{
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "-2", OPTION_purge_delay, 200),
                  "mimalloc: option purge_delay: \"-2\" is out of range; it stays 200\n");
    EXPECT_STDERR(expect_value("MIMALLOC_PURGE_DELAY", "2147483648", OPTION_purge_delay, 200),
                  "mimalloc: option purge_delay: \"2147483648\" is out of range; it stays 200\n");
    EXPECT_STDERR(expect_value("MIMALLOC_ARENA_RESERVE", "-1", OPTION_arena_reserve, 0),
                  "mimalloc: option arena_reserve: \"-1\" is out of range; it stays 0\n");
    EXPECT_STDERR(expect_value("MIMALLOC_ON_FOREIGN", "3", OPTION_on_foreign, -1),
                  "mimalloc: option on_foreign: \"3\" is out of range; it stays -1\n");
}

// --- the string in the program -------------------------------------------------------------------

static void init_program(const char *string)
{
    mi_default_options = string;
    options_init();
}

static void all_separators(void)
{
    init_program(" purge_delay=20,max_errors=3;Arena_Reserve=1M\t"
                 "verbose=2\nshow_stats reset_delay=21 ");
    EXPECT_EQ(options_get(OPTION_purge_delay), 21);
    EXPECT_EQ(options_get(OPTION_max_errors), 3);
    EXPECT_EQ(options_get(OPTION_arena_reserve), 1024);
    EXPECT_EQ(options_get(OPTION_verbose), 2);
    EXPECT_EQ(options_get(OPTION_show_stats), 1);
}

TEST(options_program_string_takes_blanks_commas_and_semicolons)
{
    EXPECT_STDERR(all_separators(), "");
}

TEST(options_program_string_may_be_empty)
{
    EXPECT_STDERR(init_program(NULL), "");
    EXPECT_STDERR(init_program(""), "");
    EXPECT_STDERR(init_program(" ,; "), "");
}

TEST(options_program_string_with_mistakes_prints_a_line_for_each)
{
    EXPECT_STDERR(init_program("purge=1 max_errors=x,=5"),
                  "mimalloc: option \"purge\" is unknown (in mi_default_options)\n"
                  "mimalloc: option max_errors: \"x\" is not a number; it stays 16\n"
                  "mimalloc: option \"\" is unknown (in mi_default_options)\n");
    EXPECT_STDERR(init_program("a_name_that_is_longer_than_any_option_could_ever_be_in_here=1"),
                  "mimalloc: option \"a_name_that_is_longer_than_any_option_co...\" is unknown "
                  "(in mi_default_options)\n");
}

// --- who wins ------------------------------------------------------------------------------------

static void every_source(void)
{
    mi_default_options = "purge_delay=1 max_errors=2 max_warnings=3 use_numa_nodes=4";
    fake_prim_set_env("MIMALLOC_MAX_ERRORS", "20");
    fake_prim_set_env("MIMALLOC_MAX_WARNINGS", "30");
    options_set(OPTION_max_warnings, 300); // before they are read
    options_set_default(OPTION_use_numa_nodes, 400);
    options_set_default(OPTION_arena_reserve, 500);
    options_init();
    EXPECT_EQ(options_get(OPTION_purge_delay), 1);
    EXPECT_EQ(options_get(OPTION_max_errors), 20);
    EXPECT_EQ(options_get(OPTION_max_warnings), 300);
    EXPECT_EQ(options_get(OPTION_use_numa_nodes), 4);
    EXPECT_EQ(options_get(OPTION_arena_reserve), 500);

    options_set(OPTION_max_errors, 200);
    options_set_default(OPTION_purge_delay, 1000);
    options_set_default(OPTION_max_errors, 2000);
    EXPECT_EQ(options_get(OPTION_max_errors), 200);
    EXPECT_EQ(options_get(OPTION_purge_delay), 1);
}

TEST(options_call_beats_environment_beats_program_beats_default)
{
    EXPECT_STDERR(every_source(), "");
}

static void sizes(void)
{
    options_set(OPTION_arena_reserve, 3);
    EXPECT_EQ(options_get_bytes(OPTION_arena_reserve), 3072);
    options_set(OPTION_arena_reserve, -3);
    EXPECT_EQ(options_get_bytes(OPTION_arena_reserve), 0);
    options_set(OPTION_arena_reserve, LONG_MAX);
    EXPECT_EQ(options_get_bytes(OPTION_arena_reserve), SIZE_MAX);
}

TEST(options_get_bytes_saturates)
{
    EXPECT_STDERR(sizes(), "");
}

// --- options that do nothing ---------------------------------------------------------------------

static void useless(const char *verbose)
{
    mi_default_options = "page_reset=1 arena_purge_mult=10";
    fake_prim_set_env("MIMALLOC_VERBOSE", verbose);
    fake_prim_set_env("MIMALLOC_SEGMENT_CACHE", "4");
    fake_prim_set_env("MIMALLOC_PURGE_EXTEND_DELAY", "4");
    options_init();
    options_set(OPTION_os_tag, 5);
}

TEST(options_without_effect_say_so_and_why_under_verbose)
{
    EXPECT_STDERR(useless("0"), "");
    EXPECT_STDERR(useless("1"),
                  "mimalloc: option arena_purge_mult has no effect: "
                  "all free memory waits for purge_delay\n"
                  "mimalloc: option segment_cache has no effect: "
                  "free memory waits in its arena, for purge_delay\n"
                  "mimalloc: option page_reset has no effect: "
                  "an empty page goes back to its arena at once\n"
                  "mimalloc: option purge_extend_delay has no effect: "
                  "memory that is reused soon is never purged\n"
                  "mimalloc: option os_tag has no effect: "
                  "only macOS tags memory\n");
}

// --- printing and re-entrancy --------------------------------------------------------------------

static int  printed_count;
static char printed_first[256];

static void take_line(const char *message, void *arg)
{
    (void)arg;
    options_init(); // as a malloc inside the hook does
    if (printed_count++ == 0) strncpy(printed_first, message, sizeof printed_first - 1);
}

static void print_all(void)
{
    fake_prim_set_env("MIMALLOC_SHOW_ERRORS", "3");
    options_init();
    hooks_set_output(take_line, NULL);
    options_print();
    EXPECT_EQ(printed_count, OPTION_COUNT);
    EXPECT_TEXT(printed_first, "mimalloc: option show_errors: 3 (environment)\n");
}

TEST(options_print_is_a_line_for_each)
{
    EXPECT_STDERR(print_all(), "");
}

static void hook_that_allocates(void)
{
    hooks_set_output(take_line, NULL);
    init_with("MIMALLOC_PURGE_DELAY", "soon");
    EXPECT_EQ(printed_count, 1);
}

TEST(options_init_is_not_started_again_from_inside_an_output_hook)
{
    EXPECT_STDERR(hook_that_allocates(), "");
}
