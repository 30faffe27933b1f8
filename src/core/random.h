/* random.h: random numbers for placement, order and keys. Secure builds use ChaCha seeded by the
 * OS; when the OS has no randomness to give, the clock and addresses seed it, and a verbose line
 * says so. */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H
#include "base/base.h"
#include "base/chacha.h"

// A generator of its own for one thread (or one user): seeded from the OS, told apart by a counter.
// Call it again in the child of a fork.
INTERNAL void random_init(struct chacha *chacha);

#endif
