"""Limits that live as long as their object: for sessions with a record in memory."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core.errors import RecordsError
from anabranch.core.limits import Starts
from anabranch.records.shares import Now, Shares, next_starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import Ask, Holder, Lease, Limit, Standing


class MemoryLimits:
    """`LimitStore` in memory; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits: dict[str, Limit] = {}
        self._leases: dict[tuple[str, str], Lease] = {}
        self._due: dict[str, float] = {}

    def limits(self) -> list[Limit]:
        with self._lock:
            return sorted(self._limits.values(), key=lambda limit: limit.name)

    def set(self, limit: Limit) -> None:
        with self._lock:
            self._limits[limit.name] = limit

    def delete(self, name: str) -> bool:
        with self._lock:
            self._leases = {key: lease for key, lease in self._leases.items() if key[0] != name}
            self._due.pop(name, None)
            return self._limits.pop(name, None) is not None

    def leases(self, name: str) -> list[Lease]:
        with self._lock:
            found = [replace(lease) for lease in self._shares().of(name)]
        return sorted(found, key=lambda lease: (lease.since, lease.holder.token))

    def acquire(self, holder: Holder, asks: Sequence[Ask]) -> list[int]:
        with self._lock:
            shares = self._shares()
            found = shares.acquire(holder, asks)
            self._leases = shares.leases
        return found

    def release(self, holder: Holder, slots: Mapping[str, int]) -> None:
        with self._lock:
            shares = self._shares()
            shares.release(holder, slots)
            self._leases = shares.leases

    def leave(self, holder: Holder) -> None:
        with self._lock:
            self._leases = {key: lease for key, lease in self._leases.items() if key[1] != holder.token}

    def renew(self, holder: Holder) -> None:
        with self._lock:
            for (_, token), lease in self._leases.items():
                if token == holder.token:
                    lease.renewed, lease.ticks = self._now()

    def standing(self, holder: Holder) -> dict[str, Standing]:
        with self._lock:
            return self._shares().standing(holder)

    def free(self, name: str, token: str = "") -> int:
        with self._lock:
            found = [key for key in self._leases if key[0] == name and token in ("", key[1])]
            return sum(self._leases.pop(key).slots for key in found)

    def start(self, name: str, count: int = 1) -> Starts:
        with self._lock:
            now, limit = self._clock.time(), self._limits.get(name)
            if limit is None or limit.rate is None or not limit.active:
                return Starts([now] * count, now)
            starts, self._due[name] = next_starts(limit.rate, self._due.get(name, 0.0), now, count)
        return starts

    def _now(self) -> Now:
        return Now(self._clock.time(), self._clock.monotonic())

    def _shares(self) -> Shares:
        return Shares(self._limits.values(), self._leases.values(), self._now())


class NoLimits(MemoryLimits):
    """`LimitStore` of a record that cannot keep limits: one in files of several machines."""

    def set(self, limit: Limit) -> None:
        """Raise RecordsError: programs on several machines share limits through a server only."""
        raise RecordsError(
            f"limit {limit.name!r}: records on a network file system have no limits that programs share; use "
            "records = postgresql://user@host/database"
        )
