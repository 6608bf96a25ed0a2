"""Workers that are stopped: for items past their time, cancelled items, too much memory, or old age."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.events import ItemCancelled, ItemTimedOut, WorkerLost
from anabranch.core.reports import Report
from anabranch.core.states import CANCELLED, COMPLETED
from tests.integration.process_runner.driving import WAIT, Drive, Gate, alive, begin_then_wait, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "a pool for each")


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
    d.submit(gate.stage, [100])  # what is said on the control pipe has been heard once this runs
    gate.begun(100)
    threading.Event().wait(0.1)
    gate.open()
    assert isinstance(d.end(chunk), Report)
    reports = [event for event in d.seen(Report) if event.chunk == chunk]
    codes = [code for event in reports for code in (event.codes[0] if event.codes else [COMPLETED] * event.count)]
    assert codes == [COMPLETED, CANCELLED]
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
