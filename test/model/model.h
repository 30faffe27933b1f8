/* model.h: runs a few threads of real source through all their interleavings.
 *
 * The source is compiled as C++ with include/base/atomic.h in the place of the library's, and with
 * the compiler's thread instrumentation, whose calls end up here. Threads are fibers. Each atomic
 * operation is a point at which another thread may go on; what else can turn out in more than one
 * way (a weak compare-and-swap that fails, a load that finds an older value) is a choice, too.
 * One run makes all choices in one way; exploring is a depth-first search over them.
 *
 *   M1  a run is a function of its choices: the same choices give the same run
 *   M2  every plain access to watched memory is ordered by happens-before with every earlier
 *       conflicting one. That order comes from the memory orders as written (vector clocks, release
 *       sequences through read-modify-writes of others included), not from how the run went: a
 *       missing acquire or release is found in any run in which both accesses take place
 *   M3  a relaxed or acquiring load may find any value that C11's coherence allows; not modelled:
 *       values from the future, fences, and a total order of seq_cst
 *   M4  in a full search, of runs that only differ in the order of independent operations one is
 *       tried (sleep sets, P. Godefroid 1996); independent: other locations, or two loads. So what
 *       runs do between atomic operations may depend on other threads through watched memory only
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include <stddef.h>
#include <stdint.h>

enum { MODEL_RELAXED = 0, MODEL_ACQUIRE = 1, MODEL_RELEASE = 2 };
enum { MODEL_EXCHANGE, MODEL_ADD, MODEL_SUBTRACT, MODEL_AND, MODEL_OR };
enum { MODEL_THREADS = 3 };

struct model_swap {
    uint64_t expected, wanted; // expected: what was found, when it fails
    int success, failure;      // orders
    bool is_weak;
};

// What include/base/atomic.h is made of.
uint64_t model_load(const void *at, size_t bytes, int order);
void model_store(void *at, size_t bytes, uint64_t value, int order);
uint64_t model_change(void *at, size_t bytes, int kind, uint64_t operand, int order);
bool model_compare_swap(void *at, size_t bytes, struct model_swap *swap);
// Plain, but a relaxed store of each atomic that lies there.
void *model_memset(void *start, int byte, size_t bytes);

// Ends the program with the text and the steps of this run.
__attribute__((noreturn)) void model_fail(const char *text);
// The fiber that runs, 0 .. threads - 1; MODEL_THREADS before and after them.
unsigned model_thread();

struct model_scenario {
    const char *name;
    unsigned threads;
    void (*start)();               // before the threads
    void (*run[MODEL_THREADS])();
    void (*finish)();              // after them; everything happened before it
    unsigned weak_failures;        // of compare_exchange_weak, at most so many in a run
    unsigned old_values;           // loads that find an older value, at most so many in a run
    // 0: all schedules. Else those with at most so many switches away from a thread that could
    // have gone on, and `random` schedules without that bound.
    unsigned switches;
    unsigned random;
};

// Tries the schedules and prints their number. Does not return when one fails.
void model_explore(const struct model_scenario *scenario);

// In `start` only. Memory in which plain accesses are checked (M2), in all runs.
void model_watch(const void *start, size_t bytes);
// In `start` only. Zeroes memory of the last run.
void model_clear(void *start, size_t bytes);
// In `start` only. Names an atomic for the report of a failure, and makes it known before its first
// use, which M4 needs where model_memset writes to it.
void model_name(const void *at, size_t bytes, const char *name);
// In `start` only. An atomic that no thread writes, or the run fails: its loads are no points at
// which another thread may go on.
void model_fix(const void *at, size_t bytes);
// Called whenever a fiber goes on, with its number: sets what is thread-local.
void model_on_switch(void (*hook)(unsigned thread));

// A random number generator that is the same everywhere.
uint64_t model_random(uint64_t *state);

#endif
