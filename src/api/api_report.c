/* api_report.c: the statistics as a table for people, with the rows and columns of version 1.2.
 *
 * A row is a label and columns of eleven characters. Sizes are in b, kb (1024 b), mb, gb and tb,
 * rounded down.
 */
#include "api/api_report.h"
#include "api/api_json.h"
#include "core/hooks.h"
#include "core/options.h"
#include "mimalloc.h"

enum { REPORT_LABEL_WIDTH = 10, REPORT_COLUMN_WIDTH = 11 };

// --- columns -------------------------------------------------------------------------------------

static void report_add_size(struct text *text, uint64_t bytes)
{
    static const char *const names[] = {" b", " kb", " mb", " gb", " tb"};
    unsigned step = 0;
    uint64_t unit = 1;
    for (; step < 4 && bytes / unit >= 1024; step++) unit *= 1024;
    text_add_unsigned(text, bytes / unit);
    if (step > 0) {
        text_add_char(text, '.');
        text_add_unsigned(text, bytes % unit * 10 / unit);
    }
    text_add(text, names[step]);
}

static void report_add_size_column(struct text *text, int64_t bytes)
{
    size_t from = text->length;
    report_add_size(text, bytes > 0 ? (uint64_t)bytes : 0);
    if (bytes < 1024) text_add_char(text, ' '); // units have two characters
    text_pad_left(text, from, REPORT_COLUMN_WIDTH);
}

// Exact, also above a kb.
static void report_add_unit_column(struct text *text, size_t bytes)
{
    size_t from = text->length;
    text_add_unsigned(text, bytes);
    text_add(text, " b ");
    text_pad_left(text, from, REPORT_COLUMN_WIDTH);
}

static void report_add_count_column(struct text *text, int64_t count)
{
    size_t from = text->length;
    text_add_signed(text, count);
    text_add(text, "   "); // where sizes have their unit
    text_pad_left(text, from, REPORT_COLUMN_WIDTH);
}

static void report_add_label(struct text *text, const char *label)
{
    size_t from = text->length;
    text_add(text, label);
    text_pad_left(text, from, REPORT_LABEL_WIDTH);
    text_add_char(text, ':');
}

static void report_add_class_label(struct text *text, unsigned size_class)
{
    text_add(text, "normal");
    size_t from = text->length;
    text_add_unsigned(text, size_class);
    text_pad_left(text, from, 4);
    text_add_char(text, ':');
}

static void report_add_leak(struct text *text, int64_t current)
{
    text_add(text, current == 0 ? "  ok" : "  not all freed");
}

static void report_text_line(struct lines *lines, const char *string)
{
    text_add(&lines->text, string);
    lines_end(lines);
}

// --- blocks, debug builds: all that ever happened ------------------------------------------------

// Behind a label.
static cold void report_history(struct lines *lines, struct stats_values values, size_t unit_bytes)
{
    struct text *text = &lines->text;
    report_add_size_column(text, values.peak);
    report_add_size_column(text, values.added);
    report_add_size_column(text, values.removed);
    report_add_unit_column(text, unit_bytes);
    report_add_leak(text, values.current);
    lines_end(lines);
}

static void report_labelled_history(struct lines *lines, const char *label,
                                    struct stats_values values)
{
    report_add_label(&lines->text, label);
    report_history(lines, values, 1);
}

static void report_history_of_classes(struct lines *lines)
{
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        struct stats_values values = stats_read(stats_block_class(size_class));
        if (values.peak == 0 && values.added == 0) continue;
        report_add_class_label(&lines->text, size_class);
        report_history(lines, values, class_block_bytes(size_class));
    }
}

static void report_block_history(struct lines *lines)
{
    struct stats_values normal = stats_read_classes();
    struct stats_values huge = stats_read(stats_block_class(CLASS_COUNT));
    struct stats_values total = {normal.peak + huge.peak, normal.added + huge.added,
                                 normal.removed + huge.removed, normal.current + huge.current};
    report_text_line(lines, "heap stats:     peak      total      freed       unit");
    report_history_of_classes(lines);
    report_text_line(lines, "");
    report_text_line(lines, "heap stats:     peak      total      freed       unit    "
                       "(the sums of all peaks above)");
    report_labelled_history(lines, "normal", normal);
    report_labelled_history(lines, "huge", huge);
    report_labelled_history(lines, "total", total);
    text_add(&lines->text, "malloc requested:     "); // the second column comes next
    report_add_size_column(&lines->text, stats_read(stats_requested()).added);
    lines_end(lines);
}

// --- blocks, release builds: what is there now ---------------------------------------------------

struct report_held { size_t bytes, blocks, free_bytes, unit_bytes; };

// Behind a label.
static void report_live(struct lines *lines, struct report_held live)
{
    struct text *text = &lines->text;
    report_add_size_column(text, (int64_t)live.bytes);
    report_add_count_column(text, (int64_t)live.blocks);
    report_add_size_column(text, (int64_t)live.free_bytes);
    report_add_unit_column(text, live.unit_bytes);
    report_add_leak(text, (int64_t)live.blocks);
    lines_end(lines);
}

static void report_live_classes(struct lines *lines, const struct stats_numbers *numbers)
{
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        size_t unit_bytes = class_block_bytes(size_class);
        size_t cut = numbers->class_cut[size_class];
        size_t blocks = numbers->totals.class_blocks[size_class];
        if (cut == 0) continue;
        struct report_held live = {blocks * unit_bytes, blocks, (cut - blocks) * unit_bytes,
                                   unit_bytes};
        report_add_class_label(&lines->text, size_class);
        report_live(lines, live);
    }
}

static void report_live_blocks(struct lines *lines, const struct stats_numbers *numbers)
{
    const struct walk_totals *totals = &numbers->totals;
    struct report_held total = {totals->bytes, totals->blocks, numbers->free_bytes, 1};
    struct report_held huge = {totals->large_bytes, totals->large_blocks, 0, 1};
    struct report_held normal = {total.bytes - huge.bytes, total.blocks - huge.blocks,
                                 numbers->free_bytes, 1};
    report_text_line(lines, "heap stats:     live     blocks       free       unit    "
                       "(now; a debug build counts peak, total and freed)");
    report_live_classes(lines, numbers);
    report_text_line(lines, "");
    report_text_line(lines, "heap stats:     live     blocks       free       unit");
    report_add_label(&lines->text, "normal");
    report_live(lines, normal);
    report_add_label(&lines->text, "huge");
    report_live(lines, huge);
    report_add_label(&lines->text, "total");
    report_live(lines, total);
}

// --- memory, pages, threads ----------------------------------------------------------------------

static cold void report_memory_level(struct lines *lines, const char *label, enum stats_level_id id)
{
    struct text *text = &lines->text;
    struct stats_values values = stats_read(&stats_process()->level[id]);
    report_add_label(text, label);
    report_add_size_column(text, values.peak);
    report_add_size_column(text, values.added);
    report_add_size_column(text, values.removed);
    report_add_unit_column(text, 1);
    if (values.current == 0) {
        text_add(text, "  ok");
    } else {
        text_add(text, "  now ");
        report_add_size(text, (uint64_t)values.current);
    }
    lines_end(lines);
}

static void report_count_level(struct lines *lines, const char *label, enum stats_level_id id)
{
    struct stats_values values = stats_read(&stats_process()->level[id]);
    report_add_label(&lines->text, label);
    report_add_count_column(&lines->text, values.peak);
    report_add_count_column(&lines->text, values.added);
    report_add_count_column(&lines->text, values.removed);
    lines_end(lines);
}

static void report_count(struct lines *lines, const char *label, uint64_t count)
{
    report_add_label(&lines->text, label);
    report_add_count_column(&lines->text, (int64_t)count);
    lines_end(lines);
}

static void report_memory(struct lines *lines)
{
    report_text_line(lines, "    memory:     peak      total      freed       unit");
    report_memory_level(lines, "in pages", STAT_page_bytes);
    report_memory_level(lines, "huge", STAT_large);
    report_memory_level(lines, "committed", STAT_committed);
    report_memory_level(lines, "reserved", STAT_reserved);
    report_memory_level(lines, "reset", STAT_reset);
    report_memory_level(lines, "metadata", STAT_metadata);
    report_count_level(lines, "segments", STAT_arenas);
    report_count(lines, "-abandoned", 0); // arenas are nobody's, so none can be left behind
    report_count_level(lines, "pages", STAT_pages);
    report_count_level(lines, "-abandoned", STAT_pages_parked);
    report_count_level(lines, "heaps", STAT_heaps);
    report_count_level(lines, "threads", STAT_threads);
}

// --- counters and the process --------------------------------------------------------------------

struct report_counter { const char *label; enum stats_counter_id id; };

static const struct report_counter report_counters[] = {
    {"mmaps", COUNT_mmap_calls},
    {"munmaps", COUNT_munmap_calls},
    {"mprotects", COUNT_access_calls},
    {"mremaps", COUNT_move_calls},
    {"purges", COUNT_purge_calls},
    {"slow paths", COUNT_slow_paths},
    {"extends", COUNT_page_extends},
    {"adopted", COUNT_page_adopts},
    {"remote", COUNT_remote_blocks},
    {"-in chains", COUNT_remote_chains},
    {"misuses", COUNT_faults},
};

static void report_counts(struct lines *lines, const uint64_t *counter)
{
    for (size_t i = 0; i < sizeof report_counters / sizeof report_counters[0]; i++) {
        report_count(lines, report_counters[i].label, counter[report_counters[i].id]);
    }
}

// As "1.781s".
static void report_add_seconds(struct text *text, uint64_t ms)
{
    text_add_unsigned(text, ms / 1000);
    text_add_char(text, '.');
    for (unsigned unit = 100; unit > 0; unit /= 10) text_add_unsigned(text, ms / unit % 10);
    text_add_char(text, 's');
}

static void report_process(struct lines *lines, const struct stats_numbers *numbers)
{
    struct text *text = &lines->text;
    const struct prim_usage *usage = &numbers->usage;
    report_add_label(text, "elapsed");
    size_t from = text->length;
    report_add_seconds(text, numbers->usage.elapsed_ms);
    text_pad_left(text, from, REPORT_COLUMN_WIDTH);
    lines_end(lines);

    report_add_label(text, "process");
    text_add(text, " user: ");
    report_add_seconds(text, usage->user_ms);
    text_add(text, ", system: ");
    report_add_seconds(text, usage->system_ms);
    text_add(text, ", faults: ");
    text_add_unsigned(text, usage->major_faults);
    text_add(text, ", reclaims: ");
    text_add_unsigned(text, usage->minor_faults);
    text_add(text, ", rss: ");
    report_add_size(text, usage->resident_bytes);
    text_add(text, ", peak rss: ");
    report_add_size(text, usage->peak_resident_bytes);
    lines_end(lines);
}

// --- public --------------------------------------------------------------------------------------

// `arg` points to a function of the program, or to NULL for the one that was registered.
static void report_write(const char *line, void *arg)
{
    mi_output_fun *out = *(mi_output_fun **)arg;
    if (out != NULL) out(line);
    else hooks_output(line);
}

cold void mi_stats_print(mi_output_fun *out)
{
    struct lines lines;
    struct stats_numbers numbers;
    stats_gather(&numbers);
    lines_init(&lines, report_write, (void *)&out);
    if (CFG_STAT_BLOCKS) report_block_history(&lines);
    else report_live_blocks(&lines, &numbers);
    report_text_line(&lines, "");
    report_memory(&lines);
    report_counts(&lines, numbers.counter);
    report_process(&lines, &numbers);
}

cold void mi_thread_stats_print(mi_output_fun *out)
{
    struct lines lines;
    struct stats_of_thread thread;
    stats_gather_thread(&thread);
    lines_init(&lines, report_write, (void *)&out);
    report_text_line(&lines, "this thread:");
    report_count(&lines, "slow paths", thread.slow_paths);
    report_count(&lines, "remote", thread.remote_blocks);
    report_count(&lines, "-in chains", thread.remote_chains);
    report_count(&lines, "pages", thread.pages);
    report_count(&lines, "-abandoned", thread.pages_parked);
    report_count(&lines, "blocks", thread.blocks);
    report_add_label(&lines.text, "live");
    report_add_size_column(&lines.text, (int64_t)thread.bytes);
    lines_end(&lines);
}

static cold void report_json_at_exit(void)
{
    struct lines lines;
    struct stats_numbers numbers;
    mi_output_fun *none = NULL;
    stats_gather(&numbers);
    lines_init(&lines, report_write, (void *)&none);
    json_write_statistics(&lines, &numbers);
}

void report_keep_error(void)
{
    if (options_is_on(OPTION_show_stats) || options_is_on(OPTION_show_stats_json))
        prim_keep_error();
}

void report_statistics_at_exit(void)
{
    if (options_is_on(OPTION_show_stats)) mi_stats_print(NULL);
    if (options_is_on(OPTION_show_stats_json)) report_json_at_exit();
}
