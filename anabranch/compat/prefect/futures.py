"""Prefect's `prefect.futures`: its classes of futures, and what it does with several.

    PrefectFuture
      PrefectTaskRunFuture
        PrefectDistributedFuture    of a background task: what `delay` gives, see `background.py`
        TaskRunFuture               of a run of ours: what `submit` gives; one of our futures too
        PrefectWrappedFuture        made by hand
          PrefectConcurrentFuture   round a future of concurrent.futures
    PrefectFutureList               a list
      MappedFutures                 what `map` gives: one object for all, and one of our future lists too
"""

from __future__ import annotations

import abc
import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from anabranch.compat.prefect.run_ids import id_of
from anabranch.compat.prefect.run_states import State
from anabranch.compat.prefect.state_exceptions import state_exception
from anabranch.compat.prefect.utilities.annotations import quote
from anabranch.compat.prefect.utilities.visiting import StopVisiting, visit_collection
from anabranch.core import waiting
from anabranch.core.errors import UnfinishedRun
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.core.states import TRIGGER_FAILED

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator

R = TypeVar("R")
F = TypeVar("F")


class PrefectFuture(abc.ABC, Generic[R]):
    """A handle to a run."""

    def __init__(self, task_run_id: uuid.UUID) -> None:
        self._task_run_id = task_run_id
        self._final_state: State | None = None

    @property
    def task_run_id(self) -> uuid.UUID:
        """The id of its run."""
        return self._task_run_id

    @property
    def state(self) -> Any:
        """The state of the run now; Pending where it is not known."""
        return self._final_state or State(type="PENDING")

    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the end, or so many seconds."""

    @abc.abstractmethod
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Wait for the end and return the value, or raise the exception; TimeoutError after `timeout` seconds."""

    @abc.abstractmethod
    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call `fn(future)` once the run has ended."""


class PrefectTaskRunFuture(PrefectFuture[R]):
    """A handle to a run of a task."""


class PrefectWrappedFuture(PrefectTaskRunFuture[R], Generic[R, F]):
    """A handle made round another future."""

    def __init__(self, task_run_id: uuid.UUID, wrapped_future: Any) -> None:
        super().__init__(task_run_id)
        self._wrapped_future = wrapped_future

    @property
    def wrapped_future(self) -> Any:
        """The future inside."""
        return self._wrapped_future

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        if self._final_state is not None:
            fn(self)
            return
        self._wrapped_future.add_done_callback(lambda _: fn(self))


class PrefectConcurrentFuture(PrefectWrappedFuture[R, Any]):
    """A handle made round a future of `concurrent.futures`; the result of that is the run's State, or its value."""

    def wait(self, timeout: float | None = None) -> Any:
        try:
            found = self._wrapped_future.result(timeout)
        except concurrent.futures.TimeoutError:
            return None
        if isinstance(found, State):
            self._final_state = found
        return None

    @property
    def state(self) -> Any:
        if self._final_state is None and self._wrapped_future.done() and not self._wrapped_future.exception():
            self.wait(0)
        return super().state

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        if self._final_state is None:
            try:
                found = self._wrapped_future.result(timeout)
            except concurrent.futures.TimeoutError as error:
                if self._wrapped_future.done():  # its own
                    raise
                raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds") from error
            if not isinstance(found, State):
                return found
            self._final_state = found
        return self._final_state.result(raise_on_failure=raise_on_failure, _sync=True)


class TaskRunFuture(Future[Any], PrefectTaskRunFuture[Any]):
    """A handle to a run of ours."""

    @classmethod
    def of(cls, future: Future[Any]) -> Self:
        """Return the handle in the place of one of our futures; it takes over the claim on the value."""
        made = cls(future._map, future._index)
        future._released = True
        return made

    @property
    def task_run_id(self) -> Any:
        return id_of(f"{self._map.id}/{self._index}")

    @property
    def state(self) -> State:
        found = self._map.state(self._index)
        if found.is_final():
            found.data = self
        return State.of(found, self._upstream() if found.name == "TriggerFailed" else "")

    @property
    def wrapped_future(self) -> concurrent.futures.Future[State]:
        """A future of the standard library for it: its result is the State of the end; it cancels nothing."""
        made: concurrent.futures.Future[State] = concurrent.futures.Future()
        made.set_running_or_notify_cancel()
        self.add_done_callback(lambda _: made.set_result(self.state))
        return made

    def get_state(self) -> State:
        """Return the state of the run now, as Prefect 2's futures did."""
        return self.state

    def _upstream(self) -> str:
        """Return the id of the upstream for which the run did not begin, as far as its message tells."""
        return str(self.task_run_id)

    def wait(self, timeout: float | None = None) -> State:
        """Wait for the end, or so many seconds; returns the state then."""
        if not self.done():
            self._map.scope.wait(self._map, self._index, timeout)
        return self.state

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Wait for the end and return the value.

        Raises:
            TimeoutError: the run has not ended in time.
            UnfinishedRun: it never begins, because an upstream did not complete.
            The run's own exception.
        """
        if not self.done() and not self._map.scope.wait(self._map, self._index, timeout):
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        if self.done() and self._map.codes[self._index] == TRIGGER_FAILED:
            self._map.mark_handled(self._index)
            raise UnfinishedRun("Run is in PENDING state, its result is not available.")
        return super().result(timeout, raise_on_failure)


class PrefectFutureList(list[Any], metaclass=abc.ABCMeta):
    """A list of futures."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait for all of them, or so many seconds."""
        wait(self, timeout=timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[Any]:
        """Return all values in order; the first failure in time is raised. Raises TimeoutError."""
        return _results(self, timeout, raise_on_failure)


class MappedFutures(FutureList[Any]):
    """The futures of a map, as one object."""

    one = TaskRunFuture

    @classmethod
    def of(cls, futures: FutureList[Any]) -> Self:
        """Return the list in the place of one of ours; it takes over the claim on the values."""
        made = cls(futures._map)
        futures._released = True
        return made

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[Any]:
        _check_timeout(timeout)
        map = self._map
        if raise_on_failure and not map.finished:
            waiting.wait(self, timeout, "FIRST_EXCEPTION")
        elif not map.finished:
            map.scope.wait(map, None, timeout)
        bad = map.failures() if raise_on_failure else []
        if bad:
            return [self._future(bad[0]).result()]
        if not map.finished:
            raise TimeoutError(f"Timed out waiting for all futures to complete within {timeout} seconds")
        return super().result(timeout, raise_on_failure)

    def __add__(self, other: Any) -> list[Any]:
        return [*self, *other]

    def __radd__(self, other: Any) -> list[Any]:
        return [*other, *self]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, list) and list(self) == other)

    def __hash__(self) -> int:
        return id(self)


PrefectFutureList.register(MappedFutures)


class PrefectDistributedFuture(PrefectTaskRunFuture[R]):
    """A handle to a background task; `task.delay(...)` gives one, and none can be made by hand."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is PrefectDistributedFuture:
            raise NotImplementedError("anabranch has no handles to runs of a server: use `task.delay(...)`")
        return super().__new__(cls)


class PrefectFlowRunFuture(PrefectFuture[R]):
    """A handle to a run of a flow elsewhere; `flow.submit(...)` gives one of ours in its place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("anabranch has no handles to runs of a server: use `flow.submit(...)`")


class DoneAndNotDoneFutures(NamedTuple):
    """The result of `wait`."""

    done: set[Any]
    not_done: set[Any]


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


def _all_ours(futures: Any) -> bool:
    if isinstance(futures, FutureList):
        return True
    return all(isinstance(one, (Future, FutureList)) for one in futures)


def wait(futures: Any, timeout: float | None = None) -> Any:
    """Wait for all futures, or so many seconds; returns those that have ended, and the others."""
    _check_timeout(timeout)
    futures = futures if isinstance(futures, FutureList) else list(futures)
    if _all_ours(futures):
        found = waiting.wait(futures, timeout)
        return DoneAndNotDoneFutures(found.done, found.not_done)  # type: ignore[arg-type]
    ended: set[Any] = set()
    try:
        ended.update(as_completed(futures, timeout))
    except TimeoutError:
        ended.update(one for one in futures if _ended(one))
    return DoneAndNotDoneFutures(ended, set(futures) - ended)


def as_completed(futures: Any, timeout: float | None = None) -> Iterator[Any]:
    """Yield futures as they end; raises TimeoutError where not all do in time."""
    _check_timeout(timeout)
    futures = futures if isinstance(futures, FutureList) else list(futures)
    if not _all_ours(futures):
        return _as_they_end(list(dict.fromkeys(futures)), timeout)
    return _ours_as_completed(futures, timeout)


def _ours_as_completed(futures: Any, timeout: float | None) -> Iterator[Any]:
    try:
        for one in waiting.as_completed(futures, timeout):
            yield one if isinstance(one, TaskRunFuture) else TaskRunFuture.of(one)
    except TimeoutError as error:
        text = str(error)
        if "futures unfinished" not in text:
            raise
        raise TimeoutError(text.partition(" after ")[0]) from None


def _ended(future: Any) -> bool:
    wrapped = getattr(future, "_wrapped_future", None)
    known = getattr(future, "_final_state", None) is not None
    return known or (wrapped is not None and bool(wrapped.done())) or (isinstance(future, Future) and future.done())


def _as_they_end(futures: list[Any], timeout: float | None) -> Iterator[Any]:
    """Yield any futures as they end."""
    deadline = None if timeout is None else time.monotonic() + timeout
    woken = threading.Event()
    left = dict.fromkeys(futures)
    watched = False
    while left:
        for one in [one for one in left if _ended(one)]:
            del left[one]
            yield one
        if not left:
            return
        if not watched:
            watched = True
            for one in list(left):
                wrapped = getattr(one, "_wrapped_future", None)
                (one if wrapped is None else wrapped).add_done_callback(lambda _: woken.set())
            continue
        seconds = None if deadline is None else deadline - time.monotonic()
        if (seconds is not None and seconds <= 0) or not woken.wait(seconds):
            if any(map(_ended, left)):
                continue
            raise TimeoutError(f"{len(left)} (of {len(futures)}) futures unfinished")
        woken.clear()


def _results(futures: list[Any], timeout: float | None, raise_on_failure: bool) -> list[Any]:
    _check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    found: dict[int, Any] = {}
    late = f"Timed out waiting for all futures to complete within {timeout} seconds"
    coming = as_completed(futures, timeout)
    while True:
        try:
            one = next(coming, None)
        except TimeoutError:
            raise TimeoutError(late) from None
        if one is None:
            break
        found[id(one)] = one.result(raise_on_failure=raise_on_failure)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(late)
    return [found[id(one)] if id(one) in found else one.result(raise_on_failure=raise_on_failure) for one in futures]


def _is_handle(value: object) -> bool:
    return isinstance(value, (PrefectFuture, Future)) and not isinstance(value, type)


def _resolved(expr: Any, resolve: Callable[[Any], Any]) -> Any:
    def visit(value: Any, context: dict[str, Any]) -> Any:
        if isinstance(context.get("annotation"), quote):
            raise StopVisiting
        if isinstance(value, (MappedFutures, PrefectFutureList)):
            return [resolve(one) for one in value]
        return resolve(value) if _is_handle(value) else value

    return visit_collection(expr, visit, return_data=True, context={})


def _ended_state(future: Any) -> State:
    future.wait()
    found = future.state
    return found if isinstance(found, State) else State.of(found)


def _ended_result(future: Any) -> Any:
    state = _ended_state(future)
    if not state.is_completed():
        raise Exception("At least one result did not complete successfully") from _cause(state)
    return state.result(_sync=True)


def _cause(state: State) -> BaseException | None:
    return state_exception(state) if state.is_final() else None


def resolve_futures_to_states(expr: Any) -> Any:
    """Wait for all futures in nested collections, and return the collections with States in their places."""
    return _resolved(expr, _ended_state)


def resolve_futures_to_results(expr: Any) -> Any:
    """Wait for all futures in nested collections, and return the collections with values in their places.

    Raises Exception where one of them did not complete.
    """
    return _resolved(expr, _ended_result)
