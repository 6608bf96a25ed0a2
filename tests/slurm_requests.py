"""What Slurm's controller was asked, by its own count (`sdiag`)."""

from __future__ import annotations

import re
import subprocess

_TYPE = re.compile(r"^\s*(REQUEST_\w+)\s.*\bcount:(\d+)", re.MULTILINE)
_QUEUE = re.compile(r"REQUEST_(JOB_INFO|JOB_INFO_SINGLE|JOB_USER_INFO|JOB_STEP_INFO|PARTITION_INFO|NODE_INFO)")


def questions() -> int:
    """Return how often it was asked about jobs, partitions and nodes, by anybody, since it began to count."""
    told = subprocess.run(["sdiag"], capture_output=True, text=True, check=True).stdout
    counts = {name: int(count) for name, count in _TYPE.findall(told.partition("by user")[0])}
    assert counts, told
    return sum(count for name, count in counts.items() if _QUEUE.fullmatch(name))
