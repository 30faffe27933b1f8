/* mimalloc.h: the public interface. C99 and later, C++98 and later.
 *
 * What holds for every function unless its comment says otherwise:
 *   - Sizes, alignments and offsets are in bytes. An alignment is a power of two.
 *   - A block is aligned to 16 bytes at least, also when it is smaller than that.
 *   - Size 0 gives a block of its own, to be freed like any other.
 *   - Failure gives NULL and sets errno: ENOMEM when memory is exhausted, a request is larger than
 *     PTRDIFF_MAX or count * size overflows; EINVAL for an alignment that is no power of two.
 *   - Any thread may call any function at any time, and free or resize any block.
 *   - Freeing leaves errno alone, and freeing NULL does nothing.
 *   - Zeroed blocks (zalloc, calloc, rezalloc, recalloc) read as zeroes to their end, also behind
 *     the size asked for.
 */
#ifndef MIMALLOC_H
#define MIMALLOC_H

#define MI_MALLOC_VERSION 120 // major * 100 + minor * 10 + patch

#include <stddef.h>
#if !defined(__cplusplus)
#include <stdbool.h>
#endif

// --- how things are declared --------------------------------------------------------------------

// While the library itself is compiled (MI_ONE_OBJECT) nothing is marked noexcept, so that its
// sources are C and C++.
#if defined(__cplusplus) && !defined(MI_ONE_OBJECT)
#if (__cplusplus >= 201103L) || (defined(_MSC_VER) && _MSC_VER >= 1900)
#define mi_attr_noexcept noexcept
#else
#define mi_attr_noexcept throw()
#endif
#else
#define mi_attr_noexcept
#endif

#if defined(_MSC_VER) || defined(__MINGW32__)
#if !defined(MI_SHARED_LIB)
#define mi_decl_export
#elif defined(MI_SHARED_LIB_EXPORT)
#define mi_decl_export __declspec(dllexport)
#else
#define mi_decl_export __declspec(dllimport)
#endif
#define mi_cdecl __cdecl
#elif defined(__GNUC__)
#define mi_decl_export __attribute__((visibility("default")))
#define mi_cdecl
#else
#define mi_decl_export
#define mi_cdecl
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define mi_decl_allocator __declspec(allocator) __declspec(restrict)
#else
#define mi_decl_allocator
#endif

#if defined(__GNUC__)
#define mi_attr_malloc            __attribute__((malloc))
#define mi_attr_alloc_size(s)     __attribute__((alloc_size(s)))
#define mi_attr_alloc_size2(c, s) __attribute__((alloc_size(c, s)))
#define mi_attr_alloc_align(a)    __attribute__((alloc_align(a)))
#else
#define mi_attr_malloc
#define mi_attr_alloc_size(s)
#define mi_attr_alloc_size2(c, s)
#define mi_attr_alloc_align(a)
#endif

#if defined(__cplusplus)
extern "C" {
#endif

// --- standard C ---------------------------------------------------------------------------------

// C11 7.22.3, POSIX. The block's contents are undefined.
mi_decl_export mi_decl_allocator void *mi_malloc(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

// C11 7.22.3.2: count * size bytes, all zero.
mi_decl_export mi_decl_allocator void *mi_calloc(size_t count, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(1, 2);

// C11 7.22.3.5. NULL as `p` allocates. A new size of 0 gives a minimal block, never NULL for that
// reason alone. On failure `p` stays valid. A block is kept in place while it is at most half
// empty afterwards, and when there is no memory for a smaller one: then it does not fail, though
// the error function has been called. A block of 4 KiB to 32 MiB that grows by less than a quarter
// and cannot stay has a quarter more than before, if there is memory: see mi_usable_size. (Not in
// debug builds.)
mi_decl_export mi_decl_allocator void *mi_realloc(void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(2);

// Makes the block at `p` hold `newsize` bytes where it is, and returns `p`; NULL, with the block
// unchanged, when that cannot be. Never moves, and leaves errno alone.
mi_decl_export void *mi_expand(void *p, size_t newsize) mi_attr_noexcept;

// C11 7.22.3.3. A pointer that is not the start of a live block is refused or undefined: see the
// documentation.
mi_decl_export void mi_free(void *p) mi_attr_noexcept;

// POSIX strdup and strndup: a copy of a string, or of its first n characters, NUL-terminated. NULL
// copies to NULL.
mi_decl_export mi_decl_allocator char *mi_strdup(const char *s) mi_attr_noexcept mi_attr_malloc;
mi_decl_export mi_decl_allocator char *mi_strndup(const char *s, size_t n)
    mi_attr_noexcept mi_attr_malloc;

// POSIX realpath: the absolute path without links. `resolved_name` is NULL (then the result is a
// block to be freed) or has room for PATH_MAX characters. On failure NULL, with errno as realpath
// sets it.
mi_decl_export char *mi_realpath(const char *fname, char *resolved_name) mi_attr_noexcept;

// --- beyond standard C --------------------------------------------------------------------------

#define MI_SMALL_WSIZE_MAX 128                                   // in words
#define MI_SMALL_SIZE_MAX  (MI_SMALL_WSIZE_MAX * sizeof(void *)) // in bytes

// For size <= MI_SMALL_SIZE_MAX; mi_malloc and mi_zalloc are as fast here.
mi_decl_export mi_decl_allocator void *mi_malloc_small(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_zalloc_small(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

// `size` bytes, all zero.
mi_decl_export mi_decl_allocator void *mi_zalloc(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);

// As mi_malloc and mi_realloc, for count * size bytes with a check for overflow.
mi_decl_export mi_decl_allocator void *mi_mallocn(size_t count, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(1, 2);
mi_decl_export mi_decl_allocator void *mi_reallocn(void *p, size_t count, size_t size)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3);

// BSD: as mi_realloc, but frees `p` when it fails.
mi_decl_export mi_decl_allocator void *mi_reallocf(void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(2);

// Bytes that may be used in the block at `p`: at least the size asked for (in a debug build just
// that). 0 for NULL, and for a pointer that is refused.
mi_decl_export size_t mi_usable_size(const void *p) mi_attr_noexcept;
// Bytes that may be used in a block asked for with `size`: asking for them at once wastes nothing.
mi_decl_export size_t mi_good_size(size_t size) mi_attr_noexcept;

// --- aligned ------------------------------------------------------------------------------------
// The block (or block + offset, in the `_at` forms) is a multiple of `alignment`. Any power of two
// will do (with an offset up to 4 GiB), also one larger than the size, and any size. Such blocks
// are freed with mi_free as well. `realloc` forms give the result the alignment asked for in this
// call; mi_realloc does not keep one.

mi_decl_export mi_decl_allocator void *mi_malloc_aligned(size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_export mi_decl_allocator void *mi_malloc_aligned_at(
    size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_zalloc_aligned(size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_export mi_decl_allocator void *mi_zalloc_aligned_at(
    size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_calloc_aligned(
    size_t count, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(1, 2) mi_attr_alloc_align(3);
mi_decl_export mi_decl_allocator void *mi_calloc_aligned_at(
    size_t count, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(1, 2);
mi_decl_export mi_decl_allocator void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size(2) mi_attr_alloc_align(3);
mi_decl_export mi_decl_allocator void *mi_realloc_aligned_at(
    void *p, size_t newsize, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size(2);

// --- resizing zeroed blocks ---------------------------------------------------------------------
// As the realloc forms; what is added reads as zeroes. Only for blocks that were zero-allocated
// and have been resized with these functions ever since: nobody else knows where the zeroes began.

mi_decl_export mi_decl_allocator void *mi_rezalloc(void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_recalloc(void *p, size_t newcount, size_t size)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3);
mi_decl_export mi_decl_allocator void *mi_rezalloc_aligned(
    void *p, size_t newsize, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size(2) mi_attr_alloc_align(3);
mi_decl_export mi_decl_allocator void *mi_rezalloc_aligned_at(
    void *p, size_t newsize, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_recalloc_aligned(
    void *p, size_t newcount, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3) mi_attr_alloc_align(4);
mi_decl_export mi_decl_allocator void *mi_recalloc_aligned_at(
    void *p, size_t newcount, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3);

// --- heaps --------------------------------------------------------------------------------------
// A heap is a set of blocks that can be given up together. Every thread has a backing heap; its
// default heap, the one that mi_malloc and its kin allocate from, is the backing heap until
// mi_heap_set_default chooses another, and again when that one has ended. Any thread may allocate
// from a heap that was made with mi_heap_new, and free its blocks; a backing heap is its own
// thread's only. When a heap ends no other thread may be allocating from it, collecting it or
// looking into it, and one that allocated from it before may not be freeing its blocks. The end of
// the thread that made a heap deletes it, unless other threads have allocated from it.

typedef struct mi_heap_s mi_heap_t;

// A new heap, or NULL.
mi_decl_export mi_heap_t *mi_heap_new(void);
// Ends a heap. Its live blocks stay valid: they move to the thread's backing heap. A default heap
// is replaced by the backing heap. The backing heap itself cannot be deleted: the call does
// nothing.
mi_decl_export void mi_heap_delete(mi_heap_t *heap);
// Ends a heap and frees all its blocks at once; their addresses must not be used again, not even by
// mi_free. The backing heap cannot be destroyed: the call does nothing.
mi_decl_export void mi_heap_destroy(mi_heap_t *heap);
// Sets the default heap of this thread and returns the one before. mi_heap_get_default and
// mi_heap_get_backing return NULL only when memory is exhausted at a thread's first call, and late
// in a thread's end, when it has no heaps any more.
mi_decl_export mi_heap_t *mi_heap_set_default(mi_heap_t *heap);
mi_decl_export mi_heap_t *mi_heap_get_default(void);
mi_decl_export mi_heap_t *mi_heap_get_backing(void);
// Gives free memory of the heap back; `force` also what would be reused soon.
mi_decl_export void mi_heap_collect(mi_heap_t *heap, bool force) mi_attr_noexcept;

// Each is the function without `heap_` in its name, allocating from `heap`.
mi_decl_export mi_decl_allocator void *mi_heap_malloc(mi_heap_t *heap, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_zalloc(mi_heap_t *heap, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_calloc(mi_heap_t *heap, size_t count, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(2, 3);
mi_decl_export mi_decl_allocator void *mi_heap_mallocn(mi_heap_t *heap, size_t count, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(2, 3);
mi_decl_export mi_decl_allocator void *mi_heap_malloc_small(mi_heap_t *heap, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_zalloc_small(mi_heap_t *heap, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_realloc(mi_heap_t *heap, void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(3);
mi_decl_export mi_decl_allocator void *mi_heap_reallocn(
    mi_heap_t *heap, void *p, size_t count, size_t size) mi_attr_noexcept mi_attr_alloc_size2(3, 4);
mi_decl_export mi_decl_allocator void *mi_heap_reallocf(mi_heap_t *heap, void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(3);
mi_decl_export mi_decl_allocator char *mi_heap_strdup(mi_heap_t *heap, const char *s)
    mi_attr_noexcept mi_attr_malloc;
mi_decl_export mi_decl_allocator char *mi_heap_strndup(mi_heap_t *heap, const char *s, size_t n)
    mi_attr_noexcept mi_attr_malloc;
mi_decl_export char *mi_heap_realpath(mi_heap_t *heap, const char *fname, char *resolved_name)
    mi_attr_noexcept;

mi_decl_export mi_decl_allocator void *mi_heap_malloc_aligned(
    mi_heap_t *heap, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2) mi_attr_alloc_align(3);
mi_decl_export mi_decl_allocator void *mi_heap_malloc_aligned_at(
    mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_zalloc_aligned(
    mi_heap_t *heap, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2) mi_attr_alloc_align(3);
mi_decl_export mi_decl_allocator void *mi_heap_zalloc_aligned_at(
    mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_heap_calloc_aligned(
    mi_heap_t *heap, size_t count, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(2, 3) mi_attr_alloc_align(4);
mi_decl_export mi_decl_allocator void *mi_heap_calloc_aligned_at(
    mi_heap_t *heap, size_t count, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(2, 3);
mi_decl_export mi_decl_allocator void *mi_heap_realloc_aligned(
    mi_heap_t *heap, void *p, size_t newsize, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size(3) mi_attr_alloc_align(4);
mi_decl_export mi_decl_allocator void *mi_heap_realloc_aligned_at(
    mi_heap_t *heap, void *p, size_t newsize, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size(3);

mi_decl_export mi_decl_allocator void *mi_heap_rezalloc(mi_heap_t *heap, void *p, size_t newsize)
    mi_attr_noexcept mi_attr_alloc_size(3);
mi_decl_export mi_decl_allocator void *mi_heap_recalloc(
    mi_heap_t *heap, void *p, size_t newcount, size_t size)
    mi_attr_noexcept mi_attr_alloc_size2(3, 4);
mi_decl_export mi_decl_allocator void *mi_heap_rezalloc_aligned(
    mi_heap_t *heap, void *p, size_t newsize, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size(3) mi_attr_alloc_align(4);
mi_decl_export mi_decl_allocator void *mi_heap_rezalloc_aligned_at(
    mi_heap_t *heap, void *p, size_t newsize, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size(3);
mi_decl_export mi_decl_allocator void *mi_heap_recalloc_aligned(
    mi_heap_t *heap, void *p, size_t newcount, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size2(3, 4) mi_attr_alloc_align(5);
mi_decl_export mi_decl_allocator void *mi_heap_recalloc_aligned_at(
    mi_heap_t *heap, void *p, size_t newcount, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size2(3, 4);

// --- looking into heaps -------------------------------------------------------------------------

// true when `p` is the start of a live block of the heap; of a page that is another thread's,
// whether a block begins there. Blocks above 256 bytes (debug and secure builds: 1 KiB)
// and up to 512 KiB of any thread's backing heap count as those of the caller's; freed ones among
// them that wait in the cache of another running thread count as live. Slow; `p` may be any value.
mi_decl_export bool mi_heap_contains_block(mi_heap_t *heap, const void *p);
// true when `p` points into memory of the heap: at any place in blocks of up to 512 KiB, at the
// first 64 KiB of larger ones. Fast enough for assertions; `p` may be any value.
mi_decl_export bool mi_heap_check_owned(mi_heap_t *heap, const void *p);
// mi_heap_check_owned for the default heap.
mi_decl_export bool mi_check_owned(const void *p);

// Blocks of one size that lie together.
typedef struct mi_heap_area_s {
    void  *blocks;     // where the blocks begin
    size_t reserved;   // bytes set aside for them
    size_t committed;  // bytes that are in use or were
    size_t used;       // blocks that are live
    size_t block_size; // bytes of each that may be used; a debug build has 16 more between them
} mi_heap_area_t;

// Called with block == NULL once for each area in use, then for each live block in it if that was
// asked for. Return false to stop the walk. Must neither allocate from the heap nor free its
// blocks, nor collect it, look into it or walk it.
typedef bool(mi_cdecl mi_block_visit_fun)(const mi_heap_t *heap, const mi_heap_area_t *area,
                                          void *block, size_t block_size, void *arg);
// Walks the areas of a heap but for those that other running threads allocated in it; of a
// backing heap also those of blocks above 256 bytes (debug and secure builds: 1 KiB) and up to 512
// KiB, which all threads share: there freed blocks that wait in the cache of another running thread
// are visited as if live. false when the visitor stopped the walk, or an argument was wrong. The
// visitor must return.
mi_decl_export bool mi_heap_visit_blocks(
    const mi_heap_t *heap, bool visit_all_blocks, mi_block_visit_fun *visitor, void *arg);

// true when `p` lies in memory of this allocator that is in use: at any place in blocks of up to
// 512 KiB, at the first 64 KiB of larger ones. Never reads what `p` points to.
mi_decl_export bool mi_is_in_heap_region(const void *p) mi_attr_noexcept;

// --- hooks --------------------------------------------------------------------------------------

// Called now and then from inside allocations, so that a program with reference counts can free
// what it deferred, in small steps. `force`: free everything now (mi_collect(true)). `heartbeat`
// counts the thread's visits to the slow path, each of which calls. The function may allocate and
// free, runs on the thread that allocates, and is not called from within itself, nor in a thread
// that has ended (by what its last destructors allocate). NULL: no function.
#if defined(__GNUC__) && defined(__cplusplus) && __cplusplus < 201103L
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wlong-long" // C++98 has none of its own
#endif
typedef void(mi_cdecl mi_deferred_free_fun)(bool force, unsigned long long heartbeat);
#if defined(__GNUC__) && defined(__cplusplus) && __cplusplus < 201103L
#pragma GCC diagnostic pop
#endif
mi_decl_export void mi_register_deferred_free(mi_deferred_free_fun *deferred_free) mi_attr_noexcept;

// Receives all text output, line by line, each NUL-terminated. NULL: stderr. What is said
// from inside it goes there too, and by further threads while 64 are inside it or have left it by
// longjmp.
typedef void(mi_cdecl mi_output_fun)(const char *msg);
mi_decl_export void mi_register_output(mi_output_fun *out) mi_attr_noexcept;

// Called instead of the default reaction when the program made a mistake, but for one that is to be
// ignored (on_foreign), and when memory ran out.
// When it returns, a call with a bad pointer is ignored, and an allocation gives NULL. NULL: the
// default, which prints a line about a mistake, and ends the process in debug and secure builds;
// about memory it says nothing unless show_errors is set. Damage found in the midst of a list is
// told a little later, when the hook may allocate. Mistakes and failures inside the function get
// the default, and those in further threads while 64 are inside it or have left it by longjmp (a
// thread counts until it ends, or returns from it another time).
//   EAGAIN double free; EFAULT corrupt memory; EINVAL not a valid pointer, heap, size or alignment;
//   ENOMEM out of memory; EOVERFLOW request too large
typedef void(mi_cdecl mi_error_fun)(int err, void *arg);
mi_decl_export void mi_register_error(mi_error_fun *fun, void *arg);

// --- process and threads ------------------------------------------------------------------------
// None of these three is needed on the platforms supported: they happen by themselves. Calling
// them again is harmless.

mi_decl_export void mi_process_init(void) mi_attr_noexcept;
mi_decl_export void mi_thread_init(void) mi_attr_noexcept;
// Gives up what this thread holds; the thread may allocate again afterwards. Does nothing inside
// registered functions.
mi_decl_export void mi_thread_done(void) mi_attr_noexcept;

// Gives unused memory back to the system; `force` also what would be reused soon and what lies
// between blocks in use, which takes time in proportion to the heap, and other threads are asked to
// do the same at their next slow path. Never waits for another thread. When a thread sleeps after a
// forced call of its own, what others free of its blocks goes back as well. Of heaps that
// mi_heap_new made it looks at the calling thread's default one, and if forced at what threads that
// have ended left in any: see mi_heap_collect.
mi_decl_export void mi_collect(bool force) mi_attr_noexcept;

// The version of the library that runs, as MI_MALLOC_VERSION.
mi_decl_export int mi_version(void) mi_attr_noexcept;

// true where the process's malloc was redirected to this library when it started (Windows).
mi_decl_export bool mi_is_redirected(void) mi_attr_noexcept;

// Reserves `pages` huge OS pages of 1 GiB, within about `max_secs` seconds (0: however long it
// takes). Returns 0, ENOMEM when the system gave fewer, or ETIMEDOUT; *pages_reserved (may be NULL)
// tells how many there are. Blocks are served from them from then on.
mi_decl_export int mi_reserve_huge_os_pages(size_t pages, double max_secs, size_t *pages_reserved)
    mi_attr_noexcept;

// --- statistics ---------------------------------------------------------------------------------

// Peaks and totals begin anew at the current values, counters at 0.
mi_decl_export void mi_stats_reset(void) mi_attr_noexcept;
// Reports count all threads by themselves. This hands over what the calling thread still keeps to
// itself: blocks of other threads that it freed and has not passed on yet.
mi_decl_export void mi_stats_merge(void) mi_attr_noexcept;
// Prints to `out`, or where mi_register_output says when it is NULL.
mi_decl_export void mi_stats_print(mi_output_fun *out) mi_attr_noexcept;
mi_decl_export void mi_thread_stats_print(mi_output_fun *out) mi_attr_noexcept;
// The statistics as a JSON object, written to `buffer`; NULL, and an empty text there, when it is
// too small (32 KiB are enough). A NULL `buffer` gives a block that the caller frees with mi_free.
mi_decl_export char *mi_stats_get_json(size_t buffer_size, char *buffer) mi_attr_noexcept;

// Times in milliseconds, memory in bytes; page_faults are those that had to wait for the disk. Any
// may be NULL.
mi_decl_export void mi_process_info(
    size_t *elapsed_msecs, size_t *user_msecs, size_t *system_msecs, size_t *current_rss,
    size_t *peak_rss, size_t *current_commit, size_t *peak_commit, size_t *page_faults)
    mi_attr_noexcept;

// --- options ------------------------------------------------------------------------------------
// Also set by the environment: MIMALLOC_SHOW_STATS=1 and so on. The documentation says what each
// does.

typedef enum mi_option_e {
    mi_option_show_errors,
    mi_option_show_stats,
    mi_option_verbose,
    mi_option_eager_commit,
    mi_option_eager_region_commit,
    mi_option_large_os_pages,
    mi_option_reserve_huge_os_pages,
    mi_option_segment_cache,
    mi_option_page_reset,
    mi_option_cache_reset,
    mi_option_reset_decommits,
    mi_option_eager_commit_delay,
    mi_option_segment_reset,
    mi_option_os_tag,
    mi_option_max_errors,
    mi_option_max_warnings,
    mi_option_reserve_huge_os_pages_at,
    mi_option_reserve_os_memory,
    mi_option_purge_delay,
    mi_option_use_numa_nodes,
    mi_option_disallow_os_alloc,
    mi_option_destroy_on_exit, // only where the library does not replace malloc
    mi_option_arena_reserve,
    mi_option_allow_thp,
    mi_option_on_foreign,
    mi_option_show_stats_json,
    mi_option_background_purge, // 0: never; 1: in programs with several threads; 2: always
    // KiB; 0: none; -1: seven eighths of what the control group allows. Above the first, free
    // memory goes back to the system at once; an allocation that would go above the second fails.
    mi_option_memory_limit,
    mi_option_memory_limit_hard,
    // percent; 0: never. When something has waited for memory for so much of the last ten seconds,
    // free memory goes back as above the first limit.
    mi_option_memory_pressure,
    _mi_option_last,

    // other names for the same options
    mi_option_allow_large_os_pages = mi_option_large_os_pages,
    mi_option_arena_eager_commit   = mi_option_eager_region_commit,
    mi_option_purge_decommits      = mi_option_reset_decommits,
    mi_option_reset_delay          = mi_option_purge_delay,
    mi_option_limit_os_alloc       = mi_option_disallow_os_alloc
} mi_option_t;

// A value that is no option reads as 0, and setting it does nothing.
mi_decl_export bool mi_option_is_enabled(mi_option_t option);
mi_decl_export void mi_option_enable(mi_option_t option);
mi_decl_export void mi_option_disable(mi_option_t option);
mi_decl_export void mi_option_set_enabled(mi_option_t option, bool enable);
// The `_default` forms change an option only while neither the environment nor the program has set
// it.
mi_decl_export void mi_option_set_enabled_default(mi_option_t option, bool enable);
mi_decl_export long mi_option_get(mi_option_t option);
// The value, moved into [min, max].
mi_decl_export long mi_option_get_clamp(mi_option_t option, long min, long max);
// In bytes, for the options that are counted in KiB.
mi_decl_export size_t mi_option_get_size(mi_option_t option);
mi_decl_export void mi_option_set(mi_option_t option, long value);
mi_decl_export void mi_option_set_default(mi_option_t option, long value);
// Prints each option with its value and where it came from.
mi_decl_export void mi_options_print(void) mi_attr_noexcept;

// --- names of POSIX, BSD, macOS and Windows -----------------------------------------------------

// malloc_usable_size of glibc and BSD, malloc_size and malloc_good_size of macOS.
mi_decl_export size_t mi_malloc_size(const void *p) mi_attr_noexcept;
mi_decl_export size_t mi_malloc_usable_size(const void *p) mi_attr_noexcept;
mi_decl_export size_t mi_malloc_good_size(size_t size) mi_attr_noexcept;

// Frees a block of ours, and silently ignores a pointer that is none of ours.
mi_decl_export void mi_cfree(void *p) mi_attr_noexcept;
// _expand of Windows: mi_expand that sets ENOMEM when it fails.
mi_decl_export void *mi__expand(void *p, size_t newsize) mi_attr_noexcept;

// POSIX. Returns 0, ENOMEM, or EINVAL when `alignment` is no power of two times sizeof(void*). *p
// is written on success only, and errno is left alone.
mi_decl_export int mi_posix_memalign(void **p, size_t alignment, size_t size) mi_attr_noexcept;
// glibc, Solaris. An alignment that is no power of two counts as the next larger one.
mi_decl_export mi_decl_allocator void *mi_memalign(size_t alignment, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2);
// BSD: aligned to the OS page; mi_pvalloc rounds the size up to OS pages as well.
mi_decl_export mi_decl_allocator void *mi_valloc(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_pvalloc(size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(1);
// C17 7.22.3.1. The size need not be a multiple of the alignment.
mi_decl_export mi_decl_allocator void *mi_aligned_alloc(size_t alignment, size_t size)
    mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(2) mi_attr_alloc_align(1);
// BSD, glibc: mi_reallocn.
mi_decl_export mi_decl_allocator void *mi_reallocarray(void *p, size_t count, size_t size)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3);

// _aligned_recalloc and _aligned_offset_recalloc of Windows.
mi_decl_export mi_decl_allocator void *mi_aligned_recalloc(
    void *p, size_t newcount, size_t size, size_t alignment)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3) mi_attr_alloc_align(4);
mi_decl_export mi_decl_allocator void *mi_aligned_offset_recalloc(
    void *p, size_t newcount, size_t size, size_t alignment, size_t offset)
    mi_attr_noexcept mi_attr_alloc_size2(2, 3);

// _wcsdup and _mbsdup of Windows. A wide string is a string of 16-bit units here. NULL copies to
// NULL.
mi_decl_export mi_decl_allocator unsigned short *mi_wcsdup(const unsigned short *s)
    mi_attr_noexcept mi_attr_malloc;
mi_decl_export mi_decl_allocator unsigned char *mi_mbsdup(const unsigned char *s)
    mi_attr_noexcept mi_attr_malloc;
// _dupenv_s of Windows: *buf becomes a copy of an environment variable and *size (may be NULL) its
// length with the NUL; NULL and 0 when the variable is not set. Returns 0, EINVAL for NULL
// arguments, or ENOMEM.
mi_decl_export int mi_dupenv_s(char **buf, size_t *size, const char *name) mi_attr_noexcept;
// The same for the wide environment; EINVAL on systems that have none.
mi_decl_export int mi_wdupenv_s(unsigned short **buf, size_t *size, const unsigned short *name)
    mi_attr_noexcept;

// C23 free_sized and its kin: `size` and `alignment` must be those that the block was asked for
// with. Debug and secure builds check them.
mi_decl_export void mi_free_size(void *p, size_t size) mi_attr_noexcept;
mi_decl_export void mi_free_size_aligned(void *p, size_t size, size_t alignment) mi_attr_noexcept;
mi_decl_export void mi_free_aligned(void *p, size_t alignment) mi_attr_noexcept;

// --- C++ ----------------------------------------------------------------------------------------
// operator new: these call the new-handler until there is memory. Without a handler they throw
// std::bad_alloc; in a static program that has no bad_alloc, for it does not name it, something
// that only catch (...) takes; in a program without the C++ library they end the process with exit
// code ENOMEM.
// The `nothrow` forms return NULL instead; but what a new-handler throws passes through them, too.
// (The operators that take std::nothrow catch it and return a null pointer.)

mi_decl_export mi_decl_allocator void *mi_new(size_t size) mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_new_aligned(size_t size, size_t alignment)
    mi_attr_malloc mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_export mi_decl_allocator void *mi_new_nothrow(size_t size)
    mi_attr_malloc mi_attr_alloc_size(1);
mi_decl_export mi_decl_allocator void *mi_new_aligned_nothrow(size_t size, size_t alignment)
    mi_attr_malloc mi_attr_alloc_size(1) mi_attr_alloc_align(2);
mi_decl_export mi_decl_allocator void *mi_new_n(size_t count, size_t size)
    mi_attr_malloc mi_attr_alloc_size2(1, 2);
mi_decl_export mi_decl_allocator void *mi_new_realloc(void *p, size_t newsize)
    mi_attr_alloc_size(2);
mi_decl_export mi_decl_allocator void *mi_new_reallocn(void *p, size_t newcount, size_t size)
    mi_attr_alloc_size2(2, 3);

#if defined(__cplusplus)
}
#endif

// --- by type ------------------------------------------------------------------------------------
// Blocks for one or `n` objects of type `tp`, with the type of the result to match.

#define mi_malloc_tp(tp)                    ((tp *)mi_malloc(sizeof(tp)))
#define mi_zalloc_tp(tp)                    ((tp *)mi_zalloc(sizeof(tp)))
#define mi_calloc_tp(tp, n)                 ((tp *)mi_calloc(n, sizeof(tp)))
#define mi_mallocn_tp(tp, n)                ((tp *)mi_mallocn(n, sizeof(tp)))
#define mi_reallocn_tp(p, tp, n)            ((tp *)mi_reallocn(p, n, sizeof(tp)))
#define mi_recalloc_tp(p, tp, n)            ((tp *)mi_recalloc(p, n, sizeof(tp)))

#define mi_heap_malloc_tp(hp, tp)           ((tp *)mi_heap_malloc(hp, sizeof(tp)))
#define mi_heap_zalloc_tp(hp, tp)           ((tp *)mi_heap_zalloc(hp, sizeof(tp)))
#define mi_heap_calloc_tp(hp, tp, n)        ((tp *)mi_heap_calloc(hp, n, sizeof(tp)))
#define mi_heap_mallocn_tp(hp, tp, n)       ((tp *)mi_heap_mallocn(hp, n, sizeof(tp)))
#define mi_heap_reallocn_tp(hp, p, tp, n)   ((tp *)mi_heap_reallocn(hp, p, n, sizeof(tp)))
#define mi_heap_recalloc_tp(hp, p, tp, n)   ((tp *)mi_heap_recalloc(hp, p, n, sizeof(tp)))

#endif
