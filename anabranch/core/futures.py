"""Futures: a handle to one task run, and the future list, one object for a whole map.

Holding a handle keeps the value; letting it go (or `release()`) lets the value die. A future
list counts as one handle for all its items and holds columns, not futures: `futures[i]` makes
one when asked.
"""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from anabranch.core.errors import UnfinishedRun
from anabranch.core.failures import exception_of
from anabranch.core.map_states import States
from anabranch.core.states import CACHED, COMPLETED, Counts, State, ValueSource
from anabranch.core.streams import stream, take
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from anabranch.core.maps import MapRun

_T = TypeVar("_T")
_SUCCESS = (COMPLETED, CACHED)
TOGETHER = 1024  # futures of a list with handles taken at once


class Future(ValueSource, Generic[R_co]):
    """A handle to one task run; the value lives at least as long as the handle.

    `wait()` returns the final state, `result()` the value; neither moves data for others.
    Usable in `await` as well. Thread-safe.
    """

    __slots__ = ("__weakref__", "_index", "_map", "_released")

    def __init__(self, map: Any, index: int) -> None:
        self._map: MapRun = map
        self._index = index
        self._released = False

    # -- looking ---------------------------------------------------------------------------------

    @property
    def task_run_id(self) -> str:
        return f"{self._map.id}/{self._index}"

    @property
    def state(self) -> State[R_co]:
        """The state of the run now, without waiting."""
        found = self._map.state(self._index)
        if found.is_final():
            found.data = self
        return found

    def get_state(self) -> State[R_co]:
        """The same as `.state`."""
        return self.state

    def done(self) -> bool:
        return self._map.is_terminal(self._index)

    def cancelled(self) -> bool:
        return self.state.is_cancelled()

    def running(self) -> bool:
        return self.state.is_running()

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> State[R_co]:
        """Wait for the end (or `timeout` seconds) and return the state then; never raises the run's error."""
        if not self.done():
            self._map.scope.wait(self._map, self._index, timeout)
        return self.state

    @overload
    def result(self, timeout: float | None = None, raise_on_failure: Literal[True] = True) -> R_co: ...
    @overload
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R_co | BaseException: ...
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Wait for the end and return the value.

        Args:
            timeout: seconds; None waits for ever.
            raise_on_failure: False returns the run's exception instead of raising it.

        Raises:
            TimeoutError: the run was not finished in time.
            ResultReleased: the value was released.
            The run's own exception, or UpstreamError, CrashedRun, CancelledRun.
        """
        self._finish(timeout)
        map, index = self._map, self._index
        if map.codes[index] in _SUCCESS:
            return self.value()
        if map.codes[index] <= CACHED:  # its value was lost just now; the item runs again, or has
            return self.result(timeout, raise_on_failure)
        map.mark_handled(index)
        error = exception_of(map, index)
        if not raise_on_failure:
            return error
        try:
            raise error
        finally:
            del error  # the traceback would hold this frame, and the frame the exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the run's exception, None when it completed."""
        self._finish(timeout)
        if self._map.codes[self._index] in _SUCCESS:
            return None
        self._map.mark_handled(self._index)
        return exception_of(self._map, self._index)

    def _finish(self, timeout: float | None) -> None:
        map, index = self._map, self._index
        if map.is_terminal(index):
            return
        if not map.scope.wait(map, index, timeout):
            raise TimeoutError(f"{self!r} was not finished after {timeout} s")
        if not map.is_terminal(index):
            raise map.error or UnfinishedRun(f"{self!r} never came to run: its map ended after {len(map.codes)} items")

    def value(self) -> Any:
        """Return the value of a completed run, the exception of another; see `result`."""
        map, index = self._map, self._index
        if map.codes[index] in _SUCCESS:
            if self._released:
                raise map.released_error(index)
            return map.scope.value(map, index)
        map.mark_handled(index)
        return exception_of(map, index)

    def origin(self) -> tuple[Any, int]:
        return self._map, self._index

    def __await__(self) -> Generator[Any, None, R_co]:
        if not self.done():
            yield from self._map.scope.pause(self._map, self._index).__await__()
        return self.result(timeout=0 if self.done() else None)

    # -- acting ----------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel the run: it never starts, or is stopped where the runner can; False when it had ended."""
        if self.done():
            return False
        self._map.scope.cancel(self._map, (self._index,))
        return self.state.is_cancelled()

    def add_done_callback(self, fn: Callable[[Future[R_co]], object]) -> None:
        """Call `fn(future)` once the run has ended, on the program's callback thread; its errors are logged."""
        scope = self._map.scope

        def ended() -> None:
            scope.call_back(lambda: fn(self))

        scope.on_end(self._map, self._index, ended)

    def release(self) -> None:
        """Release the value now; reading it later raises ResultReleased. Idempotent."""
        if not self._released:
            self._released = True
            self._map.scope.drop_handle(self._map, self._index)

    def __del__(self) -> None:
        try:
            if not self._released:
                self._released = True
                self._map.scope.drop_handle_soon(self._map, self._index)
        except AttributeError:  # half made, or the interpreter is ending
            pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Future) and other._map is self._map and other._index == self._index

    def __hash__(self) -> int:
        return hash((id(self._map), self._index))

    def __repr__(self) -> str:
        name = self._map.header.names.get(self._index, self._map.spec.name)
        return f"<Future {name!r} {self._index} {self.state.name}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be pickled: pass it as an argument of submit or map (its value travels), or use .result()"
        )

    def _repr_html_(self) -> str:
        return f"<code>{escape(self._map.spec.name)}[{self._index}]: {escape(self.state.name)}</code>"


class FutureList(Generic[R_co]):
    """All futures of one map: a sequence, and one object.

    Holding the list keeps all values (unless the map has ``keep="none"``); use it as a context
    manager, or call `release()`, to let them go earlier. Length waits for an unsized input to end.
    """

    __slots__ = ("__weakref__", "_map", "_released")

    def __init__(self, map: Any) -> None:
        self._map: MapRun = map
        self._released = False

    # -- sequence --------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self._map.closed:
            self._map.scope.wait(self._map, None, None)
        return len(self._map.codes)

    @overload
    def __getitem__(self, index: int) -> Future[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Future[R_co]]: ...
    def __getitem__(self, index: int | slice) -> Future[R_co] | list[Future[R_co]]:
        if isinstance(index, slice):
            return list(self._each(range(*index.indices(len(self)))))
        if index < 0:
            index += len(self)
        if index < 0 or (self._map.closed and index >= len(self._map.codes)):
            raise IndexError(f"map of {len(self._map.codes)} items has no item {index}")
        return self._future(index)

    def __iter__(self) -> Iterator[Future[R_co]]:
        index = 0
        while True:
            if index >= len(self._map.codes):
                if not self._map.closed:
                    self._map.scope.wait(self._map, index, None)
                if index >= len(self._map.codes):
                    return
            known = range(index, len(self._map.codes))
            yield from self._each(known)
            index = known.stop

    def _future(self, index: int) -> Future[R_co]:
        if self._released:
            raise self._map.released_error(index)
        self._map.scope.take_handle(self._map, index)
        return Future(self._map, index)

    def _each(self, items: Iterable[int]) -> Iterator[Future[R_co]]:
        """Yield futures of these items, made one at a time; handles are taken for many at once."""
        map, left = self._map, iter(items)
        while some := tuple(islice(left, TOGETHER)):
            map.scope.take_handles(map, some)
            given = 0
            try:
                for index in some:
                    if self._released:
                        raise map.released_error(index)
                    given += 1
                    yield Future(map, index)
            finally:
                for index in some[given:]:
                    map.scope.drop_handle_soon(map, index)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def states(self) -> States[R_co]:
        """The states of all items as of now: one object, which makes each State on demand."""
        return States(self._map.scope.moment(self._map), self)

    def item_origin(self, index: int) -> tuple[Any, int]:
        """Return, for a state that was handed out, the run that has its value."""
        return self._map, index

    def item_value(self, index: int) -> Any:
        """Return, for a state that was handed out, the value or exception of its ended item."""
        map = self._map
        if map.codes[index] in _SUCCESS:
            if self._released:
                raise map.released_error(index)
            return map.scope.value(map, index)
        map.mark_handled(index)
        return exception_of(map, index)

    @property
    def counts(self) -> dict[str, int]:
        """The number of items in each state."""
        found = Counts(self._map.codes).as_dict()
        flying = min(self._map.queue.sent, found.get("Pending", 0))
        if flying:
            found["Running"] = found.get("Running", 0) + flying
            found["Pending"] -= flying
        return {name: n for name, n in found.items() if n}

    @property
    def progress(self) -> tuple[int, int | None]:
        """(ended, total); total is None while an unsized input goes on."""
        return self._map.done, len(self._map.codes) if self._map.closed else None

    @property
    def bytes_held(self) -> int:
        """Bytes of this map's values that are held somewhere now, as estimated where they were made."""
        return self._map.footprint.held

    @property
    def bytes_spilled(self) -> int:
        """Bytes of this map's values that were moved from memory to disk so far."""
        return self._map.footprint.spilled

    @property
    def bytes_released(self) -> int:
        """Bytes of this map's values that were released with their last reader so far."""
        return self._map.footprint.released

    def done(self) -> bool:
        return self._map.finished

    def failed(self) -> list[int]:
        """Indices of the items that ended in any other state than Completed."""
        return self._map.failures()

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> States[R_co]:
        """Wait for all items (or `timeout` seconds) and return their states, see `states`; moves no data."""
        self._map.scope.wait(self._map, None, timeout)
        self._map.scope.barrier()
        return self.states

    @overload
    def result(self, timeout: float | None = None, raise_on_failure: Literal[True] = True) -> list[R_co]: ...
    @overload
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R_co | BaseException]: ...
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[Any]:
        """All values in order; see `Future.result`. The first failure in order is raised."""
        map = self._map
        if not map.scope.wait(map, None, timeout):
            done, total = self.progress
            raise TimeoutError(f"map of {map.spec.name!r}: {done} of {total} items were finished after {timeout} s")
        self._raise_input_error()
        bad = map.failures()
        for index in bad:
            map.mark_handled(index)
        if bad and raise_on_failure:
            raise exception_of(map, bad[0])
        map.scope.barrier()
        if self._released:
            raise map.released_error(0)
        found: list[Any] = take(map, 0, len(map.codes), raise_on_failure)
        while len(found) < len(map.codes):  # one may fail that had completed, as its lost value is made again
            found += take(map, len(found), len(map.codes), raise_on_failure)
        return found

    def _raise_input_error(self) -> None:
        if self._map.error is not None:
            raise self._map.error

    @overload
    def results(self, raise_on_failure: Literal[True] = True) -> Iterator[R_co]: ...
    @overload
    def results(self, raise_on_failure: bool) -> Iterator[R_co | BaseException]: ...
    def results(self, raise_on_failure: bool = True) -> Iterator[Any]:
        """Yield values in order as they come, releasing each once it was taken.

        While the iterator is open it holds the map back: at most a window of values is ahead of
        the reader. Leaving it early cancels what was not yet pulled from an unsized input.
        """
        return stream(self._map, raise_on_failure, self)

    def reduce(self: FutureList[_T], fn: Callable[[_T, _T], _T], *, fan_in: int = 64) -> Future[_T]:
        """Combine all values pairwise on the workers, as a tree; returns a future of the one value.

        Args:
            fn: takes two values and gives one; must be associative.
            fan_in: values that one combining step takes.
        """
        return self._map.scope.reduce(self._map, fn, fan_in)

    # -- acting ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel all items that have not ended; finished ones stay."""
        self._map.scope.cancel(self._map, None)

    def release(self) -> None:
        """Release all values without other readers. Idempotent."""
        if not self._released:
            self._released = True
            self._map.scope.drop_list(self._map)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __del__(self) -> None:
        try:
            if not self._released:
                self._released = True
                self._map.scope.drop_list(self._map)
        except AttributeError:
            pass

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled: pass it as an argument of submit or map, or use .result()")

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items())
        return f"<FutureList {self._map.spec.name!r}: {counts or 'empty'}>"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{name}</td><td>{n}</td></tr>" for name, n in self.counts.items())
        return f"<table><caption>map of {escape(self._map.spec.name)}</caption>{rows}</table>"


def is_future(value: object) -> bool:
    """Return whether a value stands for a run's value (a State does too), by its type; mocks do not count."""
    kind = type(value)
    return kind is Future or kind is FutureList or issubclass(kind, State)


def is_future_list(value: object) -> bool:
    return type(value) is FutureList
