#include "base/check.h"
#include <stdlib.h>
#if defined(_WIN32)
#include <io.h>
#define check_write_to_stderr(line, length) _write(2, line, (unsigned)(length))
#else
#include <unistd.h>
#define check_write_to_stderr(line, length) write(2, line, length)
#endif

enum { CHECK_LINE_BYTES = 512 };

// Appends what fits and leaves room for the line end. Returns the new length.
static size_t check_add(char *line, size_t length, const char *string)
{
    while (*string != '\0' && length < CHECK_LINE_BYTES - 1) line[length++] = *string++;
    return length;
}

static size_t check_add_number(char *line, size_t length, unsigned number)
{
    char digits[12];
    size_t first = sizeof digits - 1;
    digits[first] = '\0';
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return check_add(line, length, digits + first);
}

// Speaks to the system directly, the only place in base that does: prim stands above, and a process
// that is about to abort must not depend on anything that may be the very thing that is broken.
cold void check_failed(const char *file, int line_number, const char *text)
{
    char line[CHECK_LINE_BYTES];
    size_t length = check_add(line, 0, "mimalloc: ");
    length = check_add(line, length, file);
    length = check_add(line, length, ":");
    length = check_add_number(line, length, (unsigned)line_number);
    length = check_add(line, length, ": ");
    length = check_add(line, length, text);
    line[length++] = '\n';
    if (check_write_to_stderr(line, length) < 0) abort(); // unheard, but all the same
    abort();
}
