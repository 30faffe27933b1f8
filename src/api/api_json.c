#include "api/api_json.h"
#include "mimalloc.h"

enum { JSON_STAT_VERSION = 1, JSON_FIRST_BYTES = 16 * 1024 };

// --- form ----------------------------------------------------------------------------------------

struct json {
    struct lines *lines;
    unsigned      depth;    // of objects and arrays that span lines
    bool          is_first; // nothing yet in the innermost one
};

// Ends the line before, and begins a member or an element on one of its own; name NULL in an array.
static cold void json_next(struct json *json, const char *name)
{
    struct text *text = &json->lines->text;
    if (!json->is_first) text_add_char(text, ',');
    json->is_first = false;
    lines_end(json->lines);
    for (unsigned i = 0; i < json->depth; i++) text_add(text, "  ");
    if (name == NULL) return;
    text_add_char(text, '"');
    text_add(text, name);
    text_add(text, "\": ");
}

static cold void json_open(struct json *json, char bracket)
{
    text_add_char(&json->lines->text, bracket);
    json->depth++;
    json->is_first = true;
}

static cold void json_close(struct json *json, char bracket)
{
    json->depth--;
    json->is_first = true; // no comma before a closing bracket
    json_next(json, NULL);
    text_add_char(&json->lines->text, bracket);
}

static cold void json_unsigned(struct json *json, const char *name, uint64_t value)
{
    json_next(json, name);
    text_add_unsigned(&json->lines->text, value);
}

// --- content -------------------------------------------------------------------------------------

static void json_add_level(struct text *text, struct stats_values values, int64_t unit)
{
    text_add(text, "\"total\": ");
    text_add_signed(text, values.added / unit);
    text_add(text, ", \"peak\": ");
    text_add_signed(text, values.peak / unit);
    text_add(text, ", \"current\": ");
    text_add_signed(text, values.current / unit);
}

static cold void json_level(struct json *json, const char *name, struct stats_values values)
{
    json_next(json, name);
    text_add_char(&json->lines->text, '{');
    json_add_level(&json->lines->text, values, 1);
    text_add_char(&json->lines->text, '}');
}

static void json_process(struct json *json, const struct stats_numbers *numbers)
{
    struct stats_values commit = stats_read(&stats_process()->level[STAT_committed]);
    json_next(json, "process");
    json_open(json, '{');
    json_unsigned(json, "elapsed_msecs", numbers->usage.elapsed_ms);
    json_unsigned(json, "user_msecs", numbers->usage.user_ms);
    json_unsigned(json, "system_msecs", numbers->usage.system_ms);
    json_unsigned(json, "page_faults", numbers->usage.major_faults);
    json_unsigned(json, "page_reclaims", numbers->usage.minor_faults);
    json_unsigned(json, "rss_current", numbers->usage.resident_bytes);
    json_unsigned(json, "rss_peak", numbers->usage.peak_resident_bytes);
    json_unsigned(json, "commit_current", (uint64_t)commit.current);
    json_unsigned(json, "commit_peak", (uint64_t)commit.peak);
    json_unsigned(json, "mappings", numbers->usage.mapping_count);
    json_close(json, '}');
}

static void json_live(struct json *json, const struct walk_totals *totals)
{
    json_next(json, "live");
    json_open(json, '{');
    json_unsigned(json, "blocks", totals->blocks);
    json_unsigned(json, "bytes", totals->bytes);
    json_unsigned(json, "large_blocks", totals->large_blocks);
    json_unsigned(json, "large_bytes", totals->large_bytes);
    json_close(json, '}');
}

// Arrays, not pointers, which the loader would have to set in each process.
enum { JSON_NAME_BYTES = 24 };
struct json_level_name { char name[JSON_NAME_BYTES]; enum stats_level_id id; };
struct json_counter_name { char name[JSON_NAME_BYTES]; enum stats_counter_id id; };

static const struct json_level_name json_levels[] = {
#define X(name) {#name, STAT_##name},
    STATS_LEVELS(X)
#undef X
    {"page_committed", STAT_page_bytes}, // from here on: names in later versions
    {"pages_abandoned", STAT_pages_parked},
    {"segments", STAT_arenas},
    {"malloc_huge", STAT_large},
};

static const struct json_counter_name json_counters[] = {
#define X(name) {#name, COUNT_##name},
    STATS_COUNTERS(X)
#undef X
    {"commit_calls", COUNT_access_calls}, // from here on: names in later versions
    {"malloc_huge_count", COUNT_large_blocks},
    {"pages_extended", COUNT_page_extends},
    {"pages_reclaim_on_alloc", COUNT_page_adopts},
    {"pages_reclaim_on_free", COUNT_page_claims},
};

static void json_levels_and_counters(struct json *json, const struct stats_numbers *numbers)
{
    for (size_t i = 0; i < sizeof json_levels / sizeof json_levels[0]; i++) {
        struct stats_level *level = &stats_process()->level[json_levels[i].id];
        json_level(json, json_levels[i].name, stats_read(level));
    }
    if (CFG_STAT_BLOCKS) {
        json_level(json, "malloc_normal", stats_read_classes());
        json_level(json, "malloc_requested", stats_read(stats_requested()));
    }
    for (size_t i = 0; i < sizeof json_counters / sizeof json_counters[0]; i++) {
        json_unsigned(json, json_counters[i].name, numbers->counter[json_counters[i].id]);
    }
}

// One element a size class, in blocks.
static void json_bins(struct json *json, const struct walk_totals *totals)
{
    struct text *text = &json->lines->text;
    json_next(json, "malloc_bins");
    json_open(json, '[');
    for (unsigned size_class = 0; size_class < CLASS_COUNT; size_class++) {
        size_t block_bytes = class_block_bytes(size_class);
        json_next(json, NULL);
        text_add(text, "{\"block_size\": ");
        text_add_unsigned(text, block_bytes);
        text_add(text, ", \"live\": ");
        text_add_unsigned(text, totals->class_blocks[size_class]);
        if (CFG_STAT_BLOCKS) {
            text_add(text, ", ");
            json_add_level(text, stats_read(stats_block_class(size_class)), (int64_t)block_bytes);
        }
        text_add_char(text, '}');
    }
    json_close(json, ']');
}

cold void json_write_statistics(struct lines *lines, const struct stats_numbers *numbers)
{
    struct json json = {lines, 0, true};
    json_open(&json, '{');
    json_unsigned(&json, "stat_version", JSON_STAT_VERSION);
    json_unsigned(&json, "mimalloc_version", MI_MALLOC_VERSION);
    json_process(&json, numbers);
    json_levels_and_counters(&json, numbers);
    json_live(&json, &numbers->totals);
    json_bins(&json, &numbers->totals);
    json_close(&json, '}');
    lines_end(lines);
}

// --- public --------------------------------------------------------------------------------------

static void json_append(const char *line, void *arg) { text_add((struct text *)arg, line); }

// false when the text fills the buffer: then something may be missing.
static bool json_fill(char *buffer, size_t bytes, const struct stats_numbers *numbers)
{
    struct text text;
    struct lines lines;
    text_init(&text, buffer, bytes);
    lines_init(&lines, json_append, &text);
    json_write_statistics(&lines, numbers);
    return text.length + 1 < bytes;
}

static char *json_in_block(const struct stats_numbers *numbers)
{
    for (size_t bytes = JSON_FIRST_BYTES;; bytes *= 2) {
        char *block = (char *)mi_malloc(bytes);
        if (block == NULL || json_fill(block, bytes, numbers)) return block;
        mi_free(block);
    }
}

cold char *mi_stats_get_json(size_t buffer_size, char *buffer)
{
    struct stats_numbers numbers;
    stats_gather(&numbers);
    if (buffer == NULL) return json_in_block(&numbers);
    if (buffer_size == 0) return NULL;
    if (json_fill(buffer, buffer_size, &numbers)) return buffer;
    buffer[0] = '\0'; // half an object is of no use to anybody
    return NULL;
}
