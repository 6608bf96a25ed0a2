"""Waiting for several futures: `wait` and `as_completed`, over single futures and whole lists."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.futures import Future, FutureList
from anabranch.core.waiter import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from anabranch.core.maps import MapRun

ALL_COMPLETED = "ALL_COMPLETED"
FIRST_COMPLETED = "FIRST_COMPLETED"
FIRST_EXCEPTION = "FIRST_EXCEPTION"


class DoneAndNotDone(NamedTuple):
    """What `wait` returns; sets of futures, as in `concurrent.futures`."""

    done: set[Future]
    not_done: set[Future]


def flatten(futures: Future | FutureList | Iterable[Any]) -> list[Future]:
    """Single futures out of futures, lists and any nesting of iterables of them."""
    if isinstance(futures, Future):
        return [futures]
    found: list[Future] = []
    for one in futures:
        if isinstance(one, Future):
            found.append(one)
        elif isinstance(one, FutureList) or (not isinstance(one, (str, bytes)) and hasattr(one, "__iter__")):
            found.extend(flatten(one))
        else:
            raise TypeError(f"wait and as_completed take futures, got {type(one).__name__}: {one!r:.80}")
    return list(dict.fromkeys(found))


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout cannot be {timeout}: seconds count from 0")


def wait(
    futures: Future | FutureList | Iterable[Any], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone:
    """Wait until all, the first, or the first failed of the futures have ended; moves no data.

    Args:
        futures: futures, future lists, or any nesting of them; duplicates count once.
        timeout: seconds for all of it; None waits for ever. Running out raises nothing.
        return_when: "ALL_COMPLETED", "FIRST_COMPLETED" or "FIRST_EXCEPTION".
    """
    _check_timeout(timeout)
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when cannot be {return_when!r}: use ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION")
    deadline = None if timeout is None else time.monotonic() + timeout
    if isinstance(futures, FutureList) and return_when == ALL_COMPLETED:
        futures._map.scope.wait(futures._map, None, timeout)
    every = flatten(futures)
    if return_when == ALL_COMPLETED:
        for future in every:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not future.done() and not future._map.scope.wait(future._map, future._index, left):
                break
    else:
        _wait_first(every, deadline, failed_only=return_when == FIRST_EXCEPTION)
    done = {f for f in every if f.done()}
    return DoneAndNotDone(done, {f for f in every if f not in done})


def _wait_first(futures: list[Future], deadline: float | None, *, failed_only: bool) -> None:
    waiter = Waiter()
    pending = set(futures)
    watched = [f for f in futures if not f.done()]
    for future in watched:
        future._map.scope.on_end(future._map, future._index, waiter.set)
    try:
        while pending:
            ended = {f for f in pending if f.done()}
            pending -= ended
            if ended and (not failed_only or any(not f.state.is_completed() for f in ended)):
                return
            scope = futures[0]._map.scope
            if pending and not scope.hold_on(waiter, None if deadline is None else deadline - time.monotonic()):
                return
    finally:
        for future in watched:
            future._map.scope.off_end(future._map, future._index, waiter.set)


class _Ended:
    """Collects items as they end, from any thread."""

    def __init__(self) -> None:
        self.found: deque[tuple[MapRun, int]] = deque()
        self.waiter = Waiter()

    def whole(self, map: MapRun, items: Sequence[int]) -> None:
        self.found.extend((map, i) for i in items)
        self.waiter.set()

    def one(self, future: Future) -> Callable[[], None]:
        key = (future._map, future._index)

        def ended() -> None:
            self.found.append(key)
            self.waiter.set()

        return ended


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
    if isinstance(futures, FutureList):
        return _list_as_completed(futures, deadline, timeout, release)
    return _each_as_completed(flatten(futures), deadline, timeout, release)


def _each_as_completed(
    futures: list[Future], deadline: float | None, timeout: float | None, release: bool
) -> Iterator[Future]:
    total = len(futures)
    by_key = {(f._map, f._index): f for f in futures}
    futures.clear()
    ended = _Ended()
    for future in by_key.values():
        future._map.scope.on_end(future._map, future._index, ended.one(future))
    while by_key:
        while not ended.found:
            scope = next(iter(by_key))[0].scope
            if not scope.hold_on(ended.waiter, None if deadline is None else deadline - time.monotonic()):
                raise TimeoutError(f"{len(by_key)} (of {total}) futures unfinished after {timeout} s")
        key = ended.found.popleft()
        found = by_key.pop(key, None)
        del key
        if found is None:
            continue
        yield found
        if release:
            found.release()
        del found


def _list_as_completed(
    futures: FutureList, deadline: float | None, timeout: float | None, release: bool
) -> Iterator[Future]:
    map = futures._map
    scope = map.scope
    ended = _Ended()
    scope.stream(map, "stream_opened" if release else "seal")
    scope.subscribe(map, ended.whole)
    given, finished = 0, False
    try:
        while not (map.closed and given >= len(map.codes)):
            if not ended.found:
                scope.on_end(map, None, ended.waiter.set) if not release else None
                if not scope.hold_on(ended.waiter, None if deadline is None else deadline - time.monotonic()):
                    left = len(map.codes) - given
                    raise TimeoutError(f"{left} (of {len(map.codes)}) futures unfinished after {timeout} s")
                continue
            _, index = ended.found.popleft()
            found = futures._future(index)
            given += 1
            yield found
            if release:
                found.release()
                scope.stream(map, "taken", index)
            del found
        if map.error is not None:
            raise map.error
        finished = True
    finally:
        scope.unsubscribe(map, ended.whole)
        if release:
            scope.stream_closed(map, finished)


def wake_loop(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    """Let a coroutine of that loop go on which awaits `ended`; from any thread, more than once, too late."""
    with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
        loop.call_soon_threadsafe(_resolve_once, ended)


def _resolve_once(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
