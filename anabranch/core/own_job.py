"""The allocation of this process, read where it runs."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from anabranch.core.allocation import Allocation, Facts, allocation_of
from anabranch.core.machine import granted_cpus, usable_memory
from anabranch.core.processes import host_name

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_SECONDS = 10.0  # a queue that is silent for longer does not hold a program up


def own_allocation() -> Allocation:
    """Return what the batch system has given to this process; may ask the queue, once.

    Raises:
        LaunchError: see `core.allocation.allocation_of`.
    """
    facts = Facts(host_name(), granted_cpus(), usable_memory(), time.time())
    return allocation_of(os.environ, facts, answer, _hosts(os.environ.get("PBS_NODEFILE", "")))


def answer(command: Sequence[str]) -> str | None:
    """Run a command and return what it printed; None when it is missing, failed, or was silent for too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SECONDS, text=True, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _hosts(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
