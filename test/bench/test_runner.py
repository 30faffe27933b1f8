#!/usr/bin/env python3
"""What bench/run does with suites, options, samples and results; no program is started."""
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "bench"))

from harness import (
    allocators, callgrind, machine, options, progress, results, runner, schedule, suite)
from harness.common import BENCH, ROOT, BadInput
from harness.launcher import Crashed, TimedOut

ENTRY = {"name": "mixed", "text": "a mix", "group": "stress", "program": "mixed", "threads": "N",
         "full": ["--scale", "8"], "quick": [], "tiny": []}


def workload(**changes):
    return suite.workload_of({**ENTRY, **changes})


def sample(elapsed, **values):
    return {"elapsed": elapsed, "user": elapsed, "system": 0.0, "peak_kib": 2048, "end_kib": 1024,
            "minor_faults": 100, "major_faults": 0, "instructions": None,
            "values": {name: {"value": value, "unit": "ns"} for name, value in values.items()}}


def cell(*elapsed, status="ok"):
    return {"status": status, "text": "why", "samples": [sample(time) for time in elapsed],
            "series": {}}


def contents(**cells_of_rows):
    """The contents of a result file: {row: {allocator: cell}}."""
    rows = [{**results.new_row(suite.Row(name, workload(), 2, "N"), "full"), "cells": cells}
            for name, cells in cells_of_rows.items()]
    names = next(iter(cells_of_rows.values()))
    return {"format": 1, "repeat": 2, "seed": 1, "partial": False, "rows": rows,
            "allocators": [{"name": name, "path": None, "version": ""} for name in names]}


class SuiteTest(unittest.TestCase):
    def load(self, text):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a.toml").write_text(text, encoding="utf-8")
            return suite.load(Path(folder))

    def test_each_mistake_in_an_entry_is_named(self):
        for changes, expected in (
                ({"colour": "red"}, "unknown key colour"),
                ({"text": None}, "text is missing"),
                ({"tiny": None}, "tiny is missing"),
                ({"timeout": "long"}, "timeout has a value of the wrong type"),
                ({"full": [8]}, "full must be a list of strings"),
                ({"name": "Big Mix"}, "the name must be of"),
                ({"module": "redis"}, "either program or module"),
                ({"program": None}, "either program or module"),
                ({"group": "other"}, "group can be applications, stress, memory"),
                ({"threads": "2N"}, "threads can be N or a number"),
                ({"better": "big"}, "better can be lower, higher"),
                ({"timeout": 0}, "timeout must be above 0"),
                ({"program": None, "module": "redis"}, "a module takes"),
        ):
            entry = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
            self.assertIn(expected, suite.problem_of(entry) or "", changes)
        self.assertIsNone(suite.problem_of(ENTRY))

    def test_a_broken_file_and_a_second_name_are_refused(self):
        entry = "[[workload]]\n" + "\n".join(f"{key} = {json.dumps(value)}"
                                             for key, value in ENTRY.items()) + "\n"
        self.assertEqual(self.load(entry)[0].name, "mixed")
        for text, expected in ((entry + entry, "second workload of that name"),
                               ("[[workload", "a.toml"), ("", "no workloads")):
            with self.assertRaisesRegex(BadInput, expected):
                self.load(text)

    def test_rows_for_one_and_for_many_threads(self):
        found = suite.rows_of([workload(), workload(name="alone", threads="1")],
                              suite.parse_threads("N,4N,3", 2))
        self.assertEqual([(row.name, row.threads, row.kind) for row in found],
                         [("mixed2", 2, "N"), ("mixed8", 8, "4N"), ("mixed3", 3, "3"),
                          ("alone", 1, "1")])

    def test_one_cpu_gives_no_row_twice(self):
        found = suite.rows_of([workload(name="mixed1", threads="1"), workload()],
                              suite.parse_threads("N", 1))
        self.assertEqual([row.name for row in found], ["mixed1"])

    def test_threads_that_are_no_numbers_are_refused(self):
        for text in ("", "1,", "x", "-1", "0", "99999", "N4"):
            with self.assertRaises(BadInput):
                suite.parse_threads(text, 2)

    def test_rows_are_chosen_by_row_workload_pattern_and_group(self):
        rows = suite.rows_of([workload(), workload(name="alone", threads="1", group="memory")],
                             suite.parse_threads("N,4N", 2))

        def chosen(patterns, groups=()):
            return [row.name for row in suite.select(rows, patterns, groups)]

        self.assertEqual(chosen([]), ["mixed2", "mixed8", "alone"])
        self.assertEqual(chosen(["mixed"]), ["mixed2", "mixed8"])
        self.assertEqual(chosen(["mixed8", "al*"]), ["mixed8", "alone"])
        self.assertEqual(chosen([], ["memory"]), ["alone"])
        for patterns, groups in ((["none"], []), ([], ["none"]), (["mixed"], ["memory"])):
            with self.assertRaises(BadInput):
                chosen(patterns, groups)

    def test_the_real_suite_has_a_source_for_each_workload(self):
        workloads = suite.load(BENCH / "suite")
        suite.check_sources(suite.rows_of(workloads, suite.parse_threads("N", 2)))


class OptionsTest(unittest.TestCase):
    def test_modes_have_their_repeats_and_threads(self):
        for flags, mode, repeat, threads in (
                ([], "full", 5, "N,4N,16N"), (["--quick"], "quick", 2, "N"),
                (["--tiny"], "tiny", 1, "N"),
                (["--repeat", "3", "--threads", "7"], "full", 3, "7")):
            parsed = options.parse(flags)
            self.assertEqual((parsed.mode, parsed.repeat, parsed.threads), (mode, repeat, threads))

    def test_bad_options_are_one_line(self):
        for flags in (["--repeat", "0"], ["--repeat", "2.5"], ["--seed", "x"], ["--nothing"],
                      ["--threads", "two"], ["--allocators", "none"], ["--lib", "name"],
                      ["--lib", "ours=/bin/sh"], ["--lib", "a b=/bin/sh"], ["--lib", "a=/none"],
                      ["--quick", "--tiny"], ["--build", "/none"]):
            with self.assertRaises(BadInput) as caught:
                options.parse(flags)
            self.assertNotIn("\n", str(caught.exception))

    def test_allocators_have_other_names_and_come_once(self):
        names = allocators.parse_names("mimalloc,tbb,glibc,ours,extra", {"extra": "/x.so"})
        self.assertEqual(names, ["ours", "tbbmalloc", "glibc", "extra"])
        self.assertEqual(allocators.parse_names(None, {"extra": "/x.so"})[-1], "extra")

    def test_results_do_not_tell_where_the_tree_lies(self):
        inside = str(BENCH / "run")  # any file
        chosen = options.parse(["--lib", f"one={inside}", "--lib", "two=/bin/sh"])
        told = chosen.description()["lib"]
        self.assertEqual(told["one"], str(Path(inside).relative_to(ROOT)))
        self.assertTrue(told["two"].startswith("/"))
        self.assertEqual(allocators.Allocator("one", inside).description()["path"], told["one"])


class FakeSampler:
    """Elapsed times by row and allocator; an exception in their place is raised."""

    mode = "tiny"

    def __init__(self, outcomes=None):
        self.outcomes = outcomes or {}
        self.taken = []

    def take(self, row, allocator):
        self.taken.append((row.name, allocator.name))
        outcome = self.outcomes.get((row.name, allocator.name), 1.0)
        if isinstance(outcome, list):
            outcome = outcome.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return sample(outcome), {"resident": {}}


class ScheduleTest(unittest.TestCase):
    def setUp(self):
        self.rows = suite.rows_of([workload(), workload(name="alone", threads="1")],
                                  suite.parse_threads("N", 2))
        self.peers = [allocators.Allocator(name, None) for name in ("ours", "glibc", "jemalloc")]

    def make(self, outcomes=None, repeat=3, peers=None):
        text = io.StringIO()
        filled = {"repeat": repeat, "seed": 1}
        run = schedule.Run(filled, self.rows, peers or self.peers, FakeSampler(outcomes),
                           lambda: None, text)
        return run, filled, text

    def test_each_round_has_each_cell_once_in_an_order_of_its_own(self):
        steps = schedule.plan(self.rows, ["a", "b", "c", "d"], 20, 1)
        self.assertEqual(len(steps), 20 * len(self.rows))
        self.assertTrue(all(sorted(names) == ["a", "b", "c", "d"] for _, _, names in steps))
        self.assertGreater(len({tuple(names) for _, _, names in steps}), 5)
        rounds = [number for number, _, _ in steps]
        self.assertEqual(rounds, sorted(rounds))

    def test_the_seed_decides_the_order(self):
        names = [str(number) for number in range(8)]
        first, same, other = (schedule.plan(self.rows, names, 3, seed) for seed in (5, 5, 6))
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)

    def test_all_samples_arrive_in_their_cells(self):
        run, filled, _ = self.make()
        run.run()
        self.assertEqual(len(run.sampler.taken), 2 * 3 * 3)
        for row in filled["rows"]:
            self.assertEqual(sorted(row["cells"]), ["glibc", "jemalloc", "ours"])
            self.assertTrue(all(len(found["samples"]) == 3 for found in row["cells"].values()))

    def test_a_failure_ends_its_cell_and_nothing_else(self):
        run, filled, text = self.make({("mixed2", "glibc"): [1.0, Crashed("SIGSEGV")],
                                       ("alone", "ours"): TimedOut("not done after 1 s")})
        run.run()
        cells = {row["row"]: row["cells"] for row in filled["rows"]}
        self.assertEqual(cells["mixed2"]["glibc"]["status"], "crash")
        self.assertEqual(cells["mixed2"]["glibc"]["text"], "SIGSEGV")
        self.assertEqual(len(cells["mixed2"]["glibc"]["samples"]), 1)
        self.assertEqual(cells["alone"]["ours"]["status"], "timeout")
        self.assertEqual(run.sampler.taken.count(("alone", "ours")), 1)
        self.assertEqual(len(cells["mixed2"]["ours"]["samples"]), 3)
        self.assertIn("mixed2, glibc: crash: SIGSEGV", text.getvalue())
        self.assertEqual(run.progress.done, run.progress.total)

    def test_an_interruption_leaves_what_is_done(self):
        run, filled, _ = self.make({("alone", "ours"): KeyboardInterrupt()})
        with self.assertRaises(KeyboardInterrupt):
            run.run()
        cells = {row["row"]: row["cells"] for row in filled["rows"]}
        self.assertEqual(len(cells["mixed2"]), 3)
        self.assertLess(len(results.values(cells["alone"].get("ours", cell()), "elapsed")), 1)

    def test_a_lower_bound_runs_with_one_thread_only(self):
        run, filled, _ = self.make(peers=[allocators.Allocator("limit", "/limit.so")])
        run.run()
        cells = {row["row"]: row["cells"]["limit"] for row in filled["rows"]}
        self.assertEqual(cells["mixed2"]["status"], "absent")
        self.assertEqual(cells["alone"]["status"], "ok")

    def test_a_lower_bound_that_hangs_cannot_run(self):
        run, filled, _ = self.make({("alone", "limit"): TimedOut("not done after 1 s")},
                                   peers=[allocators.Allocator("limit", "/limit.so")])
        run.run()
        self.assertEqual(filled["rows"][1]["cells"]["limit"]["status"], "absent")


class ProgressTest(unittest.TestCase):
    def test_the_estimate_takes_what_is_known_best(self):
        estimate = progress.Estimate(7.0)
        self.assertEqual(estimate.left([("a", "x")]), 7.0)
        estimate.add("a", "x", 1.0)
        estimate.add("a", "y", 3.0)
        estimate.add("b", "x", 10.0)
        self.assertEqual(estimate.left([("a", "x")]), 1.0)
        self.assertEqual(estimate.left([("a", "z")]), 2.0)
        self.assertEqual(estimate.left([("c", "x")]), 6.0)
        self.assertEqual(estimate.left([]), 0)

    def test_without_a_terminal_there_are_plain_lines(self):
        text = io.StringIO()
        shown = progress.Progress(2, 1.0, text)
        shown.show("a x", [])
        shown.add("a", "x", 0.5, "0.400")
        shown.end_row("round 1/1 a", [("b", "x")])
        self.assertEqual(text.getvalue(), "round 1/1 a: x 0.400 (0 s left)\n")

    def test_a_terminal_has_a_bar_of_its_width(self):
        text = io.StringIO()
        text.isatty = lambda: True
        shown = progress.Progress(2, 1.0, text)
        shown.add("a", "x", 0.5, "0.400")
        shown.show("b x", [("b", "x")])
        self.assertTrue(text.getvalue().startswith("\r[############............] 1/2, 0 s left"))
        self.assertNotIn("\n", text.getvalue())


class ResultsTest(unittest.TestCase):
    def test_median_and_spread(self):
        found = cell(1.0, 1.2, 1.1)
        self.assertEqual(results.median(found, "elapsed"), 1.1)
        self.assertAlmostEqual(results.spread(found, "elapsed"), 0.1 / 1.1)
        self.assertEqual(results.spread(cell(2.0), "elapsed"), 0)
        self.assertIsNone(results.median(cell(), "elapsed"))
        self.assertIsNone(results.median(cell(1.0, status="crash"), "elapsed"))

    def test_values_of_a_workload_are_measures_too(self):
        found = {**cell(), "samples": [sample(1.0, p99=80), sample(1.0, p99=90), sample(1.0)]}
        self.assertEqual(results.values(found, "p99"), [80, 90])
        self.assertEqual(results.median(found, "p99"), 85)

    def test_ratios_are_over_the_rows_that_both_have(self):
        filled = contents(a={"ours": cell(1.0), "peer": cell(2.0)},
                          b={"ours": cell(1.0), "peer": cell(8.0)},
                          c={"ours": cell(1.0), "peer": cell(9.0, status="wrong")},
                          d={"ours": cell(1.0)})
        mean, rows = results.relative(filled, "elapsed", "peer", "ours")
        self.assertAlmostEqual(mean, 4.0)
        self.assertEqual(rows, 2)
        self.assertEqual(results.relative(filled, "elapsed", "none", "ours"), (None, 0))

    def test_tables_show_numbers_failures_and_gaps(self):
        filled = contents(a={"ours": cell(1.0, 1.1), "peer": cell(status="crash")},
                          b={"ours": cell(1.0), "peer": cell(status="absent")})
        text = results.tables(filled)
        for expected in ("elapsed time, s", "1.050 ±5%", "crash", "a, peer: crash: why",
                         "not measured: b: why", "relative to ours", "minor page faults, thousand"):
            self.assertIn(expected, text)
        self.assertNotIn("PARTIAL", text)
        self.assertIn("PARTIAL", results.tables({**filled, "partial": True}))
        self.assertNotIn("user time", results.tables(filled, results.PRINTED))
        widths = {len(line) for line in text.split("\n\n")[0].split("\n")[1:3]}
        self.assertEqual(len(widths), 1)

    def test_known_failures_are_told_from_others(self):
        filled = contents(a={"ours": cell(status="wrong"), "peer": cell(status="crash")},
                          b={"ours": cell(1.0), "peer": cell(status="crash")})
        rows = [suite.Row("a", workload(fails=["peer"]), 2, "N"),
                suite.Row("b", workload(), 2, "N")]
        self.assertEqual(runner.unexpected_failures(filled, rows), [("a", "ours"), ("b", "peer")])

    def test_another_point_than_time_has_a_table(self):
        filled = contents(a={"ours": cell(1.0), "peer": cell(status="timeout")})
        filled["rows"][0].update(main="p99", unit="ns")
        filled["rows"][0]["cells"]["ours"]["samples"] = [sample(1.0, p99=1234)]
        table = results.main_table(filled)
        self.assertRegex(table, r"a +p99 +ns +lower +1234 +timeout")

    def test_numbers_keep_four_digits(self):
        self.assertEqual([results.number_text(value) for value in (0, 1.23456, 123.456, 98765.4)],
                         ["0", "1.235", "123.5", "98765"])

    def test_a_file_is_read_as_written_and_others_are_refused(self):
        filled = contents(a={"ours": cell(1.0)})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "results.json")
            results.write(path, filled)
            self.assertEqual(results.read(path), json.loads(json.dumps(filled)))
            self.assertEqual([found.name for found in Path(folder).iterdir()], ["results.json"])
            for text in ("", "[]", '{"format": 99}'):
                path.write_text(text, encoding="utf-8")
                with self.assertRaises(BadInput):
                    results.read(path)
            with self.assertRaises(BadInput):
                results.read(Path(folder, "none"))


class CallgrindTest(unittest.TestCase):
    LINES = """\
ob=(1) /usr/bin/work
fl=(1) work.c
fn=(1) main
10 100
cob=(2) /usr/lib/libfast.so.2
cfn=(2) malloc
calls=3 5
11 60
+1 5

ob=(2)
fn=(2)
5 40
cfn=(3) refill
calls=1 7
6 20
fn=(3)
7 20
cfn=(4) malloc'2
calls=1 5
8 4

ob=(9) ???
fn=(5) operator delete(void*)
0 7
fn=(6) 0x1234
0 2
""".split("\n")

    def test_own_cost_and_cost_below_calls(self):
        counts = callgrind.read_counts(self.LINES)
        self.assertEqual(counts.by_object["/usr/bin/work"], 105)
        self.assertEqual(counts.by_object["/usr/lib/libfast.so.2"], 60)
        self.assertEqual(counts.apart, 7)
        self.assertEqual(counts.total, 105 + 60 + 9)
        self.assertEqual(counts.in_calls, 64)

    def test_a_proxy_belongs_to_its_library(self):
        self.assertEqual(callgrind.stem_of_file("/none/libtbbmalloc_proxy.so.2"),
                         callgrind.stem_of_file("/none/libtbbmalloc.so.2.8"))


class MachineTest(unittest.TestCase):
    FACTS = {"cpus": 2, "governor": "performance", "thp": "madvise", "memory_mib": 0}

    def test_what_disturbs_is_noted(self):
        for changes, busy, expected in (({}, 0.5, "other programs used 50%"),
                                        ({"governor": "powersave"}, 0, "governor is powersave"),
                                        ({"thp": "always"}, 0, "huge pages are always on")):
            notes = "\n".join(machine.notes_of({**self.FACTS, **changes}, busy))
            self.assertIn(expected, notes)
        self.assertNotIn("other programs", "\n".join(machine.notes_of(self.FACTS, 0.0)))

    def test_this_machine_is_described(self):
        facts = machine.inspect(0.01)
        self.assertGreater(facts["cpus"], 0)
        self.assertIn("Linux", machine.text_of(facts))


if __name__ == "__main__":
    unittest.main()
