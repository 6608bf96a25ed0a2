"""Programs that are told to end (fault test 16): nothing new begins, what runs has its grace, all is recorded."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.faults.ending import SYNC, Program, program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sampled(7, "a program and its signals for each; which states come is decided in unit tests")
RUNNERS = {"thread": "ThreadRunner(max_workers=2)", "process": "ProcessRunner(max_workers=2)"}
CLI = (sys.executable, "-c", "from anabranch.cli import main; main()", "run")
RUNNER = pytest.mark.parametrize("runner", RUNNERS)
EACH_SIGNAL = pytest.mark.parametrize(
    ("number", "code", "state"),
    [
        (signal.SIGTERM, 143, "Cancelled"),
        (signal.SIGUSR1, 75, "Suspended"),
        (signal.SIGINT, -signal.SIGINT, "Cancelled"),  # which a shell shows as 130
    ],
)


def let_go(told: Program) -> set[str]:
    """What ran when it was told to end; goes on now, until it has ended."""
    told.halted()
    ran = told.names("began")
    told.let_go(ran)
    return ran


@RUNNER
@EACH_SIGNAL
def test_what_runs_ends_and_nothing_new_begins(
    tmp_path: Path, runner: str, number: signal.Signals, code: int, state: str
) -> None:
    grace: dict[str, Any] = {"shutdown_grace": 60, "walltime_grace": 60}
    with program(tmp_path, SYNC.format(runner=RUNNERS[runner]), **grace) as told:
        told.begun(2)
        told.tell(number)
        ran = let_go(told)
        left = told.end()
        assert left.code == code, left.errors
        assert "Nothing new begins, what runs has 60 s" in left.errors
        assert len(ran) == 2
        assert told.names("began") == told.names("done") == ran
        [run] = told.runs()
        assert run.state_name == state
        assert signal.Signals(number).name in run.message or "Ctrl-C" in run.message
        items = told.items(run)
        assert {str(x) for x, name in items.items() if name == "Completed"} == ran
        assert set(items.values()) == {"Completed", "Cancelled"}
        assert len(items) == 40


@RUNNER
def test_what_does_not_end_in_its_grace_is_cancelled(tmp_path: Path, runner: str) -> None:
    with program(tmp_path, SYNC.format(runner=RUNNERS[runner]), shutdown_grace=0.5) as told:
        told.begun(2)
        told.tell(signal.SIGTERM)
        left = told.end()
        assert left.code == 143, left.errors
        [run] = told.runs()
        assert run.state_name == "Cancelled"
        assert set(told.items(run).values()) == {"Cancelled"}
        assert told.names("done") == set()
        assert "Traceback" not in left.errors


@RUNNER
def test_ctrl_c_twice_ends_it_now(tmp_path: Path, runner: str) -> None:
    with program(tmp_path, SYNC.format(runner=RUNNERS[runner]), shutdown_grace=600) as told:
        told.begun(2)
        told.tell(signal.SIGINT)
        told.halted()
        told.tell(signal.SIGINT)
        left = told.end()
        assert left.code == -signal.SIGINT, left.errors
        [run] = told.runs()
        assert run.state_name == "Cancelled"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_the_command_ends_with_the_same_codes(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with program(tmp_path, SYNC.format(runner=RUNNERS["process"]), *CLI, shutdown_grace=60) as told:
        told.begun(2)
        told.tell(number)
        ran = let_go(told)
        left = told.end()
        assert left.code == code, left.errors
        assert told.names("done") == ran
        assert "Traceback" not in left.errors
        [run] = told.runs()
        assert left.errors.count(f"go on with: anabranch resume {run.name}\n") == 1


def test_a_near_walltime_that_runs_out_is_suspended_all_the_same(tmp_path: Path) -> None:
    """SIGUSR1, and then SIGTERM before its grace is over: as long as SIGTERM gives, and no longer."""
    with program(tmp_path, SYNC.format(runner=RUNNERS["process"]), shutdown_grace=0.5, walltime_grace=600) as told:
        told.begun(2)
        told.tell(signal.SIGUSR1)
        told.halted()
        told.tell(signal.SIGTERM)
        left = told.end()
        assert left.code == 75, left.errors
        assert [run.state_name for run in told.runs()] == ["Suspended"]


def test_who_tells_every_process_of_a_job_ends_it_no_other_way(tmp_path: Path) -> None:
    """Slurm tells all processes: workers leave it to the driver."""
    with program(tmp_path, SYNC.format(runner=RUNNERS["process"]), shutdown_grace=60, walltime_grace=60) as told:
        told.begun(2)
        workers = [p for p in psutil.Process(told.child.pid).children(recursive=True) if p.is_running()]
        assert len(workers) == 2
        for number in (signal.SIGUSR1, signal.SIGTERM):
            for worker in workers:
                worker.send_signal(number)
            told.tell(number)
            told.halted()  # else the second may be heard first
        ran = let_go(told)
        left = told.end()
        assert left.code == 75, left.errors
        assert told.names("done") == ran


ASYNC = """
@flow(runner=ThreadRunner(max_workers=2))
async def main():
    when_halted()
    for future in work.map(range(40), chunk=5):
        await future

asyncio.run(main())
"""


@EACH_SIGNAL
def test_async_flows(tmp_path: Path, number: signal.Signals, code: int, state: str) -> None:
    with program(tmp_path, ASYNC, shutdown_grace=60, walltime_grace=60) as told:
        told.begun(2)
        told.tell(number)
        ran = let_go(told)
        left = told.end()
        assert left.code == code, left.errors
        assert told.names("began") == told.names("done") == ran
        [run] = told.runs()
        assert run.state_name == state
        assert signal.Signals(number).name in run.message or "Ctrl-C" in run.message


YIELDS = """
@flow(runner=ThreadRunner(max_workers=2))
def main():
    when_halted()
    yield 1
    work.map(range(40), chunk=5).wait()

for _ in main():
    pass
"""
READS = """
@flow
def main():
    yield 1
    yield 2

items = main()
next(items)
open(f"{FOLDER}/began-0", "w").close()
while True:
    signal.pause()
"""


@EACH_SIGNAL
def test_a_generator_flow_is_told_while_its_own_code_runs(
    tmp_path: Path, number: signal.Signals, code: int, state: str
) -> None:
    with program(tmp_path, YIELDS, shutdown_grace=60, walltime_grace=60) as told:
        told.begun(2)
        told.tell(number)
        ran = let_go(told)
        left = told.end()
        assert left.code == code, left.errors
        assert told.names("began") == told.names("done") == ran
        [run] = told.runs()
        assert run.state_name == state


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_between_its_items_is_its_readers(tmp_path: Path, number: signal.Signals) -> None:
    """As if there were no flow; of Ctrl-C the program hears, and leaves the run."""
    with program(tmp_path, READS) as told:
        told.begun(1)
        told.tell(number)
        left = told.end()
        assert left.code == -number, left.errors
        if number == signal.SIGINT:
            [run] = told.runs()
            assert (run.state_name, run.message) == ("Completed", "not all of its items were read")


def test_an_async_flow_is_ended_by_ctrl_c_twice(tmp_path: Path) -> None:
    with program(tmp_path, ASYNC, shutdown_grace=600) as told:
        told.begun(2)
        told.tell(signal.SIGINT)
        told.halted()
        told.tell(signal.SIGINT)
        left = told.end()
        assert left.code == -signal.SIGINT, left.errors
        assert [run.state_name for run in told.runs()] == ["Cancelled"]


SUBFLOWS = """
@flow
def called(x):
    return work.submit(x).result()

@flow
def beside(x):
    return work.submit(x).result()

@flow(runner=ProcessRunner(max_workers=2))
def main():
    when_halted()
    beside.submit(1)
    more = [beside.submit(n) for n in range(10, 15)]
    called(2)

main()
"""


def test_subflows_end_with_the_outermost(tmp_path: Path) -> None:
    with program(tmp_path, SUBFLOWS, walltime_grace=60) as told:
        told.begun(2)
        told.tell(signal.SIGUSR1)
        ran = let_go(told)
        left = told.end()
        assert left.code == 75, left.errors
        assert told.names("began") == told.names("done") == ran
        runs = {run.flow: run.state_name for run in told.runs() if run.flow != "beside"}
        assert runs == {"main": "Suspended", "called": "Suspended"}
        assert {run.state_name for run in told.runs()} <= {"Suspended", "Completed"}
        assert all(run.ended is not None for run in told.runs())


NOTEBOOK = """
@flow(runner=ThreadRunner(max_workers=2))
def cell():
    when_halted()
    work.map(range(40), chunk=5).wait()

@flow(runner=ThreadRunner(max_workers=2))
async def awaited():
    when_halted()
    for future in work.map(range(40), chunk=5):
        await future

async def notebook():
    if {wait}:
        await awaited()
    else:
        cell()

try:
    asyncio.run(notebook())
except KeyboardInterrupt:
    pass
time.sleep(0.3)
before = time.process_time()
time.sleep(1.0)
print("spent", time.process_time() - before, flush=True)
print("handlers", signal.getsignal(signal.SIGINT) is signal.default_int_handler,
      signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("wait", [False, True])
def test_ctrl_c_twice_under_a_running_loop_leaves_no_thread_spinning(tmp_path: Path, wait: bool) -> None:
    with program(tmp_path, NOTEBOOK.format(wait=wait), shutdown_grace=600) as told:
        told.begun(2)
        told.tell(signal.SIGINT)
        told.halted()
        told.tell(signal.SIGINT)
        left = told.end()
        assert left.code == 0, left.errors
        spent, handlers = left.output.splitlines()
        assert float(spent.split()[1]) < 0.2, "of the one second after it"
        assert handlers == "handlers True True"
        assert [run.state_name for run in told.runs()] == ["Cancelled"]


def test_a_loop_over_small_items_is_never_left_half_way(tmp_path: Path) -> None:
    """Signals come in between any two steps, those of the dispatcher too: it must not be left in the midst of one."""
    body = """
    @task
    def tiny(x):
        return x

    @flow(runner=ThreadRunner(max_workers=2))
    def main():
        open(f"{FOLDER}/began-1", "w").close()
        while True:
            sum(tiny.map(range(2000)).result())
            for x in range(200):
                tiny.submit(x).result()

    main()
    """
    for turn in range(4):
        folder = tmp_path / str(turn)
        folder.mkdir()
        with program(folder, body, shutdown_grace=20) as told:
            told.begun(1)
            told.tell(signal.SIGTERM)
            left = told.end()
            assert left.code == 143, left.errors
            [run] = told.runs()
            assert run.state_name == "Cancelled"


def test_a_suspended_run_goes_on_as_its_last_line_says(tmp_path: Path) -> None:
    """What completed within the grace is not done again, by the very command that was printed."""
    with program(tmp_path, SYNC.format(runner=RUNNERS["process"]), *CLI, walltime_grace=60) as told:
        told.begun(2)
        told.tell(signal.SIGUSR1)
        ran = let_go(told)
        left = told.end()
        assert left.code == 75, left.errors
        [line] = [line for line in left.errors.splitlines() if "go on with: " in line]
        command = line.partition("go on with: anabranch ")[2].split()
        stamps = {x: (tmp_path / f"done-{x}").stat().st_mtime_ns for x in ran}
        told.again(*CLI[:-1], *command)
        told.let_go({str(x) for x in range(40)})
        left = told.end()
        assert left.code == 0, left.errors
        assert {x: (tmp_path / f"done-{x}").stat().st_mtime_ns for x in ran} == stamps
        [run] = told.runs()
        assert run.state_name == "Completed"
        assert set(told.items(run).values()) == {"Completed"}
