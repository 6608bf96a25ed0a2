"""Concurrency limits within a program: by name, by tag, by task.

A chunk runs its items one after another, so it takes one place of each limit, however many
items it has; only async tasks, whose items run together, are sent in smaller chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun


class Limits:
    """Places per limit, who holds how many, and which maps wait for one."""

    __slots__ = ("capacity", "used", "waiting")

    def __init__(self) -> None:
        self.capacity: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.waiting: dict[str, dict[str, MapRun]] = {}

    def set(self, name: str, places: int | None) -> list[MapRun]:
        """Allow `places` chunks at once under `name` (None: any number); gives the maps that waited for one."""
        if places is None:
            self.capacity.pop(name, None)
        else:
            self.capacity[name] = places
        return list(self.waiting.pop(name, {}).values())

    def names(self, map: MapRun) -> tuple[str, ...]:
        """The limits that apply to a map, of those that are set."""
        own = (f"task:{map.spec.name}",) if map.options.concurrency_limit else ()
        tagged = tuple(f"tag:{tag}" for tag in map.tags if f"tag:{tag}" in self.capacity)
        return (*own, *tagged)

    def take(self, map: MapRun) -> bool:
        """Take a place under each of the map's limits, or none and wait."""
        names = map.limits
        for name in names:
            if self.used.get(name, 0) >= self.capacity.get(name, 1 << 30):
                self.waiting.setdefault(name, {})[map.id] = map
                return False
        for name in names:
            self.used[name] = self.used.get(name, 0) + 1
        return True

    def give_back(self, names: tuple[str, ...], places: int = 1) -> list[MapRun]:
        """Return places; gives the maps that waited for one of them."""
        woken: dict[str, MapRun] = {}
        for name in names:
            left = self.used.get(name, 0) - places
            if left > 0:
                self.used[name] = left
            else:
                self.used.pop(name, None)
            woken.update(self.waiting.pop(name, {}))
        return list(woken.values())
