"""Small programs that make many objects; bench/programs/python.py says what for.

usage: work.py SEED ROUNDS SHARE: all of them, ROUNDS times; SHARE: how much of each, up to 1.
"""
import collections
import gc
import hashlib
import json
import pickle
import random
import sys


def checksum(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_word(source):
    return "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randrange(2, 11)))


def records(source, count):
    """Records of strings, numbers and lists go to JSON and to pickle and come back."""
    data = [
        {
            "id": number,
            "name": make_word(source),
            "tags": [make_word(source) for _ in range(source.randrange(8))],
            "position": {"x": source.random(), "y": source.random()},
        }
        for number in range(count)
    ]
    text = json.dumps(data, sort_keys=True, indent=1)
    again = json.loads(text)
    assert pickle.loads(pickle.dumps(again)) == data
    return checksum(text)


def words(source, count):
    """A text is split, its words are counted, grouped by their letters, and sorted."""
    vocabulary = [make_word(source) for _ in range(max(1, count // 10))]
    lines = [" ".join(source.choices(vocabulary, k=12)) for _ in range(count // 12 + 1)]
    counts, groups = collections.Counter(), {}
    for line in lines:
        for word in line.split():
            counts[word] += 1
            groups.setdefault("".join(sorted(word)), set()).add(word.title())
    table = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = "\n".join(f"{word:>12} {number:6d}" for word, number in table)
    return checksum(text.replace(" ", "_")), len(groups)


class Node:
    """A node of a binary tree."""

    def __init__(self, key):
        self.key, self.left, self.right = key, None, None
        self.describe = lambda: f"<{self.key}>"

    def insert(self, key):
        node = self
        while True:
            side = "left" if key < node.key else "right"
            below = getattr(node, side)
            if below is None:
                setattr(node, side, Node(key))
                return
            node = below

    def walk(self):
        if self.left:
            yield from self.left.walk()
        yield self.describe()
        if self.right:
            yield from self.right.walk()


def tree(source, count):
    root = Node(0.5)
    for _ in range(count):
        root.insert(source.random())
    return checksum("".join(root.walk()))


def search(source, count):
    """Distances in a graph whose places are tuples and whose queue is a deque."""
    side = max(2, int(count**0.5))
    walls = {(source.randrange(side), source.randrange(side)) for _ in range(count // 4)} - {(0, 0)}
    distances, queue = {(0, 0): 0}, collections.deque([(0, 0)])
    while queue:
        x, y = queue.popleft()
        for place in ((x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)):
            if place in walls or place in distances or not 0 <= min(place) <= max(place) < side:
                continue
            distances[place] = distances[x, y] + 1
            queue.append(place)
    return len(distances), max(distances.values())


def make_term(source, depth):
    if depth == 0:
        return source.choice((("number", source.randrange(10)), ("name", "x")))
    return (source.choice("+-*"), make_term(source, depth - 1), make_term(source, depth - 1))


def derive(term):
    """The derivative of a term by x, as a new term."""
    kind = term[0]
    if kind == "number":
        return ("number", 0)
    if kind == "name":
        return ("number", 1)
    left, right = derive(term[1]), derive(term[2])
    if kind == "*":
        return ("+", ("*", left, term[2]), ("*", term[1], right))
    return (kind, left, right)


def evaluate(term, names):
    kind = term[0]
    if kind == "number":
        return term[1]
    if kind == "name":
        return names[term[1]]
    left, right = evaluate(term[1], names), evaluate(term[2], names)
    return (left + right if kind == "+" else left - right if kind == "-" else left * right) % 65521


def terms(source, count):
    total = 0
    for _ in range(max(1, count // 64)):
        term = make_term(source, 6)
        total += evaluate(derive(term), {"x": 3})
    return total


class Member:
    """Knows its neighbours, and they know it: only the collector can free them."""

    def __init__(self, name):
        self.name, self.neighbours = name, []


def cycles(source, count):
    members = [Member(str(number)) for number in range(count)]
    for member in members:
        for other in source.sample(members, 3):
            member.neighbours.append(other)
            other.neighbours.append(member)
    total = sum(len(member.neighbours) for member in members)
    del members, member, other
    gc.collect()
    return total


PARTS = (
    (records, 4000),
    (words, 60000),
    (tree, 6000),
    (search, 16000),
    (terms, 20000),
    (cycles, 6000),
)


def main():
    seed, rounds, share = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number in range(rounds):
        source = random.Random(seed * 1000 + number)
        for part, count in PARTS:
            print(number, part.__name__, part(source, max(10, int(count * share))))


if __name__ == "__main__":
    main()
