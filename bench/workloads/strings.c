/* strings.c: many strings, or some long buffers, that grow piece by piece, by realloc.
 *
 * Models scripting languages, loggers and template engines (--pattern 1, the default): 20,000
 * strings (at scale 1) of a table are appended to one after the other, 8 times, 1 to 400 bytes at a
 * time; each time the string is resized to exactly what it needs, as realloc's callers often do.
 * Then all are checked and dropped, and the next table begins. Blocks of a size are freed by the
 * strings that have outgrown it while others grow into it.
 *
 * What receives files or messages of unknown length (--pattern 2): 48 buffers, 400 times, 1 byte to
 * 16 KiB at a time, to some 3 MiB each. Copying the whole buffer each time would be 200 times the
 * work of writing it.
 *
 * Each piece is filled with one value, by which it is known; its first and its last byte are
 * checked at the end.
 *
 * Values: moved, how many of a hundred calls gave another address; peak_over_live, the peak of the
 * resident memory over the bytes of the longest table.
 *
 * Scale above 1 is the number of tables, below it the length of one. One operation is a realloc.
 */
#include "bench.h"

static const struct shape { size_t strings, pieces; uint32_t longest_piece; } shapes[] = {
    {20000, 8, 400}, {48, 400, 16 * 1024}
};

struct string {
    unsigned char *text;
    uint32_t length;
    uint32_t *end; // of each piece
};

static uint64_t calls, moved;

static unsigned char mark_of(size_t string, uint32_t at)
{
    return (unsigned char)(string * 31 + at);
}

static void string_append(struct string *string, size_t number, size_t piece, uint32_t bytes)
{
    uint32_t start = string->length;
    uintptr_t before = (uintptr_t)string->text;
    string->text = (unsigned char *)bench_block(realloc(string->text, start + bytes));
    string->length = start + bytes;
    string->end[piece] = string->length;
    memset(string->text + start, mark_of(number, start), bytes);
    calls++;
    if ((uintptr_t)string->text != before) moved++;
}

// Its length.
static size_t string_drop(struct string *string, size_t number, size_t pieces)
{
    for (size_t piece = 0; piece < pieces; piece++) {
        uint32_t start = piece == 0 ? 0 : string->end[piece - 1], last = string->end[piece] - 1;
        bench_expect(string->text[start] == mark_of(number, start));
        bench_expect(string->text[last] == mark_of(number, start));
    }
    size_t length = string->length;
    free(string->text);
    string->text = NULL;
    string->length = 0;
    return length;
}

// Builds and drops all. How long they were.
static size_t run_table(const struct shape *shape, struct string *string, size_t count,
                        uint64_t *random)
{
    size_t length = 0;
    for (size_t piece = 0; piece < shape->pieces; piece++) {
        for (size_t i = 0; i < count; i++)
            string_append(&string[i], i, piece,
                          1 + bench_random_below(random, shape->longest_piece));
    }
    for (size_t i = 0; i < count; i++) length += string_drop(&string[i], i, shape->pieces);
    return length;
}

int main(int argc, char **argv)
{
    static const char *const flags[] = {"--pattern", NULL};
    bench_start_with_flags(argc, argv, "strings", 1, flags);
    const struct shape *shape = &shapes[(int)bench_flag_number("--pattern", 1, 1, 2) - 1];
    uint64_t random = bench_random_start(0), tables = bench.scale > 1 ? (uint64_t)bench.scale : 1;
    size_t count = shape->strings, longest = 0;
    if (bench.scale < 1) count = (size_t)((double)count * bench.scale) + 1;
    struct string *string = (struct string *)bench_block(calloc(count, sizeof *string));
    uint32_t *ends = (uint32_t *)bench_block(calloc(count * shape->pieces, sizeof *ends));
    for (size_t i = 0; i < count; i++) string[i].end = ends + i * shape->pieces;

    bench_begin();
    for (uint64_t done = 0; bench_more(done, tables); done++) {
        size_t length = run_table(shape, string, count, &random);
        if (longest < length) longest = length;
    }
    bench_end();

    free(ends);
    free(string);
    bench_add_value("moved", "%", 100.0 * (double)moved / (double)calls);
    bench_add_value("peak_over_live", "1", bench_peak_kib() * 1024 / (double)longest);
    return bench_finish((double)calls);
}
