"""What all modules of the harness share: places, the error for bad input, small texts."""
import os
import signal
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
BUILD = ROOT / "out" / "bench"

# The library of this tree.
OURS = "ours"


class BadInput(Exception):
    """One line for the user; the run ends with status 2."""


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def read_text(path, default=""):
    """A small file, such as those of /proc and /sys; `default` where it is absent."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default


def last_line(text):
    """The last line that says something, at most 200 characters of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


# Variables by which a user's shell would steer one allocator and not the others.
STEERING = ("MIMALLOC_", "MALLOC_", "TCMALLOC_", "TBB_MALLOC", "HEAP", "LD_PRELOAD", "LD_DEBUG",
            "GLIBC_TUNABLES", "PYTHONMALLOC", "JE_MALLOC", "_RJEM_")


def plain_environment():
    """The environment without anything that steers an allocator; the same locale everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
