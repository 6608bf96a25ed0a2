"""The rules by which programs share the slots of a limit, without a place to keep them.

A holder may have all slots while no other wants any. When others wait, each holder keeps its share: the slots divided
by the number of holders and waiters, rounded down. A freed slot goes to the longest waiter. With fewer slots than
holders the share is zero, and slots go round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.limits import AHEAD_SECONDS, LEASE_SECONDS, Lease, Standing, Starts
from anabranch.core.processes import is_here, process_alive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.core.limits import Ask, Holder, Limit


class Now(NamedTuple):
    """One moment by the wall clock, and by this host's monotonic clock."""

    time: float
    ticks: float


def gone(lease: Lease, now: Now) -> bool:
    """Return whether a holder is gone. Here: its process has ended, or stood still too long. Elsewhere: silent."""
    holder = lease.holder
    if is_here(holder.host):
        alive = process_alive(holder.pid, holder.pid_started)
        return not alive or not 0 <= now.ticks - lease.ticks < LEASE_SECONDS
    return now.time - lease.renewed >= LEASE_SECONDS


class Shares:
    """Limits and leases at one moment; `acquire` changes them and notes the changed and the ended leases."""

    def __init__(self, limits: Iterable[Limit], leases: Iterable[Lease], now: Now) -> None:
        self.now = now
        self.capacity = {limit.name: limit.slots for limit in limits if limit.active}
        self.leases: dict[tuple[str, str], Lease] = {}
        self.changed: dict[tuple[str, str], Lease] = {}
        self.ended: set[tuple[str, str]] = set()
        for lease in leases:
            key = (lease.name, lease.holder.token)
            if gone(lease, now):
                self.ended.add(key)
            else:
                self.leases[key] = lease

    # -- taking ----------------------------------------------------------------------------------

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        """See `LimitStore.acquire`."""
        found: list[int] = []
        wanted: dict[str, int] = {}
        units: dict[str, int] = {}
        for ask in asks:
            got = 0
            short: list[str] = []
            while got < ask.times:
                short = [name for name, count in ask.needs.items() if not self._fits(holder, name, count)]
                if short:
                    break
                for name, count in ask.needs.items():
                    self._mine(holder, name).slots += count
                got += 1
            found.append(got)
            for name in short:
                wanted[name] = wanted.get(name, 0) + ask.needs[name] * (ask.times - got)
                units[name] = max(units.get(name, 1), ask.needs[name])
        self._wait(holder, wanted, units)
        return found

    def _mine(self, holder: Holder, name: str) -> Lease:
        """Return the holder's lease, noted as changed."""
        key = (name, holder.token)
        lease = self.leases.get(key)
        if lease is None:
            lease = self.leases[key] = Lease(name, holder)
            self.ended.discard(key)
        self.changed[key] = lease
        lease.renewed, lease.ticks = self.now
        return lease

    def _wait(self, holder: Holder, wanted: dict[str, int], units: dict[str, int]) -> None:
        names = {name for (name, token), lease in self.leases.items() if token == holder.token and lease.wanted}
        for name in names.union(wanted):
            lease = self.leases.get((name, holder.token))
            want, unit = wanted.get(name, 0), units.get(name, 1)
            if lease is not None and (lease.wanted, lease.unit) == (want, unit):
                continue
            lease = self._mine(holder, name)
            if not lease.wanted:
                lease.since = self.now.time
            lease.wanted, lease.unit = want, unit
        self._sweep()

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        """See `LimitStore.release`; slots that were lost before are skipped."""
        for name, count in slots.items():
            if (name, holder.token) in self.leases:
                lease = self._mine(holder, name)
                lease.slots = max(0, lease.slots - count)
                lease.wanted = 0
        self._sweep()

    def _sweep(self) -> None:
        for key, lease in list(self.changed.items()):
            if not lease.slots and not lease.wanted:
                del self.changed[key], self.leases[key]
                self.ended.add(key)

    def _fits(self, holder: Holder, name: str, count: int) -> bool:
        slots = self.capacity.get(name)
        if slots is None:
            return True
        all_of_it = self.of(name)
        mine = self.leases.get((name, holder.token)) or Lease(name, holder)
        since = (mine.since if mine.wanted else self.now.time, holder.token)
        parties = len(all_of_it) + ((name, holder.token) not in self.leases)
        share = max(1, slots // parties)
        ahead = 0
        for lease in all_of_it:
            if lease.holder.token == holder.token or not lease.wanted:
                continue
            if mine.slots >= share or (lease.since, lease.holder.token) < since:
                ahead += min(lease.wanted, max(0, max(share, lease.unit) - lease.slots))
        return sum(lease.slots for lease in all_of_it) + ahead + count <= slots

    # -- looking ---------------------------------------------------------------------------------

    def of(self, name: str) -> list[Lease]:
        return [lease for (of, _), lease in self.leases.items() if of == name]

    def standing(self, holder: Holder) -> dict[str, Standing]:
        """See `LimitStore.standing`."""
        mine = [lease for (_, token), lease in self.leases.items() if token == holder.token]
        return {lease.name: Standing(lease.slots, self._keep(lease)) for lease in mine}

    def _keep(self, mine: Lease) -> int:
        """Return how many slots a holder keeps: all, or its share when a waiter has less than that."""
        slots = self.capacity.get(mine.name)
        if slots is None:
            return mine.slots
        all_of_it = self.of(mine.name)
        share = slots // len(all_of_it)
        hungry = [
            lease.unit for lease in all_of_it
            if lease is not mine and lease.wanted and lease.slots < max(share, lease.unit)
        ]  # fmt: skip
        if not hungry and sum(lease.slots for lease in all_of_it) <= slots:
            return mine.slots
        return min(mine.slots, share, max(0, slots - max(hungry, default=0)))


def next_starts(rate: float, due: float, now: float, count: int) -> tuple[Starts, float]:
    """Return up to `count` starts at an even pace, the first not before `due`, and the time of the next one.

    Starts are handed out only a little ahead of their time, so the death of a holder loses few.
    """
    pace = 1.0 / rate
    if due > now + AHEAD_SECONDS + pace + 1.0:  # the clock was set back, or the rate was raised
        due = now
    times: list[float] = []
    while len(times) < count and due <= now + AHEAD_SECONDS:
        times.append(max(due, now))
        due = times[-1] + pace
    return Starts(times, due - AHEAD_SECONDS), due
