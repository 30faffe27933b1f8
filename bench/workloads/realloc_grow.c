/* realloc_grow.c: vectors that grow by realloc until they are large.
 *
 * Models what every dynamic array does, in three parts: one vector doubles from 16 bytes to 1 GiB
 * at scale 1; one grows by the factor 1.5 as far; and six grow by 1.5 in turns to 128 MiB each, so
 * that each stands in the other one's way. Each word of a vector is written once, when there is
 * room for it, and names its place and its vector: all of them are checked when the vector is
 * complete, and after each realloc the last word of the old part and two that are chosen at random.
 *
 * Users ask for it because growth that always copies reads and writes twice, and needs 1.5 to 2
 * times the memory while it does. Values: moved, how many realloc calls gave another address;
 * peak_over_live, the peak of the resident memory over the size of the largest part.
 *
 * Scale changes the final size, as the square root of what is above 1. One operation is a realloc.
 */
#include "bench.h"

enum {
    SMALLEST_BYTES = 16,
    INTERLEAVED = 6,
    INTERLEAVED_SHARE = 8, // of the size of one that grows alone
    SPOT_CHECKS = 2,
};

struct vector {
    uint64_t *word;
    size_t count;
    uint64_t tag;
};

static uint64_t calls, moved;

static inline uint64_t word_at(const struct vector *vector, size_t i)
{
    return i * 0x9e3779b97f4a7c15u + vector->tag;
}

static void check_word(const struct vector *vector, size_t i)
{
    bench_expect(vector->word[i] == word_at(vector, i));
}

static void vector_grow(struct vector *vector, size_t count, uint64_t *random)
{
    uintptr_t before = (uintptr_t)vector->word;
    vector->word = (uint64_t *)bench_block(realloc(vector->word, count * sizeof(uint64_t)));
    calls++;
    if ((uintptr_t)vector->word != before) moved++;
    if (vector->count > 0) {
        check_word(vector, vector->count - 1);
        for (int i = 0; i < SPOT_CHECKS; i++) {
            check_word(vector, (size_t)(bench_random_unit(random) * (double)vector->count));
        }
    }
    for (size_t i = vector->count; i < count; i++) vector->word[i] = word_at(vector, i);
    vector->count = count;
}

static void vector_end(struct vector *vector)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < vector->count; i++) wrong |= vector->word[i] ^ word_at(vector, i);
    bench_expect(wrong == 0);
    free(vector->word);
}

// `vectors` of them in turns, each by the factor `numerator`/2.
static void grow_together(int vectors, size_t numerator, size_t bytes, uint64_t *random)
{
    struct vector vector[INTERLEAVED] = {{NULL, 0, 0}};
    size_t count = SMALLEST_BYTES / sizeof(uint64_t), last = bytes / sizeof(uint64_t);
    for (int i = 0; i < vectors; i++) vector[i].tag = bench_random(random);
    for (;;) {
        for (int i = 0; i < vectors; i++) vector_grow(&vector[i], count, random);
        if (count >= last) break;
        size_t next = count * numerator / 2;
        count = next < last ? next : last;
    }
    for (int i = 0; i < vectors; i++) vector_end(&vector[i]);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "realloc-grow", 1);
    uint64_t random = bench_random_start(0);
    double scale = bench.scale > 1 ? sqrt(bench.scale) : bench.scale;
    size_t bytes = (size_t)(0x1p30 * scale);
    if (bytes < (size_t)1 << 12) bytes = (size_t)1 << 12;
    uint64_t rounds = 0;

    bench_begin();
    do {
        grow_together(1, 4, bytes, &random);
        grow_together(1, 3, bytes, &random);
        grow_together(INTERLEAVED, 3, bytes / INTERLEAVED_SHARE, &random);
    } while (bench_more(++rounds, 1));
    bench_end();

    bench_add_value("moved", "1", (double)moved);
    bench_add_value("peak_over_live", "1", bench_peak_kib() * 1024 / (double)bytes);
    return bench_finish((double)calls);
}
