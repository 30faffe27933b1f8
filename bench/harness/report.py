"""Tables of a run as Markdown, with what an honest page must not leave out: where ours loses.

write(results_path, output_dir) makes report.md; doc/benchmarks.md is made of it.
"""
import textwrap
from pathlib import Path

from harness import compare, results, view
from harness.common import OURS, BadInput

FILE = "report.md"
LIMIT, LIMIT_TWICE = "limit", "limit-twice"
LOST_TIME = 1.02     # times of the best: more is lost
LOST_MEMORY = 1.10   # times of the leanest that is fast
FAST = 1.25          # times of the best time: less is fast
# The original's README compares with them, and no package of Debian has them.
WANTED = {"snmalloc": "snmalloc", "rpmalloc": "rpmalloc", "Hoard": "hoard"}
RELATIVE_TABLES = (
    ("Time", "elapsed", "The row's own rate where it has one, else elapsed time."),
    ("Peak resident memory", "peak_kib", ""),
    ("Resident memory at the end", "end_kib", "When the work is done, before the process exits."),
    ("Minor page faults", "minor_faults", ""),
)


class Report:
    """What all sections are made of."""

    def __init__(self, contents):
        self.contents = contents
        self.rows = contents["rows"]
        self.peers = [name for name in view.names(contents) if name != OURS]
        self.names = [OURS, *self.peers]

    def of_measure(self, measure):
        """(row, measure) of each row that a table of this measure has."""
        if measure != "elapsed":
            return [(row, measure) for row in self.rows]
        return [(row, view.time_measure(row)) for row in self.rows if view.is_timed(row)]

    def best(self, row, measure, names=None):
        """(name, median) of the best; None when nobody has a value."""
        found = [(name, view.median(row, name, measure)) for name in names or self.names]
        found = [entry for entry in found if entry[1] is not None]
        best = max if view.is_higher_better(row, measure) else min
        return best(found, key=lambda entry: entry[1], default=None)


# --- Markdown -------------------------------------------------------------------------------------

def plain(text):
    """Text that does not end a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def paragraph(text):
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def table(head, lines, words=1):
    """The first columns, of words, to the left, all others to the right."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def section(title, *parts):
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def ratio_text(ratio):
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 99.995 else f"{ratio:.0f}"


def missing_text(row, name):
    reason = view.failure(row, name)
    return "-" if reason in (None, "absent") else reason


def quantity(row, name, measure):
    """A median with its unit, and how far the samples lie apart."""
    middle = view.median(row, name, measure)
    if middle is None:
        return missing_text(row, name)
    text = view.quantity(middle, view.unit_of(row, measure))
    found = view.samples(row, name, measure)
    half = (max(found) - min(found)) / 2
    return f"{text} ±{100 * half / abs(middle):.1f} %" if len(found) > 1 and middle else text


# --- what was measured, and how -------------------------------------------------------------------

def machine_lines(contents):
    machine = contents.get("machine", {})
    facts = [f"- {contents.get('date', 'no date')}, mode {contents.get('mode')}, "
             f"{contents.get('repeat')} samples of each cell, seed {contents.get('seed')}",
             f"- {machine.get('cpu', 'unknown machine')}, {machine.get('cpus')} CPUs, "
             f"{machine.get('memory_mib')} MiB, Linux {machine.get('kernel')}, transparent huge "
             f"pages {machine.get('thp')}, governor {machine.get('governor')}, load "
             f"{machine.get('load')} at the start"]
    facts += [f"- note: {plain(note)}" for note in machine.get("notes", [])]
    if contents.get("partial"):
        facts.append("- **partial: the run was cut short**")
    return "\n".join(facts)


def allocator_table(report):
    lines = [[entry["name"], plain(entry.get("version") or "unknown")]
             for entry in report.contents["allocators"]]
    given = [entry["name"].lower() for entry in report.contents["allocators"]]
    lines += [[name, "not measured"] for name, word in WANTED.items()
              if not any(word in other for other in given)]
    return table(["allocator", "version"], lines, words=2)


def introduction(report):
    return "\n\n".join([
        "# Results", machine_lines(report.contents), allocator_table(report),
        paragraph("Numbers are medians; ± is half of the way from the smallest sample to the "
                  "largest. Ratios are to ours: below 1 the peer is better. Where a higher value "
                  "is better, ratios are turned round. The best of each row is bold.")])


# --- means ----------------------------------------------------------------------------------------

def mean_texts(report, measure):
    """A line: the geometric mean of each allocator over ours, with the number of rows."""
    texts = []
    for name in report.names:
        ratios = [view.ratio(row, name, of) for row, of in report.of_measure(measure)]
        ratios = [ratio for ratio in ratios if ratio is not None]
        mean = view.geometric_mean(ratios)
        texts.append("-" if mean is None else f"{mean:.3f} ({len(ratios)})")
    return texts


def to_best(report, name, measure):
    """[(ratio to the best of the row, row)]"""
    found = []
    for row, of in report.of_measure(measure):
        best = report.best(row, of)
        ratio = best and view.cost_ratio(row, of, view.median(row, name, of), best[1])
        if ratio is not None:
            found.append((ratio, row["row"]))
    return found


def best_lines(report, measure, title):
    """Two lines: the mean distance to the best of each row, and the worst row."""
    means, worst = [f"{title}, to the best of each row"], [f"{title}, worst row"]
    for name in report.names:
        found = to_best(report, name, measure)
        means.append(ratio_text(view.geometric_mean([ratio for ratio, _ in found])))
        worst.append("{:.2f} {}".format(*max(found)) if found else "-")
    return [means, worst]


def summary(report):
    lines = [[f"{title}, relative to ours", *mean_texts(report, measure)]
             for title, measure, _ in RELATIVE_TABLES]
    lines += best_lines(report, "elapsed", "Time") + best_lines(report, "peak_kib", "Peak memory")
    text = "Geometric means; in brackets: over how many rows, which is all that both have."
    return section("Summary", text, table(["", *report.names], lines))


# --- where we lose --------------------------------------------------------------------------------

def noise_text(report, row, measure, peer):
    """The interval of ours over a peer, as compare finds it."""
    sides = [compare.Side(report.contents, name, name) for name in (peer, OURS)]
    interval = compare.change_of(row, row, sides, measure, 1).interval()
    if interval is None:
        return "one sample"
    text = f"{interval[0]:.2f} to {interval[1]:.2f}"
    return text if interval[0] > 1 else f"{text}: perhaps noise"


def lost_to_best(report, rows):
    """[(ratio, row, measure, best)] where ours is worse than the best, the worst first."""
    lost = []
    for row, measure in rows:
        best = report.best(row, measure)
        ratio = best and view.cost_ratio(row, measure, view.median(row, OURS, measure), best[1])
        if ratio is not None and ratio > LOST_TIME:
            lost.append((ratio, row, measure, best[0]))
    return sorted(lost, key=lambda entry: -entry[0])


def fast_names(report, row):
    """Who needs at most a quarter more time than the best."""
    measure = view.time_measure(row)
    best = report.best(row, measure)
    if best is None:
        return []
    ratios = {name: view.cost_ratio(row, measure, view.median(row, name, measure), best[1])
              for name in report.names}
    return [name for name, ratio in ratios.items() if ratio is not None and ratio <= FAST]


def lost_memory(report):
    """[(ratio, row, measure, peer)] where ours takes more than the leanest fast peer."""
    lost = []
    for row in report.rows:
        fast = [name for name in fast_names(report, row) if name != OURS]
        leanest = report.best(row, "peak_kib", fast) if fast else None
        ours = view.median(row, OURS, "peak_kib")
        if leanest and ours and ours > LOST_MEMORY * leanest[1]:
            lost.append((ours / leanest[1], row, "peak_kib", leanest[0]))
    return sorted(lost, key=lambda entry: -entry[0])


def lost_table(report, lost, nothing):
    if not lost:
        return nothing
    lines = [[row["row"], quantity(row, OURS, measure), f"{quantity(row, peer, measure)} {peer}",
              ratio_text(ratio), noise_text(report, row, measure, peer)]
             for ratio, row, measure, peer in lost]
    return table(["row", "ours", "peer", "ours over it", "95 % interval"], lines)


def failed_lines(report):
    """Rows in which ours has no result although it was asked for."""
    failed = [(row["row"], row["cells"][OURS]) for row in report.rows
              if view.failure(row, OURS) and OURS in row["cells"]]
    return "\n".join(f"- **{name}: {cell['status']}: {plain(cell['text'])}**"
                     for name, cell in failed if cell["status"] != "absent")


def losses(report):
    others = [(row, "main") for row in report.rows if not view.is_timed(row)]
    return section(
        "Where we lose", failed_lines(report),
        f"Time, more than {LOST_TIME:g} times that of the best:",
        lost_table(report, lost_to_best(report, report.of_measure("elapsed")), "Nowhere."),
        paragraph(f"Peak memory, more than {LOST_MEMORY:g} times that of the leanest peer that is "
                  f"fast (within {FAST:g} times of the best time):"),
        lost_table(report, lost_memory(report), "Nowhere."),
        f"Other numbers that are the point of a row, more than {LOST_TIME:g} times worse than the "
        f"best:" if others else "",
        lost_table(report, lost_to_best(report, others), "Nowhere.") if others else "")


# --- tables ---------------------------------------------------------------------------------------

def peer_text(row, name, measure, is_best):
    ratio = view.ratio(row, name, measure)
    if ratio is None:
        middle = view.median(row, name, measure)
        if middle is None:
            return missing_text(row, name)
        return view.quantity(middle, view.unit_of(row, measure))  # ours has none
    return f"**{ratio_text(ratio)}**" if is_best else ratio_text(ratio)


def relative_section(report, title, measure, text):
    lines = []
    for row, of in report.of_measure(measure):
        best = report.best(row, of)
        if best is None:
            continue
        ours = quantity(row, OURS, of)
        lines.append([row["row"], f"**{ours}**" if best[0] == OURS else ours,
                      *(peer_text(row, name, of, name == best[0]) for name in report.peers)])
    return section(title, text, table(["", *report.names], lines) if lines else "Nothing.")


def main_section(report):
    """Values as they are: ratios of such numbers say little."""
    lines = []
    for row in report.rows:
        best = None if view.is_timed(row) else report.best(row, "main")
        if best is None:
            continue
        texts = [quantity(row, name, "main") for name in report.names]
        texts = [f"**{text}**" if name == best[0] else text
                 for name, text in zip(report.names, texts)]
        lines.append([row["row"], row["main"], row["better"], *texts])
    if not lines:
        return ""
    return section("What else is the point of a row",
                   table(["", "value", "better", *report.names], lines, words=3))


# --- lower bounds ---------------------------------------------------------------------------------

def own_work(row, measure):
    """The time of the workload itself: the bound, less what a second pair of calls adds to it."""
    once, twice = view.median(row, LIMIT, measure), view.median(row, LIMIT_TWICE, measure)
    if once is None or twice is None or view.unit_of(row, measure) != "s" or twice < once:
        return None  # the last: noise is larger than what the calls cost
    return max(2 * once - twice, 0)


def limit_line(report, row, measure):
    """None for a row without a lower bound."""
    bound, ours = view.median(row, LIMIT, measure), view.median(row, OURS, measure)
    if bound is None or ours is None:
        return None
    own, best = own_work(row, measure), report.best(row, measure, report.peers)
    unit = view.unit_of(row, measure)
    return [row["row"], view.quantity(ours, unit), view.quantity(bound, unit),
            ratio_text(view.cost_ratio(row, measure, ours, bound)),
            f"{ratio_text(view.cost_ratio(row, measure, best[1], bound))} {best[0]}" if best
            else "-",
            "-" if own is None else view.quantity(own, "s"),
            "-" if own is None else f"{100 * max(1 - own / ours, 0):.0f} %"]


def limit_section(report):
    lines = [limit_line(report, row, view.time_measure(row)) for row in report.rows
             if view.is_timed(row)]
    lines = [line for line in lines if line]
    if not lines:
        return ""
    text = ("The bound is a stack of free blocks for each size class, for one thread, without a "
            "check, that never gives memory back (bench/limit/limit.c). Own work is what remains "
            "of its time without the allocation calls, where that was measured: the bound less "
            "what one more pair of calls adds. A ratio below 1 means that where blocks lie counts "
            "for more than what the calls cost.")
    return section("Distance to the lower bound", paragraph(text), table(
        ["row", "ours", "bound", "ours over it", "best peer over it", "own work",
         "share of calls in ours"], lines))


def count_of(row, name, key):
    counts = row["cells"].get(name, {}).get("instructions")
    return counts[key] if counts else None


def instruction_line(report, row):
    """None for a row that was not counted with ours."""
    ours, total = count_of(row, OURS, "allocator"), count_of(row, OURS, "total")
    if not ours:
        return None
    others = [count_of(row, name, "allocator") for name in (*report.peers, LIMIT)]
    return [row["row"], view.quantity(total - ours, "1"), view.quantity(ours, "1"),
            *("-" if other is None else ratio_text(other / ours) for other in others)]


def instruction_section(report):
    lines = [line for line in (instruction_line(report, row) for row in report.rows) if line]
    if not lines:
        return ""
    text = ("Counted by callgrind, at a smaller scale, in rows of one thread: the program's own, "
            "those in our library, and the peers' and the lower bound's relative to these.")
    return section("Instructions", paragraph(text),
                   table(["", "own work", OURS, *report.peers, "bound"], lines))


# --- the rest -------------------------------------------------------------------------------------

def failure_section(report):
    """Cells that have no numbers, and why; rows that nobody ran are told once."""
    failed = [[row, name, cell["status"], plain(cell["text"])]
              for row, name, cell in results.failed_cells(report.contents)]
    absent = {}
    for row in report.rows:
        for name, cell in row["cells"].items():
            if cell["status"] == "absent" and name in report.names:
                absent.setdefault((row["row"], plain(cell["text"])), []).append(name)
    failed += [[row, "all" if len(names) == len(report.names) else ", ".join(names),
                "not measured", text] for (row, text), names in absent.items()]
    if not failed:
        return ""
    return section("Without a result", table(["row", "allocator", "what", "why"], failed, words=4))


def text_of(contents):
    """The whole report."""
    report = Report(contents)
    sections = [introduction(report), summary(report), losses(report)]
    sections += [relative_section(report, *entry) for entry in
                 ((title, measure, text) for title, measure, text in RELATIVE_TABLES)]
    sections += [main_section(report), limit_section(report), instruction_section(report),
                 failure_section(report)]
    return "\n\n".join(part for part in sections if part) + "\n"


def write(results_path, output_dir):
    """Writes report.md; its path."""
    text = text_of(view.load(results_path))
    path = Path(output_dir) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    return path
