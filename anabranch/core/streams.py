"""Streams of a map's values in the order of its items; reading a value lets go of it."""

from __future__ import annotations

from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, Generic, Self

from anabranch.core.failures import exception_of
from anabranch.core.states import CACHED, COMPLETED, FIRST_ENDED, SUCCESSFUL
from anabranch.core.tracebacks import hide
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from anabranch.core.maps import MapRun

BATCH = 4096
_TERMINAL = bytes(code >= FIRST_ENDED for code in range(256))


class _Place:
    """The state of a stream that its generator and its reader share.

    Attributes:
        batch: values to be given, the last one first.
        end: the item behind the batch.
        opened: the map knows of the stream.
        announced: the generator gives None once it is open, before the first value.
    """

    __slots__ = ("announced", "batch", "end", "opened")

    def __init__(self) -> None:
        self.batch: list[Any] = []
        self.end = 0
        self.opened = False
        self.announced = False


class Results(Generic[R_co]):
    """The values of a map in the order of its items: for `for` and for `async for`.

    An `async for` does not hold up the event loop while it waits for an item.
    """

    __slots__ = ("_map", "_place", "_values")

    def __init__(self, map: Any, raise_on_failure: bool, holder: object) -> None:
        self._map: MapRun = map
        self._place: _Place = _Place()
        self._values: Generator[R_co, None, None] = _stream(map, raise_on_failure, holder, self._place)

    def __iter__(self) -> Iterator[R_co]:
        return self._values  # the generator itself: no call of ours between an item and its reader

    def __next__(self) -> R_co:
        try:
            return next(self._values)
        except BaseException as error:
            hide(error)
            raise

    def close(self) -> None:
        """Stop reading, as leaving the loop does."""
        self._values.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R_co:
        map, place = self._map, self._place
        try:
            if not place.opened:
                place.announced = True
                next(self._values)
            index = place.end - len(place.batch)
            if not map.is_terminal(index) and not (map.closed and index >= len(map.codes)):
                await map.scope.pause(map, index)
            return next(self._values)
        except StopIteration:
            raise StopAsyncIteration from None
        except BaseException as error:
            hide(error)
            raise


def _stream(map: MapRun, raise_on_failure: bool, holder: object, place: _Place) -> Generator[Any, None, None]:
    """Yield values one after another; the open generator keeps `holder` alive, and with it the unread values."""
    scope = map.scope
    scope.stream(map, "stream_opened")
    place.opened = True
    batch = place.batch
    end = told = 0  # behind the batch; as far as the engine knows what was given
    finished = False
    try:
        if place.announced:
            yield None
        while True:
            index = end
            if not map.is_terminal(index):
                if not (map.closed and index >= len(map.codes)):
                    scope.wait(map, index, None)
                if index >= len(map.codes):
                    break
                continue
            place.batch = batch = take(map, index, index + _ended(map, index), raise_on_failure)
            place.end = end = index + len(batch)
            scope.stream(map, "give_away", index, end)
            # Values are taken as the reader comes to them: unread ones hold the map back. Each message has its price.
            step = max(1, len(batch) // 8)
            batch.reverse()
            while batch:
                yield from starmap(batch.pop, repeat((), min(step, len(batch))))  # a value that was given is not held
                told = end - len(batch)
                scope.stream(map, "stream_advanced", told)
        if map.error is not None:
            raise map.error
        finished = True
        scope.barrier(map)
    except BaseException as error:
        hide(error)
        raise
    finally:
        if end - len(batch) > told:
            scope.stream(map, "stream_advanced", end - len(batch))
        scope.stream_closed(map, finished)


def _ended(map: MapRun, index: int) -> int:
    """Return how many items from `index` on have ended, up to the size of a batch."""
    codes = map.codes[index : index + BATCH].translate(_TERMINAL)
    running = codes.find(0)
    return len(codes) if running < 0 else running


def take(map: MapRun, lo: int, hi: int, raise_on_failure: bool) -> list[Any]:
    """Return values and exceptions of ended items; those before the first failure when that is to be raised."""
    found: list[Any] = []
    while lo < hi:
        bad = hi if _completed(map, lo, hi) else next((i for i in range(lo, hi) if map.codes[i] not in SUCCESSFUL), hi)
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
