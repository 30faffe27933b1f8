/* larson_sized.cpp: larson.h with C++'s operator new and the operator delete that is told the size,
 * which an allocator may use to skip looking it up. What it models, differs in and counts is said
 * in larson.h.
 */
#include "larson.h"
#include <new>

// Declared here because clang's <new> leaves it out unless asked.
void operator delete(void *block, std::size_t bytes) noexcept;

static inline void *larson_allocate(size_t bytes)
{
    return ::operator new(bytes);
}

static inline void larson_release(void *block, size_t bytes)
{
    ::operator delete(block, bytes);
}

int main(int argc, char **argv)
{
    std::set_new_handler([] { bench_fail(1, "out of memory"); });
    return larson_main(argc, argv, "larson-sized");
}
