"""Runners as `concurrent.futures.Executor`: for code that takes an executor, and knows nothing of anabranch.

    in this process   Executor --> LocalCalls: a queue, and runs of the runner that serve it
    elsewhere         Executor --> RemoteCalls: a run for each call --ends--> one thread --> futures
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections import deque
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any, Protocol

from anabranch import session
from anabranch.core import forks
from anabranch.integrations.local_calls import LocalCalls
from anabranch.integrations.remote_calls import RemoteCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from anabranch.core.keywords import Chunk


class Calls(Protocol):
    """The calls of one executor."""

    broken: str

    def submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> concurrent.futures.Future[Any]: ...
    def map(
        self, fn: Callable[..., Any], items: list[Any], many: bool, until: float | None, chunk: Chunk, /
    ) -> Iterator[Any]: ...
    def cancel_pending(self) -> None: ...
    def close(self) -> None:
        """Take no more calls, and leave the runner once the last has ended; legal from a finalizer."""
        ...

    def wait(self) -> None:
        """Wait until the last call has ended, and the runner was left if it is closed."""
        ...


class _Exit:
    """The end of the interpreter: executors take nothing more, and what they have taken is done first."""

    def __init__(self) -> None:
        self.begun = False
        self.live: weakref.WeakSet[Calls] = weakref.WeakSet()
        self._known = False

    def watch(self, calls: Calls) -> None:
        """Wait for these calls at the end of the interpreter."""
        if not self._known:
            self._known = True
            threading._register_atexit(self.run)  # type: ignore[attr-defined]
        self.live.add(calls)

    def run(self) -> None:
        self.begun = True
        for calls in tuple(self.live):
            calls.close()
            calls.wait()

    def forget(self) -> None:
        """In a forked copy: the calls are those of the other process."""
        for calls in tuple(self.live):
            calls.broken = calls.broken or "this executor belongs to the process that was forked: make one here"
        self.live = weakref.WeakSet()


_exit = _Exit()
forks.in_copies(_exit.forget)


class Executor(concurrent.futures.Executor):
    """An executor on a runner: its futures are `concurrent.futures.Future`, and it ends as those of CPython do.

    It leaves the runner when it is shut down; a runner that nothing else holds closes then. See docs/integrations.md
    for what differs from CPython's executors.

    Args:
        runner: a runner, or the name of a shared one ("thread", "process", "inline", "dask", "ray"). None: the
            program's own.
        initializer: called with `initargs` on each worker (thread or process) before its first call. If it raises,
            pending and later calls raise `BrokenExecutor`.
        chunk: calls that travel together to a worker in another process; "auto" measures, 1 sends each by itself.
    """

    def __init__(
        self, runner: Any = None, *, initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (), chunk: Chunk = "auto",
    ) -> None:  # fmt: skip
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        loan = session.current().scopes.lend(runner)
        self._runner = runner
        self._lane = loan.lane
        self._lend = loan.scope.waiting.lent_slot
        kind = LocalCalls if self._lane.capabilities.in_process else RemoteCalls
        self._calls: Calls = kind(loan, initializer, tuple(initargs), chunk)
        self._chunk = chunk
        self._shut = False
        self._lock = threading.Lock()
        _exit.watch(self._calls)
        self._end = weakref.finalize(self, self._calls.close)
        self._end.atexit = False
        if hasattr(runner, "on_leaving"):
            runner.on_leaving(_leaving(weakref.ref(self)))

    @property
    def slots(self) -> int:
        """How many calls run at once now."""
        return max(1, self._lane.slots)

    @property
    def all_slots(self) -> int:
        """How many calls run at once when all workers are up that are known to come."""
        return max(self.slots, self._lane.maximum or 0)

    _max_workers = slots  # by this name other libraries ask for it

    @property
    def elastic(self) -> bool:
        """Whether there may come to be more slots, nobody knows how many."""
        return self._lane.maximum is None

    @property
    def in_process(self) -> bool:
        """Whether calls share this process's objects."""
        return self._lane.capabilities.in_process

    def lent_slot(self) -> AbstractContextManager[None]:
        """Lend the slot of the task around this code to others for the block: it waits for calls."""
        return self._lend()

    @property
    def _broken(self) -> str:
        return self._calls.broken

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Schedule `fn(*args, **kwargs)` and return its future.

        Raises:
            RuntimeError: the executor was shut down, or the interpreter ends.
            BrokenExecutor: an initializer raised before.
        """
        if self._shut or _exit.begun or self._calls.broken:
            self._refuse()
        return self._calls.submit(fn, args, kwargs)

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:  # fmt: skip
        """Return an iterator of `fn` over the iterables, in order; all calls are scheduled now.

        Args:
            timeout: seconds from now after which a value that is not there raises TimeoutError.
            chunksize: calls that travel together to another process; 1 leaves it to the runner, which measures.
            buffersize: calls that may be ahead of the reader; None: all.
        """
        if self._shut or _exit.begun or self._calls.broken:
            self._refuse()
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        until = None if timeout is None else time.monotonic() + timeout
        if buffersize is not None:
            return self._buffered(fn, zip(*iterables, strict=False), until, _checked(buffersize))
        many = len(iterables) != 1
        items = list(zip(*iterables, strict=False) if many else iterables[0])
        return self._calls.map(fn, items, many, until, chunksize if chunksize > 1 else self._chunk)

    def _buffered(
        self, fn: Callable[..., Any], items: Iterator[tuple[Any, ...]], until: float | None, size: int
    ) -> Iterator[Any]:  # fmt: skip
        ahead = deque(self.submit(fn, *args) for _, args in zip(range(size), items, strict=False))
        return _read(weakref.ref(self), fn, items, ahead, until)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and leave the runner when the last one has ended.

        Args:
            wait: return after that; else at once.
            cancel_futures: cancel the calls that have not begun.
        """
        with self._lock:
            self._shut = True
            self._runner = None
        if cancel_futures:
            self._calls.cancel_pending()
        self._end.detach()
        self._calls.close()
        if wait:
            self._calls.wait()

    def _refuse(self) -> None:
        if self._calls.broken:
            raise BrokenExecutor(self._calls.broken)
        raise RuntimeError(f"cannot schedule new futures after {'shutdown' if self._shut else 'interpreter shutdown'}")


def _leaving(ref: weakref.ref[Executor]) -> Callable[[bool], None]:
    """Return what the end of the runner's `with` block calls, with whether an exception ended it."""

    def leave(failed: bool) -> None:
        executor = ref()
        if executor is not None:
            executor.shutdown(cancel_futures=failed)

    return leave


def _checked(buffersize: int) -> int:
    if not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    return buffersize


def _read(
    executor: weakref.ref[Executor], fn: Callable[..., Any], items: Iterator[tuple[Any, ...]],
    ahead: deque[concurrent.futures.Future[Any]], until: float | None,
) -> Iterator[Any]:  # fmt: skip
    """Yield values in order; each that is taken lets one more call be scheduled, until the executor is gone."""
    try:
        while ahead:
            here = executor()
            if here is not None and (args := next(items, None)) is not None:
                ahead.append(here.submit(fn, *args))
            del here
            yield _taken(ahead.popleft(), until)
    finally:
        for future in ahead:
            future.cancel()


def _taken(future: concurrent.futures.Future[Any], until: float | None) -> Any:
    try:
        return future.result(None if until is None else until - time.monotonic())
    finally:
        future.cancel()
        del future  # an exception's traceback would hold this frame, and the frame the future
