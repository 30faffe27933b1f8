"""redis: the server, under pushes to a list and reads of its head.

Models: the `redis` row of allocator suites. Debian's server holds one list; `redis-benchmark`, over
a unix socket with 10 clients and 16 requests in flight for each, pushes 10 elements at a time and
then reads the first 10 elements, 320,000 times each at scale 1. Only the server runs on the
allocator that is measured, and only its memory counts. Each request makes and frees an object for
each of its words, the list grows by reallocation in pieces of 8 KiB, replies are small buffers.

`requests` is the number of requests per second over both parts: what the row is about. The elapsed
time includes the start of the server and of the clients. `server_time` is what a request costs the
server in processor time, which does not depend on how fast the clients are. The list's length, its
first and its last elements must be what the pushes leave behind.

Debian's server is linked with jemalloc. Whatever is preloaded comes before it, and for the baseline
the launcher preloads the C library itself. Each sample proves that this works: the library must be
mapped, and jemalloc, which the server asks for its statistics, must not hold what the server has
allocated (unless jemalloc is the allocator of the cell).
"""
import os
import time
from pathlib import Path

from harness.launcher import WrongResult
from programs import support

PACKAGES = ["redis-server", "redis-tools"]
REQUESTS = 320_000
CLIENTS = 10
IN_FLIGHT = 16
SOCKET = "redis.socket"  # relative to the folder: the path of a socket must be short
ELEMENTS = [str(number) for number in range(1, 11)]
START_LIMIT_S = 20


def available():
    return support.absent(PACKAGES, "redis-server", "redis-cli", "redis-benchmark")


def prepare(work, scale, seed):
    """Nothing: the requests are always the same ones."""


def ask(launcher, work, *words):
    argv = [support.command("redis-cli"), "-s", SOCKET, *words]
    return support.plain_output(launcher, argv, cwd=work).strip()


def is_ready(launcher, work):
    if not (work / SOCKET).exists():
        return False
    argv = [support.command("redis-cli"), "-s", SOCKET, "PING"]
    return launcher.plain(argv, cwd=work).stdout.strip() == "PONG"


def start_server(launcher, work):
    (work / SOCKET).unlink(missing_ok=True)
    server = launcher.start(
        [
            support.command("redis-server"),
            *("--port", "0", "--unixsocket", SOCKET, "--dir", str(work)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"),
        ],
        cwd=work,
    )
    end = time.monotonic() + START_LIMIT_S
    while not is_ready(launcher, work):
        if not server.is_running():
            support.require_success(server.stop(), "redis-server")
            raise WrongResult("redis-server ended at once")
        if time.monotonic() > end:
            raise WrongResult(f"redis-server is not ready after {START_LIMIT_S} s")
        time.sleep(0.01)
    return server


def prove_allocator(launcher, work, pid):
    """The server must run on the allocator of this cell; see the head of this file."""
    pairs = (line.split(":", 1) for line in ask(launcher, work, "INFO", "memory").splitlines())
    memory = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    in_jemalloc = int(memory.get("allocator_allocated", "0"))
    is_by_jemalloc = (
        memory.get("mem_allocator", "").startswith("jemalloc")
        and in_jemalloc > int(memory["used_memory"]) / 2
    )
    if launcher.shared_object is None:
        if is_by_jemalloc:
            raise WrongResult("the server runs on the jemalloc that it is linked with")
        return
    library = Path(os.path.realpath(launcher.shared_object))
    if str(library) not in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8"):
        raise WrongResult(f"{library.name} is not mapped in the server")
    # A library that has jemalloc's call for statistics answers for itself.
    if is_by_jemalloc and b"mallctl" not in library.read_bytes():
        raise WrongResult(f"the server runs on jemalloc, not on {library.name}")


def request_rate(launcher, work, count, *words):
    argv = [
        support.command("redis-benchmark"),
        *("-s", SOCKET, "-n", str(count), "-c", str(CLIENTS), "-P", str(IN_FLIGHT), "--csv"),
        *words,
    ]
    last = support.last_line(support.plain_output(launcher, argv, cwd=work))
    try:
        return float(last.split('","')[1])
    except (IndexError, ValueError) as error:
        raise WrongResult(f"redis-benchmark ends with {last[:100]!r}") from error


def check_list(launcher, work, pushes):
    if (length := ask(launcher, work, "LLEN", "list")) != str(pushes * len(ELEMENTS)):
        raise WrongResult(f"{length} elements after {pushes} pushes of {len(ELEMENTS)}")
    for end, first, last in (("first", "0", "9"), ("last", "-10", "-1")):
        found = ask(launcher, work, "LRANGE", "list", first, last).split()
        if found != ELEMENTS[::-1]:
            raise WrongResult(f"the {end} elements of the list are {found}")


def run(launcher, work, threads, scale):
    whole_rounds = CLIENTS * IN_FLIGHT  # redis-benchmark sends no part of one
    count = support.scaled(REQUESTS / whole_rounds, scale) * whole_rounds
    server = start_server(launcher, work)
    pushes = request_rate(launcher, work, count, "LPUSH", "list", *ELEMENTS)
    ranges = request_rate(launcher, work, count, "LRANGE", "list", "0", "9")
    prove_allocator(launcher, work, server.pid)
    check_list(launcher, work, count)
    measurement = server.stop()
    support.require_success(measurement, "redis-server")
    server_seconds = measurement.user + measurement.system
    values = {
        "requests": {"value": 2 / (1 / pushes + 1 / ranges), "unit": "1/s"},
        "pushes": {"value": pushes, "unit": "1/s"},
        "ranges": {"value": ranges, "unit": "1/s"},
        "server_time": {"value": server_seconds / (2 * count) * 1e6, "unit": "us"},
    }
    return {"measurement": measurement, "values": values}
