// Every standard name leads to our blocks, also where the C library calls it; and each keeps its
// standard's rules.
#define _GNU_SOURCE 1
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ours.h"

static volatile size_t huge = (size_t)PTRDIFF_MAX + 1; // volatile: compilers warn of such constants
static volatile size_t odd = 24;
static volatile size_t zero = 0;

#define EXPECT_OURS(call) \
    do { \
        void *block = (call); \
        EXPECT(block != NULL && is_ours(block)); \
        free(block); \
    } while (0)
#define EXPECT_ERROR(call, code) \
    do { \
        errno = 0; \
        EXPECT((call) == NULL && errno == (code)); \
    } while (0)

// glibc has no reallocf and malloc_size, and no header of it names cfree any more.
extern void *reallocf(void *p, size_t size) __attribute__((weak));
extern size_t malloc_size(const void *p) __attribute__((weak));
extern void cfree(void *p) __attribute__((weak));

static void test_names(void)
{
    void *block = NULL;
    EXPECT_OURS(malloc(10));
    EXPECT_OURS(malloc(zero));
    EXPECT_OURS(calloc(10, 10));
    EXPECT_OURS(realloc(NULL, 10));
    EXPECT_OURS(realloc(malloc(10), 100000));
    EXPECT_OURS(reallocarray(NULL, 10, 10));
    EXPECT_OURS(memalign(4096, 10));
    EXPECT_OURS(aligned_alloc(64, 10));
    EXPECT_OURS(valloc(10));
    EXPECT_OURS(pvalloc(zero));
    EXPECT_OURS(strdup("text"));
    EXPECT_OURS(strndup("text", 2));
    EXPECT(posix_memalign(&block, 64, 0) == 0 && is_ours(block) && ((uintptr_t)block & 63) == 0);
    EXPECT(malloc_usable_size(block) < 4096);
    free(block);
    EXPECT_OURS(reallocf(malloc(10), 100000));
    cfree(malloc(10));
    block = malloc(10);
    EXPECT(malloc_size(block) == malloc_usable_size(block));
    free(block);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    int gave_back = malloc_trim(0);
    EXPECT(gave_back == 0 || gave_back == 1);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *p);
extern int __posix_memalign(void **block, size_t alignment, size_t size) __attribute__((weak));

static void test_names_of_glibc(void)
{
    EXPECT_OURS(__libc_malloc(10));
    EXPECT_OURS(__libc_calloc(1, 10));
    EXPECT_OURS(__libc_realloc(NULL, 10));
    EXPECT_OURS(__libc_memalign(64, 10));
    EXPECT_OURS(__libc_valloc(10));
    EXPECT_OURS(__libc_pvalloc(10));
    __libc_free(malloc(10));
    void *block = NULL;
    EXPECT(__posix_memalign(&block, 64, 10) == 0 && is_ours(block));
    free(block);
}

static void test_blocks_of_the_c_library(void)
{
    char *line = NULL, *text = NULL, *memory = NULL;
    size_t bytes = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    EXPECT(file != NULL && is_ours(file));
    EXPECT(getline(&line, &bytes, file) > 0 && is_ours(line));
    fclose(file);
    free(line);
    EXPECT(asprintf(&text, "%s %d", "text", 1) == 6 && is_ours(text));
    free(text);
    file = open_memstream(&memory, &bytes);
    fputs("text", file);
    fclose(file);
    EXPECT(is_ours(memory) && strcmp(memory, "text") == 0);
    free(memory);
    EXPECT_OURS(realpath("/proc/self/..", NULL));
    EXPECT_OURS(getcwd(NULL, 0));
    DIR *folder = opendir("/");
    EXPECT(is_ours(folder));
    closedir(folder);
    setenv("A_NAME_OF_OUR_OWN", "1", 1);
}

static void test_rules_of_the_standards(void)
{
    char target;
    void *block = &target;
    EXPECT(posix_memalign(&block, odd, 8) == EINVAL && block == &target);
    EXPECT(posix_memalign(&block, sizeof(void *) / 2, 8) == EINVAL && block == &target);
    EXPECT(posix_memalign(&block, 64, huge) == ENOMEM && block == &target);

    EXPECT_ERROR(malloc(huge), ENOMEM);
    EXPECT_ERROR(calloc(huge, 3), ENOMEM);
    EXPECT_ERROR(memalign(64, huge), ENOMEM);
    EXPECT_ERROR(valloc(huge * 2 - 1), ENOMEM);
    EXPECT_ERROR(pvalloc(huge * 2 - 1), ENOMEM);
    EXPECT_ERROR(aligned_alloc(odd, 8), EINVAL);
    EXPECT_ERROR(memalign(huge + 1, 8), EINVAL);
    void *rounded = memalign(odd, 8);
    EXPECT(rounded != NULL && ((uintptr_t)rounded & 31) == 0);
    free(rounded);

    char *kept = malloc(100);
    kept[99] = 'x';
    EXPECT_ERROR(realloc(kept, huge), ENOMEM);
    EXPECT_ERROR(reallocarray(kept, huge, 2), ENOMEM);
    EXPECT(kept[99] == 'x');
    errno = 7;
    EXPECT(realloc(kept, zero) == NULL && errno == 7);
    EXPECT(reallocarray(malloc(10), zero, 10) == NULL);
    free(malloc(10));
    free(NULL);
    EXPECT(errno == 7);
}

#if !defined(LINKED)
static void test_names_of_c23(void)
{
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    *(void **)&free_sized = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    EXPECT(free_sized != NULL && free_aligned_sized != NULL);
    if (failed_count != 0) return;
    free_sized(malloc(100), 100);
    free_aligned_sized(aligned_alloc(64, 128), 64, 128);
    free_aligned_sized(NULL, 0, 0);
}
#endif

static void *thread_main(void *passed)
{
    free(passed);
    for (size_t i = 0; i < 1000; i++) free(malloc(i));
    return strdup("from a thread");
}

static void test_threads_and_fork(void)
{
    pthread_t thread;
    void *result = NULL;
    EXPECT(pthread_create(&thread, NULL, thread_main, malloc(10)) == 0);
    pthread_join(thread, &result);
    EXPECT(is_ours(result));
    free(result);

    pid_t child = fork();
    if (child == 0) {
        free(malloc(1000));
        _exit(is_ours(malloc(10)) ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT(status == 0);
}

int main(void)
{
    test_names();
    test_names_of_glibc();
    test_blocks_of_the_c_library();
    test_rules_of_the_standards();
#if !defined(LINKED)
    test_names_of_c23();
#endif
    test_threads_and_fork();
    printf("%d failed\n", failed_count);
    return failed_count == 0 ? 0 : 1;
}
