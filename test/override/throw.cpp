// The smallest program that catches bad_alloc: linked statically, most of the C++ library is not
// in it.
#include <cstddef>
#include <new>

static volatile std::size_t huge = ~std::size_t(0) / 2 - 1;

int main()
{
    try {
        ::operator delete(::operator new(huge));
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 1;
}
