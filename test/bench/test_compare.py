#!/usr/bin/env python3
"""bench/compare on made-up results whose differences are known."""
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import synthetic

BENCH = Path(__file__).resolve().parent.parent.parent / "bench"
NUMBER = r"([+-][\d.]+|\+inf) %"


def lines_by_row(output):
    """{row: (change, low, high, verdict)} of the table that compare prints."""
    found = {}
    for line in output.splitlines():
        match = re.match(rf"(\S+) .*?{NUMBER}  +{NUMBER} to {NUMBER} *(\w*)$", line)
        if match and match.group(1) != "geometric":
            found[match.group(1)] = (*(float(text) for text in match.groups()[1:4]), match.group(5))
    return found


class CompareTest(unittest.TestCase):
    """A folder for the files of a test, and the tool."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def file(self, name, **options):
        """A result file; `change`, if given, is called with its contents first."""
        change = options.pop("change", None)
        contents = synthetic.make(**options)
        if change:
            change(contents)
        return synthetic.write(self.root / name, contents)

    def compare(self, *arguments):
        """(exit status, output, error output)"""
        done = subprocess.run([sys.executable, BENCH / "compare", *map(str, arguments)],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def expect_bad_input(self, text, *arguments):
        status, output, error = self.compare(*arguments)
        self.assertEqual((status, output), (2, ""))
        self.assertEqual(error.count("\n"), 1, error)
        self.assertIn(text, error)


class Differences(CompareTest):
    def test_ten_percent_is_found_in_its_row_alone(self):
        before = self.file("a.json", seed=1)
        after = self.file("b.json", seed=2, factors={("larson8", "ours", "elapsed"): 1.1})
        status, output, _ = self.compare(before, after, "--worse", "5")
        self.assertEqual(status, 1)
        self.assertIn("worse by more than 5 %: larson8\n", output)
        change, low, high, verdict = lines_by_row(output)["larson8"]
        self.assertAlmostEqual(change, 10, delta=2)
        self.assertTrue(5 < low <= change <= high < 14)
        self.assertEqual(verdict, "worse")

    def test_noise_is_no_difference(self):
        for seed in range(5):
            before = self.file("a.json", seed=2 * seed, noise=0.02)
            after = self.file("b.json", seed=2 * seed + 1, noise=0.02)
            status, output, _ = self.compare(before, after, "--worse", "5")
            self.assertEqual(status, 0, output)
            self.assertIn("no row is worse by more than 5 %", output)

    def test_an_interval_that_reaches_below_the_bound_is_not_worse(self):
        before = self.file("a.json", seed=1, noise=0.05)
        after = self.file("b.json", seed=2, noise=0.05, factors={(None, "ours", "elapsed"): 1.06})
        status, output, _ = self.compare(before, after, "--worse", "10")
        self.assertEqual(status, 0, output)

    def test_an_improvement_is_better(self):
        before = self.file("a.json", seed=1)
        after = self.file("b.json", seed=2, factors={("cfrac", "ours", "elapsed"): 0.9})
        status, output, _ = self.compare(before, after, "--worse", "2")
        self.assertEqual(status, 0)
        self.assertEqual(lines_by_row(output)["cfrac"][3], "better")

    def test_the_geometric_mean_finds_what_no_row_shows(self):
        before = self.file("a.json", seed=1, more_rows=40)
        after = self.file("b.json", seed=2, more_rows=40,
                          factors={(None, "ours", measure): 1.01
                                   for measure in ("elapsed", "p99.9_malloc", "resident_10s")})
        output = self.compare(before, after)[1]
        mean = re.search(rf"geometric mean of 58 +{NUMBER} +{NUMBER} to {NUMBER}", output)
        self.assertGreater(float(mean.group(2)), 0)
        self.assertLess(float(mean.group(3)), 2)

    def test_where_higher_is_better_a_fall_is_worse(self):
        before = self.file("a.json", seed=1)
        after = self.file("b.json", seed=2, factors={("redis", "ours", "requests"): 0.8})
        status, output, _ = self.compare(before, after, "--worse", "10")
        self.assertEqual(status, 1)
        self.assertAlmostEqual(lines_by_row(output)["redis"][0], 25, delta=4)

    def test_measures_and_allocators(self):
        before = self.file("a.json", seed=1)
        after = self.file("b.json", seed=2, factors={("mstress2", "glibc", "peak_kib"): 1.3})
        self.assertEqual(self.compare(before, after, "--worse", "5")[0], 0)
        arguments = (before, after, "--worse", "5", "--measure", "peak_kib")
        self.assertEqual(self.compare(*arguments)[0], 0)
        status, output, _ = self.compare(*arguments, "--allocator", "glibc")
        self.assertEqual(status, 1)
        self.assertIn("worse by more than 5 %: mstress2\n", output)

    def test_a_value_that_workloads_report(self):
        before = self.file("a.json", seed=1)
        after = self.file("b.json", seed=2, factors={("latency8", "ours", "p99.9_malloc"): 2})
        output = self.compare(before, after, "--measure", "p99.9_malloc")[1]
        self.assertEqual(set(lines_by_row(output)), {"latency2", "latency8", "latency32"})
        self.assertEqual(lines_by_row(output)["latency8"][3], "worse")

    def test_the_same_input_gives_the_same_output(self):
        before, after = self.file("a.json", seed=1), self.file("b.json", seed=2)
        first = self.compare(before, after)
        self.assertEqual(first, self.compare(before, after))
        self.assertNotEqual(first[1], self.compare(before, after, "--seed", "2")[1])

    def test_a_row_s_interval_does_not_depend_on_other_rows(self):
        before, after = self.file("a.json", seed=1), self.file("b.json", seed=2)
        all_rows = lines_by_row(self.compare(before, after)[1])
        contents = json.loads(before.read_text(encoding="utf-8"))
        contents["rows"] = contents["rows"][5:]
        synthetic.write(before, contents)
        fewer = lines_by_row(self.compare(before, after)[1])
        self.assertEqual(fewer["spike"], all_rows["spike"])
        self.assertNotIn("cfrac", fewer)

    def test_against_a_peer_of_the_same_file(self):
        one = self.file("a.json")
        status, output, _ = self.compare(one, "--against", "jemalloc", "--worse", "0")
        self.assertEqual(status, 0)
        self.assertAlmostEqual(lines_by_row(output)["cfrac"][0], 100 * (1 / 1.3 - 1), delta=2)
        status, output, _ = self.compare(one, "--against", "ours", "--allocator", "jemalloc",
                                         "--worse", "20")
        self.assertEqual(status, 1)
        self.assertAlmostEqual(lines_by_row(output)["redis"][0], 30, delta=3)

    def test_instructions_are_exact(self):
        def count(total):
            return lambda contents: synthetic.count_instructions(contents, "cfrac", "ours", total,
                                                                 total // 5)
        before = self.file("a.json", change=count(1000000))
        after = self.file("b.json", change=count(1010000))
        status, output, _ = self.compare(before, after, "--measure", "instructions", "--worse",
                                         "0.5")
        self.assertEqual(status, 1)
        self.assertEqual(lines_by_row(output)["cfrac"], (1.0, 1.0, 1.0, "worse"))


class Failures(CompareTest):
    def crash(self, contents):
        synthetic.fail(contents, "barnes", "ours", "crash", "SIGSEGV")

    def test_a_new_crash_is_worse(self):
        before, after = self.file("a.json"), self.file("b.json", change=self.crash)
        status, output, _ = self.compare(before, after, "--worse", "50")
        self.assertEqual(status, 1)
        self.assertIn("note: barnes: crash in B: SIGSEGV\n", output)
        self.assertIn("fails now: barnes\n", output)
        self.assertEqual(self.compare(before, after)[0], 0)

    def test_an_old_crash_is_not(self):
        before, after = self.file("a.json", change=self.crash), self.file("b.json")
        status, output, _ = self.compare(before, after, "--worse", "50")
        self.assertEqual(status, 0)
        self.assertIn("note: barnes: crash in A, works in B\n", output)

    def test_a_row_that_cannot_run_any_more_is_noted(self):
        before = self.file("a.json")
        after = self.file("b.json", change=lambda contents: synthetic.fail(
            contents, "redis", "ours", "absent", "not installed"))
        status, output, _ = self.compare(before, after, "--worse", "50")
        self.assertEqual(status, 0)
        self.assertIn("note: redis: absent in B: not installed\n", output)

    def test_rows_of_other_work_are_not_compared(self):
        def change(contents):
            synthetic.row_named(contents, "cfrac")["args"] = ["--scale", "1"]
            contents["rows"].remove(synthetic.row_named(contents, "spike"))
        before, after = self.file("a.json"), self.file("b.json", change=change)
        output = self.compare(before, after)[1]
        self.assertNotIn("cfrac", lines_by_row(output))
        self.assertIn("note: not compared, other arguments: cfrac\n", output)
        self.assertIn("note: only in A: spike\n", output)

    def test_few_samples_are_told(self):
        before, after = self.file("a.json", repeat=2), self.file("b.json", repeat=2, seed=2)
        output = self.compare(before, after)[1]
        self.assertIn("note: fewer than 3 samples, so the interval means little: cfrac,", output)
        self.assertNotIn("means little", self.compare(self.file("c.json"), self.file("d.json"))[1])

    def test_one_sample_is_never_judged(self):
        before = self.file("a.json", repeat=1)
        after = self.file("b.json", repeat=1, factors={(None, "ours", None): 2})
        status, output, _ = self.compare(before, after)
        self.assertEqual(status, 0)
        self.assertIn("one sample only, so there is no interval and no verdict", output)
        self.expect_bad_input("nothing can be judged", before, after, "--worse", "5")

    def test_other_machines_are_told(self):
        before = self.file("a.json")
        after = self.file("b.json",
                          change=lambda contents: contents["machine"].update(cpu="another"))
        self.assertIn("note: the machines differ: cpu made up, then another\n",
                      self.compare(before, after)[1])

    def test_zero_and_one_page_fault(self):
        """Medians of 0 must not divide."""
        before = self.file("a.json")
        after = self.file("b.json", change=lambda contents: [
            sample.update(major_faults=3)
            for sample in synthetic.row_named(contents, "cfrac")["cells"]["ours"]["samples"]])
        status, output, _ = self.compare(before, after, "--measure", "major_faults")
        self.assertEqual(status, 0)
        self.assertRegex(output, r"cfrac +0 +3.00+ +\+inf")
        self.assertRegex(output, r"barnes +0 +0 +\+0.0 %")


class BadInput(CompareTest):
    def test_a_missing_file(self):
        self.expect_bad_input("No such file", self.root / "none.json", self.root / "none.json")

    def test_a_file_that_is_no_result(self):
        path = self.root / "a.json"
        path.write_text("{", encoding="utf-8")
        self.expect_bad_input("not JSON", path, path)
        path.write_text('{"format": 99}', encoding="utf-8")
        self.expect_bad_input("format 1", path, path)

    def test_damaged_files(self):
        good = self.file("good.json")
        for number, damage in enumerate((
                lambda contents: contents.pop("rows"),
                lambda contents: contents.update(allocators=[1]),
                lambda contents: contents["rows"][0].pop("main"),
                lambda contents: contents["rows"][0].pop("row"),
                lambda contents: contents["rows"][0].update(cells=[]),
                lambda contents: contents["rows"][0]["cells"]["ours"].pop("samples"),
                lambda contents: contents["rows"][0]["cells"]["ours"]["samples"][0].pop("values"))):
            bad = self.file(f"bad{number}.json", change=damage)
            self.expect_bad_input("damaged: ", good, bad)

    def test_unknown_names(self):
        one, two = self.file("a.json"), self.file("b.json")
        self.expect_bad_input("no allocator none", one, two, "--allocator", "none")
        self.expect_bad_input("no allocator none", one, "--against", "none")
        self.expect_bad_input("there is no speed", one, two, "--measure", "speed")
        self.expect_bad_input("no row has instructions", one, two, "--measure", "instructions")

    def test_wrong_flags(self):
        one, two = self.file("a.json"), self.file("b.json")
        self.expect_bad_input("A.json", )
        self.expect_bad_input("give a second file", one)
        self.expect_bad_input("give a second file", one, two, "--against", "glibc")
        self.expect_bad_input("the allocator itself", one, "--against", "ours")
        self.expect_bad_input("--worse", one, two, "--worse", "much")
        self.expect_bad_input("0 or more", one, two, "--worse", "-1")
        self.expect_bad_input("--fast", one, two, "--fast")


if __name__ == "__main__":
    unittest.main()
