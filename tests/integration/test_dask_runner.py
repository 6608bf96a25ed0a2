"""The Dask runner against real clusters: what the contract suite cannot ask of every runner."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from anabranch import Secret, get_run_logger
from anabranch.core.contracts import (
    Binding,
    Chunk,
    ChunkLost,
    EngineLost,
    Handle,
    Held,
    Logs,
    Packed,
    Report,
    Stage,
    TaskSpec,
    ValuesLost,
    WorkerJoined,
)
from anabranch.core.errors import MissingExtraError, ResultReleased, VersionMismatch
from anabranch.core.options import TaskOptions
from anabranch.runners import dask_worker
from anabranch.runners.dask import DaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.dask

WAIT = 50.0
MIB = 1 << 20


class Driver:
    """What a dispatcher does, as far as these tests need it."""

    def __init__(self, runner: DaskRunner) -> None:
        self.runner = runner
        self.ids = itertools.count(1)
        self.events: list[Any] = []
        self.reports: dict[int, list[Report]] = {}
        self.ends: dict[int, Report | ChunkLost] = {}
        self.news = threading.Condition()
        self.capabilities = runner.start(self.sink)

    def sink(self, events: Sequence[Any]) -> None:
        with self.news:
            for event in events:
                self.events.append(event)
                if isinstance(event, Report):
                    self.reports.setdefault(event.chunk, []).append(event)
                if isinstance(event, ChunkLost) or (isinstance(event, Report) and event.final):
                    assert event.chunk not in self.ends, "a chunk ended twice"
                    self.ends[event.chunk] = event
            self.news.notify_all()

    def until(self, check: Callable[[], Any]) -> None:
        with self.news:
            assert self.news.wait_for(check, WAIT), self.events[-10:]

    def task(self, fn: Callable[..., Any], constants: tuple[Any, ...] | None = None) -> int:
        spec, consts, stage = (next(self.ids) for _ in range(3))
        self.runner.put(spec, TaskSpec(getattr(fn, "__name__", "task"), fn, TaskOptions()))
        args: tuple[tuple[str, int], ...] = (("item", 0),)
        if constants is not None:
            self.runner.put(consts, constants)
            args += tuple(("const", k) for k in range(len(constants)))
        self.runner.put(stage, Stage(spec, None if constants is None else consts, Binding(args=args), map_id="m"))
        return stage

    def chunk(self, stage: int, args: Sequence[Any], **more: Any) -> Chunk:
        return Chunk(next(self.ids), (stage,), range(len(args)), list(args), **more)

    def run(self, chunks: list[Chunk]) -> None:
        self.runner.submit(chunks)
        self.until(lambda: all(chunk.id in self.ends for chunk in chunks))

    def values(self, chunk: Chunk) -> list[Any]:
        end = self.ends[chunk.id]
        assert isinstance(end, Report), end
        found: list[Any] = []
        for report in self.reports[chunk.id]:
            [block] = report.blocks
            if isinstance(block, Packed):
                found += importlib.import_module("pickle").loads(block.data)
            elif isinstance(block, Held):
                found += self.runner.fetch(Handle(chunk.id, 0, report.first), range(report.count))
        return found

    def to_the_end(self, stage: int, args: Sequence[Any]) -> list[Any]:
        """Run the items, sending again what is lost, as the dispatcher does: halves of what was not confirmed."""
        done: dict[int, Any] = {}
        todo = [list(range(len(args)))]
        while todo:
            positions = todo.pop()
            chunk = self.chunk(stage, [args[p] for p in positions])
            self.run([chunk])
            confirmed = 0
            for report in self.reports.get(chunk.id, []):
                for k in range(report.count):
                    done[positions[report.first + k]] = (chunk.id, report, k)
                confirmed += report.count
            rest = positions[confirmed:]
            half = (len(rest) + 1) // 2
            todo += [part for part in (rest[half:], rest[:half]) if part]
        found = []
        for p in range(len(args)):
            number, report, k = done[p]
            [block] = report.blocks
            if isinstance(block, Held):
                found += self.runner.fetch(Handle(number, 0, report.first), [k])
            else:
                found.append(importlib.import_module("pickle").loads(block.data)[k])
        return found

    def keys(self) -> int:
        """How many keys of ours the scheduler knows."""

        def count(prefix: str, dask_scheduler: Any = None) -> int:
            return sum(str(key).startswith(prefix) for key in dask_scheduler.tasks)

        found: int = self.runner._link.client.run_on_scheduler(count, f"ab-{self.runner._session}")
        return found

    def until_true(self, check: Callable[[], Any]) -> None:
        pause, end = threading.Event(), time.monotonic() + WAIT
        while not check():
            assert time.monotonic() < end, "it did not come to pass"
            pause.wait(0.02)


@pytest.fixture(scope="module")
def own() -> Iterator[Driver]:
    driver = Driver(DaskRunner(n_workers=2))
    yield driver
    driver.runner.close()


@pytest.fixture(scope="module")
def lent() -> Iterator[Any]:
    """A cluster of the user's, default settings, and their client."""
    distributed = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=60
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def blob(n: int) -> bytes:
    return bytes([n % 251]) * MIB


def kill_once(marker: str, at: int) -> Callable[[int], int]:
    def task(x: int) -> int:
        if x == at and not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return x * 2

    return task


# -- own cluster -----------------------------------------------------------------------------------


def test_capabilities(own: Driver) -> None:
    assert (own.capabilities.name, own.capabilities.values) == ("dask", "held")
    assert not own.capabilities.values_survive_workers
    assert dict(own.capabilities.resources) == {"cpus": 1.0}
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
        handle = Handle(report.chunk, 0, report.first)
        assert len(own.runner.fetch(handle, [0])[0]) == MIB
    assert me.memory_info().rss - before < 60 * MIB
    own.runner.release([Handle(report.chunk, 0, report.first) for report in reports])
    own.until_true(lambda: own.keys() <= 1)


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


def test_release_frees_keys(own: Driver) -> None:
    stage = own.task(blob)
    start = own.keys()
    chunks = [own.chunk(stage, [n]) for n in range(20)]
    own.run(chunks)
    assert own.keys() == start + 20
    handles = [Handle(chunk.id, 0, 0) for chunk in chunks]
    own.runner.release(handles[:15])
    own.until_true(lambda: own.keys() == start + 5)
    assert own.runner.fetch(handles[19], [0]) == [blob(19)]
    with pytest.raises(ResultReleased):
        own.runner.fetch(handles[0], [0])
    own.runner.release(handles)
    own.until_true(lambda: own.keys() == start)


def test_small_values_leave_nothing_behind(own: Driver) -> None:
    start = own.keys()
    stage = own.task(lambda x: x + 1)
    own.run([own.chunk(stage, range(100)) for _ in range(20)])
    own.until_true(lambda: own.keys() == start)


def test_a_shared_value_crosses_once_to_each_worker(own: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    big = os.urandom(2 * MIB)
    asked: list[int] = []
    given = own.runner._outgoing.given
    monkeypatch.setattr(own.runner._outgoing, "given", lambda n: (asked.append(n), given(n))[1])
    stage = own.task(lambda x, data: (x, len(data)), constants=(big,))
    chunks = [own.chunk(stage, [n]) for n in range(60)]
    own.run(chunks)
    assert [own.values(chunk) for chunk in chunks] == [[(n, 2 * MIB)] for n in range(60)]
    constants = [n for n in asked if n == stage - 1]
    assert 1 <= len(constants) <= 2


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
        if isinstance(end, ChunkLost) and end.suspects is None:
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
        except ResultReleased:
            assert any(isinstance(event, ValuesLost) for event in own.events)
            continue
        assert value == blob(n)
    own.runner.release([Handle(chunk.id, 0, 0) for chunk in chunks])


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


# -- a cluster of the user's ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["client", "cluster", "address"])
def test_what_is_borrowed_is_left_alone(lent: Any, way: str) -> None:
    given: dict[str, Any] = {
        "client": lent, "cluster": lent.cluster, "address": lent.cluster.scheduler_address,
    }  # fmt: skip
    theirs = lent.submit(lambda: 41, pure=False)
    assert theirs.result() == 41

    def settings(dask_scheduler: Any = None) -> tuple[Any, ...]:
        return dask_scheduler.WORKER_SATURATION, dask_scheduler.allowed_failures, set(dask_scheduler.plugins)

    before = lent.run_on_scheduler(settings)
    driver = Driver(DaskRunner(**{way: given[way]}))
    stage = driver.task(blob)
    chunk = driver.chunk(stage, [1])
    driver.run([chunk])
    assert driver.values(chunk) == [blob(1)]
    assert lent.run_on_scheduler(settings) == before
    driver.runner.close()
    driver.runner.close()
    assert theirs.result() == 41
    assert lent.status == "running"
    assert len(lent.nthreads()) == 2

    def left(dask_scheduler: Any = None) -> list[Any]:
        topics = [topic for topic in dask_scheduler._broker._topics if topic.startswith("anabranch-")]
        return [*topics, *(key for key in dask_scheduler.tasks if str(key).startswith("ab-"))]

    driver.until_true(lambda: not lent.run_on_scheduler(left))


def test_a_killed_worker_of_a_borrowed_cluster(lent: Any, tmp_path: Path) -> None:
    """There Dask itself runs the key again; what was accepted stays accepted."""
    driver = Driver(DaskRunner(client=lent))
    try:
        slow = kill_once(str(tmp_path / "died"), 12)

        def task(x: int) -> int:
            time.sleep(0.02)
            return slow(x)

        assert driver.to_the_end(driver.task(task), range(20)) == [2 * x for x in range(20)]
        big = kill_once(str(tmp_path / "died-2"), 2)
        assert driver.to_the_end(driver.task(lambda x: (big(x), blob(x))), range(3)) == [
            (2 * x, blob(x)) for x in range(3)
        ]
    finally:
        driver.runner.close()


def test_the_users_modules_travel(lent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's module, and one that it uses, that no worker can import; and a class from there comes back."""
    (tmp_path / "ab_helper.py").write_text("class Point:\n    def __init__(self, x):\n        self.x = x\n")
    (tmp_path / "ab_tasks.py").write_text(
        "import ab_helper\nfrom ab_helper import Point\n"
        "def move(p):\n    return Point(p.x + 1)\n"
        "def make(x):\n    return ab_helper.Point(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    tasks, helper = importlib.import_module("ab_tasks"), importlib.import_module("ab_helper")
    driver = Driver(DaskRunner(client=lent))
    try:
        chunk = driver.chunk(driver.task(tasks.move), [helper.Point(1), helper.Point(2)])
        other = driver.chunk(driver.task(tasks.make), [7])
        driver.run([chunk, other])
        found = driver.values(chunk) + driver.values(other)
        assert [type(point) for point in found] == [helper.Point] * 3
        assert [point.x for point in found] == [2, 3, 7]
    finally:
        driver.runner.close()
        del sys.modules["ab_tasks"], sys.modules["ab_helper"]


# -- starts that fail, ends that come from outside -------------------------------------------------------


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anabranch\[dask\]'"):
        DaskRunner(n_workers=1).start(lambda events: None)


def test_other_versions_are_refused(lent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {**dask_worker.versions(), "Python": "3.99"}
    dask_worker.compare(ours, ours, "w")
    real = dask_worker.compare
    monkeypatch.setattr(dask_worker, "compare", lambda mine, theirs, name: real(ours, theirs, name))
    here = f"Python 3.99 here, {sys.version_info[0]}.{sys.version_info[1]} there"
    with pytest.raises(VersionMismatch, match=here):
        DaskRunner(client=lent).start(lambda events: None)
    assert lent.status == "running"


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="one of"):
        DaskRunner("tcp://a", address="tcp://b")
    with pytest.raises(ValueError, match="count from 1"):
        DaskRunner(n_workers=0)


def test_the_end_of_the_cluster_is_told(tmp_path: Path) -> None:
    driver = Driver(DaskRunner(n_workers=1))
    stage = driver.task(lambda x: time.sleep(60))
    driver.runner.submit([driver.chunk(stage, [1])])
    hub = driver.runner._link.hub
    assert hub is not None
    os.killpg(hub._process.pid, signal.SIGKILL)
    driver.until(lambda: any(isinstance(event, EngineLost) for event in driver.events))
    driver.runner.close()
    assert driver.ends == {}


SCRIPT = """
import json, os, sys
from anabranch.runners.dask import DaskRunner
runner = DaskRunner(n_workers=1)
runner.start(lambda events: None)
pids = list(runner._link.client.run(os.getpid).values())
print(json.dumps([runner._link.hub._process.pid, *pids]), flush=True)
if sys.argv[1] == "close":
    runner.close()
elif sys.argv[1] == "die":
    os._exit(9)
"""


@pytest.mark.parametrize("end", ["close", "die", "leave"])
def test_nothing_is_left_running_and_nothing_is_said(end: str) -> None:
    root = str(Path(dask_worker.__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, end],
        capture_output=True, text=True, timeout=50, env={**os.environ, "PYTHONPATH": root}, check=False,
    )  # fmt: skip
    assert found.returncode == (9 if end == "die" else 0), found.stderr
    assert found.stderr == ""
    pids = json.loads(found.stdout)
    stop = time.monotonic() + 20
    pause = threading.Event()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < stop, f"still there: {[pid for pid in pids if alive(pid)]}"
        pause.wait(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
