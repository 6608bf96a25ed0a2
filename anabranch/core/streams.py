"""Streams of a map's values in the order of its items; reading a value lets go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.failures import exception_of
from anabranch.core.states import CACHED, COMPLETED, FIRST_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.maps import MapRun

_SUCCESS = (COMPLETED, CACHED)


def stream(map: MapRun, raise_on_failure: bool, holder: object) -> Iterator[Any]:
    """Yield values one after another; the open generator keeps `holder` alive, and with it the unread values."""
    scope = map.scope
    scope.stream(map, "stream_opened")
    index = told = 0
    finished = False
    try:
        while True:
            if not map.is_terminal(index):
                if not (map.closed and index >= len(map.codes)):
                    scope.wait(map, index, None)
                if index >= len(map.codes):
                    break
                continue
            stop = index
            while stop < len(map.codes) and map.codes[stop] >= FIRST_TERMINAL and stop - index < 4096:
                stop += 1
            batch = take(map, index, stop, raise_on_failure)
            scope.stream(map, "give_away", index, index + len(batch))
            # Values are taken as the reader comes to them: unread ones hold the map back. Each message has its price.
            step = max(1, len(batch) // 8)
            batch.reverse()
            while batch:
                yield batch.pop()
                index += 1
                if index - told >= step or not batch:
                    scope.stream(map, "stream_advanced", index)
                    told = index
        if map.error is not None:
            raise map.error
        finished = True
        scope.barrier()
    finally:
        if index > told:
            scope.stream(map, "stream_advanced", index)
        scope.stream_closed(map, finished)


def take(map: MapRun, lo: int, hi: int, raise_on_failure: bool) -> list[Any]:
    """Return values and exceptions of ended items; those before the first failure when that is to be raised."""
    found: list[Any] = []
    while lo < hi:
        bad = hi if _completed(map, lo, hi) else next((i for i in range(lo, hi) if map.codes[i] not in _SUCCESS), hi)
        if bad > lo:
            try:
                more = map.scope.values(map, lo, bad)
                found = found + more if found else more  # a million values are not copied into a second list
            except Exception:
                if _completed(map, lo, bad):
                    raise
                continue  # a value was lost meanwhile, and its item failed when it ran again
        if bad < hi:
            if map.codes[bad] <= CACHED:  # its value was lost since; the item runs again, or has
                map.scope.wait(map, bad, None)
                lo = bad
                continue
            if raise_on_failure and found:
                return found
            map.mark_handled(bad)
            if raise_on_failure:
                raise exception_of(map, bad)
            found.append(exception_of(map, bad))
        lo = bad + 1
    return found


def _completed(map: MapRun, lo: int, hi: int) -> bool:
    codes = map.codes[lo:hi]
    return codes.count(COMPLETED) + codes.count(CACHED) == hi - lo
