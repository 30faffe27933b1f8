"""Builds the workloads, the tools and our library with cmake."""
import os
import shutil
import subprocess

from harness.common import BUILD, ROOT, BadInput, last_line


class Build:
    """A build directory, and where its files are."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = folder / "bench"

    def program(self, name):
        path = self.programs / name
        if not path.is_file():
            raise BadInput(f"there is no program {name} in {self.programs}: it is not built")
        return str(path)

    def our_library(self):
        """Our shared library; its name tells the kind of build."""
        found = sorted(self.folder.glob("libmimalloc*.so"))
        if not found:
            raise BadInput(f"there is no libmimalloc*.so in {self.folder}: it is not built")
        return str(found[0].resolve())

    def limit(self, name):
        path = self.programs / f"lib{name}.so"
        if not path.is_file():
            raise BadInput(f"there is no {path.name} in {self.programs}: it is not built")
        return str(path)


def run_logged(command, log):
    """Runs a command; a BadInput tells its first error and where the rest is."""
    with open(log, "w", encoding="utf-8") as file:
        result = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        reason = errors[0].strip()[:200] if errors else last_line("\n".join(lines))
        raise BadInput(f"the build failed: {reason} ({log})")


def build(folder=BUILD):
    """The release library and all programs, in a build directory of the suite's own."""
    if not shutil.which("cmake"):
        raise BadInput("there is no cmake; tools/setup.sh bench installs it")
    folder.mkdir(parents=True, exist_ok=True)
    run_logged(["cmake", "-S", str(ROOT), "-B", str(folder), "-DMI_BUILD_BENCH=ON",
                "-DMI_BUILD_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Release"], folder / "configure.log")
    run_logged(["cmake", "--build", str(folder), "-j", str(os.cpu_count() or 2)],
               folder / "build.log")
    return Build(folder)
