/* cfrac.c: factors a number by continued fractions; every intermediate number is a heap block.
 *
 * Models: the program `cfrac`, an allocator benchmark since B. Zorn and D. Grunwald collected such
 * programs (from 1992 on), and part of every larger suite after them: one thread, blocks of 16 to
 * 64 bytes by the tens of millions, nearly all of them dead after a few hundred instructions, a
 * heap of one or two megabytes. Its speed is that of malloc and free.
 *
 * Method: M. A. Morrison and J. Brillhart, "A Method of Factoring and the Factorization of F7",
 * Mathematics of Computation 29 (1975), with one large prime as there, and the multiplier and the
 * early abort of C. Pomerance and S. Wagstaff (Mathematics of Computation 40, 1983).
 *
 * Differs: written anew from the papers. Numbers have digits of 32 bits and a reference count, so a
 * block has 8 bytes and 4 for each digit, at least 16 (the mean is 18). The result is complete: the
 * factors are prime, the largest first, and their product is checked. A factor counts as prime
 * after 24 Miller-Rabin tests; below 3.3e24 these are a proof.
 *
 *     cfrac [NUMBER] [--scale RUNS] [--seed N] [...]
 *
 * prints the prime factors of NUMBER (2 or more, at most 60 decimal digits). The work depends on
 * the number, so a smaller one makes a shorter run; --scale says how often to factor it, at least
 * once. The seed is that of the Miller-Rabin tests.
 *
 * One operation is one block: a malloc, calloc or realloc, and its free.
 */
#include "bench.h"

static const char default_number[] = "17545186520507317056371138836327483792789528";

enum {
    DIGITS_MIN = 2,        // no block is below 16 bytes
    INPUT_DIGITS_MAX = 60, // more would take days
    FACTORS_MAX = 256,     // 60 digits have less than 200 bits, so less than 200 prime factors
    TRIAL_LIMIT = 1000,    // smaller primes are divided out before anything else
    TRIAL_ONLY_BITS = 40,  // up to this length trial division alone does it
    PRIME_TABLE_LIMIT = 1 << 16,
    MULTIPLIER_MAX = 97,
    SPARE_RELATIONS = 12, // each one over the size of the base halves the risk of no factor
    ABORTS = 2,
    PRIME_TEST_ROUNDS = 24,
};

// ---------------------------------------------------------------------------------------------
// Blocks, counted

static struct {
    uint64_t allocations;
    uint64_t frees;
    uint64_t bytes;
} count;

static void *counted(void *memory, size_t bytes)
{
    count.allocations++;
    count.bytes += bytes;
    return bench_block(memory);
}

static void *block_new(size_t bytes) { return counted(malloc(bytes), bytes); }

static void *block_new_zeroed(size_t items, size_t bytes)
{
    return counted(calloc(items, bytes), items * bytes);
}

static void *block_grow(void *block, size_t bytes)
{
    if (block != NULL) count.frees++;
    return counted(realloc(block, bytes), bytes);
}

static void block_drop(void *block)
{
    if (block == NULL) return;
    count.frees++;
    free(block);
}

// ---------------------------------------------------------------------------------------------
// Numbers: natural, immutable once made, freed with the last reference.
//   N1  digits[used - 1] != 0; zero has no digits
// A function borrows its arguments and returns a reference that the caller drops.

struct number {
    uint32_t references;
    uint32_t used;
    uint32_t digits[]; // base 2^32, lowest first
};

static struct number *number_new(size_t digits)
{
    size_t room = digits < DIGITS_MIN ? DIGITS_MIN : digits;
    struct number *number = block_new(sizeof(struct number) + room * sizeof(uint32_t));
    number->references = 1;
    number->used = (uint32_t)digits;
    return number;
}

static struct number *number_keep(struct number *number)
{
    number->references++;
    return number;
}

static void number_drop(struct number *number)
{
    if (--number->references == 0) block_drop(number);
}

// Put a new reference into a variable; the old one is dropped.
static void number_set(struct number **variable, struct number *number)
{
    number_drop(*variable);
    *variable = number;
}

static struct number *number_trimmed(struct number *number)
{
    while (number->used > 0 && number->digits[number->used - 1] == 0) number->used--;
    return number;
}

static struct number *number_of(uint32_t value)
{
    struct number *number = number_new(1);
    number->digits[0] = value;
    return number_trimmed(number);
}

static bool number_is(const struct number *number, uint32_t value)
{
    if (value == 0) return number->used == 0;
    return number->used == 1 && number->digits[0] == value;
}

static uint32_t number_bits(const struct number *number)
{
    if (number->used == 0) return 0;
    uint32_t bits = (number->used - 1) * 32;
    for (uint32_t top = number->digits[number->used - 1]; top != 0; top >>= 1) bits++;
    return bits;
}

static bool number_bit(const struct number *number, uint32_t bit)
{
    return (number->digits[bit / 32] >> (bit % 32) & 1) != 0;
}

static int number_compare(const struct number *left, const struct number *right)
{
    if (left->used != right->used) return left->used < right->used ? -1 : 1;
    for (uint32_t i = left->used; i-- > 0;) {
        if (left->digits[i] != right->digits[i]) return left->digits[i] < right->digits[i] ? -1 : 1;
    }
    return 0;
}

static struct number *number_add(const struct number *left, const struct number *right)
{
    if (left->used < right->used) {
        const struct number *other = left;
        left = right;
        right = other;
    }
    struct number *sum = number_new(left->used + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < left->used; i++) {
        carry += left->digits[i];
        if (i < right->used) carry += right->digits[i];
        sum->digits[i] = (uint32_t)carry;
        carry >>= 32;
    }
    sum->digits[left->used] = (uint32_t)carry;
    return number_trimmed(sum);
}

// left - right; left is not the smaller one
static struct number *number_subtract(const struct number *left, const struct number *right)
{
    struct number *difference = number_new(left->used);
    uint64_t borrow = 0;
    for (uint32_t i = 0; i < left->used; i++) {
        uint64_t take = borrow + (i < right->used ? right->digits[i] : 0);
        borrow = left->digits[i] < take;
        difference->digits[i] = (uint32_t)(left->digits[i] - take);
    }
    return number_trimmed(difference);
}

static struct number *number_multiply(const struct number *left, const struct number *right)
{
    struct number *product = number_new(left->used + right->used);
    memset(product->digits, 0, product->used * sizeof product->digits[0]);
    for (uint32_t i = 0; i < left->used; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < right->used; j++) {
            carry += (uint64_t)left->digits[i] * right->digits[j] + product->digits[i + j];
            product->digits[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->digits[i + right->used] = (uint32_t)carry;
    }
    return number_trimmed(product);
}

// Quotient and remainder by one digit.
static struct number *number_divide_short(const struct number *number, uint32_t divisor,
                                          uint32_t *remainder)
{
    struct number *quotient = number_new(number->used);
    uint64_t rest = 0;
    for (uint32_t i = number->used; i-- > 0;) {
        rest = rest << 32 | number->digits[i];
        quotient->digits[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    *remainder = (uint32_t)rest;
    return number_trimmed(quotient);
}

static uint32_t number_modulo_short(const struct number *number, uint32_t divisor)
{
    uint64_t rest = 0;
    for (uint32_t i = number->used; i-- > 0;) rest = (rest << 32 | number->digits[i]) % divisor;
    return (uint32_t)rest;
}

// number << bits, with one digit more than it may need; bits < 32
static struct number *number_shifted_left(const struct number *number, uint32_t bits)
{
    struct number *shifted = number_new(number->used + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < number->used; i++) {
        carry |= (uint64_t)number->digits[i] << bits;
        shifted->digits[i] = (uint32_t)carry;
        carry >>= 32;
    }
    shifted->digits[number->used] = (uint32_t)carry;
    return shifted;
}

static struct number *number_shifted_right(const struct number *number, uint32_t bits)
{
    uint32_t whole = bits / 32;
    if (whole >= number->used) return number_of(0);
    struct number *shifted = number_new(number->used - whole);
    for (uint32_t i = 0; i < shifted->used; i++) {
        uint64_t pair = number->digits[i + whole];
        if (i + whole + 1 < number->used) pair |= (uint64_t)number->digits[i + whole + 1] << 32;
        shifted->digits[i] = (uint32_t)(pair >> (bits % 32));
    }
    return number_trimmed(shifted);
}

// rest -= digit * divisor, at `rest`; true when that was too much
static bool digits_subtract_multiple(uint32_t *rest, const struct number *divisor, uint32_t digit)
{
    uint64_t carry = 0;
    uint32_t borrow = 0;
    for (uint32_t i = 0; i <= divisor->used; i++) {
        if (i < divisor->used) carry += (uint64_t)digit * divisor->digits[i];
        uint64_t take = (uint64_t)(uint32_t)carry + borrow;
        borrow = rest[i] < take;
        rest[i] = (uint32_t)(rest[i] - take);
        carry >>= 32;
    }
    return borrow != 0;
}

static void digits_add_back(uint32_t *rest, const struct number *divisor)
{
    uint64_t carry = 0;
    for (uint32_t i = 0; i < divisor->used; i++) {
        carry += (uint64_t)rest[i] + divisor->digits[i];
        rest[i] = (uint32_t)carry;
        carry >>= 32;
    }
    rest[divisor->used] += (uint32_t)carry;
}

// The next digit of the quotient, at most 2 too large (Knuth, volume 2, 4.3.1, theorem B).
static uint32_t digit_guess(const uint32_t *rest, const struct number *divisor)
{
    uint32_t used = divisor->used;
    uint64_t top = (uint64_t)rest[used] << 32 | rest[used - 1];
    uint64_t guess = top / divisor->digits[used - 1];
    return guess > UINT32_MAX ? UINT32_MAX : (uint32_t)guess;
}

// Quotient and remainder; the divisor is not zero.
static struct number *number_divide(const struct number *number, const struct number *divisor,
                                    struct number **remainder)
{
    if (divisor->used == 1) {
        uint32_t rest;
        struct number *quotient = number_divide_short(number, divisor->digits[0], &rest);
        *remainder = number_of(rest);
        return quotient;
    }
    // the highest bit of the divisor must be set for the guesses to be good
    uint32_t shift = (32 - number_bits(divisor) % 32) % 32;
    struct number *rest = number_shifted_left(number, shift);
    struct number *scaled = number_trimmed(number_shifted_left(divisor, shift));
    uint32_t places = rest->used > scaled->used ? rest->used - scaled->used : 0;
    struct number *quotient = number_new(places);
    for (uint32_t place = places; place-- > 0;) {
        uint32_t digit = digit_guess(rest->digits + place, scaled);
        if (digits_subtract_multiple(rest->digits + place, scaled, digit)) {
            do {
                digit--;
                digits_add_back(rest->digits + place, scaled);
            } while (rest->digits[place + scaled->used] != 0);
        }
        quotient->digits[place] = digit;
    }
    number_drop(scaled);
    *remainder = number_shifted_right(number_trimmed(rest), shift);
    number_drop(rest);
    return number_trimmed(quotient);
}

static struct number *number_modulo(const struct number *number, const struct number *divisor)
{
    struct number *remainder;
    number_drop(number_divide(number, divisor, &remainder));
    return remainder;
}

static struct number *number_multiply_modulo(const struct number *left, const struct number *right,
                                             const struct number *modulus)
{
    struct number *product = number_multiply(left, right);
    struct number *result = number_modulo(product, modulus);
    number_drop(product);
    return result;
}

static struct number *number_power_modulo(const struct number *base, const struct number *exponent,
                                          const struct number *modulus)
{
    struct number *result = number_of(1);
    for (uint32_t bit = number_bits(exponent); bit-- > 0;) {
        number_set(&result, number_multiply_modulo(result, result, modulus));
        if (number_bit(exponent, bit))
            number_set(&result, number_multiply_modulo(result, base, modulus));
    }
    return result;
}

static struct number *number_gcd(struct number *left, struct number *right)
{
    struct number *larger = number_keep(left);
    struct number *smaller = number_keep(right);
    while (!number_is(smaller, 0)) {
        struct number *rest = number_modulo(larger, smaller);
        number_set(&larger, smaller);
        smaller = rest;
    }
    number_drop(smaller);
    return larger;
}

static struct number *number_power_of_two(uint32_t exponent)
{
    struct number *power = number_new(exponent / 32 + 1);
    memset(power->digits, 0, power->used * sizeof power->digits[0]);
    power->digits[exponent / 32] = 1u << (exponent % 32);
    return power;
}

// floor of the square root, by Newton from above
static struct number *number_square_root(struct number *number)
{
    struct number *root = number_power_of_two((number_bits(number) + 1) / 2);
    for (;;) {
        struct number *rest;
        struct number *next = number_divide(number, root, &rest);
        number_drop(rest);
        number_set(&next, number_add(next, root));
        number_set(&next, number_shifted_right(next, 1));
        if (number_compare(next, root) >= 0) {
            number_drop(next);
            return root;
        }
        number_set(&root, next);
    }
}

static struct number *number_power(struct number *base, uint32_t exponent)
{
    struct number *result = number_of(1);
    while (exponent-- > 0) number_set(&result, number_multiply(result, base));
    return result;
}

// The root when the number is an exact power, else NULL.
static struct number *number_exact_root(struct number *number, uint32_t exponent)
{
    struct number *root = number_of(0);
    for (uint32_t bit = number_bits(number) / exponent + 1; bit-- > 0;) {
        struct number *step = number_power_of_two(bit);
        struct number *candidate = number_add(root, step);
        struct number *power = number_power(candidate, exponent);
        if (number_compare(power, number) <= 0) number_set(&root, number_keep(candidate));
        number_drop(power);
        number_drop(candidate);
        number_drop(step);
    }
    struct number *power = number_power(root, exponent);
    bool exact = number_compare(power, number) == 0;
    number_drop(power);
    if (exact) return root;
    number_drop(root);
    return NULL;
}

// NULL unless the text is a natural number of decimal digits.
static struct number *number_from_text(const char *text)
{
    if (*text == '\0') return NULL;
    struct number *number = number_of(0);
    struct number *ten = number_of(10);
    for (; *text >= '0' && *text <= '9'; text++) {
        struct number *digit = number_of((uint32_t)(*text - '0'));
        number_set(&number, number_multiply(number, ten));
        number_set(&number, number_add(number, digit));
        number_drop(digit);
    }
    number_drop(ten);
    if (*text == '\0') return number;
    number_drop(number);
    return NULL;
}

static void number_print(struct number *number, FILE *out)
{
    char text[2 * INPUT_DIGITS_MAX];
    char *start = text + sizeof text - 1;
    *start = '\0';
    struct number *rest = number_keep(number);
    do {
        uint32_t digit;
        number_set(&rest, number_divide_short(rest, 10, &digit));
        *--start = (char)('0' + digit);
    } while (!number_is(rest, 0));
    number_drop(rest);
    fputs(start, out);
}

// ---------------------------------------------------------------------------------------------
// Small primes and random numbers

static uint32_t *primes;
static uint32_t prime_count;

static void primes_init(void)
{
    uint8_t *composite = block_new_zeroed(PRIME_TABLE_LIMIT, 1);
    primes = block_new(sizeof(uint32_t) * PRIME_TABLE_LIMIT / 8);
    prime_count = 0;
    for (uint32_t candidate = 2; candidate < PRIME_TABLE_LIMIT; candidate++) {
        if (composite[candidate]) continue;
        primes[prime_count++] = candidate;
        for (uint64_t multiple = (uint64_t)candidate * candidate; multiple < PRIME_TABLE_LIMIT;
             multiple += candidate) {
            composite[multiple] = 1;
        }
    }
    block_drop(composite);
}

static uint64_t random_state;

static uint32_t random_next(void) // splitmix64
{
    uint64_t mixed = random_state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(mixed >> 32);
}

// +1 when number is a non-zero square modulo the odd prime, 0 when it is a multiple, else -1
static int legendre(uint32_t number, uint32_t prime)
{
    uint64_t result = 1, power = number % prime;
    for (uint32_t exponent = (prime - 1) / 2; exponent != 0; exponent >>= 1) {
        if (exponent & 1) result = result * power % prime;
        power = power * power % prime;
    }
    if (result == 0) return 0;
    return result == 1 ? 1 : -1;
}

// One Miller-Rabin test of an odd number; below = number - 1 = odd << twos
static bool passes_prime_test(struct number *number, struct number *below, struct number *odd,
                              uint32_t twos, uint32_t witness)
{
    struct number *base = number_of(witness);
    struct number *power = number_power_modulo(base, odd, number);
    bool passes = number_is(power, 1) || number_compare(power, below) == 0;
    for (uint32_t i = 1; i < twos && !passes; i++) {
        number_set(&power, number_multiply_modulo(power, power, number));
        passes = number_compare(power, below) == 0;
    }
    number_drop(power);
    number_drop(base);
    return passes;
}

// The number has no factor below TRIAL_LIMIT. The first 13 primes as witnesses prove it
// below 3.3e24; random ones follow.
static bool number_is_prime(struct number *number)
{
    struct number *one = number_of(1);
    struct number *below = number_subtract(number, one);
    uint32_t twos = 0;
    while (!number_bit(below, twos)) twos++;
    struct number *odd = number_shifted_right(below, twos);
    bool passes = true;
    for (uint32_t round = 0; round < PRIME_TEST_ROUNDS && passes; round++) {
        uint32_t witness = round < 13 ? primes[round] : 2 + random_next() % (TRIAL_LIMIT - 2);
        passes = passes_prime_test(number, below, odd, twos, witness);
    }
    number_drop(odd);
    number_drop(below);
    number_drop(one);
    return passes;
}

// ---------------------------------------------------------------------------------------------
// The factor base: primes that can divide a denominator of the expansion

struct base {
    uint32_t size;
    struct number **prime;        // [size], ascending
    uint32_t abort_at[ABORTS];    // after so many primes ...
    struct number *limit[ABORTS]; // ... what is left of a denominator must not be more than this
    struct number *large_limit;   // and after all of them not more than this
};

static double log2_about(double value) // within 0.09: enough to compare multipliers, and no libm
{
    double log = 0;
    for (; value >= 2; value /= 2) log += 1;
    return log + value - 1;
}

// How many bits of a denominator the primes up to about 300 take away on average (Pomerance and
// Wagstaff).
static double multiplier_score(struct number *number, uint32_t multiplier)
{
    uint32_t residue = number_modulo_short(number, 8) * multiplier % 8;
    double score = -0.5 * log2_about(multiplier);
    score += residue == 1 ? 4.0 / 3 : residue == 5 ? 2.0 / 3 : 1.0 / 3;
    for (uint32_t i = 1; primes[i] < 300; i++) {
        uint32_t prime = primes[i];
        int symbol = legendre(number_modulo_short(number, prime) * (multiplier % prime), prime);
        if (symbol == 0) score += log2_about(prime) / (prime + 1.0);
        if (symbol > 0) score += log2_about(prime) * 2.0 * prime / ((double)prime * prime - 1);
    }
    return score;
}

static bool is_square_free(uint32_t number)
{
    for (uint32_t root = 2; root * root <= number; root++) {
        if (number % (root * root) == 0) return false;
    }
    return true;
}

// The best multiplier not used yet, 0 when all are.
static uint32_t multiplier_next(struct number *number, bool used[MULTIPLIER_MAX + 1])
{
    uint32_t best = 0;
    double best_score = 0;
    for (uint32_t multiplier = 1; multiplier <= MULTIPLIER_MAX; multiplier++) {
        if (used[multiplier] || !is_square_free(multiplier)) continue;
        double score = multiplier_score(number, multiplier);
        if (best == 0 || score > best_score) {
            best = multiplier;
            best_score = score;
        }
    }
    used[best] = true;
    return best;
}

// Sizes and bounds were found by counting allocations on numbers of 28 to 43 digits; +-30 % costs
// little.
static uint32_t base_size_for(uint32_t bits)
{
    if (bits < 64) return 80;
    return bits < 100 ? 2 * bits - 48 : 8 * bits - 648;
}

static void base_init(struct base *base, struct number *product)
{
    uint32_t bits = number_bits(product);
    uint32_t wanted = base_size_for(bits);
    base->prime = block_new(wanted * sizeof base->prime[0]);
    base->size = 0;
    for (uint32_t i = 0; i < prime_count && base->size < wanted; i++) {
        uint32_t prime = primes[i];
        bool divides = prime == 2 || legendre(number_modulo_short(product, prime), prime) >= 0;
        if (divides) base->prime[base->size++] = number_of(prime);
    }
    struct number *typical = number_square_root(product);
    base->abort_at[0] = base->size / 16;
    base->limit[0] = number_shifted_right(typical, bits / 10);
    base->abort_at[1] = base->size / 6;
    base->limit[1] = number_shifted_right(typical, bits * 2 / 9);
    base->large_limit = number_of(64 * primes[wanted]);
    number_drop(typical);
}

static void base_done(struct base *base)
{
    for (uint32_t i = 0; i < base->size; i++) number_drop(base->prime[i]);
    block_drop(base->prime);
    for (uint32_t i = 0; i < ABORTS; i++) number_drop(base->limit[i]);
    number_drop(base->large_limit);
}

// ---------------------------------------------------------------------------------------------
// The expansion of the square root of multiplier * number: convergents A and denominators Q with
//   A^2 = -Q, +Q, -Q, ... modulo number, and Q < 2 sqrt(multiplier * number)

struct expansion {
    struct number *number;
    struct number *root; // floor of the square root
    struct number *sum;  // root + P
    struct number *rest_before;
    struct number *q_before, *q;
    struct number *a_before, *a;
    bool negative; // sign of q in the congruence
};

static void expansion_init(struct expansion *expansion, struct number *number,
                           struct number *product)
{
    expansion->number = number_keep(number);
    expansion->root = number_square_root(product);
    expansion->sum = number_keep(expansion->root);
    expansion->rest_before = number_keep(expansion->root);
    expansion->q_before = number_keep(product);
    expansion->q = number_of(1);
    expansion->a_before = number_of(0);
    expansion->a = number_of(1);
    expansion->negative = false;
}

static void expansion_done(struct expansion *expansion)
{
    number_drop(expansion->number);
    number_drop(expansion->root);
    number_drop(expansion->sum);
    number_drop(expansion->rest_before);
    number_drop(expansion->q_before);
    number_drop(expansion->q);
    number_drop(expansion->a_before);
    number_drop(expansion->a);
}

// q_before + partial * (rest - rest_before), where the bracket may be negative
static struct number *expansion_next_q(struct expansion *expansion, struct number *partial,
                                       struct number *rest)
{
    bool shrinks = number_compare(rest, expansion->rest_before) < 0;
    struct number *step = shrinks ? number_subtract(expansion->rest_before, rest)
                                  : number_subtract(rest, expansion->rest_before);
    struct number *change = number_multiply(partial, step);
    struct number *next = shrinks ? number_subtract(expansion->q_before, change)
                                  : number_add(expansion->q_before, change);
    number_drop(change);
    number_drop(step);
    return next;
}

static struct number *expansion_next_a(struct expansion *expansion, struct number *partial)
{
    struct number *product = number_multiply(partial, expansion->a);
    struct number *sum = number_add(product, expansion->a_before);
    struct number *next = number_modulo(sum, expansion->number);
    number_drop(sum);
    number_drop(product);
    return next;
}

static void expansion_step(struct expansion *expansion)
{
    struct number *rest;
    struct number *partial = number_divide(expansion->sum, expansion->q, &rest);

    struct number *a = expansion_next_a(expansion, partial);
    number_set(&expansion->a_before, expansion->a);
    expansion->a = a;

    struct number *q = expansion_next_q(expansion, partial, rest);
    number_set(&expansion->q_before, expansion->q);
    expansion->q = q;

    struct number *twice = number_add(expansion->root, expansion->root);
    number_set(&expansion->sum, number_subtract(twice, rest));
    number_set(&expansion->rest_before, rest);
    expansion->negative = !expansion->negative;
    number_drop(twice);
    number_drop(partial);
}

// ---------------------------------------------------------------------------------------------
// Relations: denominators that the base divides completely

enum { BUCKETS = 1 << 12 };

struct relation {
    struct relation *next; // in its bucket, while it waits for a partner
    struct number *a;
    struct number *large; // A^2 is large^2 times the rest; 1 if nothing was left
    uint8_t exponents[];  // [0] the sign, [1 + i] of base prime i
};

struct relations {
    uint32_t count;
    uint32_t room;
    struct relation **list; // complete ones
    struct relation
        *half[BUCKETS]; // with one large prime, by that prime: A^2 is large times the rest
};

static struct relation *relation_new(const struct base *base, struct number *a,
                                     struct number *large)
{
    struct relation *relation = block_new(sizeof *relation + base->size + 1);
    relation->next = NULL;
    relation->a = number_keep(a);
    relation->large = number_keep(large);
    return relation;
}

static void relation_done(struct relation *relation)
{
    number_drop(relation->a);
    number_drop(relation->large);
    block_drop(relation);
}

static void relations_add(struct relations *relations, struct relation *relation)
{
    if (relations->count == relations->room) {
        relations->room = relations->room == 0 ? 16 : 2 * relations->room;
        relations->list = block_grow(relations->list, relations->room * sizeof relations->list[0]);
    }
    relations->list[relations->count++] = relation;
}

// Two halves with the same large prime make a whole; a first half waits.
static void relations_add_half(struct relations *relations, const struct base *base,
                               struct relation *relation, const struct number *modulus)
{
    struct relation **bucket = &relations->half[relation->large->digits[0] / 2 % BUCKETS];
    struct relation *partner = *bucket;
    while (partner != NULL && number_compare(partner->large, relation->large) != 0)
        partner = partner->next;
    if (partner == NULL) {
        relation->next = *bucket;
        *bucket = relation;
        return;
    }
    number_set(&relation->a, number_multiply_modulo(relation->a, partner->a, modulus));
    for (uint32_t i = 0; i <= base->size; i++) {
        relation->exponents[i] = (uint8_t)(relation->exponents[i] + partner->exponents[i]);
    }
    relations_add(relations, relation);
}

static struct relations *relations_new(void)
{
    return block_new_zeroed(1, sizeof(struct relations));
}

static void relations_done(struct relations *relations)
{
    for (uint32_t i = 0; i < relations->count; i++) relation_done(relations->list[i]);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (relations->half[i] != NULL) {
            struct relation *relation = relations->half[i];
            relations->half[i] = relation->next;
            relation_done(relation);
        }
    }
    block_drop(relations->list);
    block_drop(relations);
}

// Divide what is left by the prime as often as it goes, each quotient and remainder a number of its
// own.
static uint8_t divide_out(struct number **left, const struct number *prime)
{
    for (uint8_t exponent = 0;; exponent++) {
        struct number *remainder;
        struct number *quotient = number_divide(*left, prime, &remainder);
        bool divides = number_is(remainder, 0);
        number_drop(remainder);
        if (!divides) {
            number_drop(quotient);
            return exponent;
        }
        number_set(left, quotient);
    }
}

// What the base leaves of the denominator, with the exponents; NULL when an early abort gave it up.
static struct number *base_divide(const struct base *base, struct number *denominator,
                                  uint8_t *exponents)
{
    struct number *left = number_keep(denominator);
    memset(exponents, 0, base->size + 1);
    uint32_t stage = 0;
    for (uint32_t i = 0; i < base->size && !number_is(left, 1); i++) {
        exponents[1 + i] = divide_out(&left, base->prime[i]);
        if (stage < ABORTS && i == base->abort_at[stage]) {
            if (number_compare(left, base->limit[stage++]) > 0) {
                number_drop(left);
                return NULL;
            }
        }
    }
    return left;
}

static void relations_try(struct relations *relations, const struct base *base,
                          const struct expansion *expansion, uint8_t *exponents)
{
    struct number *left = base_divide(base, expansion->q, exponents);
    if (left == NULL) return;
    if (number_compare(left, base->large_limit) <= 0) {
        struct relation *relation = relation_new(base, expansion->a, left);
        memcpy(relation->exponents, exponents, base->size + 1);
        relation->exponents[0] = expansion->negative;
        if (number_is(left, 1))
            relations_add(relations, relation);
        else
            relations_add_half(relations, base, relation, expansion->number);
    }
    number_drop(left);
}

// Expand until there are `wanted` relations; false when the expansion repeats itself before.
static bool relations_collect(struct relations *relations, const struct base *base,
                              struct expansion *expansion, uint32_t wanted)
{
    uint8_t *exponents = block_new(base->size + 1);
    bool repeats = false;
    while (relations->count < wanted && !repeats) {
        expansion_step(expansion);
        repeats = number_is(expansion->q, 1);
        relations_try(relations, base, expansion, exponents);
    }
    block_drop(exponents);
    return !repeats;
}

// ---------------------------------------------------------------------------------------------
// Linear algebra modulo 2: sets of relations whose product is a square

struct matrix {
    uint32_t rows, columns;
    uint32_t words; // of a row: parities of the exponents, then which relations went into it
    uint64_t *bits;
};

static uint64_t *matrix_row(const struct matrix *matrix, uint32_t row)
{
    return matrix->bits + (size_t)row * matrix->words;
}

static bool row_bit(const uint64_t *row, uint32_t bit)
{
    return (row[bit / 64] >> (bit % 64) & 1) != 0;
}

static void matrix_init(struct matrix *matrix, const struct relations *relations,
                        const struct base *base)
{
    matrix->rows = relations->count;
    matrix->columns = base->size + 1;
    matrix->words = (matrix->columns + matrix->rows + 63) / 64;
    matrix->bits = block_new_zeroed((size_t)matrix->rows * matrix->words, sizeof(uint64_t));
    for (uint32_t i = 0; i < matrix->rows; i++) {
        uint64_t *row = matrix_row(matrix, i);
        for (uint32_t j = 0; j < matrix->columns; j++) {
            row[j / 64] |= (uint64_t)(relations->list[i]->exponents[j] & 1) << (j % 64);
        }
        uint32_t own = matrix->columns + i;
        row[own / 64] |= (uint64_t)1 << (own % 64);
    }
}

static void matrix_swap_rows(struct matrix *matrix, uint32_t first, uint32_t second)
{
    for (uint32_t word = 0; word < matrix->words; word++) {
        uint64_t kept = matrix_row(matrix, first)[word];
        matrix_row(matrix, first)[word] = matrix_row(matrix, second)[word];
        matrix_row(matrix, second)[word] = kept;
    }
}

// Eliminate; the rows from the returned one on have only even exponents.
static uint32_t matrix_reduce(struct matrix *matrix)
{
    uint32_t done = 0;
    for (uint32_t column = 0; column < matrix->columns && done < matrix->rows; column++) {
        uint32_t pivot = done;
        while (pivot < matrix->rows && !row_bit(matrix_row(matrix, pivot), column)) pivot++;
        if (pivot == matrix->rows) continue;
        matrix_swap_rows(matrix, pivot, done);
        for (uint32_t row = done + 1; row < matrix->rows; row++) {
            if (!row_bit(matrix_row(matrix, row), column)) continue;
            for (uint32_t word = 0; word < matrix->words; word++) {
                matrix_row(matrix, row)[word] ^= matrix_row(matrix, done)[word];
            }
        }
        done++;
    }
    return done;
}

// X^2 = Y^2 modulo number for the relations of a reduced row: gcd(X + Y, number), which may be
// trivial.
static struct number *row_gcd(const uint64_t *row, uint32_t columns,
                              const struct relations *relations, const struct base *base,
                              struct number *number)
{
    uint32_t *exponents = block_new_zeroed(base->size + 1, sizeof(uint32_t));
    struct number *x = number_of(1);
    struct number *y = number_of(1);
    for (uint32_t i = 0; i < relations->count; i++) {
        if (!row_bit(row, columns + i)) continue;
        number_set(&x, number_multiply_modulo(x, relations->list[i]->a, number));
        number_set(&y, number_multiply_modulo(y, relations->list[i]->large, number));
        for (uint32_t j = 0; j <= base->size; j++) exponents[j] += relations->list[i]->exponents[j];
    }
    for (uint32_t i = 0; i < base->size; i++) {
        for (uint32_t k = 0; k < exponents[1 + i] / 2; k++) {
            number_set(&y, number_multiply_modulo(y, base->prime[i], number));
        }
    }
    struct number *sum = number_add(x, y);
    struct number *divisor = number_gcd(sum, number);
    number_drop(sum);
    number_drop(y);
    number_drop(x);
    block_drop(exponents);
    return divisor;
}

// A proper factor, or NULL when every square found is trivial.
static struct number *relations_solve(const struct relations *relations, const struct base *base,
                                      struct number *number)
{
    struct matrix matrix;
    matrix_init(&matrix, relations, base);
    struct number *found = NULL;
    for (uint32_t row = matrix_reduce(&matrix); row < matrix.rows && found == NULL; row++) {
        struct number *divisor =
            row_gcd(matrix_row(&matrix, row), matrix.columns, relations, base, number);
        if (!number_is(divisor, 1) && number_compare(divisor, number) != 0)
            found = number_keep(divisor);
        number_drop(divisor);
    }
    block_drop(matrix.bits);
    return found;
}

// ---------------------------------------------------------------------------------------------
// Factoring

// A proper factor of a composite that is no power, from the expansion with one multiplier; NULL
// without luck.
static struct number *split_with_multiplier(struct number *number, uint32_t multiplier)
{
    struct number *factor = number_of(multiplier);
    struct number *product = number_multiply(factor, number);
    struct base base;
    base_init(&base, product);
    struct expansion expansion;
    expansion_init(&expansion, number, product);
    struct relations *relations = relations_new();

    struct number *found = NULL;
    bool more = true;
    for (uint32_t wanted = base.size + SPARE_RELATIONS; more && found == NULL;
         wanted += SPARE_RELATIONS) {
        more = relations_collect(relations, &base, &expansion, wanted);
        found = relations_solve(relations, &base, number);
    }
    relations_done(relations);
    expansion_done(&expansion);
    base_done(&base);
    number_drop(product);
    number_drop(factor);
    return found;
}

static struct number *split(struct number *number)
{
    bool used[MULTIPLIER_MAX + 1] = {false};
    for (uint32_t multiplier = multiplier_next(number, used); multiplier != 0;) {
        struct number *found = split_with_multiplier(number, multiplier);
        if (found != NULL) return found;
        multiplier = multiplier_next(number, used);
    }
    bench_fail(1, "no multiplier leads to a factor");
}

struct factors {
    uint32_t count;
    struct number *list[FACTORS_MAX];
};

static void factors_add(struct factors *factors, struct number *prime)
{
    uint32_t place = factors->count++;
    for (; place > 0 && number_compare(factors->list[place - 1], prime) < 0; place--) {
        factors->list[place] = factors->list[place - 1];
    }
    factors->list[place] = number_keep(prime);
}

static void factors_done(struct factors *factors)
{
    while (factors->count > 0) number_drop(factors->list[--factors->count]);
}

// Take one prime out of the number as often as it goes.
static void factors_take_out(struct factors *factors, struct number **number, uint32_t divisor)
{
    struct number *prime = number_of(divisor);
    for (uint8_t times = divide_out(number, prime); times > 0; times--) factors_add(factors, prime);
    number_drop(prime);
}

// Odd divisors only, and those from TRIAL_LIMIT on: for what is left below 2^TRIAL_ONLY_BITS.
static void factors_find_by_trial(struct factors *factors, struct number *number)
{
    struct number *left = number_keep(number);
    for (uint32_t divisor = TRIAL_LIMIT | 1; divisor < 1u << TRIAL_ONLY_BITS / 2; divisor += 2) {
        factors_take_out(factors, &left, divisor);
        if (number_is(left, 1)) break;
    }
    if (!number_is(left, 1)) factors_add(factors, left);
    number_drop(left);
}

static struct number *find_root(struct number *number)
{
    for (uint32_t exponent = 2; exponent * 9 <= number_bits(number);
         exponent++) { // 2^9 < TRIAL_LIMIT
        struct number *root = number_exact_root(number, exponent);
        if (root != NULL) return root;
    }
    return NULL;
}

// The number is above 1 and has no factor below TRIAL_LIMIT. Recursion ends: each half is smaller.
static void factors_find(struct factors *factors, struct number *number)
{
    if (number_is_prime(number)) {
        factors_add(factors, number);
        return;
    }
    if (number_bits(number) <= TRIAL_ONLY_BITS) {
        factors_find_by_trial(factors, number);
        return;
    }
    struct number *part = find_root(number);
    if (part == NULL) part = split(number);
    struct number *rest;
    struct number *other = number_divide(number, part, &rest);
    factors_find(factors, part);
    factors_find(factors, other);
    number_drop(rest);
    number_drop(other);
    number_drop(part);
}

static void factors_of(struct factors *factors, struct number *number)
{
    struct number *left = number_keep(number);
    factors->count = 0;
    for (uint32_t i = 0; primes[i] < TRIAL_LIMIT; i++) factors_take_out(factors, &left, primes[i]);
    if (!number_is(left, 1)) factors_find(factors, left);
    number_drop(left);
}

static bool factors_are_right(const struct factors *factors, struct number *number)
{
    struct number *product = number_of(1);
    for (uint32_t i = 0; i < factors->count; i++)
        number_set(&product, number_multiply(product, factors->list[i]));
    bool right = number_compare(product, number) == 0;
    number_drop(product);
    return right;
}

// ---------------------------------------------------------------------------------------------
// Command line

// Takes the number out of the arguments, NULL when there is none; what is left are flags.
static const char *take_number(int *argc, char **argv)
{
    const char *number = NULL;
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (argv[i][0] != '-' && number == NULL) {
            number = argv[i];
            continue;
        }
        bool has_value = strcmp(argv[i], "--json") != 0 && i + 1 < *argc;
        argv[kept++] = argv[i];
        if (has_value) argv[kept++] = argv[++i];
    }
    *argc = kept;
    return number;
}

static struct number *requested_number(const char *text)
{
    if (strlen(text) > INPUT_DIGITS_MAX) bench_fail(2, "more than 60 digits: %.80s", text);
    struct number *number = number_from_text(text);
    if (number == NULL) bench_fail(2, "not a natural number: %s", text);
    if (number_is(number, 0) || number_is(number, 1)) bench_fail(2, "no prime factors: %s", text);
    return number;
}

static void print_factors(struct number *number, const struct factors *factors)
{
    number_print(number, stdout);
    if (factors->count == 1) {
        fputs(" is prime\n", stdout);
        return;
    }
    for (uint32_t i = 0; i < factors->count; i++) {
        fputs(i == 0 ? " = " : " * ", stdout);
        number_print(factors->list[i], stdout);
    }
    fputs("\n", stdout);
}

// Factor as often as asked for; every run is checked.
static void run(struct number *number, struct factors *factors)
{
    uint64_t wanted = bench_scaled(1, 1);
    factors->count = 0;
    bench_begin();
    for (uint64_t runs = 0; runs == 0 || bench_more(runs, wanted); runs++) {
        factors_done(factors);
        factors_of(factors, number);
        if (!factors_are_right(factors, number)) {
            bench_fail(1, "the product of the factors is not the number");
        }
    }
    bench_end();
}

int main(int argc, char **argv)
{
    const char *text = take_number(&argc, argv);
    bench_start(argc, argv, "cfrac", 1);
    bench_one_thread();
    random_state = bench.seed;
    primes_init();
    struct number *number = requested_number(text != NULL ? text : default_number);

    struct factors factors;
    uint64_t allocations = count.allocations, bytes = count.bytes;
    run(number, &factors);
    double operations = (double)(count.allocations - allocations);
    bench_add_value("block_mean", "B", (double)(count.bytes - bytes) / operations);
    if (!bench.json) print_factors(number, &factors);

    factors_done(&factors);
    number_drop(number);
    block_drop(primes);
    if (count.allocations != count.frees) bench_fail(1, "a number was not freed");
    if (fflush(stdout) != 0) bench_fail(1, "output: %s", strerror(errno));
    return bench.json ? bench_finish(operations) : 0;
}
