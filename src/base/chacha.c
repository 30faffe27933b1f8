#include "base/chacha.h"

enum { CHACHA_ROUNDS = 8, CHACHA_WORDS = 16 };

static uint32_t chacha_rotate_left(uint32_t word, unsigned shift)
{
    return (word << shift) | (word >> (32 - shift));
}

static uint32_t chacha_load(const uint8_t *bytes) // little endian on every machine
{
    uint32_t low = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
    uint32_t high = (uint32_t)bytes[2] | (uint32_t)bytes[3] << 8;
    return low | high << 16;
}

// One quarter round on four words of the block.
static inline void chacha_mix(uint32_t *words, int a, int b, int c, int d)
{
    words[a] += words[b];
    words[d] = chacha_rotate_left(words[d] ^ words[a], 16);
    words[c] += words[d];
    words[b] = chacha_rotate_left(words[b] ^ words[c], 12);
    words[a] += words[b];
    words[d] = chacha_rotate_left(words[d] ^ words[a], 8);
    words[c] += words[d];
    words[b] = chacha_rotate_left(words[b] ^ words[c], 7);
}

static void chacha_next_block(struct chacha *chacha)
{
    uint32_t *words = chacha->output;
    memcpy(words, chacha->state, sizeof chacha->output);
    for (int round = 0; round < CHACHA_ROUNDS; round += 2) {
        for (int i = 0; i < 4; i++) chacha_mix(words, i, 4 + i, 8 + i, 12 + i); // columns
        for (int i = 0; i < 4; i++) { // diagonals
            chacha_mix(words, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    for (int i = 0; i < CHACHA_WORDS; i++) words[i] += chacha->state[i];

    chacha->used = 0;
    if (++chacha->state[12] == 0) chacha->state[13]++;
}

void chacha_init(struct chacha *chacha, const uint8_t seed[32], uint64_t nonce)
{
    // "expand 32-byte k"
    static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(chacha->state, constants, sizeof constants);
    for (int i = 0; i < 8; i++) chacha->state[4 + i] = chacha_load(seed + 4 * i);
    chacha->state[12] = 0;
    chacha->state[13] = 0;
    chacha->state[14] = (uint32_t)nonce;
    chacha->state[15] = (uint32_t)(nonce >> 32);
    memset(chacha->output, 0, sizeof chacha->output);
    chacha->used = CHACHA_WORDS;
}

uint32_t chacha_next32(struct chacha *chacha)
{
    if (chacha->used == CHACHA_WORDS) chacha_next_block(chacha);
    uint32_t word = chacha->output[chacha->used];
    chacha->output[chacha->used++] = 0; // who reads this memory later learns nothing about it
    return word;
}

uint64_t chacha_next64(struct chacha *chacha)
{
    uint64_t low = chacha_next32(chacha);
    return low | (uint64_t)chacha_next32(chacha) << 32;
}

// The high half of word * bound is uniform once the words that would fall on it too often are drawn
// again (2^32 mod bound of them, so less than one extra draw on average).
uint32_t chacha_below(struct chacha *chacha, uint32_t bound)
{
    uint64_t product;
    uint32_t redraw = (0u - bound) % bound;
    do {
        product = (uint64_t)chacha_next32(chacha) * bound;
    } while ((uint32_t)product < redraw);
    return (uint32_t)(product >> 32);
}
