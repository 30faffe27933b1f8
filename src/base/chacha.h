/* chacha.h: a random number generator of cryptographic quality: ChaCha with 8 rounds, 64 bytes at a
 * time (D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008). Each block's output is wiped when
 * it is read. */
#ifndef BASE_CHACHA_H
#define BASE_CHACHA_H
#include "base/base.h"

struct chacha {
    uint32_t state[16];  // constants, key, counter, nonce
    uint32_t output[16]; // of the last block
    unsigned used;       // words of `output` already handed out
};

// seed: 32 bytes. nonce tells generators of one seed apart.
INTERNAL void chacha_init(struct chacha *chacha, const uint8_t seed[32], uint64_t nonce);
INTERNAL uint32_t chacha_next32(struct chacha *chacha);
INTERNAL uint64_t chacha_next64(struct chacha *chacha);
// Uniform in [0, bound), bound >= 1.
INTERNAL uint32_t chacha_below(struct chacha *chacha, uint32_t bound);

#endif
