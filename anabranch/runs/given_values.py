"""Futures and States among the arguments of a plain call, of a task or a flow, and the values in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import context
from anabranch.core.errors import UnfinishedRun, UpstreamError
from anabranch.core.failures import exception_of
from anabranch.core.future_lists import FutureList, is_future
from anabranch.core.outcomes import outcome
from anabranch.core.states import State, TriggerFailed
from anabranch.core.walk import fill, lift, waited_for
from anabranch.driver.scope import scope_of
from anabranch.engine import drive
from anabranch.engine.steps import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.maps import MapRun
    from anabranch.core.task_spec import TaskSpec
    from anabranch.engine.steps import Step


class Upstream(NamedTuple):
    """An upstream that did not complete: its name, its state, and its place."""

    name: str
    state: State
    run: tuple[MapRun, int] | None = None

    def exception(self) -> BaseException:
        return self.state.exception() if self.run is None else exception_of(*self.run)

    def mark_handled(self) -> None:
        """Note that its failure has reached the flow's code."""
        if self.run is not None:
            self.run[0].mark_handled(self.run[1])


class GivenValues:
    """The arguments of a call, and the runs that it waits for besides.

    Args:
        name: the name of the called task or flow.
    """

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> None:
        self.name = name
        self.waited = waited_for(wait_for, is_future)
        self.found: list[tuple[Any, bool]]
        self.lifted: tuple[tuple[Any, ...], dict[str, Any]]
        self.lifted, self.found = lift((args, kwargs), is_future)

    def failed(self) -> Upstream | None:
        """Wait for all of them; returns the first that did not complete and is not in `allow_failure`.

        Raises UnfinishedRun for a State that is not final: it does not change, and has no value.
        """
        first: Upstream | None = None
        for given, allow in (*self.waited, *self.found):
            bad = _bad(given)
            if bad is not None and not allow and first is None:
                first = bad
        return first

    def refusal(self, bad: Upstream) -> UpstreamError:
        """Return the error of a call that does not begin because of this upstream."""
        error = UpstreamError(f"{self.name!r} was called with the result of {bad.name}, which ended {bad.state}")
        error.__cause__ = bad.exception()
        return error

    def taken(
        self, spec: TaskSpec, return_state: bool, go: Callable[[tuple[Any, ...], dict[str, Any]], Any], *,
        awaited: bool, on_refusal: Callable[[], None] | None = None,
    ) -> Any:  # fmt: skip
        """Wait, and return the result of `go` with the values, in a coroutine where the result is one.

        Args:
            spec: the spec of the called task or flow.
            return_state: for a call that does not begin, return a State in place of raising UpstreamError.
            awaited: the caller is an event loop, which goes on during the wait.
            on_refusal: called for a call that does not begin because of an upstream.
        """
        if awaited:
            return drive.run_async(self._taken_later(spec, return_state, go, on_refusal))
        bad = self.failed()
        return go(*self.values()) if bad is None else self._turned_away(bad, spec, return_state, on_refusal)

    def _taken_later(
        self, spec: TaskSpec, return_state: bool, go: Callable[..., Any], on_refusal: Callable[[], None] | None
    ) -> Generator[Step, Any, Any]:
        bad: Upstream | None = yield Call(self.failed, blocking=True)
        if bad is not None:
            return self._turned_away(bad, spec, return_state, on_refusal)
        args, kwargs = yield Call(self.values, blocking=True)
        return (yield Call(go, (args, kwargs)))

    def _turned_away(
        self, bad: Upstream, spec: TaskSpec, return_state: bool, on_refusal: Callable[[], None] | None
    ) -> State:
        error = self.refusal(bad)
        if on_refusal is not None:
            on_refusal()
        if not return_state:
            bad.mark_handled()
            raise error
        state = TriggerFailed(str(error), error)
        flow = context.current_flow.get()
        if flow is not None and flow.scope is not None:
            scope_of(flow).leave_ended(state, spec, bad.run)
        return state

    def values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with values in place of futures and States, and exceptions for failed ones allowed."""
        if not self.found:
            return self.lifted  # without annotations
        filled: Any = fill(self.lifted, [outcome(f, not allow) for f, allow in self.found])
        return filled[0], filled[1]


def _bad(given: Any) -> Upstream | None:
    """Wait for a future, list or State in an argument; returns it, or its first item, if that did not complete."""
    if isinstance(given, State):
        return _bad_state(given)
    map: MapRun = given._map
    if isinstance(given, FutureList):
        given.wait()
        bad = next(iter(given.failed()), None)
    else:
        given.wait()
        bad = None if given.state.is_completed() else given._index
    return None if bad is None else Upstream(f"{map.spec.name}[{bad}]", map.state(bad), (map, bad))


def _bad_state(state: State) -> Upstream | None:
    if state.is_completed():
        return None
    if not state.is_final():
        raise UnfinishedRun(
            f"an argument is the State {state}, which is not final and has no value: wait for its run first, give its "
            "future, or the State itself in quote(...)"
        )
    run = state.origin()
    return Upstream("a run" if run is None else f"{run[0].spec.name}[{run[1]}]", state, run)
