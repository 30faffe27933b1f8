"""rocksdb: the key-value store writes and reads at random places.

Models: the `rocksdb` row of other suites, by the same program, Debian's `db_bench`: 160,000 values
of 400 bytes are written under random keys, then as many random keys are read (scale 1). Tables in
memory of 8 MiB are flushed and merged by threads in the background meanwhile; there is no
compression and no log of writes, so that the disk and the processor's speed at zlib do not count.
Blocks of 4 KiB come and go through the cache, table builders, iterators and arenas take memory of
all sizes, and many are freed by another thread than the one that asked for them. db_bench links no
allocator of its own.

The number of keys that are found follows from the seed; it must be the one that is found under the
C library's malloc. `fills` and `reads` are operations per second of the two parts.
"""
import re
import shutil

from harness.launcher import WrongResult
from programs import support

PACKAGES = ["rocksdb-tools"]
OPERATIONS = 160_000


def available():
    return support.absent(PACKAGES, "db_bench")


def prepare(work, scale, seed):
    (work / "seed").write_text(str(seed), encoding="utf-8")


def arguments(work, folder, scale):
    # 0 would mean: from the clock
    seed = int((work / "seed").read_text(encoding="utf-8")) + 1
    options = {
        "benchmarks": "fillrandom,readrandom",
        "db": folder,
        "num": support.scaled(OPERATIONS, scale),
        "value_size": 400,
        "threads": 1,
        "seed": seed,
        "compression_type": "none",
        "disable_wal": "true",
        "write_buffer_size": 8 << 20,
        "stats_dump_period_sec": 0,
        "stats_persist_period_sec": 0,
    }
    return [support.command("db_bench"), *(f"--{name}={value}" for name, value in options.items())]


def parse(text):
    """Operations per second of each part, and the words on what was found."""
    rates = {name: float(rate) for name, rate in re.findall(r"(\w+) +: .* (\d+) ops/sec", text)}
    found = re.search(r"\(\d+ of \d+ found\)", text)
    if set(rates) != {"fillrandom", "readrandom"} or not found:
        raise WrongResult("db_bench does not report both of its parts")
    return rates, found.group()


def run(launcher, work, threads, scale):
    folder = work / "database"
    shutil.rmtree(folder, ignore_errors=True)
    measurement = launcher.run(arguments(work, folder, scale), cwd=work)
    support.require_success(measurement, "db_bench")
    rates, found = parse(support.read_output(measurement))

    def found_under_plain_malloc():
        other = work / "plain"
        text = support.plain_output(launcher, arguments(work, other, scale), cwd=work)
        shutil.rmtree(other, ignore_errors=True)
        return parse(text)[1]

    support.require_reference(work, found, found_under_plain_malloc)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "measurement": measurement,
        "values": {
            "fills": {"value": rates["fillrandom"], "unit": "1/s"},
            "reads": {"value": rates["readrandom"], "unit": "1/s"},
        },
    }
