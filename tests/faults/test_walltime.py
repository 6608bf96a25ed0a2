"""A program that knows the end of its allocation: it ends before that by itself, and goes on in the next one."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.ending import Program, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(4, "programs in allocations that end")
CLI = (sys.executable, "-c", "from anabranch.cli import main; main()")
MANY = 12  # allocations
STARTS = 120  # seconds for a program to start and to end, on a machine that is busy with others
LONGER = 2.0  # times each than the one before: a slow machine gets nothing done in a short one
HEAD = """
@task
def counted(x):
    with open(f"{FOLDER}/ran", "a") as file:
        file.write(f"{x}\\n")
    time.sleep(0.4)
    with open(f"{FOLDER}/ended", "a") as file:
        file.write(f"{x}\\n")
    return 3 * x

@task
def other(x):
    return x + 1

@task
def endless(x):
    if x == 1:
        work.fn(x)
    return x
"""
MAP = """
@flow(resumable=True, runner={runner})
def main():
    found = sum(other.map(counted.map(range(20))).result())
    open(f"{{FOLDER}}/result", "w").write(str(found))
"""
ENDLESS = """
@flow(resumable=True, runner=ThreadRunner(max_workers=2))
def main():
    endless.map(range(3)).wait()
"""
RUNNERS = {"thread": "ThreadRunner(max_workers=2)", "process": "ProcessRunner(max_workers=2)"}


class Begun:
    """What each allocation left: the items that the record calls completed, and how often each had begun."""

    def __init__(self, told: Program) -> None:
        self._told = told
        self._left: list[tuple[set[int], Counter[str]]] = []

    def look(self) -> None:
        """Look into the record, after an allocation's end."""
        run = self._told.runs()[0]
        self._left.append((self._told.completed(run, "counted"), self.now()))

    def now(self) -> Counter[str]:
        return lines(self._told.folder / "ran")

    def again(self) -> dict[int, int]:
        """The items that began once more after they had completed, with how often they have begun."""
        now = self.now()
        return {i: now[str(i)] for done, then in self._left for i in done if now[str(i)] != then[str(i)]}


def goes_on(
    told: Program, seconds: float, longer: float = 1.0, between: Callable[[], object] = bool
) -> tuple[int, str]:
    """Resume the run in one allocation of so many seconds after the other while it is suspended; how it ends."""
    for _ in range(MANY):
        left = told.end(seconds + STARTS)
        if left.code != 75:
            return left.code, left.errors
        between()
        [run] = told.runs()
        assert run.state_name == "Suspended"
        assert f"go on with: anabranch resume {run.name}\n" in left.errors
        seconds *= longer
        told.environ["ANABRANCH_WALLTIME_END"] = str(time.time() + seconds)
        told.again(*CLI, "resume", run.name)
    raise AssertionError(f"not through in {MANY} allocations")


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_run_goes_through_several_allocations(tmp_path: Path, runner: str) -> None:
    body = HEAD + MAP.format(runner=RUNNERS[runner])
    with program(tmp_path, body, *CLI, "run", walltime_end=time.time() + 4) as told:
        begun = Begun(told)
        code, errors = goes_on(told, 4, LONGER, begun.look)
        assert code == 0, errors
        [run] = told.runs()
        assert run.state_name == "Completed"
        assert run.attempt > 1
        assert (tmp_path / "result").read_text() == str(sum(3 * x + 1 for x in range(20)))
        assert lines(tmp_path / "ended").keys() == set(map(str, range(20)))
        assert begun.again() == {}, "what has completed is not done again"
        assert set(told.items(run).values()) == {"Completed"}


def test_items_that_no_signal_ends_are_ended_in_time(tmp_path: Path) -> None:
    """Of their lengths nothing is known, and nobody sends a signal."""
    with program(tmp_path, HEAD + ENDLESS, *CLI, "run", walltime_end=time.time() + 4, walltime_grace=600) as told:
        left = told.end()
        assert left.code == 75, left.errors
        assert "The walltime is over." in left.errors
        [run] = told.runs()
        assert run.state_name == "Suspended"
        assert told.items(run)[1] == "Cancelled"


def test_a_run_that_begins_after_the_end_is_suspended_at_once(tmp_path: Path) -> None:
    with program(tmp_path, HEAD + ENDLESS, *CLI, "run", walltime_end=time.time() - 5) as told:
        left = told.end()
        assert left.code == 75, left.errors
        assert [run.state_name for run in told.runs()] == ["Suspended"]


@pytest.mark.parametrize(
    ("runner", "seconds"),
    [
        ("thread", 8),
        ("process", 20),
    ],
)
@pytest.mark.nightly("an item must begin in the first fifth of an allocation, which is short: needs a quiet machine")
def test_an_item_that_outlasts_every_allocation_is_refused_in_the_end(
    tmp_path: Path, runner: str, seconds: float
) -> None:
    body = HEAD + ENDLESS.replace(RUNNERS["thread"], RUNNERS[runner])
    with program(tmp_path, body, *CLI, "run", walltime_end=time.time() + seconds) as told:
        code, errors = goes_on(told, seconds)
        assert code == 1, errors
        [run] = told.runs()
        assert run.state_name == "Failed"
        assert told.items(run) == {0: "Completed", 1: "Failed", 2: "Completed"}
        assert "ask for a longer walltime, or make its items smaller" in errors


GATED = """
@flow(resumable=True, runner=ProcessRunner(max_workers=2))
def main():
    when_halted()
    work.map(range(40), chunk=5).wait()
"""
OWN_HANDLER = """
signal.signal(signal.SIGUSR1, lambda *_: None)
"""


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM, signal.SIGUSR1),
        (signal.SIGUSR1, signal.SIGTERM),
        (signal.SIGUSR1, signal.SIGUSR1),
        (signal.SIGUSR2, signal.SIGTERM),
    ],
)
def test_a_batch_systems_signals_may_come_in_any_order(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    with program(tmp_path, GATED, *CLI, "run", shutdown_grace=60, walltime_grace=60) as told:
        told.begun(2)
        for number in numbers:
            told.tell(number)
            told.halted()  # else the second may be heard first
        ran = told.names("began")
        told.let_go(ran)
        left = told.end()
        assert left.code == 75, left.errors
        assert told.names("done") == ran
        assert [run.state_name for run in told.runs()] == ["Suspended"]


def test_a_handler_of_somebody_elses_does_not_hide_the_end(tmp_path: Path) -> None:
    """As a library that takes SIGUSR1 for itself."""
    body = HEAD + OWN_HANDLER + ENDLESS
    with program(tmp_path, body, *CLI, "run", walltime_end=time.time() + 4) as told:
        left = told.end()
        assert left.code == 75, left.errors
        assert [run.state_name for run in told.runs()] == ["Suspended"]


IN_A_THREAD = """
told = []

def begin():
    try:
        told.append(main(return_state=True).name)
        told.append(main())
    except BaseException as error:
        told.append(f"{type(error).__name__}: {error}")

if __name__ == "__main__":
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    print(told)
"""


@pytest.mark.parametrize(
    "body",
    [ENDLESS.replace(RUNNERS["thread"], RUNNERS["process"]), MAP.format(runner=RUNNERS["process"])],
    ids=["interrupted", "drained"],
)
def test_a_flow_outside_the_main_thread_is_drained_too(tmp_path: Path, body: str) -> None:
    """No signal reaches it. The program goes on: what it calls next is suspended at once."""
    with program(tmp_path, HEAD + body + IN_A_THREAD, walltime_end=time.time() + 4) as told:
        left = told.end()
        assert left.code == 0, left.errors
        assert left.output.startswith("['Suspended', "), left.output
        assert "CancelledRun: " in left.output
        first, second = told.runs()
        assert [run.state_name for run in (first, second)] == ["Suspended"] * 2
        assert f"go on with: anabranch resume {first.name}\n" in left.errors
        if "endless.map" in body:
            assert told.items(first).get(1, "Cancelled") == "Cancelled"
        else:
            begun = Begun(told)
            begun.look()
            told.environ.pop("ANABRANCH_WALLTIME_END")
            told.again(*CLI, "resume", first.name)
            again = told.end()
            assert again.code == 0, again.errors
            assert lines(tmp_path / "ended").keys() == set(map(str, range(20)))
            assert begun.again() == {}, "what has completed is not done again"
            assert (tmp_path / "result").read_text() == str(sum(3 * x + 1 for x in range(20)))
