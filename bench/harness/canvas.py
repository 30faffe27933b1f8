"""What all pictures share: colours, the sheet with its title, legend and footer, and the files."""
from contextlib import contextmanager

from harness import view
from harness.allocators import LIMITS
from harness.common import OURS, BadInput

# An opaque light card with a border: it reads the same on a light and on a dark page.
CARD, BORDER, INK, FAINT, GRID = "#fbfbf9", "#b9b9b3", "#22262b", "#565d65", "#dcdcd7"
# Fixed for each allocator: the colours of M. Okabe and K. Ito, which colour-blind readers tell
# apart. Bars have the same order in every group, and lines have dashes, besides.
COLOURS = {
    OURS: "#d55e00", "glibc": "#8a9199", "jemalloc": "#0072b2", "tcmalloc": "#009e73",
    "mimalloc2": "#56b4e9", "tbbmalloc": "#cc79a7", "snmalloc": "#e69f00", "rpmalloc": "#f0e442",
    "hoard": "#3b3b3b", **dict.fromkeys(LIMITS, "#000000"),
}
SPARE_COLOURS = ("#882255", "#44aa99", "#332288", "#999933", "#117733", "#ddcc77")
DASHES = {"glibc": (0, (4, 1.5)), "jemalloc": (0, (1, 1)), "tcmalloc": (0, (6, 1.5, 1, 1.5)),
          "mimalloc2": (0, (2, 1)), "tbbmalloc": (0, (6, 1.2, 1, 1.2, 1, 1.2))}

STYLE = {
    "svg.hashsalt": "bench", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 8.5,
    "text.color": INK, "axes.labelcolor": FAINT, "xtick.color": INK, "ytick.color": FAINT,
    "axes.edgecolor": BORDER, "axes.facecolor": CARD, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 9.5, "axes.titlelocation": "left",
    "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True,
}
PNG_DPI = 110
WIDTH = 11.0        # all in inches
TOP_MARGIN = 0.68   # title and legend
BOTTOM_MARGIN = 0.3  # footer
LEGEND_COLUMNS = 9


def load_matplotlib():
    try:
        import matplotlib
    except ImportError as error:
        raise BadInput("there is no matplotlib: apt-get install python3-matplotlib, and use "
                       "/usr/bin/python3") from error
    return matplotlib


@contextmanager
def styled():
    """Everything drawn inside looks the same, whatever the user's own settings are."""
    matplotlib = load_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.use("Agg")
        matplotlib.rcParams.update(STYLE)
        yield


class Palette:
    """The colours of a run. Allocators that have no fixed one get the spare ones in turn."""

    def __init__(self, contents):
        self.names = view.names(contents)
        unknown = [name for name in self.names if name not in COLOURS]
        spare = {name: SPARE_COLOURS[i % len(SPARE_COLOURS)] for i, name in enumerate(unknown)}
        self.colours = {**COLOURS, **spare}

    def bar(self, name):
        return {"facecolor": self.colours[name], "edgecolor": INK, "linewidth": 0.4}

    def line(self, name):
        is_ours = name == OURS
        return {"color": self.colours[name], "linestyle": DASHES.get(name, "-"),
                "linewidth": 2.4 if is_ours else 1.5, "zorder": 4 if is_ours else 3}


class Sheet:
    """A figure: panels of equal size below a title and a legend, a footer below them."""

    def __init__(self, panels, panel_height, columns=1, left=0.55, gap=0.62):
        from matplotlib.figure import Figure
        lines = -(-panels // columns)
        self.height = TOP_MARGIN + lines * panel_height + BOTTOM_MARGIN
        self.figure = Figure(figsize=(WIDTH, self.height), facecolor=CARD, edgecolor=BORDER,
                             linewidth=3)
        self.axes = [self.add_axes(number, panel_height, columns, left, gap)
                     for number in range(panels)]

    def add_axes(self, number, panel_height, columns, left, gap):
        """`left` and `gap`: what a panel leaves free for its labels, at the left and below."""
        line, column = divmod(number, columns)
        width = (WIDTH - 0.15) / columns
        bottom = self.height - TOP_MARGIN - (line + 1) * panel_height + gap
        return self.figure.add_axes([(column * width + left) / WIDTH, bottom / self.height,
                                     (width - left - 0.1) / WIDTH,
                                     (panel_height - gap - 0.25) / self.height])

    def finish(self, title, handles, footer):
        """Writes around the panels."""
        top = self.height - 0.1
        self.figure.text(0.15 / WIDTH, top / self.height, title, va="top", fontsize=11.5,
                         fontweight="bold")
        self.figure.legend(handles=handles, loc="upper left", frameon=False, borderaxespad=0,
                           bbox_to_anchor=(0.15 / WIDTH, (top - 0.28) / self.height),
                           ncols=min(len(handles), LEGEND_COLUMNS), handlelength=1.8,
                           columnspacing=1.6)
        self.figure.text(0.15 / WIDTH, 0.1 / self.height, footer, va="bottom", fontsize=7,
                         color=FAINT)

    def save(self, folder, name):
        """As SVG and PNG; nothing in them tells when or where they were made."""
        return [self.save_one(folder / f"{name}.svg", {"Date": None, "Creator": None}),
                self.save_one(folder / f"{name}.png", {"Software": None})]

    def save_one(self, path, metadata):
        try:
            self.figure.savefig(path, dpi=PNG_DPI, metadata=metadata, facecolor=CARD,
                                edgecolor=BORDER)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}") from error
        return path


def footer_of(contents):
    """What the numbers are of."""
    machine = contents.get("machine", {})
    parts = [f"{machine.get('cpu', 'unknown machine')}, {machine.get('cpus', '?')} CPUs",
             str(contents.get("date", ""))[:10], f"mode {contents.get('mode', '?')}"]
    if contents.get("partial"):
        parts.append("PARTIAL: the run was cut short")
    return "; ".join(part for part in parts if part)
