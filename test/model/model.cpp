#undef _FORTIFY_SOURCE // which takes a longjmp to another stack for a mistake
#include "model.h"
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <vector>

enum {
    MAIN = MODEL_THREADS, // the thread that starts and finishes
    CLOCKS = MODEL_THREADS + 1,
    STACK_BYTES = 128 * 1024,
    MAX_STEPS = 4000,     // a run that takes more does not end
    HISTORY = 6,          // values of an atomic that an old load can find
    LOCATIONS = 512,
    MAX_RANGES = 16,
    GRAIN_BYTES = 2,
    TRACE = 120
};

struct clocks { uint32_t at[CLOCKS]; };

// One value that an atomic had.
struct past {
    uint64_t value;
    struct clocks released; // what an acquiring reader learns
    uint32_t seen[CLOCKS];  // when each thread knew of it first, 0: not yet
};

struct location {
    uintptr_t at;
    size_t bytes;
    const char *name;
    bool is_fixed;
    unsigned count; // values so far; the latest is past[(count - 1) % HISTORY]
    struct past past[HISTORY];
};

// The last accesses to a grain of watched memory.
struct shadow {
    uint64_t run;
    uint32_t written, written_by;
    uint32_t read[CLOCKS];
};

struct range {
    uintptr_t start, end;
    struct shadow *shadow;
};

struct fiber {
    ucontext_t context; // where it begins
    jmp_buf jump;       // where it goes on: unlike swapcontext that costs no system call
    char *stack;
    bool is_begun;      // in its loop; false: to be begun on a fresh stack
    bool is_done;
    uintptr_t at; // of its next operation; 0: its beginning
    bool is_write;
};

struct choice { unsigned count, chosen; };

struct step { unsigned thread; const char *what; const struct location *location; uint64_t value; };

// --- the state of a run --------------------------------------------------------------------------

static const struct model_scenario *model_now;
static jmp_buf model_scheduler;
static struct fiber model_fibers[MODEL_THREADS];
static unsigned model_current = MAIN;
static struct clocks model_clocks[CLOCKS];
static struct location model_locations[LOCATIONS];
static unsigned model_location_index[LOCATIONS * 4]; // open hashing; 0: empty, else index + 1
static unsigned model_location_count;
static struct range model_ranges[MAX_RANGES];
static unsigned model_range_count;
static uint64_t model_run_number;
static unsigned model_steps, model_weak_left, model_old_left, model_switches_left;
static std::vector<choice> model_path;
static size_t model_depth;
static bool model_is_random;
static uint64_t model_seed;
static struct step model_trace[TRACE];
static void (*model_hook)(unsigned thread);

unsigned model_thread() { return model_current; }

uint64_t model_random(uint64_t *state) // splitmix64 (Steele, Lea, Flood 2014)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void model_print_step(const struct step *step)
{
    if (step->thread < MAIN) fprintf(stderr, "    thread %u: ", step->thread);
    else fprintf(stderr, "    main:     ");
    const char *name = step->location->name;
    fprintf(stderr, "%-22s ", step->what);
    if (name != NULL) fprintf(stderr, "%-20s", name);
    else fprintf(stderr, "%-20p", (void *)step->location->at);
    fprintf(stderr, " %#llx\n", (unsigned long long)step->value);
}

void model_fail(const char *text)
{
    fprintf(stderr, "model: %s, run %llu, thread %u: %s\n", model_now->name,
            (unsigned long long)model_run_number, model_current, text);
    unsigned from = model_steps > TRACE ? model_steps - TRACE : 0;
    for (unsigned i = from; i < model_steps; i++) model_print_step(&model_trace[i % TRACE]);
    fflush(stderr);
    _Exit(1);
}

// --- choices -------------------------------------------------------------------------------------

// One of `count`; 0 is what happens first.
static unsigned model_choose(unsigned count)
{
    if (count <= 1) return 0;
    if (model_is_random) return (unsigned)(model_random(&model_seed) % count);
    if (model_depth == model_path.size()) model_path.push_back({count, 0});
    struct choice *choice = &model_path[model_depth++];
    if (choice->count != count) model_fail("M1: the same choices led to another run");
    return choice->chosen;
}

// The next run's choices; false when all are done.
static bool model_next_path()
{
    while (!model_path.empty()) {
        struct choice *last = &model_path.back();
        if (++last->chosen < last->count) return true;
        model_path.pop_back();
    }
    return false;
}

// --- happens-before ------------------------------------------------------------------------------

static void model_join(struct clocks *clocks, const struct clocks *other)
{
    for (unsigned i = 0; i < CLOCKS; i++) {
        if (other->at[i] > clocks->at[i]) clocks->at[i] = other->at[i];
    }
}

static uint32_t *model_own_clock() { return &model_clocks[model_current].at[model_current]; }

static void model_fail_race(const struct range *range, uintptr_t address, const char *text,
                            unsigned other)
{
    static char line[200];
    snprintf(line, sizeof(line), "M2: %s by thread %u, unordered (watched at %p + %#zx)", text,
             other, (void *)range->start, (size_t)(address - range->start));
    model_fail(line);
}

static void model_check_grain(const struct range *range, uintptr_t address, bool is_write)
{
    struct shadow *shadow = &range->shadow[(address - range->start) / GRAIN_BYTES];
    const uint32_t *known = model_clocks[model_current].at;
    if (shadow->run != model_run_number) {
        memset(shadow, 0, sizeof(*shadow));
        shadow->run = model_run_number;
    }
    if (shadow->written > known[shadow->written_by]) {
        model_fail_race(range, address, is_write ? "write after a write" : "read after a write",
                        shadow->written_by);
    }
    for (unsigned i = 0; is_write && i < CLOCKS; i++) {
        if (shadow->read[i] > known[i]) model_fail_race(range, address, "write after a read", i);
    }
    if (is_write) {
        shadow->written = known[model_current];
        shadow->written_by = model_current;
    } else {
        shadow->read[model_current] = known[model_current];
    }
}

static void model_access(const void *start, size_t bytes, bool is_write)
{
    uintptr_t from = (uintptr_t)start;
    if (model_current == MAIN) return; // before everything, or after it
    for (unsigned i = 0; i < model_range_count; i++) {
        const struct range *range = &model_ranges[i];
        if (from < range->start || from >= range->end) continue;
        for (size_t done = 0; done < bytes; done += GRAIN_BYTES)
            model_check_grain(range, from + done, is_write);
        return;
    }
}

void model_watch(const void *start, size_t bytes)
{
    for (unsigned i = 0; i < model_range_count; i++) {
        if (model_ranges[i].start == (uintptr_t)start) return;
    }
    if (model_range_count == MAX_RANGES) model_fail("too many ranges");
    void *shadow = calloc(bytes / GRAIN_BYTES + 1, sizeof(struct shadow));
    if (shadow == NULL) abort();
    model_ranges[model_range_count++] = {(uintptr_t)start, (uintptr_t)start + bytes,
                                         (struct shadow *)shadow};
}

// --- atomics -------------------------------------------------------------------------------------

static uint64_t model_read(const struct location *location)
{
    uint64_t value = 0;
    memcpy(&value, (const void *)location->at, location->bytes);
    return value;
}

static struct past *model_latest(struct location *location)
{
    return &location->past[(location->count - 1) % HISTORY];
}

static struct location *model_location(const void *at, size_t bytes)
{
    size_t slot = ((uintptr_t)at >> 1) * UINT64_C(0x9e3779b97f4a7c15) >> 40;
    for (;; slot++) {
        unsigned *index = &model_location_index[slot % (LOCATIONS * 4)];
        if (*index == 0) {
            if (model_location_count == LOCATIONS) model_fail("too many atomics");
            *index = ++model_location_count;
            struct location *location = &model_locations[*index - 1];
            memset(location, 0, sizeof(*location));
            location->at = (uintptr_t)at;
            location->bytes = bytes;
            location->count = 1;
            location->past[0].value = model_read(location);
            location->past[0].seen[MAIN] = 1;
            return location;
        }
        if (model_locations[*index - 1].at == (uintptr_t)at) return &model_locations[*index - 1];
    }
}

void model_name(const void *at, size_t bytes, const char *name)
{
    model_location(at, bytes)->name = name;
}

void model_fix(const void *at, size_t bytes) { model_location(at, bytes)->is_fixed = true; }

static void model_forget_locations()
{
    memset(model_location_index, 0, sizeof(model_location_index));
    model_location_count = 0;
}

static void model_saw(struct past *past)
{
    if (past->seen[model_current] == 0) past->seen[model_current] = *model_own_clock();
}

static bool model_is_known(const struct past *past)
{
    for (unsigned i = 0; i < CLOCKS; i++) {
        if (past->seen[i] != 0 && model_clocks[model_current].at[i] >= past->seen[i]) return true;
    }
    return false;
}

// The value that a load finds: the latest, or an older one of which this thread cannot know that it
// has been replaced.
static struct past *model_find(struct location *location)
{
    unsigned oldest = 0;
    while (model_old_left > 0 && oldest + 1 < HISTORY && oldest + 1 < location->count &&
           !model_is_known(&location->past[(location->count - 1 - oldest) % HISTORY])) {
        oldest++;
    }
    unsigned chosen = model_choose(oldest + 1);
    if (chosen != 0) model_old_left--;
    return &location->past[(location->count - 1 - chosen) % HISTORY];
}

static void model_note(const char *what, const struct location *location, uint64_t value)
{
    if (model_steps == MAX_STEPS) model_fail("the run does not end");
    model_trace[model_steps++ % TRACE] = {model_current, what, location, value};
}

static void model_write(struct location *location, uint64_t value, int order, bool is_change)
{
    const struct clocks none = {};
    struct clocks released = is_change ? model_latest(location)->released : none;
    if ((order & MODEL_RELEASE) != 0) model_join(&released, &model_clocks[model_current]);
    location->count++;
    struct past *past = model_latest(location);
    memset(past, 0, sizeof(*past));
    past->value = value;
    past->released = released;
    model_saw(past);
    memcpy((void *)location->at, &value, location->bytes);
}

static void model_yield(const struct location *location, bool is_write);

static void model_learn(struct past *past, int order)
{
    model_saw(past);
    if ((order & MODEL_ACQUIRE) != 0) model_join(&model_clocks[model_current], &past->released);
}

uint64_t model_load(const void *at, size_t bytes, int order)
{
    struct location *location = model_location(at, bytes);
    if (location->is_fixed) return model_read(location);
    model_yield(location, false);
    struct past *past = model_find(location);
    uint64_t value = past->value;
    model_note(past == model_latest(location) ? "load" : "load an old value", location, value);
    model_learn(past, order);
    ++*model_own_clock();
    return value;
}

void model_store(void *at, size_t bytes, uint64_t value, int order)
{
    struct location *location = model_location(at, bytes);
    model_yield(location, true);
    model_note("store", location, value);
    model_write(location, value, order, false);
    ++*model_own_clock();
}

static uint64_t model_result(int kind, uint64_t value, uint64_t operand)
{
    switch (kind) {
    case MODEL_ADD:      return value + operand;
    case MODEL_SUBTRACT: return value - operand;
    case MODEL_AND:      return value & operand;
    case MODEL_OR:       return value | operand;
    default:             return operand;
    }
}

uint64_t model_change(void *at, size_t bytes, int kind, uint64_t operand, int order)
{
    static const char *const names[] = {"exchange", "add", "subtract", "and", "or"};
    struct location *location = model_location(at, bytes);
    model_yield(location, true);
    uint64_t value = model_latest(location)->value;
    model_learn(model_latest(location), order);
    uint64_t result = model_result(kind, value, operand);
    if (bytes < sizeof(result)) result &= (UINT64_C(1) << bytes * 8) - 1;
    model_note(names[kind], location, result);
    model_write(location, result, order, true);
    ++*model_own_clock();
    return value;
}

bool model_compare_swap(void *at, size_t bytes, struct model_swap *swap)
{
    struct location *location = model_location(at, bytes);
    model_yield(location, true);
    uint64_t value = model_latest(location)->value;
    bool fits = value == swap->expected;
    bool fails = fits && swap->is_weak && model_weak_left > 0 && model_choose(2) == 1;
    model_note(fails ? "swap fails weakly" : fits ? "swap" : "swap fails", location,
               fits ? swap->wanted : value);
    if (fails) model_weak_left--;
    model_learn(model_latest(location), fits && !fails ? swap->success : swap->failure);
    if (fits && !fails) model_write(location, swap->wanted, swap->success, true);
    swap->expected = value;
    ++*model_own_clock();
    return fits && !fails;
}

void model_clear(void *start, size_t bytes) { memset(start, 0, bytes); }

void *model_memset(void *start, int byte, size_t bytes)
{
    uintptr_t from = (uintptr_t)start, end = from + bytes;
    std::vector<struct location *> inside;
    for (unsigned i = 0; i < model_location_count; i++) {
        struct location *location = &model_locations[i];
        if (location->at >= from && location->at < end) inside.push_back(location);
    }
    model_access(start, bytes, true);
    std::vector<uint64_t> before;
    for (struct location *location : inside) before.push_back(model_read(location));
    memset(start, byte, bytes);
    for (size_t i = 0; i < inside.size(); i++) // they change one by one, below
        memcpy((void *)inside[i]->at, &before[i], inside[i]->bytes);
    uint64_t value;
    memset(&value, byte, sizeof(value));
    for (struct location *location : inside) {
        uint64_t part = 0;
        memcpy(&part, &value, location->bytes);
        model_store((void *)location->at, location->bytes, part, MODEL_RELAXED);
    }
    return start;
}

// --- fibers --------------------------------------------------------------------------------------

static void model_leave_fiber(struct fiber *fiber)
{
    if (_setjmp(fiber->jump) == 0) _longjmp(model_scheduler, 1);
}

static void model_yield(const struct location *location, bool is_write)
{
    if (model_current == MAIN) return;
    if (is_write && location->is_fixed) model_fail("an atomic was written that should not change");
    struct fiber *fiber = &model_fibers[model_current];
    fiber->at = location->at;
    fiber->is_write = is_write;
    model_leave_fiber(fiber);
}

static void model_fiber_main()
{
    struct fiber *fiber = &model_fibers[model_current];
    for (;;) { // once for each run, unless one is left half way
        model_now->run[model_current]();
        fiber->is_done = true;
        model_leave_fiber(fiber);
    }
}

static void model_begin_fiber(struct fiber *fiber)
{
    if (fiber->stack == NULL) fiber->stack = (char *)malloc(STACK_BYTES);
    if (fiber->stack == NULL || getcontext(&fiber->context) != 0) abort();
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    fiber->context.uc_link = NULL;
    fiber->is_begun = true;
    makecontext(&fiber->context, model_fiber_main, 0);
    setcontext(&fiber->context);
}

static void model_resume(unsigned thread)
{
    struct fiber *fiber = &model_fibers[thread];
    model_current = thread;
    if (model_hook != NULL) model_hook(thread);
    if (_setjmp(model_scheduler) == 0) {
        if (!fiber->is_begun) model_begin_fiber(fiber);
        _longjmp(fiber->jump, 1);
    }
    model_current = MAIN;
}

static void model_start_fiber(unsigned thread)
{
    struct fiber *fiber = &model_fibers[thread];
    if (!fiber->is_done) fiber->is_begun = false; // left half way
    fiber->is_done = false;
    fiber->at = 0;
    model_clocks[thread] = model_clocks[MAIN];
    model_clocks[thread].at[thread] = 1;
    model_resume(thread); // up to its first atomic operation
}

static bool model_is_independent(const struct fiber *one, const struct fiber *other)
{
    return one->at != other->at || (!one->is_write && !other->is_write);
}

// Threads that may go on, the one that ran last first.
static unsigned model_ready(unsigned last, unsigned asleep, unsigned *ready)
{
    unsigned count = 0;
    for (unsigned i = 0; i < model_now->threads; i++) {
        unsigned thread = (last + i) % model_now->threads;
        if (!model_fibers[thread].is_done && (asleep >> thread & 1) == 0) ready[count++] = thread;
    }
    return count;
}

static bool model_all_are_done()
{
    for (unsigned i = 0; i < model_now->threads; i++) {
        if (!model_fibers[i].is_done) return false;
    }
    return true;
}

// The sleep set after the chosen one of `ready` has been let go on (M4).
static unsigned model_sleep(unsigned asleep, const unsigned *ready, unsigned chosen)
{
    for (unsigned i = 0; i < chosen; i++) asleep |= 1u << ready[i];
    const struct fiber *runs = &model_fibers[ready[chosen]];
    for (unsigned i = 0; i < model_now->threads; i++) {
        if (!model_is_independent(runs, &model_fibers[i])) asleep &= ~(1u << i);
    }
    return asleep;
}

// Lets the threads run to their end; false: other runs cover this one.
static bool model_schedule()
{
    unsigned ready[MODEL_THREADS], asleep = 0, last = 0;
    bool is_full = model_now->switches == 0 && !model_is_random;
    for (;;) {
        unsigned count = model_ready(last, asleep, ready);
        if (count == 0) return model_all_are_done();
        bool is_bound = !is_full && !model_is_random && ready[0] == last;
        unsigned chosen = is_bound && model_switches_left == 0 ? 0 : model_choose(count);
        if (is_bound && chosen != 0) model_switches_left--;
        if (is_full) asleep = model_sleep(asleep, ready, chosen);
        last = ready[chosen];
        model_resume(last);
    }
}

// --- runs ----------------------------------------------------------------------------------------

static bool model_run_once()
{
    model_run_number++;
    model_depth = 0;
    model_steps = 0;
    model_weak_left = model_now->weak_failures;
    model_old_left = model_now->old_values;
    model_switches_left = model_now->switches;
    model_current = MAIN;
    memset(model_clocks, 0, sizeof(model_clocks));
    model_clocks[MAIN].at[MAIN] = 1;
    model_forget_locations();
    model_now->start();
    for (unsigned i = 0; i < model_now->threads; i++) model_start_fiber(i);
    ++*model_own_clock();
    if (!model_schedule()) return false;
    model_old_left = model_weak_left = 0;
    for (unsigned i = 0; i < model_now->threads; i++)
        model_join(&model_clocks[MAIN], &model_clocks[i]);
    model_now->finish();
    return true;
}

void model_on_switch(void (*hook)(unsigned thread)) { model_hook = hook; }

static void model_on_fault(int) { model_fail("an access to memory that is not there"); }

void model_explore(const struct model_scenario *scenario)
{
    signal(SIGSEGV, model_on_fault);
    unsigned long long whole = 0, cut = 0;
    model_now = scenario;
    model_path.clear();
    do {
        if (model_run_once()) whole++;
        else cut++;
    } while (model_next_path());
    printf("%-36s %8llu schedules", scenario->name, whole);
    if (scenario->switches == 0) printf(", all (%llu cut short)", cut);
    else printf(" with at most %u switches", scenario->switches);

    model_is_random = true;
    for (unsigned i = 0; i < scenario->random; i++) {
        model_seed = i;
        (void)model_run_once();
    }
    model_is_random = false;
    if (scenario->random != 0) printf(", %u random ones", scenario->random);
    printf("\n");
    fflush(stdout);
}

// --- what the compiler's instrumentation calls ---------------------------------------------------

#define MODEL_SIZES(X) X(1) X(2) X(4) X(8) X(16)
#define MODEL_ACCESSES(bytes) \
    void __tsan_read##bytes(void *at) { model_access(at, bytes, false); } \
    void __tsan_write##bytes(void *at) { model_access(at, bytes, true); } \
    void __tsan_unaligned_read##bytes(void *at) { model_access(at, bytes, false); } \
    void __tsan_unaligned_write##bytes(void *at) { model_access(at, bytes, true); } \
    void __tsan_volatile_read##bytes(void *at) { model_access(at, bytes, false); } \
    void __tsan_volatile_write##bytes(void *at) { model_access(at, bytes, true); }

extern "C" {
MODEL_SIZES(MODEL_ACCESSES)
void __tsan_read_range(void *at, size_t bytes) { model_access(at, bytes, false); }
void __tsan_write_range(void *at, size_t bytes) { model_access(at, bytes, true); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void *__tsan_memset(void *at, int byte, size_t bytes) { return model_memset(at, byte, bytes); }
void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    model_access(from, bytes, false);
    model_access(to, bytes, true);
    return memcpy(to, from, bytes);
}
}
