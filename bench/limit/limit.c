/* limit.c: how fast a workload could be if its allocator did next to nothing. Not for use: nothing
 * is checked, nothing is ever given back, and a second thread would break it.
 *
 * Preloaded, it serves malloc and its family from one stack of free blocks for each size class:
 *
 *     LD_PRELOAD=./limit.so program
 *
 * malloc finds the class (a shift for up to 1 KiB, else four classes for each doubling) and takes
 * the top of its stack; when that is empty the next block is cut from fresh memory. free finds the
 * class in a table, by the block's address, and puts the block on top. No block has a header.
 *
 *     region, 32 GiB of addresses at a multiple of its own size
 *     | chunk | chunk | chunk | ...       64 KiB each; chunk_class[(address / 64 KiB) mod 2^19]
 *     |<--- span --->|                    blocks of one class, cut from low to high
 *
 * What it leaves out of what a real allocator does:
 *   - threads: no lock, no atomic operation, no thread-local address;
 *   - checks: of pointers, double frees, alignments; it trusts every argument but the size;
 *   - giving memory back: what a class has had stays with this class, resident, until the end. So
 *     its memory is no bound;
 *   - statistics, options, hooks, randomness, returning several blocks at once.
 *
 * Its instructions are a lower bound, its time nearly so: another order of addresses may suit a
 * cache or the TLB better, and memory that is given back early is sometimes reused warm.
 *
 * Large blocks are moved by realloc with their pages, not copied (mremap).
 *
 * Threads. A workload's "one thread" is often one that main starts and waits for. Here a thread
 * runs as a call: pthread_create runs its function to the end and returns then, pthread_join
 * fetches the result. So there is one thread at any time, whatever the program believes. A program
 * that needs two at once (it starts a second one before the first is joined or detached, waits for
 * a condition, asks for a barrier of several, ends a thread by pthread_exit) gets one line and
 * ends with status 77. One that waits for another thread in a way of its own hangs: use it for rows
 * of one thread, under a time limit.
 *
 * With -DLIMIT_TWICE=1 each malloc does one more pair of free and malloc. What that adds is what
 * the allocation calls cost; the rest is the workload's own work.
 *
 * Build: cc -std=c11 -O2 -D_GNU_SOURCE -fPIC -shared -fno-builtin -o limit.so limit.c
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <threads.h>
#include <unistd.h>

#ifndef LIMIT_TWICE
#define LIMIT_TWICE 0
#endif

#define likely(condition) __builtin_expect(!!(condition), 1)
#define cold              __attribute__((noinline, cold))

enum {
    STATUS_CANNOT = 77, // the runner shows such a cell as absent
    CHUNK_SHIFT = 16,
    REGION_SHIFT = 35,    // as much as valgrind has room for
    REGION_PLACES = 1024, // tried one after the other, the lowest first
    STEP_BYTES = 16,      // classes up to SMALL_MAX_BYTES lie this far apart
    SMALL_MAX_BYTES = 1024,
    SMALL_CLASSES = SMALL_MAX_BYTES / STEP_BYTES + 1,
    SMALL_MAX_SHIFT = 10, // SMALL_MAX_BYTES is 1 << this
    LARGEST_SHIFT = REGION_SHIFT - 1,
    CLASS_NONE = SMALL_CLASSES + 4 * (LARGEST_SHIFT - SMALL_MAX_SHIFT), // has no block, ever
    SPAN_BLOCKS = 8, // at least so many in a span, for blocks up to a chunk's size
    MOVE_MIN_BYTES = 1 << 18,
};

static const size_t chunk_bytes = (size_t)1 << CHUNK_SHIFT;
static const size_t region_bytes = (size_t)1 << REGION_SHIFT;
static const size_t largest_bytes = (size_t)1 << LARGEST_SHIFT;

struct block {
    struct block *next;
};

// Fresh memory of a class: blocks are cut at `next`.
struct fresh {
    char *next;
    char *end;
};

static struct block *free_list[CLASS_NONE + 1];
static struct fresh fresh_memory[CLASS_NONE + 1];
static uint8_t chunk_class[(size_t)1 << (REGION_SHIFT - CHUNK_SHIFT)];
static char *region_next;
static char *region_end;

_Static_assert(CLASS_NONE <= UINT8_MAX, "a class fits in a byte of chunk_class");
_Static_assert(SMALL_MAX_BYTES == 1 << SMALL_MAX_SHIFT, "large classes follow the small ones");

static cold _Noreturn void limit_refuse(const char *why)
{
    char line[160];
    int length = snprintf(line, sizeof line, "limit: %s\n", why);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored;
    _exit(STATUS_CANNOT);
}

// --- size classes --------------------------------------------------------------------------------

// Four classes for each doubling: the two bits behind the highest one of bytes - 1 choose.
static size_t class_of_large(size_t bytes)
{
    if (bytes > largest_bytes) return CLASS_NONE;
    size_t last = bytes - 1;
    unsigned shift = 61u - (unsigned)__builtin_clzll(last);
    return SMALL_CLASSES + 4 * (shift - (SMALL_MAX_SHIFT - 2)) + (last >> shift) - 4;
}

static inline size_t class_of(size_t bytes)
{
    if (likely(bytes <= SMALL_MAX_BYTES)) return (bytes + STEP_BYTES - 1) / STEP_BYTES;
    return class_of_large(bytes);
}

static inline size_t class_of_block(const void *block)
{
    return chunk_class[((uintptr_t)block >> CHUNK_SHIFT) % (sizeof chunk_class)];
}

// Class 0 serves requests for nothing, with a block like any other.
static size_t class_bytes(size_t class)
{
    if (class < SMALL_CLASSES) return class == 0 ? STEP_BYTES : class * STEP_BYTES;
    size_t large = class - SMALL_CLASSES;
    return (5 + large % 4) << (SMALL_MAX_SHIFT - 2 + large / 4);
}

// --- fresh memory --------------------------------------------------------------------------------

static inline char *round_up(char *address, size_t unit)
{
    return (char *)(((uintptr_t)address + unit - 1) & ~(uintptr_t)(unit - 1));
}

// At a fixed place, so that every run has the same addresses.
static cold void region_reserve(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    for (uintptr_t place = 1; place < REGION_PLACES; place++) {
        void *wanted = (void *)(place << REGION_SHIFT);
        void *region = mmap(wanted, region_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (region == wanted) {
            region_next = region;
            region_end = region_next + region_bytes;
            return;
        }
        if (region != MAP_FAILED) munmap(region, region_bytes); // an old kernel: took it as a hint
    }
    limit_refuse("the system refuses 32 GiB of addresses");
}

// Blocks of 2^n bytes are aligned to their size, which serves memalign; so are their spans.
static bool span_take(size_t class, size_t bytes)
{
    size_t span_bytes = bytes > chunk_bytes ? bytes : bytes * SPAN_BLOCKS;
    span_bytes = (span_bytes + chunk_bytes - 1) & ~(chunk_bytes - 1);
    bool power_of_two = (bytes & (bytes - 1)) == 0;
    char *span = round_up(region_next, power_of_two && bytes > chunk_bytes ? bytes : chunk_bytes);
    if (span > region_end || span_bytes > (size_t)(region_end - span)) return false;

    region_next = span + span_bytes;
    fresh_memory[class] = (struct fresh){span, span + span_bytes};
    for (char *chunk = span; chunk < region_next; chunk += chunk_bytes) {
        chunk_class[((uintptr_t)chunk >> CHUNK_SHIFT) % sizeof chunk_class] = (uint8_t) class;
    }
    return true;
}

// A block that nobody had before: its memory is zero. NULL with errno when there is none.
static cold void *block_cut(size_t class)
{
    size_t bytes = class_bytes(class);
    struct fresh *fresh = &fresh_memory[class];
    if ((size_t)(fresh->end - fresh->next) < bytes) {
        if (region_next == NULL) region_reserve();
        if (!__libc_single_threaded) limit_refuse("one thread only: the C library starts another");
        if (class == CLASS_NONE || !span_take(class, bytes)) {
            errno = ENOMEM;
            return NULL;
        }
    }
    void *block = fresh->next;
    fresh->next += bytes;
    return block;
}

// --- the two operations --------------------------------------------------------------------------

static inline void block_put(void *memory)
{
    struct block *block = memory;
    size_t class = class_of_block(block);
    block->next = free_list[class];
    free_list[class] = block;
}

static inline void *block_take(size_t bytes)
{
    size_t class = class_of(bytes);
    struct block *block = free_list[class];
    if (likely(block != NULL)) {
        free_list[class] = block->next;
        return block;
    }
    return block_cut(class);
}

// Calls of their own, as a program's are.
static __attribute__((noinline)) void block_put_again(void *block) { block_put(block); }
static __attribute__((noinline)) void *block_take_again(size_t bytes) { return block_take(bytes); }

static inline void *block_serve(size_t bytes)
{
    void *block = block_take(bytes);
    if (LIMIT_TWICE && block != NULL) {
        block_put_again(block);
        block = block_take_again(bytes);
    }
    return block;
}

static inline void *block_serve_aligned(size_t alignment, size_t bytes)
{
    if (alignment <= STEP_BYTES) return block_serve(bytes);
    if (bytes > largest_bytes || alignment > largest_bytes) return block_serve(SIZE_MAX);
    if (bytes < alignment) bytes = alignment;
    return block_serve((size_t)1 << (64 - __builtin_clzll(bytes - 1)));
}

// Copies, or moves the pages: the old block keeps its addresses, with nothing behind them.
static void block_move(void *to, void *from, size_t bytes)
{
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    if (bytes >= MOVE_MIN_BYTES && mremap(from, bytes, bytes, flags, to) != MAP_FAILED) return;
    memcpy(to, from, bytes);
}

// --- the malloc family; new and delete of the C++ library call it --------------------------------

void *malloc(size_t bytes) { return block_serve(bytes); }

void free(void *block)
{
    if (likely(block != NULL)) block_put(block);
}

void *calloc(size_t count, size_t each)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, each, &bytes)) bytes = SIZE_MAX;
    bool fresh = free_list[class_of(bytes)] == NULL;
    struct block *block = block_serve(bytes);
    if (block == NULL) return NULL;
    if (fresh)
        block->next = NULL; // LIMIT_TWICE wrote there
    else
        memset(block, 0, bytes);
    return block;
}

// A block that would be less than half full moves to a smaller one.
void *realloc(void *block, size_t bytes)
{
    if (block == NULL) return block_serve(bytes);
    if (bytes == 0) {
        block_put(block);
        return NULL;
    }
    size_t room = class_bytes(class_of_block(block));
    if (bytes <= room && bytes >= room / 2) return block;
    void *moved = block_serve(bytes);
    if (moved == NULL) return NULL;
    size_t moved_room = class_bytes(class_of_block(moved));
    if (bytes > room)
        block_move(moved, block, room);
    else
        block_move(moved, block, moved_room < room ? moved_room : room);
    block_put(block);
    return moved;
}

void *reallocarray(void *block, size_t count, size_t each)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, each, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, bytes);
}

void *memalign(size_t alignment, size_t bytes) { return block_serve_aligned(alignment, bytes); }

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return block_serve_aligned(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes)
{
    int before = errno;
    void *block = block_serve_aligned(alignment, bytes);
    errno = before;
    if (block == NULL) return ENOMEM;
    *result = block;
    return 0;
}

void *valloc(size_t bytes) { return block_serve_aligned((size_t)sysconf(_SC_PAGESIZE), bytes); }

void *pvalloc(size_t bytes) { return valloc(bytes); }

size_t malloc_usable_size(void *block)
{
    return block == NULL ? 0 : class_bytes(class_of_block(block));
}

// --- threads that run as calls -------------------------------------------------------------------

struct running {
    struct running *starter;
    bool detached;
};

static struct running *running_thread; // the innermost; NULL while main itself runs
static bool finished_any;              // a thread has ended and is not joined yet
static void *finished_result;

static bool thread_starts_detached(const pthread_attr_t *attributes)
{
    int state = PTHREAD_CREATE_JOINABLE;
    if (attributes != NULL) pthread_attr_getdetachstate(attributes, &state);
    return state == PTHREAD_CREATE_DETACHED;
}

// Every handle is that of the one thread there is, so that other calls find a living one behind it.
int pthread_create(pthread_t *restrict handle, const pthread_attr_t *restrict attributes,
                   void *(*body)(void *), void *restrict argument)
{
    if (finished_any) limit_refuse("one thread only: the program starts a second");
    struct running thread = {running_thread, thread_starts_detached(attributes)};
    *handle = pthread_self();
    running_thread = &thread;
    void *result = body(argument);
    running_thread = thread.starter;
    if (thread.detached) return 0;

    if (finished_any) limit_refuse("one thread only: two are to be joined");
    finished_any = true;
    finished_result = result;
    return 0;
}

int pthread_join(pthread_t handle, void **result)
{
    (void)handle;
    if (!finished_any) limit_refuse("one thread only: the program joins one that cannot end");
    finished_any = false;
    if (result != NULL) *result = finished_result;
    return 0;
}

int pthread_detach(pthread_t handle)
{
    (void)handle;
    if (finished_any)
        finished_any = false;
    else if (running_thread != NULL)
        running_thread->detached = true;
    return 0;
}

_Noreturn void pthread_exit(void *result)
{
    (void)result;
    limit_refuse("one thread only: the program calls pthread_exit");
}

int thrd_create(thrd_t *handle, thrd_start_t body, void *argument)
{
    (void)handle, (void)body, (void)argument;
    limit_refuse("one thread only: the program calls thrd_create");
}

// Nobody is there who could end the wait.
int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
    (void)condition, (void)mutex;
    limit_refuse("one thread only: the program waits for another");
}

typedef int barrier_init_function(pthread_barrier_t *, const pthread_barrierattr_t *, unsigned);

int pthread_barrier_init(pthread_barrier_t *restrict barrier,
                         const pthread_barrierattr_t *restrict attributes, unsigned count)
{
    if (count > 1) limit_refuse("one thread only: a barrier for several");
    barrier_init_function *next = NULL;
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_barrier_init");
    return next(barrier, attributes, count);
}
