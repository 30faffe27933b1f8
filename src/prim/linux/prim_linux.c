#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 // mremap, secure_getenv, syscall numbers
#endif
#include "prim/posix/prim_posix.h"
#include "prim/linux/prim_linux.h"
#include "prim/prim.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <execinfo.h>
#endif

// Numbers that are younger than the headers of systems we still build on. Guards are the same on
// every architecture.
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_FREE
#define MADV_FREE 8
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

// --- files of the system -------------------------------------------------------------------------

// open, read, write and getrandom are made as bare system calls: the C library's are points at
// which a thread can be cancelled, and nobody may vanish from inside free().

int prim_linux_open(const char *path)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

void prim_linux_close(int file) { (void)syscall(SYS_close, file); }

int prim_linux_read(int file, void *buffer, size_t capacity, size_t *bytes)
{
    int before = errno;
    long got = syscall(SYS_read, file, buffer, capacity);
    *bytes = got > 0 ? (size_t)got : 0;
    return prim_posix_result(got >= 0, before);
}

cold int prim_linux_read_text(const char *path, char *buffer, size_t capacity)
{
    int before = errno;
    size_t length = 0;
    int file = prim_linux_open(path), error = prim_posix_result(file >= 0, before);
    if (error == 0) {
        error = prim_linux_read(file, buffer, capacity - 1, &length);
        prim_linux_close(file);
    }
    buffer[length] = '\0';
    errno = before;
    return error;
}

// Reads the digits at *text and moves it behind them; 0 when there are none.
static size_t prim_linux_parse(const char **text)
{
    size_t value = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) value = value * 10 + (size_t)(**text - '0');
    return value;
}

// --- facts ---------------------------------------------------------------------------------------

static size_t prim_linux_page_bytes(void)
{
    // Not sysconf, and bare system calls below: each part of the C library that start-up touches
    // costs a program that does nothing up to 64 KiB of resident memory.
    unsigned long bytes = getauxval(AT_PAGESZ);
    return bytes > 0 ? (size_t)bytes : 4096;
}

// Not sysconf(_SC_PHYS_PAGES): older C libraries open /proc/meminfo with stdio for it.
static size_t prim_linux_physical_bytes(void)
{
    int before = errno;
    struct sysinfo facts;
    if (prim_posix_result(syscall(SYS_sysinfo, &facts) == 0, before) != 0) return 0;
    uint64_t bytes = (uint64_t)facts.totalram * facts.mem_unit;
    return bytes < SIZE_MAX ? (size_t)bytes : SIZE_MAX;
}

static size_t prim_linux_address_limit(void)
{
    int before = errno;
    struct { uint64_t soft, hard; } limit;
    long result = syscall(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit);
    bool is_known = prim_posix_result(result == 0, before) == 0;
    return is_known && limit.soft < SIZE_MAX ? (size_t)limit.soft : SIZE_MAX;
}

void prim_info_read(struct prim_info *info)
{
    int before = errno;
    info->page_bytes = prim_linux_page_bytes();
    // One table page full of 8-byte entries: 2 MiB for OS pages of 4 KiB, 32 MiB for 16, 512 MiB
    // for 64.
    info->large_page_bytes = info->page_bytes * (info->page_bytes / 8);
    info->physical_bytes = prim_linux_physical_bytes();
    info->address_limit_bytes = prim_linux_address_limit();
    errno = before;
}

// --- memory --------------------------------------------------------------------------------------

// Memory without access is not charged against the commit limit, and prim_access charges it later.
// MAP_NORESERVE would exempt it for good, also once it is accessible: then a process dies where it
// could have been told ENOMEM.
int prim_map(void *hint, size_t bytes, unsigned flags, void **start)
{
    int before = errno;
    int protection = (flags & PRIM_MAP_NO_ACCESS) != 0 ? PROT_NONE : PROT_READ | PROT_WRITE;
    int kind = MAP_PRIVATE | MAP_ANONYMOUS;
    if ((flags & PRIM_MAP_EXACT) != 0) kind |= MAP_FIXED_NOREPLACE;
    if ((flags & PRIM_MAP_REPLACE) != 0) kind |= MAP_FIXED;

    void *mapped = mmap(hint, bytes, protection, kind, -1, 0);
    int error = prim_posix_result(mapped != MAP_FAILED, before);
    if (error != 0) return error;
    // A kernel before 4.17 does not know MAP_FIXED_NOREPLACE and takes the address as a wish.
    if ((flags & PRIM_MAP_EXACT) != 0 && mapped != hint) {
        error = prim_unmap(mapped, bytes);
        return error == 0 ? EEXIST : error;
    }
    *start = mapped;
    return 0;
}

// This and the next one are called by helpers, too: nobody's version of the call is in between.
int prim_access(void *start, size_t bytes, bool accessible)
{
    int before = errno;
    int protection = accessible ? PROT_READ | PROT_WRITE : PROT_NONE;
    return prim_posix_result(syscall(SYS_mprotect, start, bytes, protection) == 0, before);
}

static int prim_linux_advise(void *start, size_t bytes, int advice)
{
    int before = errno;
    return prim_posix_result(syscall(SYS_madvise, start, bytes, advice) == 0, before);
}

// Emulators that run programs of other processors (QEMU before 7.1) agree to drop memory, and do
// not. So the first range is looked at.
enum { DROP_UNTRIED, DROP_WORKS, DROP_IS_IGNORED };
static ATOMIC(int) prim_linux_drop;

static cold int prim_linux_try_drop(volatile char *start, size_t bytes)
{
    char before = *start;
    *start = 1;
    int error = prim_linux_advise((void *)(uintptr_t)start, bytes, MADV_DONTNEED);
    bool is_dropped = *start == 0;
    if (!is_dropped) *start = before; // the contents may be needed
    if (error != 0) return error;
    // relaxed: whoever comes meanwhile finds the same
    atomic_store_explicit(&prim_linux_drop, is_dropped ? DROP_WORKS : DROP_IS_IGNORED,
                          memory_order_relaxed);
    return is_dropped ? 0 : ENOSYS;
}

int prim_purge(void *start, size_t bytes)
{
    int answer = atomic_load_explicit(&prim_linux_drop, memory_order_relaxed);
    if (unlikely(answer == DROP_UNTRIED)) return prim_linux_try_drop((volatile char *)start, bytes);
    return answer == DROP_WORKS ? prim_linux_advise(start, bytes, MADV_DONTNEED) : ENOSYS;
}

int prim_reset(void *start, size_t bytes)
{
    int error = prim_linux_advise(start, bytes, MADV_FREE);
    // Kernels before 4.5 do not know it, and those before 4.12 refuse it without swap.
    return error == EINVAL ? prim_purge(start, bytes) : error;
}

int prim_guard(void *start, size_t bytes)
{
    return prim_linux_advise(start, bytes, MADV_GUARD_INSTALL);
}

int prim_unguard(void *start, size_t bytes)
{
    return prim_linux_advise(start, bytes, MADV_GUARD_REMOVE);
}

int prim_wipe_on_fork(void *start, size_t bytes)
{
    return prim_linux_advise(start, bytes, MADV_WIPEONFORK);
}

int prim_advise_huge(void *start, size_t bytes, bool wanted)
{
    return prim_linux_advise(start, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

// An advice that is refused where memory is locked, as by kernels before 5.4. For one page it has
// no consequences, but that a huge page around it is split.
bool prim_is_locked(void *page)
{
    return prim_linux_advise(page, prim_linux_page_bytes(), MADV_COLD) != 0;
}

// How far a range that ends there cannot grow: one OS page when something is mapped there, else
// until into the first stack of the process, which lies above all else. (That far only then, for
// kernels before 5.15 charge the growth before they find out.) 0: unknown.
static size_t prim_linux_too_much(char *end)
{
    size_t page_bytes = prim_linux_page_bytes();
    // asked by a call that is made anyway: sandboxes end programs for calls they did not expect
    bool is_mapped = prim_linux_advise(end, page_bytes, MADV_COLD) != ENOMEM;
    if (is_mapped) return page_bytes;
    uintptr_t stack = getauxval(AT_EXECFN);
    if (stack <= (uintptr_t)end) return 0;
    return bits_align_up(stack - (uintptr_t)end + 1, page_bytes);
}

// It is asked to grow where it is: the kernel looks first whether the range ends in the mapping in
// which it begins (EFAULT), and then finds that there is no room (ENOMEM). Another error: it cannot
// be told, or it is locked.
static cold bool prim_linux_is_one(void *start, size_t bytes)
{
    size_t more = prim_linux_too_much((char *)start + bytes);
    if (more == 0) return false;
    int before = errno;
    void *grown = mremap(start, bytes, bytes + more, 0);
    int error = prim_posix_result(grown != MAP_FAILED, before);
    return error == 0 ? prim_unmap((char *)start + bytes, more) == 0 : error == ENOMEM;
}

size_t prim_mapping_bytes(void *start, size_t bytes)
{
    if (prim_linux_is_one(start, bytes)) return bytes;
    size_t page_bytes = prim_linux_page_bytes();
    size_t pages = 0, too_many = bytes / page_bytes;
    while (too_many - pages > 1) {
        size_t middle = pages + (too_many - pages) / 2;
        if (prim_linux_is_one(start, middle * page_bytes)) pages = middle;
        else too_many = middle;
    }
    return pages * page_bytes;
}

// Whether a range was unmapped whose first word was `mark`, and is not ours again. The kernel looks
// for it, by a wait that takes no time: the memory may be anybody's.
static bool prim_linux_has_lost(void *start, size_t bytes, uint32_t mark)
{
    enum { WAIT = 0 };
    const struct timespec no_time = {0, 0};
    int before = errno;
    long result = syscall(SYS_futex, start, WAIT, mark, &no_time, NULL, 0);
    int error = prim_posix_result(result == 0, before);
    if (error != EAGAIN && error != EFAULT) return false; // it is there
    void *mapped;
    return prim_map(start, bytes, PRIM_MAP_EXACT, &mapped) != 0;
}

// The kernel unmaps the target before it moves, and can fail after that; another thread may then
// get its addresses. So the target is marked: the mark is there as long as nothing was unmapped.
// Of a source of several mappings kernels from 6.17 on move one after the other, and when one of
// them fails those before it have gone; older ones refuse, when the target is unmapped. Those
// before 5.7 do not know DONTUNMAP: without it the source is unmapped, another chance for others.
// Locked memory stays where it is: the old mapping, all of it, would be locked no more.
int prim_move(void *from, size_t bytes, void *to, bool *is_lost)
{
    const uint32_t mark = 0x6d6f7665; // more than chance would find in the memory of others
    *is_lost = false;
    if (prim_is_locked(from)) return EPERM;
    *(volatile uint32_t *)to = mark;
    int before = errno;
    void *moved = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    int error = prim_posix_result(moved != MAP_FAILED, before);
    if (error != 0) *is_lost = prim_linux_has_lost(to, bytes, mark);
    return error;
}

// Prefers a NUMA node for pages that are not touched yet. Only a wish: kernels without NUMA and
// sandboxes refuse it.
static void prim_linux_prefer_node(void *start, size_t bytes, unsigned node)
{
    enum { PREFERRED = 1, WORD_BITS = sizeof(unsigned long) * 8, WORDS = 1024 / WORD_BITS };
    unsigned long nodes[WORDS] = {0};
    if (node >= WORDS * WORD_BITS) return;
    int before = errno;
    nodes[node / WORD_BITS] = 1ul << (node % WORD_BITS);
    (void)syscall(SYS_mbind, start, bytes, PREFERRED, nodes, WORDS * WORD_BITS + 1ul, 0u);
    errno = before;
}

cold int prim_map_large(void *hint, size_t bytes, size_t page_bytes, int numa_node, void **start)
{
    int before = errno;
    int page_shift = (int)bits_highest(page_bytes);
    int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | page_shift << MAP_HUGE_SHIFT;
    void *mapped = mmap(hint, bytes, PROT_READ | PROT_WRITE, kind, -1, 0);
    int error = prim_posix_result(mapped != MAP_FAILED, before);
    if (error != 0) return error;
    if (numa_node >= 0) prim_linux_prefer_node(mapped, bytes, (unsigned)numa_node);
    *start = mapped;
    return 0;
}

// --- randomness, environment, output -------------------------------------------------------------

static int prim_linux_read_urandom(unsigned char *next, size_t bytes)
{
    int file = prim_linux_open("/dev/urandom");
    if (file < 0) return errno;
    size_t got = 1;
    int error = 0;
    for (; error == 0 && bytes > 0 && got > 0; next += got, bytes -= got) {
        error = prim_linux_read(file, next, bytes, &got);
    }
    prim_linux_close(file);
    return error == 0 && bytes > 0 ? EIO : error;
}

// GRND_NONBLOCK: early in the boot getrandom could wait for minutes; /dev/urandom answers then as
// well as it can. Up to 256 bytes come in one piece, and no signal interrupts them.
static int prim_linux_getrandom(unsigned char *next, size_t bytes)
{
    enum { NONBLOCK = 1 };
    const size_t piece_bytes = 256;
    while (bytes > 0) {
        size_t wanted = bytes < piece_bytes ? bytes : piece_bytes;
        long got = syscall(SYS_getrandom, next, wanted, NONBLOCK);
        if (got <= 0) return errno;
        next += got;
        bytes -= (size_t)got;
    }
    return 0;
}

int prim_random(void *buffer, size_t bytes)
{
    int before = errno;
    int error = prim_linux_getrandom((unsigned char *)buffer, bytes);
    if (error != 0) error = prim_linux_read_urandom((unsigned char *)buffer, bytes);
    errno = before;
    return error;
}

// The C library sets `environ` after the dynamic loader's first allocations.
bool prim_env_ready(void) { return environ != NULL; }

const char *prim_env(const char *name) { return environ != NULL ? secure_getenv(name) : NULL; }

bool prim_env_has_any(const char *prefix)
{
    size_t letters = strlen(prefix);
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++) {
        if (strncmp(*variable, prefix, letters) == 0) return true;
    }
    return false;
}

// A copy of stderr, and which file that was: by the time it is needed, a program that closes
// descriptors it does not know may have given the number to another file.
static ATOMIC(int) prim_linux_kept = -1;
static struct stat prim_linux_kept_file;
static ATOMIC(bool) prim_linux_has_kept; // by the one call of prim_keep_error that does it

void prim_keep_error(void)
{
    enum { OUT_OF_THE_WAY = 200 }; // programs may count on getting small numbers
    int before = errno;
    // relaxed: only the first one writes what is below
    if (atomic_exchange_explicit(&prim_linux_has_kept, true, memory_order_relaxed)) return;
    if (fstat(STDERR_FILENO, &prim_linux_kept_file) == 0) {
        int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        // release: pairs with prim_linux_kept_error
        atomic_store_explicit(&prim_linux_kept, kept, memory_order_release);
    }
    errno = before;
}

// The kept copy, or -1.
static int prim_linux_kept_error(void)
{
    struct stat now;
    // acquire: pairs with prim_keep_error
    int kept = atomic_load_explicit(&prim_linux_kept, memory_order_acquire);
    bool is_same = kept >= 0 && fstat(kept, &now) == 0 &&
                   now.st_dev == prim_linux_kept_file.st_dev &&
                   now.st_ino == prim_linux_kept_file.st_ino;
    return is_same ? kept : -1;
}

void prim_write_error(const char *text, size_t bytes)
{
    int before = errno, file = STDERR_FILENO;
    while (bytes > 0) {
        long written = syscall(SYS_write, file, text, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EBADF && file == STDERR_FILENO) {
            file = prim_linux_kept_error();
            continue;
        }
        if (written <= 0) break; // nobody listens
        text += written;
        bytes -= (size_t)written;
    }
    errno = before;
}

// The C library's backtrace loads another library at its first call, so release builds leave it
// alone.
size_t prim_backtrace(void **frames, size_t max_count)
{
#if defined(__GLIBC__)
    if (CFG_DEBUG >= 1) {
        int before = errno;
        int count = backtrace(frames, max_count < 1024 ? (int)max_count : 1024);
        errno = before;
        return count > 0 ? (size_t)count : 0;
    }
#endif
    (void)frames;
    (void)max_count;
    return 0;
}

void prim_backtrace_write(void *const *frames, size_t count)
{
#if defined(__GLIBC__)
    if (CFG_DEBUG >= 1) {
        int before = errno;
        backtrace_symbols_fd(frames, (int)count, STDERR_FILENO);
        errno = before;
    }
#endif
    (void)frames;
    (void)count;
}

// --- threads -------------------------------------------------------------------------------------

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define LINUX_KNOWS_SINGLE_THREADED 1
#endif
#endif

// (glibc from 2.32 on: false before the second thread starts, by the first one.)
bool prim_is_single_threaded(void)
{
#if defined(LINUX_KNOWS_SINGLE_THREADED)
    return __libc_single_threaded != 0;
#else
    return false;
#endif
}

// --- processors and nodes ------------------------------------------------------------------------

// Those that this process may run on. Not sysconf: the C library opens files for it.
unsigned prim_cpu_count(void)
{
    uint64_t mask[8192 / 64];
    int before = errno;
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    errno = before;
    unsigned count = 0;
    for (long i = 0; i < bytes / 8; i++) count += bits_popcount64(mask[i]);
    return count > 0 ? count : 1;
}

// The list reads like "0-3,8": its last number is the highest node.
unsigned prim_numa_count(void)
{
    char list[256];
    size_t highest = 0;
    prim_linux_read_text("/sys/devices/system/node/online", list, sizeof list);
    for (const char *next = list; *next != '\0'; next++) {
        if (*next < '0' || *next > '9') continue;
        highest = prim_linux_parse(&next);
        if (*next == '\0') break;
    }
    return highest < 1024 ? (unsigned)highest + 1 : 1;
}

unsigned prim_numa_node(void)
{
    unsigned cpu, node = 0;
    int before = errno;
    if (syscall(SYS_getcpu, &cpu, &node, NULL) != 0) node = 0;
    errno = before;
    return node;
}

// --- usage ---------------------------------------------------------------------------------------

static uint64_t prim_linux_ms(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_usec / 1000;
}

// The second number of statm, in OS pages.
static size_t prim_linux_resident_bytes(void)
{
    char text[128];
    const char *next = text;
    prim_linux_read_text("/proc/self/statm", text, sizeof text);
    (void)prim_linux_parse(&next);
    if (*next == ' ') next++;
    return prim_linux_parse(&next) * prim_linux_page_bytes();
}

static size_t prim_linux_mapping_count(void)
{
    char piece[2048];
    size_t lines = 0, got;
    int before = errno;
    int file = prim_linux_open("/proc/self/maps");
    if (file >= 0) {
        while (prim_linux_read(file, piece, sizeof piece, &got) == 0 && got > 0) {
            for (size_t i = 0; i < got; i++) lines += piece[i] == '\n';
        }
        prim_linux_close(file);
    }
    errno = before;
    return lines;
}

// Field 22 of /proc/self/stat is the start of the process, in ticks of 10 ms after the boot. The
// name in field 2 may hold anything, so count from its closing parenthesis.
static uint64_t prim_linux_elapsed_ms(void)
{
    enum { START_FIELD = 22, TICK_MS = 10 };
    char stat[1024];
    struct timespec now = {0, 0};
    int before = errno;
    prim_linux_read_text("/proc/self/stat", stat, sizeof stat);
    const char *at = strrchr(stat, ')');
    if (at == NULL || prim_posix_result(clock_gettime(CLOCK_BOOTTIME, &now) == 0, before) != 0)
        return 0;
    for (int field = 2; field < START_FIELD && at != NULL; field++) at = strchr(at + 1, ' ');
    if (at == NULL) return 0;
    at++;
    uint64_t start_ms = (uint64_t)prim_linux_parse(&at) * TICK_MS;
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return now_ms > start_ms ? now_ms - start_ms : 0;
}

void prim_usage_read(struct prim_usage *usage)
{
    struct rusage used;
    int before = errno;
    memset(usage, 0, sizeof *usage);
    if (prim_posix_result(getrusage(RUSAGE_SELF, &used) == 0, before) == 0) {
        usage->user_ms = prim_linux_ms(used.ru_utime);
        usage->system_ms = prim_linux_ms(used.ru_stime);
        usage->peak_resident_bytes = (size_t)used.ru_maxrss * 1024;
        usage->minor_faults = (uint64_t)used.ru_minflt;
        usage->major_faults = (uint64_t)used.ru_majflt;
    }
    usage->elapsed_ms = prim_linux_elapsed_ms();
    usage->resident_bytes = prim_linux_resident_bytes();
    usage->mapping_count = prim_linux_mapping_count();
}
