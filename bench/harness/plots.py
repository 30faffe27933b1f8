"""bench/plot: pictures of a result file, as SVG and PNG.

draw(results_path, output_dir) writes, where there is something to show:

    time, peak               rows of one thread, or one per CPU: the two main pictures
    time-GROUP, peak-GROUP   every row of a group of the suite
    end-GROUP                the same, with the resident memory at the end
    main-GROUP               rows of which another number than time is the point
    WORKLOAD-SERIES          percentile curves, memory over time

The same result file gives the same bytes, under the same matplotlib.
"""
import argparse
import sys
from pathlib import Path

from harness import bars, canvas, curves, report, view
from harness.common import BadInput

STATUS_BAD_INPUT = 2


def draw(results_path, output_dir):
    """Draws all pictures; the paths of the files."""
    contents = view.load(results_path)
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror}") from error
    with canvas.styled():
        files = bars.draw(contents, folder) + curves.draw(contents, folder)
    if not files:
        raise BadInput(f"{results_path}: there is nothing to draw")
    return files


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message} (--help shows the usage)")


def main(argv):
    parser = Parser(prog="bench/plot", allow_abbrev=False,
                    description="Draws pictures of a result file, as SVG and PNG.")
    parser.add_argument("results", metavar="RESULTS.json")
    parser.add_argument("--output", metavar="DIR", help="default: the result file's folder")
    parser.add_argument("--report", action="store_true", help="write the tables, too: report.md")
    try:
        options = parser.parse_args(argv)
        folder = options.output or Path(options.results).parent
        files = draw(options.results, folder)
        if options.report:
            files.append(report.write(options.results, folder))
    except BadInput as error:
        print(f"bench/plot: {error}", file=sys.stderr)
        return STATUS_BAD_INPUT
    for path in files:
        print(path)
    return 0
