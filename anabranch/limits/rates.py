"""Starts under rates: reserved in the record ahead of their time, and handed out at it."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import LimitStore
    from anabranch.limits.known import LimitedWork
    from anabranch.limits.tickets import Ticket

LATE_SECONDS = 0.05  # starts that are later than this are lost, so that they do not come together


class Rates:
    """The starts that this program has reserved; used by one thread.

    Args:
        clock: its wall clock is that of the record's times.
        maps: the maps that begin runs under rates.
        begin: grants a ticket that has all its starts.
    """

    def __init__(
        self, store: LimitStore, clock: Clock, maps: LimitedWork, begin: Callable[[Ticket], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._maps = maps
        self._begin = begin
        self._starts: dict[str, list[float]] = {}  # by limit: monotonic times still to come
        self._again: dict[str, float] = {}  # by limit: when to ask for more

    def ask_anew(self) -> None:
        """Forget the times of the next requests, because the rates may have changed."""
        self._again.clear()

    def pace(self, waiting: Sequence[Ticket], maps: dict[str, int], now: float) -> float:
        """Reserve starts ahead of their time and hand them out at it; returns the next due time.

        Args:
            waiting: tickets that are not granted yet.
            maps: by limit, the number of starts that maps want.
        """
        queues: dict[str, list[Ticket]] = {}
        for ticket in waiting:
            for name in ticket.starts if ticket.held else ():
                queues.setdefault(name, []).append(ticket)
        due = math.inf
        opened: dict[str, int] = {}
        for name in {*queues, *maps, *self._starts}:
            tickets = queues.get(name, [])
            wanted = sum(ticket.starts[name] for ticket in tickets) + maps.get(name, 0)
            times = self._reserve(name, wanted, now)
            opened[name] = 0
            for _ in range(take_due(times, time.monotonic())):  # one that is not taken at its time is lost
                wanted -= 1
                if tickets:
                    self._started(tickets, name)
                elif maps.get(name, 0) > opened[name]:
                    opened[name] += 1
            due = min([due, *times[:1], *([self._again[name]] if wanted > len(times) else [])])
            if not times:
                del self._starts[name]
        if opened:
            self._maps.open_limits({}, opened)
        return due

    def _reserve(self, name: str, wanted: int, now: float) -> list[float]:
        """Return the coming starts, after a request for more if some are missing and the request may help."""
        times = self._starts.setdefault(name, [])
        if wanted > len(times) and now >= self._again.get(name, 0.0):
            found = self._store.start(name, wanted - len(times))
            shift = time.monotonic() - self._clock.time()
            times += [when + shift for when in found.times]
            self._again[name] = found.again + shift
        return times

    def _started(self, tickets: list[Ticket], name: str) -> None:
        """Give one start to the first ticket that waits for one."""
        ticket = tickets[0]
        ticket.starts[name] -= 1
        if ticket.starts[name]:
            return
        del ticket.starts[name]
        tickets.pop(0)
        if not ticket.starts:
            self._begin(ticket)


def take_due(times: list[float], now: float) -> int:
    """Take off the starts that are due, and return how many of them may begin.

    Starts that fell due while this thread did not run would begin all at once, above the rate. Those that are more
    than LATE_SECONDS late are lost. The last of them is not, so that a program that is always late gets on.

    Args:
        times: times of reserved starts, rising; those up to `now` are taken off.
        now: seconds, of the same clock.
    """
    due = bisect_right(times, now)
    lost = min(bisect_left(times, now - LATE_SECONDS), max(0, due - 1))
    del times[:due]
    return due - lost
