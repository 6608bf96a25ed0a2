"""InlineRunner: order, depth and re-entrance."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.events import ChunkLost
from anabranch.core.reports import Inline, Report
from anabranch.runners.inline.runner import InlineRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.contracts import WorkerPort
    from anabranch.core.events import Event


def call_args(chunk: Chunk, port: WorkerPort) -> None:
    values = []
    for position, fn in enumerate(chunk.args):
        limit = port.limit(chunk.id)
        if limit is not None and position >= limit:
            break
        values.append(None if port.cancelled(chunk.id, position) else fn(chunk.id))
    port.report(Report(chunk.id, 0, len(values), True, blocks=(Inline(values),)))


def chunk_of(id: int, *functions: Any, **more: Any) -> Chunk:
    return Chunk(id, (0,), tuple(range(len(functions))), functions, **more)


class Log:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def ends(self) -> list[int]:
        return [e.chunk for e in self.events if (isinstance(e, Report) and e.final) or isinstance(e, ChunkLost)]


def started(sink: Any) -> InlineRunner:
    runner = InlineRunner(run_chunk=call_args)
    runner.start(sink)
    return runner


def test_runs_at_submit_in_this_thread() -> None:
    log = Log()
    runner = started(log)
    runner.submit([chunk_of(1, lambda c: threading.get_ident()), chunk_of(2, lambda c: c, priority=5)])
    assert log.ends() == [2, 1]
    [mine] = [e for e in log.events if isinstance(e, Report) and e.chunk == 1]
    assert mine.blocks == (Inline([threading.get_ident()]),)
    assert runner._ports == {}
    assert runner._waiting == {}


def test_ten_thousand_chained_chunks_need_no_stack() -> None:
    log = Log()
    depths = set()

    def deep(chunk: int) -> None:
        depth, frame = 0, __import__("sys")._getframe()
        while frame is not None:
            depth, frame = depth + 1, frame.f_back
        depths.add(depth)

    def sink(events: Sequence[Event]) -> None:
        log(events)
        for event in events:
            if isinstance(event, Report) and event.chunk < 10_000:
                runner.submit([chunk_of(event.chunk + 1, deep)])

    runner = started(sink)
    runner.submit([chunk_of(1, deep)])
    assert log.ends() == list(range(1, 10_001))
    assert len(depths) == 1


def test_nested_submits_are_depth_first() -> None:
    log = Log()
    order: list[str] = []

    def parent(chunk: int) -> None:
        order.append(f"{chunk} begins")
        runner.submit([chunk_of(chunk * 10, lambda c: order.append(f"{c} runs"))])
        assert chunk * 10 in log.ends()
        order.append(f"{chunk} ends")

    runner = started(log)
    runner.submit([chunk_of(1, parent), chunk_of(2, parent)])
    assert order == ["1 begins", "10 runs", "1 ends", "2 begins", "20 runs", "2 ends"]


def test_many_parents_do_not_nest_in_each_other() -> None:
    log = Log()
    runner = started(log)
    runner.submit([chunk_of(n, lambda c: runner.submit([chunk_of(c + 10_000, lambda c: c)])) for n in range(3000)])
    assert len(log.ends()) == 6000


def test_who_waits_runs_what_is_queued_further_up() -> None:
    log = Log()
    seen: list[bool] = []

    def waits_for_three(chunk: int) -> None:
        runner.blocked(chunk, True)
        seen.append(3 in log.ends())
        runner.blocked(chunk, False)

    runner = started(log)
    runner.submit([chunk_of(1, waits_for_three), chunk_of(2, lambda c: c), chunk_of(3, lambda c: c)])
    assert seen == [True]
    assert sorted(log.ends()) == [1, 2, 3]


def test_threads_run_their_own_chunks() -> None:
    log = Log()
    runner = started(log)

    def parent(chunk: int) -> None:
        other = threading.Thread(target=runner.submit, args=([chunk_of(2, lambda c: c)],))
        other.start()
        other.join(10)
        assert not other.is_alive()

    runner.submit([chunk_of(1, parent)])
    assert log.ends() == [2, 1]


def test_shorten_and_cancel_from_a_task() -> None:
    log = Log()
    runner = started(log)

    def first(chunk: int) -> None:
        runner.shorten(1, 2)
        runner.cancel(2)
        runner.cancel(3, [1])

    runner.submit([chunk_of(1, first, lambda c: 2, lambda c: 3)] + [chunk_of(n, *[lambda c: c] * 2) for n in (2, 3)])
    values = [e.blocks[0].values for e in log.events if isinstance(e, Report) and e.count]  # type: ignore[union-attr]
    assert values == [[None, 2], [3, None]]
    assert sorted(log.ends()) == [1, 2, 3]  # the one that was cancelled before it began came back empty


def test_interrupt_reaches_the_caller_and_ends_every_chunk() -> None:
    log = Log()
    runner = started(log)

    def interrupt(chunk: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.submit([chunk_of(1, interrupt), chunk_of(2, lambda c: c)])
    assert sorted(log.ends()) == [1, 2]
    runner.submit([chunk_of(3, lambda c: c)])
    assert log.ends()[-1] == 3


def test_close_inside_a_task() -> None:
    log = Log()
    runner = started(log)
    runner.submit([chunk_of(1, lambda c: runner.close()), chunk_of(2, lambda c: c)])
    assert sorted(log.ends()) == [1, 2]
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.submit([chunk_of(3)])


def test_close_waits_for_other_threads() -> None:
    log = Log()
    runner = started(log)
    begun, gate = threading.Event(), threading.Event()
    other = threading.Thread(target=runner.submit, args=([chunk_of(1, lambda c: (begun.set(), gate.wait(10)))],))
    other.start()
    assert begun.wait(10)
    runner.close(timeout=0.01)
    assert isinstance(log.events[-1], ChunkLost)
    gate.set()
    other.join(10)
    assert log.ends() == [1]


def test_nothing_to_fetch() -> None:
    runner = InlineRunner(run_chunk=call_args)
    with pytest.raises(RunnerError, match="not started"):
        runner.submit([chunk_of(1)])
    runner.start(lambda events: None)
    with pytest.raises(RunnerError, match="starts only once"):
        runner.start(lambda events: None)
    with pytest.raises(ResultReleased, match="moved to disk"):
        runner.fetch(BlockHandle(1, 0, 0), [0])
    runner.release([BlockHandle(1, 0, 0)])
