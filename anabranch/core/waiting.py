"""Waiting for several futures: `wait` and `as_completed`, over single futures and whole lists."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar, overload

from anabranch.core.future_lists import FutureList
from anabranch.core.future_sets import FutureSet, Part, marked
from anabranch.core.futures import Future
from anabranch.core.showing import drawn
from anabranch.core.states import CACHED, FIRST_ENDED
from anabranch.core.tracebacks import hide
from anabranch.core.waiter import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, MutableSet, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.scopes import ScopePort

ALL_COMPLETED: Final = "ALL_COMPLETED"
FIRST_COMPLETED: Final = "FIRST_COMPLETED"
FIRST_EXCEPTION: Final = "FIRST_EXCEPTION"
When = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


_T = TypeVar("_T")


class DoneAndNotDone(NamedTuple, Generic[_T]):
    """The result of `wait`: sets of futures, as in `concurrent.futures`; for future lists, a `FutureSet`."""

    done: MutableSet[Future[_T]]
    not_done: MutableSet[Future[_T]]

    def _repr_html_(self) -> str | None:
        return drawn(self)


class _Asked:
    """The awaited runs: maps, of each all items or those with a mark, and single futures of other maps."""

    def __init__(self, given: Any) -> None:
        self.maps: dict[MapRun, tuple[FutureList, bytearray | None]] = {}
        self.singles: dict[Future, None] = {}
        self._add(given)
        for future in [one for one in self.singles if self._covered(one)]:
            del self.singles[future]

    def _add(self, given: Any) -> None:
        if isinstance(given, Future):
            self.singles[given] = None
        elif isinstance(given, FutureList):
            self.maps[given._map] = (given, None)
        elif isinstance(given, FutureSet):
            for part in given.parts:
                self._add_part(part)
            self.singles.update(dict.fromkeys(given.singles))
        elif isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
            raise TypeError(f"wait and as_completed take futures, got {type(given).__name__}: {given!r:.80}")
        else:
            for one in given:
                self._add(one)

    def _add_part(self, part: Part) -> None:
        known = self.maps.get(part.futures._map)
        if known is None:
            self.maps[part.futures._map] = (part.futures, bytearray(part.marks))
        elif known[1] is not None:
            longer = max(len(known[1]), len(part.marks))
            both = [marks.ljust(longer, b"\0") for marks in (known[1], part.marks)]
            self.maps[part.futures._map] = (part.futures, bytearray(map(max, *both)))

    def _covered(self, future: Future) -> bool:
        known = self.maps.get(future._map)
        if known is None:
            return False
        return known[1] is None or (future._index < len(known[1]) and known[1][future._index] == 1)

    def scope(self) -> ScopePort | None:
        """Return the scope of one of the runs; None when there are none."""
        return next((one.scope for one in (*self.maps, *(future._map for future in self.singles))), None)

    def interrupted(self) -> None:
        """Tell the scopes that Ctrl-C came during the wait."""
        scope = self.scope()
        if scope is None:
            return
        singles = ((future._map, future._index) for future in self.singles)
        scope.interrupted([*((map, None) for map in self.maps), *singles])

    def parted(self) -> DoneAndNotDone[Any]:
        """Return the futures in two sets, ended and not."""
        done = {future for future in self.singles if future.done()}
        rest = {future for future in self.singles if future not in done}
        if not self.maps:
            return DoneAndNotDone(done, rest)
        ended, left = [], []
        for map, (futures, marks) in self.maps.items():
            codes = map.scope.moment(map).codes
            ended.append(Part(futures, _both(codes.translate(_ENDED), marks)))
            left.append(Part(futures, _both(codes.translate(_OPEN), marks)))
        return DoneAndNotDone(FutureSet(ended, done), FutureSet(left, rest))


_ENDED = bytes(code >= FIRST_ENDED for code in range(256))
_OPEN = bytes(code < FIRST_ENDED for code in range(256))
_BAD = bytes(code > CACHED for code in range(256))


def _both(found: bytearray, marks: bytearray | None) -> bytearray:
    """Return the marks that are in both; those of `found` where there are no others."""
    if marks is None:
        return found
    size = len(found)
    both = int.from_bytes(found, "little") & int.from_bytes(marks[:size], "little")
    return bytearray(both.to_bytes(size, "little"))


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be 0 or more, got {timeout}")


@overload
def wait(
    futures: Future[_T] | FutureList[_T] | Iterable[Future[_T]], timeout: float | None = None, return_when: When = ...
) -> DoneAndNotDone[_T]: ...
@overload
def wait(futures: Iterable[Any], timeout: float | None = None, return_when: When = ...) -> DoneAndNotDone[Any]: ...
def wait(
    futures: Future | FutureList | Iterable[Any], timeout: float | None = None, return_when: When = ALL_COMPLETED
) -> DoneAndNotDone[Any]:
    """Wait until all, the first, or the first failed of the futures have ended; moves no data.

    Args:
        futures: futures, future lists, or any nesting of them; duplicates count once.
        timeout: seconds for all of it; None waits for ever. Running out raises nothing.
        return_when: "ALL_COMPLETED", "FIRST_COMPLETED" or "FIRST_EXCEPTION".
    """
    _check_timeout(timeout)
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when must be ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, got {return_when!r}")
    deadline = None if timeout is None else time.monotonic() + timeout
    asked = _Asked(futures)
    try:
        if return_when == ALL_COMPLETED:
            _wait_all(asked, deadline)
        else:
            _wait_first(asked, deadline, failed_only=return_when == FIRST_EXCEPTION)
    except KeyboardInterrupt as error:
        asked.interrupted()
        hide(error)
        raise
    return asked.parted()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _wait_all(asked: _Asked, deadline: float | None) -> None:
    for map, (_, marks) in asked.maps.items():
        if marks is None:
            if not map.scope.wait(map, None, _left(deadline)):
                return
            continue
        for index in marked(marks):
            if not map.is_terminal(index) and not map.scope.wait(map, index, _left(deadline)):
                return
    for future in asked.singles:
        if not future.done() and not future._map.scope.wait(future._map, future._index, _left(deadline)):
            return


def _wait_first(asked: _Asked, deadline: float | None, *, failed_only: bool) -> None:
    scope, waiter = asked.scope(), Waiter()
    watched = [future for future in asked.singles if not future.done()]

    def heard(map: MapRun, items: Sequence[int]) -> None:
        waiter.set()

    for map in asked.maps:
        if failed_only:  # all have to end, unless a failure comes before
            map.scope.stream(map, "seal")
        map.scope.subscribe(map, heard)
        map.scope.on_end(map, None, waiter.set)
    for future in watched:
        future._map.scope.on_end(future._map, future._index, waiter.set)
    try:
        while scope is not None and not _come(asked, failed_only):
            if not scope.hold_on(waiter, _left(deadline)):
                return
    finally:
        for map in asked.maps:
            map.scope.unsubscribe(map, heard)
            map.scope.off_end(map, None, waiter.set)
        for future in watched:
            future._map.scope.off_end(future._map, future._index, waiter.set)


def _come(asked: _Asked, failed_only: bool) -> bool:
    """Return whether the first one, or the first failed one, has ended; or all have."""
    whole = True
    for map, (_, marks) in asked.maps.items():
        codes = map.codes
        if 1 in _both(codes.translate(_BAD if failed_only else _ENDED), marks):
            return True
        whole = whole and (map.finished if marks is None else 1 not in _both(codes.translate(_OPEN), marks))
    for future in asked.singles:
        if not future.done():
            whole = False
        elif not failed_only or not future.state.is_completed():
            return True
    return whole


class _Ended:
    """Collects items as they end, from any thread."""

    def __init__(self) -> None:
        self.found: deque[tuple[MapRun, int | Sequence[int]]] = deque()
        self.waiter = Waiter()

    def some(self, map: MapRun, items: Sequence[int]) -> None:
        self.found.append((map, items))
        self.waiter.set()

    def one(self, map: MapRun, index: int) -> None:
        self.found.append((map, index))
        self.waiter.set()


@overload
def as_completed(
    futures: Future[_T] | FutureList[_T] | Iterable[Future[_T]], timeout: float | None = None, *, release: bool = False
) -> Iterator[Future[_T]]: ...
@overload
def as_completed(
    futures: Iterable[Any], timeout: float | None = None, *, release: bool = False
) -> Iterator[Future]: ...
def as_completed(
    futures: Future | FutureList | Iterable[Any], timeout: float | None = None, *, release: bool = False
) -> Iterator[Future]:
    """Yield futures as they end.

    Args:
        futures: a future list, futures, or any nesting of them; duplicates count once.
        timeout: seconds for all of it.
        release: each future lets its value go once the next one is asked for, and the map is
            held back while the reader is slow. A future list given here gives its values up.

    Raises:
        TimeoutError: not all had ended in time; says how many had not.
    """
    _check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    return _Coming(_Asked(futures), deadline, timeout).futures(release, isinstance(futures, FutureList) and release)


class _Coming:
    """The awaited futures, in the order in which they end."""

    def __init__(self, asked: _Asked, deadline: float | None, timeout: float | None) -> None:
        self.maps = asked.maps
        self.singles = {(one._map, one._index): one for one in asked.singles}
        self.scope = asked.scope()
        self.given = dict.fromkeys(asked.maps, 0)
        self.found = len(self.singles)
        self.ended = _Ended()
        self.deadline = deadline
        self.timeout = timeout

    def futures(self, release: bool, streamed: bool) -> Iterator[Future]:
        """Yield them one by one; `streamed`: a single map, which is held back and lets go of its values."""
        ended, finished = self.ended, False
        for map in self.maps:
            map.scope.stream(map, "stream_opened" if streamed else "seal")
            map.scope.subscribe(map, ended.some)
            map.scope.on_end(map, None, ended.waiter.set)
        for map, index in self.singles:
            map.scope.on_end(map, index, functools.partial(ended.one, map, index))
        try:
            while batch := self._next():
                for found in batch:
                    yield found
                    if release:
                        found.release()
                    if streamed:
                        found._map.scope.stream(found._map, "taken", found._index)
                    del found
            for map in self.maps:
                if map.error is not None:
                    raise map.error
            finished = True
        except BaseException as error:
            hide(error)
            raise
        finally:
            for map in self.maps:
                map.scope.unsubscribe(map, ended.some)
                map.scope.off_end(map, None, ended.waiter.set)
                if streamed:
                    map.scope.stream_closed(map, finished)

    def _next(self) -> Iterator[Future] | None:
        """Wait for the next ended futures and return them without keeping them; None: there are no more."""
        while True:
            if self.ended.found:
                map, items = self.ended.found.popleft()
                if isinstance(items, int):
                    return iter((self.singles.pop((map, items)),))
                futures, marks = self.maps[map]
                wanted = items if marks is None else [i for i in items if i < len(marks) and marks[i]]
                self.given[map] += len(wanted)
                if wanted:
                    return futures._each(wanted)
            elif not self._left():
                return None
            elif not self._wait() and not self.ended.found:
                raise TimeoutError(self._late())

    def _wait(self) -> bool:
        assert self.scope is not None  # something is left to wait for
        try:
            return self.scope.hold_on(self.ended.waiter, _left(self.deadline))
        except KeyboardInterrupt:
            self.scope.interrupted([*((map, None) for map in self.maps), *self.singles])
            raise

    def _left(self) -> bool:
        """Return whether any is still to come."""
        return bool(self.singles) or any(
            not map.closed or self.given[map] < self._length(map) for map in self.maps
        )

    def _length(self, map: MapRun) -> int:
        marks = self.maps[map][1]
        return len(map.codes) if marks is None else marks.count(1)

    def _late(self) -> str:
        total = self.found + sum(map(self._length, self.maps))
        left = total - sum(self.given.values()) - (self.found - len(self.singles))
        return f"{left} (of {total}) futures unfinished after {self.timeout} s"


def wake_loop(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    """Wake the coroutine of that loop that awaits `ended`; from any thread; late and repeated calls are harmless."""
    with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
        loop.call_soon_threadsafe(_resolve_once, ended)


def _resolve_once(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
