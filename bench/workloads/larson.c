/* larson.c: larson.h with malloc and free; what it models, differs in and counts is said there. */
#include "larson.h"

static inline void *larson_allocate(size_t bytes)
{
    return bench_block(malloc(bytes));
}

static inline void larson_release(void *block, size_t bytes)
{
    (void)bytes;
    free(block);
}

int main(int argc, char **argv)
{
    return larson_main(argc, argv, "larson");
}
