/* text.h: build a line of text in a fixed buffer, and read numbers. No locale, no allocation, no
 * stdio. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H
#include "base/base.h"

struct text {
    char  *start;
    size_t length;   // characters so far, without the closing NUL
    size_t capacity; // of the buffer, NUL included; what does not fit is dropped
};

// `buffer` holds a NUL-terminated empty string afterwards; capacity >= 1.
INTERNAL void text_init(struct text *text, char *buffer, size_t capacity);
INTERNAL void text_add(struct text *text, const char *string);
INTERNAL void text_add_char(struct text *text, char character);
INTERNAL void text_add_unsigned(struct text *text, uint64_t value);
INTERNAL void text_add_signed(struct text *text, int64_t value);
INTERNAL void text_add_hex(struct text *text, uint64_t value); // "0x..." at least one digit
// Pads with blanks on the left so that what was added since `from_length` is at least `width` wide.
INTERNAL void text_pad_left(struct text *text, size_t from_length, size_t width);

// Equal up to the case of ASCII letters.
INTERNAL bool text_is_equal_nocase(const char *a, const char *b);
// Reads a whole string as a number: decimal with sign, or with a suffix K, M, G, T (also KiB,
// MiB.., KB..), which multiplies by 1024 and its powers. false for junk, an empty string, or a
// value that does not fit.
INTERNAL bool text_parse_number(const char *string, int64_t *value, bool *has_suffix);

#endif
