"""Finds the allocators, their versions, and proves that a library really serves a process."""
import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.common import (
    OURS, ROOT, BadInput, last_line, plain_environment, read_text, signal_name)

LIBC = "glibc"
# Name: the Debian package and the file of its library.
PACKAGED = {
    "jemalloc": ("libjemalloc2", "libjemalloc.so.2"),
    "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
    "mimalloc2": ("libmimalloc2.0", "libmimalloc.so.2"),
    "tbbmalloc": ("libtbbmalloc2", "libtbbmalloc_proxy.so.2"),
}
# Lower bounds, from limit/: they know one thread only.
LIMITS = ("limit", "limit-twice")
DEFAULT = (OURS, LIBC, *PACKAGED)
OTHER_NAMES = {"mimalloc": OURS, "tbb": "tbbmalloc", "libc": LIBC}
PROBE_SECONDS = 20


@dataclass
class Allocator:
    name: str
    path: str | None  # None: the C library's
    version: str | None = None
    proven: dict = field(default_factory=dict)  # programs whose bindings were looked at

    @property
    def is_limit(self):
        return self.name in LIMITS

    def description(self):
        """For the result file."""
        path = None if self.path is None else path_in_tree(self.path)
        return {"name": self.name, "path": path, "version": self.version}


def path_in_tree(path):
    """Without the place where the tree lies, if it is in there."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else str(path)


def library_folders():
    """Where packages put shared libraries: that of the C library first."""
    names = os.confstr("CS_GNU_LIBC_VERSION") and os.uname().machine
    return [Path("/usr/lib") / f"{names}-linux-gnu", Path("/usr/lib64"), Path("/usr/lib"),
            Path("/usr/local/lib")]


def find_packaged(name):
    """The library of a packaged peer, None when it is not installed."""
    file = PACKAGED[name][1]
    return next((str(folder / file) for folder in library_folders() if (folder / file).exists()),
                None)


def package_version(package):
    try:
        result = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True,
                                capture_output=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None


def our_version():
    header = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    version = re.search(r"project\(\w+ VERSION ([\d.]+)", header).group(1)
    try:
        result = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                                text=True, capture_output=True, check=False)
    except OSError:
        return version
    return f"{version} {result.stdout.strip()}".strip()


def file_version(path):
    """Of a library that no package tells the version of: the start of its checksum."""
    return "sha256 " + hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


# --- choosing -------------------------------------------------------------------------------------

def parse_libraries(options):
    """{name: path} of --lib NAME=PATH."""
    libraries = {}
    for option in options or ():
        name, equals, path = option.partition("=")
        if not equals or not path or not re.fullmatch(r"[A-Za-z][\w.-]*", name):
            raise BadInput(f"--lib {option}: it must be like name=path")
        if name in DEFAULT or name in LIMITS or name in OTHER_NAMES or name in libraries:
            raise BadInput(f"--lib {option}: there is another allocator called {name}")
        if not Path(path).is_file():
            raise BadInput(f"--lib {option}: there is no such file")
        libraries[name] = str(Path(path).resolve())
    return libraries


def parse_names(text, libraries):
    """The names of --allocators, or the default ones and those of --lib."""
    if text is None:
        return [*DEFAULT, *libraries]
    names = []
    for word in text.split(","):
        name = OTHER_NAMES.get(word.strip(), word.strip())
        known = (*DEFAULT, *LIMITS, *libraries)
        if name not in known:
            raise BadInput(f"--allocators: there is no {name or 'empty name'}, "
                           f"but {', '.join(known)}, and --lib name=path")
        if name not in names:
            names.append(name)
    return names


def absent_packages(names):
    return [PACKAGED[name][0] for name in names if name in PACKAGED and not find_packaged(name)]


def make(name, libraries, build):
    """An allocator by its name; None when it is a peer that is not installed."""
    if name == LIBC:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
        return Allocator(name, None, package_version("libc6") or version.removeprefix("glibc "))
    if name == OURS:
        return Allocator(name, build.our_library(), our_version())
    if name in LIMITS:
        return Allocator(name, build.limit(name), our_version())
    if name in libraries:
        return Allocator(name, libraries[name], file_version(libraries[name]))
    path = find_packaged(name)
    return Allocator(name, path, package_version(PACKAGED[name][0])) if path else None


def libc_file():
    """The C library's file: the one that this process has."""
    match = re.search(r"\s(/\S*/libc[.-]\S*)$", read_text("/proc/self/maps"), re.M)
    return os.path.realpath(match.group(1)) if match else ""


# --- proof ----------------------------------------------------------------------------------------

def prove(allocator, probe):
    """Starts the probe under the allocator; a BadInput says why it cannot be measured."""
    who = f"allocator {allocator.name}" + (f" ({allocator.path})" if allocator.path else "")
    environment = plain_environment()
    arguments = [probe]
    if allocator.path:
        environment["LD_PRELOAD"] = allocator.path
        arguments.append(allocator.path)
    try:
        result = subprocess.run(arguments, env=environment, capture_output=True, text=True,
                                check=False, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"{who}: a small program hangs with it") from error
    if result.returncode < 0:
        raise BadInput(f"{who}: a small program dies with it: {signal_name(-result.returncode)}")
    if result.returncode != 0:
        refusal = re.search(r"ERROR: ld\.so: object .* cannot be preloaded \((.*)\)", result.stderr)
        reason = f"it cannot be loaded: {refusal.group(1)}" if refusal else last_line(result.stderr)
        raise BadInput(f"{who}: {reason or f'exit status {result.returncode}'}")
    files = json.loads(result.stdout)
    if allocator.path is None and os.path.realpath(files["malloc"]) != libc_file():
        raise BadInput(f"{who}: without a preload, malloc belongs to {files['malloc']}")
    return files


BINDING = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol "
                     r"`(malloc|calloc|realloc|free)'")


def interpreter_of(program):
    """The program itself, or for a script what runs it."""
    with open(program, "rb") as file:
        head = file.read(256)
    if not head.startswith(b"#!"):
        return program if head.startswith(b"\x7fELF") else None
    words = head[2:].split(b"\n")[0].decode(errors="replace").split()
    if words and os.path.basename(words[0]) == "env":
        return None
    return interpreter_of(words[0]) if words and os.path.exists(words[0]) else None


def wrong_binding(program, library):
    """Whose malloc a real program would have that is not the library's: a text, or None.

    The dynamic linker says so itself, without starting the program.
    """
    executable = interpreter_of(program)
    if executable is None:
        return None
    environment = {**plain_environment(), "LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "yes",
                   "LD_BIND_NOW": "yes", "LD_DEBUG": "bindings", "LD_PRELOAD": library}
    result = subprocess.run([executable], env=environment, capture_output=True, text=True,
                            check=False, timeout=PROBE_SECONDS, errors="replace")
    name, wanted = os.path.basename(program), os.path.realpath(library)
    bindings = BINDING.findall(result.stderr)
    if not bindings:
        return f"{name} is not linked with a malloc that can be replaced"
    served = {(file, symbol) for file, target, symbol in bindings
              if os.path.realpath(target) == wanted}
    for file, target, symbol in bindings:
        # A program at a fixed address lends its own stub of a function to who asks where that is.
        if (file, symbol) not in served and (target, symbol) not in served:
            return f"{name}: {symbol} of {file} is that of {target}, not of {library}"
    return None
