#!/usr/bin/env python3
"""Makes result files whose contents are known, in the format that bench/README.md describes.

    synthetic.py OUTPUT.json [--rows N] [--seed N] [--noise X]

In a test:

    contents = synthetic.make(noise=0.01, factors={("larson2", "ours", "elapsed"): 1.1})
    synthetic.fail(contents, "larson2", "glibc", "crash", "SIGSEGV")
    synthetic.write(path, contents)
"""
import argparse
import json
import random
import zlib
from pathlib import Path

ALLOCATORS = {"ours": 1.0, "glibc": 1.5, "jemalloc": 1.3, "tcmalloc": 1.2, "mimalloc2": 1.1,
              "tbbmalloc": 1.6}
# How much memory they take, relative to ours.
MEMORY = {"ours": 1.0, "glibc": 0.95, "jemalloc": 1.1, "tcmalloc": 1.4, "mimalloc2": 1.05,
          "tbbmalloc": 1.2}
MEASURES = ("elapsed", "user", "system", "peak_kib", "end_kib", "minor_faults", "major_faults")
# Workload, group, threads ("N": one per CPU, and 4 and 16 times as many), seconds, peak KiB.
WORKLOADS = (
    ("cfrac", "applications", "1", 2.0, 3000),
    ("espresso", "applications", "1", 1.5, 4000),
    ("barnes", "applications", "1", 1.2, 60000),
    ("larson", "stress", "N", 1.0, 15300),
    ("mstress", "stress", "N", 0.8, 120000),
    ("xmalloc-test", "stress", "N", 0.6, 50000),
    ("fragment", "memory", "1", 3.0, 400000),
)
CPUS = 2


def one_value(base, name, factors, noise, source):
    """A sample of a value: its base, times what the test wants, times noise."""
    return base * factors.get(name, 1.0) * (1 + source.gauss(0, noise))


def sample(row, name, factors, noise, source):
    """One run of a cell. A measure without a factor of its own has that of all, under None."""
    speed, memory = ALLOCATORS.get(name, 0.9), MEMORY.get(name, 1.0)
    seconds, peak_kib = row["base"]
    bases = {"elapsed": seconds * speed, "user": seconds * speed * 0.95,
             "system": seconds * speed * 0.05, "peak_kib": peak_kib * memory,
             "end_kib": peak_kib * memory * 0.9, "minor_faults": peak_kib * memory / 4}
    own = {measure: factor for (of_row, of_name, measure), factor in factors.items()
           if of_row in (row["row"], None) and of_name in (name, None)}
    result = {measure: one_value(base, measure, own, noise, source)
              for measure, base in bases.items()}
    result.update({"major_faults": 0, "instructions": None, "values": {}})
    for value, (base, unit) in row["own_values"].items():
        slower = 1 / speed if row["better"] == "higher" else speed
        number = one_value(base * slower, value, own, noise, source)
        result["values"][value] = {"value": number, "unit": unit}
    return result


def rows_of(workload, group, threads, seconds, peak_kib):
    """The rows of a workload, without cells."""
    kinds = {"1": (("1", 1),), "N": (("N", CPUS), ("4N", 4 * CPUS), ("16N", 16 * CPUS))}[threads]
    for kind, count in kinds:
        yield {"row": f"{workload}{count}" if threads == "N" else workload, "workload": workload,
               "group": group, "threads": count, "threads_kind": kind, "args": ["--scale", "8"],
               "main": "elapsed", "unit": "s", "better": "lower", "pictures": [], "cells": {},
               "base": (seconds, peak_kib), "own_values": {}}


def special_rows():
    """Rows of which another number than time is the point, and that have series."""
    redis = next(rows_of("redis", "applications", "1", 2.0, 9000))
    redis.update(main="requests", unit="1/s", better="higher",
                 own_values={"requests": (1e5, "1/s")})
    latency = list(rows_of("latency", "stress", "N", 1.0, 20000))
    for row in latency:
        row.update(main="p99.9_malloc", unit="ns", pictures=["latency_malloc", "latency_free"],
                   own_values={"p99.9_malloc": (300.0, "ns")})
    spike = next(rows_of("spike", "memory", "1", 11.0, 450000))
    spike.update(main="resident_10s", unit="KiB", pictures=["resident"],
                 own_values={"resident_10s": (50000.0, "KiB")})
    return [redis, *latency, spike]


def curve(speed):
    """A latency series: quantiles as -log10(1-q)."""
    places = [step / 10 for step in range(61)]
    return {"x_unit": "-log10(1-q)", "y_unit": "ns", "x": places,
            "y": [20 * speed * 10 ** (place * 0.6) for place in places]}


def spike_line(memory):
    """Resident memory that rises, falls, and stays."""
    return {"x_unit": "s", "y_unit": "KiB", "x": [0, 0.5, 1, 1.5, 2, 11],
            "y": [memory * kib for kib in (1000, 200000, 450000, 100000, 60000, 50000)]}


def series_of(row, name):
    """What the workload's pictures need."""
    speed, memory = ALLOCATORS.get(name, 0.9), MEMORY.get(name, 1.0)
    return {picture: spike_line(memory) if picture == "resident" else curve(speed)
            for picture in row["pictures"]}


def fill(row, names, repeat, factors, noise, seed):
    """The cells of a row; each has random numbers of its own."""
    for name in names:
        source = random.Random(zlib.crc32(f"{seed} {row['row']} {name}".encode()))
        samples = [sample(row, name, factors, noise, source) for _ in range(repeat)]
        row["cells"][name] = {"status": "ok", "text": "", "samples": samples,
                              "series": series_of(row, name)}


def make(names=tuple(ALLOCATORS), repeat=5, noise=0.01, seed=1, factors=None, more_rows=0):
    """The contents of a result file.

    `factors`: {(row, allocator, measure): factor}, None standing for all rows or allocators;
    `more_rows`: so many rows beside the usual ones.
    """
    more = [(f"more{i}", ("applications", "stress", "memory")[i % 3], "1", 1.0, 10000)
            for i in range(more_rows)]
    rows = [row for entry in (*WORKLOADS, *more) for row in rows_of(*entry)] + special_rows()
    for row in rows:
        fill(row, names, repeat, factors or {}, noise, seed)
        del row["base"], row["own_values"]
    return {"format": 1, "date": "2026-01-01 00:00:00 +0000", "mode": "full", "seed": seed,
            "repeat": repeat, "partial": False, "options": {}, "machine": machine(),
            "allocators": [{"name": name, "path": None, "version": "1.0"} for name in names],
            "rows": rows, "seconds": 100.0}


def machine():
    return {"cpu": "made up", "cpus": CPUS, "memory_mib": 24000, "kernel": "6.1", "thp": "madvise",
            "governor": "performance", "load": 0.1, "busy": 0.0, "notes": ["a made-up machine"]}


def row_named(contents, name):
    return next(row for row in contents["rows"] if row["row"] == name)


def fail(contents, row, name, status, text):
    """A cell that did not work."""
    row_named(contents, row)["cells"][name] = {"status": status, "text": text, "samples": [],
                                               "series": {}}


def count_instructions(contents, row, name, total, allocator):
    """As callgrind would have."""
    cell = row_named(contents, row)["cells"][name]
    cell["instructions"] = {"total": total, "allocator": allocator, "args": []}
    for one in cell["samples"]:
        one["instructions"] = total


def write(path, contents):
    Path(path).write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    return path


def main():
    parser = argparse.ArgumentParser(description="Writes a made-up result file.")
    parser.add_argument("output")
    parser.add_argument("--rows", type=int, default=0, help="so many more than usual")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", type=float, default=0.01)
    options = parser.parse_args()
    write(options.output, make(seed=options.seed, noise=options.noise, more_rows=options.rows))


if __name__ == "__main__":
    main()
