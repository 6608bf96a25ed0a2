"""Limits that programs share: what they are, who holds slots of them, and what a store of them does.

A limit has a name that means something by itself: `tag:NAME` and `task:NAME` hold for task runs, `flow:NAME`
for flow runs, any other for the code that names it with `concurrency` or `rate_limit`. Who holds slots is a
program (its session): it has a lease on them, which ends with its process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEASE_SECONDS = 30.0  # after so long without a sign of life a lease is over, wherever its holder is
RENEW_SECONDS = 10.0
AHEAD_SECONDS = 0.25  # starts under a rate are given out up to so long before their time


@dataclass(frozen=True, slots=True)
class Limit:
    """How many at once, how many starts a second; None: any number."""

    name: str
    slots: int | None = None
    rate: float | None = None
    active: bool = True  # else it is kept, and holds for nobody


class Holder(NamedTuple):
    """A program that takes slots: its session's token, and the process that it lives in."""

    token: str
    host: str
    pid: int
    pid_started: float


@dataclass(slots=True)
class Lease:
    """What one holder has of one limit, and what it waits for."""

    name: str
    holder: Holder
    slots: int = 0
    wanted: int = 0
    unit: int = 1  # the most slots of the wanted ones that are of use only together
    since: float = 0.0  # when it began to wait
    renewed: float = 0.0  # last sign of life, Unix seconds
    ticks: float = 0.0  # the same by the clock of the holder's host that nobody sets


@dataclass(frozen=True, slots=True)
class Ask:
    """Up to `times` times, slots of several limits: each time all of `needs`, or nothing."""

    needs: Mapping[str, int]
    times: int = 1


class Standing(NamedTuple):
    """How a holder stands at one limit: the slots it has, and how many others leave it."""

    slots: int
    keep: int


class Starts(NamedTuple):
    """Starts under a rate: when each may be, in Unix seconds, and when to ask for more."""

    times: list[float]
    again: float


class LimitStore(Protocol):
    """Limits in a record. Each call is one transaction; who is gone loses its leases at the first one after."""

    def limits(self) -> list[Limit]:
        """All limits, by name."""
        ...

    def set(self, limit: Limit) -> None:
        """Make or change a limit; slots that are held stay held."""
        ...

    def delete(self, name: str) -> bool:
        """Forget a limit and its leases; False when there is none."""
        ...

    def leases(self, name: str) -> list[Lease]:
        """Who holds slots of a limit or waits for some, the longest waiting first."""
        ...

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        """Take what is free for each ask, in turn; how many times each was met.

        What is missing the holder waits for from now on, and others see it; it waits for nothing else any more.
        A limit that is not there, or is not active, has room for all.
        """
        ...

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        """Give slots back, and wait for none of these limits any more."""
        ...

    def leave(self, holder: Holder) -> None:
        """Give everything back."""
        ...

    def renew(self, holder: Holder) -> None:
        """A sign of life for all leases of a holder."""
        ...

    def standing(self, holder: Holder) -> dict[str, Standing]:
        """What a holder has, by name; what is missing here it has lost."""
        ...

    def free(self, name: str, token: str = "") -> int:
        """Take slots away from who holds them (all, or the one of this token); how many that were."""
        ...

    def start(self, name: str, count: int = 1) -> Starts:
        """Take up to `count` starts under the limit's rate, each with a time of its own."""
        ...
