/* test_secure.c: what the secure build adds to the checks of every free: encoded links, corruption
 * found, random order, guard pages. The debug build finds corrupted links, too. */
#include "mimalloc.h"
#include "../support/child.h"

static const size_t MIB = 1024 * 1024;
enum { COUNT = 400 };

// Every word of the freed blocks is looked at: none may be NULL's plain form in a link, nor an
// address in the heap.
static void look_for_plain_links(void *arg)
{
    static uintptr_t blocks[COUNT];
    size_t bytes = *(size_t *)arg;
    size_t plain = 0, zero = 0;
    for (size_t i = 0; i < COUNT; i++) {
        void *block = mi_malloc(bytes);
        ENSURE(block != NULL);
        memset(block, 0xAB, bytes);
        blocks[i] = (uintptr_t)block;
    }
    for (size_t i = 0; i < COUNT; i++) mi_free((void *)blocks[i]);
    for (size_t i = 0; i < COUNT; i++) {
        uintptr_t word;
        memcpy(&word, launder((void *)blocks[i]), sizeof word);
        zero += word == 0;
        for (size_t k = 0; k < COUNT; k++) plain += word == blocks[k];
    }
    EXPECT(plain == 0);
    EXPECT(zero == 0); // the end of a list is encoded like any other link
}

TEST(links_in_free_blocks_are_not_plain_pointers)
{
    static const size_t sizes[] = {16, 48, 256, 1000};
    static struct child child;
    if (!TEST_IS_SECURE) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes = sizes[i];
        child_run(&child, look_for_plain_links, &bytes);
        EXPECT(child_is_well(&child));
    }
}

struct forgery {
    uintptr_t value;
    bool is_added;
};

static uintptr_t victim[8] __attribute__((aligned(64)));

// Changes the links of freed blocks, then uses the class until they have been followed.
static void corrupt_links(void *arg)
{
    const struct forgery *forgery = (const struct forgery *)arg;
    static void *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) blocks[i] = mi_malloc(64);
    for (size_t i = 0; i < COUNT; i++) mi_free(blocks[i]);
    for (size_t i = 10; i < COUNT; i++) {
        uintptr_t *word = (uintptr_t *)launder(blocks[i]);
        *word = forgery->is_added ? *word + forgery->value : forgery->value;
    }
    for (size_t i = 0; i < 5000; i++) {
        void *block = mi_malloc(64);
        EXPECT(block != (void *)victim);
        EXPECT(mi_is_in_heap_region(block));
    }
    mi_collect(true);
}

TEST(a_corrupted_link_is_found_before_it_is_followed)
{
    const struct forgery forgeries[] = {{(uintptr_t)victim, false},
                                        {0, false},
                                        {UINTPTR_MAX, false},
                                        {0x4141414141414141u, false},
                                        {16, true},
                                        {1, true},
                                        {64, true}};
    static struct child child;
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        struct forgery forgery = forgeries[i];
        child_run(&child, corrupt_links, &forgery);
        EXPECT(child.signal == SIGABRT);
        EXPECT(strncmp(child.text, "mimalloc: ", 10) == 0);
        EXPECT(child_says(&child, "free list") || child_says(&child, "use after free"));
        if (child.signal != SIGABRT) fprintf(stderr, "forgery %zu: %s\n", i, child.text);
    }
}

// --- placement -----------------------------------------------------------------------------------

// Each of some 60 pieces has a stride of its own. Of so many the mean is never near its ends by
// chance: with a tenth of the blocks it was once in a thousand runs.
TEST(blocks_of_a_fresh_page_are_not_given_in_order)
{
    enum { BLOCKS = 4000 };
    static uintptr_t blocks[BLOCKS];
    static const size_t sizes[] = {32, 80, 272};
    if (!TEST_IS_SECURE) return;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t next = 0, up = 0;
        for (size_t i = 0; i < BLOCKS; i++) blocks[i] = (uintptr_t)mi_malloc(sizes[s]);
        for (size_t i = 1; i < BLOCKS; i++) {
            next += blocks[i] - blocks[i - 1] == sizes[s];
            up += blocks[i] > blocks[i - 1];
        }
        EXPECT(next < BLOCKS / 3); // a random order of small steps: far fewer
        EXPECT(up > BLOCKS / 10 && up < BLOCKS - BLOCKS / 10); // not merely backwards
    }
}

static void print_order(void *arg)
{
    (void)arg;
    uintptr_t first = (uintptr_t)mi_malloc(112);
    for (size_t i = 0; i < 30; i++) printf("%ld ", (long)((uintptr_t)mi_malloc(112) - first));
}

TEST(the_order_differs_from_process_to_process)
{
    static struct child children[2];
    const char *argv[] = {"/proc/self/exe", "--order", NULL};
    if (!TEST_IS_SECURE) return;
    for (size_t i = 0; i < 2; i++) {
        child_exec(&children[i], argv, NULL);
        EXPECT(child_is_well(&children[i]) && children[i].bytes > 50);
    }
    EXPECT(strcmp(children[0].text, children[1].text) != 0);
}

// --- guards --------------------------------------------------------------------------------------

struct overflow {
    size_t block_bytes, reach;
    bool is_downward;
};

// Writes on from a block in the midst of many others, so that what lies behind is mapped but for
// guards.
static void write_far(void *arg)
{
    const struct overflow *overflow = (const struct overflow *)arg;
    size_t count = 16 * MIB / overflow->block_bytes;
    volatile char *middle = NULL;
    for (size_t i = 0; i < count; i++) {
        volatile char *block = (volatile char *)mi_malloc(overflow->block_bytes);
        ENSURE(block != NULL);
        block[0] = 1;
        if (i == count / 2) middle = (volatile char *)launder((void *)(uintptr_t)block);
    }
    for (size_t i = 0; i < overflow->reach; i += 64) {
        if (overflow->is_downward)
            middle[-(ptrdiff_t)i - 1] = 1;
        else
            middle[overflow->block_bytes + i] = 1;
    }
}

static void expect_fault(size_t block_bytes, size_t reach, bool is_downward)
{
    static struct child child;
    struct overflow overflow = {block_bytes, reach, is_downward};
    child_run(&child, write_far, &overflow);
    EXPECT(child.signal == SIGSEGV);
    if (child.signal != SIGSEGV)
        fprintf(stderr, "blocks of %zu bytes, %s\n", block_bytes, child.text);
}

TEST(an_overflow_past_the_end_of_a_page_faults)
{
    if (!TEST_IS_SECURE) return;
    expect_fault(64, 128 * 1024, false);
    expect_fault(1024, 128 * 1024, false);
    expect_fault(8192, MIB, false);
    expect_fault(60000, 2 * MIB, false);
}

TEST(an_overflow_past_a_large_block_faults)
{
    if (!TEST_IS_SECURE) return;
    expect_fault(MIB, 256 * 1024, false);
    expect_fault(3 * MIB + 5000, 256 * 1024, false);
}

// A block whose memory was moved: it has a guard, and where it was there is none left.
static void write_past_moved(void *unused)
{
    size_t old_bytes = MIB + 60 * 1024; // and its guard: 17 slices of 64 KiB
    char *block = (char *)mi_malloc(MIB), *barrier = (char *)mi_malloc(MIB);
    (void)unused;
    ENSURE(block != NULL && barrier != NULL);
    memset(block, 1, MIB);
    char *moved = (char *)mi_realloc(block, 3 * MIB), *again = (char *)mi_malloc(old_bytes);
    ENSURE(moved != NULL && moved != block && again != NULL);
    memset(again, 2, old_bytes);
    memset(moved + MIB, 3, 2 * MIB);
    for (size_t i = 0; i < MIB; i++) ENSURE(moved[i] == 1);
    volatile char *behind = (volatile char *)launder(moved + 3 * MIB);
    fprintf(stderr, "so far all is well");
    for (size_t i = 0; i < 256 * 1024; i += 64) behind[i] = 1;
}

TEST(an_overflow_past_a_block_that_was_moved_faults)
{
    static struct child child;
    if (!TEST_IS_SECURE) return;
    child_run(&child, write_past_moved, NULL);
    EXPECT(child.signal == SIGSEGV);
    EXPECT(strcmp(child.text, "so far all is well") == 0);
}

TEST(an_underflow_out_of_a_page_faults)
{
    if (!TEST_IS_SECURE) return;
    expect_fault(64, 128 * 1024, true);
    expect_fault(MIB, 2 * MIB, true);
}

int main(int argc, char **argv)
{
    if (!TEST_HAS_STATES) return 77;
    if (argc > 1 && strcmp(argv[1], "--order") == 0) {
        print_order(NULL);
        return 0;
    }
    return test_run_all(argc, argv);
}
