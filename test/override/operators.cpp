// Every form of operator new and delete leads to our blocks, and new keeps the rules of the C++
// standard. C++17.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <thread>
#include <vector>
#include "ours.h"

static volatile std::size_t huge = static_cast<std::size_t>(PTRDIFF_MAX) - 1;
static const std::align_val_t line{64};

// Calls by name: what a new-expression calls a compiler may remove.
static void test_plain_forms()
{
    void *p = ::operator new(10);
    EXPECT(is_ours(p));
    ::operator delete(p);
    p = ::operator new[](10);
    EXPECT(is_ours(p));
    ::operator delete[](p);
    p = ::operator new(10, std::nothrow);
    EXPECT(is_ours(p));
    ::operator delete(p, std::nothrow);
    p = ::operator new[](10, std::nothrow);
    EXPECT(is_ours(p));
    ::operator delete[](p, std::nothrow);
    ::operator delete(::operator new(10), std::size_t(10));
    ::operator delete[](::operator new[](10), std::size_t(10));
    ::operator delete(nullptr);
    p = ::operator new(0);
    EXPECT(p != nullptr && is_ours(p));
    ::operator delete(p, std::size_t(0));
}

static void expect_aligned(const void *p)
{
    EXPECT(is_ours(p) && (reinterpret_cast<std::uintptr_t>(p) & 63) == 0);
}

static void test_aligned_forms()
{
    void *p = ::operator new(10, line);
    expect_aligned(p);
    ::operator delete(p, line);
    p = ::operator new[](10, line);
    expect_aligned(p);
    ::operator delete[](p, line);
    p = ::operator new(10, line, std::nothrow);
    expect_aligned(p);
    ::operator delete(p, line, std::nothrow);
    p = ::operator new[](10, line, std::nothrow);
    expect_aligned(p);
    ::operator delete[](p, line, std::nothrow);
    ::operator delete(::operator new(10, line), std::size_t(10), line);
    ::operator delete[](::operator new[](10, line), std::size_t(10), line);
}

template <class Call> static bool throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void test_failures_throw()
{
    EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge)); }));
    EXPECT(throws_bad_alloc([] { ::operator delete[](::operator new[](huge)); }));
    EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge, line), line); }));
    EXPECT(::operator new(huge, std::nothrow) == nullptr);
    EXPECT(::operator new[](huge, std::nothrow) == nullptr);
    EXPECT(::operator new(huge, line, std::nothrow) == nullptr);
}

static int handler_calls;
static void handler()
{
    handler_calls++;
    if (handler_calls % 3 == 0) std::set_new_handler(nullptr);
}
static void throwing_handler() { throw std::bad_alloc(); }

static void test_the_new_handler_is_called_until_it_gives_up()
{
    handler_calls = 0;
    std::set_new_handler(handler);
    EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge)); }));
    EXPECT(handler_calls == 3);
    std::set_new_handler(handler);
    EXPECT(::operator new(huge, std::nothrow) == nullptr && handler_calls == 6);
    std::set_new_handler(handler);
    EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge, line), line); }));
    EXPECT(handler_calls == 9);
    std::set_new_handler(throwing_handler);
    EXPECT(throws_bad_alloc([] { ::operator delete(::operator new(huge)); }));
    std::set_new_handler(nullptr);
}

static void test_nothrow_forms_catch_what_the_new_handler_throws()
{
    std::set_new_handler(throwing_handler);
    EXPECT(::operator new(huge, std::nothrow) == nullptr);
    EXPECT(::operator new[](huge, std::nothrow) == nullptr);
    EXPECT(::operator new(huge, line, std::nothrow) == nullptr);
    EXPECT(::operator new[](huge, line, std::nothrow) == nullptr);
    std::set_new_handler(nullptr);
}

struct alignas(64) aligned_type { char bytes[64]; };

static void test_the_library_of_cxx()
{
    std::string text(1000, 'x');
    EXPECT(is_ours(text.data()));
    std::vector<aligned_type> aligned(3);
    expect_aligned(aligned.data());
    std::map<int, std::string> map;
    for (int i = 0; i < 1000; i++) map[i] = std::string(static_cast<std::size_t>(i), 'y');
    auto shared = std::make_shared<std::string>("text");
    EXPECT(is_ours(shared.get()));
    std::thread([&] { map.clear(); text = std::string(5000, 'z'); }).join();
    EXPECT(is_ours(text.data()) && text.size() == 5000);
    std::ostringstream stream;
    stream << text << 1.5;
    EXPECT(stream.str().size() == 5003);
}

int main()
{
    test_plain_forms();
    test_aligned_forms();
    test_failures_throw();
    test_the_new_handler_is_called_until_it_gives_up();
    test_nothrow_forms_catch_what_the_new_handler_throws();
    test_the_library_of_cxx();
    std::cout << failed_count << " failed" << std::endl;
    return failed_count == 0 ? 0 : 1;
}
