"""bench/compare: what changed between two result files, or between two allocators of one.

The change of a row is the ratio of the medians. Its interval is found by the bootstrap: the samples
of both sides are drawn anew, with replacement, and the ratio of the new medians is taken, some
thousand times; the middle 95 % of these ratios are the interval. Above 1 is always worse: where a
higher value is better, the ratio is the old median over the new.
"""
import argparse
import math
import random
import sys
import zlib
from dataclasses import dataclass

from harness import results, view
from harness.common import OURS, BadInput

STATUS_WORSE, STATUS_BAD_INPUT = 1, 2
RESAMPLES = 4000
CONFIDENCE = 0.95
FEW_SAMPLES = 3
BASIC_MEASURES = ("main", *results.MEASURES, "instructions")
EPILOG = """\
measures: main (the row's own: elapsed time, or the value that its suite file names), elapsed, user,
system, peak_kib, end_kib, minor_faults, major_faults, instructions, or a value that workloads
report, such as p99_malloc.

exit status: 0; 1 with --worse when some row is; 2 bad input.
"""


@dataclass
class Side:
    """What is on one side: an allocator in a file."""
    contents: dict
    allocator: str
    label: str

    def rows(self):
        return {row["row"]: row for row in self.contents["rows"]}


@dataclass
class Change:
    """One row: medians, their ratio (above 1 is worse), and the ratios of the resamples."""
    row: str
    unit: str
    before: float
    after: float
    ratio: float
    resamples: list  # empty when one sample is all there is
    samples: int     # of the side that has fewer

    def interval(self):
        return interval_of(self.resamples) if self.resamples else None

    def is_worse(self, percent):
        interval = self.interval()
        return interval is not None and interval[0] > 1 + percent / 100

    def verdict(self):
        interval = self.interval()
        if interval is None:
            return ""
        return "worse" if interval[0] > 1 else "better" if interval[1] < 1 else ""


# --- statistics -----------------------------------------------------------------------------------

def interval_of(ratios):
    """The middle part of the ratios."""
    ordered = sorted(ratios)
    cut = int(len(ordered) * (1 - CONFIDENCE) / 2)
    return ordered[cut], ordered[-1 - cut]


def draw_medians(values, source):
    """The medians of resamples of a list."""
    count = len(values)
    low, high = (count - 1) // 2, count // 2
    medians = []
    for _ in range(RESAMPLES):
        drawn = sorted(source.choices(values, k=count))
        medians.append((drawn[low] + drawn[high]) / 2)
    return medians


def resample(row, measure, before, after, seed):
    """Ratios of resampled medians. A row's random numbers do not depend on other rows."""
    source = random.Random(zlib.crc32(row["row"].encode()) ^ seed)
    return [view.cost_ratio(row, measure, new, old)
            for old, new in zip(draw_medians(before, source), draw_medians(after, source))]


def change_of(row, other, sides, measure, seed):
    """The change of one row, None when one side has no values."""
    before = view.samples(row, sides[0].allocator, measure)
    after = view.samples(other, sides[1].allocator, measure)
    if not before or not after:
        return None
    old = view.median(row, sides[0].allocator, measure)
    new = view.median(other, sides[1].allocator, measure)
    few = min(len(before), len(after))
    is_exact = measure == "instructions"  # counted, not sampled
    ratios = resample(row, measure, before, after, seed) if few > 1 or is_exact else []
    return Change(row["row"], view.unit_of(row, measure), old, new,
                  view.cost_ratio(row, measure, new, old), ratios, few)


def mean_change(changes):
    """(geometric mean of all ratios, its interval or None)."""
    usable = [change for change in changes if 0 < change.ratio < math.inf]
    mean = view.geometric_mean([change.ratio for change in usable])
    drawn = [change.resamples for change in usable if change.resamples]
    if mean is None or len(drawn) != len(usable):
        return mean, None
    means = [view.geometric_mean(ratios) for ratios in zip(*drawn)]
    return mean, interval_of([value for value in means if value is not None])


# --- what can be compared -------------------------------------------------------------------------

def difference(row, other, measure):
    """Why two rows of one name are not the same work, or None."""
    if row["args"] != other["args"] or row["threads"] != other["threads"]:
        return "other arguments"
    if measure == "main" and (row["main"], row["better"]) != (other["main"], other["better"]):
        return "another main value"
    return None


def failure_note(row, other, sides):
    """(text, whether it is a failure that was not there before) of a row without values."""
    before, after = (view.failure(entry, side.allocator)
                     for entry, side in zip((row, other), sides))
    if after and not before:
        cell = other["cells"].get(sides[1].allocator)
        text = cell["text"] if cell else "not measured"
        return f"{row['row']}: {after} in {sides[1].label}: {text}", after != "absent"
    if before and not after:
        return f"{row['row']}: {before} in {sides[0].label}, works in {sides[1].label}", False
    return None, False


def compare(sides, measure, seed):
    """(changes, notes, rows that fail now and did not before)."""
    old, new = sides[0].rows(), sides[1].rows()
    changes, notes, broken, unlike = [], [], [], {}
    for name, row in old.items():
        if name not in new:
            continue
        reason = difference(row, new[name], measure)
        if reason:
            unlike.setdefault(reason, []).append(name)
            continue
        change = change_of(row, new[name], sides, measure, seed)
        if change:
            changes.append(change)
            continue
        note, is_broken = failure_note(row, new[name], sides)
        notes += [note] if note else []
        broken += [name] if is_broken else []
    notes += [f"not compared, {reason}: {', '.join(rows)}" for reason, rows in unlike.items()]
    notes += only_notes(sides, old, new)
    return changes, notes, broken


def only_notes(sides, old, new):
    """Rows that one file has alone."""
    notes = []
    for side, mine, others in ((sides[0], old, new), (sides[1], new, old)):
        alone = [name for name in mine if name not in others]
        if alone:
            notes.append(f"only in {side.label}: {', '.join(alone)}")
    return notes


def file_notes(sides):
    """What makes two files hard to compare as a whole."""
    first, second = sides[0].contents, sides[1].contents
    notes = [f"{side.label} is partial: its run was cut short" for side in sides
             if side.contents.get("partial")]
    if first is second:
        return notes[:1]
    for key in ("cpu", "cpus", "kernel"):
        pair = [contents.get("machine", {}).get(key) for contents in (first, second)]
        if pair[0] != pair[1]:
            notes.append(f"the machines differ: {key} {pair[0]}, then {pair[1]}")
    return notes


def sample_notes(changes):
    few = [change.row for change in changes if change.samples < FEW_SAMPLES and change.resamples]
    single = [change.row for change in changes if not change.resamples]
    notes = []
    if few:
        notes.append(f"fewer than {FEW_SAMPLES} samples, so the interval means little: "
                     f"{', '.join(few)}")
    if single:
        notes.append(f"one sample only, so there is no interval and no verdict: "
                     f"{', '.join(single)}")
    return notes


# --- output ---------------------------------------------------------------------------------------

def interval_text(interval):
    return f"{view.percent(interval[0])} to {view.percent(interval[1])}" if interval else "-"


def change_lines(changes, sides):
    """The table, with its geometric mean."""
    lines = [["", sides[0].label, sides[1].label, "change", "95 % interval", ""]]
    for change in changes:
        largest = max(abs(change.before), abs(change.after))
        medians = [view.quantity(value, change.unit, 4, largest)
                   for value in (change.before, change.after)]
        lines.append([change.row, *medians, view.percent(change.ratio),
                      interval_text(change.interval()), change.verdict()])
    mean, interval = mean_change(changes)
    if mean is not None:
        lines.append([f"geometric mean of {len(changes)}", "", "", view.percent(mean),
                      interval_text(interval), ""])
    return lines


def print_changes(changes, sides, options):
    print(f"{options.title}; measure {options.measure}, + is worse; intervals by bootstrap, "
          f"{RESAMPLES} resamples, seed {options.seed}\n")
    print(results.align(change_lines(changes, sides)))
    print()


def gate(changes, broken, percent):
    """Prints who is worse than allowed; the exit status."""
    worse = [change.row for change in changes if change.is_worse(percent)]
    if broken:
        print(f"fails now: {', '.join(broken)}")
    if worse:
        print(f"worse by more than {percent:g} %: {', '.join(worse)}")
    if not worse and not broken:
        print(f"no row is worse by more than {percent:g} %")
    return STATUS_WORSE if worse or broken else 0


# --- the command line -----------------------------------------------------------------------------

class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message} (--help shows the usage)")


def make_parser():
    parser = Parser(prog="bench/compare", allow_abbrev=False, epilog=EPILOG,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    description="Shows what changed between two result files, or, with --against, "
                                "how an allocator stands to another one of the same file.")
    parser.add_argument("before", metavar="A.json", help="the result file, or the older one")
    parser.add_argument("after", metavar="B.json", nargs="?", help="the newer one")
    parser.add_argument("--against", metavar="PEER", help="compare with this allocator of A.json")
    parser.add_argument("--allocator", metavar="NAME", default=OURS, help="which one (ours)")
    parser.add_argument("--measure", metavar="NAME", default="main", help="see below (main)")
    parser.add_argument("--worse", metavar="PERCENT", type=float,
                        help="exit status 1 when a row's whole interval lies above this change, or "
                             "when a row fails that did not fail before")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the bootstrap (1)")
    return parser


def check_allocator(name, contents, path):
    known = [entry["name"] for entry in contents["allocators"]]
    if name not in known:
        raise BadInput(f"{path}: there is no allocator {name}, but {', '.join(known) or 'none'}")


def check_measure(measure, sides):
    """A measure that no workload reports is a mistake."""
    reported = {value for side in sides for row in side.contents["rows"]
                for cell in row["cells"].values() for sample in cell["samples"]
                for value in sample["values"]}
    if measure not in BASIC_MEASURES and measure not in reported:
        raise BadInput(f"--measure: there is no {measure}; there are {', '.join(BASIC_MEASURES)}"
                       + (f" and {', '.join(sorted(reported))}" if reported else ""))


def sides_of(options):
    """Both sides; sets the title."""
    if (options.after is None) == (options.against is None):
        raise BadInput("give a second file, or --against PEER, and not both (--help shows the "
                       "usage)")
    first = view.load(options.before)
    check_allocator(options.allocator, first, options.before)
    if options.against is not None:
        check_allocator(options.against, first, options.before)
        if options.against == options.allocator:
            raise BadInput(f"--against {options.against}: that is the allocator itself")
        options.title = f"{options.allocator} against {options.against}, {options.before}"
        return (Side(first, options.against, options.against),
                Side(first, options.allocator, options.allocator))
    second = view.load(options.after)
    check_allocator(options.allocator, second, options.after)
    options.title = f"{options.allocator}, A {options.before}, B {options.after}"
    return Side(first, options.allocator, "A"), Side(second, options.allocator, "B")


def run(argv):
    options = make_parser().parse_args(argv)
    if options.worse is not None and not 0 <= options.worse < math.inf:
        raise BadInput(f"--worse {options.worse:g}: it must be 0 or more")
    sides = sides_of(options)
    check_measure(options.measure, sides)
    changes, notes, broken = compare(sides, options.measure, options.seed)
    if not changes and not broken:
        raise BadInput(f"no row has {options.measure} on both sides"
                       + (f" ({notes[0]})" if notes else ""))
    if options.worse is not None and not broken and not any(c.resamples for c in changes):
        raise BadInput("--worse: every row has one sample only, so nothing can be judged")
    if changes:
        print_changes(changes, sides, options)
    for note in file_notes(sides) + notes + sample_notes(changes):
        print(f"note: {note}")
    return 0 if options.worse is None else gate(changes, broken, options.worse)


def main(argv):
    try:
        return run(argv)
    except BadInput as error:
        print(f"bench/compare: {error}", file=sys.stderr)
        return STATUS_BAD_INPUT
    except BrokenPipeError:
        return 0
