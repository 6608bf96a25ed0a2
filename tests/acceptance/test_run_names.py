"""Names that a task or flow gives its runs, and what comes of those that give none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.errors import OptionError
from tests.acceptance.ways import WAYS, result_of


def fails() -> str:
    raise ValueError("no name today")


def cannot(parameters: dict[str, Any]) -> str:
    return str(parameters["nothing"])


class Unshown:
    def __format__(self, spec: str) -> str:
        raise RuntimeError("not to be shown")


BAD: list[tuple[Any, Any, str]] = [
    ("{nope}", 1, "{option} '{{nope}}' names 'nope', which is not a parameter; known are: x"),
    ("{}", 1, "{option} '{{}}' names"),
    ("{x.nope}", 1, "{option} '{{x.nope}}' raised AttributeError"),
    ("{x:%Q}", 1, "{option} '{{x:%Q}}' raised ValueError"),
    ("{x", 1, "{option} '{{x' raised ValueError"),
    ("{x}", Unshown(), "{option} '{{x}}' raised RuntimeError: not to be shown"),
    (fails, 1, "{option} (fails) raised ValueError: no name today"),
    (cannot, 1, "{option} (cannot) raised KeyError: 'nothing'"),
    (lambda: 5, 1, "{option} must return a string, got int 5"),
]


@pytest.mark.parametrize(("given", "argument", "said"), BAD)
@pytest.mark.parametrize("way", WAYS)
def test_task_that_cannot_name_its_run_fails(concurrent: str, way: str, given: Any, argument: Any, said: str) -> None:
    ran: list[Any] = []

    @task(task_run_name=given, on_failure=lambda task, run, state: None)
    def work(x: Any) -> None:
        ran.append(x)

    @flow
    def around() -> str:
        with pytest.raises(OptionError) as error:
            result_of(way, work, argument)
        return str(error.value)

    told = around()
    assert told.startswith("@task 'work': " + said.format(option="task_run_name"))
    assert ran == []


def test_its_run_is_recorded_as_failed(fresh_session: sessions.Session) -> None:
    @task(task_run_name="{nope}")
    def work(x: int) -> None: ...

    @flow
    def around() -> int:
        states_seen = [work(1, return_state=True), work.submit(1).wait(), *work.map([1]).wait()]
        assert [state.name for state in states_seen] == ["Failed"] * 3
        return 1

    assert around() == 1
    run = fresh_session.records.flow_runs()[0]
    rows = fresh_session.records.maps(run.id)
    assert [(row.kind, row.counts) for row in rows] == [(kind, {"Failed": 1}) for kind in ("call", "submit", "map")]


def test_async_task_that_cannot_name_its_run_fails(threads: str) -> None:
    @task(task_run_name="{nope}")
    async def work(x: int) -> None: ...

    with pytest.raises(OptionError, match="@task 'work': task_run_name"):
        asyncio.run(work(1))


@pytest.mark.parametrize(("given", "argument", "said"), BAD)
@pytest.mark.parametrize("submitted", [False, True])
def test_flow_that_cannot_name_its_run_fails(
    fresh_session: sessions.Session, submitted: bool, given: Any, argument: Any, said: str
) -> None:
    ran: list[Any] = []

    @flow(flow_run_name=given)
    def work(x: Any) -> None:
        ran.append(x)

    with pytest.raises(OptionError) as error:
        work.submit(argument).result() if submitted else work(argument)
    assert str(error.value).startswith("@flow 'work': " + said.format(option="flow_run_name"))
    assert ran == []
    (row,) = fresh_session.records.flow_runs()
    assert (row.state_name, row.message) == ("Failed", str(error.value))
    assert row.name


def test_functions_that_name_runs_may_take_the_parameters(threads: str) -> None:
    names: list[str] = []

    @task(task_run_name=lambda parameters: f"t-{parameters['x']}")
    def work(x: int) -> None: ...

    def note(flow: Any, run: Any, state: Any) -> None:
        names.append(run.name)

    @flow(flow_run_name=lambda parameters: f"f-{parameters['x']}", on_completion=note)
    def around(x: int) -> None:
        work(x)

    around(3)
    assert names == ["f-3"]
