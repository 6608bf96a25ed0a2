"""Flow runs under limits of the record."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import CancelledRun
from tests.integration.shared_limits.here import WAIT, Here, until


def test_a_flow_waits_for_its_limit(here: Here) -> None:
    here.limit("flow:etl", slots=1)
    here.take("flow:etl")

    @flow
    def etl(x: int) -> int:
        assert here.held("flow:etl") == 1
        return x

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(etl(5)))
    thread.start()
    until(lambda: [r for r in here.records.flow_runs() if r.state_name == "AwaitingConcurrencySlot"])
    assert "'flow:etl'" in here.records.flow_runs()[0].message
    here.give("flow:etl")
    thread.join(WAIT)
    assert found == [5]
    until(lambda: here.held("flow:etl") == 0)


@pytest.mark.parametrize("isasync", [False, True])
def test_a_flow_that_waits_can_be_cancelled(here: Here, isasync: bool) -> None:
    here.limit("flow:etl", slots=1)
    here.take("flow:etl")

    @flow(name="etl")
    def etl() -> None:
        raise AssertionError("it never began")

    @flow(name="etl")
    async def later() -> None:
        raise AssertionError("it never began")

    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(later()) if isasync else etl()
        except CancelledRun as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: here.waits("flow:etl"))
    [hook] = here.session.keeper._cancels.values()
    hook()
    thread.join(WAIT)
    assert len(failed) == 1
    assert here.records.flow_runs()[0].state_name == "Cancelled"
    until(lambda: not here.waits("flow:etl"))


# -- rates -----------------------------------------------------------------------------------------

PACE = 0.05
MANY = 9
LONG_ENOUGH = PACE * (MANY - 1.1)  # from before the first start to the last one, however slow the machine is


@pytest.mark.parametrize("way", ["map", "submit", "call"])
def test_a_rate_of_a_task_paces_its_runs_and_no_others(here: Here, way: str) -> None:
    here.limit("task:slow", rate=1 / PACE)
    begun: list[float] = []

    @task
    def slow(x: int) -> int:
        begun.append(time.monotonic())
        return x

    @task
    def other(x: int) -> int:
        return x

    ways: dict[str, Any] = {
        "map": lambda work: work.map(range(MANY)).result(WAIT),
        "submit": lambda work: [future.result(WAIT) for future in [work.submit(n) for n in range(MANY)]],
        "call": lambda work: [work(n) for n in range(MANY)],
    }

    @flow
    def main() -> float:
        assert ways[way](other) == list(range(MANY))
        assert "start" not in here.asked.calls, "it is under no rate"
        began = time.monotonic()
        assert ways[way](slow) == list(range(MANY))
        return began

    began = main()
    assert len(begun) == MANY
    assert max(begun) - began >= LONG_ENOUGH


@pytest.mark.parametrize("way", ["call", "submit", "async"])
def test_a_rate_of_a_flow_paces_its_runs_and_no_others(here: Here, way: str) -> None:
    here.limit("flow:etl", rate=1 / PACE)
    begun: list[float] = []

    @flow(name="etl")
    def etl(x: int) -> int:
        begun.append(time.monotonic())
        return x

    @flow(name="etl")
    async def later(x: int) -> int:
        begun.append(time.monotonic())
        return x

    @flow(name="other")
    def other(x: int) -> int:
        return x

    @flow
    def main() -> list[int]:
        return [future.result(WAIT) for future in [etl.submit(n) for n in range(MANY)]]

    async def together() -> list[int]:
        return list(await asyncio.gather(*(later(n) for n in range(MANY))))

    ways: dict[str, Any] = {
        "call": lambda: [etl(n) for n in range(MANY)], "submit": main, "async": lambda: asyncio.run(together()),
    }  # fmt: skip
    assert [other(n) for n in range(MANY)] == list(range(MANY))
    assert "start" not in here.asked.calls, "it is under no rate"
    began = time.monotonic()
    assert ways[way]() == list(range(MANY))
    assert len(begun) == MANY
    assert max(begun) - began >= LONG_ENOUGH
    assert here.held("flow:etl") == 0


def test_a_flow_under_a_rate_and_a_number_waits_for_both(here: Here) -> None:
    here.limit("flow:etl", slots=1, rate=1 / PACE)
    begun: list[float] = []

    @flow
    def etl(x: int) -> int:
        assert here.held("flow:etl") == 1
        begun.append(time.monotonic())
        return x

    @flow
    def main() -> list[int]:
        return [future.result(WAIT) for future in [etl.submit(n) for n in range(MANY)]]

    began = time.monotonic()
    assert main() == list(range(MANY))
    assert max(begun) - began >= LONG_ENOUGH
    until(lambda: here.held("flow:etl") == 0)
