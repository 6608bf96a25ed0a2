"""Traps of Prefect that anabranch does not have: coroutines, event loops, generators.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from anabranch import flow, task
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from tests.acceptance.conftest import Marks


@task
def same(x: Any) -> Any:
    return x


def test_async_items_share_a_loop(runner: str) -> None:
    """Row 27: each async task had an event loop of its own, so that connection pools could not be shared."""

    @task
    async def where(x: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return os.getpid(), id(asyncio.get_running_loop())

    assert len(set(where.map(range(20), chunk=20).result())) == 1


def test_async_items_run_together(runner: str) -> None:
    """Row 27: items that wait for each other need not a thread each."""

    @task
    async def meet(x: int) -> int:
        arrived.append((asyncio.get_running_loop().create_future(), x))
        if len(arrived) == 8:
            for ended, _ in arrived:
                ended.set_result(None)
        await next(ended for ended, y in arrived if y == x)
        return x

    arrived: list[Any] = []
    assert meet.map(range(8), chunk=8).result(timeout=SOON) == list(range(8))


def test_async_tasks_are_submitted_from_plain_flows(runner: str) -> None:
    """Row 27, #5533: whether to await depended on who called; `submit` is the same runner."""

    @task
    async def add_one(x: int) -> int:
        return x + 1

    @flow
    def plain() -> Any:
        return add_one.submit(1), add_one.map([1, 2])

    @flow
    async def awaiting() -> Any:
        return await add_one.submit(1), await add_one(2), same(3)

    assert plain() == (2, [2, 3])
    assert asyncio.run(awaiting()) == (2, 3, 3)


def test_a_plain_flow_works_under_a_running_loop(runner: str) -> None:
    """#6318: a sync flow in a notebook, where a loop runs already."""

    @flow
    def main() -> Any:
        return same.submit(1).result() + sum(same.map([1, 2]).result())

    async def cell() -> Any:
        return main()

    assert asyncio.run(cell()) == 4


def test_generator_tasks_can_be_submitted(runner: str, marks: Marks) -> None:
    """Row 26: a generator task could not be sent to a pool, and a closed one left its run open."""

    @task(on_completion=lambda t, r, s: marks.add(s.name))
    def count(n: int) -> Any:
        yield from range(n)

    assert count.submit(3).result() == [0, 1, 2]
    assert count.map([1, 2]).result() == [[0], [0, 1]]
    assert marks.read() == ["Completed"] * 3
    early = count(3)
    assert next(early) == 0
    assert marks.read() == ["Completed"] * 3
    early.close()
    assert marks.read() == ["Completed"] * 4
    assert list(count(2)) == [0, 1]
    assert marks.read() == ["Completed"] * 5
