"""What compare, plots and report ask of a result file: rows, measures, ratios, texts of numbers."""
import math
import statistics

from harness import results
from harness.allocators import LIMITS
from harness.common import OURS, BadInput

TIME_UNITS = ("s", "ms", "us")
NO_UNIT = ("", "1")
# Of units: from which value on, divided by what, called what; the first that fits is taken.
SCALES = {
    "s": ((1, 1, "s"), (1e-3, 1e-3, "ms"), (0, 1e-6, "us")),
    "ns": ((1e9, 1e9, "s"), (1e6, 1e6, "ms"), (1e3, 1e3, "us"), (0, 1, "ns")),
    "KiB": ((1 << 20, 1 << 20, "GiB"), (1 << 10, 1 << 10, "MiB"), (0, 1, "KiB")),
    "1": ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0, 1, "")),
}


# --- reading --------------------------------------------------------------------------------------

def load(path):
    """The contents of a result file whose shape is right; BadInput says what is not."""
    contents = results.read(path)
    problem = shape_problem(contents)
    if problem:
        raise BadInput(f"{path}: damaged: {problem}")
    return contents


def shape_problem(contents):
    """What is missing in a result file, or None."""
    if not isinstance(contents.get("rows"), list):
        return "no rows"
    allocators = contents.get("allocators")
    if not isinstance(allocators, list) or not all(is_named(entry) for entry in allocators):
        return "no allocators"
    return next((text for text in map(row_problem, contents["rows"]) if text), None)


def is_named(entry):
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def row_problem(row):
    """What is missing in a row, or None."""
    if not isinstance(row, dict) or not isinstance(row.get("row"), str):
        return "a row without a name"
    keys = ("workload", "group", "threads", "threads_kind", "args", "main", "unit", "better")
    missing = [key for key in keys if key not in row]
    if missing:
        return f"{row['row']} has no {missing[0]}"
    if not isinstance(row.get("cells"), dict):
        return f"{row['row']} has no cells"
    for name, cell in row["cells"].items():
        if not isinstance(cell, dict) or not isinstance(cell.get("samples"), list) or \
                not all(isinstance(cell.get(key), str) for key in ("status", "text")):
            return f"{row['row']}, {name}: not a cell"
        if not all(is_sample(sample) for sample in cell["samples"]):
            return f"{row['row']}, {name}: not a sample"
    return None


def is_sample(sample):
    return isinstance(sample, dict) and isinstance(sample.get("values"), dict) and all(
        isinstance(value, dict) and "value" in value for value in sample["values"].values())


# --- cells ----------------------------------------------------------------------------------------

def samples(row, name, measure):
    """The values of a measure in a cell, none where the cell failed; `main`: the row's own."""
    cell = row["cells"].get(name)
    if cell is None or cell["status"] != "ok":
        return []
    found = results.values(cell, row["main"] if measure == "main" else measure)
    return [value for value in found if isinstance(value, (int, float)) and math.isfinite(value)]


def median(row, name, measure):
    """None where nothing was measured."""
    found = samples(row, name, measure)
    return statistics.median(found) if found else None


def failure(row, name):
    """Why a cell has no values: crash, timeout, wrong, absent; None when it should have some."""
    cell = row["cells"].get(name)
    if cell is None:
        return "absent"
    return None if cell["status"] == "ok" else cell["status"]


def names(contents):
    """The allocators of a run, ours first; without the lower bounds."""
    found = [entry["name"] for entry in contents["allocators"] if entry["name"] not in LIMITS]
    return sorted(found, key=lambda name: name != OURS)


# --- measures -------------------------------------------------------------------------------------

def is_higher_better(row, measure):
    return row["better"] == "higher" and measure in ("main", row["main"])


def unit_of(row, measure):
    """As the cells say; all of them have the same."""
    measure = row["main"] if measure == "main" else measure
    if measure in results.MEASURES:
        return results.MEASURES[measure][0]
    for cell in row["cells"].values():
        for sample in cell["samples"]:
            if measure in sample["values"]:
                return sample["values"][measure].get("unit", "")
    return "1"


def is_timed(row):
    """Whether the row is about time, so that its main value says how fast it is."""
    if row["main"] == "elapsed":
        return True
    unit = unit_of(row, "main")
    return unit in TIME_UNITS or unit.endswith("/s")


def time_measure(row):
    return "main" if is_timed(row) else "elapsed"


def cost_ratio(row, measure, value, base):
    """How much worse `value` is than `base`, above 1 when it is worse; None without a number."""
    if value is None or base is None:
        return None
    if is_higher_better(row, measure):
        value, base = base, value
    if value == base:
        return 1.0
    return value / base if base > 0 else math.inf


def ratio(row, name, measure, base=OURS):
    """The cost of an allocator's median relative to another's; None where one has none."""
    return cost_ratio(row, measure, median(row, name, measure), median(row, base, measure))


def geometric_mean(ratios):
    """Of those that are numbers above 0; None when there are none."""
    usable = [value for value in ratios if value is not None and 0 < value < math.inf]
    return results.geometric_mean(usable) if usable else None


# --- texts ----------------------------------------------------------------------------------------

def number(value, digits=3):
    """At least `digits` digits that matter: 1234, 12.3, 0.0123."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(places, 0), 9)}f}"


def scale_of(value, unit):
    """(divisor, unit) in which a value reads well: 15300 KiB is 14.9 MiB."""
    unit = "1" if unit in NO_UNIT else unit
    scales = SCALES.get(unit, ((0, 1, unit),))
    return next((factor, scaled) for least, factor, scaled in scales if abs(value) >= least)


def quantity(value, unit, digits=3, like=None):
    """A value with its unit, in the scale that fits, or that fits `like`."""
    factor, scaled = scale_of(value if like is None else like, unit)
    return f"{number(value / factor, digits)} {scaled}".rstrip()


def percent(ratio_value):
    """A ratio as a change: 1.1 is +10.0 %."""
    return f"{100 * (ratio_value - 1):+.1f} %" if math.isfinite(ratio_value) else "+inf"
