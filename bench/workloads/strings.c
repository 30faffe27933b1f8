/* strings.c: many strings that grow piece by piece, by realloc.
 *
 * Models scripting languages, loggers and template engines: 20,000 strings (at scale 1) of a table
 * are appended to one after the other, 8 times, 1 to 400 bytes at a time; each time the string is
 * resized to exactly what it needs, as realloc's callers often do. Then all are checked and
 * dropped, and the next table begins. Blocks of a size are freed by the strings that have outgrown
 * it while others grow into it.
 *
 * The first and the last byte of each piece tell where it begins, and are checked at the end.
 *
 * Values: moved, how many of a hundred calls gave another address; peak_over_live, the peak of the
 * resident memory over the bytes of the longest table.
 *
 * Scale above 1 is the number of tables, below it the length of one. One operation is a realloc.
 */
#include "bench.h"

enum { STRINGS = 20000, PIECES = 8, LONGEST_PIECE = 400 };

struct string {
    unsigned char *text;
    uint32_t length;
    uint32_t end[PIECES]; // of each piece
};

static uint64_t calls, moved;

static unsigned char mark_of(size_t string, uint32_t at)
{
    return (unsigned char)(string * 31 + at);
}

static void string_append(struct string *string, size_t number, int piece, uint64_t *random)
{
    uint32_t start = string->length, bytes = 1 + bench_random_below(random, LONGEST_PIECE);
    uintptr_t before = (uintptr_t)string->text;
    string->text = (unsigned char *)bench_block(realloc(string->text, start + bytes));
    string->length = start + bytes;
    string->end[piece] = string->length;
    string->text[start] = mark_of(number, start);
    string->text[string->length - 1] = mark_of(number, string->length - 1);
    calls++;
    if ((uintptr_t)string->text != before) moved++;
}

// Its length.
static size_t string_drop(struct string *string, size_t number)
{
    for (int piece = 0; piece < PIECES; piece++) {
        uint32_t start = piece == 0 ? 0 : string->end[piece - 1], last = string->end[piece] - 1;
        bench_expect(string->text[start] == mark_of(number, start));
        bench_expect(string->text[last] == mark_of(number, last));
    }
    size_t length = string->length;
    free(string->text);
    memset(string, 0, sizeof *string);
    return length;
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "strings", 1);
    uint64_t random = bench_random_start(0), tables = bench.scale > 1 ? (uint64_t)bench.scale : 1;
    size_t count = bench.scale < 1 ? (size_t)(STRINGS * bench.scale) + 1 : STRINGS, longest = 0;
    struct string *string = (struct string *)bench_block(calloc(count, sizeof *string));

    bench_begin();
    for (uint64_t done = 0; bench_more(done, tables); done++) {
        size_t length = 0;
        for (int piece = 0; piece < PIECES; piece++) {
            for (size_t i = 0; i < count; i++) string_append(&string[i], i, piece, &random);
        }
        for (size_t i = 0; i < count; i++) length += string_drop(&string[i], i);
        if (longest < length) longest = length;
    }
    bench_end();

    free(string);
    bench_add_value("moved", "%", 100.0 * (double)moved / (double)calls);
    bench_add_value("peak_over_live", "1", bench_peak_kib() * 1024 / (double)longest);
    return bench_finish((double)calls);
}
