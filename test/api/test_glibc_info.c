/* test_glibc_info.c: glibc's own questions about malloc, answered by this allocator, for a program
 * whose malloc it is. */
#include "../support/child.h"
#include "mimalloc.h"
#include <malloc.h>

#ifndef MI_OVERRIDE
#define MI_OVERRIDE 0
#endif

#if !MI_OVERRIDE || !defined(__GLIBC__) || !defined(__GLIBC_PREREQ)
#define TEST_HAS_CALLS 0
#elif !__GLIBC_PREREQ(2, 33)
#define TEST_HAS_CALLS 0
#else
#define TEST_HAS_CALLS 1
#endif

#if !TEST_HAS_CALLS

int main(void) { return 77; } // mallinfo2 would be the C library's, or is not there

#else

enum { COUNT = 2000, BYTES = 100, LARGE_BYTES = 10 * 1024 * 1024 };

static void *blocks[COUNT];
static char  text[1 << 16];

// Rounded up to 16; debug builds put 16 bytes behind each block.
enum { BLOCK_BYTES = TEST_IS_EXACT ? 112 : 128 };

static void allocate_all(void)
{
    for (size_t i = 0; i < COUNT; i++) blocks[i] = malloc(BYTES);
}

static void free_all(void)
{
    for (size_t i = 0; i < COUNT; i++) free(blocks[i]);
}

TEST(mallinfo2_counts_what_is_in_use)
{
    struct mallinfo2 before = mallinfo2();
    allocate_all();
    struct mallinfo2 full = mallinfo2();
    EXPECT(full.uordblks - before.uordblks == (size_t)COUNT * BLOCK_BYTES);
    EXPECT(full.hblkhd == before.hblkhd && full.hblks == before.hblks);
    EXPECT(full.arena == full.uordblks + full.fordblks);
    free_all();
    struct mallinfo2 after = mallinfo2();
    EXPECT(after.uordblks == before.uordblks);
    EXPECT(after.arena == after.uordblks + after.fordblks);
    EXPECT(after.ordblks >= 10); // free blocks in the page that is kept
}

TEST(mallinfo2_counts_large_blocks_apart)
{
    struct mallinfo2 before = mallinfo2();
    void *block = malloc(LARGE_BYTES);
    ENSURE(block != NULL);
    struct mallinfo2 full = mallinfo2();
    EXPECT(full.hblks == before.hblks + 1);
    EXPECT(full.hblkhd >= before.hblkhd + LARGE_BYTES);
    EXPECT(full.hblkhd <= before.hblkhd + LARGE_BYTES + 65536);
    EXPECT(full.uordblks == before.uordblks);
    free(block);
    struct mallinfo2 after = mallinfo2();
    EXPECT(after.hblks == before.hblks && after.hblkhd == before.hblkhd);
}

TEST(keepcost_is_what_malloc_trim_gives_back)
{
    void *block = malloc(LARGE_BYTES);
    ENSURE(block != NULL);
    memset(block, 1, LARGE_BYTES);
    mi_option_set(mi_option_purge_delay, -1); // nothing goes back before malloc_trim
    free(block);
    EXPECT(mallinfo2().keepcost >= LARGE_BYTES);
    EXPECT(malloc_trim(0) == 1);
    EXPECT(mallinfo2().keepcost < LARGE_BYTES / 4);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static struct mallinfo narrow_info(void) { return mallinfo(); }
#pragma GCC diagnostic pop

TEST(mallinfo_says_the_same_in_int)
{
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo narrow = narrow_info();
    EXPECT((size_t)narrow.arena == wide.arena && (size_t)narrow.uordblks == wide.uordblks);
    EXPECT((size_t)narrow.fordblks == wide.fordblks && (size_t)narrow.hblkhd == wide.hblkhd);
}

TEST(mallinfo_stops_at_the_largest_int)
{
    void *block = malloc((size_t)3 << 30); // not touched
    if (block == NULL) return;
    EXPECT(narrow_info().hblkhd == 0x7FFFFFFF);
    free(block);
}

// --- malloc_info, malloc_stats -------------------------------------------------------------------

static const char *read_info(void)
{
    FILE *file = tmpfile();
    size_t length = 0;
    if (file != NULL) {
        EXPECT(malloc_info(0, file) == 0);
        rewind(file);
        length = fread(text, 1, sizeof text - 1, file);
        fclose(file);
    }
    text[length] = 0;
    return text;
}

// The number of an attribute in the last element that begins like this; -1 when there is none.
static long long attribute(const char *xml, const char *element, const char *name)
{
    const char *last = NULL;
    for (const char *at = strstr(xml, element); at != NULL; at = strstr(at + 1, element)) last = at;
    char quoted[40];
    snprintf(quoted, sizeof quoted, " %s=\"", name);
    const char *found = last == NULL ? NULL : strstr(last, quoted);
    return found == NULL ? -1 : strtoll(found + strlen(quoted), NULL, 10);
}

TEST(malloc_info_is_an_element_with_the_numbers_of_mallinfo2)
{
    void *block = malloc(LARGE_BYTES);
    read_info(); // the stream's own buffer needs memory the first time
    const char *xml = read_info();
    struct mallinfo2 info = mallinfo2();
    long long held = (long long)(info.arena + info.hblkhd);
    EXPECT(strncmp(xml, "<malloc version=\"1\">\n", 21) == 0);
    EXPECT(strcmp(xml + strlen(xml) - 10, "</malloc>\n") == 0);
    EXPECT(attribute(xml, "<total type=\"mmap\"", "count") == (long long)info.hblks);
    EXPECT(attribute(xml, "<total type=\"mmap\"", "size") == (long long)info.hblkhd);
    EXPECT(attribute(xml, "<system type=\"current\"", "size") == held);
    EXPECT(attribute(xml, "<system type=\"max\"", "size") >= held);
    EXPECT(attribute(xml, "<total type=\"rest\"", "size") > 0);
    free(block);
}

TEST(malloc_info_refuses_options) { EXPECT(malloc_info(1, stderr) != 0); }

static void print_statistics(void *arg)
{
    (void)arg;
    malloc_stats();
}

TEST(malloc_stats_prints_the_table)
{
    static struct child child;
    child_run(&child, print_statistics, NULL);
    EXPECT(child_is_well(&child));
    EXPECT(child_says(&child, "committed:") && child_says(&child, "elapsed:"));
}

TEST_MAIN
#endif
