"""z3: one process of the theorem prover solves a file of problems, one after the other.

Models: a verifier's back end. 44 problems at scale 1, of four kinds in turn (see problems.py):
linear arithmetic over fractions, whose long numbers are allocated one by one and are most of all
calls; circuits for multiplication; arrays; quantified axioms. `(reset)` after each problem frees
all that it had. Most of the prover's objects come from its own pools of 8 KiB blocks; vectors, long
numbers and clauses come from malloc.

The answers are known from how the problems are made.
"""

from harness.launcher import WrongResult
from programs import problems, support

PACKAGES = ["z3"]
PROBLEMS = 44


def available():
    return support.absent(PACKAGES, "z3")


def prepare(work, scale, seed):
    count = support.scaled(PROBLEMS, scale)
    with open(work / "problems.smt2", "w", encoding="utf-8") as file, open(
        work / "answers", "w", encoding="utf-8"
    ) as answers:
        for text, answer in problems.make(count, seed):
            file.write(f"{text}(check-sat)\n(reset)\n")
            answers.write(answer + "\n")


def run(launcher, work, threads, scale):
    measurement = launcher.run([support.command("z3"), "problems.smt2"], cwd=work)
    support.require_success(measurement, "z3")
    if support.read_output(measurement) != (work / "answers").read_text(encoding="utf-8"):
        raise WrongResult("z3 answers a problem differently from what is known")
    return {"measurement": measurement, "values": {}}
