"""Hooks of flows, and a flow's state handlers, which may put another state in the place of one."""

from __future__ import annotations

import asyncio
import sys
from threading import Event
from typing import Any

import pytest

from anabranch import State, flow, state, task
from anabranch import session as sessions
from anabranch.core.errors import CancelledRun, FailedRun

HOOKS = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed", "on_retry")


@task
def good() -> int:
    return 1


@task
def bad() -> int:
    raise ValueError("no good")


class Seen:
    """What hooks and handlers were told, in its order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.runs: list[Any] = []

    def options(self, **more: Any) -> dict[str, Any]:
        def noting(which: str) -> Any:
            def hook(flow: Any, run: Any, new: State) -> None:
                self.lines.append(f"{which} {new.name}")
                self.runs.append((flow, run, new))

            return hook

        def handler(flow: Any, old: State, new: State) -> None:
            self.lines.append(f"{old.name}-{new.name}")

        return {"state_handlers": [handler], **{which: [noting(which)] for which in HOOKS}, **more}


@pytest.fixture
def seen() -> Seen:
    return Seen()


BEGINS = ["Pending-Running", "on_running Running"]
AGAIN = ["Running-AwaitingRetry", "on_retry AwaitingRetry", "AwaitingRetry-Retrying", "on_running Retrying"]
SEQUENCES: dict[str, list[str]] = {
    "completes": [*BEGINS, "Running-Completed", "on_completion Completed"],
    "raises": [*BEGINS, *AGAIN, "Retrying-Failed", "on_failure Failed"],
    "a task fails": [*BEGINS, *AGAIN, "Retrying-Failed", "on_failure Failed"],
    "is cancelled": [*BEGINS, "Running-Cancelled", "on_cancellation Cancelled"],
    "exits": [*BEGINS, "Running-Crashed", "on_crashed Crashed"],
    "returns Crashed": [*BEGINS, "Running-Crashed", "on_crashed Crashed"],
    "returns Cancelled": [*BEGINS, "Running-Cancelled", "on_cancellation Cancelled"],
}


@pytest.mark.parametrize("how", list(SEQUENCES))
def test_the_same_hooks_on_all_runners(runner: str, how: str, seen: Seen) -> None:
    @flow(**seen.options(retries=1))
    def main() -> Any:
        good.submit()
        if how == "raises":
            raise ValueError("its own")
        if how == "exits":
            sys.exit(3)
        if how == "is cancelled":
            seen.runs[0][1].cancel()  # as `anabranch cancel` asks for it, through the session
        if how == "a task fails":
            return bad.submit()
        return getattr(state, how.removeprefix("returns "))("by hand") if "returns" in how else "data"

    if how == "exits":
        with pytest.raises(SystemExit):
            main(return_state=True)
        name = "Crashed"
    else:
        name = main(return_state=True).name
    assert seen.lines == SEQUENCES[how]
    recorded = sessions.current().records.flow_run(seen.runs[0][1].id)
    assert recorded is not None
    assert recorded.state_name == name == seen.lines[-1].rsplit(" ", 1)[1]


def test_the_same_hooks_of_an_async_flow(runner: str, seen: Seen) -> None:
    @flow(**seen.options())
    async def main() -> Any:
        return await good.submit()

    assert asyncio.run(main()) == 1
    assert seen.lines == SEQUENCES["completes"]


def test_a_time_out_is_a_failure(threads: str, seen: Seen) -> None:
    given_up = Event()

    @flow(**seen.options(timeout_seconds=0.02))
    def main() -> None:
        while not given_up.wait(0.001):  # until the time-out is raised in here
            continue

    try:
        assert main(return_state=True).name == "TimedOut"
    finally:
        given_up.set()
    assert seen.lines == [*BEGINS, "Running-TimedOut", "on_failure TimedOut"]


def test_a_cancelled_flow_raises(threads: str, seen: Seen) -> None:
    @flow(**seen.options())
    def main() -> None:
        seen.runs[0][1].cancel()

    with pytest.raises(CancelledRun):
        main()
    assert seen.lines[-1] == "on_cancellation Cancelled"


def test_a_subflow_has_hooks_of_its_own(threads: str, seen: Seen) -> None:
    outer = Seen()

    @flow(**seen.options())
    def child() -> None:
        raise ValueError("child")

    @flow(**outer.options())
    def parent() -> str:
        assert child(return_state=True).is_failed()
        return "data"

    assert parent() == "data"
    assert seen.lines == [*BEGINS, "Running-Failed", "on_failure Failed"]
    assert outer.lines == SEQUENCES["completes"]


def test_hooks_are_given_the_flow_its_run_and_its_state(threads: str, seen: Seen) -> None:
    @flow(**seen.options(flow_run_name="run-of-{x}", tags=["nightly"]))
    def main(x: int) -> int:
        return x

    assert main(5) == 5
    (obj, run, new) = seen.runs[-1]
    assert obj is main
    assert (run.name, run.flow_name, run.tags, run.parameters) == ("run-of-5", "main", ("nightly",), {"x": 5})
    assert (new.name, new.result()) == ("Completed", 5)


@pytest.mark.parametrize("which", ["on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed"])
def test_hooks_may_be_added_by_decorators(threads: str, which: str) -> None:
    ends = {"on_failure": "Failed", "on_cancellation": "Cancelled", "on_crashed": "Crashed"}
    told: list[str] = []

    @flow(**{which: [lambda flow, run, new: told.append("first")]})
    def main() -> Any:
        return getattr(state, ends[which])("by hand") if which in ends else 5

    @getattr(main, which)
    def added(flow: Any, run: Any, new: State) -> None:
        told.append(new.name)

    main(return_state=True)
    assert told == ["first", {"on_running": "Running", "on_completion": "Completed", **ends}[which]]


# -- handlers that replace a state ---------------------------------------------------------------


def replacing(name: str, by: Any) -> Any:
    """A handler that puts a state in the place of those of that name."""
    return lambda flow, old, new: by(new) if new.name == name else None


def test_a_failure_is_replaced(runner: str, seen: Seen) -> None:
    forgive = replacing("Failed", lambda new: state.Completed("forgiven", -1))

    @flow(**seen.options(state_handlers=[forgive]))
    def main() -> Any:
        return bad.submit()

    assert main() == -1
    assert main(return_state=True).message == "forgiven"
    assert seen.lines == ["on_running Running", "on_completion Completed"] * 2


def test_a_success_is_replaced(threads: str, seen: Seen) -> None:
    def refuse(new: State) -> State:
        return state.Failed(f"{new.result()} is too little")

    @flow(**seen.options(state_handlers=[replacing("Completed", refuse)]))
    def main() -> int:
        return good()

    with pytest.raises(FailedRun, match="1 is too little"):
        main()
    assert seen.lines == ["on_running Running", "on_failure Failed"]


@pytest.mark.parametrize("by", [state.Completed("not needed", 7), state.Failed("not today")])
def test_a_run_is_ended_before_it_begins(threads: str, seen: Seen, by: State) -> None:
    """Prefect 1's handlers could do so: what they put in the place of Running is the end of the run."""

    @flow(**seen.options(state_handlers=[replacing("Running", lambda new: by)]))
    def main() -> None:
        raise AssertionError("it never begins")

    if by.is_completed():
        assert main() == 7
    else:
        with pytest.raises(FailedRun, match="not today"):
            main()
    assert seen.lines == ["on_completion Completed" if by.is_completed() else "on_failure Failed"]


def test_a_retry_is_replaced(threads: str, seen: Seen) -> None:
    @flow(**seen.options(retries=3, state_handlers=[replacing("AwaitingRetry", lambda new: state.Failed("no more"))]))
    def main() -> None:
        raise ValueError("once")

    ended = main(return_state=True)
    assert (ended.name, ended.message) == ("Failed", "no more")
    assert seen.lines == ["on_running Running", "on_failure Failed"]


def test_a_handler_that_raises_fails_the_run(threads: str, seen: Seen) -> None:
    def broken(new: State) -> State:
        raise KeyError("handler")

    @flow(**seen.options(state_handlers=[replacing("Completed", broken)]))
    def main() -> int:
        return 1

    with pytest.raises(KeyError, match="handler"):
        main()
    assert seen.lines == ["on_running Running", "on_failure Failed"]
