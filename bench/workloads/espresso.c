/* espresso.c: minimises two-level logic; every cube and every cover is on the heap.
 *
 * Models: the program `espresso`, an allocator benchmark since B. Zorn and D. Grunwald collected
 * such programs (from 1992 on): one thread, covers that are split and split again in deep
 * recursions, so that blocks of a few sizes live very shortly among others that grow by realloc; a
 * small heap.
 *
 * Method: R. Brayton, G. Hachtel, C. McMullen and A. Sangiovanni-Vincentelli, "Logic Minimization
 * Algorithms for VLSI Synthesis" (1984): EXPAND makes cubes as large as the function allows, and
 * drops those that are covered; IRREDUNDANT drops what the others cover together; REDUCE makes
 * cubes as small as the others allow, so that EXPAND may find another way; until nothing is gained.
 * Tautology and complement are found by Shannon expansion, with the shortcuts for unate covers.
 *
 * Differs: written anew from the method. Each cube is a block of its own, where the original keeps
 * those of a cover in one array, so that more of the time is the allocator's. There are no
 * don't-cares; outputs are taken one by one where the original treats them as one more variable
 * with many values; IRREDUNDANT and the order of raising are greedy. The tables are made, not read:
 * 400 random terms of 3 to 9 literals, each cut into 6 pieces that the minimiser has to put
 * together again. Five such tables are minimised at scale 1; below a fifth it is one with as much
 * fewer terms.
 *
 * Checks: the cover found covers all cubes of the table and meets none of the complement, and both
 * have the same value at many points; the values tell its size and a checksum.
 *
 * One operation is one block: a malloc and a free.
 */
#include "bench.h"

enum {
    TABLES = 5,
    INPUTS = 16,
    OUTPUTS = 10,
    TERMS = 400, // before they are cut
    TERMS_MIN = 20,
    PIECES = 6, // of each term; each cut adds one literal at most, so INPUTS must be enough
    LITERALS_MIN = 3,
    LITERALS_MAX = 9,
    VARIABLES_PER_WORD = 32,
    WORDS = (INPUTS + VARIABLES_PER_WORD - 1) / VARIABLES_PER_WORD,
    PASSES_MAX = 20,
    POINTS_PER_CUBE = 8, // where the result is compared with the table
    FIRST_ROOM = 4,
};

// One bit of each variable.
static const uint64_t low_bits = 0x5555555555555555u;

// A product of literals. A variable has two bits: it may be 0, it may be 1; both: no literal.
// Unused variables have both.
struct cube {
    uint64_t word[WORDS];
    uint64_t outputs[]; // one word with a bit for each, where the cube is part of a whole table
};

enum cube_kind {
    INPUTS_ONLY = sizeof(struct cube),
    WITH_OUTPUTS = sizeof(struct cube) + sizeof(uint64_t),
};

// A sum of cubes, which it owns.
struct cover {
    size_t count;
    size_t room;
    struct cube **cube;
};

static uint64_t block_count;

static void *block_new(size_t bytes)
{
    block_count++;
    return bench_block(malloc(bytes));
}

// --- cubes ---------------------------------------------------------------------------------------

static struct cube *cube_copy(const struct cube *from, enum cube_kind kind)
{
    struct cube *cube = block_new(kind);
    memcpy(cube, from, kind);
    return cube;
}

static struct cube *cube_universe(enum cube_kind kind)
{
    struct cube *cube = block_new(kind);
    memset(cube, 0xff, kind);
    return cube;
}

static uint64_t cube_value(const struct cube *cube, int variable)
{
    return cube->word[variable / VARIABLES_PER_WORD] >> 2 * (variable % VARIABLES_PER_WORD) & 3;
}

static void cube_set(struct cube *cube, int variable, uint64_t value)
{
    uint64_t *word = &cube->word[variable / VARIABLES_PER_WORD];
    int shift = 2 * (variable % VARIABLES_PER_WORD);
    *word = (*word & ~((uint64_t)3 << shift)) | value << shift;
}

// Whether there is a point in both, for the inputs.
static bool cube_meets(const struct cube *left, const struct cube *right)
{
    for (int i = 0; i < WORDS; i++) {
        uint64_t both = left->word[i] & right->word[i];
        if (((both | both >> 1) & low_bits) != low_bits) return false;
    }
    return true;
}

// For the inputs.
static bool cube_covers(const struct cube *large, const struct cube *small)
{
    for (int i = 0; i < WORDS; i++) {
        if ((small->word[i] & ~large->word[i]) != 0) return false;
    }
    return true;
}

// The bits low_bits of the variables that have a literal.
static uint64_t word_literals(uint64_t word) { return ~(word & word >> 1) & low_bits; }

static int cube_literals(const struct cube *cube)
{
    int literals = 0;
    for (int i = 0; i < WORDS; i++) literals += __builtin_popcountll(word_literals(cube->word[i]));
    return literals;
}

static bool cube_has_output(const struct cube *cube, int output)
{
    return (cube->outputs[0] >> output & 1) != 0;
}

// Covers it for all of its outputs.
static bool cube_replaces(const struct cube *large, const struct cube *small)
{
    return cube_covers(large, small) && (small->outputs[0] & ~large->outputs[0]) == 0;
}

// --- covers --------------------------------------------------------------------------------------

static struct cover *cover_new(void)
{
    struct cover *cover = block_new(sizeof *cover);
    cover->count = 0;
    cover->room = 0;
    cover->cube = NULL;
    return cover;
}

static void cover_add(struct cover *cover, struct cube *cube)
{
    if (cover->count == cover->room) {
        cover->room = cover->room == 0 ? FIRST_ROOM : 2 * cover->room;
        block_count++;
        cover->cube = bench_block(realloc(cover->cube, cover->room * sizeof(struct cube *)));
    }
    cover->cube[cover->count++] = cube;
}

static void cover_free(struct cover *cover)
{
    for (size_t i = 0; i < cover->count; i++) free(cover->cube[i]);
    free(cover->cube);
    free(cover);
}

// The others move up; their order stays.
static void cover_remove(struct cover *cover, size_t index)
{
    free(cover->cube[index]);
    cover->count--;
    memmove(&cover->cube[index], &cover->cube[index + 1],
            (cover->count - index) * sizeof(struct cube *));
}

static struct cover *cover_copy(const struct cover *from, enum cube_kind kind)
{
    struct cover *cover = cover_new();
    for (size_t i = 0; i < from->count; i++) cover_add(cover, cube_copy(from->cube[i], kind));
    return cover;
}

// Adds what the inputs of `from` are where `cube` is true, if they are at all.
static void cover_add_cofactor(struct cover *cover, const struct cube *from,
                               const struct cube *cube)
{
    if (!cube_meets(from, cube)) return;
    struct cube *part = cube_copy(from, INPUTS_ONLY);
    for (int i = 0; i < WORDS; i++) part->word[i] |= ~cube->word[i];
    cover_add(cover, part);
}

// Inputs only; `value`: 1 where the variable is 0, 2 where it is 1.
static struct cover *cover_half(const struct cover *from, int variable, uint64_t value)
{
    struct cover *half = cover_new();
    struct cube *cube = cube_universe(INPUTS_ONLY);
    cube_set(cube, variable, value);
    for (size_t i = 0; i < from->count; i++) cover_add_cofactor(half, from->cube[i], cube);
    free(cube);
    return half;
}

// One output of all cubes but one, where that one is true. Inputs only.
static struct cover *cover_rest(const struct cover *from, size_t without, int output)
{
    struct cover *rest = cover_new();
    for (size_t i = 0; i < from->count; i++) {
        if (i == without || !cube_has_output(from->cube[i], output)) continue;
        cover_add_cofactor(rest, from->cube[i], from->cube[without]);
    }
    return rest;
}

static struct cover *cover_of_output(const struct cover *from, int output)
{
    struct cover *inputs = cover_new();
    for (size_t i = 0; i < from->count; i++) {
        if (!cube_has_output(from->cube[i], output)) continue;
        cover_add(inputs, cube_copy(from->cube[i], INPUTS_ONLY));
    }
    return inputs;
}

// --- the variable to split by --------------------------------------------------------------------

// How often each variable is wanted as 0 and as 1.
struct tally {
    uint32_t wanted[2][WORDS * VARIABLES_PER_WORD];
};

static void tally_take(struct tally *tally, const struct cover *cover)
{
    memset(tally, 0, sizeof *tally);
    for (size_t i = 0; i < cover->count; i++) {
        for (int k = 0; k < WORDS; k++) {
            uint64_t word = cover->cube[i]->word[k];
            for (uint64_t left = word_literals(word); left != 0; left &= left - 1) {
                int bit = __builtin_ctzll(left);
                tally->wanted[word >> (bit + 1) & 1][k * VARIABLES_PER_WORD + bit / 2]++;
            }
        }
    }
}

static bool tally_is_binate(const struct tally *tally, int variable)
{
    return tally->wanted[0][variable] > 0 && tally->wanted[1][variable] > 0;
}

// The commonest variable that is wanted both ways, else the commonest; `binate` says which.
static int tally_choose(const struct tally *tally, bool *binate)
{
    int best = 0;
    uint32_t best_count = 0;
    *binate = false;
    for (int variable = 0; variable < INPUTS; variable++) {
        bool both = tally_is_binate(tally, variable);
        uint32_t count = tally->wanted[0][variable] + tally->wanted[1][variable];
        if (both < *binate || (both == *binate && count <= best_count)) continue;
        best = variable;
        best_count = count;
        *binate = both;
    }
    return best;
}

// --- tautology -----------------------------------------------------------------------------------

// The cubes without a literal of a variable that is wanted one way only: the others do not matter,
// since where that variable has the other value they are all gone.
static struct cover *cover_without_unate(const struct cover *from, const struct tally *tally)
{
    struct cube *binate = cube_universe(INPUTS_ONLY);
    for (int variable = 0; variable < INPUTS; variable++) {
        if (tally_is_binate(tally, variable)) cube_set(binate, variable, 0);
    }
    struct cover *kept = cover_new();
    for (size_t i = 0; i < from->count; i++) {
        uint64_t unate = 0;
        for (int k = 0; k < WORDS; k++) {
            unate |= word_literals(from->cube[i]->word[k]) & binate->word[k];
        }
        if (unate == 0) cover_add(kept, cube_copy(from->cube[i], INPUTS_ONLY));
    }
    free(binate);
    return kept;
}

// Whether there is the universe, or cubes that could not fill the space even side by side.
static bool cover_is_obvious(const struct cover *cover, bool *tautology)
{
    double space = 0;
    for (size_t i = 0; i < cover->count; i++) {
        int literals = cube_literals(cover->cube[i]);
        space += ldexp(1, -literals);
        if (literals > 0) continue;
        *tautology = true;
        return true;
    }
    *tautology = false;
    return space < 1;
}

// Whether the cover is true everywhere. Inputs only.
static bool cover_is_tautology(const struct cover *cover)
{
    bool result;
    if (cover_is_obvious(cover, &result)) return result;
    struct tally tally;
    bool binate;
    tally_take(&tally, cover);
    int variable = tally_choose(&tally, &binate);
    if (!binate) return false;

    struct cover *kept = cover_without_unate(cover, &tally);
    result = true;
    for (uint64_t value = 1; value <= 2 && result; value++) {
        struct cover *half = cover_half(kept, variable, value);
        result = cover_is_tautology(half);
        cover_free(half);
    }
    cover_free(kept);
    return result;
}

// --- complement ----------------------------------------------------------------------------------

// De Morgan's rule.
static struct cover *cube_complement(const struct cube *cube)
{
    struct cover *complement = cover_new();
    for (int variable = 0; variable < INPUTS; variable++) {
        uint64_t value = cube_value(cube, variable);
        if (value == 3) continue;
        struct cube *literal = cube_universe(INPUTS_ONLY);
        cube_set(literal, variable, value ^ 3);
        cover_add(complement, literal);
    }
    return complement;
}

// Whether one of the cover's first cubes covers the cube.
static bool cover_has_larger(const struct cover *cover, size_t count, const struct cube *cube)
{
    for (size_t i = 0; i < count; i++) {
        if (cube_covers(cover->cube[i], cube)) return true;
    }
    return false;
}

// Gives each cube the literal unless the other half covers it: then it holds in both. Returns which
// ones got it.
static bool *cover_mark_halves(const struct cover *half, const struct cover *other)
{
    bool *marks = block_new(half->count + 1);
    for (size_t i = 0; i < half->count; i++) {
        marks[i] = !cover_has_larger(other, other->count, half->cube[i]);
    }
    return marks;
}

// Takes the cubes of one half over. One that holds in both halves loses its literal, and is left
// out when the first half gave it already.
static void cover_add_half(struct cover *whole, struct cover *half, const bool *marks,
                           const struct cube *literal)
{
    size_t before = whole->count;
    for (size_t i = 0; i < half->count; i++) {
        struct cube *cube = half->cube[i];
        for (int k = 0; k < WORDS && marks[i]; k++) cube->word[k] &= literal->word[k];
        if (!marks[i] && cover_has_larger(whole, before, cube))
            free(cube);
        else
            cover_add(whole, cube);
    }
    half->count = 0;
}

static struct cover *cover_join(struct cover *halves[2], int variable)
{
    struct cover *whole = cover_new();
    bool *marks[2] = {cover_mark_halves(halves[0], halves[1]),
                      cover_mark_halves(halves[1], halves[0])};
    for (int i = 0; i < 2; i++) {
        struct cube *literal = cube_universe(INPUTS_ONLY);
        cube_set(literal, variable, (uint64_t)i + 1);
        cover_add_half(whole, halves[i], marks[i], literal);
        free(literal);
        free(marks[i]);
        cover_free(halves[i]);
    }
    return whole;
}

// Where the cover is not true. Inputs only.
static struct cover *cover_complement(const struct cover *cover)
{
    for (size_t i = 0; i < cover->count; i++) {
        if (cube_literals(cover->cube[i]) == 0) return cover_new();
    }
    if (cover->count == 1) return cube_complement(cover->cube[0]);
    if (cover->count == 0) {
        struct cover *all = cover_new();
        cover_add(all, cube_universe(INPUTS_ONLY));
        return all;
    }
    struct tally tally;
    bool binate;
    tally_take(&tally, cover);
    int variable = tally_choose(&tally, &binate);
    struct cover *halves[2];
    for (int i = 0; i < 2; i++) {
        struct cover *half = cover_half(cover, variable, (uint64_t)i + 1);
        halves[i] = cover_complement(half);
        cover_free(half);
    }
    return cover_join(halves, variable);
}

// --- the three steps -----------------------------------------------------------------------------

// The function to minimise: its cover, and the complement of each output.
struct function {
    struct cover *on;
    struct cover *off[OUTPUTS];
};

static void function_init(struct function *function, const struct cover *table)
{
    function->on = cover_copy(table, WITH_OUTPUTS);
    for (int output = 0; output < OUTPUTS; output++) {
        struct cover *inputs = cover_of_output(table, output);
        function->off[output] = cover_complement(inputs);
        cover_free(inputs);
    }
}

static void function_done(struct function *function)
{
    cover_free(function->on);
    for (int output = 0; output < OUTPUTS; output++) cover_free(function->off[output]);
}

static bool function_is_off(const struct function *function, const struct cube *cube, int output)
{
    const struct cover *off = function->off[output];
    for (size_t i = 0; i < off->count; i++) {
        if (cube_meets(off->cube[i], cube)) return true;
    }
    return false;
}

// Whether all that the cube says is true in the function.
static bool function_allows(const struct function *function, const struct cube *cube)
{
    for (int output = 0; output < OUTPUTS; output++) {
        if (cube_has_output(cube, output) && function_is_off(function, cube, output)) return false;
    }
    return true;
}

static int cube_more_literals(const void *left, const void *right)
{
    const struct cube *a = *(const struct cube *const *)left;
    const struct cube *b = *(const struct cube *const *)right;
    int difference = cube_literals(b) - cube_literals(a);
    return difference != 0 ? difference : memcmp(a, b, WITH_OUTPUTS);
}

// Small cubes first. The order is complete, so that it is the same with every qsort.
static void cover_sort(struct cover *cover)
{
    qsort(cover->cube, cover->count, sizeof(struct cube *), cube_more_literals);
}

// Variables, those first that the fewest cubes have a literal of.
static void order_to_raise(const struct cover *cover, int order[INPUTS])
{
    struct tally tally;
    tally_take(&tally, cover);
    for (int variable = 0; variable < INPUTS; variable++) {
        uint32_t count = tally.wanted[0][variable] + tally.wanted[1][variable];
        int place = variable;
        for (; place > 0; place--) {
            int before = order[place - 1];
            if (tally.wanted[0][before] + tally.wanted[1][before] <= count) break;
            order[place] = before;
        }
        order[place] = variable;
    }
}

// The largest cube that can be reached without going back; the old one is freed.
static struct cube *cube_expand(const struct function *function, struct cube *cube,
                                const int order[INPUTS])
{
    for (int i = 0; i < INPUTS; i++) {
        if (cube_value(cube, order[i]) == 3) continue;
        struct cube *larger = cube_copy(cube, WITH_OUTPUTS);
        cube_set(larger, order[i], 3);
        bool allowed = function_allows(function, larger);
        free(allowed ? cube : larger);
        if (allowed) cube = larger;
    }
    for (int output = 0; output < OUTPUTS; output++) {
        if (!function_is_off(function, cube, output)) cube->outputs[0] |= (uint64_t)1 << output;
    }
    return cube;
}

static void function_expand(struct function *function)
{
    struct cover *on = function->on;
    int order[INPUTS];
    cover_sort(on);
    order_to_raise(on, order);
    for (size_t i = 0; i < on->count; i++) {
        on->cube[i] = cube_expand(function, on->cube[i], order);
        for (size_t k = on->count; k-- > 0;) {
            if (k == i || !cube_replaces(on->cube[i], on->cube[k])) continue;
            cover_remove(on, k);
            if (k < i) i--;
        }
    }
}

// Whether the other cubes cover this one.
static bool cover_needs_not(const struct cover *on, size_t index)
{
    bool covered = true;
    for (int output = 0; output < OUTPUTS && covered; output++) {
        if (!cube_has_output(on->cube[index], output)) continue;
        struct cover *rest = cover_rest(on, index, output);
        covered = cover_is_tautology(rest);
        cover_free(rest);
    }
    return covered;
}

static void function_make_irredundant(struct function *function)
{
    cover_sort(function->on);
    for (size_t i = 0; i < function->on->count;) {
        if (cover_needs_not(function->on, i))
            cover_remove(function->on, i);
        else
            i++;
    }
}

// What no other cube covers of this one, as the smallest cube around it; no output when nothing.
static struct cube *cover_need(const struct cover *on, size_t index)
{
    const struct cube *cube = on->cube[index];
    struct cube *need = block_new(WITH_OUTPUTS);
    memset(need, 0, WITH_OUTPUTS);
    for (int output = 0; output < OUTPUTS; output++) {
        if (!cube_has_output(cube, output)) continue;
        struct cover *rest = cover_rest(on, index, output);
        struct cover *alone = cover_complement(rest);
        for (size_t i = 0; i < alone->count; i++) {
            for (int k = 0; k < WORDS; k++) need->word[k] |= alone->cube[i]->word[k];
        }
        if (alone->count > 0) need->outputs[0] |= (uint64_t)1 << output;
        cover_free(alone);
        cover_free(rest);
    }
    for (int k = 0; k < WORDS; k++) need->word[k] &= cube->word[k];
    return need;
}

// Large cubes first.
static void function_reduce(struct function *function)
{
    struct cover *on = function->on;
    cover_sort(on);
    for (size_t i = on->count; i-- > 0;) {
        struct cube *need = cover_need(on, i);
        free(on->cube[i]);
        on->cube[i] = need;
        if (need->outputs[0] == 0) cover_remove(on, i);
    }
}

static size_t cover_literals(const struct cover *cover)
{
    size_t literals = 0;
    for (size_t i = 0; i < cover->count; i++) literals += (size_t)cube_literals(cover->cube[i]);
    return literals;
}

// Cubes count first, then literals.
static size_t cover_cost(const struct cover *cover)
{
    return cover->count * INPUTS * 1000 + cover_literals(cover);
}

static void function_minimise(struct function *function)
{
    function_expand(function);
    function_make_irredundant(function);
    struct cover *best = cover_copy(function->on, WITH_OUTPUTS);
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        function_reduce(function);
        function_expand(function);
        function_make_irredundant(function);
        if (cover_cost(function->on) >= cover_cost(best)) break;
        cover_free(best);
        best = cover_copy(function->on, WITH_OUTPUTS);
    }
    cover_free(function->on);
    function->on = best;
}

// --- tables --------------------------------------------------------------------------------------

static struct cube *term_new(uint64_t *random)
{
    struct cube *term = cube_universe(WITH_OUTPUTS);
    size_t literals = bench_random_between(random, LITERALS_MIN, LITERALS_MAX);
    while ((size_t)cube_literals(term) < literals) {
        int variable = (int)bench_random_below(random, INPUTS);
        cube_set(term, variable, 1 + bench_random_below(random, 2));
    }
    term->outputs[0] = 0;
    for (size_t outputs = bench_random_between(random, 1, 3); outputs > 0; outputs--) {
        term->outputs[0] |= (uint64_t)1 << bench_random_below(random, OUTPUTS);
    }
    return term;
}

// Cuts a random one of the pieces from `first` on in two, at a random variable.
static void pieces_cut(struct cover *table, size_t first, uint64_t *random)
{
    struct cube *piece = table->cube[bench_random_between(random, first, table->count - 1)];
    int variable;
    do {
        variable = (int)bench_random_below(random, INPUTS);
    } while (cube_value(piece, variable) != 3);
    struct cube *other = cube_copy(piece, WITH_OUTPUTS);
    cube_set(piece, variable, 1);
    cube_set(other, variable, 2);
    cover_add(table, other);
}

static struct cover *table_new(uint64_t number, uint64_t terms)
{
    uint64_t random = bench_random_start(number);
    struct cover *table = cover_new();
    for (uint64_t i = 0; i < terms; i++) {
        size_t first = table->count;
        cover_add(table, term_new(&random));
        for (int piece = 1; piece < PIECES; piece++) pieces_cut(table, first, &random);
    }
    return table;
}

// --- checks --------------------------------------------------------------------------------------

// A point near the cube: in it, but for one variable now and then.
static struct cube *point_new(const struct cube *cube, uint64_t *random)
{
    struct cube *point = cube_copy(cube, INPUTS_ONLY);
    for (int variable = 0; variable < INPUTS; variable++) {
        if (cube_value(point, variable) == 3) {
            cube_set(point, variable, 1 + bench_random_below(random, 2));
        }
    }
    int variable = (int)bench_random_below(random, 2 * INPUTS);
    if (variable < INPUTS) cube_set(point, variable, 3 - cube_value(point, variable));
    return point;
}

static uint64_t cover_outputs(const struct cover *cover, const struct cube *point)
{
    uint64_t outputs = 0;
    for (size_t i = 0; i < cover->count; i++) {
        if (cube_meets(cover->cube[i], point)) outputs |= cover->cube[i]->outputs[0];
    }
    return outputs;
}

static void check_points(const struct cover *found, const struct cover *table, uint64_t *random)
{
    for (size_t i = 0; i < POINTS_PER_CUBE * table->count; i++) {
        struct cube *point = point_new(table->cube[i % table->count], random);
        bench_expect(cover_outputs(found, point) == cover_outputs(table, point));
        free(point);
    }
}

// Each cube of the table is covered when it joins the others, and no cube found meets the
// complement.
static void check_equal(const struct function *function, const struct cover *table)
{
    struct cover *both = cover_copy(function->on, WITH_OUTPUTS);
    for (size_t i = 0; i < table->count; i++) {
        cover_add(both, cube_copy(table->cube[i], WITH_OUTPUTS));
        bench_expect(cover_needs_not(both, both->count - 1));
        cover_remove(both, both->count - 1);
    }
    for (size_t i = 0; i < both->count; i++) {
        bench_expect(function_allows(function, both->cube[i]));
    }
    cover_free(both);
}

struct totals {
    double cubes_before;
    double cubes;
    double literals;
    uint32_t checksum;
};

static void totals_add(struct totals *totals, const struct cover *table, const struct cover *found)
{
    totals->cubes_before += (double)table->count;
    totals->cubes += (double)found->count;
    totals->literals += (double)cover_literals(found);
    for (size_t i = 0; i < found->count; i++) {
        const struct cube *cube = found->cube[i];
        uint64_t state = cube->outputs[0] + totals->checksum;
        for (int k = 0; k < WORDS; k++) state = bench_random(&state) + cube->word[k];
        totals->checksum = (uint32_t)bench_random(&state) >> 8;
    }
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "espresso", 1);
    bench_one_thread();
    struct totals totals = {0, 0, 0, 0};
    uint64_t random = bench_random_start(UINT32_MAX);
    uint64_t tables = bench_scaled(TABLES, 1), terms = bench_scaled(TABLES * TERMS, TERMS_MIN);
    if (terms > TERMS) terms = TERMS;
    for (uint64_t done = 0; bench_more(done, tables); done++) {
        struct cover *table = table_new(done, terms);
        struct function function;
        function_init(&function, table);
        function_minimise(&function);
        check_equal(&function, table);
        check_points(function.on, table, &random);
        totals_add(&totals, table, function.on);
        function_done(&function);
        cover_free(table);
    }
    bench_add_value("cubes_before", "1", totals.cubes_before);
    bench_add_value("cubes", "1", totals.cubes);
    bench_add_value("literals", "1", totals.literals);
    bench_add_value("checksum", "1", totals.checksum);
    return bench_finish((double)block_count);
}
