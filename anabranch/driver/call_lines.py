"""Calls that are no task's of the user: those of an executor, which hears of each end and shows nothing.

    Executor --put--> CallLine: one series of runs after another --> dispatcher --> runner
             <-ended-------------------------------------------------------------------'

A series is as long as its program likes, so its columns would grow for ever: a line begins a new one now and then, and
forgets the one before when its last call was let go of.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.frozen import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.runnable import Runnable
    from anabranch.driver.runner_pool import InUse, RunnerPool
    from anabranch.driver.scope import Scope
    from anabranch.engine.lanes import Lane

LONGEST = 1 << 16  # calls of one series


class Series:
    """One series of a line.

    Attributes:
        waiting: by item, the caller's own object for a call that has not ended.
        gone: how many of its calls were let go of.
    """

    __slots__ = ("gone", "map", "waiting")

    def __init__(self, map: MapRun) -> None:
        self.map = map
        self.waiting: dict[int, Any] = {}
        self.gone = 0


class CallLine:
    """Single runs of one task, without the names, contexts and futures that a task's submits have.

    Args:
        ended: called with a series and those of its items that have ended, under the pump's lock: it must not block.
        chunk: calls in one chunk; None: measured.
    """

    def __init__(
        self, scope: Scope, task: Runnable, ended: Callable[[Series, Sequence[int]], None], chunk: int | None = None
    ) -> None:  # fmt: skip
        self._scope = scope
        self._pump = scope.pump
        self._task = task
        self._ended = ended
        self._chunk = chunk
        self._append = scope.pump.dispatcher.intake.append_item
        self._lock = threading.Lock()
        self._series = self._begin()

    def put(self, call: tuple[Any, ...], caller: Any) -> tuple[Series, int]:
        """Submit a call; returns where it stands.

        Args:
            call: the task's positional arguments.
            caller: waits for its end, as the series says.
        """
        series = self._series
        map = series.map
        index = next(map.inputs.append_index)
        if index >= LONGEST:
            series = self._next(series)
            map = series.map
            index = next(map.inputs.append_index)
        series.waiting[index] = caller
        item: Any = (call, {})
        self._pump.enqueue(self._append, map, index, taken(item) if self._scope.maker.apart else item, ())
        self._pump.step()
        return series, index

    def let_go(self, series: Series, index: int) -> None:
        """Drop the value of a call that has ended; called by one thread at a time."""
        self._pump.drop_handle_soon(series.map, index)
        series.gone += 1
        if series.gone >= LONGEST:
            forget(self._scope, series.map)

    def withdraw(self, series: Series, items: Sequence[int]) -> set[int]:
        """Cancel those of these calls that were not sent to a worker; returns them."""
        found: set[int] = self._pump.call_locked(self._pump.dispatcher.cancelling.withdraw, series.map, items)
        return found

    def was_sent(self, series: Series, index: int) -> bool:
        """Return whether a call is with a worker, or was."""
        return not self._pump.inspect(self._pump.dispatcher.cancelling.unsent, series.map, (index,))

    def _begin(self) -> Series:
        map = self._scope.new_series(self._task, "submit", "")
        map.header.carried = None
        map.sending.chunk_option = self._chunk
        series = Series(map)
        told = functools.partial(_tell, self._ended, series)
        self._pump.dispatch(self._pump.dispatcher.readers.subscribe, map, told)
        return series

    def _next(self, full: Series) -> Series:
        with self._lock:
            if self._series is full:
                self._series = self._begin()
            return self._series


def _tell(ended: Callable[[Series, Sequence[int]], None], series: Series, map: MapRun, items: Sequence[int]) -> None:
    ended(series, items)


def forget(scope: Scope, map: MapRun) -> None:
    """Forget a map or series that has ended, before its scope ends."""
    if map in scope.endings.maps:
        scope.endings.maps.remove(map)
        scope.pump.dispatch(scope.pump.dispatcher.forget_maps, [map])


class Loan:
    """A runner in use for callers that are no flow, with a scope of their own on it."""

    def __init__(self, runners: RunnerPool, used: InUse, scope: Scope) -> None:
        self.scope = scope
        self._runners = runners
        self._used = used

    @property
    def lane(self) -> Lane:
        """The runner as the dispatcher sees it."""
        return self.scope.pump.dispatcher.tables.lanes[self._used.lane]

    @property
    def gone(self) -> bool:
        """Whether nothing is heard of the calls any more: the session has ended, or this is a forked copy."""
        pump = self.scope.pump
        return pump.closed or bool(pump.elsewhere)

    def soon(self, work: Callable[[], object]) -> None:
        """Have this done on the callback thread; legal from a finalizer."""
        self.scope.pump.post(self.scope.pump.callback_thread.put, work)

    def end(self) -> None:
        """Leave the runner; it closes where nothing else holds it."""
        if self.gone:
            return
        self.scope.close()
        self.scope.let_go()
        self._runners.leave(self._used)
        self._runners.close_unreachable()
