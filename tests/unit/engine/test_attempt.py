"""One attempt as policy, driven in place: what it calls, how it ends, what it says; no runner, no dispatcher."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.states import AwaitingRetry, Cancelled, Completed, Failed, State
from anabranch.engine import attempt as module
from anabranch.engine import drive
from anabranch.engine.attempt import adopt, crashed, finish
from anabranch.engine.steps import PastTime
from tests.unit.engine.trying import Try, fails

if TYPE_CHECKING:
    from anabranch.core.context import TaskRun
    pass


# -- how a function ends -------------------------------------------------------------------------------


async def _later(x: int) -> int:
    return x + 1


def _items(x: int) -> Any:
    yield x
    yield x + 1


async def _late_items(x: int) -> Any:
    yield x
    yield x + 1


@pytest.mark.parametrize(
    ("fn", "value"), [(lambda x: x + 1, 2), (_later, 2), (_items, [1, 2]), (_late_items, [1, 2])]
)
def test_what_a_function_gives_is_its_value(fn: Any, value: Any) -> None:
    result = Try(fn).end(1)
    assert (result.code, result.value) == (states.COMPLETED, value)


def test_what_a_function_raises_fails_the_run() -> None:
    one = Try(fails)
    result = one.end()
    assert result.code == states.FAILED
    assert isinstance(result.error, ValueError)
    assert result.message == "Task run encountered an exception ValueError: bad"
    assert one.warned == [], "without retries nobody is told that there is none"


def test_what_ends_a_worker_is_let_through() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Try(leave).end()


@pytest.mark.parametrize(
    ("error", "message", "reason"),
    [
        (SystemExit(3), "Execution was ended by system exit: 3", "exit"),
        (KeyboardInterrupt(), "Execution was ended by KeyboardInterrupt", "cancelled/ctrl-c"),
        (GeneratorExit(), "Execution was ended by GeneratorExit", "exit"),
    ],
)
def test_its_end_is_a_crash_that_says_by_what(error: BaseException, message: str, reason: str) -> None:
    result = crashed(error)
    assert (result.code, result.message, result.reason) == (states.CRASHED, message, reason)


def test_out_of_memory_is_its_own_failure_unless_its_worker_has_a_cap() -> None:
    def fat() -> None:
        raise MemoryError

    assert Try(fat).name() == "Failed"
    assert Try(fat, world={"capped": lambda: False}).name() == "Failed"
    with pytest.raises(MemoryError):
        Try(fat, world={"capped": lambda: True}).end()


def test_a_time_out_of_its_own_is_told_from_one_of_a_task_inside() -> None:
    def raises(kind: type[Exception]) -> None:
        raise kind("too long")

    result = Try(raises, timeout_seconds=5).end(PastTime)
    assert (states.NAMES[result.code][0], result.message) == ("TimedOut", "Task run exceeded timeout of 5.0 second(s)")
    inside = Try(raises, timeout_seconds=5).end(TaskTimeoutError)
    told = "Task run encountered an exception TaskTimeoutError: too long"
    assert (states.NAMES[inside.code][0], inside.message) == ("Failed", told)


@pytest.mark.parametrize(("took", "name"), [(4.9, "Completed"), (5.1, "TimedOut")])
def test_what_could_not_be_stopped_is_late_all_the_same(
    monkeypatch: pytest.MonkeyPatch, took: float, name: str
) -> None:
    """Its runner watches the limit, and may have no means to stop it."""
    clock = iter([100.0, 100.0 + took])
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    assert Try(lambda: 1, timeout_seconds=5, world={"limited": False}).name() == name


# -- states that it returns ----------------------------------------------------------------------------


def test_a_returned_state_is_how_it_ended() -> None:
    named = Try(lambda: Completed("as asked", 5, name="Skipped")).end()
    assert (named.code, named.value, named.message, named.name) == (states.COMPLETED, 5, "as asked", "Skipped")
    failed = Try(lambda: Failed("no", ValueError("why"))).end()
    assert (failed.code, repr(failed.error), failed.message) == (states.FAILED, "ValueError('why')", "no")
    assert failed.name == "", "it has its type's own"
    assert Try(lambda: Cancelled("by hand")).name() == "Cancelled"


def test_a_returned_state_of_something_under_way_is_a_value() -> None:
    running = states.Running()
    result = Try(lambda: running).end()
    assert (result.code, result.value) == (states.COMPLETED, running)


def test_a_state_that_awaits_a_retry_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", types.SimpleNamespace(time=lambda: 1000.0))
    again = AwaitingRetry("later")
    again.start_time = 1007.5
    assert adopt(again).delay == 7.5
    again.start_time = 990.0
    assert adopt(again).delay == 0.0


# -- retries -------------------------------------------------------------------------------------------


def test_a_failure_awaits_its_retry_and_says_when() -> None:
    one = Try(fails, retries=2, retry_delay_seconds=[0, 7])
    result = one.end()
    assert (result.code, result.delay) == (states.AWAITING_RETRY, 0.0)
    one.run.attempt = 2
    assert one.end().delay == 7.0
    one.run.attempt = 3
    assert one.name() == "Failed"
    failed_with = "Task run failed with exception: ValueError('bad')"
    assert one.warned == [
        f"{failed_with} - Retry 1/2 will start immediately",
        f"{failed_with} - Retry 2/2 will start 7 second(s) from now",
        f"{failed_with} - Retries are exhausted",
    ]


def test_attempts_that_the_infrastructure_lost_do_not_count() -> None:
    one = Try(fails, retries=1)
    one.run.attempt, one.run.uncounted_attempts = 4, 3
    assert one.name() == "AwaitingRetry"
    one.run.attempt = 5
    assert one.name() == "Failed"


def test_a_time_out_is_tried_again_for_that_reason() -> None:
    def late() -> None:
        raise PastTime("too long")

    result = Try(late, retries=1, timeout_seconds=5).end()
    assert (states.NAMES[result.code][0], result.reason) == ("AwaitingRetry", "timeout")


@pytest.mark.parametrize(("answer", "name"), [(True, "AwaitingRetry"), (False, "Failed")])
def test_a_condition_decides_last_and_sees_the_failure(answer: bool, name: str) -> None:
    seen: list[Any] = []

    def condition(task: Any, run: TaskRun, state: State) -> bool:
        seen.append((run is one.run, run.state is state, state.name, str(state.exception())))
        return answer

    one = Try(fails, retries=1, retry_condition_fn=condition)
    assert one.name() == name
    assert seen == [(True, True, "Failed", "bad")]


def test_a_condition_is_not_asked_where_there_is_no_retry_left() -> None:
    def condition(task: Any, run: TaskRun, state: State) -> bool:
        raise AssertionError

    one = Try(fails, retries=1, retry_condition_fn=condition)
    one.run.attempt = 2
    assert one.name() == "Failed"
    assert one.warned[0].endswith("Retries are exhausted")


def test_a_condition_that_raises_means_no_retry() -> None:
    one = Try(fails, retries=1, retry_condition_fn=lambda task, run, state: 1 / 0)
    assert one.name() == "Failed"
    assert one.warned == ["retry_condition_fn raised ZeroDivisionError('division by zero'): no retry"]


def test_items_that_were_taken_cannot_be_taken_back() -> None:
    one = Try(fails, retries=1, world={"given": True})
    assert one.name() == "Failed"
    assert one.warned[0].endswith("No retry: items of it were taken already")


# -- hooks and handlers --------------------------------------------------------------------------------


def test_hooks_and_handlers_see_each_transition_in_its_order() -> None:
    seen: list[str] = []
    hooks: dict[str, Any] = {
        option: [lambda task, run, state, option=option: seen.append(f"{option} {state.name}")]
        for option in ("on_running", "on_completion", "on_failure", "on_retry")
    }
    handlers = [lambda task, old, new: seen.append(f"{old.name} -> {new.name}")]
    one = Try(fails, retries=1, state_handlers=handlers, **hooks)
    one.end()
    assert seen == ["Pending -> Running", "on_running Running", "Running -> AwaitingRetry", "on_retry AwaitingRetry"]
    seen.clear()
    one.run.attempt = 2
    one.end()
    assert seen == ["Pending -> Retrying", "on_running Retrying", "Retrying -> Failed", "on_failure Failed"]


def test_a_handler_that_ends_a_run_before_it_begins_keeps_it_from_beginning() -> None:
    def instead(task: Any, old: State, new: State) -> State | None:
        return Completed("known", 5) if new.is_running() else None

    result = Try(fails, state_handlers=[instead]).end()
    assert (result.code, result.value, result.message) == (states.COMPLETED, 5, "known")


def test_a_handler_may_put_a_value_in_the_place_of_a_failure() -> None:
    def forgive(task: Any, old: State, new: State) -> State | None:
        return Completed("forgiven", -1) if new.is_failed() else None

    result = Try(fails, state_handlers=[forgive]).end()
    assert (result.code, result.value) == (states.COMPLETED, -1)


def test_who_was_ended_by_others_tells_nobody() -> None:
    seen: list[Any] = []
    one = Try(fails, retries=1, on_failure=[lambda *given: seen.append(given)], world={"unheard": lambda: True})
    assert one.name() == "Failed", "its runner has said how it ended: nothing is decided here"
    assert (seen, one.warned) == ([], [])


def test_an_end_that_comes_from_elsewhere_has_its_hooks_too() -> None:
    seen: list[str] = []
    one = Try(fails, on_crashed=[lambda task, run, state: seen.append(state.message)])
    result = drive.run(finish(one.world, crashed(SystemExit(3))))
    assert states.NAMES[result.code][0] == "Crashed"
    assert seen == ["Execution was ended by system exit: 3"]
