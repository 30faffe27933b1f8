#include "core/options.h"
#include "base/text.h"
#include "core/hooks.h"
#include "prim/prim.h"
#include <limits.h>

enum options_unit {
    OPTIONS_UNIT_FLAG,
    OPTIONS_UNIT_COUNT,
    OPTIONS_UNIT_MS,
    OPTIONS_UNIT_KIB,
    OPTIONS_UNIT_LIMIT,
    OPTIONS_UNIT_PERCENT,
    OPTIONS_UNIT_CHOICE
};

enum options_source { // the strongest last
    OPTIONS_SOURCE_DEFAULT,
    OPTIONS_SOURCE_PROGRAM,
    OPTIONS_SOURCE_ENVIRONMENT,
    OPTIONS_SOURCE_CALL
};

enum { OPTIONS_LINE_BYTES = 256, OPTIONS_NAME_BYTES = 48, OPTIONS_VALUE_BYTES = 40 };

struct options_entry {
    const char       *name;
    enum options_unit unit;
    const char       *no_effect; // why, or NULL
};

struct options_alias {
    const char *name;
    enum option option;
};

// A name that means something to other versions and nothing here.
struct options_stranger {
    const char *name;
    const char *why;
};

static const struct options_entry options_table[OPTION_COUNT] = {
#define X(name, value, unit, no_effect) {#name, OPTIONS_UNIT_##unit, no_effect},
    OPTIONS_LIST(X)
#undef X
};

static const struct options_alias options_aliases[] = {
    {"allow_large_os_pages", OPTION_large_os_pages},
    {"arena_eager_commit", OPTION_eager_region_commit},
    {"limit_os_alloc", OPTION_disallow_os_alloc},
    {"purge_decommits", OPTION_reset_decommits},
    {"reset_delay", OPTION_purge_delay},
};

static const struct options_stranger options_strangers[] = {
    {"abandoned_page_purge", "a page that nobody uses goes back to its arena at once"},
    {"abandoned_page_reset", "a page that nobody uses goes back to its arena at once"},
    {"abandoned_reclaim_on_free", "pages without an owner are taken over where needed"},
    {"arena_purge_mult", "all free memory waits for purge_delay"},
    {"decommit_extend_delay", "memory that is reused soon is never purged"},
    {"disallow_arena_alloc", "all memory lies in arenas"},
    {"generic_collect", "remote frees are collected whenever a page runs dry"},
    {"max_segment_reclaim", "pages without an owner are found without a search over segments"},
    {"page_reclaim_on_free", "pages without an owner are taken over where needed"},
    {"purge_extend_delay", "memory that is reused soon is never purged"},
    {"retry_on_oom", "a failed allocation is never tried again later"},
    {"target_segments_per_thread", "threads hold pages and not segments"},
};

enum {
    OPTIONS_ALIAS_COUNT = sizeof options_aliases / sizeof options_aliases[0],
    OPTIONS_STRANGER_COUNT = sizeof options_strangers / sizeof options_strangers[0]
};

// Set before anything runs, so that options_get needs no test for "not read yet".
static ATOMIC(long) options_values[OPTION_COUNT] = {
#define X(name, value, unit, no_effect) value,
    OPTIONS_LIST(X)
#undef X
};
static ATOMIC(unsigned char) options_sources[OPTION_COUNT]; // enum options_source
static ATOMIC(bool)          options_are_read; // by the one call of options_init that does it

// A program may define this; "name=value name=value", separated by blanks, commas or semicolons.
extern __attribute__((weak, visibility("default"))) const char *mi_default_options;

static bool options_is_valid(enum option option) { return (unsigned)option < OPTION_COUNT; }

long options_get(enum option option)
{
    if (unlikely(!options_is_valid(option))) return 0;
    return atomic_load_explicit(&options_values[option], memory_order_relaxed);
}

static unsigned options_source_of(enum option option)
{
    return atomic_load_explicit(&options_sources[option], memory_order_relaxed);
}

// Stores a value unless a stronger source has spoken. Two threads that choose at the same moment:
// either value stays.
static void options_store(enum option option, long value, enum options_source source)
{
    if (options_source_of(option) > (unsigned)source) return;
    atomic_store_explicit(&options_values[option], value, memory_order_relaxed);
    atomic_store_explicit(&options_sources[option], (unsigned char)source, memory_order_relaxed);
}

// --- lines for the user --------------------------------------------------------------------------

// report.h stands above: these lines are few (one an option at most) and need no limit.

struct options_line {
    struct text text;
    char        buffer[OPTIONS_LINE_BYTES];
};

static void options_line_begin(struct options_line *line, const char *name)
{
    text_init(&line->text, line->buffer, sizeof line->buffer - 1); // room for the line end
    text_add(&line->text, "mimalloc: option ");
    text_add(&line->text, name);
}

static void options_line_end(struct options_line *line)
{
    line->buffer[line->text.length] = '\n';
    line->buffer[line->text.length + 1] = '\0';
    hooks_output(line->buffer);
}

// Text from outside: short, and without characters that could play tricks on a terminal.
static void options_line_add_foreign(struct options_line *line, const char *string)
{
    for (int i = 0; string[i] != '\0'; i++) {
        if (i == OPTIONS_VALUE_BYTES) {
            text_add(&line->text, "...");
            return;
        }
        text_add_char(&line->text, string[i] >= ' ' && string[i] <= '~' ? string[i] : '?');
    }
}

static cold void options_complain(enum option option, const char *value, const char *problem)
{
    struct options_line line;
    options_line_begin(&line, options_table[option].name);
    text_add(&line.text, ": \"");
    options_line_add_foreign(&line, value);
    text_add(&line.text, "\" ");
    text_add(&line.text, problem);
    text_add(&line.text, "; it stays ");
    text_add_signed(&line.text, options_get(option));
    options_line_end(&line);
}

static cold void options_say_no_effect(const char *name, const char *why)
{
    struct options_line line;
    if (!options_is_on(OPTION_verbose)) return;
    options_line_begin(&line, name);
    text_add(&line.text, " has no effect: ");
    text_add(&line.text, why);
    options_line_end(&line);
}

static cold void options_say_unknown(const char *name)
{
    struct options_line line;
    options_line_begin(&line, "\"");
    options_line_add_foreign(&line, name);
    text_add(&line.text, "\" is unknown (in mi_default_options)");
    options_line_end(&line);
}

// --- reading values ------------------------------------------------------------------------------

static bool options_is_word(const char *value, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (text_is_equal_nocase(value, *words)) return true;
    }
    return false;
}

static bool options_parse_off(const char *value, int64_t *number)
{
    static const char *const off[] = {"0", "false", "no", "off", NULL};
    *number = 0;
    return options_is_word(value, off);
}

static cold bool options_parse_switch(const char *value, int64_t *number)
{
    static const char *const on[] = {"", "1", "true", "yes", "on", NULL};
    if (options_parse_off(value, number)) return true;
    *number = 1;
    return options_is_word(value, on);
}

static bool options_parse_word(const char *value, int64_t *number)
{
    static const char *const words[] = {"ignore", "report", "abort"};
    for (int i = 0; i < 3; i++) {
        if (!text_is_equal_nocase(value, words[i])) continue;
        *number = i;
        return true;
    }
    return false;
}

// Of what has a unit, "on" or nothing does not say how much.
static cold bool options_parse_plain(const char *value, int64_t *number)
{
    bool has_suffix;
    if (options_parse_off(value, number)) return true;
    return text_parse_number(value, number, &has_suffix) && !has_suffix;
}

static cold bool options_parse_count(const char *value, int64_t *number)
{
    return options_parse_switch(value, number) || options_parse_plain(value, number);
}

static cold bool options_parse_flag(const char *value, int64_t *number)
{
    if (!options_parse_count(value, number)) return false;
    *number = *number != 0; // as in later versions, some of whose flags are numbers
    return true;
}

static cold bool options_parse_kib(const char *value, int64_t *number)
{
    bool has_suffix;
    if (options_parse_off(value, number)) return true;
    if (!text_parse_number(value, number, &has_suffix)) return false;
    if (has_suffix) *number /= 1024;
    return true;
}

static cold bool options_parse_limit(const char *value, int64_t *number)
{
    if (!text_is_equal_nocase(value, "cgroup")) return options_parse_kib(value, number);
    *number = -1;
    return true;
}

static cold bool options_parse_choice(const char *value, int64_t *number)
{
    bool has_suffix;
    if (options_parse_word(value, number)) return true;
    return text_parse_number(value, number, &has_suffix) && !has_suffix;
}

// How the values of a unit are read, and between which bounds they lie.
struct options_reader {
    bool      (*parse)(const char *value, int64_t *number);
    int64_t     least, most;
    const char *expected;
};

static const struct options_reader options_readers[] = { // by enum options_unit
    {options_parse_flag, 0, 1, "is neither on nor off"},
    {options_parse_count, INT_MIN, INT_MAX, "is not a number"},
    {options_parse_plain, -1, INT_MAX, "is not a number of milliseconds"},
    {options_parse_kib, 0, LONG_MAX, "is not a number of KiB"},
    {options_parse_limit, -1, LONG_MAX, "is neither a number of KiB nor cgroup"},
    {options_parse_plain, 0, 100, "is not a number of percent"},
    {options_parse_choice, -1, 2, "is not ignore, report or abort"},
};

static cold void options_read_value(enum option option, const char *value,
                                    enum options_source source)
{
    const struct options_reader *reader = &options_readers[options_table[option].unit];
    int64_t number;
    if (!reader->parse(value, &number)) {
        options_complain(option, value, reader->expected);
    } else if (number < reader->least || number > reader->most) {
        options_complain(option, value, "is out of range");
    } else {
        options_store(option, (long)number, source);
    }
}

// --- the string in the program -------------------------------------------------------------------

struct options_pair {
    char name[OPTIONS_NAME_BYTES];
    char value[OPTIONS_NAME_BYTES]; // empty when there is no '='
};

static bool options_is_separator(char character)
{
    return character != '\0' && strchr(" ,;\t\r\n", character) != NULL;
}

// Copies up to a separator, the end or `stop`; what does not fit is dropped. Returns where it
// stopped.
static const char *options_copy(const char *string, char *copy, char stop)
{
    size_t length = 0;
    for (; *string != '\0' && *string != stop && !options_is_separator(*string); string++) {
        if (length < OPTIONS_NAME_BYTES - 1) copy[length++] = *string;
    }
    copy[length] = '\0';
    return string;
}

// Takes the next pair off the string; NULL at its end, else the rest.
static const char *options_next_pair(const char *string, struct options_pair *pair)
{
    while (options_is_separator(*string)) string++;
    if (*string == '\0') return NULL;
    string = options_copy(string, pair->name, '=');
    if (*string == '=') string++;
    return options_copy(string, pair->value, '\0');
}

// OPTION_COUNT when no option has this name or alias.
static enum option options_find(const char *name)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (text_is_equal_nocase(name, options_table[i].name)) return (enum option)i;
    }
    for (int i = 0; i < OPTIONS_ALIAS_COUNT; i++) {
        if (text_is_equal_nocase(name, options_aliases[i].name)) return options_aliases[i].option;
    }
    return OPTION_COUNT;
}

// NULL when the name means nothing to other versions either.
static const struct options_stranger *options_find_stranger(const char *name)
{
    for (int i = 0; i < OPTIONS_STRANGER_COUNT; i++) {
        if (text_is_equal_nocase(name, options_strangers[i].name)) return &options_strangers[i];
    }
    return NULL;
}

static void options_read_pair(const struct options_pair *pair)
{
    enum option option = options_find(pair->name);
    if (option != OPTION_COUNT) {
        options_read_value(option, pair->value, OPTIONS_SOURCE_PROGRAM);
        return;
    }
    const struct options_stranger *stranger = options_find_stranger(pair->name);
    if (stranger != NULL) options_say_no_effect(stranger->name, stranger->why);
    else options_say_unknown(pair->name);
}

static void options_read_program(const char *string)
{
    struct options_pair pair;
    while ((string = options_next_pair(string, &pair)) != NULL) options_read_pair(&pair);
}

// --- the environment -----------------------------------------------------------------------------

// The name as it is given, in lower case, or in upper case when `shift` is 'A' - 'a'.
static void options_add_shifted(struct text *text, const char *name, int shift)
{
    for (; *name != '\0'; name++) {
        bool is_letter = *name >= 'a' && *name <= 'z';
        text_add_char(text, (char)(is_letter ? *name + shift : *name));
    }
}

// Names in capital letters, then in small ones.
static const int options_shifts[] = {'A' - 'a', 0};

static cold void options_spell(char buffer[OPTIONS_NAME_BYTES], const char *name, int shift)
{
    struct text text;
    text_init(&text, buffer, OPTIONS_NAME_BYTES);
    options_add_shifted(&text, "mimalloc_", shift);
    options_add_shifted(&text, name, shift);
}

static const char *options_env(const char *name)
{
    char buffer[OPTIONS_NAME_BYTES];
    const char *value = NULL;
    for (int i = 0; i < 2 && value == NULL; i++) {
        options_spell(buffer, name, options_shifts[i]);
        value = prim_env(buffer);
    }
    return value;
}

static bool options_are_in_environment(void)
{
    char buffer[OPTIONS_NAME_BYTES];
    bool are_there = false;
    for (int i = 0; i < 2 && !are_there; i++) {
        options_spell(buffer, "", options_shifts[i]);
        are_there = prim_env_has_any(buffer);
    }
    return are_there;
}

static void options_read_env(const char *name, enum option option)
{
    const char *value = options_env(name);
    if (value != NULL) options_read_value(option, value, OPTIONS_SOURCE_ENVIRONMENT);
}

// An option's own name is read last and so wins over its other spellings.
static void options_read_environment(void)
{
    if (!options_are_in_environment()) return; // as a rule, and asking for each name takes longer
    for (int i = 0; i < OPTIONS_ALIAS_COUNT; i++) {
        options_read_env(options_aliases[i].name, options_aliases[i].option);
    }
    for (int i = 0; i < OPTION_COUNT; i++) options_read_env(options_table[i].name, (enum option)i);
}

static void options_explain(enum option option)
{
    const char *why = options_table[option].no_effect;
    if (why != NULL && options_source_of(option) != OPTIONS_SOURCE_DEFAULT) {
        options_say_no_effect(options_table[option].name, why);
    }
}

// Only under MIMALLOC_VERBOSE: then the look-ups for names that do nothing are worth their time.
static cold void options_explain_all(void)
{
    if (!options_is_on(OPTION_verbose)) return;
    for (int i = 0; i < OPTION_COUNT; i++) options_explain((enum option)i);
    for (int i = 0; i < OPTIONS_STRANGER_COUNT; i++) {
        const struct options_stranger *stranger = &options_strangers[i];
        if (options_env(stranger->name) == NULL) continue;
        options_say_no_effect(stranger->name, stranger->why);
    }
}

// A thread that comes second sees defaults until the first is done; it is never made to wait. The
// flag is up while the values are read, so a line that reaches an output hook that allocates does
// not start this again.
cold void options_init(void)
{
    if (atomic_load_explicit(&options_are_read, memory_order_relaxed) || !prim_env_ready()) return;
    // relaxed: elects one caller, no data hangs on it
    if (atomic_exchange_explicit(&options_are_read, true, memory_order_relaxed)) return;
    options_read_environment(); // first, for it may ask for verbose lines about the other
    bool is_defined = &mi_default_options != NULL;
    if (is_defined && mi_default_options != NULL) options_read_program(mi_default_options);
    options_explain_all();
}

// --- from the program, and for it ----------------------------------------------------------------

void options_set(enum option option, long value)
{
    if (!options_is_valid(option)) return;
    options_store(option, value, OPTIONS_SOURCE_CALL);
    options_explain(option);
}

void options_set_default(enum option option, long value)
{
    if (options_is_valid(option)) options_store(option, value, OPTIONS_SOURCE_DEFAULT);
}

size_t options_bytes_of(long kib)
{
    if (kib <= 0) return 0;
    return (unsigned long)kib > SIZE_MAX / 1024 ? SIZE_MAX : (size_t)kib * 1024;
}

size_t options_get_bytes(enum option option) { return options_bytes_of(options_get(option)); }

const char *options_name(enum option option)
{
    return options_is_valid(option) ? options_table[option].name : "";
}

static cold void options_print_one(enum option option)
{
    static const char *const units[] = {"", "", " ms", " KiB", " KiB", " %", ""};
    static const char *const sources[] = {"default", "program string", "environment", "call"};
    struct options_line line;
    options_line_begin(&line, options_table[option].name);
    text_add(&line.text, ": ");
    text_add_signed(&line.text, options_get(option));
    text_add(&line.text, units[options_table[option].unit]);
    text_add(&line.text, " (");
    text_add(&line.text, sources[options_source_of(option)]);
    text_add(&line.text, options_table[option].no_effect != NULL ? "; no effect)" : ")");
    options_line_end(&line);
}

cold void options_print(void)
{
    for (int i = 0; i < OPTION_COUNT; i++) options_print_one((enum option)i);
}
