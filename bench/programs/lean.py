"""lean: many threads of one process work on symbolic problems and hand them on to each other.

Stands in for the `leanN` row of other suites, which compiles the library of the Lean theorem prover
on N threads. Lean is not packaged in Debian. What that row is about is a large program of many
small objects, terms and their tables, on N threads at once, with a fixed amount of work in all; and
that objects are not always freed where they were made. Here it is the library of the z3 theorem
prover, in N threads of one process: 96 problems at scale 1 (see problems.py), each in a context of
its own. One thread reads a problem, another one lets z3 solve it, again another one frees all of it
(data/portfolio.py; the thread that fits is preferred, and none waits for it).

Not taken: z3's own `parallel.enable`, where the amount of work depends on which thread is first,
and N processes or a parallel compile, which share nothing: an allocator would see one thread in
each. z3 counts its own steps. Their sum must be the same in each run, so the work is the same. The
answers are known from how the problems are made.

The peak includes about 10 MiB of Python, whose own objects come from its own pools.
"""
import json
from pathlib import Path

from harness.launcher import WrongResult
from programs import problems, support

PACKAGES = ["libz3-4", "python3"]
PROBLEMS = 96
LIBRARY = "libz3.so.4"


def available():
    if not any(Path("/usr/lib").glob(f"*/{LIBRARY}")):
        return f"no {LIBRARY}: install {' '.join(PACKAGES)}"
    return support.absent(PACKAGES, "python3")


def prepare(work, scale, seed):
    made = list(problems.make(support.scaled(PROBLEMS, scale), seed))
    (work / "problems.json").write_text(json.dumps(made), encoding="utf-8")


def run(launcher, work, threads, scale):
    script = support.DATA / "portfolio.py"
    argv = [support.command("python3"), "-E", "-s", str(script), LIBRARY, "problems.json"]
    measurement = launcher.run([*argv, str(threads)], cwd=work)
    support.require_success(measurement, "the portfolio")
    lines = support.read_output(measurement).splitlines()
    if len(lines) != 2 or not lines[0].endswith("all right"):
        raise WrongResult(f"the portfolio prints {' / '.join(lines)[:100]}")

    def steps_of_one_thread():
        return support.plain_output(launcher, [*argv, "1"], cwd=work)

    support.require_reference(work, "\n".join(lines) + "\n", steps_of_one_thread)
    return {"measurement": measurement, "values": {}}
