"""What only the process runner has: workers that die, are killed, share memory, and leave nothing behind."""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch.core.contracts import (
    Binding,
    Chunk,
    ChunkLost,
    EngineLost,
    Handle,
    Held,
    ItemCancelled,
    ItemTimedOut,
    Packed,
    Report,
    Stage,
    TaskSpec,
    WorkerJoined,
    WorkerLost,
    WorkerRequest,
)
from anabranch.core.errors import ResultReleased, RunnerError, SerializationError
from anabranch.core.options import TaskOptions
from anabranch.core.states import COMPLETED, FAILED
from anabranch.core.walk import Hole
from anabranch.runners.process import ProcessRunner
from anabranch.runners.value_files import Store, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WAIT = 30.0
SHM = Path("/dev/shm")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    """Workers need not import this file."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class Drive:
    """Drives one runner and keeps what it tells."""

    def __init__(self, **options: Any) -> None:
        self.ids = itertools.count(1)
        self.events: list[Any] = []
        self.news = threading.Condition()
        self.runner = ProcessRunner(**options)
        self.runner.start(self.sink)

    def sink(self, events: Sequence[Any]) -> None:
        with self.news:
            self.events.extend(events)
            self.news.notify_all()

    def put(self, value: Any) -> int:
        ref = next(self.ids)
        self.runner.put(ref, value)
        return ref

    def task(self, fn: Callable[..., Any], constants: tuple[Any, ...] = (), **options: Any) -> int:
        args = (("item", 0), *(("const", n) for n in range(len(constants))))
        spec = self.put(TaskSpec("task", fn, TaskOptions(**options)))
        shared = self.put(constants) if constants else None
        return self.put(Stage(spec, shared, Binding(args=args), map_id="m"))

    def chunk(self, stage: int, args: Sequence[Any], **more: Any) -> Chunk:
        return Chunk(next(self.ids), (stage,), range(len(args)), list(args), **more)

    def submit(self, stage: int, args: Sequence[Any], **more: Any) -> int:
        chunk = self.chunk(stage, args, **more)
        self.runner.submit([chunk])
        return chunk.id

    def until(self, check: Callable[[], Any]) -> None:
        with self.news:
            assert self.news.wait_for(check, WAIT), self.events[-20:]

    def seen(self, kind: type, chunk: int | None = None) -> list[Any]:
        return [e for e in list(self.events) if type(e) is kind and (chunk is None or e.chunk == chunk)]

    def ends(self, chunk: int) -> list[Any]:
        return [e for e in self.seen(Report, chunk) if e.final] + self.seen(ChunkLost, chunk)

    def end(self, chunk: int) -> Any:
        self.until(lambda: self.ends(chunk))
        [end] = self.ends(chunk)
        return end

    def values(self, chunk: int) -> list[Any]:
        assert isinstance(self.end(chunk), Report), self.end(chunk)
        found: list[Any] = []
        for report in self.seen(Report, chunk):
            for block in report.blocks:
                if isinstance(block, Packed):
                    found += pickle.loads(block.data)
                elif isinstance(block, Held):
                    found += self.runner.fetch(Handle(chunk, 0, report.first), range(report.count))
        return found

    def run(self, stage: int, args: Sequence[Any], **more: Any) -> list[Any]:
        return self.values(self.submit(stage, args, **more))

    def full(self, size: int = 2) -> None:
        """Wait until so many workers are there."""
        self.until(lambda: len(self.seen(WorkerJoined)) - len(self.seen(WorkerLost)) == size)


@pytest.fixture
def drive() -> Iterator[Callable[..., Drive]]:
    made: list[Drive] = []

    def make(**options: Any) -> Drive:
        made.append(Drive(**{"max_workers": 2, **options}))
        return made[-1]

    yield make
    for one in made:
        one.runner.close(cancel=True)
    assert mine() == []


def all_of_us() -> set[str]:
    return {f.name for f in SHM.glob(f"anabranch-{os.getpid()}-*")} if SHM.exists() else set()


@pytest.fixture(autouse=True, scope="module")
def strangers() -> None:
    """Runners that other files' tests keep open."""
    STRANGERS.update(all_of_us())


STRANGERS: set[str] = set()


def mine() -> list[str]:
    return sorted(all_of_us() - STRANGERS)


def until(check: Callable[[], Any]) -> None:
    """Wait for something that no event tells of."""
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        threading.Event().wait(0.005)


# -- tasks -----------------------------------------------------------------------------------------


def double(x: int) -> int:
    return 2 * x


def segfault() -> None:
    ctypes.string_at(0)


def die(how: Callable[[], Any]) -> Callable[[int], int]:
    def task(x: int) -> int:
        if x == 13:
            how()
        return x

    return task


def begin_then_wait(folder: str) -> Callable[[int], int]:
    def task(x: int) -> int:
        Path(folder, f"{x}.new").write_text(str(os.getpid()))
        os.rename(Path(folder, f"{x}.new"), Path(folder, str(x)))
        end = time.monotonic() + WAIT
        while not os.path.exists(os.path.join(folder, "open")) and time.monotonic() < end:
            time.sleep(0.002)
        return x

    return task


class Gate:
    def __init__(self, drive: Drive, folder: Path) -> None:
        self.folder = folder
        self.stage = drive.task(begin_then_wait(str(folder)))

    def begun(self, x: int) -> int:
        """Wait until the item runs; the pid of its worker."""
        until(lambda: (self.folder / str(x)).exists())
        return int((self.folder / str(x)).read_text())

    def open(self) -> None:
        (self.folder / "open").touch()


# -- deaths ----------------------------------------------------------------------------------------

DEATHS = {
    "exit": (functools.partial(os._exit, 3), "exit code 3"),
    "kill": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "segfault": (segfault, "SIGSEGV"),
    "abort": (os.abort, "SIGABRT"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_dead_worker_costs_its_chunk_and_blames_its_item(drive: Callable[..., Drive], how: str) -> None:
    d = drive()
    death, text = DEATHS[how]
    stage = d.task(die(death))
    good = [d.submit(stage, range(10)) for _ in range(5)]
    bad = d.submit(stage, [1, 13, 2])
    good += [d.submit(stage, range(10)) for _ in range(5)]
    lost = d.end(bad)
    assert isinstance(lost, ChunkLost)
    assert (lost.reason, lost.suspects, lost.alone) == ("worker-lost", (1,), True)
    assert text in lost.message
    assert [d.values(chunk) for chunk in good] == [list(range(10))] * 10
    d.until(lambda: d.seen(WorkerLost))
    d.full()
    assert len(d.seen(WorkerLost)) == 1


def test_the_other_chunk_of_a_killed_worker_is_not_lost(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive(max_workers=1)
    gate = Gate(d, tmp_path)
    running = d.submit(gate.stage, [1])
    ready = d.submit(gate.stage, [2])
    queued = d.submit(gate.stage, [3])
    os.kill(gate.begun(1), signal.SIGKILL)
    assert d.end(running).suspects == (0,)
    gate.open()
    assert d.values(ready) == [2]
    assert d.values(queued) == [3]


def test_reported_items_survive_their_worker(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    gate = begin_then_wait(str(tmp_path))
    stage = d.task(lambda x: gate(x) if x == 9 else (time.sleep(0.06), bytes(100_000))[1])
    chunk = d.submit(stage, [1, 2, 3, 4, 9], close_bytes=100 << 20)
    d.until(lambda: sum(r.count for r in d.seen(Report, chunk)) == 4 or (tmp_path / "9").exists())
    until((tmp_path / "9").exists)
    os.kill(int((tmp_path / "9").read_text()), signal.SIGKILL)
    lost = d.end(chunk)
    assert lost.suspects == (4,)
    reports = d.seen(Report, chunk)
    assert reports
    assert all(isinstance(r.blocks[0], Held) for r in reports)
    for report in reports:
        assert d.runner.fetch(Handle(chunk, 0, report.first), [0]) == [bytes(100_000)]


def test_workers_that_cannot_start_end_the_engine(drive: Callable[..., Drive]) -> None:
    d = drive(run_chunk="no_such_module:run_chunk")
    d.until(lambda: d.seen(EngineLost))
    assert "cannot start" in d.seen(EngineLost)[0].reason
    d.submit(1, [1])  # harmless: nothing more is told
    assert d.ends(1) == []


def test_sys_exit_ends_the_item_only(drive: Callable[..., Drive]) -> None:
    d = drive()
    chunk = d.submit(d.task(die(functools.partial(sys.exit, 4))), [1, 13, 2])
    end = d.end(chunk)
    assert isinstance(end, Report)
    assert end.codes is not None
    assert end.codes[0][0] == end.codes[0][2] == COMPLETED
    assert end.codes[0][1] != COMPLETED
    assert d.seen(WorkerLost) == []


# -- stopping --------------------------------------------------------------------------------------


def test_an_item_past_its_time_is_stopped(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    gate = begin_then_wait(str(tmp_path))
    stage = d.task(lambda x: gate(x) if x == 13 else x, timeout_seconds=0.3)
    begun = time.monotonic()
    chunk = d.submit(stage, [1, 13, 2], timeout=0.3)
    lost = d.end(chunk)
    assert (lost.reason, time.monotonic() - begun < WAIT) == ("stopped", True)
    [late] = d.seen(ItemTimedOut)
    assert (late.chunk, late.stage, late.position, late.seconds) == (chunk, 0, 1, 0.3)
    assert d.run(stage, [1, 2], timeout=0.3) == [1, 2]


def test_a_stopped_item_takes_its_own_processes_along(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    note = tmp_path / "pid"

    def task(x: int) -> int:
        child = subprocess.Popen(["sleep", "60"])
        note.write_text(str(child.pid))
        return child.wait()

    d.end(d.submit(d.task(task, timeout_seconds=0.5), [1], timeout=0.5))
    until(lambda: not alive(int(note.read_text())))


def test_forced_cancel_stops_the_running_item(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    gate = Gate(d, tmp_path)
    chunk = d.submit(gate.stage, [1, 2, 3])
    other = d.submit(gate.stage, [4])
    gate.begun(1)
    d.runner.cancel(chunk, [0], force=True)
    assert d.end(chunk).reason == "stopped"
    assert [(e.chunk, e.position) for e in d.seen(ItemCancelled)] == [(chunk, 0)]
    gate.open()
    assert d.values(other) == [4]


def test_forced_cancel_of_items_behind_does_not_stop_the_running_one(
    drive: Callable[..., Drive], tmp_path: Path
) -> None:
    d = drive()
    gate = Gate(d, tmp_path)
    chunk = d.submit(gate.stage, [1, 2])
    gate.begun(1)
    d.runner.cancel(chunk, [1], force=True)
    gate.open()
    end = d.end(chunk)
    assert isinstance(end, Report)
    assert end.codes is not None
    assert end.codes[0][0] == COMPLETED
    assert not (tmp_path / "2").exists()
    assert d.seen(ItemCancelled) == []


def test_queued_chunks_are_given_back_at_once(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive(max_workers=1)
    gate = Gate(d, tmp_path)
    first, _ = d.submit(gate.stage, [1]), d.submit(gate.stage, [2])
    shortened, cancelled = d.submit(gate.stage, [3]), d.submit(gate.stage, [4, 5])
    gate.begun(1)
    d.runner.shorten(shortened, 0)
    d.runner.cancel(cancelled, [0, 1])
    assert (d.end(shortened).count, d.end(cancelled).count) == (0, 0)
    assert d.ends(first) == []
    gate.open()


def test_shorten_a_running_chunk(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    gate = Gate(d, tmp_path)
    chunk = d.submit(gate.stage, range(1, 9))
    gate.begun(1)
    d.runner.shorten(chunk, 1)
    done = d.submit(gate.stage, [100])  # what is said on the control pipe has been heard once this runs
    gate.begun(100)
    threading.Event().wait(0.1)
    gate.open()
    end = d.end(chunk)
    assert (end.first + end.count, end.final) == (1, True)
    assert d.values(done) == [100]


def test_a_worker_over_its_memory_is_killed(drive: Callable[..., Drive]) -> None:
    d = drive(memory_limit="250 MB")

    def hog(x: int) -> int:
        data = [bytearray(b"x") * (10 << 20) for _ in range(40)]
        time.sleep(WAIT)
        return len(data)

    lost = d.end(d.submit(d.task(hog), [1]))
    assert (lost.reason, lost.suspects) == ("out-of-memory", (0,))
    assert "MB" in lost.message


def test_workers_retire(drive: Callable[..., Drive]) -> None:
    d = drive(max_workers=1, max_tasks_per_child=10)
    stage = d.task(lambda x: os.getpid())
    pids = [pid for _ in range(6) for pid in d.run(stage, range(5))]
    assert len(set(pids)) >= 3
    assert max(pids.count(pid) for pid in set(pids)) <= 10
    assert all("retired" in e.reason for e in d.seen(WorkerLost))


# -- values ----------------------------------------------------------------------------------------


def test_one_unpicklable_result_fails_alone(drive: Callable[..., Drive]) -> None:
    d = drive()
    chunk = d.submit(d.task(lambda x: {"lock": [threading.Lock()]} if x == 1 else x), range(4))
    end = d.end(chunk)
    assert [list(row) for row in end.codes] == [[COMPLETED, FAILED, COMPLETED, COMPLETED]]
    [outcome] = end.outcomes
    assert (outcome.stage, outcome.position, outcome.code) == (0, 1, FAILED)
    assert outcome.error.type_name == "SerializationError"
    assert "result['lock'][0] (_thread.lock)" in outcome.error.message
    assert isinstance(pickle.loads(outcome.error.pickled), SerializationError)
    assert d.values(chunk) == [0, None, 2, 3]


def test_arguments_that_do_not_pickle_are_named(drive: Callable[..., Drive]) -> None:
    d = drive()
    lost = d.end(d.submit(d.task(double), [1, threading.Lock(), 3]))
    assert (lost.reason, lost.suspects) == ("unserializable", (1,))
    assert "_thread.lock" in lost.message


def test_arguments_that_do_not_unpickle(drive: Callable[..., Drive]) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

    d = drive()
    lost = d.end(d.submit(d.task(double), [Bad()]))
    assert (lost.reason, lost.alone) == ("unserializable", True)
    assert "no number" in lost.message
    assert d.run(d.task(double), [2]) == [4]


def test_classes_of_the_driver_come_back_as_themselves(drive: Callable[..., Drive]) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    d = drive()
    [found] = d.run(d.task(lambda p: Point(p.x + 1)), [Point(1)])
    assert type(found) is Point
    assert found.x == 2


def test_large_arrays_are_mapped_and_private(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()
    stage = d.task(lambda n: numpy.full(n, 7.0))
    chunk = d.submit(stage, [10_000_000])
    [report] = [d.end(chunk)]
    assert isinstance(report.blocks[0], Held)
    assert 80_000_000 <= report.blocks[0].nbytes < 80_010_000
    handle = Handle(chunk, 0, 0)
    [first], [second] = d.runner.fetch(handle, [0]), d.runner.fetch(handle, [0])
    first[0] = 1.0
    assert (second[0], first[0]) == (7.0, 1.0)
    # Chained: the worker reads it where it lies, and may change its copy.
    total = d.task(lambda a: (a.fill(1.0), float(a.sum()))[1])
    assert d.run(total, [Hole(0)], inputs=((handle, 0),), wants={0: (0,)}) == [10_000_000.0]
    assert second.sum() == 70_000_000.0
    d.runner.release([handle])
    with pytest.raises(ResultReleased):
        d.runner.fetch(handle, [0])
    assert second.sum() == 70_000_000.0
    until(lambda: not list(SHM.glob(f"anabranch-{os.getpid()}-*/v*")))


def test_many_large_values_do_not_exhaust_files(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()
    stage = d.task(lambda n: numpy.full(40_000, n))
    arrays = [array for n in range(0, 600, 20) for array in d.run(stage, range(n, n + 20), close_bytes=100 << 20)]
    assert [int(a[0]) for a in arrays] == list(range(600))
    assert all(a.flags.writeable for a in arrays)


def test_a_constant_is_mapped_once_and_read_only(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    big = numpy.ones(6_500_000)

    def own_memory(x: int, constant: Any) -> tuple[float, bool, int, int]:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return float(constant.sum()), constant.flags.writeable, (int(resident) - int(shared)) * 4096, os.getpid()

    d = drive()
    small, large = d.task(own_memory, (numpy.ones(1),)), d.task(own_memory, (big,))
    before = {pid: used for n in range(20) for _, _, used, pid in d.run(small, [n])}
    found = [one for n in range(20) for one in d.run(large, [n])]
    assert {(total, writeable) for total, writeable, _, _ in found} == {(6_500_000.0, False)}
    for _, _, used, pid in found:
        assert used - before.get(pid, used) < 20 << 20
    files = [f.stat().st_size for f in SHM.glob(f"anabranch-{os.getpid()}-*/s*")]
    assert len([size for size in files if size > 50_000_000]) == 1
    d.runner.drop(range(1, 1000))
    until(lambda: not list(SHM.glob(f"anabranch-{os.getpid()}-*/s*")))


def test_large_arguments_are_the_items_own(drive: Callable[..., Drive]) -> None:
    numpy = pytest.importorskip("numpy")
    d = drive()

    def change(a: Any) -> float:
        a += 1
        return float(a.sum())

    array = numpy.zeros(200_000)
    assert d.run(d.task(change), [array, array[:10].copy()]) == [200_000.0, 10.0]
    assert array.sum() == 0
    assert d.run(d.task(len), ["x" * 1_000_000]) == [1_000_000]
    assert not list(SHM.glob(f"anabranch-{os.getpid()}-*/a*"))


@pytest.mark.parametrize("times", [1, 2])
def test_full_shared_memory_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    shared, spill = tmp_path / "shared", tmp_path / "spill"
    shared.mkdir()
    store = Store((str(shared), str(spill)))
    errors = [OSError(errno.ENOSPC, "No space left on device")] * times
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda *args: fail(errors) or writev(*args))
    if times == 2:
        with pytest.raises(OSError, match="No space"):
            store.write("v1.0.0", [pickled("value")])
    else:
        store.write("v1.0.0", [pickled("value")])
        with store.open("v1.0.0") as block:
            assert block.load(0) == "value"
        assert os.listdir(spill) == ["v1.0.0"]
        store.unlink(["v1.0.0"])
    assert os.listdir(shared) == os.listdir(spill) == []
    store.remove()


def fail(errors: list[OSError]) -> None:
    if errors:
        raise errors.pop()


# -- scheduling ------------------------------------------------------------------------------------


def test_an_idle_worker_takes_what_lies_ready_elsewhere(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    d.full()
    gate = Gate(d, tmp_path)
    quick = d.task(double)
    d.submit(gate.stage, [1])
    gate.begun(1)
    # One of the two workers is busy for long: what is sent to it all the same comes back.
    chunks = [d.submit(quick, [n]) for n in range(40)]
    assert [d.values(chunk) for chunk in chunks] == [[2 * n] for n in range(40)]
    gate.open()


def test_priority_goes_first(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive(max_workers=1)
    gate = Gate(d, tmp_path)
    mark = d.task(lambda x: (time.monotonic(), x))
    for n in (1, 2):
        d.submit(gate.stage, [n])
    gate.begun(1)
    chunks = [d.submit(mark, [n], priority=n) for n in (0, 1, 5, 3)]
    gate.open()
    assert [x for _, x in sorted(d.values(chunk)[0] for chunk in chunks)] == [5, 3, 1, 0]


def test_resources_are_never_exceeded(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive(resources={"licence": 1})
    gate = Gate(d, tmp_path)
    first = d.submit(gate.stage, [1], resources={"licence": 1.0})
    second = d.submit(gate.stage, [2], resources={"licence": 1.0})
    third = d.submit(d.task(double), [3])
    gate.begun(1)
    assert d.values(third) == [6]
    assert not (tmp_path / "2").exists()
    gate.open()
    assert d.values(first) + d.values(second) == [1, 2]


def test_a_waiting_worker_lends_its_place(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive(max_workers=1)
    gate = Gate(d, tmp_path)
    outer = d.submit(gate.stage, [1])
    inner = d.submit(d.task(double), [2])  # lies ready behind the one that will wait for it
    gate.begun(1)
    d.runner.blocked(outer, True)
    assert d.values(inner) == [4]
    d.runner.blocked(outer, False)
    gate.open()
    assert d.values(outer) == [1]
    d.until(lambda: d.seen(WorkerLost))  # the extra one goes
    assert "retired" in d.seen(WorkerLost)[0].reason


ASKING = """
from anabranch.core.contracts import Inline, Report

def run_chunk(chunk, port):
    values = []
    for position, item in enumerate(chunk.args):
        try:
            values.append(port.request(chunk.id, position, "ask", item))
        except ValueError as error:
            values.append(str(error))
    port.report(Report(chunk.id, 0, len(values), True, blocks=(Inline(values),)))
"""


def test_requests_go_up_and_answers_down(
    drive: Callable[..., Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asking_worker.py").write_text(ASKING)
    monkeypatch.syspath_prepend(str(tmp_path))
    d = drive(run_chunk="asking_worker:run_chunk")
    chunk = d.submit(d.task(double), [1, 2])
    d.until(lambda: d.seen(WorkerRequest))
    [asked] = d.seen(WorkerRequest)
    assert (asked.chunk, asked.position, asked.kind, asked.payload) == (chunk, 0, "ask", 1)
    asked.reply(True, {"answer": lambda: 42})
    d.until(lambda: len(d.seen(WorkerRequest)) == 2)
    d.seen(WorkerRequest)[1].reply(False, ValueError("no"))
    first, second = d.values(chunk)
    assert (first["answer"](), second) == (42, "no")


def test_full_pipes_do_not_block(drive: Callable[..., Drive]) -> None:
    d = drive()
    stage = d.task(lambda x: x)
    begun = time.monotonic()
    chunks = [d.submit(stage, ["x" * 200_000], inline_limit=1 << 20) for _ in range(200)]
    assert time.monotonic() - begun < WAIT / 2
    for chunk in chunks:
        assert d.values(chunk) == ["x" * 200_000]
        d.runner.release([Handle(chunk, 0, 0)])


# -- the end ---------------------------------------------------------------------------------------

DRIVER = """
import sys, time
from anabranch.core.contracts import Binding, Chunk, Stage, TaskSpec
from anabranch.core.options import TaskOptions
from anabranch.runners.process import ProcessRunner
from anabranch.runners.value_files import Store, pickled

def spin(x):
    import os, re
    print("worker", os.getpid(), flush=True)
    while x:
        pass
    re.match("(a*)*b", "a" * 40)  # holds the interpreter for hours

runner = ProcessRunner(2)
runner.start(lambda events: None)
runner.put(1, TaskSpec("spin", spin, TaskOptions()))
runner.put(2, Stage(1, None, Binding(args=(("item", 0),)), map_id="m"))
runner.submit([Chunk(n, (2,), range(1), [n % 2]) for n in (10, 11)])
print("driver", flush=True)
if len(sys.argv) > 1:
    sys.stdin.readline()
else:
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def driver(tmp_path: Path, *args: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A program that has two busy workers; it needs no guard around its main part."""
    script = tmp_path / "program.py"
    script.write_text(DRIVER)
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    program = subprocess.Popen(
        [sys.executable, str(script), *args],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environ,
    )
    assert program.stdout is not None
    lines = [program.stdout.readline().split() for _ in range(3)]
    return program, [int(line[1]) for line in lines if line[0] == "worker"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_driver_leaves_orphans(drive: Callable[..., Drive], tmp_path: Path, how: signal.Signals) -> None:
    program, workers = driver(tmp_path)
    assert len(workers) == 2
    assert all(map(alive, workers))
    with program:
        program.send_signal(how)
    begun = time.monotonic()
    until(lambda: not any(map(alive, workers)))
    assert time.monotonic() - begun < 5
    left = list(SHM.glob(f"anabranch-{program.pid}-*"))
    assert left  # it could not tidy up, ...
    drive()
    assert not list(SHM.glob(f"anabranch-{program.pid}-*"))  # ... so the next one does


def test_a_program_that_ends_takes_its_workers_along(tmp_path: Path) -> None:
    program, workers = driver(tmp_path, "end")
    program.communicate("\n", timeout=WAIT)
    assert program.returncode == 0
    assert not any(map(alive, workers))
    assert not list(SHM.glob(f"anabranch-{program.pid}-*"))


def test_ctrl_c_leaves_workers_alone(drive: Callable[..., Drive], tmp_path: Path) -> None:
    d = drive()
    gate = Gate(d, tmp_path)
    chunk = d.submit(gate.stage, [1])
    assert os.getpgid(gate.begun(1)) != os.getpgid(0)  # the terminal signals our group only
    gate.open()
    assert d.values(chunk) == [1]


def test_close_from_the_receiver_of_events() -> None:
    ended = threading.Event()
    runner = ProcessRunner(1)

    def sink(events: Sequence[Any]) -> None:
        if any(isinstance(event, WorkerJoined) for event in events):
            runner.close()
            ended.set()

    runner.start(sink)
    assert ended.wait(WAIT)
    assert mine() == []


def test_a_failing_receiver_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    runner = ProcessRunner(1)
    joined = threading.Event()

    def sink(events: Sequence[Any]) -> None:
        seen.extend(events)
        joined.set()
        raise ZeroDivisionError

    runner.start(sink)
    assert joined.wait(WAIT)
    runner.submit([Chunk(1, (99,), range(1), [1])])  # names nothing that was put
    until(lambda: any(isinstance(e, ChunkLost) for e in seen))
    runner.close()
    assert "receiver" in caplog.text


def test_fetch_after_close_says_so(drive: Callable[..., Drive]) -> None:
    d = drive()
    d.runner.close()
    with pytest.raises(RunnerError, match="closed"):
        d.runner.fetch(Handle(1, 0, 0), [0])


@pytest.mark.parametrize("option", ["max_workers", "max_tasks_per_child"])
def test_counts_start_at_one(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        ProcessRunner(**{option: 0})  # type: ignore[arg-type]


def test_tiny_chunks_in_a_hurry(drive: Callable[..., Drive]) -> None:
    d = drive()
    stage = d.task(double)
    d.run(stage, [1])
    chunks = [d.chunk(stage, [n]) for n in range(10_000)]
    begun = time.perf_counter()
    for n in range(0, len(chunks), 100):
        d.runner.submit(chunks[n : n + 100])
    last = {chunk.id for chunk in chunks}
    d.until(lambda: sum(type(e) is Report for e in d.events) > len(last))
    print(f"{len(chunks) / (time.perf_counter() - begun):,.0f} chunks a second")
    ended = [e.chunk for e in d.seen(Report) if e.chunk in last]
    assert sorted(ended) == sorted(last)
