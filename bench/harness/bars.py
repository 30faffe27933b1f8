"""Pictures of grouped bars: one group for each row, one bar for each allocator, ours = 1."""
import re
from dataclasses import dataclass

from harness import canvas, view
from harness.common import OURS

ROWS_IN_PANEL = 10
LEAST_SLOTS = 5  # fewer rows leave the rest of a panel empty
TOP = 2.5  # in times of ours; what is beyond is cut
PANEL_HEIGHT = 2.5
GROUP_WIDTH = 0.86
GROUP_TITLES = {"applications": "applications", "stress": "stress tests",
                "memory": "memory behaviour"}


@dataclass
class Kind:
    """A sort of picture."""
    name: str
    title: str
    measure: str
    is_of_timed: bool | None  # rows about time only, others only, or (None) all


KINDS = (
    Kind("time", "Time relative to ours", "main", True),
    Kind("peak", "Peak resident memory relative to ours", "peak_kib", None),
    Kind("end", "Resident memory at the end, relative to ours", "end_kib", None),
    Kind("main", "What else is the point of a row, relative to ours", "main", False),
)


@dataclass
class Group:
    """What a group of bars needs to know."""
    row: dict
    measure: str
    base_name: str  # who is 1
    base: float


def fits(kind, row):
    return kind.is_of_timed is None or kind.is_of_timed == view.is_timed(row)


def is_first_threads(row):
    """One thread, or one for each CPU; not four or sixteen times as many."""
    return not re.fullmatch(r"\d+N", row["threads_kind"])


def group_of(row, measure, names):
    """None where nobody has a value. The base is ours, or the best where ours has none."""
    found = {name: view.median(row, name, measure) for name in names}
    found = {name: value for name, value in found.items() if value is not None and value > 0}
    if not found:
        return None
    best = max if view.is_higher_better(row, measure) else min
    name = OURS if OURS in found else best(found, key=found.get)
    return Group(row, measure, name, found[name])


# --- one group ------------------------------------------------------------------------------------

def label_of(group):
    """Below a group: its name, and what 1 stands for."""
    row = group.row
    text = view.quantity(group.base, view.unit_of(row, group.measure))
    if group.base_name != OURS:
        text = f"{group.base_name} = 1: {text}"
    if group.measure == "main" and row["main"] != "elapsed":
        text = f"{text}\n{row['main']}"
    return f"{row['row']}\n{text}"


def write_upright(axes, place, height, text):
    axes.text(place, height, text, rotation=90, ha="center", va="bottom", fontsize=6.8, zorder=5)


def draw_spread(axes, place, group, name):
    """A thin line from the best sample to the worst."""
    ratios = [view.cost_ratio(group.row, group.measure, value, group.base)
              for value in view.samples(group.row, name, group.measure)]
    low, high = min(ratios), min(max(ratios), TOP)
    if low < high:
        axes.plot([place, place], [low, high], color=canvas.INK, linewidth=0.9, zorder=3,
                  solid_capstyle="butt")


def draw_bar(axes, place, width, group, name, palette):
    """One bar: cut with its value above, or the word why there is none."""
    value = view.median(group.row, name, group.measure)
    if value is None:
        reason = view.failure(group.row, name)
        if reason and reason != "absent":
            write_upright(axes, place, 0.04, reason)
        return
    ratio = view.cost_ratio(group.row, group.measure, value, group.base)
    axes.bar(place, min(ratio, TOP), width, **palette.bar(name))
    draw_spread(axes, place, group, name)
    if ratio > TOP:
        write_upright(axes, place, TOP * 1.015, view.number(ratio, 2))


def draw_limit(axes, index, group):
    """The lower bound: a dotted line across the group. True when there is one."""
    value = view.median(group.row, "limit", group.measure)
    if value is None or group.measure != "main" or not view.is_timed(group.row):
        return False
    ratio = view.cost_ratio(group.row, group.measure, value, group.base)
    axes.plot([index - 0.45, index + 0.45], [ratio, ratio], zorder=5, **limit_line())
    return True


def limit_line():
    return {"color": canvas.COLOURS["limit"], "linewidth": 1.6, "linestyle": (0, (1.2, 0.8))}


# --- panels and pictures --------------------------------------------------------------------------

def chunks(groups):
    """Panels of about equal length."""
    count = -(-len(groups) // ROWS_IN_PANEL)
    size = -(-len(groups) // count)
    return [groups[start:start + size] for start in range(0, len(groups), size)]


def panels_of(groups):
    """[(title, groups)]: no panel has rows of two groups of the suite."""
    by_suite_group = {name: [] for name in GROUP_TITLES}
    for group in groups:
        by_suite_group.setdefault(group.row["group"], []).append(group)
    by_suite_group = {name: members for name, members in by_suite_group.items() if members}
    panels = []
    for name, members in by_suite_group.items():
        title = GROUP_TITLES.get(name, name) if len(by_suite_group) > 1 else ""
        for number, part in enumerate(chunks(members)):
            panels.append((title if number == 0 else "", part))
    return panels


def draw_panel(axes, title, groups, slots, palette):
    """A panel with room for `slots` groups. True when it has a lower bound."""
    width = GROUP_WIDTH / len(palette.names)
    has_limit = False
    for index, group in enumerate(groups):
        for number, name in enumerate(palette.names):
            place = index + (number - (len(palette.names) - 1) / 2) * width
            draw_bar(axes, place, width * 0.95, group, name, palette)
        has_limit |= draw_limit(axes, index, group)
    axes.axhline(1, color=canvas.FAINT, linewidth=0.8, zorder=2)
    axes.set_title(title, color=canvas.FAINT)
    axes.set_xticks(range(len(groups)), [label_of(group) for group in groups], fontsize=7.6)
    axes.tick_params(length=0)
    axes.set_xlim(-0.6, slots - 0.4)
    axes.set_ylim(0, TOP * 1.15)
    axes.set_yticks([0, 0.5, 1, 1.5, 2, 2.5])
    axes.grid(axis="y")
    return has_limit


def legend_of(palette, has_limit):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    handles = [Patch(label=name, **palette.bar(name)) for name in palette.names]
    if has_limit:
        handles.append(Line2D([], [], label="lower bound", **limit_line()))
    return handles


def draw_picture(contents, kind, groups, title):
    """A sheet with all groups."""
    palette = canvas.Palette(contents)
    panels = panels_of(groups)
    slots = max(LEAST_SLOTS, *(len(part) for _, part in panels))
    sheet = canvas.Sheet(len(panels), PANEL_HEIGHT)
    limits = [draw_panel(axes, panel_title, part, slots, palette)
              for axes, (panel_title, part) in zip(sheet.axes, panels)]
    sheet.finish(f"{title}: shorter bars are better", legend_of(palette, any(limits)),
                 f"{canvas.footer_of(contents)}; medians of {contents.get('repeat', '?')}; below "
                 f"each group: what 1 is; thin lines: from the best sample to the worst; bars end "
                 f"at {TOP:g}")
    return sheet


def groups_for(contents, kind, keep):
    """The groups of a picture: rows that fit, and of which somebody has a value."""
    names = view.names(contents)
    rows = [row for row in contents["rows"] if fits(kind, row) and keep(row)]
    found = [group_of(row, kind.measure, names) for row in rows]
    return [group for group in found if group is not None]


def pictures_of(contents):
    """[(file name, kind, groups, title)]"""
    found = []
    for kind in KINDS[:2]:
        found.append((kind.name, kind, groups_for(contents, kind, is_first_threads), kind.title))
    for kind in KINDS:
        for name in dict.fromkeys(row["group"] for row in contents["rows"]):
            groups = groups_for(contents, kind, lambda row, name=name: row["group"] == name)
            title = f"{kind.title}, {GROUP_TITLES.get(name, name)}"
            found.append((f"{kind.name}-{name}", kind, groups, title))
    return [entry for entry in found if entry[2]]


def draw(contents, folder):
    """All pictures of bars; the files."""
    files = []
    for name, kind, groups, title in pictures_of(contents):
        files += draw_picture(contents, kind, groups, title).save(folder, name)
    return files
