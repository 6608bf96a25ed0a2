"""How often Slurm's controller was asked about jobs, by its own count (`sdiag`).

A `squeue` is one such question; it asks for the partitions too, in a second message, whatever it is to print.
"""

from __future__ import annotations

import re
import subprocess

_COUNT = re.compile(r"^\s*REQUEST_(\w+)\s.*\bcount:(\d+)", re.MULTILINE)
_JOBS = {"JOB_INFO", "JOB_INFO_SINGLE", "JOB_USER_INFO"}


def questions() -> int:
    """Return how often it was asked about jobs, by anybody, since it began to count."""
    told = subprocess.run(["sdiag"], capture_output=True, text=True, check=True).stdout
    counts = _COUNT.findall(told.partition("by user")[0])
    assert counts, told
    return sum(int(count) for name, count in counts if name in _JOBS)
