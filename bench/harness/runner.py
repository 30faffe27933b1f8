"""bench/run: from the command line to the result files."""
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

from harness import allocators, build, machine, options, results, sample, schedule, suite
from harness.common import ROOT, BadInput, last_line

# How long other programs are watched before the start.
WATCH_SECONDS, WATCH_SECONDS_TINY = 1.0, 0.02
STATUS_FAILED, STATUS_BAD_INPUT, STATUS_SKIPPED, STATUS_INTERRUPTED = 1, 2, 77, 130


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- before the run -------------------------------------------------------------------------------

def make_output(folder):
    """The folder for the results must be there, and writable, before hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise BadInput(f"--output {folder}: cannot write there: {error.strerror}") from error


def unavailable_modules(rows):
    """[(workload, reason)] of real programs that cannot run here."""
    found = []
    for workload in {row.workload.name: row.workload for row in rows}.values():
        if workload.module:
            reason = sample.why_unavailable(workload.module)
            if reason is not None:
                found.append((workload.name, reason))
    return found


def absent_things(chosen, rows):
    """What the run would like to have installed."""
    things = allocators.absent_packages(chosen.names)
    if not chosen.build:
        things += [tool for tool in ("cmake", "cc", "c++", "make") if not shutil.which(tool)]
    things += [f"the program for {name}" for name, _ in unavailable_modules(rows)]
    if chosen.instructions and not shutil.which("valgrind"):
        things.append("valgrind")
    if chosen.mode != "tiny" and importlib.util.find_spec("matplotlib") is None:
        things.append("matplotlib")
    return things


def install(chosen, rows):
    things = absent_things(chosen, rows)
    if not things or not chosen.may_install:
        return
    say(f"absent: {', '.join(things)}; asking tools/setup.sh bench for it")
    result = subprocess.run([str(ROOT / "tools" / "setup.sh"), "bench"], check=False, text=True,
                            stdout=sys.stderr, stderr=subprocess.PIPE)
    if result.returncode != 0:
        say(f"  note: not everything could be installed: {last_line(result.stderr)}")


def find_allocators(chosen, built):
    """Those of the run, each proven to serve a process."""
    found = []
    for name in chosen.names:
        allocator = allocators.make(name, chosen.libraries, built)
        if allocator is None:
            package = allocators.PACKAGED[name][0]
            if chosen.are_named:
                raise BadInput(f"--allocators: {name} is not installed (package {package})")
            say(f"  note: {name} is not measured: package {package} is not installed")
            continue
        allocators.prove(allocator, built.program("probe"))
        found.append(allocator)
    return found


def select_rows(chosen):
    cpus = len(os.sched_getaffinity(0))
    workloads = suite.load(chosen.suite)
    rows = suite.rows_of(workloads, suite.parse_threads(chosen.threads, cpus))
    return suite.select(rows, chosen.patterns, chosen.groups)


def print_list(chosen, rows):
    lines = [["row", "group", "threads", "what"]]
    lines += [[row.name, row.workload.group, f"{row.threads}", row.workload.text] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    absent = allocators.absent_packages(chosen.names)
    print("\nallocators: " + ", ".join(chosen.names)
          + (f"; not installed: {', '.join(absent)}" if absent else ""))


# --- the run --------------------------------------------------------------------------------------

def new_contents(chosen, found):
    return {
        "format": results.FORMAT, "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "mode": chosen.mode, "seed": chosen.seed, "repeat": chosen.repeat, "partial": True,
        "options": chosen.description(),
        "machine": machine.inspect(WATCH_SECONDS_TINY if chosen.mode == "tiny" else WATCH_SECONDS),
        "allocators": [allocator.description() for allocator in found], "rows": [],
    }


def interrupt(_number, _frame):
    raise KeyboardInterrupt


def measure(chosen, rows, found, built):
    """Everything that takes long. Returns the contents of the result file and whether all is in."""
    contents = new_contents(chosen, found)
    say(machine.text_of(contents["machine"]))
    say("allocators: " + ", ".join(f"{allocator.name} {allocator.version or ''}".strip()
                                   for allocator in found))
    path = chosen.output / "results.json"
    ticks, started = machine.cpu_times(), time.monotonic()
    try:
        with sample.Sampler(built, chosen.mode, chosen.seed if chosen.is_seeded else None) as taker:
            for row in rows:
                if row.workload.module:
                    taker.prepare(row.workload)
            run = schedule.Run(contents, rows, found, taker, lambda: results.write(path, contents))
            run.run()
            if chosen.instructions:
                run.count_instructions()
            contents["partial"] = False
    except KeyboardInterrupt:
        say("\ncut short: what is done is written")
    contents["seconds"] = round(time.monotonic() - started, 1)
    stolen = machine.share_since(ticks, 1)
    if stolen > machine.STOLEN_NOTED:
        contents["machine"]["notes"].append(
            f"the host of this virtual machine took {stolen:.1%} of the CPU time during the run")
    return contents


def write_all(chosen, contents):
    """The result file, the tables, and what the other modules make of them."""
    path = chosen.output / "results.json"
    results.write(path, contents)
    text = machine.text_of(contents["machine"]) + "\n\n" + results.tables(contents)
    (chosen.output / "tables.txt").write_text(text, encoding="utf-8")
    print(results.tables(contents, results.PRINTED))
    if chosen.mode != "tiny":
        draw("plots", "draw", path, chosen.output)
        draw("report", "write", path, chosen.output)
    say(f"written: {chosen.output}")


def draw(name, function, path, folder):
    """Pictures and the report come after the numbers, and must not lose them."""
    try:
        module = importlib.import_module(f"harness.{name}")
        getattr(module, function)(path, folder)
    except ImportError as error:
        say(f"  note: no {name}: {error}")
    except Exception as error:
        say(f"  note: {name} failed: {type(error).__name__}: {last_line(str(error))}")


def unexpected_failures(contents, rows):
    """(row, allocator) of cells that failed, but for those of which the suite knows."""
    known = {(row.name, name) for row in rows for name in row.workload.fails}
    return [(row, name) for row, name, _ in results.failed_cells(contents)
            if (row, name) not in known]


def exit_status(chosen, contents, rows):
    if contents["partial"]:
        return STATUS_INTERRUPTED
    if not chosen.is_strict:
        return 0
    if unexpected_failures(contents, rows):
        return STATUS_FAILED
    cells = [cell for row in contents["rows"] for cell in row["cells"].values()]
    return 0 if any(cell["status"] == "ok" for cell in cells) else STATUS_SKIPPED


def run(argv):
    chosen = options.parse(argv)
    rows = select_rows(chosen)
    if chosen.is_list:
        print_list(chosen, rows)
        return 0
    suite.check_sources(rows)
    make_output(chosen.output)
    install(chosen, rows)
    if chosen.instructions and not shutil.which("valgrind"):
        raise BadInput("--instructions: valgrind is not installed")
    built = build.Build(chosen.build) if chosen.build else build.build()
    found = find_allocators(chosen, built)
    contents = measure(chosen, rows, found, built)
    write_all(chosen, contents)
    return exit_status(chosen, contents, rows)


def main(argv):
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return run(argv)
    except BadInput as error:
        say(f"bench: {error}")
        return STATUS_BAD_INPUT
    except KeyboardInterrupt:
        say("bench: cut short before the first sample")
        return STATUS_INTERRUPTED
    except BrokenPipeError:
        return STATUS_INTERRUPTED
