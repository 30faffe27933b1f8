#!/usr/bin/env python3
"""Runs real programs on the library by LD_PRELOAD; compares with the system's malloc.

usage: run.py LIBRARY [--all | PROGRAM...] [--install] [--json FILE] [--keep]

For each program: its output must equal that of the run on the C library's malloc, the library must
have served it (statistics from inside its processes, and the table at exit), and nothing may be
reported as wrong. Time, and peak memory of the largest process, are those of one run each: no
benchmark. Without names the short set runs, and leaves out what is not installed; a program that is
named, or asked for by --all, counts as failed then.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

import programs
from harness import Failure, Session, build_tools

OURS, SYSTEM = "ours", "system"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "words",
        nargs="*",
        metavar="LIBRARY | PROGRAM",
        help="the shared library; programs: " + " ".join(programs.PROGRAMS),
    )
    parser.add_argument("--lib", help="the shared library, in place of the first argument")
    parser.add_argument("--all", action="store_true", help="every program")
    parser.add_argument("--install", action="store_true", help="install absent ones with apt-get")
    parser.add_argument("--json", metavar="FILE", help="write the rows of the table there as well")
    parser.add_argument(
        "--keep", action="store_true", help="keep the logs of programs that passed, too"
    )
    arguments = parser.parse_args()
    if arguments.lib is None:
        if not arguments.words:
            parser.error("which library?")
        arguments.lib = arguments.words.pop(0)
    arguments.lib = os.path.abspath(arguments.lib)
    if not os.path.isfile(arguments.lib):
        parser.error(f"no such library: {arguments.lib}")
    for name in arguments.words:
        if name not in programs.PROGRAMS:
            parser.error(f"no such program: {name}; there are {' '.join(programs.PROGRAMS)}")
    return arguments


def chosen_programs(arguments):
    if arguments.words:
        names = arguments.words
    else:
        names = [
            name
            for name, program in programs.PROGRAMS.items()
            if arguments.all or program.in_default_set
        ]
    return [programs.PROGRAMS[name]() for name in names]


def install(missing):
    """Installs packages; servers among them are not started."""
    apt = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "RUNLEVEL=1",
        "apt-get",
        "-qq",
        "-o",
        "Dpkg::Use-Pty=0",
    ]
    if os.geteuid() != 0:
        apt.insert(0, "sudo")
    packages = sorted({package for program in missing for package in program.packages})
    print(f"installing {' '.join(packages)}", flush=True)
    subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL)
    result = subprocess.run(
        [*apt, "install", "-y", "--no-install-recommends", "--no-upgrade", *packages],
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        print(
            f"apt-get failed: {(result.stderr.strip() or result.stdout.strip())[-300:]}",
            file=sys.stderr,
        )


def compare(ours, system):
    for name in {**ours, **system}:
        if name not in ours or name not in system or ours[name] != system[name]:
            raise Failure(f"differs from the run on the system's malloc: {name}")


def run_program(program, tools, library, folder):
    """Runs it on both allocators. Returns the row of the table; a Failure is its text."""
    row = {"program": program.name, "passed": False, "result": ""}
    try:
        os.makedirs(os.path.join(folder, "inputs"))
        program.prepare(os.path.join(folder, "inputs"))
        outputs, proofs = {}, {}
        for allocator in (SYSTEM, OURS):
            session = Session(tools, allocator, library, folder, program)
            try:
                outputs[allocator] = program.run(session)
                proofs[allocator] = session.prove()
            except Failure as failure:
                raise Failure(
                    f"on {'the library' if allocator == OURS else 'the system malloc'}: {failure}"
                )
            finally:
                row[allocator] = {
                    "seconds": round(session.seconds, 3),
                    "peak_kib": session.peak_kib,
                }
        compare(outputs[OURS], outputs[SYSTEM])
        row.update(passed=True, result=proofs[OURS], baseline=proofs[SYSTEM])
    except Failure as failure:
        row["result"] = str(failure)
    except (
        Exception
    ) as error:  # a mistake of ours, or a program that behaves in a way not thought of
        row["result"] = f"{type(error).__name__}: {error}"
        with open(os.path.join(folder, "traceback"), "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    return row


def cost_text(row):
    def text(allocator):
        cost = row.get(allocator)
        return f"{cost['seconds']:8.2f} s {cost['peak_kib'] / 1024:8.1f} MiB" if cost else " " * 23

    return f"{text(OURS)}  {text(SYSTEM)}"


def print_row(row):
    mark = "ok" if row["passed"] else "--" if row.get("absent") else "FAILED"
    print(f"{row['program']:<12} {mark:<6} {cost_text(row)}   {row['result']}", flush=True)


def main():
    arguments = parse_arguments()
    os.environ["PATH"] = programs.SEARCH_PATH
    chosen = chosen_programs(arguments)
    missing = [program for program in chosen if not program.is_installed()]
    if missing and arguments.install:
        install(missing)

    work = tempfile.mkdtemp(prefix="mimalloc-programs-", dir="/tmp")  # short: sockets lie in it
    try:
        tools = build_tools(work)
    except Failure as failure:
        print(f"run.py: {failure}", file=sys.stderr)
        shutil.rmtree(work)
        return 2
    print(
        f"{'program':<12} {'':<6} {'ours':>23}  {'system':>23}   proof, or what went wrong",
        flush=True,
    )
    rows = []
    for program in chosen:
        folder = os.path.join(work, program.name)
        if program.is_installed():
            row = run_program(program, tools, arguments.lib, folder)
        else:
            row = {
                "program": program.name,
                "passed": False,
                "absent": True,
                "result": "not installed",
            }
        rows.append(row)
        print_row(row)
        if os.path.isdir(folder):
            if row["passed"] and not arguments.keep:
                shutil.rmtree(folder)
            else:
                row["logs"] = folder
                print(f"{'':<20}logs: {folder}", flush=True)

    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    if not any("logs" in row for row in rows):
        shutil.rmtree(work)
    must_be_there = arguments.all or bool(arguments.words)
    passed = sum(row["passed"] for row in rows)
    absent = sum(row.get("absent", False) for row in rows)
    failed = len(rows) - passed - (0 if must_be_there else absent)
    print(
        f"{passed} programs passed, {failed} failed"
        + (f", {absent} not installed" if absent and not must_be_there else "")
    )
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
