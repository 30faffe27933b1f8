#!/usr/bin/env python3
"""bench/plot on made-up results: which pictures there are, and that they are the same each time."""
import importlib.util
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import synthetic

BENCH = Path(__file__).resolve().parent.parent.parent / "bench"
sys.path.insert(0, str(BENCH))
from harness import bars, canvas, plots  # noqa: E402
from harness.common import BadInput  # noqa: E402

GROUPS = ("applications", "stress", "memory")
ALL_PICTURES = {"time", "peak", "main-stress", "main-memory", "latency-latency-malloc",
                "latency-latency-free", "spike-resident",
                *(f"{kind}-{group}" for kind in ("time", "peak", "end") for group in GROUPS)}
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def results(self, contents):
        return synthetic.write(self.root / "results.json", contents)


@unittest.skipUnless(HAS_MATPLOTLIB, "there is no matplotlib")
class Pictures(FolderTest):
    def draw(self, contents, folder="pictures"):
        return plots.draw(self.results(contents), self.root / folder)

    def test_every_picture_as_svg_and_png(self):
        files = self.draw(synthetic.make(names=("ours", "glibc", "limit")))
        self.assertEqual({path.stem for path in files}, ALL_PICTURES)
        for path in files:
            head = path.read_bytes()[:24]
            if path.suffix == ".png":
                self.assertEqual(head[:8], b"\x89PNG\r\n\x1a\n")
                self.assertGreater(struct.unpack(">I", head[16:20])[0], 1000)
            else:
                self.assertTrue(head.startswith(b"<?xml"))
        self.assertEqual(len(files), 2 * len(ALL_PICTURES))

    def test_the_same_bytes_each_time(self):
        contents = synthetic.make(names=("ours", "glibc"))
        contents["rows"] = [synthetic.row_named(contents, name) for name in ("cfrac", "spike")]
        first, second = (self.draw(contents, folder) for folder in ("one", "two"))
        for one, two in zip(first, second):
            self.assertEqual(one.read_bytes(), two.read_bytes(), one.name)
            self.assertNotIn(b"<dc:date>", one.read_bytes())

    def test_failures_and_missing_allocators(self):
        contents = synthetic.make(names=("ours", "glibc", "other", "limit"))
        synthetic.fail(contents, "cfrac", "ours", "crash", "SIGSEGV")
        synthetic.fail(contents, "barnes", "glibc", "timeout", "60 s")
        synthetic.fail(contents, "spike", "glibc", "absent", "not here")
        for name in ("ours", "glibc", "other", "limit"):
            synthetic.fail(contents, "espresso", name, "absent", "not installed")
        del synthetic.row_named(contents, "larson2")["cells"]["other"]
        synthetic.row_named(contents, "latency8")["cells"]["glibc"]["series"] = {}
        self.assertTrue(self.draw(contents))

    def test_one_sample_of_one_row(self):
        contents = synthetic.make(repeat=1)
        contents["rows"] = contents["rows"][:1]
        self.assertEqual({path.stem for path in self.draw(contents)},
                         {"time", "peak", "time-applications", "peak-applications",
                          "end-applications"})

    def test_the_user_s_settings_do_not_show(self):
        import matplotlib
        contents = synthetic.make(names=("ours",))
        contents["rows"] = contents["rows"][:1]
        first = self.draw(contents, "one")
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "#ff0000"}):
            second = self.draw(contents, "two")
            self.assertEqual(matplotlib.rcParams["font.size"], 30)
        self.assertEqual(first[0].read_bytes(), second[0].read_bytes())

    def test_the_command(self):
        contents = synthetic.make(names=("ours", "glibc"))
        contents["rows"] = contents["rows"][:1]
        path = self.results(contents)
        done = subprocess.run([sys.executable, BENCH / "plot", path, "--report"],
                              capture_output=True, text=True, check=True)
        self.assertIn(str(self.root / "time.svg"), done.stdout.splitlines())
        self.assertTrue((self.root / "report.md").is_file())


class Layout(unittest.TestCase):
    """What is drawn, without drawing it."""

    def test_a_group_s_base_is_ours_or_else_the_best(self):
        contents = synthetic.make()
        group = bars.group_of(synthetic.row_named(contents, "cfrac"), "main", ["ours", "glibc"])
        self.assertEqual(group.base_name, "ours")
        self.assertTrue(bars.label_of(group).startswith("cfrac\n"))
        synthetic.fail(contents, "cfrac", "ours", "crash", "")
        group = bars.group_of(synthetic.row_named(contents, "cfrac"), "main",
                              ["ours", "glibc", "mimalloc2"])
        self.assertEqual(group.base_name, "mimalloc2")
        self.assertIn("mimalloc2 = 1: ", bars.label_of(group))

    def test_the_main_pictures_leave_more_threads_than_cpus_out(self):
        pictures = {name: groups for name, _, groups, _ in bars.pictures_of(synthetic.make())}
        rows = {group.row["row"] for group in pictures["time"]}
        self.assertIn("larson2", rows)
        self.assertNotIn("larson8", rows)
        self.assertNotIn("spike", rows)
        self.assertIn("larson32", {group.row["row"] for group in pictures["time-stress"]})

    def test_many_rows_are_split_in_panels_of_equal_length(self):
        groups = groups_of(23)
        panels = bars.panels_of(groups)
        self.assertEqual([len(part) for _, part in panels], [8, 8, 7])
        self.assertEqual([group for _, part in panels for group in part], groups)

    def test_every_allocator_has_a_colour_of_its_own(self):
        known = ("ours", "glibc", "jemalloc", "tcmalloc", "mimalloc2", "tbbmalloc", "snmalloc",
                 "rpmalloc", "hoard")
        palette = canvas.Palette(synthetic.make(names=(*known, "other", "third"), repeat=1))
        colours = [palette.colours[name] for name in palette.names]
        self.assertEqual(len(set(colours)), len(known) + 2)
        few = canvas.Palette(synthetic.make(names=("tbbmalloc", "ours"), repeat=1))
        self.assertEqual(few.colours["tbbmalloc"], palette.colours["tbbmalloc"])


def groups_of(count):
    row = {"row": "x", "group": "stress"}
    return [bars.Group({**row, "row": f"x{i}"}, "main", "ours", 1.0) for i in range(count)]


class BadFiles(FolderTest):
    def expect(self, text, *arguments):
        done = subprocess.run([sys.executable, BENCH / "plot", *map(str, arguments)],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(text, done.stderr)

    def test_one_clear_line(self):
        self.expect("No such file", self.root / "none.json")
        self.expect("RESULTS.json")
        self.expect("--wide", "x", "--wide")
        self.expect("damaged: no rows", self.results({"format": 1, "allocators": []}))

    @unittest.skipUnless(HAS_MATPLOTLIB, "there is no matplotlib")
    def test_an_output_that_cannot_be_written(self):
        path = self.results(synthetic.make(repeat=1))
        self.expect("results.json", path, "--output", path)

    @unittest.skipUnless(HAS_MATPLOTLIB, "there is no matplotlib")
    def test_nothing_to_draw(self):
        contents = synthetic.make(repeat=1)
        contents["rows"] = []
        with self.assertRaisesRegex(BadInput, "nothing to draw"):
            plots.draw(self.results(contents), self.root)


if __name__ == "__main__":
    unittest.main()
