"""FutureList: one object for the runs of a whole map. It holds columns, not futures: `futures[i]` makes one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, overload

from anabranch.core.counts import Counts
from anabranch.core.failures import exception_of
from anabranch.core.futures import HANDLES, Future
from anabranch.core.map_states import States
from anabranch.core.showing import Shown
from anabranch.core.states import FAILING, SUCCESSFUL, State
from anabranch.core.streams import Results, take
from anabranch.core.tracebacks import hide
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from anabranch.core.maps import MapRun


_T = TypeVar("_T")
TOGETHER = 1024  # futures of a list with handles taken at once


class FutureList(Shown, Generic[R_co]):
    """All futures of one map: a sequence, and one object.

    Holding the list keeps all values (unless the map has ``keep="none"``); use it as a context
    manager, or call `release()`, to let them go earlier. Length waits for an unsized input to end.
    """

    __slots__ = ("__weakref__", "_map", "_released")

    one: ClassVar[type[Future]] = Future  # the class of its futures

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        LISTS.add(cls)
        HANDLES.add(cls)

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
        return self.one(self._map, index)

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
                    yield self.one(map, index)
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
        if map.codes[index] in SUCCESSFUL:
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
        try:
            self._map.scope.wait(self._map, None, timeout)
            self._map.scope.barrier(self._map)
        except BaseException as error:
            hide(error)
            raise
        return self.states

    @overload
    def result(self, timeout: float | None = None, raise_on_failure: Literal[True] = True) -> list[R_co]: ...
    @overload
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R_co | BaseException]: ...
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[Any]:
        """All values in order; see `Future.result`. The first failure in order is raised."""
        try:
            return self._result(timeout, raise_on_failure)
        except BaseException as error:
            hide(error)
            raise

    def _result(self, timeout: float | None, raise_on_failure: bool) -> list[Any]:
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
        map.scope.barrier(map)
        if self._released:
            raise map.released_error(0)
        found: list[Any] = take(map, 0, len(map.codes), raise_on_failure)
        while len(found) < len(map.codes):  # one may fail that had completed, as its lost value is made again
            found += take(map, len(found), len(map.codes), raise_on_failure)
        return found

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        try:
            if not self.done():
                yield from self._map.scope.pause(self._map, None).__await__()
            return self.result()
        except BaseException as error:
            hide(error)
            raise

    def _raise_input_error(self) -> None:
        if self._map.error is not None:
            raise self._map.error

    @overload
    def results(self, raise_on_failure: Literal[True] = True) -> Results[R_co]: ...
    @overload
    def results(self, raise_on_failure: bool) -> Results[R_co | BaseException]: ...
    def results(self, raise_on_failure: bool = True) -> Results[Any]:
        """Yield values in order as they come, releasing each once it was taken.

        While the iterator is open it holds the map back: at most a window of values is ahead of
        the reader. Leaving it early cancels what was not yet pulled from an unsized input. For `async for` too.
        """
        return Results(self._map, raise_on_failure, self)

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
        counts = ", ".join(f"{n:,} {name}" for name, n in self.counts.items())
        codes = self._map.codes
        first = min((at for code in FAILING if (at := codes.find(code)) >= 0), default=None)
        failed = "" if first is None else f"; the first that failed is {first}"
        return f"<FutureList {self._map.spec.name!r}: {counts or 'empty'}{failed}>"


LISTS: set[type] = {FutureList}  # with its subclasses
HANDLES.add(FutureList)


def is_future(value: object) -> bool:
    """Return whether a value stands for a run's value (a State does too), by its type; mocks do not count."""
    kind = type(value)
    return kind in HANDLES or issubclass(kind, State)


def is_future_list(value: object) -> bool:
    return type(value) in LISTS
