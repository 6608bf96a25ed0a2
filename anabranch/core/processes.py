"""Whether a process is still the one that was meant: pids are reused, so a start time goes with them."""

from __future__ import annotations

import os

# Linux counts a process's start in these since the machine started.
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Start times are stored as floats, perhaps as text in between.
_SAME = 0.5 / _TICKS


def host_name() -> str:
    """This machine's name as runs record it."""
    return os.uname().nodename


def process_started(pid: int) -> float:
    """Seconds from the start of the machine to the start of a process; 0.0 when there is none or nobody says.

    It is a mark to tell processes of one pid apart, not a time of day: setting the wall clock does not move it.
    """
    fields = _stat(pid)
    return int(fields[19]) / _TICKS if fields else 0.0


def process_alive(pid: int, started: float = 0.0) -> bool:
    """Whether process `pid` runs and is the one that `process_started` gave `started` for (0.0: any).

    A process that has ended and waits for its parent to notice (a zombie) is not alive. Where there is no
    /proc the start time cannot be compared, and any process of that pid counts.
    """
    if pid <= 0:
        return False
    fields = _stat(pid)
    if fields:
        same = not started or abs(int(fields[19]) / _TICKS - started) <= _SAME
        return same and fields[0] not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def process_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process; one that computes or waits is not, however long."""
    return _stat(pid)[:1] in (["T"], ["t"])


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from its third field (the state) on; empty when it cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name before it, in brackets, may hold blanks and brackets itself.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
