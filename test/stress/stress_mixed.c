/* stress_mixed.c: threads allocate, resize and free blocks of all sizes and hand them to each
 * other; every block is checked before it is freed or resized. */
#include "stress.h"

enum { SHARED_COUNT = 1024, OWN_COUNT = 200 };

static struct item *shared[SHARED_COUNT];
static struct stress_options options;

static struct item *new_item(struct test_random *random)
{
    uint64_t tag = random_next(random);
    size_t bytes = stress_size(random);
    size_t kind = random_below(random, 10);
    if (kind > 2) return item_new(bytes, tag);

    struct item *item = (struct item *)mi_malloc(sizeof *item);
    if (item == NULL) return NULL;
    item->bytes = bytes;
    if (kind == 0) {
        item->block = mi_calloc(1, bytes);
        if (item->block != NULL) EXPECT(is_zero(item->block, bytes < 4096 ? bytes : 4096));
        if (item->block != NULL && bytes > 4096)
            EXPECT(is_zero((char *)item->block + bytes - 4096, 4096));
    } else {
        size_t alignment = (size_t)1 << random_below(random, kind == 1 ? 13 : 18);
        size_t offset = kind == 1 || bytes < 64 ? 0 : 24;
        item->block = mi_malloc_aligned_at(bytes, alignment, offset);
        EXPECT((((uintptr_t)item->block + offset) & (alignment - 1)) == 0);
    }
    EXPECT(item->block != NULL);
    if (item->block == NULL) item->bytes = 0;
    if (item->block != NULL) item_fill(item, tag);
    return item;
}

static void resize_item(struct item *item, struct test_random *random)
{
    size_t bytes = stress_size(random);
    size_t kept = bytes < item->bytes ? bytes : item->bytes;
    unsigned char value = pattern_byte(item->tag);
    EXPECT(item_is_kept(item));
    unsigned char *block = (unsigned char *)mi_realloc(item->block, bytes);
    EXPECT(block != NULL);
    if (block == NULL) return;
    size_t edge = kept < 512 ? kept : 512;
    for (size_t i = 0; i < edge; i++) EXPECT(block[i] == value);
    item->block = block;
    item->bytes = bytes;
    item_fill(item, random_next(random));
}

static void *work(void *arg)
{
    struct test_random random = stress_random(&options, (size_t)(uintptr_t)arg);
    struct item *own[OWN_COUNT] = {NULL};
    for (size_t op = 0; op < options.ops; op++) {
        struct item **slot = &own[random_below(&random, OWN_COUNT)];
        size_t kind = random_below(&random, 8);
        if (*slot == NULL)
            *slot = new_item(&random);
        else if (kind == 0)
            resize_item(*slot, &random);
        else if (kind <= 4)
            *slot = slot_exchange(&shared[random_below(&random, SHARED_COUNT)], *slot);
        else {
            item_free(*slot);
            *slot = NULL;
        }
        if (op % 20011 == 20010) mi_collect(op % 2 == 0);
    }
    for (size_t i = 0; i < OWN_COUNT; i++) item_free(own[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    options = stress_read_options(argc, argv, 4, 250000);
    for (int round = 0; round < 2; round++) {
        stress_run_threads(options.threads, work); // the second round meets what ended threads left
        options.seed++;
    }
    for (size_t i = 0; i < SHARED_COUNT; i++) item_free(slot_exchange(&shared[i], NULL));
    mi_collect(true);
    return stress_result(argv[0], &options);
}
