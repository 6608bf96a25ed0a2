"""Flows on a borrowed Dask cluster: a dead worker, values that stay away, a client that stays open."""

from __future__ import annotations

import importlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from tests.faults.pipes import read_pid, squares_met_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.session import Session

pytestmark = [pytest.mark.dask, pytest.mark.sampled(7, "a cluster of the file's own", whole=True)]

WAIT = 30.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_a_borrowed_client_is_not_closed(client: Any, session: Session) -> None:
    @task
    def add(x: int) -> int:
        return x + 1

    @flow(runner=DaskRunner(client=client))
    def main() -> list[int]:
        return add.map(range(50)).result(WAIT)  # type: ignore[no-any-return]

    assert main() == list(range(1, 51))
    session.close()
    assert client.status == "running"
    assert client.submit(sum, [1, 2]).result(timeout=WAIT) == 3
    assert len(client.scheduler_info()["workers"]) == 2


def test_a_worker_killed_in_mid_map_costs_no_value(client: Any, here: str, gate: str, tmp_path: Path) -> None:
    work = task(squares_met_at(50, here, gate, str(tmp_path / "first")))

    @flow(runner=DaskRunner(client=client))
    def main() -> list[int]:
        futures = work.map(range(200))
        os.kill(read_pid(here), signal.SIGKILL)
        return futures.result(WAIT)  # type: ignore[no-any-return]

    assert main() == [x * x for x in range(200)]
    client.wait_for_workers(2, timeout=WAIT)


def test_big_values_stay_on_the_workers(client: Any) -> None:
    runner = DaskRunner(client=client)
    fetched: list[int] = []
    fetch = runner.fetch

    def counted(handle: Any, slots: Any) -> list[Any]:
        fetched.append(len(slots))
        return fetch(handle, slots)

    runner.fetch = counted  # type: ignore[method-assign]

    @task
    def make(x: int) -> bytes:
        return bytes([x]) * (2 * MIB)

    @task
    def look(data: bytes) -> tuple[int, int]:
        return data[0], len(data)

    @flow(runner=runner)
    def main() -> None:
        made = make.map(range(12))
        made.wait(WAIT)
        assert made.bytes_held >= 12 * 2 * MIB
        assert look.map(made).result(WAIT) == [(x, 2 * MIB) for x in range(12)]
        assert fetched == [], "nothing was brought to the driver"
        assert made[3].result() == bytes([3]) * (2 * MIB)
        assert fetched == [1]

    main()
