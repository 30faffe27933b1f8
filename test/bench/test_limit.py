#!/usr/bin/env python3
"""The lower bound, bench/limit/limit.c: serves programs of one thread rightly, refuses others."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT = HERE.parent.parent / "bench" / "limit" / "limit.c"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compile_c(source, output, *flags):
    """Builds one C file with the compiler of the environment."""
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-std=c11", "-O2", "-D_GNU_SOURCE", "-fno-builtin", *WARNINGS,
                    "-o", str(output), str(source), "-pthread", *flags], check=True)


class LimitTest(unittest.TestCase):
    """Each test runs the helper program under both builds of the library."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = Path(cls.folder.name)
        cls.program = root / "limit_calls"
        cls.libraries = [root / "limit.so", root / "limit-twice.so"]
        compile_c(HERE / "limit_calls.c", cls.program)
        for library, twice in zip(cls.libraries, (0, 1)):
            compile_c(LIMIT, library, "-shared", "-fPIC", f"-DLIMIT_TWICE={twice}")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def preloaded(self, library, *argv):
        """The finished process of a command under a library."""
        return subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                              timeout=120, check=False,
                              env={**os.environ, "LD_PRELOAD": str(library)})

    def expect_success(self, *argv):
        """Runs under both builds; the output of the last."""
        for library in self.libraries:
            done = self.preloaded(library, *argv)
            self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def expect_refusal(self, argument, text):
        """One line, and the status that means "cannot be done here"."""
        for library in self.libraries:
            done = self.preloaded(library, self.program, argument)
            self.assertEqual(done.returncode, 77, done.stderr)
            self.assertEqual(done.stderr, f"limit: one thread only: {text}\n")

    def test_every_call_of_the_family(self):
        self.expect_success(self.program, "calls")

    def test_a_server_in_main(self):
        self.expect_success(self.program, "server")

    def test_threads_one_after_the_other(self):
        self.expect_success(self.program, "servers")

    def test_a_barrier_for_one(self):
        self.expect_success(self.program, "barrier1")

    def test_two_threads_at_once_are_refused(self):
        self.expect_refusal("second", "the program starts a second")

    def test_waiting_for_another_thread_is_refused(self):
        self.expect_refusal("waits", "the program waits for another")

    def test_a_barrier_for_two_is_refused(self):
        self.expect_refusal("barrier2", "a barrier for several")

    def test_pthread_exit_is_refused(self):
        self.expect_refusal("leaves", "the program calls pthread_exit")

    def test_a_real_program(self):
        text = self.expect_success(sys.executable, "-c",
                                   "print(len({str(i): [i] * (i % 50) for i in range(100000)}))")
        self.assertEqual(text, "100000\n")

    def test_a_large_block_moves_without_a_copy(self):
        """Doubling to 64 MiB, all of it written: copies would leave 64 MiB more behind."""
        script = ("import ctypes\n"
                  "c = ctypes.CDLL(None)\n"
                  "c.realloc.restype = ctypes.c_void_p\n"
                  "p = None\n"
                  "for shift in range(16, 27):\n"
                  "    p = c.realloc(ctypes.c_void_p(p), ctypes.c_size_t(1 << shift))\n"
                  "    half = 1 << shift >> 1\n"
                  "    ctypes.memset(p + half, shift, half)\n"
                  "assert [ctypes.c_ubyte.from_address(p + (1 << n)).value for n in range(16, 26)]"
                  " == list(range(17, 27))\n"
                  "lines = open('/proc/self/status')\n"
                  "print([line.split()[1] for line in lines if line.startswith('VmHWM')][0])")
        peak_kib = int(self.expect_success(sys.executable, "-c", script))
        self.assertLess(peak_kib, (64 + 40) * 1024)


if __name__ == "__main__":
    unittest.main()
