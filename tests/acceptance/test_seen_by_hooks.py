"""What hooks, handlers and conditions are given: the Task or Flow, and a run that tells what it was called with.

The same on every runner, and wherever a run ends: where it ran, or in the driver.
"""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Task, allow_failure, callback_factory, flow, task, unmapped
from anabranch import session as sessions
from anabranch.core.context import TaskRun
from anabranch.core.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks

SOON = 30.0
HOOKS = ("on_running", "on_completion", "on_failure", "on_retry", "on_cancellation", "on_crashed")


def noting(marks: Marks) -> dict[str, Any]:
    """Options of a task whose hooks note what they see."""

    def note(obj: Any, run: Any, state: State) -> None:
        given = {name: f"{type(v).__name__}" if isinstance(v, Exception) else v for name, v in run.parameters.items()}
        who = (type(obj).__name__, obj.name)
        marks.add((state.name, *who, given, run.flow_run_name, run.task_name, run.run_count, run.state is state))

    return {**{name: [note] for name in HOOKS}, "state_handlers": [handler_of(marks)]}


def handler_of(marks: Marks) -> Callable[..., None]:
    def handler(obj: Any, old: State, new: State) -> None:
        marks.add((f"{old.name}-{new.name}", type(obj).__name__, obj.name))

    return handler


def hooks_seen(marks: Marks) -> list[Any]:
    pump = sessions.current().pump
    pump.callback_thread.drain(SOON)
    return [eval(line) for line in marks.read()]


def test_hooks_are_given_the_task_and_what_it_was_called_with(runner: str, marks: Marks) -> None:
    """Called, submitted, mapped; running, retried, failed, completed; not admitted."""

    @task(name="work", retries=1, **noting(marks))
    def work(x: int, *more: int, by: int = 10) -> int:
        if x < 0:
            raise ValueError(x)
        return x

    @flow(flow_run_name="the-flow")
    def main(how: str) -> Any:
        if how == "call":
            return work(1, 2)
        if how == "submit":
            return work.submit(1, by=3)
        if how == "map":
            return work.map([1], unmapped(2), by=unmapped(3))
        if how == "failed":
            return work.submit(-1).exception() is None
        bad = work.with_options(state_handlers=None, retries=0, **dict.fromkeys(HOOKS)).submit(-1)
        if how == "not admitted":
            return work.submit(bad, by=work.fn(4)).exception() is None
        return work.map([bad], by=unmapped(5)).wait()[0].exception() is None

    def told(state: str, count: int, given: dict[str, Any]) -> tuple[Any, ...]:
        return (state, "Task", "work", {"more": (), "by": 10, **given}, "the-flow", "work", count, True)

    def changed(change: str) -> tuple[str, str, str]:
        return (change, "Task", "work")

    expected = {
        "call": ("Running", "Completed", {"x": 1, "more": (2,)}),
        "submit": ("Running", "Completed", {"x": 1, "by": 3}),
        "map": ("Running", "Completed", {"x": 1, "more": (2,), "by": 3}),
    }
    at = 0
    for how, (begun, ended, given) in expected.items():
        main(how)
        found, at = hooks_seen(marks)[at:], len(hooks_seen(marks))
        assert found == [
            changed("Pending-Running"), told(begun, 1, given), changed("Running-Completed"), told(ended, 1, given)
        ], how  # fmt: skip
    main("failed")
    found, at = hooks_seen(marks)[at:], len(hooks_seen(marks))
    assert [line for line in found if len(line) > 3] == [
        told("Running", 1, {"x": -1}), told("AwaitingRetry", 1, {"x": -1}), told("Retrying", 2, {"x": -1}),
        told("Failed", 2, {"x": -1}),
    ]  # fmt: skip
    for how, by in (("not admitted", 4), ("not admitted map", 5)):
        main(how)
        found, at = hooks_seen(marks)[at:], len(hooks_seen(marks))
        assert found == [changed("Pending-TriggerFailed"), told("TriggerFailed", 1, {"x": "ValueError", "by": by})], how


@pytest.mark.parametrize("plain", [True, False], ids=["failure hook alone", "all hooks"])
def test_times_and_names_of_a_failed_item(runner: str, marks: Marks, plain: bool) -> None:
    """Of a plain item too, that has no hook at its start."""

    def note(obj: Any, run: Any, state: State) -> None:
        near = 0 <= run.end_time - run.start_time < 60 and abs(run.end_time - state.timestamp) < 1
        marks.add((run.name, run.parameters, near))

    more = {} if plain else {"on_running": [lambda *_: None]}

    @task(name="work", on_failure=[note], **more)
    def work(x: int) -> None:
        if x % 2:
            raise ValueError(x)

    @flow
    def main() -> Any:
        work.map(range(6)).wait()
        return "done"

    main()
    assert sorted(hooks_seen(marks)) == [(f"work[{x}]", {"x": x}, True) for x in (1, 3, 5)]


def test_a_hook_may_keep_the_run(threads: str) -> None:
    """The next item's is another one, though plain items share theirs."""
    kept: list[Any] = []

    @task(on_failure=[lambda obj, run, state: kept.append((run, state))])
    def work(x: int) -> None:
        raise ValueError(x)

    @flow
    def main() -> Any:
        work.map(range(3)).wait()
        return "done"

    main()
    found = sorted((run.index, run.parameters, str(state.data)) for run, state in kept)
    assert found == [(x, {"x": x}, str(x)) for x in range(3)]
    assert all(run.state is state for run, state in kept)
    copy = pickle.loads(pickle.dumps(kept[0][0]))
    assert isinstance(copy, TaskRun)
    assert (copy.id, copy.parameters) == (kept[0][0].id, kept[0][0].parameters)


def test_in_the_drivers_process_it_is_the_very_task(threads: str) -> None:
    """Also where its run ends in the driver; and a method's is the one of the class."""
    seen: list[Any] = []

    def note(obj: Any, run: Any, state: State) -> None:
        seen.append(obj)

    hooks = {"on_completion": [note], "on_failure": [note], "state_handlers": [lambda obj, old, new: seen.append(obj)]}
    work = task(lambda x: x, **hooks)

    class Job:
        @task(**hooks)
        def scaled(self, x: int) -> int:
            return x

    @flow
    def main() -> Any:
        bad = task(lambda: 1 / 0).submit()
        work.submit(bad).wait()
        for one in (work, Job().scaled):
            one(1), one.submit(2).wait(), one.map([3]).wait()
        return bad.exception() is None

    main()
    sessions.current().pump.callback_thread.drain(SOON)
    assert {id(obj) for obj in seen} == {id(work), id(Job.scaled)}


def test_hooks_keep_no_task_alive(threads: str) -> None:
    """Neither does a task keep itself, with the collector off; one that has gone is made again for its last runs."""
    seen: list[Any] = []
    gone: list[Any] = []

    @flow
    def main() -> Any:
        work = task(lambda x: x, name="short", on_completion=[lambda obj, run, state: seen.append(obj.name)])
        gone.append(weakref.ref(work))
        future = work.submit(1)
        del work
        return future

    gc.collect()
    gc.disable()
    try:
        main()
        assert seen == ["short"]
        assert gone[0]() is None
    finally:
        gc.enable()


def test_conditions_and_cache_keys_are_given_the_same(runner: str, marks: Marks) -> None:
    def again(obj: Any, run: Any, state: State) -> bool:
        marks.add(("again", type(obj).__name__, obj.name, run.parameters, run.state is state, run.flow_run_name))
        return False

    def key(context: Any, parameters: dict[str, Any]) -> str | None:
        who = (type(context.task).__name__, context.task.name)
        marks.add(("key", *who, dict(parameters), context.task_run.parameters))
        return None

    def post(obj: Any, state: State) -> None:
        marks.add(("post", type(obj).__name__, obj.name))

    handler = callback_factory(post, lambda state: state.is_failed())

    @task(name="work", retries=1, retry_condition_fn=again, cache_key_fn=key, state_handlers=[handler])
    def work(x: int) -> None:
        raise ValueError(x)

    @flow(flow_run_name="the-flow")
    def main() -> Any:
        work.submit(1).exception()
        try:
            work(2)
        except ValueError:
            pass
        return "done"

    main()
    expected = []
    for x in (1, 2):
        expected += [
            ("key", "Task", "work", {"x": x}, {"x": x}), ("again", "Task", "work", {"x": x}, True, "the-flow"),
            ("post", "Task", "work"),
        ]  # fmt: skip
    assert hooks_seen(marks) == expected


def test_an_item_that_ends_in_the_driver_tells_what_is_known(beside: str, marks: Marks) -> None:
    """Values of other upstreams, where they are still there; why one is not, else."""

    def note(obj: Any, run: Any, state: State) -> None:
        marks.add((state.name, {name: describe(value) for name, value in run.parameters.items()}))

    def describe(value: Any) -> Any:
        if isinstance(value, list):
            return [describe(one) for one in value]
        return type(value).__name__ if isinstance(value, (Exception, State)) else value

    one = task(lambda x: x, name="one")
    bad = task(lambda: 1 / 0, name="bad")

    @task(name="work", on_failure=[note])
    def work(a: Any, b: Any = 2, *rest: Any) -> None: ...

    @flow
    def main() -> Any:
        wrong, kept = bad.submit(), one.submit(5)
        kept.wait()
        futures = [
            work.submit([kept, wrong], {"c": kept}),
            work.submit(one.submit(6), wait_for=[wrong]),
            *work.map([1], unmapped(wrong)),
        ]
        for future in futures:
            future.exception()
        return kept

    assert main() == 5
    found = {str(given["b"]): given for name, given in hooks_seen(marks) if name == "TriggerFailed"}
    assert found["{'c': 5}"] == {"a": [5, "ZeroDivisionError"], "b": {"c": 5}, "rest": ()}
    assert found["ZeroDivisionError"] == {"a": 1, "b": "ZeroDivisionError", "rest": ()}
    assert found["2"]["a"] in (6, "ResultReleased")


def test_a_flows_hooks_see_its_run(threads: str) -> None:
    seen: list[Any] = []

    def note(obj: Any, run: Any, state: State) -> None:
        seen.append((state.name, obj, run.parameters, run.state is state, run.name, run.flow_run_name, run.run_count))
        assert run.flow_run_id == run.id
        assert run.start_time > 0
        assert bool(run.end_time) == state.is_final()

    hooks = {name: [note] for name in (*HOOKS[:3], "on_retry")}
    tries = [1]

    @flow(flow_run_name="the-flow", retries=1, retry_condition_fn=lambda obj, run, state: run.state is state, **hooks)
    def main(x: int) -> int:
        if tries:
            tries.pop()
            raise ValueError(x)
        return x

    main(3)
    rest = ({"x": 3}, True, "the-flow", "the-flow")
    states = [("Running", 1), ("AwaitingRetry", 1), ("Retrying", 2), ("Completed", 2)]
    assert seen == [(name, main, *rest, count) for name, count in states]


def test_nothing_is_bound_where_nobody_asks(threads: str) -> None:
    """Parameters are made when they are asked for; a failing hook of a broken call is no failure of the run."""
    asked: list[Any] = []

    class Odd:
        def __repr__(self) -> str:
            raise AssertionError("looked at")

    @task(on_completion=[lambda obj, run, state: asked.append(run.bound)])
    def work(x: Any) -> int:
        return 1

    @flow
    def main() -> Any:
        return work.submit(Odd()), work.map([allow_failure(Odd())])

    assert main() == (1, [1])
    assert all(callable(bound) for bound in asked)


def test_a_task_travels() -> None:
    """As hooks that tell others of it want."""
    work: Task[..., Any] = task(len, name="sized", on_completion=[print])
    copy = pickle.loads(pickle.dumps(work))
    assert (copy.name, copy.fn, copy.options.on_completion) == ("sized", len, (print,))
