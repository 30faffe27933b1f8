#!/usr/bin/env python3
"""bench/run as a user meets it, and the tools that it starts: usage test_programs.py BUILD_DIR

BUILD_DIR: where the library and the programs of bench/ are built.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent.parent / "bench"
sys.path.insert(0, str(BENCH))

from harness import allocators, build, launcher
from harness.common import BadInput

SUITE = """
[[workload]]
name = "larson"
text = "as in bench/suite, with a short time limit"
group = "stress"
program = "larson"
threads = "N"
timeout = 2
full = ["--scale", "1"]
quick = ["--scale", "0.1"]
tiny = ["--scale", "0.02"]

[[workload]]
name = "larson-alone"
text = "with one thread, and a value of its own that it does not report"
group = "stress"
program = "larson"
threads = "1"
main = "colour"
full = []
quick = []
tiny = ["--scale", "0.02"]
"""
BUILT = None  # set by main


class Folder(unittest.TestCase):
    """A folder for each test."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)


class MeasureTest(Folder):
    def measure(self, *words, **more):
        result = subprocess.run([BUILT.program("measure"), "--report", str(self.folder / "report"),
                                 *words], capture_output=True, text=True, check=False, **more)
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.report()

    def report(self):
        return json.loads((self.folder / "report").read_text(encoding="utf-8").splitlines()[1])

    def test_status_and_signal(self):
        self.assertEqual(self.measure("true")["exit"], 0)
        self.assertEqual(self.measure("sh", "-c", "exit 7")["exit"], 7)
        self.assertEqual(self.measure("sh", "-c", "kill -SEGV $$")["signal"], signal.SIGSEGV)
        self.assertEqual(self.measure("/none")["exit"], 127)

    def test_a_program_does_not_inherit_the_memory_of_who_starts_it(self):
        ballast = b"x" * (64 << 20)
        self.assertLess(self.measure("true")["peak_kib"], 8 << 10)
        self.assertEqual(len(ballast), 64 << 20)

    def test_time_and_memory_are_the_programs(self):
        code = "import time; x = b'x' * (32 << 20); x = None; time.sleep(0.3); y = b'y' * (8 << 20)"
        cost = self.measure("--end", sys.executable, "-S", "-c", code)
        self.assertGreater(cost["elapsed"], 0.3)
        self.assertGreater(cost["peak_kib"], 32 << 10)
        self.assertGreater(cost["minor_faults"], 8 << 8)
        if cost["end_kib"] is not None:  # where it may be traced
            self.assertGreater(cost["peak_kib"], cost["end_kib"] + (16 << 10))
            self.assertGreater(cost["end_kib"], 1 << 10)

    def test_a_time_out_ends_the_whole_group(self):
        pid_file = self.folder / "pid"
        cost = self.measure("--limit", "0.3", "sh", "-c", f"sleep 60 & echo $! >{pid_file}; wait")
        self.assertTrue(cost["timed_out"])
        self.assertLess(cost["elapsed"], 30)
        pid = int(pid_file.read_text(encoding="utf-8"))
        for _ in range(100):
            if not Path(f"/proc/{pid}/cmdline").exists() or \
                    not Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            time.sleep(0.05)
        self.fail("a process of the group is still there")

    def test_the_preload_is_the_programs_alone(self):
        code = "import os; print(os.environ['LD_PRELOAD'])"
        result = subprocess.run([BUILT.program("measure"), "--preload", BUILT.our_library(),
                                 sys.executable, "-S", "-c", code],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.stdout.strip(), BUILT.our_library())

    def test_bad_flags_are_one_line(self):
        for words in ([], ["--limit"], ["--limit", "x", "true"], ["--none", "1", "true"],
                      ["--report", "/none/report", "true"], ["--report", "99", "true"]):
            result = subprocess.run([BUILT.program("measure"), *words], capture_output=True,
                                    text=True, check=False)
            self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1), words)


class LauncherTest(Folder):
    def launcher(self, name="ours", limit_s=20.0, is_real_program=False):
        found = allocators.make(name, {}, BUILT)
        made = launcher.Launcher(BUILT.program("measure"), found, self.folder, limit_s,
                                 is_real_program)
        self.addCleanup(made.close)
        return made

    def test_a_run_has_its_output_and_environment(self):
        source = self.folder / "in"
        source.write_text("words\n", encoding="utf-8")
        os.environ["MIMALLOC_VERBOSE"] = "1"
        try:
            found = self.launcher().run(["sh", "-c", "cat; echo $MORE; env | grep -c MIMALLOC_"],
                                        stdin=source, cwd=self.folder, env={"MORE": "more"})
        finally:
            del os.environ["MIMALLOC_VERBOSE"]
        self.assertEqual(found.stdout.read_text(encoding="utf-8"), "words\nmore\n0\n")
        self.assertEqual(found.status, 1)  # grep found nothing

    def test_a_server_is_stopped_and_measured(self):
        started = self.launcher().start(["sleep", "60"])
        self.assertTrue(started.is_running())
        self.assertTrue(Path(f"/proc/{started.pid}").exists())
        cost = started.stop()
        self.assertEqual(cost.status, -signal.SIGTERM)
        self.assertFalse(Path(f"/proc/{started.pid}").exists())
        self.assertGreater(cost.end_kib or 1, 0)

    def test_what_is_left_running_is_killed(self):
        made = self.launcher()
        started = made.start(["sleep", "60"])
        made.close()
        self.assertFalse(Path(f"/proc/{started.pid}").exists())

    def test_asking_twice_gives_the_same_answer(self):
        made = self.launcher(limit_s=0.2)
        started = made.start(["sleep", "60"])
        for _ in range(2):
            with self.assertRaises(launcher.TimedOut):
                started.wait()
        self.assertFalse(started.is_running())
        ended = self.launcher().start(["true"])
        self.assertEqual(ended.wait(), ended.stop())

    def test_crash_and_time_out_are_told_apart(self):
        with self.assertRaisesRegex(launcher.Crashed, "SIGSEGV: last words"):
            self.launcher().run(["sh", "-c", "echo last words >&2; kill -SEGV $$"])
        with self.assertRaisesRegex(launcher.TimedOut, "not done"):
            self.launcher(limit_s=0.2).run(["sleep", "60"])

    def test_a_real_program_has_the_malloc_of_the_cell(self):
        program = str(self.folder / "own")
        source = "int main(void) { return 0; } void *malloc(unsigned long n) { return (void *)n; }"
        compiler = os.environ.get("CC", "cc").split()
        (self.folder / "own.c").write_text(source, encoding="utf-8")
        subprocess.run([*compiler, "-w", "-fno-builtin", "-rdynamic", "-o", program,
                        f"{program}.c"], check=True)
        for name in ("ours", "glibc"):
            made = self.launcher(name, is_real_program=True)
            self.assertEqual(made.run([sys.executable, "-S", "-c", "0"]).status, 0)
            with self.assertRaisesRegex(launcher.WrongResult, "malloc of .* is that of"):
                made.run([program])
            with self.assertRaises(launcher.CannotRun):
                made.run(["/none/program"])


class ProbeTest(unittest.TestCase):
    def test_our_library_serves_and_others_do_not(self):
        probe = BUILT.program("probe")
        files = allocators.prove(allocators.make("ours", {}, BUILT), probe)
        self.assertEqual(os.path.realpath(files["malloc"]), BUILT.our_library())
        self.assertEqual(os.path.realpath(files["operator_new"]), BUILT.our_library())
        allocators.prove(allocators.make("glibc", {}, BUILT), probe)
        for path, expected in (("/etc/passwd", "it cannot be loaded"),
                               (allocators.libc_file().replace("libc.", "libm."), "no allocator")):
            with self.assertRaisesRegex(BadInput, expected):
                allocators.prove(allocators.Allocator("x", path), probe)


class RunTest(Folder):
    def setUp(self):
        super().setUp()
        (self.folder / "suite").mkdir()
        (self.folder / "suite" / "a.toml").write_text(SUITE, encoding="utf-8")

    def command(self, *words):
        return [str(BENCH / "run"), "--tiny", "--no-install", "--build", str(BUILT.folder),
                "--suite", str(self.folder / "suite"), "--output", str(self.folder / "out"),
                *words]

    def run_bench(self, *words, **more):
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False,
                              **more)

    def results(self):
        return json.loads((self.folder / "out" / "results.json").read_text(encoding="utf-8"))

    def cell(self, name, row=0):
        return self.results()["rows"][row]["cells"][name]

    def stray_library(self):
        """A malloc that goes wrong, see stray.c."""
        path = str(self.folder / "libstray.so")
        compiler = os.environ.get("CC", "cc").split()
        subprocess.run([*compiler, "-std=c11", "-D_GNU_SOURCE", "-O1", "-fno-builtin", "-fPIC",
                        "-shared", "-o", path, str(HERE / "stray.c")], check=True)
        return path

    def test_a_run_writes_its_files(self):
        result = self.run_bench("--allocators", "ours,glibc", "--workloads", "larson", "--repeat",
                                "2", "--threads", "1,N", "--strict")
        self.assertEqual(result.returncode, 0, result.stderr)
        for expected in ("elapsed time, s", "peak resident memory, MiB", "relative to ours"):
            self.assertIn(expected, result.stdout)
            self.assertIn(expected, (self.folder / "out" / "tables.txt").read_text("utf-8"))
        self.assertIn("machine: ", result.stderr)
        found = self.results()
        self.assertFalse(found["partial"])
        self.assertEqual([peer["name"] for peer in found["allocators"]], ["ours", "glibc"])
        for row in found["rows"]:
            for cell in row["cells"].values():
                self.assertEqual((cell["status"], len(cell["samples"])), ("ok", 2))
                self.assertGreater(cell["samples"][0]["end_kib"], 0)
                self.assertIn("operations", cell["samples"][0]["values"])

    def test_what_goes_wrong_is_a_cell(self):
        library = f"stray={self.stray_library()}"
        for how, status in (("crash", "crash"), ("hang", "timeout"), ("wrong", "wrong")):
            result = self.run_bench("--lib", library, "--allocators", "ours,stray", "--workloads",
                                    "larson", "--threads", "1",
                                    env={**os.environ, "STRAY": f"larson:{how}"})
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(self.cell("stray")["status"], status, self.cell("stray"))
            self.assertEqual(self.cell("ours")["status"], "ok")
            self.assertIn(f"larson1, stray: {status}: ", result.stdout)

    def test_a_value_that_is_not_reported_fails_where_it_matters(self):
        words = ("--allocators", "ours", "--workloads", "larson-alone")
        self.assertEqual(self.run_bench(*words).returncode, 0)
        self.assertEqual(self.cell("ours")["text"], "it did not report colour")
        self.assertEqual(self.run_bench(*words, "--strict").returncode, 1)

    def test_an_interruption_keeps_what_is_done(self):
        process = subprocess.Popen(
            self.command("--allocators", "ours", "--workloads", "larson", "--repeat", "1000"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("round 2/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(), 130)
        self.assertIn("cut short", rest)
        self.assertTrue(self.results()["partial"])
        self.assertGreaterEqual(len(self.cell("ours")["samples"]), 2)

    def test_bad_input_is_one_line_and_status_2(self):
        (self.folder / "file").write_bytes(b"")
        libm = allocators.libc_file().replace("libc.", "libm.")
        for words, expected in (
                (["--workloads", "none"], "nothing is called none"),
                (["--groups", "none"], "no group none"),
                (["--allocators", "none"], "there is no none"),
                (["--lib", "x=/none.so"], "no such file"),
                (["--lib", f"x={libm}"], "no allocator that can be preloaded"),
                (["--lib", f"x={self.folder / 'file'}"], "cannot be loaded"),
                (["--lib", "x"], "must be like name=path"),
                (["--output", str(self.folder / "file")], "cannot write there"),
                (["--output", "/proc/none"], "cannot write there"),
                (["--threads", "many"], "neither a number nor like N"),
                (["--repeat", "0"], "whole number from 1"),
                (["--seed", "-1"], "whole number from 0"),
                (["--suite", "/none"], "no workloads in /none"),
                (["--build", str(self.folder)], "it is not built"),
                (["--nothing"], "unrecognized arguments: --nothing"),
        ):
            result = self.run_bench(*words)
            self.assertEqual(result.returncode, 2, words)
            self.assertRegex(result.stderr, f"^bench: .*{expected}.*\n$")

    def test_the_list_needs_nothing_built(self):
        result = self.run_bench("--list", "--threads", "N,4N")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("larson-alone", result.stdout)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: test_programs.py BUILD_DIR [TEST...]")
    BUILT = build.Build(Path(sys.argv.pop(1)).resolve())
    unittest.main()
