"""What the modules of real programs share: how they are found, their words, their checks."""
import hashlib
import shutil
from pathlib import Path

from harness.common import last_line, read_text
from harness.launcher import Crashed, WrongResult

DATA = Path(__file__).resolve().parent / "data"

# The system's own programs, not what a version manager puts in front of them.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

WORDS = (
    "page block slice arena heap list thread free remote owner class size tail chunk link state "
    "purge commit reserve claim park adopt load ring lock fork"
).split()


def command(name):
    """The path of a program of the system; its name when there is none."""
    return shutil.which(name, path=SEARCH_PATH) or name


def absent(packages, *names):
    """None when all programs are there, else one line for `available` to return."""
    missing = [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]
    if not missing:
        return None
    return f"no {' and no '.join(missing)}: install {' '.join(packages)}"


def scaled(base, scale, least=1):
    """`base` units of work at scale 1."""
    return max(least, round(base * scale))


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_success(measurement, what):
    """The exit status must be 0; otherwise there is no result to check."""
    if measurement.status != 0:
        raise Crashed(f"{what}: exit status {measurement.status}, {measurement.last_words()}")


def read_output(measurement):
    return read_text(measurement.stdout)


def plain_output(launcher, argv, **where):
    """What a command prints under the C library's malloc."""
    done = launcher.plain(argv, **where)
    if done.returncode != 0:
        raise WrongResult(
            f"{Path(argv[0]).name} fails under the C library's malloc: {last_line(done.stderr)}"
        )
    return done.stdout


def run_and_compare(launcher, work, argv, **where):
    """One sample of a command whose output must be that under the C library's malloc."""
    measurement = launcher.run(argv, cwd=work, **where)
    require_success(measurement, Path(argv[0]).name)
    require_reference(
        work, read_output(measurement), lambda: plain_output(launcher, argv, cwd=work, **where)
    )
    return {"measurement": measurement, "values": {}}


def keep_seed(work, seed):
    (work / "seed").write_text(str(seed), encoding="utf-8")


def kept_seed(work):
    """What keep_seed got: `run` has no seed of its own."""
    return (work / "seed").read_text(encoding="utf-8")


def require_reference(work, found, compute):
    """`found` must be what compute() gives under the C library's malloc; it is asked only once."""
    path = work / "expected"
    if not path.exists():
        path.write_text(compute(), encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    if found == expected:
        return
    for number, (got, wanted) in enumerate(
        zip((found + "\n").splitlines(), (expected + "\n").splitlines()), 1
    ):
        if got != wanted:
            raise WrongResult(f"line {number} is {got[:60]!r}, and should be {wanted[:60]!r}")
    raise WrongResult("the output has another length than under the C library's malloc")
