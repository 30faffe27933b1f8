// test_new.cpp: C++: operators new and delete through mimalloc-new-delete.h, new-handlers, standard
// containers.
#include "../support/api_test.h"
#if TEST_ASAN || TEST_TSAN
// A sanitizer brings operators of its own, and marks array cookies as not to be read.
int main() { return 77; }
#else
#include "mimalloc-new-delete.h"
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

bool is_ours(const void *block) { return mi_is_in_heap_region(block); }

struct alignas(256) wide {
    char bytes[512];
};

template <typename T> void check_one()
{
    T *object = new T;
    T *array = new T[7];
    T *quiet = new (std::nothrow) T;
    T *quiet_array = new (std::nothrow) T[7];
    EXPECT(is_ours(object) && is_ours(array) && is_ours(quiet) && is_ours(quiet_array));
    EXPECT(is_aligned(object, alignof(T)) && is_aligned(array, alignof(T)));
    EXPECT(is_aligned(quiet, alignof(T)) && is_aligned(quiet_array, alignof(T)));
    delete object;
    delete[] array;
    delete quiet;
    delete[] quiet_array;
}

} // namespace

TEST(every_form_of_new_allocates_from_us_and_is_aligned)
{
    check_one<char>();
    check_one<double>();
    check_one<wide>();
    check_one<std::string>();
}

TEST(every_form_of_delete_takes_its_block)
{
    const std::align_val_t alignment{64};
    operator delete(operator new(100));
    operator delete[](operator new[](100));
    operator delete(operator new(100), std::nothrow);
    operator delete[](operator new[](100), std::nothrow);
    operator delete (operator new(100), std::size_t{100});
    operator delete[](operator new[](100), std::size_t{100});
    operator delete(operator new(100, alignment), alignment);
    operator delete[](operator new[](100, alignment), alignment);
    operator delete (operator new(100, alignment), std::size_t{100}, alignment);
    operator delete[](operator new[](100, alignment), std::size_t{100}, alignment);
    operator delete(operator new(100, alignment, std::nothrow), alignment, std::nothrow);
    operator delete[](operator new[](100, alignment, std::nothrow), alignment, std::nothrow);
    operator delete(nullptr);
    operator delete[](nullptr);
}

TEST(new_of_0_bytes_gives_unique_blocks)
{
    void *first = operator new(0);
    void *second = operator new(0);
    EXPECT(first != nullptr && second != nullptr && first != second);
    operator delete(first);
    operator delete(second);
}

TEST(new_throws_bad_alloc_and_nothrow_gives_null)
{
    bool has_thrown = false;
    try {
        (void)launder(operator new(launder_size(PTRDIFF_MAX)));
    } catch (const std::bad_alloc &) {
        has_thrown = true;
    }
    EXPECT(has_thrown);
    has_thrown = false;
    try {
        (void)launder(operator new (launder_size(SIZE_MAX - 100), std::align_val_t{128}));
    } catch (const std::bad_alloc &) {
        has_thrown = true;
    }
    EXPECT(has_thrown);
    EXPECT(launder(operator new(launder_size(PTRDIFF_MAX), std::nothrow)) == nullptr);
    EXPECT(launder(operator new (launder_size(PTRDIFF_MAX), std::align_val_t{64}, std::nothrow)) ==
           nullptr);
}

namespace {

int handler_calls;

void give_up_at_third_call()
{
    if (++handler_calls == 3) std::set_new_handler(nullptr);
}

} // namespace

TEST(the_new_handler_is_called_until_there_is_none)
{
    bool has_thrown = false;
    std::set_new_handler(give_up_at_third_call);
    try {
        (void)launder(mi_new(launder_size(PTRDIFF_MAX)));
    } catch (const std::bad_alloc &) {
        has_thrown = true;
    }
    EXPECT(has_thrown && handler_calls == 3);
    handler_calls = 0;
    std::set_new_handler(give_up_at_third_call);
    EXPECT(launder(mi_new_nothrow(launder_size(PTRDIFF_MAX))) == nullptr);
    EXPECT(handler_calls == 3);
    std::set_new_handler(nullptr);
}

TEST(the_mi_new_family_allocates_counts_and_resizes)
{
    int *numbers = static_cast<int *>(mi_new_n(100, sizeof(int)));
    for (int i = 0; i < 100; i++) numbers[i] = i;
    numbers = static_cast<int *>(mi_new_reallocn(numbers, 5000, sizeof(int)));
    EXPECT(numbers[99] == 99);
    numbers = static_cast<int *>(mi_new_realloc(numbers, 40));
    EXPECT(numbers[9] == 9);
    mi_free(numbers);
    void *aligned = mi_new_aligned(100, 4096);
    EXPECT(is_aligned(aligned, 4096));
    mi_free(aligned);
    mi_free(mi_new(10));
    mi_free(mi_new_nothrow(10));
    mi_free(mi_new_aligned_nothrow(10, 64));
}

TEST(standard_containers_work)
{
    std::vector<std::string> words;
    std::map<int, std::string> sorted;
    std::unordered_map<std::string, std::unique_ptr<int>> hashed;
    for (int i = 0; i < 20000; i++) {
        words.push_back("a word of some length, number " + std::to_string(i));
        sorted[(i * 7919) % 20000] = words.back();
        hashed[words.back()] = std::make_unique<int>(i);
        if (i % 3 == 0) sorted.erase(i / 2);
    }
    EXPECT(is_ours(words.data()) && is_ours(words[0].data()));
    EXPECT(words[12345] == "a word of some length, number 12345");
    EXPECT(*hashed.at(words[777]) == 777);
    for (std::size_t i = 0; i < words.size(); i += 2) hashed.erase(words[i]);
    EXPECT(hashed.size() == 10000);
    words.clear();
    words.shrink_to_fit();
    std::vector<wide> aligned(100);
    for (const wide &one : aligned) EXPECT(is_aligned(&one, 256));
}

TEST(objects_are_handed_between_threads)
{
    std::vector<std::unique_ptr<std::string>> made(4000);
    std::thread maker([&made] {
        for (auto &one : made) one = std::make_unique<std::string>(100, 'x');
    });
    maker.join();
    std::thread breaker([&made] {
        for (std::size_t i = 0; i < made.size(); i += 2) made[i].reset();
    });
    breaker.join();
    for (std::size_t i = 1; i < made.size(); i += 2) EXPECT(*made[i] == std::string(100, 'x'));
}

TEST_MAIN
#endif
