"""Starts programs under an allocator and measures them, by tools/measure."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness import allocators
from harness.common import last_line, plain_environment, read_text, signal_name

STOP_SECONDS = 30


class SampleFailed(Exception):
    """One line; `status` is the cell's."""

    status = "crash"


class Crashed(SampleFailed):
    """A signal ended the program, or an exit status that means no result."""


class WrongResult(SampleFailed):
    """What came out is not what it must be."""

    status = "wrong"


class TimedOut(SampleFailed):
    status = "timeout"


class CannotRun(SampleFailed):
    status = "absent"


@dataclass
class Measurement:
    elapsed: float
    user: float
    system: float
    peak_kib: int
    end_kib: int | None
    minor_faults: int
    major_faults: int
    status: int  # exit status, or minus the signal
    stdout: Path
    stderr: Path

    def last_words(self):
        return last_line(read_text(self.stderr))


class Running:
    """A program that was started."""

    def __init__(self, process, report, outputs, limit_s):
        self.process, self.report, self.outputs, self.limit_s = process, report, outputs, limit_s
        self.is_stopping = False
        self.cost = None
        line = report.readline()
        if not line:
            process.wait()
            raise Crashed(f"measure failed: {last_line(read_text(outputs[1]))}")
        self.pid = json.loads(line)["pid"]

    def is_running(self):
        return not self.report.closed and self.process.poll() is None

    def wait(self):
        """Waits for the end; the time limit is kept by `measure`."""
        if not self.report.closed:
            line = self.report.readline()
            self.report.close()
            self.process.wait()
            self.cost = json.loads(line) if line else None
        if self.cost is None:
            raise Crashed("measure died")
        return self.measurement()

    def measurement(self):
        """What the program cost, or a SampleFailed."""
        cost = dict(self.cost)
        ended, number = cost.pop("exit"), cost.pop("signal")
        if cost.pop("timed_out"):
            raise TimedOut(f"not done after {self.limit_s:.0f} s")
        stopped_by_us = self.is_stopping and number == signal.SIGTERM
        if number is not None and not stopped_by_us:
            words = last_line(read_text(self.outputs[1]))
            raise Crashed(signal_name(number) + (f": {words}" if words else ""))
        status = ended if ended is not None else -number
        return Measurement(**cost, status=status, stdout=self.outputs[0], stderr=self.outputs[1])

    def stop(self):
        """Asks a server to end and returns what it cost."""
        if self.is_running():
            self.is_stopping = True
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise TimedOut(f"not gone {STOP_SECONDS} s after SIGTERM") from error
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(SampleFailed):
            self.wait()


class Launcher:
    """One sample: all its programs share the time limit and a folder for their output."""

    def __init__(self, measure, allocator, scratch, limit_s, is_real_program=False):
        self.measure = measure
        self.cell_allocator = allocator
        self.scratch = Path(scratch)
        self.deadline = time.monotonic() + limit_s
        self.is_real_program = is_real_program
        self.started = []

    @property
    def allocator(self):
        return self.cell_allocator.name

    @property
    def shared_object(self):
        return self.cell_allocator.path

    def preload(self):
        """What goes before all other libraries.

        For a real program under the C library's malloc that is the C library: the program may be
        linked with another allocator, as Debian's redis is.
        """
        if self.shared_object is None and self.is_real_program:
            return allocators.libc_file()
        return self.shared_object

    def left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("not done in time")
        return left

    def check_binding(self, name):
        """A real program must have the malloc of the cell; looked at once."""
        program = shutil.which(name)
        if program is None:
            raise CannotRun(f"there is no program {name}")
        proven = self.cell_allocator.proven
        if program not in proven:
            proven[program] = allocators.wrong_binding(program, self.preload())
        if proven[program]:
            raise WrongResult(proven[program])

    def start(self, argv, stdin=None, stdout=None, cwd=None, env=None):
        argv = [str(word) for word in argv]
        if self.is_real_program:
            self.check_binding(argv[0])
        limit_s = self.left()
        number = len(self.started)
        outputs = (Path(stdout) if stdout else self.scratch / f"{number}.out",
                   self.scratch / f"{number}.err")
        read_end, write_end = os.pipe()
        command = [self.measure, "--report", str(write_end), "--limit", f"{limit_s:.3f}"]
        if self.is_real_program:
            command.append("--end")  # a workload tells it itself
        if self.preload():
            command += ["--preload", self.preload()]
        try:
            with open(stdin or os.devnull, "rb") as source, open(outputs[0], "wb") as out, \
                    open(outputs[1], "wb") as err:
                process = subprocess.Popen(
                    [*command, *argv], stdin=source, stdout=out, stderr=err, cwd=cwd,
                    env={**plain_environment(), **(env or {})}, pass_fds=(write_end,),
                    start_new_session=True)
        finally:
            os.close(write_end)
        report = os.fdopen(read_end, encoding="utf-8")
        running = Running(process, report, outputs, limit_s)
        self.started.append(running)
        return running

    def run(self, argv, stdin=None, stdout=None, cwd=None, env=None):
        return self.start(argv, stdin, stdout, cwd, env).wait()

    def plain(self, argv, stdin=None, cwd=None, env=None):
        """Not measured, under the C library's malloc."""
        try:
            with open(stdin or os.devnull, "rb") as source:
                return subprocess.run(
                    [str(word) for word in argv], stdin=source, cwd=cwd, capture_output=True,
                    env={**plain_environment(), "LD_PRELOAD": allocators.libc_file(),
                         **(env or {})}, text=True, errors="replace",
                    timeout=self.left(), check=False)
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"{argv[0]}: not done in time") from error
        except FileNotFoundError as error:
            raise CannotRun(f"there is no program {argv[0]}") from error

    def close(self):
        """Nothing that was started stays."""
        for running in self.started:
            running.kill()
