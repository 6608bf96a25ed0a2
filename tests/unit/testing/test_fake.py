"""The fake remote runner and the manual clock: tools of tests need tests too."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import ResultReleased, RunnerError, SerializationError
from anabranch.core.events import (
    ChunkLost,
    ChunkStarted,
    EngineLost,
    SlotsChanged,
    ValuesLost,
    WorkerJoined,
    WorkerLost,
    WorkerRequest,
)
from anabranch.core.reports import Held, Inline, Report
from anabranch.testing import FakeRemoteRunner, Faults, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import WorkerPort
    from anabranch.core.events import Event

WAIT = 10.0


def double(chunk: Chunk, port: WorkerPort) -> None:
    """Reports every two positions, each value doubled."""
    limit = port.limit(chunk.id)
    end = len(chunk) if limit is None else min(limit, len(chunk))
    for first in range(0, end, 2):
        part = range(first, min(first + 2, end))
        for position in part:
            port.item(chunk.id, 0, position, 1, None)
        values = [None if port.cancelled(chunk.id, p) else chunk.args[p] * 2 for p in part]
        port.report(Report(chunk.id, first, len(part), part.stop == end, blocks=(Inline(values),)))
    if not end:
        port.report(Report(chunk.id, 0, 0, True))


def chunk_of(id: int, *args: Any, **more: Any) -> Chunk:
    return Chunk(id, (0,), range(len(args)), list(args), **more)


class Driver:
    """A manual fake and what it told."""

    def __init__(self, run_chunk: Callable[[Chunk, WorkerPort], None] = double, **options: Any) -> None:
        self.events: list[Event] = []
        self.runner = FakeRemoteRunner(mode="manual", run_chunk=run_chunk, **options)
        self.runner.start(self.events.extend)

    def send(self, *chunks: Chunk) -> Driver:
        self.runner.submit(chunks)
        return self

    def idle(self) -> Driver:
        self.runner.run_until_idle()
        return self

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def finals(self) -> list[int]:
        return [event.chunk for event in self.of(Report) if event.final]

    def lost(self) -> list[int]:
        return [event.chunk for event in self.of(ChunkLost)]


def test_nothing_happens_but_in_steps() -> None:
    driver = Driver().send(chunk_of(1, 10, 20, 30))
    assert driver.events == []
    assert driver.runner.step()
    driver.idle()
    assert not driver.runner.step()
    assert [type(e) for e in driver.events] == [ChunkStarted, Report, Report]
    assert [(e.first, e.count, e.final) for e in driver.of(Report)] == [(0, 2, False), (2, 1, True)]
    assert all(isinstance(e.blocks[0], Held) for e in driver.of(Report))
    assert driver.runner.fetch(BlockHandle(1, 0, 0), [1, 0]) == [40, 20]
    assert driver.runner.alive_blocks == {BlockHandle(1, 0, 0), BlockHandle(1, 0, 2)}
    assert driver.runner.delivered == driver.events


def test_nothing_is_shared_by_identity() -> None:
    shared, argument = ["shared"], ["argument"]
    seen: list[Any] = []

    def run(chunk: Chunk, port: WorkerPort) -> None:
        seen.extend([port.shared(7), chunk.args[0]])
        port.report(Report(chunk.id, 0, 1, True, blocks=(Inline([chunk.args[0]]),)))

    driver = Driver(run, workers=1)
    driver.runner.put(7, shared)
    driver.send(chunk_of(1, argument)).idle()
    fetched = driver.runner.fetch(BlockHandle(1, 0, 0), [0])[0]
    assert seen == [["shared"], ["argument"]]
    assert seen[0] is not shared
    assert seen[1] is not argument
    assert fetched == argument
    assert fetched is not seen[1]
    assert driver.runner.sent[0].args[0] is not argument
    driver.runner.drop([7])
    assert driver.runner.shared_ids == set()
    with pytest.raises(SerializationError):
        driver.runner.put(8, threading.Lock())


def test_release_takes_note_and_is_remembered() -> None:
    driver = Driver().send(chunk_of(1, 1, 2)).idle()
    handle = BlockHandle(1, 0, 0)
    driver.runner.release([handle, handle])
    assert driver.runner.released == {handle}
    assert driver.runner.alive_blocks == set()
    with pytest.raises(ResultReleased):
        driver.runner.fetch(handle, [0])
    with pytest.raises(RunnerError, match="not here"):
        driver.runner.fetch(BlockHandle(9, 0, 0), [0])


def test_a_worker_lost_by_the_script() -> None:
    driver = Driver(workers=2).send(chunk_of(1, 1, 2), chunk_of(2, 3)).idle()
    holders = {worker.name: set(worker.blocks) for worker in driver.runner.workers}
    name = next(name for name, blocks in holders.items() if blocks)
    driver.runner.lose_worker(name)
    driver.idle()
    assert driver.of(WorkerLost) == [WorkerLost(name, "killed")]
    assert set(driver.of(ValuesLost)[0].handles) == holders[name]
    assert len(driver.of(WorkerJoined)) == 1
    assert driver.runner.alive_blocks.isdisjoint(holders[name])
    assert driver.runner.slots() == SlotsChanged(2, 2)
    with pytest.raises(ValueError, match="no worker"):
        driver.runner.lose_worker("nobody")


def test_a_worker_lost_while_it_runs() -> None:
    def run(chunk: Chunk, port: WorkerPort) -> None:
        port.item(chunk.id, 0, 0, 1, None)
        if chunk.id == 1:
            driver.runner.lose_worker(port.worker)
        double(chunk, port)

    driver = Driver(run)
    driver.send(chunk_of(1, 1, 2), chunk_of(2, 3)).idle()
    assert driver.lost() == [1]
    assert driver.of(ChunkLost)[0].suspects == (0,)
    assert driver.of(ChunkLost)[0].alone
    assert driver.finals() == [2]


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_faults_lose_workers_and_reports_come_late(late: float) -> None:
    driver = Driver(seed=3, faults=Faults(lose_worker=1.0, late=late, most=100 if late else 50))
    driver.send(*[chunk_of(n, 1, 2, 3, 4) for n in range(20)]).idle()
    assert set(driver.lost()) | set(driver.finals()) == set(range(20))
    assert driver.lost()
    late_ones = [
        e for n, e in enumerate(driver.events) if isinstance(e, Report) and e.chunk in _lost_before(driver.events, n)
    ]
    assert bool(late_ones) == bool(late)


def _lost_before(events: list[Event], n: int) -> set[int]:
    return {e.chunk for e in events[:n] if isinstance(e, ChunkLost)}


def test_duplicates_and_reruns() -> None:
    twice = Driver(faults=Faults(duplicate=1.0)).send(chunk_of(1, 1, 2, 3)).idle()
    assert [e.first for e in twice.of(Report)] == [0, 0, 2, 2]
    again = Driver(faults=Faults(rerun=1.0, most=1)).send(chunk_of(1, 1, 2, 3)).idle()
    assert again.finals() == [1, 1]
    assert len(again.of(ChunkStarted)) == 2
    again.runner.repeat(again.events[-1])
    assert again.idle().finals() == [1, 1, 1]


def test_events_overtake_each_other_between_chunks_only() -> None:
    driver = Driver(faults=Faults(shuffle=True), seed=1).send(*[chunk_of(n, *range(6)) for n in range(8)]).idle()
    order = [e.chunk for e in driver.of(Report)]
    assert order != sorted(order)
    for chunk in range(8):
        assert [e.first for e in driver.of(Report) if e.chunk == chunk] == [0, 2, 4]


def test_the_same_seed_is_the_same_story() -> None:
    def story() -> list[str]:
        faults = Faults(lose_worker=0.3, rerun=0.3, duplicate=0.3, late=0.5, early=0.2, flapping=0.2, shuffle=True)
        driver = Driver(seed=11, faults=faults, workers=3).send(*[chunk_of(n, 1, 2, 3) for n in range(30)]).idle()
        return [repr(event) for event in driver.events]

    assert story() == story()
    assert len(story()) > 60


def test_done_before_submit_returns() -> None:
    driver = Driver(faults=Faults(early=1.0)).send(chunk_of(1, 1))
    assert driver.finals() == [1]


def test_slow_start_and_slots_that_come_and_go() -> None:
    driver = Driver(faults=Faults(slow_start=True))
    assert driver.runner.slots() == SlotsChanged(0, 2)
    driver.send(chunk_of(1, 1)).idle()
    assert [e.now for e in driver.of(SlotsChanged)] == [1, 2]
    assert driver.finals() == [1]
    for worker in driver.runner.workers:
        driver.runner.pause_worker(worker.name)
    driver.send(chunk_of(2, 1)).idle()
    assert driver.finals() == [1]
    driver.runner.pause_worker(driver.runner.workers[0].name, False)
    assert driver.idle().finals() == [1, 2]
    assert driver.of(SlotsChanged)[-1].now == 1
    driver.runner.join_worker()
    assert driver.idle().of(SlotsChanged)[-1].now == 2
    driver.runner.lose_worker(replace=False)
    assert driver.idle().runner.slots().now < 3


def test_engine_lost_then_nothing() -> None:
    driver = Driver().send(chunk_of(1, 1, 2), chunk_of(2, 1))
    driver.runner.step()
    driver.runner.lose_engine("gone")
    driver.send(chunk_of(3, 1)).idle()
    driver.runner.close()
    assert driver.events == [EngineLost("gone")]
    by_fault = Driver(faults=Faults(lose_engine=1.0)).send(chunk_of(1, 1)).idle()
    assert [type(e) for e in by_fault.events][-1] is EngineLost


def test_what_never_fits_waits_for_ever() -> None:
    driver = Driver(resources={"gpus": 1.0})
    assert driver.runner._engine.offers == {"gpus": 1.0}
    driver.send(chunk_of(1, 1, resources={"gpus": 2.0}), chunk_of(2, 1, resources={"gpus": 1.0}), chunk_of(3, 1))
    assert sorted(driver.idle().finals()) == [2, 3]
    driver.runner.close()
    assert driver.of(Report)[-1] == Report(1, 0, 0, True)


def test_values_lost_though_workers_live() -> None:
    driver = Driver().send(chunk_of(1, 1)).idle()
    driver.runner.lose_values(BlockHandle(1, 0, 0))
    assert driver.idle().of(ValuesLost) == [ValuesLost((BlockHandle(1, 0, 0),))]
    assert driver.runner.alive_blocks == set()


def test_shorten_and_cancel() -> None:
    driver = Driver().send(chunk_of(1, 1, 2, 3, 4), chunk_of(2, 1, 2), chunk_of(3, 1, 2))
    driver.runner.shorten(1, 1)
    driver.runner.cancel(2)
    driver.runner.cancel(3, [1])
    driver.idle()
    counts = Counter({e.chunk: 0 for e in driver.of(Report)})
    for event in driver.of(Report):
        counts[event.chunk] += event.count
    assert counts == {1: 1, 2: 2, 3: 2}
    assert driver.runner.fetch(BlockHandle(2, 0, 0), [0, 1]) == [None, None]
    assert driver.runner.fetch(BlockHandle(3, 0, 0), [0, 1]) == [2, None]


def test_machinery_failure_and_bad_arguments() -> None:
    def run(chunk: Chunk, port: WorkerPort) -> None:
        raise SystemExit(1)

    driver = Driver(run).send(chunk_of(1, 1), chunk_of(2, threading.Lock())).idle()
    assert {e.chunk: e.reason for e in driver.of(ChunkLost)} == {1: "worker-lost", 2: "unserializable"}


@pytest.mark.parametrize("seed", range(5))
def test_auto_mode_under_all_faults(seed: int) -> None:
    """Every chunk is heard of at least once, whatever happens, and close ends it."""
    faults = Faults(lose_worker=0.1, rerun=0.1, duplicate=0.2, late=0.5, early=0.1, flapping=0.1, shuffle=True)
    heard: set[int] = set()
    done = threading.Event()

    def sink(events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, ChunkLost) or (isinstance(event, Report) and event.final):
                heard.add(event.chunk)
                if len(heard) == 200:
                    done.set()

    runner = FakeRemoteRunner(3, 2, seed=seed, faults=faults, run_chunk=double)
    assert runner.start(sink).values == "held"
    for n in range(0, 200, 10):
        runner.submit([chunk_of(m, 1, 2, 3) for m in range(n, n + 10)])
    assert done.wait(WAIT), sorted(set(range(200)) - heard)
    runner.close()
    count = len(runner.delivered)
    assert not runner.step()
    assert len(runner.delivered) == count


def test_requests_cross_the_border_too() -> None:
    answers: list[Any] = []

    def run(chunk: Chunk, port: WorkerPort) -> None:
        for kind in ("echo", "fail"):
            try:
                answers.append(port.request(chunk.id, 0, kind, payload))
            except KeyError as error:
                answers.append(error.args)
        port.report(Report(chunk.id, 0, 1, True))

    payload = ["payload"]
    done = threading.Event()

    def sink(events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, WorkerRequest):
                runner.blocked(event.chunk, True)
                event.reply(event.kind == "echo", event.payload if event.kind == "echo" else KeyError("no"))
                runner.blocked(event.chunk, False)
            elif isinstance(event, Report):
                done.set()

    runner = FakeRemoteRunner(1, run_chunk=run)
    runner.start(sink)
    runner.submit([chunk_of(1, 1)])
    assert done.wait(WAIT)
    runner.close()
    assert answers == [["payload"], ("no",)]
    assert answers[0] is not payload


def test_manual_clock() -> None:
    clock = ManualClock(start=100.0)
    rang: list[tuple[str, float]] = []
    clock.call_at(5.0, lambda: rang.append(("five", clock.monotonic())))
    clock.call_at(
        2.0, lambda: (rang.append(("two", clock.time())), clock.call_at(3.0, lambda: rang.append(("three", 0))))
    )
    assert (clock.time(), clock.monotonic(), clock.next_deadline()) == (100.0, 0.0, 2.0)
    clock.sleep(4.0)
    assert rang == [("two", 102.0), ("three", 0)]
    assert clock.monotonic() == 4.0
    assert clock.advance_to_next()
    assert rang[-1] == ("five", 5.0)
    assert not clock.advance_to_next()
    assert clock.next_deadline() is None
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_manual_clock_from_many_threads() -> None:
    clock = ManualClock()
    threads = [threading.Thread(target=lambda: [clock.advance(0.5) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert clock.monotonic() == 400.0


def test_modes_are_checked() -> None:
    with pytest.raises(ValueError, match="auto"):
        FakeRemoteRunner(mode="semi")
