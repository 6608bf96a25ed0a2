"""The Dask runner on a cluster of its own: where values lie, what crosses, what a dead worker costs."""

from __future__ import annotations

import gc
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from anabranch import Secret, get_run_logger
from anabranch.core import interpreter
from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.events import ChunkLost, Logs, ValuesLost, WorkerJoined
from anabranch.core.reports import Held, Packed, Report
from anabranch.runners.dask.runner import DaskRunner
from tests.integration.dask_runner.driving import MIB, Driver, blob, kill_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.dask, pytest.mark.sampled(4, "a cluster for the file, whose workers are killed")]


def test_capabilities(own: Driver) -> None:
    assert (own.capabilities.name, own.capabilities.values) == ("dask", "held")
    assert not own.capabilities.values_survive_workers
    offers = dict(own.capabilities.resources)
    assert offers.pop("memory") > MIB
    assert offers == {"cpus": 1.0}
    assert (own.runner.slots().now, own.runner.slots().maximum) == (2, 2)


def test_values_stay_on_the_workers(own: Driver) -> None:
    """200 MiB are made, the driver's memory stays as it is; read one by one they are right."""
    me = psutil.Process()
    stage = own.task(blob)
    own.run([own.chunk(stage, [0])])
    before = me.memory_info().rss
    chunks = [own.chunk(stage, range(n, n + 4)) for n in range(0, 200, 4)]
    own.run(chunks)
    grown = me.memory_info().rss - before
    reports = [report for chunk in chunks for report in own.reports[chunk.id]]
    assert all(isinstance(report.blocks[0], Held) for report in reports)
    assert sum(report.count for report in reports) == sum(report.blocks[0].nbytes for report in reports) // MIB  # type: ignore[union-attr]
    assert grown < 30 * MIB, f"the driver grew by {grown / MIB:.0f} MiB"
    for report in reports[:10]:
        handle = BlockHandle(report.chunk, 0, report.first)
        assert len(own.runner.fetch(handle, [0])[0]) == MIB
    assert me.memory_info().rss - before < 60 * MIB
    own.runner.release([BlockHandle(report.chunk, 0, report.first) for report in reports])
    own.until_true(lambda: own.keys() <= 1)


def test_release_frees_keys(own: Driver) -> None:
    stage = own.task(blob)
    start = own.keys()
    chunks = [own.chunk(stage, [n]) for n in range(20)]
    own.run(chunks)
    assert own.keys() == start + 20
    handles = [BlockHandle(chunk.id, 0, 0) for chunk in chunks]
    own.runner.release(handles[:15])
    own.until_true(lambda: own.keys() == start + 5)
    assert own.runner.fetch(handles[19], [0]) == [blob(19)]
    with pytest.raises(ResultReleased):
        own.runner.fetch(handles[0], [0])
    own.runner.release(handles)
    own.until_true(lambda: own.keys() == start)


def test_released_values_do_not_wait_for_a_garbage_collection(own: Driver) -> None:
    """A worker that pauses for its memory has it back at once."""
    client = own.runner._link.client

    def alive() -> int:
        return sum(type(one).__name__ == "Blocks" and bool(one.values) for one in gc.get_objects())

    client.run(gc.disable)
    try:
        chunk = own.chunk(own.task(blob), [1])
        before = sum(client.run(alive).values())
        own.run([chunk])
        assert sum(client.run(alive).values()) == before + 1
        own.runner.release([BlockHandle(chunk.id, 0, 0)])
        own.until_true(lambda: sum(client.run(alive).values()) == before)
    finally:
        client.run(gc.enable)


def test_small_values_leave_nothing_behind(own: Driver) -> None:
    start = own.keys()
    stage = own.task(lambda x: x + 1)
    own.run([own.chunk(stage, range(100)) for _ in range(20)])
    own.until_true(lambda: own.keys() == start)


def test_a_large_constant_leaves_the_driver_once_and_stays_with_nobody_else(own: Driver, tmp_path: Path) -> None:
    """It goes to one worker, the other one takes it from there; neither driver nor scheduler keep a copy."""
    me, cluster = psutil.Process(), own.runner._link.own
    assert cluster is not None
    scheduler = psutil.Process(cluster._process.pid)
    sent = own.runner._outgoing._scattered
    big = os.urandom(64 * MIB)
    before = [process.memory_info().rss for process in (me, scheduler)]

    def look(x: int, data: bytes) -> tuple[int, int, int]:
        (tmp_path / str(os.getpid())).touch()
        end = time.monotonic() + 30
        while len(os.listdir(tmp_path)) < 2 and time.monotonic() < end:  # or one worker has done it all alone
            time.sleep(0.005)
        return x, data[x], os.getpid()

    stage = own.task(look, constants=(big,))
    chunks = [own.chunk(stage, [n]) for n in range(60)]
    own.run(chunks)
    grown = [process.memory_info().rss - then for process, then in zip((me, scheduler), before, strict=True)]
    values = [own.values(chunk)[0] for chunk in chunks]
    assert [value[:2] for value in values] == [(n, big[n]) for n in range(60)]
    assert len({value[2] for value in values}) == 2
    assert own.runner._outgoing._scattered == sent + 1
    assert max(grown) < 16 * MIB, f"driver and scheduler grew by {[n // MIB for n in grown]} MiB"
    own.runner.drop([stage, stage - 1, stage - 2])


def test_a_large_constant_whose_worker_died_is_sent_again(own: Driver) -> None:
    big = os.urandom(2 * MIB)
    stage = own.task(lambda x, data: (os.getpid(), data[x]), constants=(big,))
    [[address]] = own.runner._link.client.who_has([own.runner._outgoing._shared[stage - 1].future]).values()
    os.kill(own.runner._link.client.run(os.getpid)[address], signal.SIGKILL)
    own.until_true(lambda: address not in own.runner._link.workers)
    assert [byte for _, byte in own.to_the_end(stage, range(10))] == list(big[:10])
    own.until_true(lambda: own.runner.slots().now == 2)


def test_large_arguments(own: Driver) -> None:
    numpy = pytest.importorskip("numpy")

    def double(a: Any) -> float:
        a *= 2  # arguments are the task's own
        return float(a.sum())

    stage = own.task(double)
    chunks = [own.chunk(stage, [numpy.ones(MIB * k)]) for k in (1, 2)]
    own.run(chunks)
    assert [own.values(chunk) for chunk in chunks] == [[2.0 * MIB], [4.0 * MIB]]


def test_large_and_small_reports_of_one_chunk(own: Driver) -> None:
    """Small values are told while the chunk runs; large ones wait for its end, and none is told twice."""

    def grow(x: int) -> bytes:
        time.sleep(0.06)
        return b"x" * (10 if x < 5 else 200_000)

    chunk = own.chunk(own.task(grow), range(10))
    own.run([chunk])
    reports = own.reports[chunk.id]
    assert [r.first for r in reports] == [0, *itertools.accumulate(r.count for r in reports)][:-1]
    assert isinstance(reports[0].blocks[0], Packed)
    assert isinstance(reports[-1].blocks[0], Held)
    assert [len(value) for value in own.values(chunk)] == [10] * 5 + [200_000] * 5


def test_a_killed_worker_costs_what_it_had_not_told(own: Driver, tmp_path: Path) -> None:
    stage = own.task(kill_once(str(tmp_path / "died"), 17))
    assert own.to_the_end(stage, range(40)) == [2 * x for x in range(40)]
    lost = [event for event in own.events if isinstance(event, ChunkLost)]
    assert [event.reason for event in lost] == ["worker-lost"]
    own.until(lambda: any(isinstance(event, WorkerJoined) for event in own.events))


def test_a_worker_that_is_slow_to_start_again_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow: by itself Dask gives a worker up for good that is gone for 15 seconds, here for hardly any time."""
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "10ms")
    driver = Driver(DaskRunner(n_workers=1))
    try:
        stage = driver.task(kill_once(str(tmp_path / "died"), 1))
        assert driver.to_the_end(stage, range(4)) == [2 * x for x in range(4)]
    finally:
        driver.runner.close()


def test_a_chunk_that_waited_is_not_blamed(own: Driver) -> None:
    own.until_true(lambda: own.runner.slots().now == 2)

    def task(x: int) -> int:
        if x < 0:
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    stage = own.task(task)
    # Two that kill, and four more: some of them wait behind one that kills.
    chunks = [own.chunk(stage, [x]) for x in (-1, -2, 1, 2, 3, 4)]
    own.run(chunks)
    blamed = []
    for chunk in chunks:
        end = own.ends[chunk.id]
        if isinstance(end, ChunkLost) and end.suspects != ():
            assert end.suspects == (0,)  # read from the dead worker's page
            blamed.append(chunk.args[0])
    assert blamed
    assert set(blamed) <= {-1, -2}
    own.until_true(lambda: own.runner.slots().now == 2)
    assert own.to_the_end(stage, [5, 6]) == [5, 6]


def test_held_values_of_a_killed_worker(own: Driver) -> None:
    """Dask computes them again, or they are reported as lost: never a wrong value, never a hang."""
    own.until_true(lambda: own.runner.slots().now == 2)
    stage = own.task(lambda x: (os.getpid(), blob(x)))
    chunks = [own.chunk(stage, [n]) for n in range(6)]
    own.run(chunks)
    pids = {n: own.values(chunk)[0][0] for n, chunk in enumerate(chunks)}
    os.kill(pids[0], signal.SIGKILL)
    for n, chunk in enumerate(chunks):
        try:
            [(_, value)] = own.values(chunk)
        except (ResultReleased, RunnerError):
            handle = BlockHandle(chunk.id, 0, 0)
            own.until(lambda handle=handle: any(handle in lost.handles for lost in own.seen(ValuesLost)))
            continue
        assert value == blob(n)
    own.runner.release([BlockHandle(chunk.id, 0, 0) for chunk in chunks])


@pytest.mark.nightly("it measures")
def test_throughput(own: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    own.until_true(lambda: own.runner.slots().now == 2)
    client = own.runner._link.client
    distributed_wait = importlib.import_module("distributed.client")._wait
    stage = own.task(lambda x: x + 1)
    own.run([own.chunk(stage, range(10)) for _ in range(20)])

    def timed(chunks: list[Chunk]) -> float:
        begun = time.perf_counter()
        own.run(chunks)
        return time.perf_counter() - begun

    def raw(count: int) -> float:
        begun = time.perf_counter()
        futures = client.map(lambda x: x + 1, range(count), pure=False)
        client.sync(distributed_wait, futures)
        return time.perf_counter() - begun

    items = max(100_000 / timed([own.chunk(stage, range(1000)) for _ in range(100)]) for _ in range(3))
    rounds = [(1000 / timed([own.chunk(stage, [1]) for _ in range(1000)]), 1000 / raw(1000)) for _ in range(3)]
    chunks, tasks = (sorted(column)[1] for column in zip(*rounds, strict=True))
    with capsys.disabled():
        print(f"\ndask: {items:,.0f} items/s (1,000 a chunk), {chunks:,.0f} chunks/s; raw client.map {tasks:,.0f}/s")
    assert items >= 20_000 or items >= 8 * tasks
    assert chunks >= min(400, 0.6 * tasks)


def test_a_secret_that_a_worker_reads_does_not_leave_it(own: Driver) -> None:
    text = "open-sesame-" + "7" * 6

    def tell(x: int) -> int:
        os.environ["ANABRANCH_TEST_FAR"] = "open-sesame-" + "7" * 6
        found = Secret("ANABRANCH_TEST_FAR").get()
        get_run_logger().info("item %d has %s", x, found)
        raise ValueError(f"refused {found}")

    before = len(own.events)
    chunk = own.chunk(own.task(tell), [0, 1])
    own.run([chunk])
    told = own.events[before:]
    outcomes = [outcome for event in told if isinstance(event, Report) for outcome in event.outcomes]
    assert [outcome.error.message for outcome in outcomes if outcome.error] == ["refused **********"] * 2
    lines = [line.message for event in told if isinstance(event, Logs) for line in event.lines]
    assert lines == ["item 0 has **********", "item 1 has **********"]
    assert text not in repr(told)


def test_modules_of_the_working_folder_are_not_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the interpreter's options are those of the driver, children may be had, as in the script."""
    for name in ("json", "types", "random", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interpreter, "interpreter_flags", lambda: ["-W", "error::ResourceWarning"])
    driver = Driver(DaskRunner(n_workers=1))
    try:
        chunk = driver.chunk(driver.task(circumstances), [0])
        driver.run([chunk])
        assert driver.values(chunk) == [(["error::ResourceWarning"], multiprocessing.get_start_method(), [1])]
    finally:
        driver.runner.close()


def circumstances(n: int) -> tuple[list[str], str, list[int]]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return list(sys.warnoptions), multiprocessing.get_start_method(), pool.map(abs, [-1])
