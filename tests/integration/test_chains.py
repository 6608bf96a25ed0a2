"""Chains of single submits travel as one chunk: each link is still a run of its own."""

from __future__ import annotations

import threading
from typing import Any

from anabranch import ThreadRunner, flow, task
from anabranch.core import context


def my_id() -> str:
    here = context.current_task.get()
    assert here is not None
    return here.run.id


def test_each_link_knows_its_own_run() -> None:
    gate = threading.Event()

    @task
    def first() -> list[str]:
        gate.wait(10)
        return [my_id()]

    @task
    def link(before: list[str]) -> list[str]:
        return [*before, my_id()]

    @task(on_completion=[lambda t, run, s: seen.append(run.id)])
    def watched(before: list[str]) -> list[str]:
        return [*before, my_id()]

    seen: list[str] = []

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        futures = [first.submit()]
        for step in (link, link, watched, link, watched):
            futures.append(step.submit(futures[-1]))
        gate.set()
        return futures[-1].result(), [f.task_run_id for f in futures], [futures[3].task_run_id, futures[5].task_run_id]

    ran, ids, hooked = main()
    assert ran == ids
    assert seen == hooked


def test_a_link_that_fails_names_itself_to_the_next() -> None:
    gate = threading.Event()

    @task
    def first() -> int:
        gate.wait(10)
        return 1

    @task
    def link(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x + 1

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        futures = [first.submit()]
        for _ in range(5):
            futures.append(link.submit(futures[-1]))
        gate.set()
        found = [f.wait() for f in futures]
        futures[-1].exception()
        return [s.name for s in found], found[-1].message

    names, message = main()
    assert names == ["Completed"] * 3 + ["Failed"] + ["TriggerFailed"] * 2
    assert "link[2]" in message or "/2" in message
