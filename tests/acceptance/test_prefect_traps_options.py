"""Traps of Prefect that anabranch does not have: options, names, hooks, states, caching.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import cache_policies, flow, state, tags, task
from anabranch.core.errors import OptionError
from tests.acceptance.ways import WAYS, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate


@task
def boom(x: object = None) -> None:
    raise ValueError("boom")


@task
def same(x: Any) -> Any:
    return x


# -- options and names ---------------------------------------------------------------------------


def test_with_options_loses_none_and_takes_falsy_ones() -> None:
    """Row 2: `with_options` dropped hooks, and falsy values were taken as not given."""
    hook = print
    full = task(
        description="text", retries=3, retry_delay_seconds=5, cache_expiration=60, tags=["a"],
        on_completion=[hook], on_retry=[hook], on_crashed=[hook], state_handlers=[hook], trigger=all, cpus=2,
    )(lambda: None)  # fmt: skip
    new = full.with_options(description="", retries=0, retry_delay_seconds=0, cache_expiration=0)
    kept = new.options
    assert (kept.description, kept.retries, kept.retry_delay_seconds, kept.cache_expiration) == ("", 0, 0.0, 0.0)
    assert (kept.on_completion, kept.on_retry, kept.on_crashed, kept.state_handlers) == ((hook,),) * 4
    assert (kept.trigger, kept.cpus, kept.tags) == (all, 2.0, ("a",))
    assert full.options.retries == 3


def test_a_misspelt_option_is_an_error() -> None:
    """Rows 44 and 70: options that do not exist were ignored or refused without a hint."""
    with pytest.raises(OptionError, match="retry_delay_seconds"):
        task(retry_delay_second=1)(lambda: None)


@pytest.mark.parametrize("way", ["submit", "map"])
@pytest.mark.parametrize("given", ["run-{x}", lambda parameters: f"run-{parameters['x']}"])
def test_names_are_made_from_the_inputs_values(runner: str, marks: Marks, way: str, given: Any) -> None:
    """Row 7: a name template sees values, not futures; a callable may take the parameters."""
    named = task(task_run_name=given, on_completion=lambda task, run, ended: marks.add(run.name))(lambda x: x)
    upstream = same.submit(5)
    named.submit(upstream).wait() if way == "submit" else named.map([upstream]).wait()
    assert marks.read() == ["run-5"]


def test_a_called_run_is_named_from_its_parameters(runner: str, marks: Marks) -> None:
    """Row 7: the same name callable for calls as for submits."""
    named = task(
        task_run_name=lambda parameters: f"run-{parameters['x']}",
        on_completion=lambda task, run, ended: marks.add(run.name),
    )(lambda x: x)
    assert named(5) == 5
    assert marks.read() == ["run-5"]


def test_a_flow_run_name_that_is_no_text(runner: str) -> None:
    """Row 7: a name callable that gives no string is told by name."""
    with pytest.raises(OptionError, match="flow_run_name"):
        flow(name="named", flow_run_name=lambda: 5)(lambda: 1)()


@pytest.mark.parametrize("way", WAYS)
def test_tags_are_those_around_each_submit(runner: str, way: str) -> None:
    """Row 8, section 2.3: the context was taken once per runner or process; later submits ran with the first's tags."""

    @task
    def seen(x: int) -> tuple[str, ...]:
        from anabranch.core import context

        here = context.current_task.get()
        assert here is not None
        return here.run.tags

    found = []
    for name in ("first", "second"):
        with tags(name):
            found.append(result_of(way, seen, 1))
    assert found == [("first",), ("second",)]


def test_jitter_is_applied(runner: str, marks: Marks) -> None:
    """Row 40: `retry_jitter_factor` was accepted and then not applied to task retries."""

    def note(task: Any, old: state.State, new: state.State) -> None:
        if isinstance(new, state.AwaitingRetry):
            marks.add((new.start_time or 0.0) - new.timestamp)

    slow = task(retries=1, retry_delay_seconds=0.001, retry_jitter_factor=200, state_handlers=[note])(boom.fn)
    slow.map(range(8)).wait()
    dues = [float(line) for line in marks.read()]
    assert len(dues) == 8
    assert max(dues) > 0.02
    assert len({round(due, 6) for due in dues}) > 1


def test_retry_conditions(runner: str, marks: Marks) -> None:
    """Row 42: there is no `retry_on` any more, and a condition that raises must not lose the run."""

    def condition(task: Any, run: Any, ended: state.State) -> bool:
        raise RuntimeError("the condition is broken")

    def work(name: str) -> None:
        marks.add(name)
        raise ValueError(name)

    assert task(retries=2, retry_on=KeyError)(work).submit("other").wait().is_failed()
    assert task(retries=2, retry_condition_fn=condition)(work).submit("broken").wait().is_failed()
    assert task(retries=2, retry_on=(KeyError, ValueError))(work).submit("retried").wait().is_failed()
    assert marks.read() == ["other", "broken", *["retried"] * 3]


# -- hooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_that_raises_changes_nothing(runner: str, marks: Marks, way: str) -> None:
    """Row 38: its exception is logged, the next hook still runs, and so does the task."""

    def broken(*_: Any) -> None:
        raise RuntimeError("hook")

    def note(task: Any, run: Any, ended: state.State) -> None:
        marks.add(ended.name)

    work = task(on_running=[broken, note], on_completion=[broken, note])(lambda x: x)
    assert result_of(way, work, 1) == 1
    assert marks.read() == ["Running", "Completed"]


def test_tasks_have_a_hook_for_retries(runner: str, marks: Marks) -> None:
    """Row 38: tasks had no on_retry."""
    assert task(retries=2, on_retry=lambda t, r, s: marks.add(s.name))(boom.fn).submit().wait().is_failed()
    assert marks.read() == ["AwaitingRetry"] * 2


def test_tasks_have_a_hook_for_crashes(runner: str, marks: Marks) -> None:
    """Row 38: tasks had no on_crashed."""
    crashes = task(on_crashed=lambda t, r, s: marks.add(s.name))(lambda: state.Crashed("by hand"))
    assert crashes.submit().wait().is_crashed()
    assert marks.read() == ["Crashed"]


def test_tasks_have_a_hook_for_cancellation(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 38: tasks had no on_cancellation."""
    cancelled, gate = gates("cancelled"), gates("gate")
    doomed = task(on_cancellation=lambda t, r, s: cancelled.open())(lambda: None)
    future = doomed.submit(wait_for=[task(gate.pass_through).submit()])
    assert future.cancel()
    gate.open()
    assert cancelled.wait()


# -- states and results --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["submit", "call"])
def test_a_result_of_none_is_a_result(runner: str, way: str) -> None:
    """Row 31: a completed run whose data is None raised MissingResult when its state was asked."""
    nothing = task(lambda: None)
    ended = nothing.submit(return_state=True) if way == "submit" else nothing(return_state=True)
    assert ended.is_completed()
    assert ended.result() is None


WRAPS: dict[str, Any] = {
    "dict": lambda f: {"a": f},
    "mixed": lambda f: [1, f],
    "list": lambda f: [f],
    "bare": lambda f: f,
}


@pytest.mark.parametrize("wrap", list(WRAPS))
def test_a_failed_future_in_what_a_flow_returns(runner: str, wrap: str) -> None:
    """Row 32: in a dict, or beside data, a failed future made a Completed flow."""
    ended = flow(name="main")(lambda: WRAPS[wrap](boom.submit()))(return_state=True)
    assert ended.is_failed()
    with pytest.raises(ValueError, match="boom"):
        ended.result()


def test_a_flow_gives_values_not_states(runner: str) -> None:
    """Row 33: a flow that returned futures gave its caller States in their place."""

    @flow
    def main(nested: bool) -> Any:
        return {"a": same.submit(1), "b": [same.map([2, 3])]} if nested else same.map([1, 2])

    assert main(False) == [1, 2]
    assert main(True) == {"a": 1, "b": [[2, 3]]}


def test_a_flow_without_value_fails_with_its_tasks(runner: str) -> None:
    """Rows 32 and 49: a flow returned None and was Completed, whatever had become of what it had submitted."""

    @flow
    def main() -> None:
        boom.submit()

    with pytest.raises(ValueError, match="boom"):
        main()


def test_a_users_timeout_error_is_no_time_out(runner: str) -> None:
    """Row 18: the user's own TimeoutError was taken for that of the wait, or of the engine."""

    @task(timeout_seconds=60)
    def work() -> None:
        raise TimeoutError("mine")

    future = work.submit()
    assert future.wait().name == "Failed"
    with pytest.raises(TimeoutError, match="mine"):
        future.result(timeout=5)


def test_a_returned_failed_state_is_retried(runner: str, marks: Marks) -> None:
    """Row 40: a returned state decides, so a Failed one is retried like an exception."""

    @task(retries=1)
    def work() -> Any:
        marks.add("ran")
        return state.Failed("not yet") if len(marks.read()) < 2 else state.Completed(data="done")

    assert work.submit().result() == "done"


# -- caching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [5, None])
def test_failures_are_not_cached_and_values_are(runner: str, marks: Marks, value: Any) -> None:
    """Rows 31 and 44: a failure is no value to keep; None is one."""

    @task(cache_policy=cache_policies.INPUTS)
    def work(key: str) -> Any:
        marks.add("ran")
        if len(marks.read()) == 1:
            raise ValueError("once")
        return value

    key = f"failures-{value}"
    assert [work.submit(key).wait().name for _ in range(3)] == ["Failed", "Completed", "Cached"]
    assert work.submit(key).result() == value
    assert len(marks.read()) == 2
