"""Tasks and flows in the bodies of classes: whoever owns them, however they are read, on every runner."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Any

import pytest

from anabranch import Flow, context, flow, task
from anabranch import session as sessions
from anabranch.core.errors import ParameterBindError
from anabranch.core.policies import INPUTS, TASK_SOURCE
from tests.acceptance.owners import OWNERS, Aloof, Job, Sub
from tests.acceptance.ways import WAYS, result_of


def run(body: Any) -> Any:
    """In one flow run."""
    return flow(name="around")(body)()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: type(owner).__name__)
def test_method_gets_its_owner(beside: str, owner: Any) -> None:
    assert run(lambda: [result_of(way, owner.scale, 2) for way in WAYS]) == [6, 6, 6]


def test_owner_that_answers_nothing_is_not_asked(concurrent: str) -> None:
    assert run(lambda: [result_of(way, Aloof().scale, 2) for way in WAYS]) == [6, 6, 6]


def test_methods_of_all_kinds(beside: str) -> None:
    job = Job(3)

    def body() -> list[Any]:
        return [
            Job.scale.submit(job, 2).result(),
            Job.scale.submit(self=job, x=2).result(),
            Job.scale.map([Job(1), Job(2)], 5).result(),
            Sub(3).scale.submit(2).result(),
            Sub(3).scaled_as_job(2).result(),
            [result_of(way, Sub.label, 1) for way in WAYS],
            [result_of(way, Sub(1).label, 1) for way in WAYS],
            [result_of(way, plus, 1) for way in WAYS for plus in (Job.plus, job.plus, job.plus_too)],
            [job.wait.submit(2).result(), job.wait.map([2]).result()],
            [list(job.items(3)), job.items.submit(3).result(), job.items.map([2]).result()],
            job.items_too.submit(2).result(),
            [result_of(way, job.five, 6) for way in WAYS],
            job.scale.with_options(retries=1).map([1, 2]).result(),
        ]

    assert run(body) == [
        6, 6, [5, 10], -6, 6, ["sub-1"] * 3, ["sub-1"] * 3, [2] * 9, [6, [6]], [[0, 3, 6]] * 2 + [[[0, 3]]], [0, 3],
        [[3, 5, 6]] * 3, [3, 6],
    ]  # fmt: skip


def test_futures_among_a_methods_arguments(concurrent: str) -> None:
    job = Job(3)

    def body() -> list[Any]:
        one, some = job.scale.submit(1), job.scale.map([1, 2])
        return [job.scale.submit(one).result(), job.scale.map(some).result(), job.scale.map([one, 5]).result()]

    assert run(body) == [9, [9, 18], [9, 15]]


def test_owner_is_the_very_object(fresh_session: sessions.Session) -> None:
    """Futures in its fields stay what they are, and nothing is copied."""

    @dataclass
    class Holder:
        held: Any

        @task
        def me(self) -> int:
            return id(self)

        @task
        def each(self, x: int) -> int:
            return id(self)

        @flow
        def ours(self) -> int:
            return id(self)

    def body() -> list[Any]:
        holder = Holder(task(lambda: 1).submit())
        found = [holder.me(), holder.me.submit().result(), *holder.each.map([1]).result(), holder.ours()]
        return [one == id(holder) for one in found]

    assert run(body) == [True] * 4


def test_all_readings_are_one_task(fresh_session: sessions.Session) -> None:
    """A series, and a spec for workers, is one for the task, not one for each time that it was read."""
    job, other = Job(3), Job(4)

    def body() -> list[Any]:
        for owner in (job, other) * 10:
            owner.scale.submit(1)
        return [map.spec.name for map in context.current_flow.get().scope.endings.maps]  # type: ignore[union-attr]

    before = len(fresh_session.program.tasks._known)
    assert run(body) == ["scale"]
    assert len(fresh_session.program.tasks._known) == before + 1


def test_hook_of_a_bound_task_is_the_tasks(threads: str) -> None:
    class Plain:
        @task
        def work(self) -> int:
            return 1

    seen: list[str] = []
    Plain().work.on_completion(lambda task, run, state: seen.append(task.name))
    Plain().work()
    assert seen == ["work"]


def test_templates_and_keys_see_the_owner(concurrent: str) -> None:
    class Plain:
        def __init__(self, k: int) -> None:
            self.k = k

        @task(task_run_name="{self.k}|{x}")
        def name(self, x: int) -> str:
            return context.task_run().name

        @task(cache_key_fn=lambda ctx, parameters: ",".join(parameters))
        def named_by(self, x: int) -> list[str]:
            return ["self", "x"]

        @flow(flow_run_name="{self.k}|{x}")
        def flow_name(self, x: int) -> str:
            return context.flow_run().name

    assert run(lambda: [result_of(way, Plain(10).name, 5) for way in WAYS]) == ["10|5"] * 3
    assert Plain(10).flow_name(5) == "10|5"
    assert Plain(10).named_by(1) == ["self", "x"]


@pytest.mark.parametrize("policy", [INPUTS, TASK_SOURCE + INPUTS])
def test_cached_methods_of_two_owners_differ(concurrent: str, policy: Any) -> None:
    class Adder:
        def __init__(self, k: int) -> None:
            self.k = k

        @task(cache_policy=policy)
        def add(self, x: int) -> int:
            return x + self.k

    ways = [way for way in WAYS for _ in range(2)]
    assert run(lambda: [result_of(way, Adder(k).add, 5) for way in ways for k in (1, 100)]) == [6, 105] * 6


def test_cached_methods_of_two_texts_differ(concurrent: str) -> None:
    class Pair:
        @task(cache_policy=TASK_SOURCE)
        def f(self) -> str:
            return "f"

        @task(cache_policy=TASK_SOURCE)
        def g(self) -> str:
            return "g"

    assert run(lambda: [Pair().f(), Pair().g(), Pair().f.submit().result(), Pair().g.submit().result()]) == list("fgfg")


def test_arguments_that_do_not_fit_a_method_are_told_at_once(threads: str) -> None:
    with pytest.raises(ParameterBindError, match=r"scale: missing 'x'; it is called as scale\(self, x\)"):
        Job(3).scale.submit()


def test_owner_that_cannot_travel_is_named(processes: str) -> None:
    class Locked:
        def __init__(self) -> None:
            self.frames = (n for n in range(3))

        @task
        def work(self, x: int) -> int:
            return x

    def body() -> list[str]:
        bad = [Locked().work.submit(1), *Locked().work.map([1])]
        return [str(future.exception()) for future in bad]

    assert all(".frames (builtins.generator)" in text for text in run(body))


@pytest.mark.parametrize("submitted", [False, True])
def test_flows_as_methods(concurrent: str, submitted: bool) -> None:
    def value(one: Any, *args: Any) -> Any:
        return one.submit(*args).result() if submitted else one(*args)

    assert value(Job(2).all_scaled, 3) == [0, 2, 4]
    assert value(Job(2).all_scaled.with_options(name="other"), 3) == [0, 2, 4]
    assert value(Job.all_scaled, Job(2), 3) == [0, 2, 4]
    assert [value(one, 1) for one in (Job.labelled, Sub.labelled, Sub(1).labelled)] == ["job-1", "sub-1", "sub-1"]
    assert [value(one, 1) for one in (Job.increased, Job(1).increased)] == [2, 2]


def test_async_flow_as_method(threads: str) -> None:
    assert asyncio.run(Job(2).waited(3)) == 6


def test_flow_over_a_partial_and_a_callable_object(threads: str) -> None:
    class Call:
        def __call__(self, x: int) -> int:
            return x + 1

    assert Flow(functools.partial(pow, 2), {"name": "power"})(3) == 8
    assert Flow(Call(), {"name": "call"})(3) == 4


