/* prim.h: what the allocator asks of an operating system. One folder per system fulfils it.
 *
 * Rules of the contract (M1: what is below has no options or messages, says check_floors.py; the
 * others: test_prim.c and test_prim_linux.c, on each port):
 *   M1  no policy: no retry, no cache, no option, no message; a port only translates
 *   M2  a call that can fail returns 0 or an OS error number (errno values) and writes its outputs
 *       on success only
 *   M3  no call allocates through malloc, and every call leaves `errno` as it was
 *   M4  addresses and byte counts are multiples of page_bytes unless said otherwise
 *   M5  every call may be made from any thread at any time, before constructors and after
 *       destructors too
 */
#ifndef PRIM_PRIM_H
#define PRIM_PRIM_H
#include "base/base.h"

struct prim_info {
    size_t page_bytes;       // the OS page, read at run time
    size_t large_page_bytes; // the next larger page (2 MiB on x86-64), 0 when there is none
    size_t physical_bytes;   // RAM of the machine, 0 when unknown
    size_t address_limit_bytes; // limit on address space (RLIMIT_AS), SIZE_MAX when there is none
};

// Fills `info`; never fails: what cannot be read keeps a safe default.
INTERNAL void prim_info_read(struct prim_info *info);

// The tightest limit that the system puts on the memory of this process's group; ENOENT: none;
// another error: it cannot be told now. Reads a file for each group that it is in.
INTERNAL must_use int prim_memory_limit(size_t *bytes);
// How much of the last seconds something in this process's group, or else in the whole system, had
// to wait for memory, in percent; ENOENT: the system does not tell. Reads a few files.
INTERNAL must_use int prim_memory_pressure(unsigned *percent);

// --- memory --------------------------------------------------------------------------------------

enum prim_map_flags {
    PRIM_MAP_ANYWHERE  = 0, // `hint` is a wish (may be NULL)
    PRIM_MAP_EXACT     = 1, // at `hint` or fail with EEXIST; never replaces a mapping
    PRIM_MAP_REPLACE   = 2, // at `hint`, over pages that are ours: they come back zeroed
    PRIM_MAP_NO_ACCESS = 4  // address space only: no memory is charged until prim_access
};

// Maps zeroed private memory, readable and writable unless NO_ACCESS. *start receives the address.
INTERNAL must_use int prim_map(void *hint, size_t bytes, unsigned flags, void **start);
INTERNAL must_use int prim_unmap(void *start, size_t bytes);
// Makes reserved memory readable and writable, or takes access away again (contents are kept).
INTERNAL must_use int prim_access(void *start, size_t bytes, bool accessible);
// Drops the contents at once: resident memory falls and the range, which must be writable, reads as
// zeroes. An error, and the contents are as they were, where the system does not do what it says.
INTERNAL must_use int prim_purge(void *start, size_t bytes);
// Lets the OS drop the contents when it needs memory; until rewritten the range reads as old data
// or zeroes.
INTERNAL must_use int prim_reset(void *start, size_t bytes);
// Drops the contents and makes each access fault, without splitting the mapping
// (MADV_GUARD_INSTALL). ENOTSUP-like errors where the system has no such call. prim_unguard takes
// the guard away; reads as zeroes then.
INTERNAL must_use int prim_guard(void *start, size_t bytes);
INTERNAL must_use int prim_unguard(void *start, size_t bytes);
// The OS page is locked in memory (mlock), or it cannot be told.
INTERNAL bool prim_is_locked(void *page);
// How much of a range of ours is one mapping of the system's, from the beginning on; 0: unknown.
INTERNAL size_t prim_mapping_bytes(void *start, size_t bytes);
// Moves the pages of [from, from+bytes), which is one mapping, to [to, to+bytes), replacing what is
// there, without copying. The old range stays mapped and reads as zeroes. On failure the pages are
// where they were, and what was at `to` is lost; *is_lost tells whether the addresses are, too: the
// system had unmapped them, and gave no new memory there, or had given them to somebody else. It
// fails for memory that is locked (mlock).
INTERNAL must_use int prim_move(void *from, size_t bytes, void *to, bool *is_lost);
// Asks for, or refuses, transparent huge pages in a range.
INTERNAL must_use int prim_advise_huge(void *start, size_t bytes, bool wanted);
// Maps memory made of large OS pages of `page_bytes` (2 MiB or 1 GiB) on a NUMA node (-1: any);
// pinned, zeroed.
INTERNAL must_use int prim_map_large(void *hint, size_t bytes, size_t page_bytes, int numa_node,
                                     void **start);
// The child of a fork sees zeroes in this range.
INTERNAL must_use int prim_wipe_on_fork(void *start, size_t bytes);

// --- time, randomness, environment, output -------------------------------------------------------

INTERNAL uint64_t prim_clock_ms(void); // monotonic, coarse and cheap
// from the OS, cryptographic quality, never blocks for long
INTERNAL must_use int prim_random(void *buffer, size_t bytes);
// NULL when unset, and always NULL in setuid programs. false from prim_env_ready: too early to ask.
INTERNAL const char *prim_env(const char *name);
INTERNAL bool prim_env_ready(void);
// Some variable's name begins with these letters: one look at all of them instead of many.
INTERNAL bool prim_env_has_any(const char *prefix);
// The absolute path of a file, without links; `buffer` has PRIM_PATH_BYTES bytes. May allocate,
// with the C library's malloc.
enum { PRIM_PATH_BYTES = 4096 };
INTERNAL must_use int prim_real_path(const char *path, char *buffer);
// The address of a name of the C++ library, be it the program's or one that came with a plugin, for
// that one alone; NULL: none is loaded, or nothing can be looked up in this program. May allocate,
// with the C library's malloc.
INTERNAL void *prim_find_cxx(const char *name);
INTERNAL void prim_write_error(const char *text, size_t bytes); // to stderr, unbuffered
// Keeps what is stderr now, for messages after the program has closed it; only the first call does.
// May fail silently: then such messages are lost.
INTERNAL void prim_keep_error(void);
INTERNAL __attribute__((noreturn)) void prim_abort(void);
INTERNAL __attribute__((noreturn)) void prim_exit(int code); // as exit(3)
// Return addresses of the callers, innermost first; 0 where it cannot be told. May allocate (debug
// reports only).
INTERNAL size_t prim_backtrace(void **frames, size_t max_count);
// Writes the frames, one a line, with symbols where known.
INTERNAL void prim_backtrace_write(void *const *frames, size_t count);

// --- threads and the process ---------------------------------------------------------------------

// Chooses the function to be called when a thread ends that has called prim_thread_exit_arm with a
// value other than NULL. It may be called several times for one thread if the thread is armed again
// during its exit.
INTERNAL must_use int  prim_thread_exit_init(void (*callback)(void *value));
INTERNAL must_use int  prim_thread_exit_arm(void *value);
INTERNAL void *prim_thread_exit_value(void); // what the calling thread is armed with, or NULL
INTERNAL void prim_thread_exit_done(void); // the callback will not be called any more
INTERNAL void prim_yield(void);
// The calling thread is the only one, helpers aside, until it starts another one. false where the
// system does not tell.
INTERNAL bool prim_is_single_threaded(void);

// Sleeps while *word == value, until prim_wake, or for so many ms at most; it may wake for no
// reason.
INTERNAL void prim_wait(ATOMIC(uint32_t) *word, uint32_t value, uint32_t timeout_ms);
INTERNAL void prim_wake(ATOMIC(uint32_t) *word); // one that sleeps there

// Starts a thread that the C library does not know: from anywhere, also inside malloc. `body` runs
// with all signals blocked, on memory that the caller provides (zeroed or used by a helper before).
// It may use no thread-local variable, and of prim only prim_wait, prim_wake, prim_access,
// prim_purge, prim_reset, prim_guard, prim_unguard and prim_helper_clock_ms, which are bare system
// calls. *alive becomes its number before it runs; once its memory is no longer used, the OS writes
// 0 there, with a wake. It inherits rights and scheduling from the calling thread. ENOTSUP where
// there is no such thing.
enum { PRIM_HELPER_BYTES = 256 * 1024 };
INTERNAL must_use int prim_helper_start(void (*body)(void *arg), void *arg, void *memory,
                                        ATOMIC(uint32_t) *alive);
INTERNAL uint64_t prim_helper_clock_ms(void); // as prim_clock_ms
// Lends it the processors and the priority of the calling thread. May fail silently.
INTERNAL void prim_helper_hurry(uint32_t number);
// What a helper would inherit that it had better not, of the calling thread.
enum prim_caller_flags {
    PRIM_CALLER_ELEVATED = 1, // the program has more rights than its user (set-user-ID...)
    PRIM_CALLER_MIXED    = 2, // real, effective and saved user are not the same
    PRIM_CALLER_ROOT     = 4, // one of them is root, or it has some of root's rights (capabilities)
    // its scheduling is real-time, or for when nothing else runs, and children inherit that
    PRIM_CALLER_SCHEDULED = 8
};
INTERNAL unsigned prim_caller(void);
INTERNAL unsigned prim_cpu_count(void);
INTERNAL unsigned prim_numa_count(void); // nodes, at least 1
INTERNAL unsigned prim_numa_node(void);  // of the calling thread

struct prim_usage {
    uint64_t elapsed_ms;         // since the process was started
    uint64_t user_ms, system_ms;       // CPU time of the process
    size_t   resident_bytes, peak_resident_bytes;
    uint64_t minor_faults, major_faults;
    size_t   mapping_count;            // 0 when unknown
};
INTERNAL void prim_usage_read(struct prim_usage *usage); // zeroes where unknown

#endif
