"""The order of the samples, and what becomes of them.

Round after round; in each round every row, and in each row the allocators one after the other in a
new random order: what slows the machine for a while then slows all allocators alike.
"""
import random
import time

from harness import callgrind, results
from harness.launcher import CannotRun, SampleFailed
from harness.progress import Progress

# What a sample takes, about, before anything is known.
NOMINAL_S = {"full": 2.0, "quick": 0.3, "tiny": 0.1}


def plan(rows, names, repeat, seed):
    """[(round, row, names in their order)]"""
    order = random.Random(seed)
    steps = []
    for number in range(1, repeat + 1):
        for row in rows:
            steps.append((number, row, order.sample(names, len(names))))
    return steps


class Run:
    """Fills a result file's contents sample by sample."""

    def __init__(self, contents, rows, allocators, sampler, save, stream=None):
        self.contents, self.rows, self.allocators = contents, rows, allocators
        self.sampler = sampler
        self.save = save  # called after each row of each round
        self.by_name = {allocator.name: allocator for allocator in allocators}
        self.entries = {row.name: results.new_row(row, sampler.mode) for row in rows}
        contents["rows"] = list(self.entries.values())
        self.steps = plan(rows, list(self.by_name), contents["repeat"], contents["seed"])
        samples = sum(len(names) for _, _, names in self.steps)
        self.progress = Progress(samples, NOMINAL_S[sampler.mode], stream)
        self.stream = stream

    def cell(self, row, name):
        return self.entries[row.name]["cells"].setdefault(name, results.new_cell())

    def is_open(self, row, name):
        """Whether more samples of a cell are to be taken: a failure ends it."""
        cell = self.entries[row.name]["cells"].get(name)
        return cell is None or cell["status"] == "ok"

    def remaining(self, index, done_names):
        """(row, allocator) of every sample that is still to come, from step `index` on."""
        for number, (_, row, names) in enumerate(self.steps[index:]):
            for name in names:
                if (number > 0 or name not in done_names) and self.is_open(row, name):
                    yield row.name, name

    def run(self):
        """All samples. An interruption leaves what is done."""
        for index, (number, row, names) in enumerate(self.steps):
            done = set()
            title = f"round {number}/{self.contents['repeat']} {row.name}"
            for name in names:
                if self.is_open(row, name):
                    self.progress.show(f"{title} {name}", self.remaining(index, done))
                    self.take(row, name)
                done.add(name)
            self.progress.end_row(title, self.remaining(index, done))
            self.save()
        self.progress.end()

    def take(self, row, name):
        cell = self.cell(row, name)
        started = time.monotonic()
        try:
            if self.by_name[name].is_limit and row.threads > 1:
                raise CannotRun("a lower bound for one thread only")
            sample, series = self.sampler.take(row, self.by_name[name])
        except SampleFailed as error:
            if self.by_name[name].is_limit and error.status == "timeout":
                error = CannotRun(f"it seems to wait for a second thread: {error}")
            cell["status"], cell["text"] = error.status, str(error)
            self.tell_failure(row, name, cell, time.monotonic() - started)
            return
        cell["samples"].append(sample)
        cell["series"] = series
        entry = self.entries[row.name]
        if row.workload.main in sample["values"]:
            entry["unit"] = sample["values"][row.workload.main]["unit"]
        self.progress.add(row.name, name, time.monotonic() - started, f"{sample['elapsed']:.3f}")

    def tell_failure(self, row, name, cell, seconds):
        later = sum(1 for _, other, _ in self.steps if other is row) - len(cell["samples"]) - 1
        self.progress.skip(later)
        self.progress.add(row.name, name, seconds, cell["status"])
        if cell["status"] != "absent":
            self.progress.say(f"{row.name}, {name}: {cell['status']}: {cell['text']}")

    def count_instructions(self):
        """For programs of ours with one thread; once, for the counts hardly vary."""
        rows = [row for row in self.rows if row.kind == "1" and row.workload.program]
        cells = [(row, allocator) for row in rows for allocator in self.allocators
                 if self.is_open(row, allocator.name)]
        progress = Progress(len(cells), NOMINAL_S["full"], self.stream)
        for index, (row, allocator) in enumerate(cells):
            left = [(other.name, peer.name) for other, peer in cells[index:]]
            progress.show(f"instructions of {row.name} {allocator.name}", left)
            started = time.monotonic()
            self.count_cell(row, allocator, progress)
            progress.add(row.name, allocator.name, time.monotonic() - started, "counted")
            progress.end_row(f"instructions of {row.name}", left[1:])
            self.save()

    def count_cell(self, row, allocator, progress):
        cell = self.cell(row, allocator.name)
        argv = self.sampler.program_argv(row, "tiny")
        try:
            counts = callgrind.count(argv, allocator, self.sampler.folder,
                                     self.sampler.limit_s(row.workload))
        except SampleFailed as error:
            progress.say(f"{row.name}, {allocator.name}: no instructions: {error}")
            return
        cell["instructions"] = {**counts, "args": row.workload.arguments["tiny"]}
        for sample in cell["samples"]:
            sample["instructions"] = counts["total"]
