"""Runs commands on one allocator, measures them, and proves whose malloc served them.

A Session is one run of one program on one allocator, "ours" or "system". Both preload something:
ours the library, system the C library itself (so that its malloc comes first also where a program
links another allocator, as Debian's redis does), and both the probe, which reports from inside each
process.
"""
import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
COMMAND_LIMIT_S = 300
# What the C library's malloc may hold although another one is preloaded.
STRAY_BYTES = 64 * 1024


class Failure(Exception):
    """One line that says what went wrong."""


def build_tools(folder):
    """Compiles probe and launcher; returns the environment-independent paths."""
    compiler = os.environ.get("CC", "cc").split()
    probe, launcher = os.path.join(folder, "probe.so"), os.path.join(folder, "launch")
    for output, source, flags in (
        (probe, "probe.c", ["-shared", "-fPIC", "-fno-builtin", "-O1", "-ldl"]),
        (launcher, "launch.c", ["-static", "-O1"]),
    ):
        result = subprocess.run(
            [*compiler, "-o", output, os.path.join(HERE, source), *flags],
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise Failure(f"{source} does not compile: {result.stderr.strip()}")
    return probe, launcher


def status_text(status):
    if status < 1000:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(status - 1000).name}"
    except ValueError:
        return f"killed by signal {status - 1000}"


class Session:
    """One run: where it works and logs, with what it is preloaded, what it cost so far."""

    def __init__(self, tools, allocator, library, folder, program):
        self.probe, self.launcher = tools
        self.allocator = allocator
        self.preloaded = library
        self.program = program
        self.folder = os.path.join(folder, allocator)
        self.probes = os.path.join(self.folder, "probes")
        self.logs = os.path.join(self.folder, "logs")
        for path in (self.folder, self.probes, self.logs):
            os.makedirs(path, exist_ok=True)
        os.chmod(self.probes, 0o777)
        self.inputs = os.path.join(folder, "inputs")
        self.seconds = 0.0
        self.peak_kib = 0
        self.commands = 0

    def plain_environment(self):
        """No allocator options of the caller, no locale, no personal settings."""
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith("MIMALLOC_")
            and name not in ("LD_PRELOAD", "MALLOC_CONF")
        }
        home = os.path.join(self.folder, "home")
        os.makedirs(home, exist_ok=True)
        env.update(HOME=home, LC_ALL="C.UTF-8", TZ="UTC")
        return env

    def environment(self, extra=None):
        env = self.plain_environment()
        if self.allocator == "ours":
            env.update(
                LD_PRELOAD=f"{self.probe}:{self.preloaded}",
                MIMALLOC_SHOW_STATS="1",
                MIMALLOC_SHOW_ERRORS="1",
            )
        else:
            env.update(LD_PRELOAD=f"{self.probe}:libc.so.6")
        env["PROBE_FOLDER"] = self.probes
        env.update(extra or {})
        return env

    def start(self, argv, stdin=subprocess.DEVNULL, env=None, cwd=None):
        """Starts a command in the launcher; returns a Running."""
        self.commands += 1
        name = os.path.join(self.logs, f"{self.commands:02}-{os.path.basename(argv[0])}")
        with open(name + ".out", "wb") as out, open(name + ".err", "wb") as err:
            process = subprocess.Popen(
                [self.launcher, name + ".cost", *argv],
                stdin=stdin,
                stdout=out,
                stderr=err,
                env=self.environment(env),
                cwd=cwd or self.folder,
                start_new_session=True,
            )
        return Running(self, process, name, argv)

    def run(self, argv, stdin=subprocess.DEVNULL, env=None, cwd=None, limit_s=COMMAND_LIMIT_S):
        """Runs a command to its end and returns its stdout; anything but success is a Failure."""
        return self.start(argv, stdin, env, cwd).finish(limit_s)

    @contextlib.contextmanager
    def server(self, argv, is_ready, cwd=None):
        """A server, for the length of a with statement; whatever happens, it is gone afterwards."""
        running = self.start(argv, cwd=cwd)
        try:
            running.wait_until(is_ready)
            self.check_maps(running.pid())
            started = time.monotonic()
            yield running
            self.seconds += time.monotonic() - started
            running.stop()
        finally:
            running.kill()

    def check_maps(self, pid):
        if self.allocator != "ours":
            return
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            if os.path.realpath(self.preloaded) not in maps.read():
                raise Failure(f"the library is not in /proc/{pid}/maps")

    def reports(self):
        found = []
        for name in glob.glob(os.path.join(self.probes, "*.json")):
            with open(name, encoding="utf-8") as file:
                try:
                    found.append(json.load(file))
                except ValueError as error:
                    raise Failure(f"a process wrote a broken report, {name}: {error}") from error
        return found

    def error_output(self):
        texts = []
        for name in sorted(glob.glob(os.path.join(self.logs, "*.err"))):
            with open(name, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return "".join(texts)

    def prove(self):
        """Returns a few words on who served the run; a Failure when it was somebody else."""
        complaint = re.search(r"mimalloc: .*", self.error_output())
        if self.allocator == "ours" and complaint:
            raise Failure(f"the library complained: {complaint.group()}")
        reports = self.reports()
        wanted = re.compile(self.program.process)
        main = [report for report in reports if wanted.search(report["program"])]
        if not main:
            raise Failure(
                f"no report from a process {self.program.process}, only from "
                f"{sorted({report['program'] for report in reports})}"
            )
        if self.program.own_malloc:
            if any(report["ours_serve"] or report["libc_serves"] for report in main):
                raise Failure("does not bring its own malloc any more: list it with the others")
            return f"brings its own malloc, seen in {len(main)} processes"
        if self.allocator == "system":
            strangers = sorted(
                {report["program"] for report in reports if not report["libc_serves"]}
            )
            if strangers:
                raise Failure(f"the baseline does not run on the C library's malloc: {strangers}")
            return f"C library's malloc in {len(reports)} processes"
        self.prove_ours(reports, main)
        live = sum(report["stats"]["live"]["blocks"] for report in reports if report["stats"])
        return f"served {len(reports)} processes, {live} blocks live at their ends"

    def prove_ours(self, reports, main):
        for report in reports:
            if not report["ours_serve"] or report["libc_serves"]:
                raise Failure(f"{report['program']} does not run on the library's malloc")
            if report["libc_bytes"] > STRAY_BYTES:
                raise Failure(
                    f"{report['program']}: {report['libc_bytes']} bytes in the C library's malloc"
                )
        # a release without the call leaves it to the table
        if not all(
            report["stats"] is None or report["stats"]["pages"]["total"] > 0 for report in main
        ):
            raise Failure("the live statistics count no pages")
        if not has_table(self.error_output()):
            raise Failure("no statistics table with a count in it")


def has_table(text):
    """The table that MIMALLOC_SHOW_STATS=1 prints at exit, with pages in it."""
    return re.search(r"^heap stats:.*^ *pages: +[1-9]", text, re.M | re.S) is not None


class Running:
    """A started command."""

    def __init__(self, session, process, name, argv):
        self.session, self.process, self.name, self.argv = session, process, name, argv
        self.stopping = False

    def cost_lines(self):
        with open(self.name + ".cost", encoding="utf-8") as file:
            return file.read().splitlines()

    def pid(self):
        return int(self.cost_lines()[0].split()[1])

    def describe(self):
        return " ".join(self.argv)[:60]

    def last_words(self):
        """The last line on stderr that is no row of the statistics."""
        with open(self.name + ".err", encoding="utf-8", errors="replace") as file:
            lines = [
                line.strip()
                for line in file
                if re.match(r"\S.*(rror|assert|mimalloc:|abort)", line)
            ]
        return f": {lines[-1][:150]}" if lines else ""

    def wait_until(self, is_ready, limit_s=30):
        end = time.monotonic() + limit_s
        while not is_ready():
            if self.process.poll() is not None:
                raise Failure(f"{self.describe()} ended before it was ready{self.last_words()}")
            if time.monotonic() > end:
                raise Failure(f"{self.describe()} is not ready after {limit_s} s")
            time.sleep(0.05)

    def finish(self, limit_s):
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Failure(f"{self.describe()}: not done after {limit_s} s") from error
        self.kill()  # what it may have left in the background
        lines = self.cost_lines()
        if len(lines) < 2:
            raise Failure(f"{self.describe()}: the launcher failed")
        status, seconds, _, _, peak_kib = lines[1].split()
        if not self.stopping:
            self.session.seconds += float(seconds)
        self.session.peak_kib = max(self.session.peak_kib, int(peak_kib))
        if status != "0":
            raise Failure(f"{self.describe()}: {status_text(int(status))}{self.last_words()}")
        with open(self.name + ".out", "rb") as file:
            return file.read()

    def stop(self):
        """Asks a server to end, and takes its cost."""
        self.stopping = True
        self.process.terminate()
        self.finish(30)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
