#include "base/text.h"

void text_init(struct text *text, char *buffer, size_t capacity)
{
    text->start = buffer;
    text->length = 0;
    text->capacity = capacity;
    buffer[0] = '\0';
}

void text_add_char(struct text *text, char character)
{
    if (text->length + 1 >= text->capacity) return;
    text->start[text->length++] = character;
    text->start[text->length] = '\0';
}

void text_add(struct text *text, const char *string)
{
    for (; *string != '\0'; string++) text_add_char(text, *string);
}

static void text_add_digits(struct text *text, uint64_t value, unsigned base)
{
    char digits[24]; // 20 decimal digits at most
    size_t first = sizeof digits - 1;
    digits[first] = '\0';
    do {
        digits[--first] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    text_add(text, digits + first);
}

void text_add_unsigned(struct text *text, uint64_t value) { text_add_digits(text, value, 10); }

void text_add_signed(struct text *text, int64_t value)
{
    if (value < 0) text_add_char(text, '-');
    text_add_digits(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

void text_add_hex(struct text *text, uint64_t value)
{
    text_add(text, "0x");
    text_add_digits(text, value, 16);
}

void text_pad_left(struct text *text, size_t from_length, size_t width)
{
    size_t added = text->length - from_length;
    size_t room = text->capacity - 1 - text->length;
    size_t blanks = added < width ? width - added : 0;
    if (blanks > room) blanks = room;
    memmove(text->start + from_length + blanks, text->start + from_length, added + 1);
    memset(text->start + from_length, ' ', blanks);
    text->length += blanks;
}

static char text_lower(char character)
{
    return character >= 'A' && character <= 'Z' ? (char)(character - 'A' + 'a') : character;
}

bool text_is_equal_nocase(const char *a, const char *b)
{
    for (; text_lower(*a) == text_lower(*b); a++, b++) {
        if (*a == '\0') return true;
    }
    return false;
}

// Reads digits, at least one, into *value and moves *string behind them; false when they do not
// fit.
static bool text_parse_digits(const char **string, uint64_t *value)
{
    const char *digit = *string;
    uint64_t sum = 0;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        unsigned units = (unsigned)(*digit - '0');
        if (sum > (UINT64_MAX - units) / 10) return false;
        sum = sum * 10 + units;
    }
    if (digit == *string) return false;
    *string = digit;
    *value = sum;
    return true;
}

// The power of two that a whole suffix stands for; 0 for none, -1 for junk.
static int text_suffix_shift(const char *suffix)
{
    static const char letters[] = "kmgt";
    if (*suffix == '\0') return 0;
    for (int i = 0; letters[i] != '\0'; i++) {
        if (text_lower(suffix[0]) != letters[i]) continue;
        const char *rest = suffix + 1;
        bool is_plain = *rest == '\0' || text_is_equal_nocase(rest, "b");
        return is_plain || text_is_equal_nocase(rest, "ib") ? 10 * (i + 1) : -1;
    }
    return -1;
}

cold bool text_parse_number(const char *string, int64_t *value, bool *has_suffix)
{
    bool is_negative = *string == '-';
    uint64_t magnitude;
    if (*string == '-' || *string == '+') string++;
    if (!text_parse_digits(&string, &magnitude)) return false;

    int shift = text_suffix_shift(string);
    if (shift < 0 || magnitude > ((uint64_t)INT64_MAX >> shift)) return false;

    int64_t product = (int64_t)(magnitude << shift);
    *value = is_negative ? -product : product;
    *has_suffix = shift > 0;
    return true;
}
