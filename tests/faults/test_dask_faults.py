"""Flows on a borrowed Dask cluster: a dead worker, values that stay away, a client that stays open."""

from __future__ import annotations

import importlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.dask

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


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    mine = Session(Settings(home=tmp_path, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


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


def test_a_worker_killed_in_mid_map_costs_no_value(client: Any, tmp_path: Path) -> None:
    here = str(tmp_path / "here")
    gate = str(tmp_path / "gate")
    first = str(tmp_path / "first")
    os.mkfifo(here)
    os.mkfifo(gate)

    @task
    def work(x: int) -> int:
        if x == 50 and not os.path.exists(first):
            open(first, "w").close()
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x * x

    @flow(runner=DaskRunner(client=client))
    def main() -> list[int]:
        futures = work.map(range(200))
        with open(here, encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)
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
