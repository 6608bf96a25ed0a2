"""Identity of processes: pids are reused, so a start time goes with each."""

from __future__ import annotations

import os
import uuid
import zlib
from functools import cache

from anabranch.core import forks

# Linux counts a process's start in these ticks since the machine started.
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Start times are stored as floats, and some pass through text.
_SAME = 0.5 / _TICKS
_token = uuid.uuid4().hex


def _renew() -> None:
    global _token
    _token = uuid.uuid4().hex


forks.in_copies(_renew)


def process_token() -> str:
    """Return a word of this process that no other has, on any machine; a forked copy has one of its own."""
    return _token


def host_name() -> str:
    """Return this machine's name."""
    return os.uname().nodename


def host_id() -> str:
    """Return this host as runs record it: the machine's name, and a word of the pids that are seen here.

    The name alone would let containers of one name, or a machine after its restart, judge each other's processes.
    """
    space = pid_space()
    return f"{host_name()}/{zlib.crc32(space.encode()):08x}" if space else host_name()


def is_here(host: str) -> bool:
    """Return whether the pids of a recorded host are those seen here; earlier versions recorded the name alone."""
    return host in (host_id(), host_name())


def machine_of(host: str) -> str:
    """Return the name of a recorded host's machine, for people."""
    return host.partition("/")[0]


@cache
def pid_space() -> str:
    """Return what tells the pids seen here from those elsewhere: this start of a machine, and its namespace of pids.

    Two containers may have one host name, and a process of the one has no pid in the other. "" where it is not known.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}\n{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


forks.in_copies(pid_space.cache_clear)


def process_started(pid: int) -> float:
    """Return the seconds from the machine's start to the process's; 0.0 when there is none or it is not known.

    It tells processes of one pid apart. It is no time of day: setting the wall clock does not change it.
    """
    fields = _stat(pid)
    return int(fields[19]) / _TICKS if fields else 0.0


def process_alive(pid: int, started: float = 0.0) -> bool:
    """Return whether process `pid` runs and has this start time, of `process_started` (0.0: any).

    A zombie, which has ended and waits for its parent to notice, is not alive. Without /proc the start time cannot be
    compared, and any process of that pid counts.
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
    """Return whether a signal or a debugger has stopped the process; one that computes or waits is not stopped."""
    return _stat(pid)[:1] in (["T"], ["t"])


def _stat(pid: int) -> list[str]:
    """Return /proc/<pid>/stat from its third field (the state) on; empty when it cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The second field, the name in brackets, may contain blanks and brackets.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
