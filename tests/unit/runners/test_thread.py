"""ThreadRunner: what the contract suite cannot ask of every runner."""

from __future__ import annotations

import gc
import random
import re
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.contracts import (
    Chunk,
    ChunkLost,
    Handle,
    Inline,
    ItemTimedOut,
    Logs,
    Report,
    SlotsChanged,
    WorkerRequest,
)
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.runners import thread as thread_module
from anabranch.runners.entry import resolve
from anabranch.runners.thread import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.contracts import Event, WorkerPort

WAIT = 10.0


class Log:
    """A sink that remembers, and lets a test wait for what it hopes for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = threading.Condition()

    def __call__(self, events: Sequence[Event]) -> None:
        with self.news:
            self.events.extend(events)
            self.news.notify_all()

    def until(self, check: Callable[[Log], Any]) -> None:
        with self.news:
            assert self.news.wait_for(lambda: check(self), WAIT), self.events

    def ends(self, chunk: int | None = None) -> list[Event]:
        found = [e for e in self.events if (isinstance(e, Report) and e.final) or isinstance(e, ChunkLost)]
        return found if chunk is None else [e for e in found if e.chunk == chunk]  # type: ignore[union-attr]

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


def call_args(chunk: Chunk, port: WorkerPort) -> None:
    """A small run_chunk: each argument is a function of (chunk, position)."""
    values = []
    for position, fn in enumerate(chunk.args):
        limit = port.limit(chunk.id)
        if limit is not None and position >= limit:
            break
        if not port.cancelled(chunk.id, position):
            port.item(chunk.id, 0, position, 1, chunk.timeout)
            values.append(fn(chunk.id, position))
        else:
            values.append(None)
    port.item(chunk.id, 0, -1, 0, None)
    port.report(Report(chunk.id, 0, len(values), True, blocks=(Inline(values),)))


def chunk_of(id: int, *functions: Callable[[int, int], Any], **more: Any) -> Chunk:
    return Chunk(id, (0,), tuple(range(len(functions))), functions, **more)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def make(log: Log) -> Iterator[Callable[..., ThreadRunner]]:
    made: list[ThreadRunner] = []

    def build(size: int | None = None, run_chunk: Any = call_args) -> ThreadRunner:
        runner = ThreadRunner(size, run_chunk=run_chunk)
        made.append(runner)
        runner.start(log)
        return runner

    yield build
    for runner in made:
        runner.close(cancel=True)


def ours() -> list[threading.Thread]:
    """The threads of runners; a session that another test left open has others."""
    found = [t for t in threading.enumerate() if re.fullmatch(r"anabranch-(\d+|watch)", t.name)]
    return [t for t in found if t not in STRANGERS]


STRANGERS: set[threading.Thread] = set()


@pytest.fixture(autouse=True, scope="module")
def strangers() -> None:
    """Runners that other files' tests keep open."""
    STRANGERS.update(threading.enumerate())


def test_size_is_checked_and_defaults() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        ThreadRunner(0)
    assert 5 <= ThreadRunner().max_workers <= 32
    assert ThreadRunner(3).slots() == SlotsChanged(3, 3)


def test_life() -> None:
    runner = ThreadRunner(1, run_chunk=call_args)
    with pytest.raises(RunnerError, match="not started"):
        runner.submit([chunk_of(1)])
    capabilities = runner.start(lambda events: None)
    assert (capabilities.values, capabilities.in_process, capabilities.nested) == ("inline", True, True)
    with pytest.raises(RunnerError, match="started before"):
        runner.start(lambda events: None)
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.submit([chunk_of(1)])


def test_entry_point_names() -> None:
    assert resolve(call_args) is call_args
    assert resolve("json:dumps").__name__ == "dumps"
    with pytest.raises(RunnerError, match="no_such"):
        resolve("json:no_such")
    with pytest.raises(RunnerError, match="cannot load"):
        ThreadRunner(run_chunk="no.such.module:x").start(lambda events: None)


def test_idle_threads_are_reused(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(4)
    seen = set()
    for n in range(20):
        runner.submit([chunk_of(n, lambda c, p: threading.current_thread().name)])
        log.until(lambda log, n=n: log.ends(n))
        with runner._lock:  # the thread is idle again once it holds no chunk
            pass
        seen.add(log.ends(n)[0].blocks[0].values[0])  # type: ignore[union-attr]
    assert len(seen) <= 2


def test_priority_then_order(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    gate = threading.Event()
    order: list[int] = []
    runner.submit([chunk_of(0, lambda c, p: gate.wait(WAIT))])
    later = [chunk_of(n, lambda c, p: order.append(c), priority=n % 3) for n in range(1, 10)]
    runner.submit(later)
    gate.set()
    log.until(lambda log: len(log.ends()) == 10)
    assert order == [2, 5, 8, 1, 4, 7, 3, 6, 9]


def test_deep_recursion_on_two_workers(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)

    def descend(chunk: int, position: int) -> int:
        if chunk == 200:
            return 0
        child = threading.Event()
        waiters[chunk + 1] = child
        runner.submit([chunk_of(chunk + 1, descend)])
        runner.blocked(chunk, True)
        assert child.wait(WAIT)
        runner.blocked(chunk, False)
        return 1

    waiters: dict[int, threading.Event] = {}

    def wake(events: Sequence[Event]) -> None:
        log(events)
        for event in events:
            if isinstance(event, Report) and event.final and event.chunk in waiters:
                waiters[event.chunk].set()

    runner.close()
    runner = ThreadRunner(2, run_chunk=call_args)
    runner.start(wake)
    runner.submit([chunk_of(1, descend)])
    log.until(lambda log: log.ends(1))
    assert len(log.ends()) == 200
    runner.close()


def test_resources_are_never_overdrawn(log: Log) -> None:
    runner = ThreadRunner(4, resources={"licence": 2.0}, run_chunk=call_args)
    assert dict(runner.start(log).resources) == {"cpus": runner._offers["cpus"], "licence": 2.0}
    lock = threading.Lock()
    now = {"licence": 0.0, "most": 0.0}

    def use(amount: float) -> Callable[[int, int], None]:
        def run(chunk: int, position: int) -> None:
            with lock:
                now["licence"] += amount
                now["most"] = max(now["most"], now["licence"])
            with lock:
                now["licence"] -= amount

        return run

    runner.submit([chunk_of(n, use(1 + n % 2), resources={"licence": 1 + n % 2, "dust": 9}) for n in range(300)])
    runner.submit([chunk_of(1000 + n, lambda c, p: p) for n in range(100)])
    log.until(lambda log: len(log.ends()) == 400)
    assert now["most"] <= 2.0
    runner.close()
    assert runner._free == runner._offers


def test_who_waits_gives_its_resources_back(log: Log) -> None:
    runner = ThreadRunner(2, resources={"licence": 1.0}, run_chunk=call_args)
    runner.start(log)
    inner = threading.Event()

    def outer(chunk: int, position: int) -> None:
        runner.submit([chunk_of(2, lambda c, p: inner.set(), resources={"licence": 1.0})])
        runner.blocked(chunk, True)
        assert inner.wait(WAIT)
        runner.blocked(chunk, False)

    runner.submit([chunk_of(1, outer, resources={"licence": 1.0})])
    log.until(lambda log: len(log.ends()) == 2)
    runner.submit([chunk_of(n, lambda c, p: p, resources={"licence": 1.0}) for n in (3, 4)])
    runner.cancel(3)
    log.until(lambda log: len(log.ends()) == 4)
    runner.close()
    assert runner._free == runner._offers


def test_surplus_threads_leave(make: Callable[..., ThreadRunner], log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "LINGER", 0.01)
    runner = make(1)
    inner = threading.Event()

    def outer(chunk: int, position: int) -> None:
        runner.submit([chunk_of(2, lambda c, p: inner.set())])
        runner.blocked(chunk, True)
        assert inner.wait(WAIT)
        runner.blocked(chunk, False)

    runner.submit([chunk_of(1, outer)])
    log.until(lambda log: len(log.ends()) == 2)
    extra = [t for t in ours() if t.name == "anabranch-2"]
    for thread in extra:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert runner._threads == 1
    assert runner._blocked == 0


def test_time_out_writes_the_thread_off(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    stuck = threading.Event()
    ran: list[int] = []
    quick = lambda c, p: ran.append(p)  # noqa: E731
    runner.submit([chunk_of(1, quick, lambda c, p: stuck.wait(WAIT), quick, timeout=0.05)])
    runner.submit([chunk_of(2, quick)])
    log.until(lambda log: log.ends(2))  # the replacement went on
    assert log.of(ItemTimedOut) == [ItemTimedOut(1, 0, 1, 0.05)]
    [lost] = log.ends(1)
    assert isinstance(lost, ChunkLost)
    assert lost.reason == "stopped"
    before = len(log.events)
    assert runner._lost == 1
    stuck.set()  # the late report is refused, the thread comes back or leaves
    runner.submit([chunk_of(3, quick)])
    log.until(lambda log: log.ends(3))
    for thread in [t for t in ours() if t.name == "anabranch-1"]:
        thread.join(WAIT)
    assert runner._lost == 0
    assert [e for e in log.events[before:] if getattr(e, "chunk", 0) == 1] == []
    assert ran == [0, 0, 0]  # position 2 of chunk 1 was left alone


def test_time_outs_beyond_the_cap_shrink_the_pool(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)
    runner._cap = 1
    stuck = threading.Event()
    runner.submit([chunk_of(n, lambda c, p: stuck.wait(WAIT), timeout=0.02) for n in range(3)])
    log.until(lambda log: len(log.of(ItemTimedOut)) == 3)
    assert [e.now for e in log.of(SlotsChanged)] == [1, 0]
    runner.submit([chunk_of(9, lambda c, p: 9)])
    assert runner.slots() == SlotsChanged(0, 2)
    stuck.set()
    log.until(lambda log: log.ends(9))
    log.until(lambda log: log.of(SlotsChanged)[-1].now == 2)


def test_items_in_time_are_left_alone(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)
    for n in range(200):
        runner.submit([chunk_of(n, *[lambda c, p: p] * 10, timeout=5.0)])
    log.until(lambda log: len(log.ends()) == 200)
    assert log.of(ItemTimedOut) == []
    runner.close()
    assert runner._watch.ports == set()
    assert runner._ports == {}


def test_shorten_and_cancel_of_queued_chunks_answer_at_once(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    gate, begun = threading.Event(), threading.Event()
    runner.submit([chunk_of(1, lambda c, p: (begun.set(), gate.wait(WAIT)))])
    assert begun.wait(WAIT)
    runner.submit([chunk_of(n, *[lambda c, p: p] * 3) for n in (2, 3, 4)])
    runner.shorten(2, 0)
    runner.cancel(3)
    runner.shorten(4, 1)
    log.until(lambda log: log.ends(2) and log.ends(3))
    assert log.ends(2)[0].count == 0  # type: ignore[union-attr]
    assert log.ends(3)[0].blocks[0].values == [None] * 3  # type: ignore[union-attr]
    assert log.ends(1) == []
    gate.set()
    log.until(lambda log: log.ends(4))
    assert log.ends(4)[0].count == 1  # type: ignore[union-attr]
    runner.shorten(4, 0)  # it has ended: of no effect
    runner.cancel(77)
    assert runner._queue.waiting == {}


class Big:
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_survives_the_report(make: Callable[..., ThreadRunner], log: Log, fails: bool) -> None:
    alive: list[weakref.ref[Any]] = []
    done = threading.Event()

    def run(chunk: Chunk, port: WorkerPort) -> None:
        value = Big()
        alive.append(weakref.ref(value))
        if fails:
            raise ValueError(value)
        port.report(Report(chunk.id, 0, 1, True, blocks=(Inline([value]),)))

    def sink(events: Sequence[Event]) -> None:
        if any((isinstance(e, Report) and e.final) or isinstance(e, ChunkLost) for e in events):
            done.set()

    runner = ThreadRunner(1, run_chunk=run)
    runner.start(sink)
    gc.collect()
    gc.disable()
    try:
        argument = Big()
        alive.append(weakref.ref(argument))
        chunk = Chunk(1, (0,), (0,), (argument,))
        del argument
        runner.submit([chunk])
        del chunk
        assert done.wait(WAIT)
        deadline = threading.Event()
        for _ in range(1000):  # the worker's last steps after its report
            if runner._idle:
                break
            deadline.wait(0.01)
        assert [ref() for ref in alive] == [None, None]
        assert runner._ports == {}
    finally:
        gc.enable()
        runner.close()


def test_machinery_failure_loses_the_chunk_only(
    make: Callable[..., ThreadRunner], log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    def run(chunk: Chunk, port: WorkerPort) -> None:
        if chunk.id == 1:
            raise SystemExit(3)
        if chunk.id == 3:
            port.report(Report(chunk.id, 0, 1, True))
            raise ValueError("after the end")

    runner = make(1, run)
    runner.submit([chunk_of(n) for n in (1, 2, 3)])
    log.until(lambda log: len(log.ends()) == 3)
    assert [type(log.ends(n)[0]) for n in (1, 2, 3)] == [ChunkLost, ChunkLost, Report]
    assert "SystemExit: 3" in log.ends(1)[0].message  # type: ignore[union-attr]
    assert "without a final report" in log.ends(2)[0].message  # type: ignore[union-attr]


def test_a_sink_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def sink(events: Sequence[Event]) -> None:
        if isinstance(events[0], Report):
            if events[0].chunk == 2:
                done.set()
            raise RuntimeError("a bug in the driver")

    runner = ThreadRunner(1, run_chunk=call_args)
    runner.start(sink)
    runner.submit([chunk_of(1, lambda c, p: 1), chunk_of(2, lambda c, p: 1)])
    assert done.wait(WAIT)
    runner.close()
    assert "did not take an event" in caplog.text


def test_requests_are_answered_once(make: Callable[..., ThreadRunner], log: Log) -> None:
    def run(chunk: Chunk, port: WorkerPort) -> None:
        answers: list[Any] = []
        for kind in ("value", "error"):
            try:
                answers.append(port.request(chunk.id, 0, kind, 1))
            except ValueError as error:
                answers.append(str(error))
        port.log([], 3)
        port.report(Report(chunk.id, 0, 1, True, blocks=(Inline(answers),)))

    def sink(events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, WorkerRequest):
                event.reply(*((True, 7) if event.kind == "value" else (False, ValueError("no"))))
                event.reply(True, "too late")
        log(events)

    runner = ThreadRunner(1, run_chunk=run)
    runner.start(sink)
    runner.submit([chunk_of(1)])
    log.until(lambda log: log.ends(1))
    assert log.ends(1)[0].blocks[0].values == [7, "no"]  # type: ignore[union-attr]
    assert log.of(Logs)[0].dropped == 3
    runner.close()


@pytest.mark.parametrize("seed", range(9))
def test_everything_at_once_ends_every_chunk_once(seed: int, log: Log) -> None:
    """Four threads submit, cancel, shorten and block at random, with time-outs: nothing is lost or counted twice."""
    pause = threading.Event()
    draw = random.Random(seed)
    runner = ThreadRunner((1, 2, 8)[seed % 3], resources={"x": 3.0}, run_chunk=call_args)
    runner._cap = (0, 2, 32)[seed // 3]
    runner.start(log)
    ids = iter(range(400))

    def work(mine: random.Random) -> None:
        for _ in range(100):
            with lock:
                n = next(ids)
            naps = [mine.choice([0, 0, 0, 0.001, 0.004 if mine.random() < 0.2 else 0]) for _ in range(3)]
            chunk = chunk_of(
                n,
                *[lambda c, p, nap=nap: pause.wait(nap) if nap else None for nap in naps],
                timeout=mine.choice([None, None, 0.002]),
                resources=mine.choice([{}, {}, {"x": 2.0}]),
                priority=mine.choice([0, 0, 1]),
            )
            runner.submit([chunk])
            other, what = mine.randrange(n + 1), mine.random()
            if what < 0.1:
                runner.cancel(other)
            elif what < 0.2:
                runner.shorten(other, mine.randrange(3))
            elif what < 0.3:
                runner.cancel(other, [1])
            elif what < 0.4:
                runner.blocked(other, True)
                runner.blocked(other, False)

    lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(random.Random(draw.random()),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    log.until(lambda log: len({e.chunk for e in log.ends()}) == 400)  # type: ignore[union-attr]
    assert len(log.ends()) == 400
    for _ in range(1000):  # the threads' last steps after their reports
        if not (runner._lost or runner._running or runner._ports):
            break
        pause.wait(0.005)
    assert (runner._lost, runner._running, runner._blocked, runner._ports) == (0, 0, 0, {})
    assert runner._free == runner._offers
    runner.close()
    assert len(log.ends()) == 400


def test_close_gives_queued_chunks_back_and_waits(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    gate, begun = threading.Event(), threading.Event()
    runner.submit([chunk_of(1, lambda c, p: (begun.set(), gate.wait(WAIT)))])
    runner.submit([chunk_of(n, lambda c, p: p) for n in (2, 3)])
    assert begun.wait(WAIT)
    closer = threading.Thread(target=runner.close)
    closer.start()
    log.until(lambda log: log.ends(2) and log.ends(3))
    assert [log.ends(n)[0].count for n in (2, 3)] == [0, 0]  # type: ignore[union-attr]
    gate.set()
    closer.join(WAIT)
    assert isinstance(log.ends(1)[0], Report)
    assert len(log.ends()) == 3


@pytest.mark.parametrize("how", [{"cancel": True}, {"timeout": 0.01}])
def test_close_does_not_wait_for_ever(make: Callable[..., ThreadRunner], log: Log, how: dict[str, Any]) -> None:
    runner = make(1)
    gate, begun = threading.Event(), threading.Event()
    runner.submit([chunk_of(1, lambda c, p: (begun.set(), gate.wait(WAIT)))])
    assert begun.wait(WAIT)
    runner.close(**how)
    assert isinstance(log.ends(1)[0], ChunkLost)
    count = len(log.events)
    threads = ours()
    gate.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert len(log.events) == count


def test_close_from_inside_a_task_and_from_a_report(log: Log) -> None:
    inside = ThreadRunner(1, run_chunk=call_args)
    inside.start(log)
    closed = threading.Event()
    inside.submit([chunk_of(1, lambda c, p: (inside.close(), closed.set()))])
    assert closed.wait(WAIT)
    assert isinstance(log.ends(1)[0], ChunkLost)

    done = threading.Event()

    def sink(events: Sequence[Event]) -> None:
        if isinstance(events[0], Report):
            other.close()
            done.set()

    other = ThreadRunner(1, run_chunk=call_args)
    other.start(sink)
    other.submit([chunk_of(1, lambda c, p: 1)])
    assert done.wait(WAIT)


def test_blocks_never_need_fetching() -> None:
    runner = ThreadRunner(1, run_chunk=call_args)
    runner.release([Handle(1, 0, 0)])
    with pytest.raises(ResultReleased, match="moved to disk"):
        runner.fetch(Handle(1, 0, 0), [0])


def test_threads_do_not_hold_up_the_exit() -> None:
    code = """
import re
import threading
from anabranch.core.contracts import Chunk
from anabranch.runners.thread import ThreadRunner
begun = threading.Event()
runner = ThreadRunner(2, run_chunk=lambda chunk, port: (begun.set(), threading.Event().wait()))
runner.start(lambda events: None)
runner.submit([Chunk(1, (0,), (0,), (0,))])
begun.wait(10)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT, check=False).returncode == 0
