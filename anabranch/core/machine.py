"""How many processors and how much memory this process may really use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"


def usable_cpus() -> int:
    """Return the least of affinity, control group quotas and Slurm's allotment to a task; at least 1."""
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    granted = granted_cpus()
    return max(1, min(granted, int(slurm))) if slurm.isdigit() else granted


def granted_cpus() -> int:
    """Return the lesser of affinity and control group quotas: what the kernel lets all of this job's processes have."""
    found = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for text in group_limits("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            found.append(int(quota) // int(period))
    return max(1, min(found))


def usable_memory() -> int:
    """Return in bytes the least of the machine's memory and the control groups' limits; 0 when it is not known."""
    found = []
    try:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        pass
    found += [int(text) for text in group_limits("memory.max") if text.isdigit()]
    return min(found, default=0)


def group_limits(name: str, groups: str = GROUPS, own: str = OWN) -> Iterator[str]:
    """Yield what `name` says in this process's control group and in those above it, one limit or several.

    A batch system's job is several groups deep, and the limit is that of the job's. The first version's names are read
    where the second's hierarchy is not there.
    """
    for line in _lines(own):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            yield from _upwards(groups, path, name)
        elif "memory" in controllers.split(",") and name == "memory.max":
            yield from _upwards(f"{groups}/memory", path, "memory.limit_in_bytes")
    if not os.path.exists(own):
        yield from _lines(f"{groups}/{name}")


def _upwards(root: str, path: str, name: str) -> Iterator[str]:
    """Yield the first line of `name` in the folder `path` below `root`, and in each folder above it."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        yield from _lines("/".join([root, *parts[:depth], name]))[:1]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
