/* probe.c: says whose malloc a process has.
 *
 *   probe             prints the file that each allocation function belongs to, as a line of JSON;
 *                     null where nobody defines it (operator new, in a program that is no C++)
 *   probe LIBRARY     also refuses, with one line and exit status 1, when malloc, free, calloc or
 *                     realloc is not LIBRARY's: start it with LIBRARY preloaded
 *
 * Then it allocates a little, so that a library that cannot serve a program fails here, not in the
 * middle of a measurement.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    const char *name; // in the output
    const char *symbol;
    bool required; // of an allocator that is preloaded
};

static const struct call calls[] = {
    {"malloc", "malloc", true},
    {"free", "free", true},
    {"calloc", "calloc", true},
    {"realloc", "realloc", true},
    {"aligned_alloc", "aligned_alloc", false},
    {"operator_new", "_Znwm", false},
    {"operator_delete", "_ZdlPv", false},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

// The file of a function, as calls of a program reach it; NULL when nobody defines it.
static const char *file_of(const char *symbol)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (address == NULL || dladdr(address, &info) == 0) return NULL;
    return info.dli_fname;
}

static bool is_same_file(const char *one, const char *other)
{
    static char one_path[4096], other_path[4096];
    if (realpath(one, one_path) == NULL || realpath(other, other_path) == NULL) return false;
    return strcmp(one_path, other_path) == 0;
}

static void require_library(const char *library)
{
    for (int i = 0; i < CALLS; i++) {
        const char *file = file_of(calls[i].symbol);
        if (!calls[i].required || (file != NULL && is_same_file(file, library))) continue;
        fprintf(stderr, "no allocator that can be preloaded: with it, %s still belongs to %s\n",
                calls[i].name, file == NULL ? "nobody" : file);
        exit(1);
    }
}

static void expect(bool is_right, const char *what)
{
    if (is_right) return;
    fprintf(stderr, "not a working allocator: %s\n", what);
    exit(1);
}

static void allocate_a_little(void)
{
    static const unsigned char zeros[4096];
    for (size_t bytes = 1; bytes <= 4u << 20; bytes = bytes * 2 + 1) {
        unsigned char *volatile block = malloc(bytes);
        expect(block != NULL, "malloc returns no block");
        memset(block, 0xa5, bytes);
        unsigned char *volatile cleared = calloc(1, bytes);
        expect(cleared != NULL && cleared != block, "calloc returns no block of its own");
        size_t seen = bytes < sizeof zeros ? bytes : sizeof zeros;
        expect(memcmp(cleared, zeros, seen) == 0, "a block of calloc is not zero");
        block = realloc(block, bytes * 3);
        expect(block != NULL && block[bytes - 1] == 0xa5, "realloc loses what a block held");
        void *volatile aligned = aligned_alloc(64, (bytes + 63) / 64 * 64);
        expect(aligned != NULL && (size_t)aligned % 64 == 0, "aligned_alloc does not align");
        free(aligned);
        free(cleared);
        free(block);
    }
}

static void print_files(void)
{
    for (int i = 0; i < CALLS; i++) {
        const char *file = file_of(calls[i].symbol);
        printf("%s\"%s\": ", i == 0 ? "{" : ", ", calls[i].name);
        printf(file == NULL ? "null" : "\"%s\"", file);
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        fputs("usage: probe [LIBRARY]\n", stderr);
        return 2;
    }
    if (argc == 2) require_library(argv[1]);
    allocate_a_little();
    print_files();
    return fflush(stdout) == 0 ? 0 : 1;
}
