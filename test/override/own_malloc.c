// A program with a malloc of its own that takes all other names from the library.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_BYTES = 1 << 20, UNIT = 16 };
static char room[ROOM_BYTES] __attribute__((aligned(UNIT)));
static size_t used;
static int freed; // since `room` was looked at

static int is_own(const void *p)
{
    return (const char *)p >= room && (const char *)p < room + used;
}

void *malloc(size_t bytes)
{
    char *block = room + used;
    size_t units = bytes / UNIT + 1;
    if (units > (ROOM_BYTES - used) / UNIT) return NULL;
    used += units * UNIT;
    return block;
}

void *calloc(size_t count, size_t bytes) { return malloc(count * bytes); } // never used before

void *realloc(void *p, size_t bytes)
{
    char *block = malloc(bytes);
    if (block != NULL && p != NULL) memcpy(block, p, bytes); // what lies behind p is there, too
    return block;
}

void free(void *p) { freed += is_own(p); }

static void *find(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found == NULL) exit(2);
    return found;
}

int main(void)
{
    void (*free_sized)(void *, size_t), (*free_aligned_sized)(void *, size_t, size_t);
    void (*cfree)(void *);
    void *(*reallocf)(void *, size_t);
    *(void **)&free_sized = find("free_sized");
    *(void **)&free_aligned_sized = find("free_aligned_sized");
    *(void **)&cfree = find("cfree");
    *(void **)&reallocf = find("reallocf");
    char *copies[] = {strdup("text"), strndup("text", 2)};
    if (!is_own(reallocarray(malloc(10), 3, 10)) || !is_own(reallocf(malloc(10), 20))) return 1;
    void *blocks[] = {malloc(100), malloc(128), malloc(10)};
    if (!is_own(copies[0]) || !is_own(copies[1])) return 1;
    freed = 0;
    for (int i = 0; i < 2; i++) free(copies[i]);
    free_sized(blocks[0], 100);
    free_aligned_sized(blocks[1], 16, 128);
    cfree(blocks[2]);
    int count = freed;
    printf("%d freed\n", count);
    return 0;
}
