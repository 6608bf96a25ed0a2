"""The snippets of the older seeds, 000 to 003, with only their import line changed; see `test_seeds.py`."""

from __future__ import annotations

import inspect
import time
from datetime import timedelta
from typing import Any, get_type_hints

import pytest

from anabranch import Task, callback_factory, flow, set_reference_tasks, state, task, triggers
from tests.acceptance.ways import WAYS, result_of

# -- seed 002: retries as Prefect 1 spelt them ---------------------------------------------------


def test_retries_by_their_older_names(runner: str, marks: Any) -> None:
    @task(max_retries=3, retry_delay=timedelta(seconds=0.01))  # the seed: 10 s
    def extract_reference_data():
        marks.add("attempt")
        if len(marks.read()) < 4:
            raise ValueError("not yet")
        return "data"

    @flow
    def pipeline():
        return extract_reference_data.submit()

    assert extract_reference_data.options.retries == 3
    assert extract_reference_data.options.retry_delay_seconds == 0.01
    assert pipeline() == "data"
    assert len(marks.read()) == 4


# -- seed 002: reference tasks -------------------------------------------------------------------


@task
def task_1():
    return 1


@task
def task_2():
    raise ValueError("task_2 failed")


@task
def task_3():
    return 3


def test_reference_tasks_decide_the_final_state(runner: str) -> None:
    # flow.set_reference_tasks([...]) on the flow object, as the seed has it.
    @flow
    def pipeline():
        task_1.submit()
        task_2.submit()
        task_3.submit()

    assert pipeline(return_state=True).is_failed()
    pipeline.set_reference_tasks([task_1, task_3])
    assert pipeline(return_state=True).is_completed()
    pipeline.set_reference_tasks([task_1, task_2, task_3])
    assert pipeline(return_state=True).is_failed()


def test_reference_tasks_from_inside_the_flow(runner: str) -> None:
    @flow
    def pipeline(names):
        set_reference_tasks([t for t in (task_1, task_2, task_3) if t.name in names])
        task_1.submit()
        task_2.submit()
        task_3.submit()

    good = [task_1.name, task_3.name]
    assert pipeline(good, return_state=True).is_completed()
    assert pipeline([*good, task_2.name], return_state=True).is_failed()


def test_a_reference_task_that_was_called(runner: str) -> None:
    @flow
    def pipeline():
        task_1()
        try:
            task_2()
        except ValueError:
            pass
        return "data"

    pipeline.set_reference_tasks([task_1])
    assert pipeline(return_state=True).is_completed()
    pipeline.set_reference_tasks([task_2])
    assert pipeline(return_state=True).is_failed()


# -- seed 002: state handlers, callback_factory --------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_state_handlers(runner: str, way: str, marks: Any) -> None:
    def send_notification():
        marks.add("notified")

    def notify_on_retry(task, old_state, new_state):
        if isinstance(new_state, state.Retrying):
            send_notification()  # function that sends a notification
        return new_state

    # The seed: `Task(state_handlers=[notify_on_retry])`; a task that is to be tried again needs a function.
    @task(state_handlers=[notify_on_retry], retries=2)
    def task_that_notifies(x):
        marks.add("attempt")
        if marks.read().count("attempt") < 3:
            raise ValueError("not yet")
        return x

    @flow
    def pipeline():
        return result_of(way, task_that_notifies, 1)

    assert pipeline() == 1
    assert marks.read().count("notified") == 2


def test_task_object_with_state_handlers(runner: str, marks: Any) -> None:
    """`Task(fn, state_handlers=[...])`: the seed's form, with a function."""

    def notify(task, old_state, new_state):
        marks.add(f"{old_state.name}-{new_state.name}")
        return new_state

    def work(x):
        return x + 1

    task_that_notifies = Task(work, state_handlers=[notify])
    assert task_that_notifies.submit(1).result() == 2
    assert marks.read() == ["Pending-Running", "Running-Completed"]
    assert task_that_notifies.map([1, 2]).result() == [2, 3]
    assert marks.read()[2:].count("Running-Completed") == 2


@pytest.mark.parametrize("way", ["call", "submit"])
def test_task_object_as_the_seed_writes_it(runner: str, way: str, marks: Any) -> None:
    """Prefect 1's class without a function: it does nothing, and its handlers see that."""

    def notify_on_retry(task, old_state, new_state):
        marks.add(f"{task.name}: {old_state.name}-{new_state.name}")
        return new_state

    task_that_notifies = Task(state_handlers=[notify_on_retry])

    @flow
    def pipeline():
        return task_that_notifies() if way == "call" else task_that_notifies.submit()

    ended = pipeline(return_state=True)
    assert ended.is_completed()
    assert ended.result() is None
    assert marks.read() == ["Task: Pending-Running", "Task: Running-Completed"]


def test_a_state_handler_replaces_the_state(runner: str) -> None:
    def forgive(task, old_state, new_state):
        if new_state.is_failed():
            return state.Completed(message="forgiven", data=-1)
        return None

    @task(state_handlers=[forgive])
    def fails():
        raise ValueError("no good")

    @flow
    def pipeline():
        return fails.submit(), fails.submit()

    assert pipeline() == (-1, -1)


def test_flow_state_handlers(runner: str) -> None:
    """Seed 002: "Flows and Tasks may have one or more state handler functions"."""
    seen = []

    def first(flow, old_state, new_state):
        seen.append(("first", new_state.name))
        return new_state

    def second(flow, old_state, new_state):
        seen.append(("second", new_state.name))

    @flow(state_handlers=[first, second])
    def pipeline():
        return task_1.submit()

    assert pipeline() == 1
    assert seen[-2:] == [("first", "Completed"), ("second", "Completed")]
    assert ("first", "Running") in seen


class Requests:
    """In the place of the package `requests`: posts are written down."""

    def __init__(self, marks: Any) -> None:
        self.marks = marks

    def post(self, url: str, json: dict[str, str]) -> None:
        self.marks.add(f"{url} {json['text']}")


@pytest.mark.parametrize("way", ["call", "submit"])
def test_callback_factory(runner: str, way: str, marks: Any) -> None:
    requests = Requests(marks)

    def send_post(task, state):
        msg = f"Task {task} failed and is retrying at {state.start_time}"
        requests.post("https://XXXXX", json={"text": msg})

    post_to_slack = callback_factory(send_post, lambda s: s.is_retrying())
    task_that_notifies = Task(state_handlers=[post_to_slack])
    assert task_that_notifies.submit(return_state=True).is_completed()
    assert marks.read() == [], "the check says no: nothing was tried again"

    # The same with a function that fails once, for only such a task is ever tried again.
    def fails_once():
        marks.add("attempt")
        if marks.read().count("attempt") < 2:
            raise ValueError("not yet")
        return 1

    task_that_notifies = Task(fails_once, state_handlers=[post_to_slack], retries=1, retry_delay_seconds=0.01)

    @flow
    def pipeline():
        return task_that_notifies() if way == "call" else task_that_notifies.submit().result()

    assert pipeline() == 1
    first, *posts, last = marks.read()
    assert (first, last) == ("attempt", "attempt")
    # Both states of a retry say that it is one: the wait for it and its beginning.
    assert [post.rsplit(" ", 1)[0] for post in posts] == [
        "https://XXXXX Task <Task 'fails_once'> failed and is retrying at"
    ] * 2
    assert all(float(post.rsplit(" ", 1)[1]) > 1e9 for post in posts), "the time of the retry, as Prefect 1 gave it"


# -- seeds 000 and 003: rules about when tasks should run; tasks triggered by Failed states ---------


def test_a_task_triggered_by_a_failed_state(runner: str) -> None:
    @task(trigger=triggers.any_failed)
    def clean_up(*upstream):
        return "cleaned"

    @task
    def next_step(upstream):
        return "went on"

    @flow
    def pipeline():
        failed = task_2.submit()
        cleaned = clean_up.submit(wait_for=[task_1.submit(), failed])
        skipped = next_step.submit(failed)
        spared = clean_up.submit(wait_for=[task_1.submit()])
        assert isinstance(skipped.wait(), state.TriggerFailed)
        assert isinstance(spared.wait(), state.TriggerFailed)
        return cleaned.result()

    assert pipeline() == "cleaned"


# -- seed 001: what a flow is --------------------------------------------------------------------


def test_what_a_flow_is(runner: str, marks: Any) -> None:
    """Seed 001's list: a state, validated inputs, retries, timeouts, recorded metadata; subflows."""
    from anabranch.core.errors import ParameterTypeError

    @flow
    def child(x: int) -> int:
        return x * 2

    @flow(retries=1)
    def parent(x: int) -> int:
        marks.add(type(x).__name__)
        if len(marks.read()) == 1:
            raise ValueError("once")
        return child(x) + task_1.submit().result()

    assert parent("4") == 9  # "Input arguments types can be validated": a text that is a number becomes one
    assert marks.read() == ["int", "int"]
    with pytest.raises(ParameterTypeError):
        parent("four")

    @flow(timeout_seconds=0.1)
    def slow():
        for _ in range(500):
            time.sleep(0.01)

    with pytest.raises(TimeoutError):
        slow()
    assert isinstance(slow(return_state=True), state.TimedOut)


def test_what_flows_and_tasks_share(runner: str) -> None:
    """Seed 001: name, description and tags; retries, timeouts and hooks; a task's return value can be cached."""
    seen: list[tuple[str, str]] = []

    def told(flow, run, ended):
        seen.append((run.name, ended.name))

    given = {"name": "shared", "description": "what it does", "tags": ["nightly"], "retries": 1, "timeout_seconds": 5}
    work = task(**given)(lambda x: x + 1)
    pipeline = flow(**given, flow_run_name="run-of-{x}", on_completion=[told])(lambda x: work.submit(x))
    for thing in (work, pipeline):
        assert thing.name == "shared"
        assert thing.options.description == "what it does"
        assert thing.options.tags == ("nightly",)
        assert (thing.options.retries, thing.options.timeout_seconds) == (1, 5.0)
    assert pipeline(1) == 2
    assert seen == [("run-of-1", "Completed")]


def test_both_define_the_expected_types_of_inputs_and_outputs(runner: str) -> None:
    """Seed 001: "Both support type-checked parameters, allowing you to define the expected data types".

    As in Prefect, type checkers see both signatures as they were written, and at run time a flow checks
    its parameters; those of a task, of which there may be a million, arrive as they are.
    """
    from anabranch.core.errors import ParameterTypeError

    def double(x: int, times: int = 2) -> int:
        return x * times

    work, pipeline = task(double), flow(name="pipeline")(double)
    for thing in (work, pipeline):
        assert inspect.signature(thing) == inspect.signature(double)
        assert get_type_hints(thing) == {"x": int, "times": int, "return": int}
    assert pipeline("4") == 8
    with pytest.raises(ParameterTypeError, match="x"):
        pipeline("four")
    assert work.submit("4").result() == work("4") == "44"


def test_subflows(runner: str) -> None:
    """Seed 001: "you can also call other flows"; seed 003: one that returns nothing bundles its tasks' states."""

    @flow
    def child(fail):
        task_2.submit() if fail else task_1.submit()

    @flow
    def parent():
        assert child(False, return_state=True).is_completed()
        assert child(True, return_state=True).is_failed()
        with pytest.raises(ValueError, match="task_2 failed"):
            child(True)
        return "data"

    assert parent() == "data"
