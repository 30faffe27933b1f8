/* fake_prim.h: the OS of the unit tests. It passes every call on to the real one, and on demand
 * makes it fail or answer something else, so that each failure branch above can be reached. A call
 * that breaks M4 (prim.h) ends the program.
 *
 * Every unit test is linked with it; without a word from it nothing differs but the counts. All of
 * this may be called while other threads are inside, except fake_prim_reset and _set_info, the
 * environment and the caught output.
 */
#ifndef TEST_SUPPORT_FAKE_PRIM_H
#define TEST_SUPPORT_FAKE_PRIM_H
#include "prim/prim.h"

// The calls that are counted; those up to memory_pressure can be made to fail.
#define FAKE_PRIM_CALLS(X) \
    X(map) X(unmap) X(access) X(purge) X(reset) X(guard) X(unguard) X(move) X(advise_huge) \
    X(map_large) X(wipe_on_fork) X(random) X(thread_exit_init) X(thread_exit_arm) X(helper_start) \
    X(memory_limit) X(memory_pressure) \
    X(info_read) X(clock_ms) X(env) X(write_error) X(usage_read) X(wait) X(helper_hurry) \
    X(mapping_bytes)

enum fake_prim_call {
#define X(name) FAKE_PRIM_##name,
    FAKE_PRIM_CALLS(X)
#undef X
    FAKE_PRIM_CALL_COUNT
};

// As at the start: nothing fails, nothing is made up, all counts are 0.
void fake_prim_reset(void);

// Calls since fake_prim_reset, failed ones too.
unsigned long fake_prim_count(enum fake_prim_call call);
size_t fake_prim_mapped_bytes(void); // mapped less unmapped through prim since the program began

// The n-th call from now (1: the next one) fails with `error`; the calls after it succeed again, or
// fail as well. n == 0 takes it back. Nothing is passed on when a call fails.
void fake_prim_fail_once(enum fake_prim_call call, unsigned long n, int error);
void fake_prim_fail_from(enum fake_prim_call call, unsigned long n, int error);

// The clock stands at what was set last, and moves only when it is told to.
void fake_prim_set_clock_ms(uint64_t now_ms);
void fake_prim_advance_clock_ms(uint64_t ms);
// What prim_info_read answers from now on.
void fake_prim_set_info(const struct prim_info *info);
void fake_prim_set_page_bytes(size_t bytes); // a multiple of the real one
void fake_prim_set_physical_bytes(size_t bytes);
// 0: the real number of them.
void fake_prim_set_cpus(unsigned cpu_count, unsigned numa_count, unsigned numa_node);

// 0, and below 0: what the real one says.
void fake_prim_set_limit(size_t bytes);
void fake_prim_set_pressure(int percent);

// From now on no helper is real: prim_helper_start keeps what it is to run, and prim_wait moves the
// clock, which was set before, instead of sleeping. The caller is as ordinary as can be, unless
// fake_prim_set_caller says something else.
void fake_prim_make_up_helper(void);
void fake_prim_set_caller(unsigned flags);
bool fake_prim_run_helper(void); // to its end, here and now; false: none was started
// Runs something at each such call, before anything else is done. NULL takes it back.
void fake_prim_on(enum fake_prim_call call, void (*run)(void));

// From now on there are large OS pages, made of ordinary ones.
void fake_prim_make_up_large(void);

// A variable that hides the real one; value NULL: not set. Up to 16; the texts are not copied.
void fake_prim_set_env(const char *name, const char *value);
void fake_prim_set_env_ready(bool is_ready);

// prim_write_error fills a buffer (until the next fake_prim_reset) instead of writing to stderr.
void fake_prim_catch_errors(void);
const char *fake_prim_caught(void); // all since the last call of fake_prim_catch_errors

#endif
