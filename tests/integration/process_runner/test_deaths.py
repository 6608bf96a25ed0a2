"""Workers that die, of whatever: the item at fault is blamed, nothing else is lost, and others take their place."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle
from anabranch.core.events import ChunkLost, EngineLost, WorkerLost
from anabranch.core.reports import Held, Report
from anabranch.core.states import COMPLETED
from tests.integration.process_runner.driving import Drive, Gate, begin_then_wait, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "each kills workers")


def segfault() -> None:
    ctypes.string_at(0)


def die(how: Callable[[], Any]) -> Callable[[int], int]:
    def task(x: int) -> int:
        if x == 13:
            how()
        return x

    return task


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
        assert d.runner.fetch(BlockHandle(chunk, 0, report.first), [0]) == [bytes(100_000)]


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
