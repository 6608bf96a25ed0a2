"""A flow of Prefect 1 on every runner: skips, handlers, subclasses and the context travel with its tasks."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect import context, task_runners, triggers
from anabranch.compat.prefect.tasks import Task, task
from anabranch.compat.prefect.utilities.annotations import unmapped
from anabranch.compat.prefect1 import signals, states
from anabranch.compat.prefect1.control_flow import case, merge
from anabranch.compat.prefect1.executors import Executor
from anabranch.compat.prefect1.flows import Flow
from anabranch.compat.prefect1.nodes import Parameter


class On(Executor):
    """One of our runners by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def runner(self) -> task_runners.TaskRunner:
        kind: Any = type("OnRunner", (task_runners.TaskRunner,), {"runs_on": self.name})
        return kind()


class Times(Task[Any, Any]):
    def __init__(self, by: int, **given: Any) -> None:
        self.by = by
        super().__init__(**given)

    def run(self, x: int) -> int:
        self.logger.info("times %d", self.by)
        return x * self.by


def forgive(task: Any, old: states.State, new: states.State) -> states.State | None:
    return states.Success("forgiven", result=-1) if new.is_failed() else None


@task(state_handlers=[forgive])
def forgiven() -> int:
    raise ValueError("no good")


@task
def fails() -> int:
    raise ValueError("no good")


@task
def odd(x: int) -> int:
    if x % 2 == 0:
        raise signals.SKIP("even")
    return x


@task
def add(x: int, y: int) -> int:
    return x + y


@task(trigger=triggers.all_finished)
def kind_of(value: Any) -> str:
    return type(value).__name__


@task
def parameters() -> Any:
    return context.get("flow_name"), context.get("parameters")


def test_a_graph_gives_the_same_on_every_runner(runner: str) -> None:
    with Flow("everywhere", executor=On(runner)) as flow:
        n = Parameter("n", default=4)
        minus = forgiven()
        tripled = Times(3).map(odd.map(list(range(4))))
        summed = add.map(tripled, unmapped(minus))
        with case(n, 4):
            taken = add(n, minus)
        with case(n, 5):
            left = add(n, n)
        joined = merge(left, taken)
        kind = kind_of(fails())
        read = parameters()
    state = flow.run()
    found = state.result
    assert state.is_successful()
    assert found[minus].message == "forgiven"
    assert found[summed].result == [None, 2, None, 8]
    assert [type(one) for one in found[summed].map_states] == [states.Skipped, states.Success] * 2
    assert (found[taken].result, found[joined].result) == (3, 3)
    assert found[left].is_skipped()
    assert found[kind].result == "ValueError"
    assert tuple(found[read].result) == ("everywhere", {"n": 4})
