"""Counts instructions of a workload for one thread by callgrind: all, and the allocator's."""
import os
import re
import subprocess

from harness.common import last_line, plain_environment
from harness.launcher import Crashed, TimedOut

# The C library is more than an allocator: of it, what calls of these cost is counted instead.
ALLOCATION_CALLS = frozenset(
    "malloc free calloc realloc memalign aligned_alloc posix_memalign valloc pvalloc "
    "malloc_usable_size cfree reallocarray".split())
NO_OBJECT = "???"
SLOWER = 60  # callgrind takes so many times as long, about

NAME = re.compile(r"\((\d+)\)(?: (.*))?")


class Names:
    """Callgrind writes a name once, and its number from then on."""

    def __init__(self):
        self.known = {}

    def of(self, text):
        match = NAME.match(text)
        if not match:
            return text
        if match.group(2) is not None:
            self.known[match.group(1)] = match.group(2)
        return self.known.get(match.group(1), "")


class Counts:
    """What a callgrind file says: own instructions by object, those of allocation calls that it
    finds in no object (tcmalloc keeps its own in a section apart), and those below such calls."""

    def __init__(self):
        self.by_object = {}
        self.apart = 0
        self.in_calls = 0

    @property
    def total(self):
        return sum(self.by_object.values())


def base_name(function):
    """Without the marks of a recursion or a clone, and parameters: malloc'2, malloc.part.0"""
    return re.split(r"['.@(]", function, maxsplit=1)[0]


def is_allocation(function):
    name = base_name(function)
    return name in ALLOCATION_CALLS or name.startswith(("operator new", "operator delete"))


def read_counts(lines):
    """Parses the lines of a callgrind file."""
    objects, functions, counts = Names(), Names(), Counts()
    place = function = callee = ""
    is_call = False
    for line in lines:
        key, equals, text = line.rstrip("\n").partition("=")
        if equals and key == "ob":
            place = objects.of(text)
        elif equals and key == "cob":
            objects.of(text)
        elif equals and key == "fn":
            function = functions.of(text)
        elif equals and key == "cfn":
            callee = functions.of(text)
        elif equals and key == "calls":
            is_call = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            cost = int(line.split()[1]) if len(line.split()) > 1 else 0
            if not is_call:
                counts.by_object[place] = counts.by_object.get(place, 0) + cost
                if place == NO_OBJECT and is_allocation(function):
                    counts.apart += cost
            elif is_allocation(callee) and not is_allocation(function):
                counts.in_calls += cost
            is_call = False
    return counts


def stem_of_file(path):
    """What an allocator's files have in common: tbbmalloc's calls lie in a proxy before it."""
    name = os.path.basename(os.path.realpath(path))
    return name.split(".so")[0].removesuffix("_proxy")


def count(argv, allocator, scratch, limit_s):
    """{"total", "allocator"} of one run; raises what a sample raises."""
    output = os.path.join(scratch, "callgrind.out")
    environment = plain_environment()
    if allocator.path:
        environment["LD_PRELOAD"] = allocator.path
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "-q", *argv]
    try:
        result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                errors="replace", timeout=limit_s * SLOWER)
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"not done under callgrind after {limit_s * SLOWER:.0f} s") from error
    if result.returncode != 0:
        raise Crashed(f"under callgrind: status {result.returncode}: {last_line(result.stderr)}")
    with open(output, encoding="utf-8", errors="replace") as file:
        counts = read_counts(file)
    if allocator.path is None:
        return {"total": counts.total, "allocator": counts.in_calls}
    stem = stem_of_file(allocator.path)
    inside = sum(cost for name, cost in counts.by_object.items() if stem_of_file(name) == stem)
    return {"total": counts.total, "allocator": inside + counts.apart}
