"""Flows on an own Dask cluster whose items run past their time: states, retries, nested submits, cancelling."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.runners.dask.in_flight import InFlight
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(7, "a cluster of the file's own", whole=True)]

WAIT = 60.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskRunner]:
    """One cluster for this file: it takes seconds to start."""
    runner = DaskRunner(n_workers=2)
    with runner:
        yield runner


@pytest.fixture(autouse=True, scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    mine = Session(Settings(home=home, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


def test_one_item_is_timed_out_and_the_others_complete(dask: DaskRunner) -> None:
    @task(timeout_seconds=0.5)
    def work(x: int) -> int:
        if x == 70:
            time.sleep(100)
        return x

    @flow(runner=dask)
    def main() -> list[Any]:
        futures = work.map(range(200))
        futures.wait(WAIT)
        return [(state.name, state.attempt) for state in futures.states]

    found = main()
    assert [i for i, (name, _) in enumerate(found) if name != "Completed"] == [70]
    assert found[70] == ("TimedOut", 1)
    assert {attempt for _, attempt in found} == {1}


def test_a_timed_out_item_is_tried_again(dask: DaskRunner, tmp_path: Path) -> None:
    first = str(tmp_path / "first")

    @task(timeout_seconds=0.5, retries=1)
    def work(x: int) -> int:
        if x == 3 and not os.path.exists(first):
            open(first, "w").close()
            time.sleep(100)
        return x

    @flow(runner=dask)
    def main() -> list[int]:
        futures = work.map(range(10))
        values = futures.result(WAIT)
        assert [state.attempt for state in futures.states] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
        return values  # type: ignore[no-any-return]

    assert main() == list(range(10))


def test_nested_submits_from_a_timed_task(dask: DaskRunner) -> None:
    @task(timeout_seconds=30)
    def leaf(x: int) -> int:
        return x + 1

    @task(timeout_seconds=60)
    def branch(x: int) -> int:
        return sum(leaf.map(range(x, x + 3)).result())

    @flow(runner=dask)
    def main() -> list[int]:
        return branch.map(range(5)).result(WAIT)  # type: ignore[no-any-return]

    assert main() == [sum(range(x + 1, x + 4)) for x in range(5)]


def test_large_values_between_timed_maps(dask: DaskRunner) -> None:
    @task(timeout_seconds=30)
    def make(x: int) -> bytes:
        return bytes([x]) * (2 * MIB)

    @task(timeout_seconds=30)
    def look(data: bytes) -> tuple[int, int]:
        return data[0], len(data)

    @flow(runner=dask)
    def main() -> None:
        made = make.map(range(8))
        made.wait(WAIT)
        assert made.bytes_held >= 8 * 2 * MIB
        assert look.map(made).result(WAIT) == [(x, 2 * MIB) for x in range(8)]
        assert made[3].result() == bytes([3]) * (2 * MIB)

    main()


def sleeper(place: Path) -> Any:
    """A task that says in which process it sleeps."""

    @task(timeout_seconds=100)
    def work(x: int) -> int:
        (place / "pid").write_text(str(os.getpid()))
        time.sleep(100)
        return x

    return work


def begun(place: Path) -> bool:
    return (place / "pid").exists() and bool((place / "pid").read_text())


def test_cancelling_stops_a_running_item(dask: DaskRunner, tmp_path: Path) -> None:
    work = sleeper(tmp_path)

    @flow(runner=dask)
    def main() -> str:
        future = work.submit(1)
        until(lambda: begun(tmp_path))
        future.cancel()
        pid = int((tmp_path / "pid").read_text())
        until(lambda: not os.path.exists(f"/proc/{pid}"))
        return future.state.name

    assert main() == "Cancelled"


def test_cancelling_stops_an_item_before_it_is_known_where_it_runs(
    dask: DaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, held = InFlight.HEARS["start"], list[Any]()
    monkeypatch.setitem(InFlight.HEARS, "start", lambda *message: held.append(message))

    work = sleeper(tmp_path)

    @flow(runner=dask)
    def main() -> str:
        future = work.submit(1)
        until(lambda: begun(tmp_path) and held)
        future.cancel()
        pid = int((tmp_path / "pid").read_text())
        until(lambda: not os.path.exists(f"/proc/{pid}"))
        monkeypatch.undo()
        hear(*held[0])
        return future.state.name

    assert main() == "Cancelled"


def test_an_item_that_kills_its_child_is_crashed_alone(dask: DaskRunner) -> None:
    @task(timeout_seconds=30)
    def work(x: int) -> int:
        if x == 50:
            os._exit(3)
        return x

    @flow(runner=dask)
    def main() -> list[str]:
        futures = work.map(range(100))
        futures.wait(WAIT)
        return [state.name for state in futures.states]

    names = main()
    assert [i for i, name in enumerate(names) if name != "Completed"] == [50]
    assert names[50] == "Crashed"
