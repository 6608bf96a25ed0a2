"""Programs and runners that end, each in its way: nothing is left running, and nothing in shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.chunks import BlockHandle, Chunk
from anabranch.core.errors import RunnerError
from anabranch.core.events import ChunkLost, WorkerJoined
from anabranch.runners.process.runner import ProcessRunner
from tests.integration.process_runner.driving import SHM, WAIT, Drive, Gate, alive, mine, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.sampled(4, "a pool for each")
REPOSITORY = Path(__file__).resolve().parents[3]
DRIVER = """
import sys, time
from anabranch.core.chunks import Binding, Chunk, Stage
from anabranch.core.task_spec import TaskSpec
from anabranch.core.options import TaskOptions
from anabranch.runners.process import ProcessRunner
from anabranch.runners.transport.value_files import Store, pickled

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
    until(lambda: not any(map(alive, workers)))
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_of_a_batch_system_leave_workers_alone(
    drive: Callable[..., Drive], tmp_path: Path, number: signal.Signals
) -> None:
    """It sends them to each process of a job; the driver decides about the end."""
    d = drive()
    gate = Gate(d, tmp_path)
    chunk = d.submit(gate.stage, [1])
    os.kill(gate.begun(1), number)
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
        d.runner.fetch(BlockHandle(1, 0, 0), [0])


@pytest.mark.parametrize("option", ["max_workers", "max_tasks_per_child"])
def test_counts_start_at_one(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        ProcessRunner(**{option: 0})  # type: ignore[arg-type]
