// The smallest programs that can go on when memory is exhausted, without a word about bad_alloc:
// linked statically, it is not in them.
#include <cstddef>
#include <new>

static volatile std::size_t huge = ~std::size_t(0) / 2 - 1;

int main()
{
    if (::operator new(huge, std::nothrow) != nullptr) return 1;
    for (int i = 0; i < 1000; i++) {
        try {
            ::operator delete(::operator new(huge));
            return 1;
        } catch (...) {
        }
    }
    return 0;
}
