"""Pictures of series: percentile curves of latencies, memory over time."""
from harness import canvas, view

QUANTILE_UNIT = "-log10(1-q)"
QUANTILES = ("0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999", "99.999999")
TITLES = {
    "latency_malloc": "how long a call of malloc takes; lower is better",
    "latency_free": "how long a call of free takes; lower is better",
    "resident": "resident memory; lower is better",
    "live_part": "live bytes over resident bytes; higher is better",
}
COLUMNS = 3
PANEL_HEIGHT = 3.5


def series_of(row, name, series):
    """A series of a cell, None where it is absent or not two lists of equal length."""
    cell = row["cells"].get(name, {})
    found = (cell.get("series") or {}).get(series) if cell.get("status") == "ok" else None
    if not found or len(found.get("x", [])) != len(found.get("y", [])) or not found["x"]:
        return None
    return found


def rows_with(contents, workload, series):
    """The rows of a workload of which somebody has the series."""
    return [row for row in contents["rows"] if row["workload"] == workload
            and any(series_of(row, name, series) for name in view.names(contents))]


def scale_for(row, names, series):
    """(divisor, unit) of the y axis: that of the largest value."""
    found = [series_of(row, name, series) for name in names]
    found = [one for one in found if one]
    return view.scale_of(max(max(one["y"]) for one in found), found[0].get("y_unit", ""))


def style_quantiles(axes, last, unit):
    """Every further 9 has the same width."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: view.quantity(value, unit, 1))
    count = min(int(last) + 1, len(QUANTILES))
    axes.set_xticks(range(count), QUANTILES[:count], fontsize=7)
    axes.set_xlim(0, last * 1.02)
    axes.set_xlabel("% of the calls take at most as long")


def style_lines(axes, x_unit, y_unit):
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel(x_unit)
    axes.set_ylabel(y_unit)


def draw_panel(axes, row, series, palette, is_alone):
    """All allocators in one panel."""
    first = next(found for found in (series_of(row, name, series) for name in palette.names)
                 if found)
    is_quantile = first.get("x_unit") == QUANTILE_UNIT
    divisor, unit = (1, first.get("y_unit", "")) if is_quantile else \
        scale_for(row, palette.names, series)
    last = 1.0
    for name in palette.names:
        found = series_of(row, name, series)
        if found:
            last = max(last, found["x"][-1])
            axes.plot(found["x"], [value / divisor for value in found["y"]], **palette.line(name))
    if is_quantile:
        style_quantiles(axes, last, unit)
    else:
        style_lines(axes, first.get("x_unit", ""), unit)
    axes.set_title(row["row"] if not is_alone else "", color=canvas.FAINT)
    axes.grid()


def legend_of(palette):
    from matplotlib.lines import Line2D
    return [Line2D([], [], label=name, **palette.line(name)) for name in palette.names]


def draw_picture(contents, workload, series, rows):
    """A sheet with a panel for each number of threads."""
    palette = canvas.Palette(contents)
    sheet = canvas.Sheet(len(rows), PANEL_HEIGHT, min(len(rows), COLUMNS), left=0.6, gap=0.5)
    for axes, row in zip(sheet.axes, rows):
        draw_panel(axes, row, series, palette, len(rows) == 1)
    title = TITLES.get(series, series.replace("_", " "))
    sheet.finish(f"{workload}: {title}", legend_of(palette),
                 canvas.footer_of(contents) + "; the last sample of each")
    return sheet


def draw(contents, folder):
    """All pictures of series; the files."""
    wanted = dict.fromkeys((row["workload"], series) for row in contents["rows"]
                           for series in row.get("pictures", ()))
    files = []
    for workload, series in wanted:
        rows = rows_with(contents, workload, series)
        if rows:
            name = f"{workload}-{series}".replace("_", "-")
            files += draw_picture(contents, workload, series, rows).save(folder, name)
    return files
