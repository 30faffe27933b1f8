// A plugin in C++ for a host in C: what it catches and handles when memory is exhausted. Each
// function returns 0 when all went well.
#include <cstddef>
#include <new>

static volatile std::size_t huge = ~std::size_t(0) / 2 - 1;
static int handler_calls;

static void give_up_at_third_call()
{
    if (++handler_calls == 3) std::set_new_handler(nullptr);
}

extern "C" int plugin_catches()
{
    try {
        ::operator delete(::operator new(huge));
    } catch (const std::bad_alloc &) {
        return 0;
    }
    return 1;
}

extern "C" int plugin_handles()
{
    std::set_new_handler(give_up_at_third_call);
    return plugin_catches() == 0 && handler_calls == 3 ? 0 : 1;
}

extern "C" int plugin_is_told_by_null()
{
    return ::operator new(huge, std::nothrow) == nullptr ? 0 : 1;
}
