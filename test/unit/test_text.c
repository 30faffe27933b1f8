#include "base/text.h"
#include "base/check.h"
#include "../support/test.h"

TEST(text_is_empty_after_init)
{
    char buffer[4] = "xyz";
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    EXPECT_TEXT(buffer, "");
    EXPECT_EQ(text.length, 0);
}

TEST(text_appends_every_kind)
{
    char buffer[128];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add(&text, "a");
    text_add_char(&text, ' ');
    text_add_unsigned(&text, 0);
    text_add_char(&text, ' ');
    text_add_unsigned(&text, UINT64_MAX);
    text_add_char(&text, ' ');
    text_add_signed(&text, INT64_MIN);
    text_add_char(&text, ' ');
    text_add_signed(&text, 7);
    text_add_char(&text, ' ');
    text_add_hex(&text, 0);
    text_add_char(&text, ' ');
    text_add_hex(&text, UINT64_C(0xfedcba9876543210));
    EXPECT_TEXT(buffer, "a 0 18446744073709551615 -9223372036854775808 7 0x0 0xfedcba9876543210");
    EXPECT_EQ(text.length, strlen(buffer));
}

TEST(text_drops_what_does_not_fit_and_keeps_the_rest_of_the_buffer)
{
    char buffer[8] = "1234567";
    struct text text;
    text_init(&text, buffer, 5);
    text_add(&text, "abcdefgh");
    text_add_unsigned(&text, 12345);
    EXPECT_TEXT(buffer, "abcd");
    EXPECT_EQ(text.length, 4);
    EXPECT_TEXT(buffer + 5, "67");

    text_init(&text, buffer, 1);
    text_add(&text, "x");
    EXPECT_TEXT(buffer, "");
}

TEST(text_pads_on_the_left_as_far_as_there_is_room)
{
    char buffer[12];
    struct text text;
    text_init(&text, buffer, sizeof buffer);
    text_add(&text, "x:");
    text_add_unsigned(&text, 42);
    text_pad_left(&text, 2, 5);
    EXPECT_TEXT(buffer, "x:   42");
    text_pad_left(&text, 2, 4); // wide enough already
    EXPECT_TEXT(buffer, "x:   42");
    text_pad_left(&text, 0, 100);
    EXPECT_TEXT(buffer, "    x:   42");
    EXPECT_EQ(text.length, 11);
}

TEST(text_compares_without_regard_to_case)
{
    EXPECT(text_is_equal_nocase("", ""));
    EXPECT(text_is_equal_nocase("Purge_Delay", "PURGE_dELAY"));
    EXPECT(!text_is_equal_nocase("purge", "purge_delay"));
    EXPECT(!text_is_equal_nocase("purge_delay", "purge"));
    EXPECT(!text_is_equal_nocase("@", "`")); // apart by the same bit as letters are
    EXPECT(!text_is_equal_nocase("[", "{"));
}

// The number, or -12345 for junk; 0.5 is taken away when there was a suffix.
static double parsed(const char *string)
{
    int64_t value = 0;
    bool has_suffix = false;
    if (!text_parse_number(string, &value, &has_suffix)) return -12345;
    return (double)value - (has_suffix ? 0.5 : 0);
}

TEST(text_reads_numbers)
{
    EXPECT(parsed("0") == 0);
    EXPECT(parsed("-1") == -1);
    EXPECT(parsed("+10") == 10);
    EXPECT(parsed("007") == 7);
    EXPECT(parsed("2k") == 2048 - 0.5);
    EXPECT(parsed("2KB") == 2048 - 0.5);
    EXPECT(parsed("2KiB") == 2048 - 0.5);
    EXPECT(parsed("1M") == 1048576 - 0.5);
    EXPECT(parsed("3gib") == 3221225472.0 - 0.5);
    EXPECT(parsed("1t") == 1099511627776.0 - 0.5);
}

TEST(text_refuses_junk_and_leaves_the_outputs_alone)
{
    static const char *const junk[] = {
        "", " ", "-", "+", "--1", "1 ", " 1", "x", "1x", "1K2",
        "1iB", "1Ki", "1KBB", "K", "0x10", "1.5", "1e3",
        "9223372036854775808", "18446744073709551616", "99999999999999999999999", "8388608T"
    };
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        int64_t value = 77;
        bool has_suffix = true;
        if (text_parse_number(junk[i], &value, &has_suffix)) test_fail(__FILE__, __LINE__, junk[i]);
        EXPECT(value == 77 && has_suffix);
    }
}

TEST(text_reads_the_largest_numbers)
{
    int64_t value;
    bool has_suffix;
    EXPECT(text_parse_number("9223372036854775807", &value, &has_suffix) && value == INT64_MAX);
    EXPECT(text_parse_number("-9223372036854775807", &value, &has_suffix) && value == -INT64_MAX);
    EXPECT(text_parse_number("8388607T", &value, &has_suffix) && value == INT64_C(8388607) << 40);
}

TEST(check_failed_says_where_and_aborts)
{
    EXPECT_DEATH(check_failed("a/b.c", 120, "x != NULL"), "mimalloc: a/b.c:120: x != NULL\n");
}

TEST(check_stops_a_debug_build_only)
{
    const char *broken_rule = "P1: broken on purpose";
    if (CFG_DEBUG >= 1) EXPECT_DEATH(check(broken_rule == NULL), "broken_rule == NULL\n");
    else EXPECT_STDERR(check(broken_rule == NULL), "");
    if (CFG_DEBUG >= 2) EXPECT_DEATH(check_rules(broken_rule), "P1: broken on purpose\n");
    else EXPECT_STDERR(check_rules(broken_rule), "");
}
