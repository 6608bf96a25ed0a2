"""Limits that programs share: the limits, the leases on their slots, and the contract of a store of them.

The name of a limit says what it holds for: `tag:NAME` and `task:NAME` for task runs, `flow:NAME` for flow runs, any
other for the code that names it with `concurrency` or `rate_limit`. The holder of slots is a program (its session).
It has a lease on them, which ends with its process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEASE_SECONDS = 30.0  # without a sign of life for so long, a lease is over
RENEW_SECONDS = 10.0
AHEAD_SECONDS = 0.25  # starts under a rate are handed out up to so long before their time


@dataclass(frozen=True, slots=True)
class Limit:
    """How many runs at once, how many starts a second; None: any number."""

    name: str
    slots: int | None = None
    rate: float | None = None
    active: bool = True  # an inactive limit is kept and does not limit


class Holder(NamedTuple):
    """A program that takes slots: its session's token, and its process."""

    token: str
    host: str
    pid: int
    pid_started: float


@dataclass(slots=True)
class Lease:
    """The slots of one limit that a holder has and waits for."""

    name: str
    holder: Holder
    slots: int = 0
    wanted: int = 0
    unit: int = 1  # how many of the wanted slots are of use only together
    since: float = 0.0  # when it began to wait
    renewed: float = 0.0  # last sign of life, Unix seconds
    ticks: float = 0.0  # the same by the monotonic clock of the holder's host


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for slots of several limits, up to `times` times: each time all of `needs`, or nothing."""

    needs: Mapping[str, int]
    times: int = 1


class Standing(NamedTuple):
    """The slots that a holder has of one limit, and how many the other holders leave it."""

    slots: int
    keep: int


class Starts(NamedTuple):
    """Starts under a rate: the time of each, in Unix seconds, and when to ask for more."""

    times: list[float]
    again: float


class LimitStore(Protocol):
    """Limits in a record. Each call is one transaction; the first after a holder dies removes its leases."""

    def limits(self) -> list[Limit]:
        """Return all limits, by name."""
        ...

    def set(self, limit: Limit) -> None:
        """Make or change a limit; slots that are held stay held."""
        ...

    def delete(self, name: str) -> bool:
        """Forget a limit and its leases; False when there is none."""
        ...

    def leases(self, name: str) -> list[Lease]:
        """Return the leases of a limit, held or waiting, the longest waiting first."""
        ...

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        """Take the free slots for each ask, in turn; returns how many times each was met.

        From now on the holder waits for the missing slots, visibly to others, and for no others. A limit that does not
        exist, or is not active, has room for all.
        """
        ...

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        """Give slots back, and stop waiting for these limits."""
        ...

    def leave(self, holder: Holder) -> None:
        """Give everything back."""
        ...

    def renew(self, holder: Holder) -> None:
        """Renew all leases of a holder."""
        ...

    def standing(self, holder: Holder) -> dict[str, Standing]:
        """Return the standing of a holder at its limits, by name; limits that are missing here it has lost."""
        ...

    def free(self, name: str, token: str = "") -> int:
        """Take slots away from all holders, or from the one with this token; returns how many."""
        ...

    def start(self, name: str, count: int = 1) -> Starts:
        """Take up to `count` starts under the limit's rate, each with a time of its own."""
        ...
