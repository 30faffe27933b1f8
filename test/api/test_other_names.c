// The names of POSIX, Windows and C++ under mi_: what they refuse, and what they leave alone.
#include <errno.h>
#include "mimalloc.h"
#include "api_test.h"

static volatile size_t huge = (size_t)PTRDIFF_MAX + 1; // volatile: compilers warn of such constants
static volatile size_t odd = 24;

TEST(posix_memalign_writes_its_result_and_errno_on_success_only)
{
    char target;
    void *block = &target;
    errno = 7;
    EXPECT(mi_posix_memalign(NULL, 64, 8) == EINVAL);
    EXPECT(mi_posix_memalign(&block, 0, 8) == EINVAL && block == &target);
    EXPECT(mi_posix_memalign(&block, odd, 8) == EINVAL && block == &target);
    EXPECT(mi_posix_memalign(&block, sizeof(void *) / 2, 8) == EINVAL && block == &target);
    EXPECT(mi_posix_memalign(&block, 64, huge) == ENOMEM && block == &target);
    EXPECT(errno == 7);
    EXPECT(mi_posix_memalign(&block, 256, 0) == 0 && ((uintptr_t)block & 255) == 0);
    mi_free(block);
}

TEST(aligned_alloc_is_strict_and_memalign_rounds_up)
{
    errno = 0;
    EXPECT(mi_aligned_alloc(odd, 8) == NULL && errno == EINVAL);
    EXPECT(mi_memalign(huge + 1, 8) == NULL && errno == EINVAL);
    void *block = mi_memalign(odd, 8);
    EXPECT(block != NULL && ((uintptr_t)block & 31) == 0);
    mi_free(block);
    mi_free(mi_memalign(0, 8));
    block = mi_aligned_alloc(64, 3); // not a multiple of the alignment
    EXPECT(block != NULL && ((uintptr_t)block & 63) == 0);
    mi_free(block);
}

TEST(sizes_that_overflow_fail_with_ENOMEM)
{
    void *block = mi_malloc(16);
    errno = 0;
    EXPECT(mi_pvalloc(SIZE_MAX - odd) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(mi_valloc(SIZE_MAX - odd) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(mi_reallocarray(block, huge, 2) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(mi_new_nothrow(huge) == NULL && mi_new_aligned_nothrow(huge, 64) == NULL);
    EXPECT(mi_new_aligned_nothrow(8, odd) == NULL);
    EXPECT(mi__expand(block, 1 << 20) == NULL && errno == ENOMEM);
    mi_free(block);
}

TEST(pvalloc_gives_whole_OS_pages)
{
    void *block = mi_pvalloc(1);
    EXPECT(((uintptr_t)block & 4095) == 0 && mi_usable_size(block) >= 4096);
    mi_free(block);
}

TEST(cfree_ignores_a_foreign_pointer)
{
    char target[64] = {1};
    mi_cfree(target);
    mi_cfree(NULL);
    mi_cfree(mi_malloc(8));
    EXPECT(target[0] == 1);
}

TEST(strings_are_copied_up_to_their_end_or_the_limit)
{
    const unsigned short wide[] = {'a', 0x20ac, 0};
    char *copy = mi_strndup("text", 2);
    EXPECT(strcmp(copy, "te") == 0);
    mi_free(copy);
    copy = mi_heap_strndup(mi_heap_get_default(), "text", 9);
    EXPECT(strcmp(copy, "text") == 0);
    mi_free(copy);
    unsigned short *wide_copy = mi_wcsdup(wide);
    EXPECT(memcmp(wide, wide_copy, sizeof wide) == 0);
    mi_free(wide_copy);
    EXPECT(mi_strdup(NULL) == NULL && mi_strndup(NULL, 1) == NULL && mi_wcsdup(NULL) == NULL);
}

TEST(realpath_uses_the_buffer_given_or_a_block)
{
    char buffer[4096];
    EXPECT(mi_realpath("/..", buffer) == buffer && strcmp(buffer, "/") == 0);
    char *block = mi_heap_realpath(mi_heap_get_default(), "/./", NULL);
    EXPECT(block != NULL && strcmp(block, "/") == 0);
    mi_free(block);
    errno = 0;
    EXPECT(mi_realpath("/no such file", NULL) == NULL && errno == ENOENT);
}

TEST(dupenv_tells_unset_from_failure)
{
    char *value = (char *)&odd;
    size_t size = 9;
    EXPECT(mi_dupenv_s(&value, &size, "A_NAME_THAT_IS_NOT_SET") == 0 && value == NULL && size == 0);
    EXPECT(mi_dupenv_s(NULL, NULL, "PATH") == EINVAL && mi_dupenv_s(&value, NULL, NULL) == EINVAL);
    EXPECT(mi_dupenv_s(&value, &size, "PATH") == 0 && value != NULL && strlen(value) + 1 == size);
    mi_free(value);
}

TEST(what_only_other_systems_have_is_there_and_says_so)
{
    unsigned short *value = NULL, name[] = {'P', 'A', 'T', 'H', 0};
    size_t size = 1;
    EXPECT(mi_wdupenv_s(NULL, &size, name) == EINVAL);
    EXPECT(mi_wdupenv_s(&value, &size, NULL) == EINVAL);
    EXPECT(mi_wdupenv_s(&value, &size, name) != 0 && value == NULL);
    EXPECT(!mi_is_redirected());
    mi_process_init(); // has been done
    for (size_t bytes = 0; bytes < 5000; bytes += 7)
        EXPECT(mi_malloc_good_size(bytes) == mi_good_size(bytes));
}

TEST(an_option_out_of_range_is_ignored)
{
    mi_option_set(_mi_option_last, 5);
    EXPECT(mi_option_get(_mi_option_last) == 0 && mi_option_get((mi_option_t)-1) == 0);
    long before = mi_option_get(mi_option_os_tag);
    mi_option_set(mi_option_os_tag, 77);
    EXPECT(mi_option_get(mi_option_os_tag) == 77);
    EXPECT(mi_option_get_clamp(mi_option_os_tag, 0, 50) == 50);
    mi_option_set_default(mi_option_os_tag, 1);
    EXPECT(mi_option_get(mi_option_os_tag) == 77);
    mi_option_set(mi_option_os_tag, before);
}

static int seen_error;
static void see_error(int code, void *arg) { *(int *)arg = code; }

TEST(sized_free_accepts_the_right_size_and_checks_it_in_debug_builds)
{
    mi_free_size(NULL, 10);
    mi_free_size_aligned(NULL, 0, 0);
    mi_free_aligned(NULL, 0);
    mi_free_size(mi_malloc(100), 100);
    mi_free_size_aligned(mi_malloc_aligned(100, 64), 100, 64);
    mi_free_aligned(mi_malloc_aligned(100, 64), 64);
    if (!TEST_HAS_STATES) return;
    void *block = mi_malloc(100);
    mi_register_error(see_error, &seen_error);
    mi_free_size(block, 100000);
    EXPECT(seen_error == EINVAL);
    mi_register_error(NULL, NULL);
    mi_free(block); // the wrong call was ignored
}

TEST(sized_free_accepts_a_size_of_0_whatever_the_alignment)
{
    mi_free_size(mi_malloc(0), 0);
    for (size_t alignment = 1; alignment <= (size_t)4 << 20; alignment *= 4) {
        mi_free_size_aligned(mi_malloc_aligned(0, alignment), 0, alignment);
        mi_free_size_aligned(mi_new_aligned(0, alignment), 0, alignment);
        mi_free_size_aligned(mi_realloc_aligned(mi_malloc(10), 0, alignment), 0, alignment);
        mi_free_size(mi_malloc_aligned_at(0, alignment, 8), 0);
    }
}

TEST(sized_free_accepts_the_size_of_a_block_that_is_aligned_at_an_offset)
{
    static const size_t sizes[] = {1, 24, 100, 1000, 20000, 700000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t alignment = 16; alignment <= 65536; alignment *= 8) {
            char *block = (char *)mi_malloc_aligned_at(sizes[i], alignment, 8);
            ENSURE(block != NULL);
            memset(block, 1, sizes[i]);
            if (TEST_IS_DEBUG) EXPECT(mi_usable_size(block) == sizes[i]);
            mi_free_size(block, sizes[i]);
            mi_free_size(mi_zalloc_aligned_at(sizes[i], alignment, 8), sizes[i]);
            block = (char *)mi_malloc_aligned_at(50, alignment, 8);
            mi_free_size(mi_realloc_aligned_at(block, sizes[i], alignment, 8), sizes[i]);
        }
    }
}

TEST(sized_free_accepts_the_size_that_expand_was_asked_for_last)
{
    static const size_t sizes[] = {1000, 20000, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *plain = mi_malloc(sizes[i]), *moved = mi_malloc_aligned_at(sizes[i], 64, 8);
        ENSURE(mi_expand(plain, sizes[i] - 1) == plain);
        ENSURE(mi_expand(plain, sizes[i] / 3) == plain);
        ENSURE(mi_expand(moved, sizes[i] / 3) == moved);
        if (TEST_IS_DEBUG) EXPECT(mi_usable_size(moved) == sizes[i] / 3);
        mi_free_size(plain, sizes[i] / 3);
        mi_free_size(moved, sizes[i] / 3);
    }
}

static char seen_text[4096];
static void see_text(const char *text)
{
    size_t used = strlen(seen_text), more = strlen(text);
    if (used + more < sizeof seen_text) memcpy(seen_text + used, text, more + 1);
}

TEST(registered_output_receives_the_options)
{
    mi_register_output(see_text);
    mi_options_print();
    mi_register_output(NULL);
    EXPECT(strstr(seen_text, "purge_delay") != NULL);
}

TEST_MAIN
