"""Reads suite/*.toml, and makes the rows of a run of it."""
import fnmatch
import re
import tomllib
from dataclasses import dataclass

from harness.common import BENCH, BadInput

MODES = ("full", "quick", "tiny")
GROUPS = ("applications", "stress", "memory")
KEYS = {
    "name": str, "text": str, "group": str, "program": str, "module": str, "threads": str,
    "main": str, "better": str, "full": list, "quick": list, "tiny": list, "timeout": (int, float),
    "pictures": list, "fails": list,
}
REQUIRED = ("name", "text", "group", "threads", *MODES)


@dataclass
class Workload:
    name: str
    text: str
    group: str
    threads: str  # "N" or a number
    arguments: dict  # of each mode
    program: str | None = None
    module: str | None = None
    main: str = "elapsed"
    better: str = "lower"
    timeout: float = 60
    pictures: tuple = ()
    fails: tuple = ()  # allocators whose failure is known


@dataclass
class Row:
    name: str
    workload: Workload
    threads: int
    kind: str  # "N", "4N", "16N", or a number that is asked for


def problem_of(entry):
    """What is wrong with a table of a suite file, or None."""
    unknown = [key for key in entry if key not in KEYS]
    if unknown:
        return f"unknown key {unknown[0]}"
    missing = [key for key in REQUIRED if key not in entry]
    if missing:
        return f"{missing[0]} is missing"
    for key, value in entry.items():
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            return f"{key} has a value of the wrong type"
        if isinstance(value, list) and not all(isinstance(part, str) for part in value):
            return f"{key} must be a list of strings"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", entry["name"]):
        return "the name must be of small letters, digits, - and _"
    if ("program" in entry) == ("module" in entry):
        return "either program or module"
    if not re.fullmatch(r"N|[1-9]\d{0,4}", entry["threads"]):
        return "threads can be N or a number"
    choices = {"group": GROUPS, "better": ("lower", "higher")}
    for key, values in choices.items():
        if entry.get(key, values[0]) not in values:
            return f"{key} can be {', '.join(values)}"
    if entry.get("timeout", 1) <= 0:
        return "timeout must be above 0"
    if "module" in entry:
        return next((text for text in (scale_problem(entry[mode]) for mode in MODES) if text), None)
    return None


def scale_problem(arguments):
    if len(arguments) != 2 or arguments[0] != "--scale":
        return 'a module takes ["--scale", "X"] only'
    try:
        return None if float(arguments[1]) > 0 else "--scale must be above 0"
    except ValueError:
        return "--scale wants a number"


def scale_of(arguments):
    return float(arguments[arguments.index("--scale") + 1]) if "--scale" in arguments else 1.0


def workload_of(entry):
    fields = {key: value for key, value in entry.items() if key not in MODES}
    for key in ("pictures", "fails"):
        fields[key] = tuple(entry.get(key, ()))
    return Workload(arguments={mode: list(entry[mode]) for mode in MODES}, **fields)


def load(folder):
    """All workloads, in the order of the files' names."""
    found = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8")).get("workload", [])
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadInput(f"{path.name}: {error}") from error
        for entry in entries:
            problem = problem_of(entry)
            if not problem and entry["name"] in found:
                problem = "a second workload of that name"
            if problem:
                raise BadInput(f"{path.name}: {entry.get('name', 'no name')}: {problem}")
            found[entry["name"]] = workload_of(entry)
    if not found:
        raise BadInput(f"no workloads in {folder}")
    return list(found.values())


# --- rows -----------------------------------------------------------------------------------------

def parse_threads(text, cpus):
    """[(threads, kind)] of a list such as 1,N,4N."""
    result = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d*)(N?)", part.strip())
        if not match or match.group(0) == "":
            raise BadInput(f"--threads: {part!r} is neither a number nor like N or 4N")
        factor = int(match.group(1) or 1)
        threads = factor * (cpus if match.group(2) else 1)
        if not 1 <= threads <= 16384:
            raise BadInput(f"--threads: {part.strip()} is not between 1 and 16384")
        result.append((threads, match.group(0)))
    return result


def rows_of(workloads, threads):
    """Every workload with every number of threads, each row once."""
    rows = {}
    for workload in workloads:
        fixed = workload.threads
        for count, kind in threads if fixed == "N" else [(int(fixed), fixed)]:
            name = f"{workload.name}{count}" if fixed == "N" else workload.name
            # On one CPU a workload for N threads may meet one of the same name for one thread.
            rows.setdefault(name, Row(name, workload, count, kind))
    return list(rows.values())


def default_threads(mode):
    return "N,4N,16N" if mode == "full" else "N"


def select(rows, patterns, groups):
    """The rows whose names, or whose workloads' names, fit a pattern, of these groups."""
    for group in groups or ():
        if group not in GROUPS:
            raise BadInput(f"--groups: there is no group {group}, but {', '.join(GROUPS)}")
    chosen = set()
    for pattern in patterns or ["*"]:
        fitting = {row.name for row in rows
                   if fnmatch.fnmatchcase(row.name, pattern)
                   or fnmatch.fnmatchcase(row.workload.name, pattern)}
        if not fitting:
            raise BadInput(f"--workloads: nothing is called {pattern}; --list shows the names")
        chosen |= fitting
    result = [row for row in rows
              if row.name in chosen and (not groups or row.workload.group in groups)]
    if not result:
        raise BadInput("--workloads and --groups have nothing in common")
    return result


def check_sources(rows):
    """Every chosen workload must have its source."""
    for workload in {row.workload.name: row.workload for row in rows}.values():
        if workload.module:
            wanted = [BENCH / "programs" / f"{workload.module}.py"]
        else:
            wanted = [BENCH / "workloads" / f"{workload.program}{suffix}"
                      for suffix in (".c", ".cpp")]
        if not any(path.is_file() for path in wanted):
            raise BadInput(f"workload {workload.name}: there is no {wanted[0].relative_to(BENCH)}")
