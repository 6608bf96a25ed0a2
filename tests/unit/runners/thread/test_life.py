"""ThreadRunner from its start to its close: what the contract suite cannot ask of every runner."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.events import ChunkLost, Logs, SlotsChanged, WorkerRequest
from anabranch.core.reports import Inline, Report
from anabranch.runners.entry import resolve
from anabranch.runners.thread.runner import ThreadRunner
from tests.unit.runners.thread.chunks import WAIT, Log, call_args, chunk_of, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import WorkerPort
    from anabranch.core.events import Event


def test_size_is_checked_and_defaults() -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        ThreadRunner(0)
    assert 5 <= ThreadRunner().max_workers <= 32
    assert ThreadRunner(3).slots() == SlotsChanged(3, 3)


def test_life() -> None:
    runner = ThreadRunner(1, run_chunk=call_args)
    with pytest.raises(RunnerError, match="not started"):
        runner.submit([chunk_of(1)])
    capabilities = runner.start(lambda events: None)
    assert (capabilities.values, capabilities.in_process, capabilities.nested) == ("inline", True, True)
    with pytest.raises(RunnerError, match="starts only once"):
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
    runner.release([BlockHandle(1, 0, 0)])
    with pytest.raises(ResultReleased, match="moved to disk"):
        runner.fetch(BlockHandle(1, 0, 0), [0])


def test_threads_do_not_hold_up_the_exit() -> None:
    code = """
import re
import threading
from anabranch.core.chunks import Chunk
from anabranch.runners.thread import ThreadRunner
begun = threading.Event()
runner = ThreadRunner(2, run_chunk=lambda chunk, port: (begun.set(), threading.Event().wait()))
runner.start(lambda events: None)
runner.submit([Chunk(1, (0,), (0,), (0,))])
begun.wait(10)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT, check=False).returncode == 0
