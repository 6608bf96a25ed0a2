"""Flow runs under limits of the record."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from anabranch import flow
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
    [hook] = here.session.cancel_hooks.values()
    hook()
    thread.join(WAIT)
    assert len(failed) == 1
    assert here.records.flow_runs()[0].state_name == "Cancelled"
    until(lambda: not here.waits("flow:etl"))
