/* barnes.c: stars that attract each other; the tree they are sorted into is allocated in each step.
 *
 * Models: the Barnes-Hut programs that allocator suites took over from the collections of parallel
 * programs, with their 163,840 bodies: a program that computes far more than it allocates, where
 * it counts how the allocator places blocks of two sizes that are visited together.
 *
 * Method: J. Barnes and P. Hut, "A hierarchical O(N log N) force-calculation algorithm", Nature 324
 * (1986). Space is halved in each direction until a cube holds one body at most; a cube that is far
 * enough away acts like one body in its centre of mass. The bodies are a sphere as of H. C. Plummer
 * (1911) in the usual units (mass, gravity 1, energy -1/4), moved by the leapfrog method.
 *
 * Differs: one thread; the tree is built twice, with one step of time between; a cube is far away
 * from its own width on. Each body and each cell is a block of its own, of 96 and 112 bytes; the
 * cells are freed in the tree's order after each step. The scale is that of the number of bodies.
 *
 * Checks: the forces on some bodies against the sum over all others, and the change of energy.
 *
 * One operation is one cell: a malloc and a free.
 */
#include "bench.h"

enum {
    BODIES = 163840,
    BODIES_MIN = 1000, // with fewer the forces are too rough
    STEPS = 2,
    OCTANTS = 8,
    DEPTH_MAX = 200,
    SAMPLES = 64,
};

static const double opening = 1.0; // distance from which a cell is far, in widths
static const double softening = 0.05;
static const double step_time = 0.025;
static const double force_tolerance = 0.06;  // root mean square, of the typical force
static const double energy_tolerance = 0.01; // of the energy

struct vector {
    double at[3];
};

// The head of a body and of a cell.
struct node {
    double near; // below this square of the distance a cell's parts act, not the whole; of a body 0
    double mass;
    struct vector place; // of a cell: of its centre of mass
};

struct body {
    struct node node;
    struct vector velocity;
    struct vector force; // for each unit of mass
    double potential;
};

struct cell {
    struct node node;
    double width;
    struct node *child[OCTANTS]; // NULL, a body or a cell
};

struct system {
    struct body **body;
    size_t bodies;
    uint64_t cells; // allocated so far
};

static double vector_dot(const struct vector *left, const struct vector *right)
{
    double sum = 0;
    for (int i = 0; i < 3; i++) sum += left->at[i] * right->at[i];
    return sum;
}

static struct vector vector_between(const struct vector *from, const struct vector *to)
{
    struct vector way;
    for (int i = 0; i < 3; i++) way.at[i] = to->at[i] - from->at[i];
    return way;
}

static void vector_add(struct vector *sum, const struct vector *more, double times)
{
    for (int i = 0; i < 3; i++) sum->at[i] += times * more->at[i];
}

// --- the bodies at the start ---------------------------------------------------------------------

static struct vector random_direction(uint64_t *random, double length)
{
    struct vector way;
    double square;
    do {
        for (int i = 0; i < 3; i++) way.at[i] = 2 * bench_random_unit(random) - 1;
        square = vector_dot(&way, &way);
    } while (square > 1 || square < 1e-6);
    for (int i = 0; i < 3; i++) way.at[i] *= length / sqrt(square);
    return way;
}

// Speed as a part of that of escape, where its density is x^2 (1 - x^2)^3.5.
static double random_speed(uint64_t *random)
{
    for (;;) {
        double x = bench_random_unit(random), y = 0.1 * bench_random_unit(random);
        if (y < x * x * pow(1 - x * x, 3.5)) return x;
    }
}

static struct body *body_new(uint64_t *random, double mass)
{
    const double size = 3 * 3.14159265358979323846 / 16;
    double part = 0.999 * bench_random_unit(random) + 1e-9; // of the mass that is nearer
    double radius = 1 / sqrt(pow(part, -2.0 / 3) - 1);
    double escape = sqrt(2.0) * pow(1 + radius * radius, -0.25);
    struct body *body = bench_block(malloc(sizeof *body));
    body->node.near = 0;
    body->node.mass = mass;
    body->node.place = random_direction(random, radius * size);
    body->velocity = random_direction(random, random_speed(random) * escape / sqrt(size));
    return body;
}

static void system_init(struct system *system, size_t bodies)
{
    uint64_t random = bench_random_start(0);
    system->bodies = bodies;
    system->cells = 0;
    system->body = bench_block(malloc(bodies * sizeof(struct body *)));
    for (size_t i = 0; i < bodies; i++) system->body[i] = body_new(&random, 1 / (double)bodies);
}

static void system_done(struct system *system)
{
    for (size_t i = 0; i < system->bodies; i++) free(system->body[i]);
    free(system->body);
}

// --- the tree ------------------------------------------------------------------------------------

static struct cell *cell_new(struct system *system, double width)
{
    struct cell *cell = bench_block(malloc(sizeof *cell));
    cell->node.near = opening * opening * width * width;
    cell->width = width;
    for (int i = 0; i < OCTANTS; i++) cell->child[i] = NULL;
    system->cells++;
    return cell;
}

static bool node_is_cell(const struct node *node) { return node->near > 0; }

// Which of the eight parts around the middle the place lies in; `middle` moves on to that part's.
static int octant_enter(struct vector *middle, double width, const struct vector *place)
{
    int octant = 0;
    for (int i = 0; i < 3; i++) {
        bool above = place->at[i] >= middle->at[i];
        octant |= above << i;
        middle->at[i] += above ? width / 4 : -width / 4;
    }
    return octant;
}

static void tree_add(struct system *system, struct cell *root, struct node *body)
{
    struct vector middle = {{0, 0, 0}};
    struct cell *cell = root;
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        struct vector inner = middle;
        struct node **child = &cell->child[octant_enter(&inner, cell->width, &body->place)];
        if (*child == NULL) {
            *child = body;
            return;
        }
        if (!node_is_cell(*child)) {
            struct node *other = *child;
            struct cell *between = cell_new(system, cell->width / 2);
            struct vector ignored = inner;
            between->child[octant_enter(&ignored, between->width, &other->place)] = other;
            *child = &between->node;
        }
        cell = (struct cell *)*child;
        middle = inner;
    }
    bench_fail(1, "two bodies in one place");
}

// Mass and centre of mass of a cell and all below it.
static void tree_weigh(struct node *node)
{
    if (!node_is_cell(node)) return;
    struct cell *cell = (struct cell *)node;
    node->mass = 0;
    node->place = (struct vector){{0, 0, 0}};
    for (int i = 0; i < OCTANTS; i++) {
        struct node *child = cell->child[i];
        if (child == NULL) continue;
        tree_weigh(child);
        node->mass += child->mass;
        vector_add(&node->place, &child->place, child->mass);
    }
    for (int i = 0; i < 3; i++) node->place.at[i] /= node->mass;
}

static struct cell *tree_new(struct system *system)
{
    double reach = 1;
    for (size_t i = 0; i < system->bodies; i++) {
        for (int k = 0; k < 3; k++) {
            reach = fmax(reach, fabs(system->body[i]->node.place.at[k]));
        }
    }
    struct cell *root = cell_new(system, 2.001 * reach);
    for (size_t i = 0; i < system->bodies; i++) tree_add(system, root, &system->body[i]->node);
    tree_weigh(&root->node);
    return root;
}

static void tree_free(struct cell *cell)
{
    for (int i = 0; i < OCTANTS; i++) {
        struct node *child = cell->child[i];
        if (child != NULL && node_is_cell(child)) tree_free((struct cell *)child);
    }
    free(cell);
}

// --- forces --------------------------------------------------------------------------------------

static void body_attract(struct body *body, const struct node *other, const struct vector *way,
                         double square)
{
    double inverse = 1 / sqrt(square + softening * softening);
    double pull = other->mass * inverse;
    body->potential -= pull;
    vector_add(&body->force, way, pull * inverse * inverse);
}

// No other body is in the same place: tree_add() would have failed.
static void body_feel(struct body *body, const struct node *node)
{
    if (node == &body->node) return;
    struct vector way = vector_between(&body->node.place, &node->place);
    double square = vector_dot(&way, &way);
    if (square > node->near) {
        body_attract(body, node, &way, square);
        return;
    }
    const struct cell *cell = (const struct cell *)node;
    for (int i = 0; i < OCTANTS; i++) {
        if (cell->child[i] != NULL) body_feel(body, cell->child[i]);
    }
}

static void body_clear(struct body *body)
{
    body->potential = 0;
    body->force = (struct vector){{0, 0, 0}};
}

// Body by body in the tree's order: neighbours feel nearly the same cells.
static void tree_act(const struct cell *root, struct node *node)
{
    if (!node_is_cell(node)) {
        body_clear((struct body *)node);
        body_feel((struct body *)node, &root->node);
        return;
    }
    const struct cell *cell = (const struct cell *)node;
    for (int i = 0; i < OCTANTS; i++) {
        if (cell->child[i] != NULL) tree_act(root, cell->child[i]);
    }
}

// --- time ----------------------------------------------------------------------------------------

static void system_feel(struct system *system)
{
    struct cell *root = tree_new(system);
    tree_act(root, &root->node);
    tree_free(root);
}

static void system_kick(struct system *system, double time)
{
    for (size_t i = 0; i < system->bodies; i++) {
        vector_add(&system->body[i]->velocity, &system->body[i]->force, time);
    }
}

static void system_drift(struct system *system, double time)
{
    for (size_t i = 0; i < system->bodies; i++) {
        vector_add(&system->body[i]->node.place, &system->body[i]->velocity, time);
    }
}

static double system_energy(const struct system *system)
{
    double energy = 0;
    for (size_t i = 0; i < system->bodies; i++) {
        const struct body *body = system->body[i];
        double square = vector_dot(&body->velocity, &body->velocity);
        energy += body->node.mass * (square + body->potential) / 2;
    }
    return energy;
}

// How far the forces are from the sums over all other bodies: root mean square over some bodies,
// as part of that of the forces.
static double system_force_error(struct system *system)
{
    double errors = 0, forces = 0;
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        struct body *body = system->body[sample * (system->bodies - 1) / (SAMPLES - 1)];
        struct vector seen = body->force;
        body_clear(body);
        for (size_t i = 0; i < system->bodies; i++) {
            const struct node *other = &system->body[i]->node;
            if (other == &body->node) continue;
            struct vector way = vector_between(&body->node.place, &other->place);
            body_attract(body, other, &way, vector_dot(&way, &way));
        }
        struct vector error = vector_between(&body->force, &seen);
        errors += vector_dot(&error, &error);
        forces += vector_dot(&body->force, &body->force);
    }
    return sqrt(errors / forces);
}

int main(int argc, char **argv)
{
    bench_start(argc, argv, "barnes", 1);
    bench_one_thread();
    struct system system;
    system_init(&system, bench_scaled(BODIES, BODIES_MIN));

    bench_begin();
    double energy = 0;
    for (uint64_t step = 0; bench_more(step, STEPS); step++) {
        if (step > 0) system_kick(&system, step_time / 2);
        if (step > 0) system_drift(&system, step_time);
        system_feel(&system);
        if (step > 0)
            system_kick(&system, step_time / 2);
        else
            energy = system_energy(&system);
    }
    bench_end();

    double change = fabs(system_energy(&system) / energy - 1);
    double error = system_force_error(&system);
    bench_expect(change < energy_tolerance);
    bench_expect(error < force_tolerance);
    bench_add_value("force_error", "1", error);
    bench_add_value("energy_change", "1", change);
    double cells = (double)system.cells;
    system_done(&system);
    return bench_finish(cells);
}
