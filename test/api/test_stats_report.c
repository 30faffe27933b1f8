/* test_stats_report.c: the table of statistics, the numbers of one thread, and what is printed at
 * exit, against what the program did. */
#include "../support/child.h"
#include "mimalloc.h"
#include <pthread.h>

enum { COUNT = 2000, BYTES = 240, LARGE_BYTES = 4 * 1024 * 1024 };
// 900 bytes and, in debug builds, 16 behind them lie in blocks of this class.
enum { BLOCK_BYTES = BYTES + (TEST_IS_DEBUG ? 16 : 0), PRINTED_BYTES = 1 << 16 };

static void *blocks[COUNT];
static char  self[4096];

static struct {
    size_t bytes;
    bool   has_long_line;
    char   text[PRINTED_BYTES];
} printed;

static void keep(const char *line)
{
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '\n' || length > 130) printed.has_long_line = true;
    if (length > 1 && line[length - 2] == ' ') printed.has_long_line = true;
    if (printed.bytes + length >= sizeof printed.text) return;
    memcpy(printed.text + printed.bytes, line, length + 1);
    printed.bytes += length;
}

static void clear_printed(void)
{
    printed.bytes = 0;
    printed.text[0] = 0;
}

// Column `index` of the last row that starts with this label, without its unit; -1: no such row.
static double column(const char *label, int index)
{
    const char *last = NULL, *at = printed.text;
    for (; (at = strstr(at, label)) != NULL; at++) {
        if (at == printed.text || at[-1] == '\n') last = at + strlen(label);
    }
    if (last == NULL) return -1;
    char field[12] = "";
    memcpy(field, last + index * 11, 11);
    return atof(field);
}

static bool row_ends_with(const char *label, const char *end)
{
    const char *row = strstr(printed.text, label);
    const char *line_end = row == NULL ? NULL : strchr(row, '\n');
    size_t length = strlen(end);
    return line_end != NULL && line_end - row > (ptrdiff_t)length &&
           memcmp(line_end - length, end, length) == 0;
}

static void print_table(void)
{
    clear_printed();
    mi_stats_print(keep);
}

static void allocate_all(void)
{
    for (size_t i = 0; i < COUNT; i++) blocks[i] = mi_malloc(BYTES);
}

static void *free_all(void *arg)
{
    for (size_t i = 0; i < COUNT; i++) mi_free(blocks[i]);
    return arg;
}

// The row of the class of BLOCK_BYTES, by its unit.
static const char *class_label(void)
{
    static char label[16];
    char unit[24];
    snprintf(unit, sizeof unit, " %d b ", BLOCK_BYTES);
    const char *at = strstr(printed.text, unit);
    while (at != NULL && at > printed.text && at[-1] != '\n') at--;
    snprintf(label, sizeof label, "%.11s", at == NULL ? "none" : at);
    return label;
}

TEST(a_class_says_what_the_program_holds_and_whether_all_was_freed)
{
    allocate_all();
    print_table();
    double kb = (double)COUNT * BLOCK_BYTES / 1024, shown = column(class_label(), 0);
    EXPECT(shown > kb - 0.11 && shown <= kb); // sizes are rounded down
    if (!TEST_IS_DEBUG) EXPECT(column(class_label(), 1) == COUNT);
    EXPECT(row_ends_with(class_label(), "  not all freed"));
    free_all(NULL);
    print_table();
    EXPECT(row_ends_with(class_label(), "  ok"));
    if (!TEST_IS_DEBUG) EXPECT(column(class_label(), 1) == 0);
}

TEST(large_blocks_show_as_huge)
{
    void *block = mi_malloc(LARGE_BYTES);
    print_table();
    EXPECT(column("      huge:", 0) >= 4 && column("      huge:", 0) < 4.2);
    mi_free(block);
    print_table();
    EXPECT(row_ends_with("      huge:", "  ok"));
}

TEST(lines_are_whole_and_short)
{
    allocate_all();
    printed.has_long_line = false;
    print_table();
    mi_thread_stats_print(keep);
    EXPECT(!printed.has_long_line);
    free_all(NULL);
}

static void print_thread(void)
{
    clear_printed();
    mi_thread_stats_print(keep);
}

static void *expect_counts_of_thread(void *arg)
{
    print_thread();
    EXPECT(column("slow paths:", 0) == 0 && column("    blocks:", 0) == 0); // it never allocated
    for (size_t i = 0; i < 10; i++) blocks[i] = mi_malloc(BYTES);
    print_thread();
    EXPECT(column("    blocks:", 0) == 10 && column("     pages:", 0) == 1);
    EXPECT(column("slow paths:", 0) >= 1 && column("slow paths:", 0) <= 10);
    for (size_t i = 10; i < COUNT; i++) blocks[i] = mi_malloc(BYTES);
    print_thread();
    double full = column("-abandoned:", 0), owned = column("     pages:", 0);
    EXPECT(full + owned >= 8 && full + owned <= 10);
    free_all(NULL);
    print_thread();
    EXPECT(column("    blocks:", 0) == 0 && column("-abandoned:", 0) == 0);
    return arg;
}

static void *free_others(void *arg)
{
    mi_thread_init(); // else the first few go by
    free_all(NULL);
    mi_stats_merge(); // the last ones waited in this thread's ring
    print_thread();
    EXPECT(column("    remote:", 0) == COUNT);
    EXPECT(column("-in chains:", 0) >= 1 && column("-in chains:", 0) <= COUNT);
    return arg;
}

static void on_thread(void *run(void *arg))
{
    pthread_t thread;
    ENSURE(pthread_create(&thread, NULL, run, NULL) == 0);
    pthread_join(thread, NULL);
}

static void count_in_threads(void *arg)
{
    (void)arg;
    on_thread(expect_counts_of_thread);
    allocate_all();
    on_thread(free_others);
}

TEST(a_thread_knows_its_own_numbers)
{
    static struct child child;
    if (TEST_IS_SANITIZED) return; // others allocate in these threads, too
    child_run(&child, count_in_threads, NULL);
    EXPECT(child_is_well(&child));
}

TEST(json_is_printed_at_exit_where_the_environment_says_so)
{
    static struct child child;
    const char *argv[] = {self, "--exit", NULL}, *env[] = {"MIMALLOC_SHOW_STATS_JSON=1", NULL};
    child_exec(&child, argv, env);
    EXPECT(child.exit_code == 0 && child.bytes > 1000);
    EXPECT(strncmp(child.text, "{\n", 2) == 0);
    EXPECT(child_says(&child, "\"stat_version\": ") && child_says(&child, "\"malloc_bins\": ["));
    EXPECT(strcmp(child.text + child.bytes - 3, "\n}\n") == 0);
}

TEST(statistics_that_the_program_asks_for_survive_that_it_closes_stderr)
{
    static struct child child;
    const char *argv[] = {self, "--close", NULL};
    child_exec(&child, argv, NULL);
    EXPECT(child.exit_code == 0 && child_says(&child, "committed:"));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--close") == 0) {
        mi_option_enable(mi_option_show_stats);
        mi_free(mi_malloc(100));
        return close(STDERR_FILENO);
    }
    if (argc > 1 && strcmp(argv[1], "--exit") == 0) {
        mi_free(mi_malloc(100));
        return 0;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return 77;
    return test_run_all(argc, argv);
}
