"""Futures and States among the arguments of a plain call, of a task or a flow, and the values in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core import context
from anabranch.core.errors import UnfinishedRun, UpstreamError
from anabranch.core.failures import exception_of
from anabranch.core.futures import FutureList, is_future
from anabranch.core.states import State, TriggerFailed
from anabranch.core.walk import fill, lift
from anabranch.engine import drive

if TYPE_CHECKING:
    from collections.abc import Generator

    from anabranch.core.contracts import TaskSpec
    from anabranch.core.maps import MapRun
    from anabranch.engine.steps import Step


class Upstream(NamedTuple):
    """An upstream that did not complete: how it is called, its state, and where it is known."""

    name: str
    state: State
    run: tuple[MapRun, int] | None = None

    def exception(self) -> BaseException:
        return self.state.exception() if self.run is None else exception_of(*self.run)

    def handle(self) -> None:
        """Its failure has reached the flow's code."""
        if self.run is not None:
            self.run[0].handle(self.run[1])


class GivenValues:
    """What a call was given, and what it waits for besides.

    Args:
        name: of the task or flow that is called.
    """

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> None:
        self.name = name
        self.waited = [] if wait_for is None else lift(wait_for, is_future)[1]
        self.found: list[tuple[Any, bool]]
        self.lifted: tuple[tuple[Any, ...], dict[str, Any]]
        self.lifted, self.found = lift((args, kwargs), is_future)

    def failed(self) -> Upstream | None:
        """Wait for all of it; the first that did not complete and is not in `allow_failure`.

        Raises UnfinishedRun for a State that is not final: it never will be, and has no value.
        """
        first: Upstream | None = None
        for given, allow in (*self.waited, *self.found):
            bad = _bad(given)
            if bad is not None and not allow and first is None:
                first = bad
        return first

    def refusal(self, bad: Upstream) -> UpstreamError:
        """The error of a call that does not begin because of this upstream."""
        error = UpstreamError(f"{self.name!r} was called with the result of {bad.name}, which ended {bad.state}")
        error.__cause__ = bad.exception()
        return error

    def turn_away(self, bad: Upstream, spec: TaskSpec, return_state: bool, *, awaited: bool) -> Any:
        """End a call that does not begin: raise UpstreamError, or give its State.

        Args:
            spec: of what is called.
            awaited: its call gives a coroutine.
        """
        error = self.refusal(bad)
        if not return_state:
            bad.handle()
            raise error
        state = TriggerFailed(str(error), error)
        flow = context.current_flow.get()
        if flow is not None and flow.scope is not None:
            flow.scope.leave_ended(state, spec, bad.run)
        return drive.run_async(_answered(state)) if awaited else state

    def values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with values in place of futures and States, and exceptions for those in `allow_failure`."""
        if not self.found:
            return self.lifted  # annotations are taken off
        filled: Any = fill(self.lifted, [f.result(raise_on_failure=not allow) for f, allow in self.found])
        return filled[0], filled[1]


def _answered(state: State) -> Generator[Step, Any, State]:
    """A policy without a step."""
    yield from ()
    return state


def _bad(given: Any) -> Upstream | None:
    """Wait for what stands in an argument; itself, or the first item of it, if that did not complete."""
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
