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

LATE_SECONDS = 0.05  # starts under a rate that come later than this are lost, so that they do not come together


class Rates:
    """What this program has reserved of starts; used by one thread.

    Args:
        clock: whose wall clock the record's times are by.
        maps: begin runs under rates.
        begin: lets a ticket in that has all its starts.
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
        """The rates may be others: do not wait for the times at which more was to be asked for."""
        self._again.clear()

    def pace(self, waiting: Sequence[Ticket], maps: dict[str, int], now: float) -> float:
        """Reserve starts ahead of their time and hand them out at it; when the next thing is due.

        Args:
            waiting: tickets that are not let in yet.
            maps: by limit, how many starts maps want.
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
        """Starts to come, after asking for more if some are missing and it is of use."""
        times = self._starts.setdefault(name, [])
        if wanted > len(times) and now >= self._again.get(name, 0.0):
            found = self._store.start(name, wanted - len(times))
            shift = time.monotonic() - self._clock.time()
            times += [when + shift for when in found.times]
            self._again[name] = found.again + shift
        return times

    def _started(self, tickets: list[Ticket], name: str) -> None:
        """One start for the first ticket that waits for one."""
        ticket = tickets[0]
        ticket.starts[name] -= 1
        if ticket.starts[name]:
            return
        del ticket.starts[name]
        tickets.pop(0)
        if not ticket.starts:
            self._begin(ticket)


def take_due(times: list[float], now: float) -> int:
    """Take off the starts whose time has come, and say how many of them may begin.

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
