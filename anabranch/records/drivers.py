"""When the driver of a run counts as gone."""

from __future__ import annotations

from typing import NamedTuple

from anabranch.core.processes import host_name, process_alive

STALE = 60.0  # seconds without a sign of life, from another host


class Driver(NamedTuple):
    """Who drives an unfinished run; `seen` is its last sign of life, in Unix seconds."""

    run: str
    attempt: int
    pid: int
    pid_started: float
    host: str
    seen: float

    def gone(self, now: float) -> bool:
        """On this host: that process is not there any more; elsewhere, or without a pid: silent for too long."""
        if self.pid and self.host == host_name():
            return not process_alive(self.pid, self.pid_started)
        return now - self.seen > STALE

    @property
    def message(self) -> str:
        return f"its driver process {self.pid} on {self.host} is gone"
