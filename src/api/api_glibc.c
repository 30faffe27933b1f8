#include "api/api_glibc.h"
#include "api/api_stats.h"

static size_t glibc_rest(size_t whole, size_t part) { return whole > part ? whole - part : 0; }

static size_t glibc_level(enum stats_level_id id)
{
    return (size_t)stats_read(&stats_process()->level[id]).current;
}

static void glibc_convert(struct glibc_numbers *numbers, const struct stats_numbers *from)
{
    const struct walk_totals *totals = &from->totals;
    struct stats_values committed = stats_read(&stats_process()->level[STAT_committed]);
    numbers->committed_bytes = (size_t)committed.current;
    numbers->peak_committed_bytes = (size_t)committed.peak;
    numbers->reserved_bytes = glibc_level(STAT_reserved);
    numbers->large_bytes = totals->large_bytes;
    numbers->large_blocks = totals->large_blocks;
    numbers->used_bytes = totals->bytes - totals->large_bytes;
    numbers->free_bytes = glibc_rest(numbers->committed_bytes, totals->bytes);
    numbers->idle_bytes = glibc_rest(numbers->committed_bytes, glibc_level(STAT_page_bytes));
    numbers->free_blocks = 0;
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        numbers->free_blocks += from->class_cut[size_class] - totals->class_blocks[size_class];
    }
}

cold void glibc_gather(struct glibc_numbers *numbers)
{
    struct stats_numbers gathered;
    stats_gather(&gathered);
    glibc_convert(numbers, &gathered);
}

// --- XML -----------------------------------------------------------------------------------------

static void glibc_attribute(struct text *text, const char *name, size_t value)
{
    text_add_char(text, ' ');
    text_add(text, name);
    text_add(text, "=\"");
    text_add_unsigned(text, value);
    text_add_char(text, '"');
}

static void glibc_line(struct lines *lines, const char *string)
{
    text_add(&lines->text, string);
    lines_end(lines);
}

// `head` is all up to the numbers; count SIZE_MAX: there is none.
static cold void glibc_total(struct lines *lines, const char *head, size_t count, size_t bytes)
{
    text_add(&lines->text, head);
    if (count != SIZE_MAX) glibc_attribute(&lines->text, "count", count);
    glibc_attribute(&lines->text, "size", bytes);
    glibc_line(lines, "/>");
}

static void glibc_sizes(struct lines *lines, const struct stats_numbers *gathered)
{
    glibc_line(lines, "<sizes>");
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        size_t free = gathered->class_cut[size_class] - gathered->totals.class_blocks[size_class];
        size_t block_bytes = class_block_bytes(size_class);
        if (free == 0) continue;
        text_add(&lines->text, "  <size");
        glibc_attribute(&lines->text, "from", block_bytes);
        glibc_attribute(&lines->text, "to", block_bytes);
        glibc_attribute(&lines->text, "total", free * block_bytes);
        glibc_attribute(&lines->text, "count", free);
        glibc_line(lines, "/>");
    }
    glibc_line(lines, "</sizes>");
}

// What glibc says of each of its heaps and once more of all of them; here there is one.
static void glibc_totals(struct lines *lines, const struct glibc_numbers *numbers)
{
    glibc_total(lines, "<total type=\"fast\"", 0, 0);
    glibc_total(lines, "<total type=\"rest\"", numbers->free_blocks, numbers->free_bytes);
}

static void glibc_system(struct lines *lines, const struct glibc_numbers *numbers)
{
    glibc_total(lines, "<system type=\"current\"", SIZE_MAX, numbers->committed_bytes);
    glibc_total(lines, "<system type=\"max\"", SIZE_MAX, numbers->peak_committed_bytes);
    glibc_total(lines, "<aspace type=\"total\"", SIZE_MAX, numbers->reserved_bytes);
    glibc_total(lines, "<aspace type=\"mprotect\"", SIZE_MAX, numbers->reserved_bytes);
}

cold void glibc_write_xml(lines_write *write, void *arg)
{
    struct lines lines;
    struct stats_numbers gathered;
    struct glibc_numbers numbers;
    stats_gather(&gathered);
    glibc_convert(&numbers, &gathered);
    lines_init(&lines, write, arg);
    glibc_line(&lines, "<malloc version=\"1\">");
    glibc_line(&lines, "<heap nr=\"0\">");
    glibc_sizes(&lines, &gathered);
    glibc_totals(&lines, &numbers);
    glibc_system(&lines, &numbers);
    glibc_line(&lines, "</heap>");
    glibc_totals(&lines, &numbers);
    glibc_total(&lines, "<total type=\"mmap\"", numbers.large_blocks, numbers.large_bytes);
    glibc_system(&lines, &numbers);
    glibc_line(&lines, "</malloc>");
}
