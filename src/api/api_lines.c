#include "api/api_lines.h"

static void lines_begin(struct lines *lines)
{
    text_init(&lines->text, lines->buffer, sizeof lines->buffer - 1); // room for the line end
}

void lines_init(struct lines *lines, lines_write *write, void *arg)
{
    lines->write = write;
    lines->arg = arg;
    lines_begin(lines);
}

void lines_end(struct lines *lines)
{
    size_t length = lines->text.length;
    while (length > 0 && lines->buffer[length - 1] == ' ') length--;
    lines->buffer[length] = '\n';
    lines->buffer[length + 1] = '\0';
    lines->write(lines->buffer, lines->arg);
    lines_begin(lines);
}
