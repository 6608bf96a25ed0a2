"""How many processors this process may really use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """The least of affinity, cgroup quota and Slurm's allotment; at least 1."""
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
