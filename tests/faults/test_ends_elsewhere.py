"""Programs on Dask and on Ray that are told to end (fault test 16), as people start and a terminal tells them."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.faults.ending import SYNC, program
from tests.faults.workers import running, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

CLI = (sys.executable, "-c", "from anabranch.cli import main; main()", "run")
RUNNERS = [
    pytest.param("anabranch.DaskRunner(n_workers=2, threads_per_worker=1)", marks=pytest.mark.dask, id="dask"),
    pytest.param("anabranch.RayRunner(num_cpus=2)", marks=pytest.mark.ray, id="ray"),
]
WAIT = 100.0  # for an engine that starts on a busy machine


@pytest.mark.sampled(6, "each starts an engine; test_ends.py tells all of them to programs on threads and processes")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("number", "code", "state"),
    [(signal.SIGTERM, 143, "Cancelled"), (signal.SIGUSR1, 75, "Suspended"), (signal.SIGINT, 130, "Cancelled")],
)
def test_what_runs_ends_and_nothing_is_left(
    tmp_path: Path, runner: str, number: signal.Signals, code: int, state: str
) -> None:
    """Ctrl-C comes to all processes of the terminal's group: the engine must not hear it, or not mind."""
    body = SYNC.format(runner=runner)
    with program(tmp_path, body, *CLI, shutdown_grace=60, walltime_grace=60) as told:
        told.begun(2, WAIT)
        engine = psutil.Process(told.child.pid).children(recursive=True)
        assert len(engine) >= 3  # two workers, and who started them
        told.tell(number, group=number == signal.SIGINT)
        told.halted()
        ran = told.names("began")
        told.let_go(ran)
        left = told.end(WAIT)
        assert left.code == code, left.errors
        assert told.names("began") == told.names("done") == ran
        assert "Nothing new begins, what runs has 60 s" in left.errors
        assert "Traceback" not in left.errors
        [run] = told.runs()
        assert run.state_name == state
        assert left.errors.count(f"go on with: anabranch resume {run.name}\n") == 1
        items = told.items(run)
        assert {str(x) for x, name in items.items() if name == "Completed"} == ran
        assert set(items.values()) == {"Completed", "Cancelled"}
        assert len(items) == 40
        until(lambda: not any(running(process.pid) for process in engine))
