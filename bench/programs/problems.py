"""Problems for z3, made from a seed, of which the answers are known."""
import random


def linear_system(source):
    """30 inequalities over 15 numbers that have a solution; the exact fractions grow long."""
    numbers = 15
    solution = [source.randrange(100) for _ in range(numbers)]
    lines = [f"(declare-const x{i} Real)(assert (>= x{i} 0))" for i in range(numbers)]
    for _ in range(2 * numbers):
        chosen = source.sample(range(numbers), 5)
        factors = [source.choice((-1, 1)) * source.randrange(1, 10) for _ in chosen]
        limit = sum(factor * solution[i] for factor, i in zip(factors, chosen))
        terms = " ".join(f"(* {signed(factor)} x{i})" for factor, i in zip(factors, chosen))
        lines.append(f"(assert (<= (+ {terms}) {signed(limit)}))")
    return lines, "sat"


def signed(number):
    return f"(- {-number})" if number < 0 else str(number)


def product(source):
    """Two factors of a product, by a circuit for multiplication."""
    bits, half = 32, 10
    factors = [source.randrange(1 << (half - 1), 1 << half) | 1 for _ in range(2)]
    lines = [f"(declare-const {name} (_ BitVec {bits}))" for name in "ab"]
    lines += [f"(assert (bvult {name} (_ bv{1 << half} {bits})))" for name in "ab"]
    lines += [f"(assert (bvugt {name} (_ bv1 {bits})))" for name in "ab"]
    lines.append(f"(assert (= (bvmul a b) (_ bv{factors[0] * factors[1]} {bits})))")
    return lines, "sat"


def stores(source):
    """An array does not depend on the order in which different places were written."""
    count = 50
    lines = ["(declare-const start (Array Int Int))"]
    lines += [f"(declare-const i{n} Int)(declare-const v{n} Int)" for n in range(count)]
    lines.append(f"(assert (distinct {' '.join(f'i{n}' for n in range(count))}))")

    def written(order):
        term = "start"
        for n in order:
            term = f"(store {term} i{n} v{n})"
        return term

    order = list(range(count))
    source.shuffle(order)
    lines.append(f"(assert (not (= {written(range(count))} {written(order)})))")
    return lines, "unsat"


def chain(source):
    """An order that is transitive leads from the first element to the last, and never back."""
    count = 26
    name = list(range(count))
    source.shuffle(name)
    lines = [
        "(declare-fun height (Int) Int)(declare-fun above (Int Int) Bool)",
        "(assert (forall ((x Int) (y Int)) (! (=> (above x y) (> (height x) (height y)))"
        " :pattern ((above x y)))))",
        "(assert (forall ((x Int) (y Int) (z Int)) (! (=> (and (above x y) (above y z))"
        " (above x z)) :pattern ((above x y) (above y z)))))",
    ]
    lines += [f"(assert (above {name[n]} {name[n + 1]}))" for n in range(count - 1)]
    lines.append(f"(assert (not (above {name[0]} {name[-1]})))")
    return lines, "unsat"


KINDS = (linear_system, product, stores, chain)


def make(count, seed):
    """`count` problems, of each kind in turn: pairs of text and answer."""
    source = random.Random(seed)
    for number in range(count):
        lines, answer = KINDS[number % len(KINDS)](source)
        yield "\n".join(lines) + "\n", answer
