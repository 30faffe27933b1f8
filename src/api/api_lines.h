/* api_lines.h: longer texts, built and handed over line by line, so that no memory is needed for
 * the whole.
 *
 * A line is built in `text` with the functions of base/text.h; lines_end hands it over, without
 * blanks at its end, with a line end and a NUL, and begins the next one. What does not fit in
 * LINES_BYTES is dropped, so keep lines short.
 */
#ifndef API_API_LINES_H
#define API_API_LINES_H
#include "base/base.h"
#include "base/text.h"

enum { LINES_BYTES = 256 };

typedef void lines_write(const char *line, void *arg);

struct lines {
    struct text  text; // the line so far
    lines_write *write;
    void        *arg;
    char         buffer[LINES_BYTES];
};

INTERNAL void lines_init(struct lines *lines, lines_write *write, void *arg);
INTERNAL void lines_end(struct lines *lines);

#endif
