#!/usr/bin/env python3
"""Checks that calls go down only: usage check_floors.py [ROOT].

The order of the files is that of the #include lines of src/one.c. It fails on
  - a .c file under src/ that one.c does not include, or includes out of floor order;
  - an #include of a header of a higher floor, or of a file that stands later in one.c;
  - a call of a function that is defined on a higher floor or in a file that stands later;
  - a circle of includes, or of functions that call each other.
Calls through the hooks of core/hooks.h go through pointers, not names, and so are exempt.
"""
import sys
from pathlib import Path

from c_source import sources

FLOORS = "base prim core os region page heap alloc api override".split()


def floor_of(name):
    """0..9 for src/base/... to src/override/..., None elsewhere."""
    parts = name.split("/")
    return FLOORS.index(parts[1]) if len(parts) > 2 and parts[1] in FLOORS else None


def floor_label(name):
    floor = floor_of(name)
    return f"F{floor} {FLOORS[floor]}"


class Tree:
    def __init__(self, root):
        self.files = {source.name: source for source in sources(root, "src")}
        self.errors = []
        self.order = {}  # .c file -> its place in one.c
        self.defined = {}  # function or macro -> files that define it

    def fail(self, name, line, text):
        self.errors.append(f"{name}:{line}: {text}")

    # --- one.c ------------------------------------------------------------------------------------

    def read_one(self):
        one = self.files.pop("src/one.c", None)
        if one is None:
            self.fail("src/one.c", 1, "is missing")
            return
        last = 0
        for line, path, is_local in one.includes:
            if not is_local or not path.endswith(".c"):
                continue
            name = "src/" + path
            if name not in self.files:
                self.fail(one.name, line, f"{path} does not exist")
                continue
            if name in self.order:
                self.fail(one.name, line, f"{path} is included twice")
            self.order[name] = len(self.order)
            floor = floor_of(name)
            if floor is None:
                self.fail(one.name, line, f"{path} is on no floor ({' '.join(FLOORS)})")
            elif floor < last:
                self.fail(one.name, line,
                          f"{path} ({floor_label(name)}) stands above a lower floor")
            else:
                last = floor
        for name in self.files:
            if name.endswith(".c") and name not in self.order:
                self.fail(name, 1, "is not included by src/one.c")

    def place(self, name):
        """Where a file stands: a header stands with the .c of its name, when there is one."""
        partner = name[:-2] + ".c"
        return self.order.get(name if name.endswith(".c") else partner)

    def is_above(self, name, other):
        """True when `other` stands above `name`, so that `name` must not use it."""
        mine, theirs = floor_of(name), floor_of(other)
        if mine is None or theirs is None:
            return False
        if mine != theirs:
            return theirs > mine
        here, there = self.place(name), self.place(other)
        return here is not None and there is not None and there > here

    def why_above(self, name, other):
        if floor_of(name) != floor_of(other):
            return f"{other} is {floor_label(other)}, above {floor_label(name)}"
        return f"{other} stands after this file in src/one.c"

    # --- includes ---------------------------------------------------------------------------------

    def check_includes(self):
        graph = {}
        for name, source in self.files.items():
            if floor_of(name) is None:
                self.fail(name, 1, f"lies on no floor ({' '.join(FLOORS)})")
            targets = graph.setdefault(name, [])
            for line, path, is_local in source.includes:
                other = self.resolve(name, path) if is_local else None
                if other is None:
                    if is_local and not path.startswith("mimalloc"):
                        self.fail(name, line, f'"{path}" is not found under src/')
                    continue
                if other.endswith(".c"):
                    self.fail(name, line, f"only src/one.c may include a .c file ({path})")
                elif self.is_above(name, other):
                    self.fail(name, line, f"includes upward: {self.why_above(name, other)}")
                targets.append(other)
        for circle in circles(graph):
            self.fail(circle[0], 1, "circle of includes: " + " -> ".join(circle + circle[:1]))

    def resolve(self, name, path):
        beside = (Path(name).parent / path).as_posix()
        for candidate in ("src/" + path, beside):
            if candidate in self.files:
                return candidate
        return None

    # --- calls ------------------------------------------------------------------------------------

    def check_calls(self):
        for name, source in self.files.items():
            for function in source.functions:
                self.defined.setdefault(function.name, set()).add(name)
            for macro in source.macros:
                self.defined.setdefault(macro, set()).add(name)
        graph = {}
        for name, source in self.files.items():
            for function in source.functions:
                self.check_body(graph, name, function.name, function.line, function.calls)
            for macro, (line, calls) in source.macros.items():
                self.check_body(graph, name, macro, line, calls)
        for circle in circles(graph):
            if len(circle) > 1:  # a function that calls itself has bounded its depth or is a bug
                name = sorted(self.defined[circle[0]])[0]
                self.fail(name, 1, "circle of calls: " + " -> ".join(circle + circle[:1]))

    def check_body(self, graph, name, caller, line, calls):
        targets = graph.setdefault(caller, [])
        for callee in sorted(calls):
            homes = self.defined.get(callee, ())
            if not homes:
                continue
            targets.append(callee)
            if name not in homes and all(self.is_above(name, home) for home in homes):
                self.fail(name, line, f"{caller} calls upward: {callee}; "
                                      f"{self.why_above(name, sorted(homes)[0])}")


def circles(graph):
    """The strongly connected components with a circle in them (Tarjan 1972, without recursion)."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, edges = work[-1]
            for target in edges:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(graph.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    part = stack[cut:]
                    del stack[cut:]
                    on_stack.difference_update(part)
                    if len(part) > 1 or node in graph.get(node, ()):
                        found.append(part)
    return found


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    tree = Tree(root)
    tree.read_one()
    tree.check_includes()
    tree.check_calls()
    for error in tree.errors:
        print(error)
    print(f"check_floors: {len(tree.files)} files, {len(tree.defined)} functions and macros, "
          f"{len(tree.errors)} errors")
    return 1 if tree.errors else 0


if __name__ == "__main__":
    sys.exit(main())
