"""How many processors and how much memory this process may really use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Return the least of affinity, cgroup quota and Slurm's allotment; at least 1."""
    found = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            found.append(int(quota) // int(period))
    except (OSError, ValueError):
        pass
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit():
        found.append(int(slurm))
    return max(1, min(found))


def usable_memory() -> int:
    """Return in bytes the lesser of the machine's memory and the control group's limit; 0 when it is not known."""
    found = []
    try:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            found.append(int(file.read()))
    except (OSError, ValueError):  # no control group, or "max"
        pass
    return min(found, default=0)
