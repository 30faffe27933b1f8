#!/usr/bin/env python3
"""The report on made-up results: it finds the rows that ours loses, and leaves no failure out."""
import sys
import tempfile
import unittest
from pathlib import Path

import synthetic

BENCH = Path(__file__).resolve().parent.parent.parent / "bench"
sys.path.insert(0, str(BENCH))
from harness import report, view  # noqa: E402
from harness.common import BadInput  # noqa: E402

LIMITS = ("limit", "limit-twice")


def sections_of(text):
    """{title: text} of a report."""
    parts = text.split("\n## ")
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts[1:]}


def cells_of(text, first):
    """The cells of the line of a table that begins with a cell."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in lines[0].strip("|").split(" | ")] if lines else None


class ReportTest(unittest.TestCase):
    def sections(self, change=None, **options):
        """The report of made-up results."""
        contents = synthetic.make(**options)
        if change:
            change(contents)
        return sections_of(report.text_of(contents))


class Losses(ReportTest):
    def losses(self, **options):
        """(about time, about memory, about other numbers)"""
        text = self.sections(**options)["Where we lose"]
        time, _, rest = text.partition("Peak memory, more than")
        memory, _, others = rest.partition("Other numbers")
        return time, memory, others

    def test_nothing_is_lost(self):
        for part in self.losses():
            self.assertIn("Nowhere.", part)
            self.assertNotIn("| larson", part)

    def test_a_row_that_is_slower_than_the_best(self):
        time, memory, _ = self.losses(factors={("larson8", "mimalloc2", "elapsed"): 0.6})
        cells = cells_of(time, "larson8")
        self.assertTrue(cells[2].endswith(" mimalloc2"))
        self.assertAlmostEqual(float(cells[3]), 1 / (1.1 * 0.6), delta=0.05)
        self.assertNotIn("noise", cells[4])
        self.assertEqual(time.count("\n| "), 3)
        self.assertIn("Nowhere.", memory)

    def test_the_worst_comes_first(self):
        time, _, _ = self.losses(factors={("cfrac", "glibc", "elapsed"): 0.5,
                                          ("mstress2", "glibc", "elapsed"): 0.3})
        self.assertLess(time.index("| mstress2"), time.index("| cfrac"))

    def test_two_percent_are_not_lost_yet(self):
        factors = {("cfrac", "mimalloc2", "elapsed"): 1 / 1.1 / 1.015,
                   ("barnes", "mimalloc2", "elapsed"): 1 / 1.1 / 1.03}
        time, _, _ = self.losses(factors=factors, noise=0)
        self.assertIsNone(cells_of(time, "cfrac"))
        self.assertEqual(cells_of(time, "barnes")[3], "1.03")

    def test_what_may_be_noise_is_called_so(self):
        time, _, _ = self.losses(factors={("cfrac", "mimalloc2", "elapsed"): 0.86}, noise=0.05)
        self.assertIn("perhaps noise", cells_of(time, "cfrac")[4])

    def test_where_higher_is_better(self):
        time, _, _ = self.losses(factors={("redis", "glibc", "requests"): 3})
        self.assertAlmostEqual(float(cells_of(time, "redis")[3]), 2, delta=0.1)

    def test_memory_is_compared_with_the_leanest_that_is_fast(self):
        """glibc is leaner by far, and too slow: 1.5 times the best."""
        factors = {("mstress2", "glibc", "peak_kib"): 0.2,
                   ("mstress2", "tcmalloc", "peak_kib"): 0.5}
        _, memory, _ = self.losses(factors=factors)
        self.assertTrue(cells_of(memory, "mstress2")[2].endswith(" tcmalloc"))
        factors["mstress2", "glibc", "elapsed"] = 0.8
        _, memory, _ = self.losses(factors=factors)
        cells = cells_of(memory, "mstress2")
        self.assertTrue(cells[2].endswith(" glibc"))
        self.assertAlmostEqual(float(cells[3]), 1 / (0.95 * 0.2), delta=0.3)

    def test_ten_percent_more_memory_are_not_lost_yet(self):
        factors = {("cfrac", "mimalloc2", "peak_kib"): 1 / 1.05 / 1.09,
                   ("barnes", "mimalloc2", "peak_kib"): 1 / 1.05 / 1.12}
        _, memory, _ = self.losses(factors=factors, noise=0)
        self.assertIsNone(cells_of(memory, "cfrac"))
        self.assertIsNotNone(cells_of(memory, "barnes"))

    def test_other_numbers_that_are_the_point(self):
        time, _, others = self.losses(factors={("spike", "jemalloc", "resident_10s"): 0.2,
                                               ("latency8", "glibc", "p99.9_malloc"): 0.2})
        self.assertIsNotNone(cells_of(others, "spike"))
        self.assertIsNotNone(cells_of(others, "latency8"))
        self.assertIn("Nowhere.", time)

    def test_a_crash_of_ours_is_a_loss(self):
        text = self.sections(lambda contents: synthetic.fail(
            contents, "barnes", "ours", "crash", "SIGSEGV | core"))["Where we lose"]
        self.assertIn("- **barnes: crash: SIGSEGV \\| core**", text)


class Tables(ReportTest):
    def test_ratios_to_ours_and_what_ours_has(self):
        cells = cells_of(self.sections(noise=0)["Time"], "cfrac")
        self.assertEqual(cells, ["cfrac", "**2.00 s ±0.0 %**", "1.50", "1.30", "1.20", "1.10",
                                 "1.60"])
        cells = cells_of(self.sections(noise=0)["Peak resident memory"], "cfrac")
        self.assertEqual(cells[:3], ["cfrac", "2.93 MiB ±0.0 %", "**0.95**"])
        for title in ("Resident memory at the end", "Minor page faults"):
            self.assertEqual(cells_of(self.sections(noise=0)[title], "spike")[3], "1.10")

    def test_geometric_means(self):
        summary = self.sections(noise=0)["Summary"]
        self.assertEqual(cells_of(summary, "Time, relative to ours")[1:4],
                         ["1.000 (14)", "1.500 (14)", "1.300 (14)"])
        self.assertEqual(cells_of(summary, "Time, to the best of each row")[1:3], ["1.00", "1.50"])
        self.assertEqual(cells_of(summary, "Peak resident memory, relative to ours")[2],
                         "0.950 (18)")

    def test_numbers_that_are_no_times_stand_as_they_are(self):
        text = self.sections(noise=0)["What else is the point of a row"]
        self.assertEqual(cells_of(text, "spike")[:5],
                         ["spike", "resident_10s", "lower", "**48.8 MiB ±0.0 %**",
                          "73.2 MiB ±0.0 %"])
        self.assertIsNone(cells_of(text, "redis"))

    def test_without_ours_peers_stand_as_they_are(self):
        def change(contents):
            synthetic.fail(contents, "cfrac", "ours", "timeout", "60 s")
        self.assertEqual(cells_of(self.sections(change, noise=0)["Time"], "cfrac")[:3],
                         ["cfrac", "timeout", "3.00 s"])
        self.assertEqual(cells_of(self.sections(names=("glibc", "jemalloc"), noise=0)["Time"],
                                  "cfrac"), ["cfrac", "-", "3.00 s", "2.60 s"])

    def test_failures_are_listed(self):
        def change(contents):
            synthetic.fail(contents, "larson8", "jemalloc", "wrong", "line 7:\nwrong result")
            for name in synthetic.ALLOCATORS:
                synthetic.fail(contents, "redis", name, "absent", "there is no redis-server")
        sections = self.sections(change)
        text = sections["Without a result"]
        self.assertIn("| larson8 | jemalloc | wrong | line 7: wrong result |", text)
        self.assertIn("| redis | all | not measured | there is no redis-server |", text)
        self.assertEqual(cells_of(sections["Time"], "larson8")[3], "wrong")
        self.assertNotIn("Without a result", self.sections())

    def test_who_was_not_measured(self):
        text = report.text_of(synthetic.make())
        for name in ("snmalloc", "rpmalloc", "Hoard"):
            self.assertIn(f"| {name} | not measured |", text)
        text = report.text_of(synthetic.make(names=("ours", "glibc", "snmalloc")))
        self.assertNotIn("| snmalloc | not measured |", text)
        self.assertIn("| Hoard | not measured |", text)

    def test_a_partial_run_says_so(self):
        contents = synthetic.make()
        contents["partial"] = True
        self.assertIn("**partial", report.text_of(contents))


class LowerBounds(ReportTest):
    def test_the_distance(self):
        """The bound is at 0.9 of ours, and a second pair of calls adds 0.2: 0.7 is own work."""
        sections = self.sections(names=("ours", "glibc", "mimalloc2", *LIMITS), noise=0,
                                 factors={(None, "limit-twice", "elapsed"): 1.1 / 0.9})
        self.assertEqual(cells_of(sections["Distance to the lower bound"], "cfrac"),
                         ["cfrac", "2.00 s", "1.80 s", "1.11", "1.22 mimalloc2", "1.40 s", "30 %"])
        self.assertEqual(len(cells_of(sections["Time"], "cfrac")), 4)

    def test_no_bound_no_section(self):
        self.assertNotIn("Distance to the lower bound", self.sections())

    def test_instructions(self):
        def change(contents):
            for name, inside in (("ours", 4000000), ("glibc", 10000000), ("limit", 2000000)):
                synthetic.count_instructions(contents, "cfrac", name, 50000000 + inside, inside)
        sections = self.sections(change, names=("ours", "glibc", "mimalloc2", *LIMITS))
        self.assertEqual(cells_of(sections["Instructions"], "cfrac"),
                         ["cfrac", "50.0 M", "4.00 M", "2.50", "-", "0.50"])
        self.assertNotIn("Instructions", self.sections())


class Files(unittest.TestCase):
    def test_the_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = synthetic.write(Path(folder) / "results.json", synthetic.make())
            written = report.write(path, Path(folder) / "out")
            self.assertEqual(written.name, "report.md")
            self.assertTrue(written.read_text(encoding="utf-8").startswith("# Results\n"))
            with self.assertRaises(BadInput):
                report.write(path, path)

    def test_numbers_with_their_units(self):
        for value, unit, text in ((15300, "KiB", "14.9 MiB"), (0.0123, "s", "12.3 ms"),
                                  (2.345, "s", "2.35 s"), (81, "ns", "81.0 ns"),
                                  (62588, "ns", "62.6 us"), (98765.4, "1/s", "98765 1/s"),
                                  (0.987, "1", "0.987"), (0, "KiB", "0 KiB"),
                                  (3e6, "", "3.00 M"), (-2048, "KiB", "-2.00 MiB")):
            self.assertEqual(view.quantity(value, unit), text)


if __name__ == "__main__":
    unittest.main()
