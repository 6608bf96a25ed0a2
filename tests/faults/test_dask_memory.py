"""Tasks that eat memory on Dask: their end says so and how much it was (fault test 14)."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task

if TYPE_CHECKING:
    from anabranch.session import Session

pytestmark = [pytest.mark.dask, pytest.mark.timeout(180), pytest.mark.sampled(7, "a cluster of its own")]

WAIT = 100.0
MIB = 1 << 20


def test_a_worker_that_its_nanny_ended_for_its_memory_is_told_apart(session: Session) -> None:
    @task(crash_retries=2)
    def work(x: int) -> int:
        eaten = []
        while x == 1:
            eaten.append(bytearray(b"x") * (20 * MIB))
            time.sleep(0.02)  # a look at its memory comes in between
        return x

    def main(runner: Any) -> tuple[list[tuple[str, int]], str]:
        futures = work.map(range(4), chunk=1)
        futures.wait(WAIT)
        futures[1].exception()
        return [(state.name, state.attempt) for state in futures.states], futures.states[1].message

    cluster: Any = importlib.import_module("distributed").LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, memory_limit="500 MiB", dashboard_address=":0",
        silence_logs=60, scheduler_kwargs={"allowed_failures": 0},
    )  # fmt: skip
    with cluster:
        names, message = flow(main, runner=DaskRunner(cluster))(None)
        session.close()
    assert names == [("Completed", 1), ("Crashed", 2), ("Completed", 1), ("Completed", 1)]
    assert message.startswith("out of memory 2 times (out-of-memory: peak ")
    assert "when its nanny ended the Dask worker tcp://" in message
    peak = int(message.partition("peak ")[2].split()[0])
    assert 0.95 * 500 <= peak < 2000
