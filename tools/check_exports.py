#!/usr/bin/env python3
"""Checks what a shared library of ours shows and needs.

usage: check_exports.py [--no-override] [--header mimalloc.h] LIB.so

  - only mi_* and the standard names below leave it, and with overriding all of those that programs
    rely on do;
  - every function that the public header declares is there;
  - it calls neither malloc nor stdio: both could call back into it;
  - at most 8 bytes of static TLS, no text relocations, bound at load, never unloaded.
"""
import argparse
import re
import subprocess
import sys

C_NAMES = """
malloc calloc realloc free reallocf reallocarray
aligned_alloc posix_memalign memalign valloc pvalloc cfree
malloc_size malloc_usable_size malloc_good_size
strdup strndup realpath free_sized free_aligned_sized
malloc_trim mallinfo mallinfo2 mallopt malloc_stats malloc_info
__libc_malloc __libc_calloc __libc_realloc __libc_free __libc_cfree __libc_valloc __libc_pvalloc
__libc_memalign __posix_memalign
""".split()

# operator new and delete: plain, array, sized, aligned, nothrow (size_t is m on 64 bit, j on 32).
# The nothrow forms of new are the C++ library's.
NEW_NAMES = [
    "_ZdlPv", "_ZdaPv", "_ZdlPv@", "_ZdaPv@", "_ZdlPvSt11align_val_t", "_ZdaPvSt11align_val_t",
    "_ZdlPv@St11align_val_t", "_ZdaPv@St11align_val_t", "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t", "_Znw@", "_Zna@", "_Znw@St11align_val_t",
    "_Zna@St11align_val_t"]
SIZED = {name.replace("@", letter) for name in NEW_NAMES for letter in "mj"}

# Allowed, but not asked for: names of other systems, or what a system's C library may do itself.
OPTIONAL = {"reallocf", "malloc_size", "malloc_good_size", "realpath", "cfree", "__libc_cfree"}

FORBIDDEN_CALLS = set("""
malloc calloc realloc free strdup strndup asprintf vasprintf getline brk sbrk printf fprintf sprintf
snprintf vprintf vfprintf vsprintf vsnprintf puts putchar fputc putc fopen fdopen fclose
fread fwrite fflush fgets fscanf sscanf perror stdout stderr __printf_chk __fprintf_chk
__sprintf_chk __snprintf_chk
""".split())

MAX_TLS_BYTES = 8


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(library, which):
    """The names of `nm -D`, without versions."""
    lines = run("nm", "-D", which, library).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if line.strip()}


def declared(header):
    """The functions that a header marks mi_decl_export, macros' own text left out."""
    with open(header, encoding="utf-8") as file:
        text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", file.read(), flags=re.S)
    text = re.sub(r"(?m)^\s*#.*(?:\\\n.*)*$", " ", text)
    return set(re.findall(r"\bmi_decl_export\b[^;{]*?\b(mi_\w+)\s*\(", text))


def check_symbols(library, is_override, header):
    names = symbols(library, "--defined-only")
    standard = set(C_NAMES) | SIZED if is_override else set()
    for name in sorted(names - standard):
        if not name.startswith("mi_"):
            yield f"{name} leaves the library"
    if is_override:
        letter = "m" if "_Znwm" in names else "j"
        needed = set(C_NAMES) | {name.replace("@", letter) for name in NEW_NAMES}
        for name in sorted(needed - OPTIONAL - names):
            yield f"{name} is not overridden"
    if header:
        for name in sorted(declared(header) - names):
            yield f"{name} is declared in {header} and not exported"
    for name in sorted(symbols(library, "--undefined-only") & FORBIDDEN_CALLS):
        yield f"the library calls {name}"


def check_segments(library):
    for line in run("readelf", "-lW", library).splitlines():
        fields = line.split()
        if fields[:1] == ["TLS"] and int(fields[5], 16) > MAX_TLS_BYTES:
            yield f"{int(fields[5], 16)} bytes of static TLS, at most {MAX_TLS_BYTES}"
        if fields[:1] == ["GNU_STACK"] and "E" in fields[6]:
            yield "the stack would be executable"
    dynamic = run("readelf", "-dW", library)
    if "TEXTREL" in dynamic:
        yield "text relocations"
    if not re.search(r"\(SONAME\).*\[libmimalloc[-a-z]*\.so\.1\]", dynamic):
        yield "SONAME is not libmimalloc....so.1"
    for flag in ("NODELETE", "NOW"):
        if not re.search(rf"FLAGS.*\b{flag}\b", dynamic):
            yield f"not linked with -z {flag.lower()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-override", action="store_true", help="only mi_* may leave")
    parser.add_argument("--header", help="public header whose functions must be exported")
    parser.add_argument("binary", metavar="library")
    options = parser.parse_args()
    errors = list(check_symbols(options.binary, not options.no_override, options.header))
    errors += check_segments(options.binary)
    for error in errors:
        print(f"{options.binary}: {error}")
    print(f"check_exports: {len(symbols(options.binary, '--defined-only'))} names, "
          f"{len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
