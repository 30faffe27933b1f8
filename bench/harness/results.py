"""The result file: how it is made, read, summed up, and printed as tables."""
import json
import math
import os
import statistics

from harness.common import BadInput

FORMAT = 1
# What every sample has: its unit, and what tables call it.
MEASURES = {
    "elapsed": ("s", "elapsed time"),
    "user": ("s", "user time"),
    "system": ("s", "system time"),
    "peak_kib": ("KiB", "peak resident memory"),
    "end_kib": ("KiB", "resident memory at the end"),
    "minor_faults": ("1", "minor page faults"),
    "major_faults": ("1", "major page faults"),
}
# Tables: the measure, its column unit, what a value is divided by, digits.
TABLES = (
    ("elapsed", "s", 1, 3),
    ("peak_kib", "MiB", 1024, 1),
    ("end_kib", "MiB", 1024, 1),
    ("minor_faults", "thousand", 1000, 1),
    ("user", "s", 1, 3),
    ("system", "s", 1, 3),
)
# Those that are printed on the terminal, too.
PRINTED = ("elapsed", "peak_kib", "end_kib", "minor_faults")


# --- making ---------------------------------------------------------------------------------------

def new_row(row, mode):
    workload = row.workload
    unit = MEASURES[workload.main][0] if workload.main in MEASURES else ""
    return {"row": row.name, "workload": workload.name, "group": workload.group,
            "threads": row.threads, "threads_kind": row.kind, "args": workload.arguments[mode],
            "main": workload.main, "unit": unit, "better": workload.better,
            "pictures": list(workload.pictures), "cells": {}}


def new_cell(status="ok", text=""):
    return {"status": status, "text": text, "samples": [], "series": {}}


def write(path, results):
    """All or nothing: a run that is killed leaves the file of before."""
    partial = f"{path}.partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        raise BadInput(f"{path}: cannot write: {error.strerror}") from error


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise BadInput(f"{path}: not a result file of format {FORMAT}")
    return results


# --- summing up -----------------------------------------------------------------------------------

def values(cell, measure):
    """The values of a measure, or of a value that the workload reports, over the samples."""
    found = []
    for sample in cell["samples"]:
        value = sample.get(measure) if measure in MEASURES or measure == "instructions" else \
            sample["values"].get(measure, {}).get("value")
        if value is not None:
            found.append(value)
    return found


def median(cell, measure):
    """None where there is nothing to take it of."""
    found = values(cell, measure) if cell["status"] == "ok" else []
    return statistics.median(found) if found else None


def spread(cell, measure):
    """Half of the way from the smallest sample to the largest, as a share of the median."""
    found = values(cell, measure)
    middle = statistics.median(found) if found else 0
    return (max(found) - min(found)) / 2 / middle if middle else 0.0


def geometric_mean(ratios):
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios)) if ratios else None


def relative(results, measure, name, base):
    """(geometric mean of `name` over `base`, rows that both have)."""
    ratios = []
    for row in results["rows"]:
        cells = row["cells"]
        if name in cells and base in cells:
            pair = median(cells[name], measure), median(cells[base], measure)
            if all(pair):
                ratios.append(pair[0] / pair[1])
    return geometric_mean(ratios), len(ratios)


def failed_cells(results):
    """(row, allocator, cell) of everything that neither worked nor was absent."""
    return [(row["row"], name, cell) for row in results["rows"]
            for name, cell in row["cells"].items() if cell["status"] not in ("ok", "absent")]


# --- tables ---------------------------------------------------------------------------------------

def cell_text(cell, measure, divisor, digits):
    if cell is None:
        return "-"
    if cell["status"] != "ok":
        return {"absent": "-"}.get(cell["status"], cell["status"])
    middle = median(cell, measure)
    if middle is None:
        return "-"
    if len(cell["samples"]) == 1:
        return f"{middle / divisor:.{digits}f}"
    return f"{middle / divisor:.{digits}f} ±{100 * spread(cell, measure):.0f}%"


def align(lines):
    """Columns of equal width: the first to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                  for i, (text, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines)


def relative_line(results, measure, names):
    base = names[0]
    texts = []
    for name in names:
        mean, _ = relative(results, measure, name, base)
        texts.append("-" if mean is None else f"{mean:.2f}")
    return [f"relative to {base}", *texts]


def table(results, measure, unit, divisor, digits):
    names = [allocator["name"] for allocator in results["allocators"]]
    lines = [["", *names]]
    for row in results["rows"]:
        texts = [cell_text(row["cells"].get(name), measure, divisor, digits) for name in names]
        if any(text != "-" for text in texts):
            lines.append([row["row"], *texts])
    lines.append(relative_line(results, measure, names))
    return f"{MEASURES[measure][1]}, {unit}\n{align(lines)}\n"


def number_text(value):
    """Four digits that matter."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def main_table(results):
    """Of the rows whose point is another number than a measure; None when there are none."""
    names = [allocator["name"] for allocator in results["allocators"]]
    lines = [["", "value", "unit", "better", *names]]
    for row in results["rows"]:
        if row["main"] in MEASURES:
            continue
        texts = []
        for name in names:
            cell = row["cells"].get(name)
            middle = median(cell, row["main"]) if cell else None
            failed = cell is not None and cell["status"] not in ("ok", "absent")
            texts.append(number_text(middle) if middle is not None
                         else cell["status"] if failed else "-")
        lines.append([row["row"], row["main"], row["unit"], row["better"], *texts])
    return f"what else is the point of a row\n{align(lines)}\n" if len(lines) > 1 else None


def instructions_table(results):
    """Millions, as total / inside the allocator; None when they were not counted."""
    names = [allocator["name"] for allocator in results["allocators"]]
    lines = [["", *names]]
    for row in results["rows"]:
        counts = [row["cells"].get(name, {}).get("instructions") for name in names]
        if any(counts):
            lines.append([row["row"], *(f"{count['total'] / 1e6:.1f} / "
                                        f"{count['allocator'] / 1e6:.1f}" if count else "-"
                                        for count in counts)])
    if len(lines) == 1:
        return None
    return f"million instructions: all / in the allocator (at a smaller scale)\n{align(lines)}\n"


def failures_text(results):
    lines = [f"{row}, {name}: {cell['status']}: {cell['text']}"
             for row, name, cell in failed_cells(results)]
    absent = {}
    for row in results["rows"]:
        for cell in row["cells"].values():
            if cell["status"] == "absent":
                absent.setdefault(cell["text"], set()).add(row["row"])
    lines += [f"not measured: {', '.join(sorted(rows))}: {text}" for text, rows in absent.items()]
    return "\n".join(lines) + "\n" if lines else None


def tables(results, measures=None):
    """All tables as one text; `measures`: only these, of those that every sample has."""
    parts = [table(results, *entry) for entry in TABLES if measures is None or entry[0] in measures]
    parts += [main_table(results), instructions_table(results), failures_text(results)]
    if results.get("partial"):
        parts.insert(0, "PARTIAL: the run was cut short\n")
    return "\n".join(part for part in parts if part)
