"""Items with a time limit on Dask: they run in children of the worker, and are stopped without harm to it."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from anabranch import get_run_logger
from anabranch.core.chunks import BlockHandle
from anabranch.core.events import ChunkLost, ItemCancelled, ItemTimedOut, Logs
from anabranch.core.reports import Held, Report
from anabranch.core.search import Hole
from anabranch.core.states import COMPLETED, FAILED
from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import MIB, WAIT, Driver, blob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(5, "a cluster of the file's own", whole=True)]

LONG = 100.0


def workers(driver: Driver) -> dict[str, int]:
    """Pids of Dask's workers."""
    return dict(driver.runner._link.client.run(os.getpid))


def children(driver: Driver) -> list[psutil.Process]:
    """The processes in which timed items run."""
    found = [child for pid in workers(driver).values() for child in psutil.Process(pid).children(recursive=True)]
    return [child for child in found if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def stuck_in_c(x: int) -> int:
    """Holds the interpreter's lock for ever."""
    if x == 13:
        ctypes.PyDLL(None).sleep(100)
    return x


def asleep(x: int) -> int:
    if x == 13:
        time.sleep(LONG)
    return x


@pytest.mark.parametrize("task", [asleep, stuck_in_c])
def test_an_item_past_its_limit_is_stopped_and_its_worker_lives(own: Driver, task: Callable[[int], int]) -> None:
    before = workers(own)
    stage = own.task(task, timeout_seconds=0.4)
    chunk = own.chunk(stage, [1, 13, 2], timeout=0.4)
    begun = time.monotonic()
    own.run([chunk])
    assert time.monotonic() - begun < LONG / 4
    lost = own.ends[chunk.id]
    assert isinstance(lost, ChunkLost)
    assert lost.reason == "stopped"
    [late] = [event for event in own.seen(ItemTimedOut) if event.chunk == chunk.id]
    assert (late.stage, late.position, late.seconds) == (0, 1, 0.4)
    after = own.chunk(stage, [1, 2], timeout=0.4)
    own.run([after])
    assert own.values(after) == [1, 2]
    assert workers(own) == before


def test_children_stay_for_the_next_chunk(own: Driver) -> None:
    stage = own.task(lambda x: (os.getpid(), os.getppid()), timeout_seconds=30.0)
    chunks = [own.chunk(stage, range(3), timeout=30.0) for _ in range(10)]
    for chunk in chunks:
        own.run([chunk])
    pids = {value for chunk in chunks for value in own.values(chunk)}
    assert {parent for _, parent in pids} <= set(workers(own).values())
    assert len(pids) <= 2


def test_only_chunks_with_a_limit_of_a_sync_task_go_to_a_child(own: Driver) -> None:
    async def waits(x: int) -> int:
        return os.getpid()

    mine = set(workers(own).values())
    plain = own.chunk(own.task(lambda x: os.getpid()), [1])
    sleeper = own.chunk(own.task(waits, timeout_seconds=30.0), [1], timeout=30.0)
    own.run([plain, sleeper])
    assert {*own.values(plain), *own.values(sleeper)} <= mine


def test_a_forced_cancel_stops_what_runs(own: Driver, tmp_path: Path) -> None:
    before = workers(own)

    def task(x: int) -> int:
        (tmp_path / f"begun-{x}").touch()
        time.sleep(LONG if x else 0)
        return x

    chunk = own.chunk(own.task(task, timeout_seconds=LONG), [1, 0], timeout=LONG)
    own.runner.submit([chunk])
    own.until_true(lambda: (tmp_path / "begun-1").exists())
    own.runner.cancel(chunk.id, [0], force=True)
    own.until(lambda: chunk.id in own.ends)
    assert [e.position for e in own.seen(ItemCancelled) if e.chunk == chunk.id] == [0]
    assert workers(own) == before


def test_notes_reach_a_chunk_in_a_child(own: Driver, tmp_path: Path) -> None:
    def task(x: int) -> int:
        (tmp_path / f"begun-{x}").touch()
        end = time.monotonic() + WAIT
        while not (tmp_path / "open").exists() and time.monotonic() < end:
            time.sleep(0.002)
        return x

    stage = own.task(task, timeout_seconds=LONG)
    short, holed = (own.chunk(stage, args, timeout=LONG) for args in ([0, 1, 2], [3, 4, 5]))
    own.runner.submit([short, holed])
    own.until_true(lambda: (tmp_path / "begun-0").exists() and (tmp_path / "begun-3").exists())
    own.runner.shorten(short.id, 1)
    own.runner.cancel(holed.id, [1])
    told: list[int] = []
    own.runner.when_told(lambda: told.append(1))
    own.until_true(lambda: told)
    time.sleep(0.1)  # from the worker to its child nobody acknowledges it
    (tmp_path / "open").touch()
    own.until(lambda: short.id in own.ends and holed.id in own.ends)
    assert sum(report.count for report in own.reports[short.id]) == 1
    codes = [code for r in own.reports[holed.id] for code in (r.codes[0] if r.codes else bytes([COMPLETED]) * r.count)]
    assert [code == COMPLETED for code in codes] == [True, False, True]
    assert not (tmp_path / "begun-4").exists()


def test_large_values_constants_inputs_and_logs_in_a_child(own: Driver) -> None:
    numpy = pytest.importorskip("numpy")
    big = numpy.arange(MIB, dtype="u1")

    def make(x: int, data: Any) -> Any:
        get_run_logger().warning("making %d", x)
        return numpy.full(MIB, x, dtype="u1") + data

    stage = own.task(make, constants=(big,), timeout_seconds=LONG)
    made = [own.chunk(stage, [n], timeout=LONG) for n in range(4)]
    own.run(made)
    assert all(isinstance(report.blocks[0], Held) for chunk in made for report in own.reports[chunk.id])
    assert [own.values(chunk)[0][:3].tolist() for chunk in made] == [[n, n + 1, n + 2] for n in range(4)]
    lines = [line.message for event in own.seen(Logs) for line in event.lines]
    assert sorted(line for line in lines if line.startswith("making")) == [f"making {n}" for n in range(4)]

    total = own.task(lambda data: int(data[1]), timeout_seconds=LONG)
    reader = own.chunk(
        total, [Hole(0, False), Hole(0, False)], timeout=LONG,
        inputs=tuple((BlockHandle(made[n].id, 0, 0), 0) for n in (1, 3)), wants={0: (0,), 1: (1,)},
    )  # fmt: skip
    own.run([reader])
    assert own.values(reader) == [2, 4]
    own.runner.release([BlockHandle(chunk.id, 0, 0) for chunk in made])


def test_values_that_waited_for_the_chunks_end_outlive_a_stopped_item(own: Driver, tmp_path: Path) -> None:
    """Large values of a chunk are told at its end: so they are when that end is a kill, and nothing runs twice."""

    def task(x: int) -> bytes:
        with open(tmp_path / "ran", "a") as file:
            file.write(f"{x} ")
        time.sleep(LONG if x == 13 else 0.12)
        return blob(x)

    before = own.keys()
    chunk = own.chunk(own.task(task, timeout_seconds=1.0), [1, 2, 3, 13, 4], timeout=1.0, close_bytes=64 * MIB)
    own.run([chunk])
    lost = own.ends[chunk.id]
    assert isinstance(lost, ChunkLost)
    assert lost.reason == "stopped"
    [report] = own.reports[chunk.id]
    assert (report.first, report.count, report.final) == (0, 3, False)
    assert own.runner.fetch(BlockHandle(chunk.id, 0, 0), range(3)) == [blob(1), blob(2), blob(3)]
    assert (tmp_path / "ran").read_text().split() == ["1", "2", "3", "13"]
    own.runner.release([BlockHandle(chunk.id, 0, 0)])
    own.until_true(lambda: own.keys() <= before)  # of earlier chunks some may have gone meanwhile


def test_the_death_of_a_child_is_blamed_on_its_item(own: Driver) -> None:
    before = workers(own)

    def task(x: int) -> int:
        if x == 13:
            os.kill(os.getpid(), signal.SIGSEGV)
        return x

    chunk = own.chunk(own.task(task, timeout_seconds=LONG), [1, 2, 13, 3], timeout=LONG)
    own.run([chunk])
    lost = own.ends[chunk.id]
    assert isinstance(lost, ChunkLost)
    assert (lost.reason, lost.suspects, lost.alone) == ("worker-lost", (2,), True)
    assert "SIGSEGV" in lost.message
    assert workers(own) == before


class Unfriendly:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("no")


def test_a_result_that_does_not_unpickle_on_the_worker(own: Driver) -> None:
    stage = own.task(lambda x: (Unfriendly() if x == 1 else x, blob(x)), timeout_seconds=LONG)
    chunk = own.chunk(stage, [0, 1, 2], timeout=LONG)
    own.run([chunk])
    end = own.ends[chunk.id]
    assert isinstance(end, Report)
    assert end.codes is not None
    assert list(end.codes[0]) == [COMPLETED, FAILED, COMPLETED]
    assert "does not unpickle" in end.outcomes[0].message
    assert own.runner.fetch(BlockHandle(chunk.id, 0, 0), [2]) == [(2, blob(2))]


def test_children_end_with_their_worker_and_with_the_session(tmp_path: Path) -> None:
    driver = Driver(DaskRunner(n_workers=2))
    try:
        stage = driver.task(lambda x: os.getpid(), timeout_seconds=LONG)
        chunks = [driver.chunk(stage, [n], timeout=LONG) for n in range(20)]
        driver.run(chunks)
        before = children(driver)
        assert len(before) >= 1

        def forever(x: int) -> None:
            (tmp_path / str(os.getppid())).write_text(str(os.getpid()))
            ctypes.PyDLL(None).sleep(100)

        chunk = driver.chunk(driver.task(forever, timeout_seconds=LONG), [1], timeout=LONG)
        driver.runner.submit([chunk])
        driver.until_true(lambda: any(path.read_text() for path in tmp_path.iterdir()))
        [path] = tmp_path.iterdir()
        child = psutil.Process(int(path.read_text()))
        os.kill(int(path.name), signal.SIGKILL)
        child.wait(WAIT)
        driver.until(lambda: chunk.id in driver.ends)
        driver.until_true(lambda: driver.runner.slots().now == 2)
        again = [driver.chunk(stage, [n], timeout=LONG) for n in range(20)]
        driver.run(again)
        left = children(driver)
    finally:
        driver.runner.close()
    assert left
    for process in left:
        process.wait(WAIT)
