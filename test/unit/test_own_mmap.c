/* test_own_mmap.c: a program whose own mmap, which the system's calls pass through, allocates, and
 * that in the class, and the heap, for which memory is being mapped.
 */
#include "heap/walk.h"
#include "mimalloc.h"
#include "parts_test.h"

enum { CALLS = 3, KEPT = 64 };

static struct {
    mi_heap_t *heap;
    size_t bytes;
    bool is_inside, keeps;
    void *kept[KEPT];
    unsigned calls, count;
} own;

static void *allocate(void) { return mi_heap_malloc(own.heap, own.bytes); }

static void allocate_inside(void)
{
    if (own.is_inside || own.bytes == 0 || own.calls == CALLS) return;
    own.is_inside = true;
    own.calls++;
    for (int i = 0; i < 3; i++) {
        void *block = allocate();
        EXPECT(block != NULL);
        memset(block, 1, own.bytes);
        if (own.keeps && i % 2 == 0) own.kept[own.count++] = block;
        else mi_free(block);
    }
    own.is_inside = false;
}

struct link { struct link *next; };

static void map_and_allocate(size_t bytes, bool is_made, bool keeps)
{
    struct link *blocks = NULL;
    start_quietly();
    mi_free(mi_malloc(bytes));
    own.heap = is_made ? mi_heap_new() : mi_heap_get_backing();
    own.bytes = bytes;
    own.keeps = keeps;
    fake_prim_on(FAKE_PRIM_map, allocate_inside);
    while (own.calls < CALLS) {
        struct link *block = (struct link *)allocate();
        EXPECT(block != NULL);
        memset((void *)block, 2, own.bytes);
        block->next = blocks;
        blocks = block;
    }
    fake_prim_on(FAKE_PRIM_map, NULL);
    EXPECT(walk_broken_rule(main_heap()) == NULL);
    for (struct link *next; blocks != NULL; blocks = next) {
        next = blocks->next;
        mi_free(blocks);
    }
    for (unsigned i = 0; i < own.count; i++) mi_free(own.kept[i]);
    if (is_made) mi_heap_delete(own.heap);
    expect_nothing_left();
}

TEST(mmap_that_allocates_where_memory_is_mapped_for_loses_nothing)
{
    static const size_t sizes[] = {16, 100, 250, 300, 1000, 3000, 20000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int way = 0; way < 4; way++)
            IN_CHILD(map_and_allocate(sizes[i], way % 2 != 0, way / 2 != 0));
    }
}
