"""Which worker runs which chunk, and in which order; what workers ask for; many chunks and full pipes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.events import WorkerLost, WorkerRequest
from anabranch.core.reports import Report
from anabranch.runners.process import worker_pool
from tests.integration.process_runner.driving import WAIT, Drive, Gate, double

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "a pool for each")


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


def test_a_waiting_worker_lends_its_place(
    drive: Callable[..., Drive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "LINGER_SECONDS", 0.2)
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
from anabranch.core.reports import Inline, Report

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
        d.runner.release([BlockHandle(chunk, 0, 0)])


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
