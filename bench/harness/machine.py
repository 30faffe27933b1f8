"""What machine this is, and what would disturb a measurement on it."""
import os
import re
import time

from harness.common import read_text

BUSY_NOTED = 0.05   # share of all CPUs that others may use before it is worth a note
STOLEN_NOTED = 0.01


def cpu_times():
    """(busy, stolen, all) ticks of all CPUs since the start of the machine."""
    line = read_text("/proc/stat").split("\n", 1)[0].split()[1:]
    ticks = [int(word) for word in line[:8]] if len(line) >= 8 else [0] * 8
    idle, stolen = ticks[3] + ticks[4], ticks[7]
    return sum(ticks) - idle - stolen, stolen, sum(ticks)


def share_since(before, index):
    """The share of all CPU time since `before` that was busy (0) or stolen (1)."""
    now = cpu_times()
    passed = now[2] - before[2]
    return (now[index] - before[index]) / passed if passed > 0 else 0.0


def cpu_model():
    text = read_text("/proc/cpuinfo")
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.*)$", text, re.M)
    return match.group(1).strip() if match else os.uname().machine


def transparent_huge_pages():
    match = re.search(r"\[(\w+)\]", read_text("/sys/kernel/mm/transparent_hugepage/enabled"))
    return match.group(1) if match else "unknown"


def memory_mib(name):
    match = re.search(rf"^{name}:\s*(\d+) kB", read_text("/proc/meminfo"), re.M)
    return int(match.group(1)) // 1024 if match else 0


def governor():
    text = read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return text or "none"


def cpu_quota():
    """CPUs that a control group grants; None without a limit."""
    words = read_text("/sys/fs/cgroup/cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def notes_of(facts, busy):
    """What a reader of the results must know."""
    notes = []
    if busy > BUSY_NOTED:
        notes.append(f"other programs used {busy:.0%} of the CPUs just before the start")
    if facts["governor"] not in ("none", "performance"):
        notes.append(f"the CPU governor is {facts['governor']}, not performance: clocks vary")
    if facts["thp"] == "always":
        notes.append("transparent huge pages are always on: memory and faults differ from other "
                     "machines")
    quota = cpu_quota()
    if quota is not None and quota < facts["cpus"]:
        notes.append(f"a control group grants {quota:g} of {facts['cpus']} CPUs")
    if re.search(r"^flags\s*:.*\bhypervisor\b", read_text("/proc/cpuinfo"), re.M):
        notes.append("a virtual machine: its host may take CPU time away")
    available, total = memory_mib("MemAvailable"), facts["memory_mib"]
    if total and available < total / 4:
        notes.append(f"only {available} of {total} MiB of memory are free")
    return notes


def inspect(watch_seconds):
    """The facts that go into the result file; looks for other work for a moment."""
    before = cpu_times()
    time.sleep(watch_seconds)
    busy = share_since(before, 0)
    facts = {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": memory_mib("MemTotal"),
        "kernel": os.uname().release,
        "thp": transparent_huge_pages(),
        "governor": governor(),
        "load": round(os.getloadavg()[0], 2),
        "busy": round(busy, 3),
    }
    facts["notes"] = notes_of(facts, busy)
    return facts


def text_of(facts):
    lines = [f"machine: {facts['cpu']}, {facts['cpus']} CPUs, {facts['memory_mib']} MiB, "
             f"Linux {facts['kernel']}, load {facts['load']}, governor {facts['governor']}, "
             f"transparent huge pages {facts['thp']}"]
    return "\n".join(lines + [f"  note: {note}" for note in facts["notes"]])
