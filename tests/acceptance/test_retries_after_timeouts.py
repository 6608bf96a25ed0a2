"""A time-out with retries left is a retry like any other: handlers, hooks and conditions have their say."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.states import Completed
from anabranch.errors import TaskTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate


def slow_at_first(runner: str, gates: Callable[[str], Gate], marks: Marks, **options: Any) -> Any:
    """A task whose first attempt does not end in its time; its hooks and handlers mark what they hear.

    On Dask and Ray an attempt with a time limit may start a process first.
    """
    never, entered = gates("never"), gates("entered")
    limit = 5.0 if runner in ("dask", "ray") else 0.5

    def handler(task: Any, old: Any, new: Any) -> None:
        marks.add(f"{old.name}-{new.name}")

    def hook(task: Any, run: Any, state: Any) -> None:
        marks.add(f"{state.name} {run.attempt}")

    options = {"on_retry": [hook], "on_failure": [hook], "state_handlers": [handler], **options}

    @task(timeout_seconds=limit, retries=1, **options)
    def work(x: int) -> int:
        if not entered.is_open:
            entered.open()
            never.wait(3 * limit)  # inline stops nobody: who is late there has run out of its time all the same
        return x

    return work


@pytest.mark.parametrize("way", ["submit", "map"])
def test_handlers_and_hooks_hear_of_the_retry(
    runner: str, way: str, gates: Callable[[str], Gate], marks: Marks
) -> None:
    work = slow_at_first(runner, gates, marks)

    @flow
    def main() -> Any:
        future = work.submit(5) if way == "submit" else work.map([5])[0]
        return future.result(), future.state.attempt

    assert main() == (5, 2)
    again = ["Running-AwaitingRetry", "AwaitingRetry 1", "Pending-Retrying", "Retrying-Completed"]
    assert marks.read() == ["Pending-Running", *again]


def test_an_async_condition_is_asked(runner: str, gates: Callable[[str], Gate], marks: Marks) -> None:
    async def condition(task: Any, run: Any, state: Any) -> bool:
        marks.add(f"asked of {state.name} {run.attempt}")
        return False

    work = slow_at_first(runner, gates, marks, retry_condition_fn=condition, state_handlers=[], on_retry=[])

    @flow
    def main() -> str:
        return str(work.submit(5).wait().name)

    assert main() == "TimedOut"
    assert marks.read() == ["asked of TimedOut 1", "TimedOut 1"]


def test_a_handler_may_put_an_end_in_its_place(runner: str, gates: Callable[[str], Gate], marks: Marks) -> None:
    def enough(task: Any, old: Any, new: Any) -> Any:
        return Completed("late is well", data=7) if new.name == "AwaitingRetry" else None

    work = slow_at_first(runner, gates, marks, state_handlers=[enough])

    @flow
    def main() -> Any:
        future = work.submit(5)
        return future.result(), future.state.attempt

    assert main() == (7, 1)
    assert marks.read() == []


def test_a_time_out_that_a_called_task_has_had_is_no_time_out_of_its_caller(runner: str) -> None:
    """Neither is a TaskTimeoutError that the user's own code raises: only the engine knows what is late."""

    @task(timeout_seconds=0.05)
    def slow() -> None:
        threading.Event().wait(0.5)  # inline stops nobody: it is late all the same

    @task(timeout_seconds=60)
    def calls() -> None:
        slow()

    @task
    def raises() -> None:
        raise TaskTimeoutError("mine")

    @flow
    def inner() -> None:
        slow()

    @flow
    def main() -> list[Any]:
        ways = (calls.submit().wait(), calls(return_state=True), raises.submit().wait(), raises(return_state=True))
        return [*((state.name, state.message) for state in ways), inner(return_state=True).message]

    inside = "encountered an exception TaskTimeoutError: "
    late = ("Failed", f"Task run {inside}Task run exceeded timeout of 0.05 second(s)")
    mine = ("Failed", f"Task run {inside}mine")
    of_flow = "Flow run encountered an exception: TaskTimeoutError: Task run exceeded timeout of 0.05 second(s)"
    assert main() == [late, late, mine, mine, of_flow]
