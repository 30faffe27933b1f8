#include "fake_prim.h"
#include <stdlib.h>
#include <unistd.h>

// The real functions, under the names that rename_prim.h gives them.
INTERNAL void real_prim_info_read(struct prim_info *info);
INTERNAL int real_prim_memory_limit(size_t *bytes);
INTERNAL int real_prim_memory_pressure(unsigned *percent);
INTERNAL int real_prim_map(void *hint, size_t bytes, unsigned flags, void **start);
INTERNAL int real_prim_unmap(void *start, size_t bytes);
INTERNAL int real_prim_access(void *start, size_t bytes, bool accessible);
INTERNAL int real_prim_purge(void *start, size_t bytes);
INTERNAL int real_prim_reset(void *start, size_t bytes);
INTERNAL int real_prim_guard(void *start, size_t bytes);
INTERNAL int real_prim_unguard(void *start, size_t bytes);
INTERNAL bool real_prim_is_locked(void *page);
INTERNAL size_t real_prim_mapping_bytes(void *start, size_t bytes);
INTERNAL int real_prim_move(void *from, size_t bytes, void *to, bool *is_lost);
INTERNAL int real_prim_advise_huge(void *start, size_t bytes, bool wanted);
INTERNAL int real_prim_map_large(void *hint, size_t bytes, size_t page_bytes, int numa_node,
                                 void **start);
INTERNAL int real_prim_wipe_on_fork(void *start, size_t bytes);
INTERNAL uint64_t real_prim_clock_ms(void);
INTERNAL int real_prim_random(void *buffer, size_t bytes);
INTERNAL const char *real_prim_env(const char *name);
INTERNAL bool real_prim_env_ready(void);
INTERNAL bool real_prim_env_has_any(const char *prefix);
INTERNAL void real_prim_write_error(const char *text, size_t bytes);
INTERNAL int real_prim_thread_exit_init(void (*callback)(void *value));
INTERNAL int real_prim_thread_exit_arm(void *value);
INTERNAL void real_prim_wait(ATOMIC(uint32_t) *word, uint32_t value, uint32_t timeout_ms);
INTERNAL int real_prim_helper_start(void (*body)(void *arg), void *arg, void *memory,
                                    ATOMIC(uint32_t) *alive);
INTERNAL uint64_t real_prim_helper_clock_ms(void);
INTERNAL void real_prim_helper_hurry(uint32_t number);
INTERNAL unsigned real_prim_caller(void);
INTERNAL unsigned real_prim_cpu_count(void);
INTERNAL unsigned real_prim_numa_count(void);
INTERNAL unsigned real_prim_numa_node(void);
INTERNAL void real_prim_usage_read(struct prim_usage *usage);

enum { FAKE_PRIM_VARIABLES = 16, FAKE_PRIM_CAUGHT_BYTES = 16384 };

// Numbers are those of the calls since the last reset; all accesses are relaxed, a test orders its
// threads itself.
struct fake_prim_plan {
    ATOMIC(unsigned long) calls;
    ATOMIC(unsigned long) first_failure; // 0: none
    ATOMIC(unsigned long) last_failure;
    ATOMIC(int)           error;
    void (*run)(void);
};

struct fake_prim_variable {
    const char *name, *value;
};

static struct fake_prim_plan     fake_prim_plans[FAKE_PRIM_CALL_COUNT];
static ATOMIC(size_t)            fake_prim_mapped;
static ATOMIC(bool)              fake_prim_has_clock;
static ATOMIC(uint64_t)          fake_prim_now_ms;
static ATOMIC(bool)              fake_prim_has_info;
static struct prim_info          fake_prim_info;
static ATOMIC(unsigned)          fake_prim_cpus, fake_prim_nodes, fake_prim_node;
static ATOMIC(size_t)            fake_prim_limit;
static ATOMIC(int)               fake_prim_pressure = -1;
static bool                      fake_prim_has_helper; // a made-up one
static ATOMIC(bool)              fake_prim_has_large;  // made-up ones
static unsigned                  fake_prim_caller;
static void                    (*fake_prim_body)(void *arg);
static void                     *fake_prim_arg;
static ATOMIC(uint32_t)         *fake_prim_alive;
static struct fake_prim_variable fake_prim_variables[FAKE_PRIM_VARIABLES];
static ATOMIC(bool)              fake_prim_is_early;
static ATOMIC(bool)              fake_prim_catches;
static ATOMIC(size_t)            fake_prim_caught_bytes;
static char                      fake_prim_caught_text[FAKE_PRIM_CAUGHT_BYTES];

// --- for the test --------------------------------------------------------------------------------

void fake_prim_reset(void)
{
    for (int i = 0; i < FAKE_PRIM_CALL_COUNT; i++) {
        atomic_store_explicit(&fake_prim_plans[i].calls, 0, memory_order_relaxed);
        atomic_store_explicit(&fake_prim_plans[i].first_failure, 0, memory_order_relaxed);
        fake_prim_plans[i].run = NULL;
    }
    fake_prim_has_helper = false;
    atomic_store_explicit(&fake_prim_has_large, false, memory_order_relaxed);
    fake_prim_body = NULL;
    atomic_store_explicit(&fake_prim_has_clock, false, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_has_info, false, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_is_early, false, memory_order_relaxed);
    fake_prim_set_cpus(0, 0, 0);
    fake_prim_set_limit(0);
    fake_prim_set_pressure(-1);
    memset(fake_prim_variables, 0, sizeof fake_prim_variables);
    atomic_store_explicit(&fake_prim_catches, false, memory_order_relaxed);
}

unsigned long fake_prim_count(enum fake_prim_call call)
{
    return atomic_load_explicit(&fake_prim_plans[call].calls, memory_order_relaxed);
}

size_t fake_prim_mapped_bytes(void)
{
    return atomic_load_explicit(&fake_prim_mapped, memory_order_relaxed);
}

static void fake_prim_plan_failures(enum fake_prim_call call, unsigned long n, bool is_once,
                                    int error)
{
    struct fake_prim_plan *plan = &fake_prim_plans[call];
    unsigned long first = n == 0 ? 0 : fake_prim_count(call) + n;
    atomic_store_explicit(&plan->error, error, memory_order_relaxed);
    atomic_store_explicit(&plan->last_failure, is_once ? first : ~0ul, memory_order_relaxed);
    atomic_store_explicit(&plan->first_failure, first, memory_order_relaxed);
}

void fake_prim_fail_once(enum fake_prim_call call, unsigned long n, int error)
{
    fake_prim_plan_failures(call, n, true, error);
}

void fake_prim_fail_from(enum fake_prim_call call, unsigned long n, int error)
{
    fake_prim_plan_failures(call, n, false, error);
}

void fake_prim_set_clock_ms(uint64_t now_ms)
{
    atomic_store_explicit(&fake_prim_now_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_has_clock, true, memory_order_relaxed);
}

void fake_prim_advance_clock_ms(uint64_t ms) { fake_prim_set_clock_ms(prim_clock_ms() + ms); }

void fake_prim_set_info(const struct prim_info *info)
{
    fake_prim_info = *info;
    atomic_store_explicit(&fake_prim_has_info, true, memory_order_relaxed);
}

void fake_prim_set_page_bytes(size_t bytes)
{
    struct prim_info info;
    prim_info_read(&info);
    info.page_bytes = bytes;
    fake_prim_set_info(&info);
}

void fake_prim_set_physical_bytes(size_t bytes)
{
    struct prim_info info;
    prim_info_read(&info);
    info.physical_bytes = bytes;
    fake_prim_set_info(&info);
}

void fake_prim_set_limit(size_t bytes)
{
    atomic_store_explicit(&fake_prim_limit, bytes, memory_order_relaxed);
}

void fake_prim_set_pressure(int percent)
{
    atomic_store_explicit(&fake_prim_pressure, percent, memory_order_relaxed);
}

void fake_prim_set_cpus(unsigned cpu_count, unsigned numa_count, unsigned numa_node)
{
    atomic_store_explicit(&fake_prim_cpus, cpu_count, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_nodes, numa_count, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_node, numa_node, memory_order_relaxed);
}

void fake_prim_make_up_helper(void)
{
    fake_prim_has_helper = true;
    fake_prim_caller = 0;
}

void fake_prim_make_up_large(void)
{
    atomic_store_explicit(&fake_prim_has_large, true, memory_order_relaxed);
}

void fake_prim_set_caller(unsigned flags) { fake_prim_caller = flags; }

bool fake_prim_run_helper(void)
{
    void (*body)(void *arg) = fake_prim_body;
    ATOMIC(uint32_t) *alive = fake_prim_alive; // it may start another one
    if (body == NULL) return false;
    fake_prim_body = NULL;
    body(fake_prim_arg);
    atomic_store_explicit(alive, 0, memory_order_release);
    return true;
}

void fake_prim_on(enum fake_prim_call call, void (*run)(void)) { fake_prim_plans[call].run = run; }

void fake_prim_set_env(const char *name, const char *value)
{
    for (int i = 0; i < FAKE_PRIM_VARIABLES; i++) {
        struct fake_prim_variable *variable = &fake_prim_variables[i];
        if (variable->name != NULL && strcmp(variable->name, name) != 0) continue;
        variable->name = name;
        variable->value = value;
        return;
    }
}

void fake_prim_set_env_ready(bool is_ready)
{
    atomic_store_explicit(&fake_prim_is_early, !is_ready, memory_order_relaxed);
}

void fake_prim_catch_errors(void)
{
    memset(fake_prim_caught_text, 0, sizeof fake_prim_caught_text);
    atomic_store_explicit(&fake_prim_caught_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&fake_prim_catches, true, memory_order_relaxed);
}

const char *fake_prim_caught(void) { return fake_prim_caught_text; }

// --- for the library -----------------------------------------------------------------------------

// Counts a call; the error that it has to return, or 0.
static int fake_prim_enter(enum fake_prim_call call)
{
    struct fake_prim_plan *plan = &fake_prim_plans[call];
    unsigned long number = atomic_fetch_add_explicit(&plan->calls, 1, memory_order_relaxed) + 1;
    unsigned long first = atomic_load_explicit(&plan->first_failure, memory_order_relaxed);
    unsigned long last = atomic_load_explicit(&plan->last_failure, memory_order_relaxed);
    if (plan->run != NULL) plan->run();
    if (first == 0 || number < first || number > last) return 0;
    return atomic_load_explicit(&plan->error, memory_order_relaxed);
}

static size_t fake_prim_page_bytes(void)
{
    bool is_made_up = atomic_load_explicit(&fake_prim_has_info, memory_order_relaxed);
    return is_made_up ? fake_prim_info.page_bytes : (size_t)sysconf(_SC_PAGESIZE);
}

// The same for a call about a range, which M4 says begins and ends with an OS page.
static int fake_prim_enter_range(enum fake_prim_call call, const void *start, size_t bytes)
{
    const char *text = "M4: the range is not one of OS pages\n";
    if ((((uintptr_t)start | bytes) & (fake_prim_page_bytes() - 1)) != 0) {
        real_prim_write_error(text, strlen(text));
        abort();
    }
    return fake_prim_enter(call);
}

static int fake_prim_add_mapped(int error, size_t bytes)
{
    if (error == 0) atomic_fetch_add_explicit(&fake_prim_mapped, bytes, memory_order_relaxed);
    return error;
}

void prim_info_read(struct prim_info *info)
{
    (void)fake_prim_enter(FAKE_PRIM_info_read);
    if (atomic_load_explicit(&fake_prim_has_info, memory_order_relaxed)) *info = fake_prim_info;
    else real_prim_info_read(info);
}

int prim_memory_limit(size_t *bytes)
{
    int error = fake_prim_enter(FAKE_PRIM_memory_limit);
    size_t limit = atomic_load_explicit(&fake_prim_limit, memory_order_relaxed);
    if (error == 0 && limit == 0) error = real_prim_memory_limit(bytes);
    else if (error == 0) *bytes = limit;
    return error;
}

int prim_memory_pressure(unsigned *percent)
{
    int error = fake_prim_enter(FAKE_PRIM_memory_pressure);
    int made_up = atomic_load_explicit(&fake_prim_pressure, memory_order_relaxed);
    if (error == 0 && made_up < 0) error = real_prim_memory_pressure(percent);
    else if (error == 0) *percent = (unsigned)made_up;
    return error;
}

// OS pages that are made up are larger than those of the real system, whose answer may lie at any
// of its own.
static int fake_prim_map_pages(void *hint, size_t bytes, size_t page_bytes, unsigned flags,
                               void **start)
{
    size_t more_bytes = page_bytes - (size_t)getpagesize();
    int error = real_prim_map(hint, bytes + more_bytes, flags, start);
    if (error != 0 || more_bytes == 0) return error;
    char *first = (char *)*start, *end = first + bytes + more_bytes;
    char *aligned = first + (0 - (uintptr_t)first) % page_bytes;
    if (aligned > first) error = real_prim_unmap(first, (size_t)(aligned - first));
    if (error == 0 && aligned + bytes < end)
        error = real_prim_unmap(aligned + bytes, (size_t)(end - (aligned + bytes)));
    *start = aligned;
    return error;
}

int prim_map(void *hint, size_t bytes, unsigned flags, void **start)
{
    int error = fake_prim_enter_range(FAKE_PRIM_map, hint, bytes);
    bool is_anywhere = (flags & (PRIM_MAP_EXACT | PRIM_MAP_REPLACE)) == 0;
    if (error == 0 && is_anywhere)
        error = fake_prim_map_pages(hint, bytes, fake_prim_page_bytes(), flags, start);
    else if (error == 0) error = real_prim_map(hint, bytes, flags, start);
    return (flags & PRIM_MAP_REPLACE) != 0 ? error : fake_prim_add_mapped(error, bytes);
}

int prim_unmap(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_unmap, start, bytes);
    return error != 0 ? error : fake_prim_add_mapped(real_prim_unmap(start, bytes), 0 - bytes);
}

int prim_access(void *start, size_t bytes, bool accessible)
{
    int error = fake_prim_enter_range(FAKE_PRIM_access, start, bytes);
    return error != 0 ? error : real_prim_access(start, bytes, accessible);
}

int prim_purge(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_purge, start, bytes);
    return error != 0 ? error : real_prim_purge(start, bytes);
}

int prim_reset(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_reset, start, bytes);
    return error != 0 ? error : real_prim_reset(start, bytes);
}

int prim_guard(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_guard, start, bytes);
    return error != 0 ? error : real_prim_guard(start, bytes);
}

int prim_unguard(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_unguard, start, bytes);
    return error != 0 ? error : real_prim_unguard(start, bytes);
}

bool prim_is_locked(void *page) { return real_prim_is_locked(page); }

size_t prim_mapping_bytes(void *start, size_t bytes)
{
    (void)fake_prim_enter_range(FAKE_PRIM_mapping_bytes, start, bytes);
    return real_prim_mapping_bytes(start, bytes);
}

int prim_move(void *from, size_t bytes, void *to, bool *is_lost)
{
    // of both ranges: the other one may end where it likes
    int error = fake_prim_enter_range(FAKE_PRIM_move, from, bytes | (uintptr_t)to);
    if (error == 0) return real_prim_move(from, bytes, to, is_lost);
    *is_lost = false;
    return error;
}

int prim_advise_huge(void *start, size_t bytes, bool wanted)
{
    int error = fake_prim_enter_range(FAKE_PRIM_advise_huge, start, bytes);
    return error != 0 ? error : real_prim_advise_huge(start, bytes, wanted);
}

int prim_map_large(void *hint, size_t bytes, size_t page_bytes, int numa_node, void **start)
{
    int error = fake_prim_enter_range(FAKE_PRIM_map_large, hint, bytes);
    bool is_made_up = atomic_load_explicit(&fake_prim_has_large, memory_order_relaxed);
    if (error == 0 && is_made_up && hint == NULL)
        error = fake_prim_map_pages(hint, bytes, page_bytes, PRIM_MAP_ANYWHERE, start);
    else if (error == 0 && is_made_up)
        error = real_prim_map(hint, bytes, PRIM_MAP_EXACT, start);
    else if (error == 0)
        error = real_prim_map_large(hint, bytes, page_bytes, numa_node, start);
    return fake_prim_add_mapped(error, bytes);
}

int prim_wipe_on_fork(void *start, size_t bytes)
{
    int error = fake_prim_enter_range(FAKE_PRIM_wipe_on_fork, start, bytes);
    return error != 0 ? error : real_prim_wipe_on_fork(start, bytes);
}

uint64_t prim_clock_ms(void)
{
    (void)fake_prim_enter(FAKE_PRIM_clock_ms);
    bool is_made_up = atomic_load_explicit(&fake_prim_has_clock, memory_order_relaxed);
    if (!is_made_up) return real_prim_clock_ms();
    return atomic_load_explicit(&fake_prim_now_ms, memory_order_relaxed);
}

int prim_random(void *buffer, size_t bytes)
{
    int error = fake_prim_enter(FAKE_PRIM_random);
    return error != 0 ? error : real_prim_random(buffer, bytes);
}

const char *prim_env(const char *name)
{
    (void)fake_prim_enter(FAKE_PRIM_env);
    for (int i = 0; i < FAKE_PRIM_VARIABLES && fake_prim_variables[i].name != NULL; i++) {
        if (strcmp(fake_prim_variables[i].name, name) == 0) return fake_prim_variables[i].value;
    }
    return real_prim_env(name);
}

bool prim_env_has_any(const char *prefix)
{
    for (int i = 0; i < FAKE_PRIM_VARIABLES && fake_prim_variables[i].name != NULL; i++) {
        if (strncmp(fake_prim_variables[i].name, prefix, strlen(prefix)) == 0) return true;
    }
    return real_prim_env_has_any(prefix);
}

bool prim_env_ready(void)
{
    bool is_early = atomic_load_explicit(&fake_prim_is_early, memory_order_relaxed);
    return !is_early && real_prim_env_ready();
}

void prim_write_error(const char *text, size_t bytes)
{
    (void)fake_prim_enter(FAKE_PRIM_write_error);
    if (!atomic_load_explicit(&fake_prim_catches, memory_order_relaxed)) {
        real_prim_write_error(text, bytes);
        return;
    }
    size_t start = atomic_fetch_add_explicit(&fake_prim_caught_bytes, bytes, memory_order_relaxed);
    for (size_t i = 0; i < bytes && start + i < sizeof fake_prim_caught_text - 1; i++) {
        fake_prim_caught_text[start + i] = text[i];
    }
}

int prim_thread_exit_init(void (*callback)(void *value))
{
    int error = fake_prim_enter(FAKE_PRIM_thread_exit_init);
    return error != 0 ? error : real_prim_thread_exit_init(callback);
}

int prim_thread_exit_arm(void *value)
{
    int error = fake_prim_enter(FAKE_PRIM_thread_exit_arm);
    return error != 0 ? error : real_prim_thread_exit_arm(value);
}

void prim_wait(ATOMIC(uint32_t) *word, uint32_t value, uint32_t timeout_ms)
{
    (void)fake_prim_enter(FAKE_PRIM_wait);
    if (!fake_prim_has_helper) real_prim_wait(word, value, timeout_ms);
    else if (atomic_load_explicit(word, memory_order_relaxed) == value)
        fake_prim_advance_clock_ms(timeout_ms);
}

int prim_helper_start(void (*body)(void *arg), void *arg, void *memory, ATOMIC(uint32_t) *alive)
{
    enum { NUMBER = 77 };
    int error = fake_prim_enter(FAKE_PRIM_helper_start);
    if (error == 0 && !fake_prim_has_helper) {
        return real_prim_helper_start(body, arg, memory, alive);
    }
    if (error != 0) return error;
    fake_prim_body = body;
    fake_prim_arg = arg;
    fake_prim_alive = alive;
    atomic_store_explicit(alive, NUMBER, memory_order_relaxed);
    return 0;
}

uint64_t prim_helper_clock_ms(void)
{
    return fake_prim_has_helper ? prim_clock_ms() : real_prim_helper_clock_ms();
}

void prim_helper_hurry(uint32_t number)
{
    (void)fake_prim_enter(FAKE_PRIM_helper_hurry);
    if (!fake_prim_has_helper) real_prim_helper_hurry(number);
}

unsigned prim_caller(void) { return fake_prim_has_helper ? fake_prim_caller : real_prim_caller(); }

unsigned prim_cpu_count(void)
{
    unsigned count = atomic_load_explicit(&fake_prim_cpus, memory_order_relaxed);
    return count != 0 ? count : real_prim_cpu_count();
}

unsigned prim_numa_count(void)
{
    unsigned count = atomic_load_explicit(&fake_prim_nodes, memory_order_relaxed);
    return count != 0 ? count : real_prim_numa_count();
}

unsigned prim_numa_node(void)
{
    bool is_made_up = atomic_load_explicit(&fake_prim_nodes, memory_order_relaxed) != 0;
    if (!is_made_up) return real_prim_numa_node();
    return atomic_load_explicit(&fake_prim_node, memory_order_relaxed);
}

void prim_usage_read(struct prim_usage *usage)
{
    (void)fake_prim_enter(FAKE_PRIM_usage_read);
    real_prim_usage_read(usage);
}
