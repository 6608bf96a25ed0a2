"""The calls of an executor in this process: a queue, and runs of the runner that serve it.

    submit --> queue <-- server, server ...    each is one run on the runner, and calls one function after another
                          `-- idle for LINGER, or busy for SPAN: the run ends, and a new one waits its turn

A server gives its thread back now and then, so that flows on the same runner get theirs.
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import math
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from anabranch.core import options, states
from anabranch.core.options import TaskOptions
from anabranch.core.runnable import Runnable
from anabranch.core.waiter import heeding_signals, patiently
from anabranch.driver.call_lines import CallLine
from anabranch.integrations.cells import Cells
from anabranch.integrations.remote_calls import AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.driver.call_lines import Loan, Series

LINGER = 0.1  # seconds that an idle server waits for the next call
SPAN = 0.1  # seconds after which a busy server gives its thread to what waits
_FAILED = "A thread initializer failed, the thread pool is not usable anymore"
_log = logging.getLogger("concurrent.futures")


class Work:
    """One call and its future."""

    __slots__ = ("args", "fn", "future", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.fn = fn
        self.args = args
        self.kwargs = kwargs

    def run(self, until: float) -> bool:
        """Call the function, unless the future was cancelled; nothing is left then."""
        if not self.future.set_running_or_notify_cancel():
            return False
        try:
            value = self.fn(*self.args, **self.kwargs)
        except BaseException as error:
            self.future.set_exception(error)
            del self  # the exception's traceback holds this frame
        else:
            self.future.set_result(value)
        return False

    def stop(self, error: BaseException) -> None:
        """End the call without running it."""
        if isinstance(error, CancelledError):
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        elif self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class LocalCalls:
    """See the module's head; one per executor.

    Attributes:
        broken: why no call can run any more; "" while they can.
    """

    def __init__(
        self, loan: Loan, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], chunk: Any
    ) -> None:  # fmt: skip
        self.broken = ""
        self._loan = loan
        self._lane = loan.lane
        self._inline = self._lane.capabilities.name == "inline"
        self._linger = 0.0 if self._inline else LINGER
        self._setup = None if initializer is None else functools.partial(initializer, *initargs)
        self._here = threading.local()
        self._queue: SimpleQueue[Work | Cells] = SimpleQueue()
        self._maps: set[Cells] = set()
        self._servers = 0
        self._idle = 0
        self._closed = self._left = False
        self._over = threading.Event()
        self._changed = threading.Condition(threading.Lock())
        task = Runnable(_serve, "executor", options.make(TaskOptions, "executor", {}))
        task.unshown = True
        self._line = CallLine(loan.scope, task, self._ended, 1)

    # -- calls in --------------------------------------------------------------------------------

    def submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> concurrent.futures.Future[Any]:
        work = Work(fn, args, kwargs)
        future = work.future
        if self._inline and self._is_serving():  # no other thread would come to it
            work.run(math.inf)
            return future
        self._queue.put(work)
        if self._idle:
            with self._changed:
                self._changed.notify()
        if self._servers < self._lane.slots:
            self._staff()
        if self._left or self.broken:  # since the executor was asked
            self._stop(self._why_not)
        return future

    def map(
        self, fn: Callable[..., Any], items: list[Any], many: bool, until: float | None, chunk: Any
    ) -> Iterator[Any]:
        cells = Cells(fn, items, many)
        if self._inline and self._is_serving():
            cells.run(math.inf)
            return cells.read(until)
        self._maps.add(cells)
        for _ in range(min(self._lane.slots, len(items))):
            self._queue.put(cells)
        with self._changed:
            self._changed.notify_all()
        self._staff()
        return cells.read(until)

    def cancel_pending(self) -> None:
        self._stop(CancelledError)

    def _why_not(self) -> BaseException:
        return BrokenExecutor(self.broken) if self.broken else RuntimeError(AFTER)

    def _stop(self, error: Callable[[], BaseException]) -> None:
        """End the calls that have not begun."""
        for cells in tuple(self._maps):
            cells.stop(error)
        try:
            while True:
                work = self._queue.get_nowait()
                if not isinstance(work, Cells):
                    work.stop(error())
        except Empty:
            pass

    # -- servers ---------------------------------------------------------------------------------

    def _staff(self) -> None:
        """Have as many servers as there is work for, and places."""
        while True:
            with self._changed:
                if self._servers >= self._lane.slots or self._queue.qsize() <= self._idle or self._left:
                    return
                self._servers += 1
            self._line.put((self,), None)

    def serve(self) -> None:
        """Do the calls that wait; in a thread of the runner."""
        self._here.serving = True
        try:
            self._serve()
        finally:
            self._here.serving = False

    def _is_serving(self) -> bool:
        """Return whether this thread is in one of our calls."""
        return getattr(self._here, "serving", False)

    def _serve(self) -> None:
        until = time.monotonic() + SPAN
        queue = self._queue
        if self._setup is not None and not self._is_set_up():
            self._leave()
            return
        while True:
            try:
                work = queue.get_nowait()
            except Empty:
                work = None
            if work is None and (work := self._next()) is None:
                return
            if work.run(until):
                queue.put(work)
            elif type(work) is Cells:
                self._maps.discard(work)
            del work
            if time.monotonic() > until and not self._inline:
                self._line.put((self,), None)  # behind what waits for this thread
                return

    def _next(self) -> Work | Cells | None:
        """Wait a while for the next call; None when the server has left."""
        while True:
            with self._changed:  # `SimpleQueue.get(timeout=...)` may wait for ever when another thread takes the item
                self._idle += 1
                if self._queue.empty() and not self._closed:
                    self._changed.wait(self._linger)
                self._idle -= 1
            try:
                work = self._queue.get_nowait()
            except Empty:
                work = None
            if work is not None:
                if not self._queue.empty():
                    self._staff()  # what came meanwhile may have counted on this server
                return work
            if self._leave():
                return None

    def _leave(self) -> bool:
        """Take a server off the list; False when there is work again."""
        with self._changed:
            self._servers -= 1
            if not self._queue.empty() and not self.broken:
                self._servers += 1
                return False
            self._changed.notify_all()
            last = self._closed and not self._servers
        if last:
            self._loan.soon(self._finish)
        return True

    def _is_set_up(self) -> bool:
        """Run the initializer in a new thread; False when it raises."""
        if getattr(self._here, "ready", False):
            return True
        assert self._setup is not None
        try:
            self._setup()
        except BaseException:
            _log.critical("Exception in initializer:", exc_info=True)
            self._break(_FAILED)
            return False
        self._here.ready = True
        return True

    # -- the end ---------------------------------------------------------------------------------

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self._stop(lambda: BrokenExecutor(why))

    def _ended(self, series: Series, items: Sequence[int]) -> None:
        """Hear of servers that have ended; those that the runner ended have not left by themselves."""
        codes = series.map.codes
        for index in items:
            series.waiting.pop(index, None)
            self._line.let_go(series, index)
            if codes[index] != states.COMPLETED:
                self._loan.soon(self._lost)

    def _lost(self) -> None:
        self._break("the runner of this executor was closed")
        self._leave()

    def close(self) -> None:
        self._closed = True  # servers that wait see it when their time is over: no lock may be taken here
        if not self._servers:
            self._loan.soon(self._finish)

    def wait(self) -> None:
        if self._is_serving():  # one of our calls: it cannot wait for its own end
            return
        with self._changed:
            self._changed.notify_all()
            patiently(self._changed, self._all_done)
        self._finish()
        heeding_signals(self._over.wait, None)

    def _all_done(self) -> bool:
        return self._loan.gone or (not self._servers and self._queue.empty())

    def _finish(self) -> None:
        """Leave the runner, once."""
        with self._changed:
            if self._left or not self._all_done():
                return
            self._left = True
        self._stop(self._why_not)
        self._loan.end()
        self._over.set()


def _serve(calls: LocalCalls) -> None:
    calls.serve()
