#include "base/chacha.h"
#include "../support/test.h"

static void expect_stream(struct chacha *chacha, const char *hex)
{
    for (; *hex != '\0'; hex += 8) {
        static const char digits[] = "0123456789abcdef";
        char text[9];
        uint32_t word = chacha_next32(chacha);
        for (int i = 0; i < 4; i++) {
            text[2 * i] = digits[word >> (8 * i + 4) & 15];
            text[2 * i + 1] = digits[word >> (8 * i) & 15];
        }
        text[8] = '\0';
        if (memcmp(text, hex, 8) != 0) test_fail(__FILE__, __LINE__, hex);
    }
}

// ChaCha with 8 rounds, a 256-bit key of zeroes and a nonce of zeroes: blocks 0 and 1 of the
// published key stream.
TEST(chacha_matches_the_published_stream_of_the_zero_key)
{
    uint8_t seed[32] = {0};
    struct chacha chacha;
    chacha_init(&chacha, seed, 0);
    expect_stream(&chacha, "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e"
                           "984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42");
    expect_stream(&chacha, "d2aefa0deaa5c151bf0adb6c01f2a5adc0fd581259f9a2aadcf20f8fd566a26b"
                           "5032ec38bbc5da98ee0c6f568b872a65a08abf251deb21bb4b56e5d8821e68aa");
}

// Made with an independent implementation that reproduces the published streams of 8 and 20 rounds.
TEST(chacha_places_key_and_nonce_as_the_specification_does)
{
    uint8_t seed[32];
    struct chacha chacha;
    for (int i = 0; i < 32; i++) seed[i] = (uint8_t)i;
    chacha_init(&chacha, seed, UINT64_C(0x0706050403020100));
    expect_stream(&chacha, "40e1aaea1c843baa28b18eb728fec05dce47b0e824bf9a5d3f1bb1aad13b37fb"
                           "bf0b0e146732c16380efeab70a1b6edff9acedc876b70d98b61f192290537973");
}

TEST(chacha_counts_blocks_in_64_bits)
{
    uint8_t seed[32] = {0};
    struct chacha chacha;
    chacha_init(&chacha, seed, 0);
    chacha.state[12] = UINT32_MAX;
    (void)chacha_next32(&chacha);
    EXPECT_EQ(chacha.state[12], 0);
    EXPECT_EQ(chacha.state[13], 1);
}

TEST(chacha_next64_is_two_words_low_one_first)
{
    uint8_t seed[32] = {1, 2, 3};
    struct chacha a, b;
    chacha_init(&a, seed, 5);
    chacha_init(&b, seed, 5);
    for (int i = 0; i < 20; i++) { // over the end of a block too
        uint64_t low = chacha_next32(&a);
        uint64_t high = chacha_next32(&a);
        EXPECT_EQ(chacha_next64(&b), low | high << 32);
    }
}

TEST(chacha_wipes_words_that_were_read)
{
    uint8_t seed[32] = {9};
    struct chacha chacha;
    chacha_init(&chacha, seed, 0);
    for (int i = 0; i < 5; i++) (void)chacha_next32(&chacha);
    for (int i = 0; i < 5; i++) EXPECT_EQ(chacha.output[i], 0);
    EXPECT_EQ(chacha.used, 5);
}

TEST(chacha_below_stays_below_and_is_even)
{
    enum { BOUND = 7, DRAWS = 70000 };
    uint8_t seed[32] = {42};
    unsigned seen[BOUND] = {0};
    struct chacha chacha;
    chacha_init(&chacha, seed, 0);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t drawn = chacha_below(&chacha, BOUND);
        EXPECT(drawn < BOUND);
        if (drawn < BOUND) seen[drawn]++;
    }
    for (int i = 0; i < BOUND; i++) {
        EXPECT(seen[i] > DRAWS / BOUND * 9 / 10);
        EXPECT(seen[i] < DRAWS / BOUND * 11 / 10);
    }
}

TEST(chacha_below_takes_the_extreme_bounds)
{
    uint8_t seed[32] = {42};
    struct chacha chacha;
    chacha_init(&chacha, seed, 0);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(chacha_below(&chacha, 1), 0);
        EXPECT(chacha_below(&chacha, UINT32_MAX) < UINT32_MAX);
        // Nearly half of the words are drawn again.
        EXPECT(chacha_below(&chacha, 0x80000001u) <= 0x80000000u);
    }
}
