#include "core/random.h"
#include "core/report.h"
#include "prim/prim.h"

static ATOMIC(uint64_t) random_generators; // seeded so far: tells their nonces apart

// A step of a 64-bit mixer: every input bit changes about half of the output bits.
static uint64_t random_mix(uint64_t word)
{
    word += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

// What little there is without the OS: the time, and where it put our code, data and stack.
static void random_seed_weakly(uint8_t seed[32], const void *on_stack)
{
    uint64_t sources[4] = {prim_clock_ms(), (uintptr_t)on_stack, (uintptr_t)&random_generators,
                           (uintptr_t)&prim_clock_ms};
    uint64_t word = 0;
    for (int i = 0; i < 4; i++) word = random_mix(word ^ sources[i]);
    for (int i = 0; i < 32; i += 8) {
        word = random_mix(word);
        memcpy(seed + i, &word, sizeof word);
    }
}

// A plain memset of a local that is not read again would be dropped by the compiler.
static void random_wipe(volatile uint8_t *bytes, size_t count)
{
    while (count > 0) bytes[--count] = 0;
}

cold void random_init(struct chacha *chacha)
{
    uint8_t seed[32];
    // relaxed: only its own value matters
    uint64_t nonce = atomic_fetch_add_explicit(&random_generators, 1, memory_order_relaxed);
    if (prim_random(seed, sizeof seed) != 0) {
        random_seed_weakly(seed, seed);
        report_verbose_later("the system gives no random numbers: seeded from clock and addresses");
    }
    chacha_init(chacha, seed, nonce);
    random_wipe(seed, sizeof seed);
}
