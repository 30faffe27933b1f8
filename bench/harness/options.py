"""The command line of bench/run."""
import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from harness import allocators, suite
from harness.common import BENCH, ROOT, BadInput

REPEATS = {"full": 5, "quick": 2, "tiny": 1}
EPILOG = """\
Names of allocators: ours glibc jemalloc tcmalloc mimalloc2 tbbmalloc (the default), limit and
limit-twice (lower bounds, for rows of one thread), and those of --lib.

exit status: 0 the run is complete, 1 with --strict when a cell failed (but for failures that the
suite knows of), 2 bad input, 77 with --strict when nothing could run here, 130 cut short by Ctrl-C,
with the results so far.
"""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message} (--help shows the usage)")


@dataclass
class Options:
    mode: str
    names: list  # of allocators
    are_named: bool  # by the user: an absent one is a mistake then
    libraries: dict
    patterns: list
    groups: list
    threads: str
    repeat: int
    seed: int
    is_seeded: bool
    output: Path
    instructions: bool
    may_install: bool
    is_strict: bool
    is_list: bool
    build: Path | None
    suite: Path

    def description(self):
        """For the result file."""
        libraries = {name: allocators.path_in_tree(path) for name, path in self.libraries.items()}
        return {"allocators": self.names, "workloads": self.patterns, "groups": self.groups,
                "threads": self.threads, "lib": libraries, "instructions": self.instructions,
                "seeded": self.is_seeded}


def make_parser():
    parser = Parser(prog="bench/run", description="Runs workloads under allocators: writes tables, "
                    "pictures and one JSON file.", epilog=EPILOG, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--full", dest="mode", action="store_const", const="full", default="full",
                      help="seconds for a sample, N, 4N and 16N threads (the default)")
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick",
                      help="tenths of a second for a sample, N threads: below 5 minutes")
    mode.add_argument("--tiny", dest="mode", action="store_const", const="tiny",
                      help="as little as possible, for tests: the numbers mean nothing")
    parser.add_argument("--allocators", metavar="A,B", help="which, the base of ratios first")
    parser.add_argument("--workloads", metavar="PATTERN,...", action="append",
                        help="names of workloads or rows, or shell patterns")
    parser.add_argument("--groups", metavar="A,B", help=", ".join(suite.GROUPS))
    parser.add_argument("--threads", metavar="LIST", help="for rows of N: numbers, or N, 4N")
    parser.add_argument("--repeat", metavar="R", help="samples of each cell (full 5, quick 2)")
    parser.add_argument("--seed", metavar="S", help="for the order of the cells, and handed to the "
                        "workloads (default: 1, and the workloads' own)")
    parser.add_argument("--lib", metavar="NAME=PATH", action="append",
                        help="any other shared library with a malloc")
    parser.add_argument("--output", metavar="DIR", help="default: out/bench-results/<date>-<mode>")
    parser.add_argument("--instructions", action="store_true",
                        help="count them by callgrind, too, for rows of one thread, at tiny scale")
    parser.add_argument("--no-install", action="store_true", help="install no absent packages")
    parser.add_argument("--list", action="store_true", help="show rows and allocators")
    parser.add_argument("--strict", action="store_true", help="for tests: see the exit status")
    parser.add_argument("--build", metavar="DIR",
                        help="use what is built there, with MI_BUILD_BENCH, and build nothing")
    parser.add_argument("--suite", metavar="DIR", help="other rows than those of bench/suite")
    return parser


def whole_number(flag, text, low, high):
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise BadInput(f"{flag} {text}: it must be a whole number from {low} to {high}")
    return number


def words(text):
    return [word.strip() for word in text.split(",") if word.strip()] if text else []


def default_output(mode):
    return ROOT / "out" / "bench-results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{mode}"


def parse(argv):
    raw = make_parser().parse_args(argv)
    libraries = allocators.parse_libraries(raw.lib)
    if raw.build and not Path(raw.build).is_dir():
        raise BadInput(f"--build {raw.build}: there is no such directory")
    threads = raw.threads or suite.default_threads(raw.mode)
    suite.parse_threads(threads, 1)
    repeat = REPEATS[raw.mode]
    return Options(
        mode=raw.mode,
        names=allocators.parse_names(raw.allocators, libraries),
        are_named=raw.allocators is not None,
        libraries=libraries,
        patterns=[word for text in raw.workloads or () for word in words(text)],
        groups=words(raw.groups),
        threads=threads,
        repeat=whole_number("--repeat", raw.repeat, 1, 1000) if raw.repeat else repeat,
        seed=whole_number("--seed", raw.seed, 0, 10**15) if raw.seed else 1,
        is_seeded=raw.seed is not None,
        output=Path(raw.output) if raw.output else default_output(raw.mode),
        instructions=raw.instructions,
        may_install=not raw.no_install,
        is_strict=raw.strict,
        is_list=raw.list,
        build=Path(raw.build).resolve() if raw.build else None,
        suite=Path(raw.suite) if raw.suite else BENCH / "suite")
