"""Maps outside of flows that go on although their lists are gone: the next map that waits behind one says so, once.

    load.map(days)            its list is dropped at once; its items go on, for what they do
    save.map(other)           waits behind them: one line tells how much is left, and how to cancel it
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.maps import MapRun


class DroppedLists:
    """Of one program.

    Args:
        warn: shows a line.
        in_place: returns a function that runs where the present code's output is shown (a notebook's cell).
        later: calls a function soon, in another thread; may be asked from a finalizer.
    """

    def __init__(
        self, warn: Callable[[str], None], in_place: Callable[[Callable[[], None]], Callable[[], None]],
        later: Callable[[Callable[[], None]], None],
    ) -> None:  # fmt: skip
        self._warn = warn
        self._in_place = in_place
        self._later = later
        self._gone: deque[MapRun] = deque()
        self._newest: weakref.ref[MapRun] | None = None
        self._lock = threading.Lock()  # of those that take from `_gone`; a finalizer only adds

    def gone(self, map: MapRun) -> None:
        """Take in that the list of a map under way is gone; perhaps in a finalizer, so without a lock."""
        map.header.dropped = True
        if not _of_program(map):
            return
        self._gone.append(map)
        newest = None if self._newest is None else self._newest()
        if newest is not None and newest is not map:  # the name of the old list was given to the new one
            self._later(self._in_place(self._tell))

    def watch(self, scope: Any, map: MapRun) -> None:
        """Take in a new map; a watcher for `Program.watchers`."""
        del scope
        if _of_program(map):
            self._newest = weakref.ref(map)
            if self._gone:
                self._tell()

    def _tell(self) -> None:
        newest = None if self._newest is None else self._newest()
        if newest is None or newest.finished:
            return
        with self._lock:
            seen = [self._gone.popleft() for _ in range(len(self._gone))]
            behind = [map for map in seen if map.unheld and _is_behind(newest, map)]
            self._gone.extend(map for map in seen if map.unheld and map not in behind)
        if behind:
            self._warn(_told(behind, newest))


def _is_behind(newest: MapRun, map: MapRun) -> bool:
    """Return whether the newest map waits for items of an earlier one that were not sent yet."""
    earlier = map.header.serial < newest.header.serial
    return earlier and map.sending.lane == newest.sending.lane and _left(map) > map.queue.sent


def _of_program(map: MapRun) -> bool:
    """Return whether a map was made outside of flows and tasks."""
    return map.kind == "map" and not map.header.flow_run_id and not map.header.parent_id


def _left(map: MapRun) -> int:
    return len(map.codes) - map.done


def _told(behind: list[MapRun], newest: MapRun) -> str:
    names = ", ".join(repr(map.spec.name) for map in behind[:3]) + (", ..." if len(behind) > 3 else "")
    left, total = sum(_left(one) for one in behind), sum(len(one.codes) for one in behind)
    which = f"Map {names} is" if len(behind) == 1 else f"Maps {names} are"
    return (
        f"{which} under way and nobody holds the list any more: {left:,} of {total:,} items are left, and "
        f"{newest.spec.name!r} waits behind them. To cancel: for fs in anabranch.running(held=False): fs.cancel()"
    )
