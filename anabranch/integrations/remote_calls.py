"""The calls of an executor elsewhere: each is a run of the engine, and one thread gives their ends to the futures.

    submit --> a run --> worker            map --> one map of the engine, read in order
                 `-- its end --> the executor's own thread --> future, callbacks

The thread is the executor's own: callbacks of futures are the user's code, and may take as long as they like.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import threading
import uuid
from concurrent.futures import BrokenExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core import options, states
from anabranch.core.annotations import quote, unmapped
from anabranch.core.failures import exception_of
from anabranch.core.options import MapOptions, TaskOptions
from anabranch.core.runnable import Runnable
from anabranch.core.waiter import heeding_signals, patiently
from anabranch.driver.call_lines import CallLine
from anabranch.integrations.answers import After, SetUp, SetUpFailed, answer, answer_all, answer_one
from anabranch.integrations.mapped import Mapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.future_lists import FutureList
    from anabranch.core.maps import MapRun
    from anabranch.driver.call_lines import Loan, Series

_FAILED = "An initializer failed on a worker, the executor is not usable anymore"
AFTER = "cannot schedule new futures after shutdown"
_log = logging.getLogger("concurrent.futures")


class RemoteFuture(concurrent.futures.Future[Any]):
    """The future of a call elsewhere: it can be cancelled until a worker gets it."""

    def __init__(self, line: CallLine) -> None:
        super().__init__()
        self.line = line
        self.place: tuple[Series, int] | None = None

    def cancel(self) -> bool:
        """Cancel the call; False when a worker has it, or it has ended."""
        if not self.done() and (self.place is None or not self.line.withdraw(self.place[0], (self.place[1],))):
            return False
        return super().cancel()

    def running(self) -> bool:
        """Return whether a worker has the call."""
        return not self.done() and self.place is not None and self.line.was_sent(*self.place)


class RemoteCalls:
    """See the module's head; one per executor.

    Attributes:
        broken: why no call can run any more; "" while they can.
    """

    def __init__(
        self, loan: Loan, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], chunk: Any
    ) -> None:  # fmt: skip
        self.broken = ""
        self._loan = loan
        setup = None if initializer is None else SetUp(uuid.uuid4().hex, initializer, initargs)
        self._one, self._all = _task(answer_one, setup), _task(answer_all, setup)
        self._line = CallLine(loan.scope, _task(answer, setup), self._ended, chunk if chunk != "auto" else None)
        self._news: SimpleQueue[tuple[Series, Sequence[int]] | None] = SimpleQueue()
        self._pending: set[RemoteFuture] = set()
        self._maps: set[Mapped] = set()
        self._closed = self._left = False
        self._over = threading.Event()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    # -- calls in --------------------------------------------------------------------------------

    def submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> concurrent.futures.Future[Any]:
        future = RemoteFuture(self._line)
        self._pending.add(future)
        try:
            if self._left:  # since the executor was asked
                raise RuntimeError(AFTER)
            if self._thread is None:
                self._start()
            future.place = self._line.put((fn, args, kwargs), future)
        except BaseException:
            self._pending.discard(future)
            raise
        return future

    def map(
        self, fn: Callable[..., Any], items: list[Any], many: bool, until: float | None, chunk: Any
    ) -> Iterator[Any]:
        if not items:
            return iter(())
        chosen = options.make(MapOptions, "executor", {"chunk": chunk})
        task = self._all if many else self._one
        futures: FutureList = self._loan.scope.map(task, (unmapped(quote(fn)), items), {}, chosen)
        mapped = Mapped(self._loan.scope, futures, self._map_ended, self._broke)
        self._maps.add(mapped)
        mapped.watch()
        return mapped.read(until)

    def cancel_pending(self) -> None:
        for future in tuple(self._pending):
            future.cancel()
        for mapped in tuple(self._maps):
            mapped.cancel()

    # -- ends ------------------------------------------------------------------------------------

    def _ended(self, series: Series, items: Sequence[int]) -> None:
        self._news.put((series, items))

    def _map_ended(self, mapped: Mapped) -> None:
        with self._changed:
            self._maps.discard(mapped)
            self._changed.notify_all()
        if self._closed:
            self._loan.soon(self._finish)

    def _start(self) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="anabranch-executor", daemon=True)
                self._thread.start()

    def _main(self) -> None:
        while (news := self._news.get()) is not None:
            self._tell(*news)
            del news
            if not self._pending:
                with self._changed:
                    self._changed.notify_all()
                if self._closed:
                    self._finish()

    def _tell(self, series: Series, items: Sequence[int]) -> None:
        """Give ended calls to their futures."""
        for index in items:
            future = series.waiting.pop(index, None)
            if future is None:  # it was told of before its value was lost, and has run again
                continue
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # its holder has set it
                self._settle(series.map, index, future)
            self._pending.discard(future)
            del future
            self._line.let_go(series, index)

    def _settle(self, map: MapRun, index: int, future: RemoteFuture) -> None:
        code = map.codes[index]
        if code == states.CANCELLED:
            concurrent.futures.Future.cancel(future)
            future.set_running_or_notify_cancel()
            return
        try:
            value = map.scope.value(map, index) if code in states.SUCCESSFUL else None
        except Exception as error:  # it could not be read
            future.set_exception(error)
            return
        if code in states.SUCCESSFUL:
            future.set_result(value)
        else:
            map.mark_handled(index)
            future.set_exception(self._understood(exception_of(map, index)))

    def _understood(self, error: BaseException) -> BaseException:
        if not isinstance(error, SetUpFailed):
            return error
        self._broke(error)
        return BrokenExecutor(_FAILED)

    def _broke(self, error: BaseException) -> BrokenExecutor:
        """Take nothing more: a worker could not be set up."""
        if not self.broken:
            self.broken = _FAILED
            _log.critical("Exception in initializer: %s", error)
        return BrokenExecutor(_FAILED)

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        self._closed = True
        self._loan.soon(self._finish)

    def wait(self) -> None:
        if threading.current_thread() is self._thread:  # a callback: it cannot wait for those after it
            return
        with self._changed:
            patiently(self._changed, self._all_done)
        self._finish()
        heeding_signals(self._over.wait, None)

    def _all_done(self) -> bool:
        return self._loan.gone or not (self._pending or self._maps)

    def _finish(self) -> None:
        """Leave the runner once all is done, and end the thread."""
        with self._changed:
            if self._left or not self._all_done():
                return
            self._left = True
        self._news.put(None)
        self._loan.end()
        self._over.set()


def _task(call: Callable[..., Any], setup: SetUp | None) -> Runnable:
    fn = call if setup is None else After(call, setup)
    made = Runnable(fn, "executor", options.make(TaskOptions, "executor", {}))
    made.unshown = True
    return made
