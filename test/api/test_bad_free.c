/* test_bad_free.c: pointers that are not the start of a live block, given to free and its kin.
 *
 *   every build              foreign, stack, unmapped, unaligned and null-page pointers: refused,
 *                            unread
 *   debug and secure builds  interior pointers, double frees from any thread, wrong sizes too
 *   debug build              bytes written behind the block
 *
 * Each misuse runs in a process of its own: it prints one line and goes on (normal build) or dies
 * by abort after that line (debug and secure); with an error handler it goes on in each build and
 * the handler gets the code.
 */
#include "mimalloc.h"
#include "../support/child.h"
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

static const size_t MIB = 1024 * 1024;

// --- the misuses ---------------------------------------------------------------------------------

static char static_memory[256] __attribute__((aligned(64)));

static void free_stack(void)
{
    char memory[256] __attribute__((aligned(64)));
    memory[64] = 0;
    mi_free(launder(memory + 64));
}

static void *foreign_memory(void)
{
    void *memory = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : (char *)memory + MIB;
}

static void *unmapped_memory(void)
{
    char *memory = (char *)mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == (char *)MAP_FAILED) return NULL;
    munmap(memory, 4 * MIB);
    return launder(memory + MIB);
}

static void free_static(void) { mi_free(launder(static_memory + 64)); }
static void free_code(void)
{
    mi_free(launder((void *)((uintptr_t)&free_static & ~(uintptr_t)15)));
}
static void free_foreign(void) { mi_free(foreign_memory()); }
static void free_unmapped(void) { mi_free(unmapped_memory()); }
static void free_null_page(void) { mi_free(launder((void *)(uintptr_t)64)); }
static void free_end_of_null_page(void) { mi_free(launder((void *)(uintptr_t)4080)); }
static void free_top_address(void) { mi_free(launder((void *)(UINTPTR_MAX - 15))); }
static void free_middle_address(void) { mi_free(launder((void *)(UINTPTR_MAX / 2 + 1))); }
static void free_minus_one(void) { mi_free(launder((void *)UINTPTR_MAX)); }

static void free_unaligned(void)
{
    char *block = (char *)mi_malloc(100);
    mi_free(launder(block + 8));
    mi_free(block); // still live where the first call was ignored
}

static void free_odd(void) { mi_free(launder((char *)mi_malloc(3000) + 1)); }
static void free_unaligned_large(void) { mi_free(launder((char *)mi_malloc(3 * MIB) + 4)); }

static void realloc_foreign(void)
{
    errno = 0;
    EXPECT(mi_realloc(foreign_memory(), 100) == NULL);
}

static void realloc_static(void) { EXPECT(mi_realloc(launder(static_memory + 32), 10) == NULL); }
static void realloc_unmapped(void) { EXPECT(mi_realloc(unmapped_memory(), 5000) == NULL); }
static void sized_free_foreign(void) { mi_free_size(foreign_memory(), 100); }

static void free_interior(void) { mi_free(launder((char *)mi_malloc(64) + 16)); }
static void free_interior_medium(void) { mi_free(launder((char *)mi_malloc(20000) + 4096)); }
static void free_interior_large(void) { mi_free(launder((char *)mi_malloc(3 * MIB) + 16)); }
static void free_interior_slice(void) { mi_free(launder((char *)mi_malloc(3 * MIB) + 65536)); }
static void realloc_interior(void)
{
    EXPECT(mi_realloc(launder((char *)mi_malloc(200) + 32), 500) == NULL);
}

static void free_twice_of(size_t bytes)
{
    void *block = mi_malloc(bytes);
    void *alias = launder(block);
    mi_free(block);
    mi_free(alias);
}

static void free_twice(void) { free_twice_of(40); }
static void free_twice_medium(void) { free_twice_of(30000); }
static void free_twice_large(void) { free_twice_of(3 * MIB); }

static void free_interleaved(void)
{
    void *first = mi_malloc(100);
    void *second = mi_malloc(100);
    void *alias = launder(first);
    mi_free(first);
    mi_free(second);
    mi_free(alias);
}

// Other work in between: blocks of other sizes, and of the same size without ever running out of
// fresh ones.
static void free_delayed(void)
{
    void *kept[64];
    for (size_t i = 0; i < 64; i++) kept[i] = mi_malloc(48);
    void *alias = launder(kept[20]);
    mi_free(kept[20]);
    for (size_t i = 0; i < 20000; i++) mi_free(mi_malloc(1 + i % 32));
    mi_free(alias);
}

static void free_moved(void)
{
    void *block = mi_malloc(100);
    void *alias = launder(block);
    EXPECT(mi_realloc(block, 50000) != NULL);
    mi_free(alias);
}

static void realloc_freed(void)
{
    void *block = mi_malloc(100);
    void *alias = launder(block);
    mi_free(block);
    EXPECT(mi_realloc(alias, 50000) == NULL);
}

static void *call_free(void *block)
{
    mi_free(block);
    return NULL;
}

static void *call_free_interior(void *block)
{
    mi_free(launder((char *)block + 16));
    return NULL;
}

static void in_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    ENSURE(pthread_create(&thread, NULL, body, arg) == 0);
    pthread_join(thread, NULL);
}

static void free_interior_remote(void) { in_thread(call_free_interior, mi_malloc(64)); }

static void free_local_then_remote(void)
{
    void *block = mi_malloc(80);
    void *alias = launder(block);
    mi_free(block);
    in_thread(call_free, alias);
}

static void free_remote_then_local(void)
{
    void *block = mi_malloc(80);
    void *alias = launder(block);
    in_thread(call_free, block);
    mi_free(alias);
}

static void free_remote_twice(void)
{
    void *block = mi_malloc(80);
    void *alias = launder(block);
    in_thread(call_free, block);
    in_thread(call_free, alias);
}

static void *call_free_twice(void *block)
{
    void *alias = launder(block);
    mi_free(block);
    mi_free(alias);
    return NULL;
}

static void free_twice_in_another_thread(void) { in_thread(call_free_twice, mi_malloc(80)); }

static void *call_malloc(void *arg)
{
    *(void **)arg = mi_malloc(80);
    return NULL;
}

static void free_orphan_twice(void)
{
    void *block = NULL;
    in_thread(call_malloc, &block); // its thread is gone
    void *alias = launder(block);
    mi_free(block);
    mi_free(alias);
}

static void free_after_destroy(void)
{
    mi_heap_t *heap = mi_heap_new();
    void *alias = launder(mi_heap_malloc(heap, 100));
    mi_heap_destroy(heap);
    mi_free(alias);
}

static void free_never_allocated(void)
{
    uintptr_t end_of_slice = (uintptr_t)mi_malloc(64) | 0xFFC0; // far past what one block needs
    mi_free(launder((void *)end_of_slice));
}

static void free_twice_by_size(void)
{
    void *block = mi_malloc(100), *other = mi_malloc(100);
    void *alias = launder(block);
    mi_free(block);
    mi_free_size(alias, 100);
    mi_free(other);
}

static void free_larger_than_block(void) { mi_free_size(mi_malloc(100), 100000); }
static void free_with_wrong_alignment(void) { mi_free_aligned(mi_malloc(64), launder_size(48)); }

static mi_heap_t *heap_in_use;
static void free_twice_in_heap(void)
{
    heap_in_use = mi_heap_new();
    void *alias = launder(mi_heap_malloc(heap_in_use, 1 << 20));
    in_thread(call_free, alias); // which waits for its owner
    in_thread(call_free, alias);
}

static void allocate_in_no_heap(void)
{
    EXPECT(mi_heap_malloc((mi_heap_t *)launder((void *)(uintptr_t)16), 100) == NULL);
}

static void *allocate_in(void *heap)
{
    EXPECT(mi_heap_malloc((mi_heap_t *)heap, 100) == NULL);
    return NULL;
}

static void allocate_in_anothers_backing_heap(void)
{
    in_thread(allocate_in, mi_heap_get_backing());
}

static void write_one_past(void)
{
    char *block = (char *)launder(mi_malloc(100));
    block[100] ^= 1;
    mi_free(block);
}

static void write_one_past_remote(void)
{
    char *block = (char *)launder(mi_malloc(41));
    block[41] ^= 1;
    in_thread(call_free, block);
}

static void realloc_after_overflow(void)
{
    char *block = (char *)launder(mi_malloc(333));
    block[333] ^= 1;
    mi_free(mi_realloc(block, 100000));
}

// Large blocks change their size where they are.
static void resize_after_overflow(size_t bytes)
{
    char *block = (char *)launder(mi_malloc(MIB + 100));
    block[MIB + 100] ^= 1;
    mi_free(mi_realloc(block, bytes));
}
static void grow_after_overflow(void) { resize_after_overflow(MIB + 200); }
static void shrink_after_overflow(void) { resize_after_overflow(MIB - 50000); }

// What was written there reads as if the block were shorter than the offset of this pointer.
static void realloc_after_overflow_aligned_at(void)
{
    char *block = (char *)launder(mi_malloc_aligned_at(1000, 256, 24));
    memset(block + 1000, 0, 8);
    mi_free(mi_realloc(block, 5000));
}

static void expand_after_overflow(void)
{
    char *block = (char *)launder(mi_malloc(222));
    block[222] ^= 1;
    EXPECT(mi_expand(block, 100) == block);
    mi_free(block);
}

static void write_one_past_aligned_at(void)
{
    char *block = (char *)launder(mi_malloc_aligned_at(100, 64, 8));
    block[100] ^= 1;
    mi_free(block);
}

static void free_with_other_size(void) { mi_free_size(mi_malloc(100), 99); }

// --- what each build says to them ----------------------------------------------------------------

enum found { IN_EVERY_BUILD, WITH_STATES, WITH_PADDING };

struct misuse {
    const char *name;
    void (*run)(void);
    enum found found;
    const char *message, *other_message; // either is a true name of the fault
    int code, other_code;
};

static const char INVALID[] = "invalid pointer";
static const char DOUBLE[] = "double free";
static const char HEAP[] = "wrong use of a heap";

static const struct misuse misuses[] = {
    {"stack", free_stack, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"static", free_static, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"code", free_code, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"foreign", free_foreign, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"unmapped", free_unmapped, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"null page", free_null_page, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"end of null page", free_end_of_null_page, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"top address", free_top_address, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"middle address", free_middle_address, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"minus one", free_minus_one, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"unaligned", free_unaligned, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"odd", free_odd, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"unaligned large", free_unaligned_large, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"realloc foreign", realloc_foreign, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"realloc static", realloc_static, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"realloc unmapped", realloc_unmapped, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"sized free foreign", sized_free_foreign, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},

    {"large of a heap twice", free_twice_in_heap, IN_EVERY_BUILD, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"heap of another", allocate_in_anothers_backing_heap, IN_EVERY_BUILD, HEAP, HEAP, EINVAL,
     EINVAL},
    {"no heap", allocate_in_no_heap, IN_EVERY_BUILD, HEAP, HEAP, EINVAL, EINVAL},

    {"interior", free_interior, WITH_STATES, INVALID, INVALID, EINVAL, EINVAL},
    {"interior medium", free_interior_medium, WITH_STATES, INVALID, INVALID, EINVAL, EINVAL},
    {"interior large", free_interior_large, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"interior slice", free_interior_slice, IN_EVERY_BUILD, INVALID, INVALID, EINVAL, EINVAL},
    {"interior remote", free_interior_remote, WITH_STATES, INVALID, INVALID, EINVAL, EINVAL},
    {"realloc interior", realloc_interior, WITH_STATES, INVALID, INVALID, EINVAL, EINVAL},
    {"twice", free_twice, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"twice by size", free_twice_by_size, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"twice medium", free_twice_medium, WITH_STATES, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"twice large", free_twice_large, IN_EVERY_BUILD, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"interleaved", free_interleaved, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"delayed", free_delayed, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"moved", free_moved, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"realloc freed", realloc_freed, WITH_STATES, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"local then remote", free_local_then_remote, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"remote then local", free_remote_then_local, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"remote twice", free_remote_twice, WITH_STATES, DOUBLE, DOUBLE, EAGAIN, EAGAIN},
    {"twice in another thread", free_twice_in_another_thread, WITH_STATES, DOUBLE, DOUBLE, EAGAIN,
     EAGAIN},
    {"orphan twice", free_orphan_twice, WITH_STATES, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"after destroy", free_after_destroy, WITH_STATES, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"never allocated", free_never_allocated, WITH_STATES, DOUBLE, INVALID, EAGAIN, EINVAL},
    {"sized free too large", free_larger_than_block, WITH_STATES, "wrong size", "wrong size",
     EINVAL, EINVAL},
    {"wrong alignment", free_with_wrong_alignment, WITH_STATES, "wrong size", "wrong size", EINVAL,
     EINVAL},

    {"one past", write_one_past, WITH_PADDING, "overflow", "overflow", EFAULT, EFAULT},
    {"one past remote", write_one_past_remote, WITH_PADDING, "overflow", "overflow", EFAULT,
     EFAULT},
    {"one past realloc", realloc_after_overflow, WITH_PADDING, "overflow", "overflow", EFAULT,
     EFAULT},
    {"one past grown", grow_after_overflow, WITH_PADDING, "overflow", "overflow", EFAULT, EFAULT},
    {"one past shrunk", shrink_after_overflow, WITH_PADDING, "overflow", "overflow", EFAULT,
     EFAULT},
    {"one past realloc at", realloc_after_overflow_aligned_at, WITH_PADDING, "overflow", "overflow",
     EFAULT, EFAULT},
    {"one past expand", expand_after_overflow, WITH_PADDING, "overflow", "overflow", EFAULT,
     EFAULT},
    {"one past aligned at", write_one_past_aligned_at, WITH_PADDING, "overflow", "overflow", EFAULT,
     EFAULT},
    {"sized free too small", free_with_other_size, WITH_PADDING, "wrong size", "wrong size", EINVAL,
     EINVAL},
};
enum { MISUSE_COUNT = sizeof misuses / sizeof misuses[0] };

static bool is_found(const struct misuse *misuse)
{
    if (misuse->found == WITH_STATES) return TEST_HAS_STATES;
    return misuse->found == IN_EVERY_BUILD || TEST_IS_DEBUG;
}

static void expect_for(const struct misuse *misuse, const struct child *child, bool condition,
                       const char *what)
{
    char text[200];
    if (condition) return;
    snprintf(text, sizeof text, "misuse \"%s\": %s", misuse->name, what);
    test_failed(__FILE__, __LINE__, text);
    fprintf(stderr, "  exit code %d, signal %d, %s:\n  %s\n", child->exit_code, child->signal,
            child->timed_out ? "hung" : "ended", child->text);
}

static void use_the_heap(void)
{
    void *blocks[500];
    for (size_t i = 0; i < 500; i++) {
        blocks[i] = mi_malloc(i * 3);
        EXPECT(blocks[i] != NULL);
        pattern_fill(blocks[i], i * 3, i);
    }
    for (size_t i = 0; i < 500; i++) {
        EXPECT(pattern_is_kept(blocks[i], i * 3, i));
        mi_free(blocks[i]);
    }
}

static void run_misuse(void *arg)
{
    const struct misuse *misuse = (const struct misuse *)arg;
    errno = 77;
    misuse->run();
    use_the_heap();
}

TEST(each_misuse_gets_one_line_that_names_it_and_the_reaction_of_the_build)
{
    static struct child child;
    for (size_t i = 0; i < MISUSE_COUNT; i++) {
        const struct misuse *misuse = &misuses[i];
        if (!is_found(misuse)) continue; // undefined there
        child_run(&child, run_misuse, (void *)(uintptr_t)misuse);
        bool is_named =
            child_says(&child, misuse->message) || child_says(&child, misuse->other_message);
        expect_for(misuse, &child, !child.timed_out, "no hang");
        expect_for(misuse, &child, strncmp(child.text, "mimalloc: ", 10) == 0 && is_named,
                   "a line that names it");
        if (TEST_HAS_STATES) {
            expect_for(misuse, &child, child.signal == SIGABRT, "abort");
            if (!TEST_IS_DEBUG)
                expect_for(misuse, &child, child_line_count(&child) == 1,
                           "one line"); // no backtrace
        } else {
            expect_for(misuse, &child, child.exit_code == 0, "it goes on");
            expect_for(misuse, &child, child_line_count(&child) == 1, "one line");
        }
    }
}

static int heard_code;
static int heard_count;

static void hear(int code, void *arg)
{
    (void)arg;
    heard_code = code;
    heard_count++;
}

static void run_misuse_with_handler(void *arg)
{
    const struct misuse *misuse = (const struct misuse *)arg;
    mi_option_set(mi_option_show_errors, 0);
    mi_register_error(hear, NULL);
    misuse->run();
    EXPECT(heard_count == 1);
    EXPECT(heard_code == misuse->code || heard_code == misuse->other_code);
    use_the_heap(); // the call was ignored: nothing is broken
    EXPECT(heard_count == 1);
}

TEST(an_error_handler_gets_the_code_instead_and_the_call_is_ignored)
{
    static struct child child;
    for (size_t i = 0; i < MISUSE_COUNT; i++) {
        if (!is_found(&misuses[i])) continue;
        child_run(&child, run_misuse_with_handler, (void *)(uintptr_t)&misuses[i]);
        expect_for(&misuses[i], &child, child.exit_code == 0,
                   "the handler is called once, with its code");
        expect_for(&misuses[i], &child, child.bytes == 0, "no line");
    }
}

static void free_many_foreign(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) free_static();
}

TEST(a_flood_of_bad_frees_is_cut_by_max_errors)
{
    static struct child child;
    if (TEST_HAS_STATES) return;
    child_run(&child, free_many_foreign, NULL);
    EXPECT(child.exit_code == 0);
    EXPECT(child_line_count(&child) == 16);
}

static void free_bad_and_look_at_errno(void *arg)
{
    (void)arg;
    mi_register_error(hear, NULL);
    errno = 77;
    free_static();
    free_null_page();
    EXPECT(errno == 77);
}

TEST(a_refused_free_leaves_errno_alone)
{
    static struct child child;
    child_run(&child, free_bad_and_look_at_errno, NULL);
    EXPECT(child.exit_code == 0);
}

static void ask_about_foreign(void *arg)
{
    (void)arg;
    mi_register_error(hear, NULL);
    mi_cfree(launder(static_memory + 16)); // checks first, silently
    EXPECT(heard_count == 0);
    EXPECT(!mi_is_in_heap_region(unmapped_memory()));
    EXPECT(!mi_check_owned(unmapped_memory()));
    EXPECT(!mi_heap_contains_block(mi_heap_get_default(), launder((void *)(uintptr_t)64)));
    EXPECT(mi_usable_size(launder(static_memory + 16)) == 0);
    EXPECT(mi_expand(launder(static_memory + 16), 10) == NULL);
}

TEST(questions_about_foreign_pointers_are_answered)
{
    static struct child child;
    child_run(&child, ask_about_foreign, NULL);
    EXPECT(child_is_well(&child));
}

TEST_MAIN
