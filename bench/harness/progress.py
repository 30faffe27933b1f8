"""Shows how far a run is: a bar with an estimate on a terminal, plain lines elsewhere."""
import shutil
import statistics
import sys
import time

BAR_CELLS = 24


def duration_text(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Estimate:
    """The time left, from what the same cell, else the same row, else all others took."""

    def __init__(self, nominal_s):
        self.nominal_s = nominal_s
        self.by_cell = {}

    def add(self, row, name, seconds):
        self.by_cell[row, name] = seconds

    def left(self, remaining):
        """`remaining`: (row, allocator) of every sample to come."""
        by_row = {}
        for (row, _), seconds in self.by_cell.items():
            by_row.setdefault(row, []).append(seconds)
        means = {row: statistics.fmean(found) for row, found in by_row.items()}
        usual = statistics.fmean(means.values()) if means else self.nominal_s
        return sum(self.by_cell.get(cell, means.get(cell[0], usual)) for cell in remaining)


class Progress:
    def __init__(self, total, nominal_s, stream=None):
        self.stream = stream or sys.stderr
        self.is_terminal = self.stream.isatty()
        self.total = total
        self.done = 0
        self.estimate = Estimate(nominal_s)
        self.started = time.monotonic()
        self.line = []

    def show(self, text, remaining):
        """Before a sample."""
        if not self.is_terminal:
            return
        full = BAR_CELLS * self.done // max(self.total, 1)
        bar = "#" * full + "." * (BAR_CELLS - full)
        left = duration_text(self.estimate.left(remaining))
        columns = shutil.get_terminal_size().columns
        line = f"[{bar}] {self.done}/{self.total}, {left} left: {text}"
        self.stream.write("\r" + line[:columns - 1].ljust(columns - 1))
        self.stream.flush()

    def add(self, row, name, seconds, text):
        """After a sample; `text` is what came out, in a word."""
        self.done += 1
        self.estimate.add(row, name, seconds)
        self.line.append(f"{name} {text}")

    def skip(self, samples=1):
        """Samples that will not be taken."""
        self.total -= samples

    def end_row(self, title, remaining):
        """After all allocators of a row, in one round: a line, where there is no bar."""
        if not self.is_terminal and self.line:
            left = duration_text(self.estimate.left(remaining))
            print(f"{title}: {', '.join(self.line)} ({left} left)", file=self.stream, flush=True)
        self.line = []

    def say(self, text):
        """A line that stays."""
        if self.is_terminal:
            self.stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        print(text, file=self.stream, flush=True)

    def end(self):
        passed = duration_text(time.monotonic() - self.started)
        self.say(f"{self.done} samples in {passed}")
