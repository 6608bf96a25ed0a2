"""The doors of a cluster of pods on Dask's own scheduler: a worker that was retired and stays gets work again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from anabranch.clusters.kubernetes.door import MOVED, Door
from anabranch.clusters.kubernetes.doors import Doors

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.dask


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_a_worker_that_was_retired_and_stays_gets_work_again() -> None:
    async def run() -> None:
        from distributed import Client, Scheduler, Worker

        async with Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as scheduler:
            door, doors = Door(scheduler), Doors(scheduler.address)
            async with Worker(scheduler.address, name="w1", nthreads=1) as worker:
                what, _, busy = await doors.retire("w1")
                assert (what, busy) == (MOVED, False)
                assert (await door.on_holder({}))["closing"] == ["w1"]
                async with Client(scheduler.address, asynchronous=True) as client:  # type: ignore[no-untyped-call]
                    future = client.submit(abs, -7)
                    await _until(lambda: bool(scheduler.unrunnable))
                    await doors.stay("w1")
                    assert await asyncio.wait_for(future.result(), 60) == 7
                assert worker.status.name == "running"
                assert (await door.on_holder({}))["closing"] == []

    asyncio.run(run())
