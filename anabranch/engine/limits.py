"""Concurrency limits: by name, by tag, by task.

A chunk runs its items one after another, so it takes one place of each limit, whatever its size. Items of async tasks
run together, so each takes its own. Under a rate every item is a chunk, and no more of them are sent than there are
workers, so that they start at their time.

Some limits are this program's own, others belong to the record, and programs share them. The program has places of a
shared limit only while it holds them: `limits/shared.py` brings them and takes them away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.user_code import is_async

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.lanes import Lane

_ANY = 1 << 30
_MOST_STARTS = 1000  # starts that are counted at a time


class Wanted(NamedTuple):
    """The places that maps wait for, each under all of these limits."""

    names: tuple[str, ...]
    places: int


class Look(NamedTuple):
    """The use of the record's limits in this program.

    Attributes:
        used: places that chunks take now.
        busy: limits with a place taken since the last look.
        wanted: places that maps wait for.
        starts: limits with a rate, and how many items could start at once.
    """

    used: dict[str, int]
    busy: set[str]
    wanted: list[Wanted]
    starts: dict[str, int]


def memory_limit(map: MapRun) -> str:
    """Return the name of the limit on a map that ran out of memory."""
    return f"memory:{map.id}"


class Limits:
    """Places per limit, the number in use, and the maps that wait for one."""

    __slots__ = ("asking", "busy", "capacity", "shared", "starts", "stirred", "used", "waiting")

    def __init__(self) -> None:
        self.capacity: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.waiting: dict[str, dict[str, MapRun]] = {}
        self.shared: dict[str, int] = {}  # of the record: places that are held for this program's maps
        self.starts: dict[str, int] = {}  # of the record, with a rate: starts that may be made now
        self.stirred = False  # a map has begun to wait for a limit of the record
        self.asking: set[str] = set()  # maps that are known to wait
        self.busy: set[str] = set()

    def set(self, name: str, places: int | None) -> list[MapRun]:
        """Allow `places` chunks at once under `name` (None: any number); returns the maps that waited for one."""
        if places is None:
            self.capacity.pop(name, None)
        else:
            self.capacity[name] = places
        return list(self.waiting.pop(name, {}).values())

    def names(self, map: MapRun) -> tuple[str, ...]:
        """Return the set limits that apply to a map."""
        task = f"task:{map.spec.name}"
        own = (task,) if map.options.concurrency_limit or self._of_record(task) else ()
        others = [*(f"tag:{tag}" for tag in map.header.tags), memory_limit(map)]
        return (*own, *(name for name in others if name in self.capacity or self._of_record(name)))

    def _of_record(self, name: str) -> bool:
        return name in self.shared or name in self.starts

    # -- places ----------------------------------------------------------------------------------

    def take(self, map: MapRun) -> bool:
        """Take a place under each of the map's limits, or none and wait."""
        names = map.sending.limits
        if not names:
            return True
        short = self._short(names)
        if short:
            self.waiting.setdefault(short, {})[map.id] = map
            map.queue.waits_under = short
            if map.id not in self.asking and self._of_record(short):
                self.asking.add(map.id)
                self.stirred = True
            return False
        map.queue.waits_under = ""
        for name in names:
            self.used[name] = self.used.get(name, 0) + 1
            if name in self.starts:
                self.starts[name] -= 1
        self.busy.update(names)
        return True

    def _short(self, names: tuple[str, ...]) -> str:
        """Return a limit without a free place, this program's own first; "" when there is none."""
        for name in names:
            if self.used.get(name, 0) >= self.capacity.get(name, _ANY):
                return name
        for name in names:
            if self.used.get(name, 0) >= self.shared.get(name, _ANY):
                return name
        return next((name for name in names if self.starts.get(name, 1) < 1), "")

    def paced(self, map: MapRun) -> bool:
        """Return whether starts of the map's items count under a rate."""
        return any(name in self.starts for name in map.sending.limits)

    def most(self, map: MapRun) -> int:
        """Return how many items a chunk with one taken place may have."""
        if self.paced(map):
            return 1
        if not _together(map):
            return _ANY
        left = [min(self.capacity.get(n, _ANY), self.shared.get(n, _ANY)) - self.used[n] for n in map.sending.limits]
        return min(map.options.async_concurrency, 1 + max(0, min(left)))

    def fill(self, map: MapRun, items: int) -> int:
        """Take the other places that a chunk of so many items needs; returns how many it has then."""
        if items == 1 or not _together(map):
            return 1
        for name in map.sending.limits:
            self.used[name] += items - 1
        return items

    def give_back(self, names: tuple[str, ...], places: int = 1) -> list[MapRun]:
        """Give places back; returns the maps that waited for one of them."""
        woken: dict[str, MapRun] = {}
        for name in names:
            left = self.used.get(name, 0) - places
            if left > 0:
                self.used[name] = left
            else:
                self.used.pop(name, None)
            woken.update(self.waiting.pop(name, {}))
        return list(woken.values())

    # -- limits of the record --------------------------------------------------------------------

    def apply(self, slots: Collection[str], rates: Collection[str]) -> list[MapRun]:
        """Let these limits of the record hold from now on, and no others; returns the maps that waited for one."""
        before = {*self.shared, *self.starts}
        self.shared = {name: self.shared.get(name, 0) for name in slots}
        self.starts = {name: self.starts.get(name, 0) for name in rates}
        return self._woken(before)

    def look(self, lanes: Sequence[Lane]) -> Look:
        """Return the use of the record's limits; no more places of them are taken until `open`."""
        found = {m.id: m for name in (*self.shared, *self.starts) for m in self.waiting.get(name, {}).values()}
        wanted: list[Wanted] = []
        starts: dict[str, int] = {}
        for map in found.values():
            if any(self.used.get(name, 0) >= self.capacity.get(name, _ANY) for name in map.sending.limits):
                continue  # it waits for a limit of this program
            lane = lanes[map.sending.lane]
            names = tuple(name for name in map.sending.limits if name in self.shared)
            rates = [name for name in map.sending.limits if name in self.starts]
            width = lane.slots * (map.options.async_concurrency if _together(map) else 1)
            ready = _ready(map, width)
            for name in rates:
                starts[name] = starts.get(name, 0) + _ready(map, _MOST_STARTS)
            if names:
                room = width - self.used.get(names[0], 0)
                wanted.append(Wanted(names, min(ready, 1 if rates else room)))
        used = {name: self.used.get(name, 0) for name in self.shared}
        self.asking.intersection_update(found)
        look = Look(used, self.busy, [w for w in wanted if w.places > 0], starts)
        self.busy = set()
        self.shared.update(used)
        return look

    def open(self, places: Mapping[str, int], starts: Mapping[str, int]) -> list[MapRun]:
        """Set the places and starts that the program has; returns the maps that waited for one."""
        self.shared.update((name, count) for name, count in places.items() if name in self.shared)
        self.starts.update((name, count) for name, count in starts.items() if name in self.starts)
        found = [name for name, count in places.items() if count > self.used.get(name, 0)]
        return self._woken([*found, *(name for name, count in starts.items() if count)])

    def _woken(self, names: Collection[str]) -> list[MapRun]:
        woken: dict[str, MapRun] = {}
        for name in names:
            woken.update(self.waiting.pop(name, {}))
        return list(woken.values())


def _together(map: MapRun) -> bool:
    """Return whether items of a chunk run at the same time."""
    spec = map.spec
    return is_async(spec.fn) if spec.isasync is None else spec.isasync


def _ready(map: MapRun, most: int) -> int:
    """Return how many items could be sent, up to `most`."""
    count = 0
    for lo, hi, _ in map.queue.ready:
        count += hi - lo
        if count >= most:
            return most
    return count
