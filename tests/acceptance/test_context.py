"""`anabranch.context`: what code in a run is told of it, the same on every runner."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import context, flow, tags, task
from anabranch import session as sessions
from anabranch.core.errors import MissingContextError


@task(version="1.4", tags=["own"], task_run_name="look-{x}")
def look(x: int) -> Any:
    return context.task_run()


@task(version="2")
def bare(x: int) -> Any:
    return context.task_run()


def test_a_task_is_told_of_its_run(runner: str) -> None:
    @flow
    def main() -> Any:
        run = context.flow_run()
        with tags("around"):
            return run, look.submit(7), look(8), bare.map([0, 1, 2])

    run, submitted, called, mapped = main()
    for one, kind in ((submitted, "submitted"), (called, "called"), *((m, "mapped") for m in mapped)):
        assert (one.flow_run_id, one.flow_run_name) == (run.id, run.name), kind
        assert one.attempt == 1
    assert (submitted.name, called.name) == ("look-7", "look-8")
    assert (submitted.task_name, submitted.version, submitted.tags) == ("look", "1.4", ("own", "around"))
    assert (called.task_name, called.version, called.tags) == ("look", "1.4", ("own", "around"))
    assert [(m.index, m.name, m.version) for m in mapped] == [(i, f"bare[{i}]", "2") for i in range(3)]
    records = sessions.current().records
    recorded = {f"{map.id}/{i}" for map in records.maps(run.id) for i in range(3)}
    assert {one.id for one in (submitted, called, *mapped)} <= recorded, "by this id the record knows it"


def test_what_was_told_stays_as_it_was(runner: str) -> None:
    """Items of a chunk share one run object in the worker: what their code has got must not move on."""
    kept: list[Any] = []

    @task
    def keep(x: int) -> list[int]:
        kept.append(context.task_run())
        return [one.index for one in kept]

    found = keep.map(range(10), chunk=10).result()
    assert all(x in seen and len(set(seen)) == len(seen) for x, seen in enumerate(found))
    assert max(map(len, found)) > 1, "ten items are more than there are workers: one of these kept several"


def test_the_attempt_is_counted(runner: str) -> None:
    @task(retries=2)
    def third() -> int:
        attempt = context.task_run().attempt
        if attempt < 3:
            raise ValueError(attempt)
        return attempt

    @flow(retries=1, version="7")
    def main(x: int) -> Any:
        run = context.flow_run()
        if run.attempt < 2:
            raise ValueError("once more")
        return run, third.submit(), third()

    run, submitted, called = main(5)
    assert (submitted, called) == (3, 3)
    assert (run.attempt, run.version, run.parameters, run.flow_name) == (2, "7", {"x": 5}, "main")


def test_a_task_is_not_the_flows_function(runner: str) -> None:
    """Wherever it runs: on the inline runner the flow is around it in the same thread."""

    @task
    def ask() -> str:
        with pytest.raises(MissingContextError, match="flow_run_id"):
            context.flow_run()
        return context.task_run().task_name

    @flow
    def main() -> Any:
        with pytest.raises(MissingContextError, match="inside a task"):
            context.task_run()
        return ask.submit(), ask()

    assert main() == ("ask", "ask")


def test_outside_of_runs_there_is_none() -> None:
    for ask in (context.task_run, context.flow_run):
        with pytest.raises(MissingContextError):
            ask()


def test_hooks_see_the_version(runner: str, marks: Any) -> None:
    @task(version="3", on_completion=[lambda task, run, state: marks.add(run.version)])
    def done() -> None: ...

    @flow
    def main() -> None:
        done.submit().wait()
        done()

    main()
    assert marks.read() == ["3", "3"]
