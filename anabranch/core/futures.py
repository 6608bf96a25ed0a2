"""Future: a handle to one task run. Holding it keeps the value; letting it go (or `release()`) lets the value die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from anabranch.core.errors import UnfinishedRun
from anabranch.core.failures import exception_of
from anabranch.core.showing import Shown
from anabranch.core.states import CACHED, SUCCESSFUL, State, ValueSource
from anabranch.core.tracebacks import hide
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.maps import MapRun


class Future(ValueSource, Shown, Generic[R_co]):
    """A handle to one task run; the value lives at least as long as the handle.

    `wait()` returns the final state, `result()` the value; neither moves data for others.
    Usable in `await` as well. Thread-safe.
    """

    __slots__ = ("__weakref__", "_index", "_map", "_released")

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        FUTURES.add(cls)
        HANDLES.add(cls)

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
        try:
            if not self.done():
                self._map.scope.wait(self._map, self._index, timeout)
        except BaseException as error:
            hide(error)
            raise
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
            UpstreamError: it did not run, because an upstream did not complete.
            CrashedRun: its infrastructure ended it.
            CancelledRun: it was cancelled.
            Exception: the run's own exception.
        """
        try:
            self._finish(timeout)
            map, index = self._map, self._index
            if map.codes[index] in SUCCESSFUL:
                return self.value()
            if map.codes[index] <= CACHED:  # its value was lost just now; the item runs again, or has
                return self.result(timeout, raise_on_failure)
            map.mark_handled(index)
            if not raise_on_failure:
                return exception_of(map, index)
            raise exception_of(map, index)
        except BaseException as error:
            hide(error)
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the run's exception, None when it completed."""
        self._finish(timeout)
        if self._map.codes[self._index] in SUCCESSFUL:
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
        if map.codes[index] in SUCCESSFUL:
            if self._released:
                raise map.released_error(index)
            return map.scope.value(map, index)
        map.mark_handled(index)
        return exception_of(map, index)

    def origin(self) -> tuple[Any, int]:
        return self._map, self._index

    def __await__(self) -> Generator[Any, None, R_co]:
        try:
            if not self.done():
                yield from self._map.scope.pause(self._map, self._index).__await__()
            return self.result(timeout=0 if self.done() else None)
        except BaseException as error:
            hide(error)
            raise

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


# Known by their types, so that mocks do not count.
FUTURES: set[type] = {Future}  # with its subclasses
HANDLES: set[type] = {Future}  # with future lists
