"""Lines about failed attempts: single runs have one each, a map one group at its end.

    a worker: "attempt failed, retry 1/3" --reports--> `shows`: of a map's item? ---> the record alone
                                                          of a single run, or asked for ---> handlers too
    the end of a map ---------------------------------> `tell_end`: "250 of 5,000 failed: ..."

A map of 5,000 items of which one in twenty fails would else write hundreds of lines into the cell that waits for it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from anabranch.core.log_lines import ATTEMPT, LogLine
from anabranch.core.states import failed_in
from anabranch.driver.run_logs import LOGGED_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.core.maps import MapRun

REMARKS = 3  # remarks about items of a map that are shown, such as that a hook raised
GROUPS = 5  # groups of failures with a line of their own


class ItemLines:
    """Decides which lines about task runs the program's handlers get, and tells of a map's failures at its end.

    Args:
        maps: the maps of the program, by id.
        grouped: returns a map's failures in groups, a line each, at most so many.
        in_place: returns a function that runs where the present code's output is shown (a notebook's cell).
        put: runs a piece of work on the callback thread.
        emit: takes log lines.
    """

    def __init__(
        self, maps: Mapping[str, MapRun], grouped: Callable[[MapRun, int], list[str]],
        in_place: Callable[[Callable[[], None]], Callable[[], None]],
        put: Callable[[Callable[[], object]], None], emit: Callable[[list[LogLine], int], None],
    ) -> None:  # fmt: skip
        self._maps = maps
        self._grouped = grouped
        self._in_place = in_place
        self._put = put
        self._emit = emit
        self._seen: WeakKeyDictionary[MapRun, int] = WeakKeyDictionary()
        self._told: WeakSet[MapRun] = WeakSet()
        self._tell_there: WeakKeyDictionary[MapRun, Callable[[], None]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def shows(self, line: LogLine) -> bool:
        """Return whether the handlers get this line; the record has all of them."""
        map = self._maps.get(line.map_id) if line.about else None
        if map is None or map.header.log_items:
            return True
        if map.header.unshown:
            return False
        of_map = map.kind == "map"
        if of_map and line.about == ATTEMPT:
            return False
        seen = self._seen[map] = self._seen.get(map, 0) + 1
        most = REMARKS if of_map else LOGGED_RUNS
        if seen == most + 1:
            text = f"more lines like these about runs of {map.spec.name!r} are in the record only"
            self._emit([self._line(map, logging.WARNING, text)], 0)
        return seen <= most

    def watch(self, scope: Any, map: MapRun) -> None:
        """Tell of a new map's failures when it ends; a watcher for `Program.watchers`."""
        self.show_here(map)

        def ended() -> None:  # under no lock, but in a thread that has other things to do
            tell = self._tell_there.pop(map)
            if map.attempts or failed_in(map.codes):
                self._put(functools.partial(_call_with, tell, map))

        scope.on_end(map, None, ended)

    def show_here(self, map: MapRun) -> None:
        """Tell of a map's failures where the present code's output is shown."""
        self._tell_there[map] = self._in_place(functools.partial(self._tell_of, weakref.ref(map)))

    def _tell_of(self, held: weakref.ref[MapRun]) -> None:
        if (map := held()) is not None:
            self.tell_end(map)

    def tell_end(self, map: MapRun) -> None:
        """Tell once of the failures and retries of a map that has ended.

        A second call, from another thread, returns when they were told: a cell that waited has them above what it
        prints next.
        """
        if map.kind != "map" or map.header.unshown or not map.finished or not (map.attempts or failed_in(map.codes)):
            return
        with self._lock:
            if map in self._told:
                return
            self._told.add(map)
            if (line := self._end_line(map)) is not None:
                self._emit([line], 0)

    def _end_line(self, map: MapRun) -> LogLine | None:
        failed, total, again = failed_in(map.codes), len(map.codes), tried_again(map)
        if not failed:
            return self._line(map, logging.INFO, f"{again:,} of {total:,} items were tried again") if again else None
        groups = self._grouped(map, GROUPS)
        many = f"{failed:,} of {total:,} failed" + (f", {again:,} were tried again" if again else "")
        text = f"{many}: {groups[0]}" if len(groups) == 1 else "\n    ".join([f"{many}:", *groups])
        return self._line(map, logging.WARNING, text)

    def _line(self, map: MapRun, level: int, text: str) -> LogLine:
        who = f"Map {map.spec.name!r}" if map.kind == "map" else f"Task {map.spec.name!r}"
        return LogLine(time.time(), level, who, text, map.header.flow_run_id, map.id, -1)


def _call_with(tell: Callable[[], None], held: MapRun) -> None:
    """Call `tell`, which knows the map weakly; it is held until then."""
    tell()


def tried_again(map: MapRun) -> int:
    """Return how many items failed and were tried again, whatever became of them; lost workers do not count."""
    return sum(map.counted(index) > 1 for index in tuple(map.attempts))
