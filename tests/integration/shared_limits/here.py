"""A session whose record has limits that others hold too, and how a test waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch import settings
from anabranch.core.limits import Ask, Holder, Limit
from anabranch.core.processes import host_name, process_started
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT = 20.0


class Asked:
    """Passes on to a store of limits, and counts what it is asked."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.store, name)


class Here:
    """A session whose record has limits that somebody else may hold."""

    def __init__(self, home: Path, runner: Any) -> None:
        self.records: Any = MemoryRecords()
        self.limits = self.records.limits
        self.asked = Asked(self.limits)
        setattr(self.records, "limits", self.asked)  # noqa: B010
        chosen = settings.load({}, home=home, runner=runner, progress=False)
        self.session = sessions.Session(chosen, records=self.records)
        self.other = Holder("other", host_name(), self.session.process.pid, process_started(self.session.process.pid))

    def limit(self, name: str, slots: int | None = None, rate: float | None = None, active: bool = True) -> None:
        self.limits.set(Limit(name, slots, rate, active))
        self.session.limits.refresh()

    def held(self, name: str) -> int:
        return sum(lease.slots for lease in self.limits.leases(name) if lease.holder != self.other)

    def waits(self, name: str) -> bool:
        return any(lease.wanted for lease in self.limits.leases(name))

    def take(self, name: str, count: int = 1) -> None:
        assert self.limits.acquire(self.other, [Ask({name: count})]) == [1]

    def give(self, name: str, count: int = 1) -> None:
        self.limits.release(self.other, {name: count})


def until(check: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)
