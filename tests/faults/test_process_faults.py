"""The process runner when things break: dead workers, poison, values and errors that cannot travel.

Tasks are made inside the tests, so that they travel by value. A task that must be met in its midst
writes its pid into the pipe `here` and then reads the pipe `gate`, which nobody opens.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, flow, task, unmapped
from anabranch import session as sessions
from anabranch.core.errors import CrashedRun, RemoteError, SerializationError, TaskTimeoutError
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.futures import FutureList

WORKERS = 2
WAIT = 20.0
SHM = Path("/dev/shm")

needs_shm = pytest.mark.skipif(not SHM.is_dir(), reason="there is no /dev/shm here")


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    mine = Session(Settings(home=tmp_path, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


@pytest.fixture
def runner() -> ProcessRunner:
    return ProcessRunner(max_workers=WORKERS)  # the session starts and closes it


@pytest.fixture
def here(tmp_path: Path) -> str:
    return pipe(tmp_path / "here")


@pytest.fixture
def gate(tmp_path: Path) -> str:
    return pipe(tmp_path / "gate")


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def read_pid(path: str) -> int:
    """The pid that a task wrote into a pipe; waits for it."""
    with open(path, encoding="ascii") as file:
        return int(file.read())


def until(check: Callable[[], Any], seconds: float = WAIT) -> None:
    """Wait for something that no event tells of."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.005)


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def full(runner: ProcessRunner) -> bool:
    return sum(running(w.process.pid) for w in list(runner._workers)) == WORKERS


def later(futures: FutureList) -> list[int]:
    """The items that took more than one attempt."""
    return [i for i, state in enumerate(futures.states) if state.attempt != 1]


def assert_works(runner: ProcessRunner) -> None:
    """All workers run at once: two items, each of which waits until the other has begun."""
    until(lambda: full(runner), 2.0)
    folder = runner._folder

    @task
    def meet(x: int) -> int:
        (folder / f"met-{x}").touch()
        end = time.monotonic() + 10
        while not (folder / f"met-{1 - x}").exists():
            assert time.monotonic() < end
        return os.getpid()

    assert len(set(meet.map(range(WORKERS), chunk=1).result(WAIT))) == WORKERS


# -- workers that die ----------------------------------------------------------------------------------


def test_a_killed_worker_costs_the_item_it_held(runner: ProcessRunner, here: str, gate: str, tmp_path: Path) -> None:
    first = str(tmp_path / "first")

    @task
    def work(x: int) -> int:
        if x == 50 and not os.path.exists(first):
            open(first, "w").close()
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x * x

    @flow(runner=runner)
    def main() -> tuple[list[int], list[int], list[int]]:
        futures = work.map(range(200))
        os.kill(read_pid(here), signal.SIGKILL)
        values = futures.result(WAIT)
        until(lambda: full(runner), 2.0)
        assert_works(runner)
        return values, later(futures), [s.attempt for s in futures.states if s.attempt > 1]

    assert main() == ([x * x for x in range(200)], [50], [2])


@pytest.mark.parametrize("death", ["exit", "segfault"])
def test_a_poison_pill_crashes_alone(runner: ProcessRunner, tmp_path: Path, death: str) -> None:
    deaths = tmp_path / "deaths"

    @task
    def work(x: int) -> int:
        if x == 500:
            with open(deaths, "a") as file:
                file.write("x")
            if death == "exit":
                os._exit(1)
            import ctypes
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            ctypes.string_at(0)
        return x + 1

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(1000))
        states = futures.wait(WAIT)
        assert futures.failed() == [500]
        assert states[500].is_crashed()
        assert "poison" in states[500].message
        assert len(deaths.read_text()) == 3
        values = [futures[i].result() for i in range(1000) if i != 500]
        assert values == [x + 1 for x in range(1000) if x != 500]
        with pytest.raises(CrashedRun, match="poison"):
            futures[500].result()
        assert_works(runner)

    main()


def test_poison_in_a_later_stage_is_blamed_on_that_stage(runner: ProcessRunner) -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    @task
    def poison(x: int) -> int:
        if x == 14:
            os._exit(1)
        return x + 1

    @flow(runner=runner)
    def main() -> None:
        doubled = double.map(range(40))
        last = poison.map(doubled)
        last.wait(WAIT)
        doubled.wait(WAIT)
        assert last.failed() == [7]
        assert [f.result() for n, f in enumerate(last) if n != 7] == [2 * x + 1 for x in range(40) if x != 7]
        assert doubled.failed() == []
        assert last.states[7].is_crashed()
        last[7].exception()

    main()


# -- values and errors that cannot travel --------------------------------------------------------------




def test_a_result_that_cannot_be_pickled_fails_alone(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> Any:
        return ({"deep": [x, threading.Lock()]} if x == 7 else {"deep": [x]}), os.getpid()

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(40))
        futures.wait(WAIT)
        pids = {w.process.pid for w in runner._workers}
        assert futures.failed() == [7]
        found = [futures[i].result() for i in range(40) if i != 7]
        assert [v for v, _ in found] == [{"deep": [i]} for i in range(40) if i != 7]
        assert {pid for _, pid in found} <= pids
        assert later(futures) == []
        with pytest.raises(SerializationError, match="lock"):
            futures[7].result()
        assert futures.states[7].is_failed()
        assert_works(runner)
        assert {w.process.pid for w in runner._workers} == pids

    main()


def test_a_result_that_cannot_be_pickled_names_the_path(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> Any:
        return {"deep": [x, threading.Lock()]}

    @flow(runner=runner)
    def main() -> None:
        future = work.submit(1)
        with pytest.raises(SerializationError, match=r"\['deep'\]\[1\]"):
            future.result(WAIT)

    main()




def _awkward(kind: str) -> Exception:
    class Awkward(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(f"{first} and {second}")

        if kind == "raises":

            def __reduce__(self) -> Any:
                def boom() -> Any:
                    raise ValueError("this exception does not unpickle")

                return (boom, ())

        if kind == "unpicklable":

            def __reduce__(self) -> Any:
                raise TypeError("no")

        if kind == "str":

            def __str__(self) -> str:
                raise RuntimeError("no text")

    return Awkward("salt", "pepper")


@pytest.mark.parametrize("kind", ["two arguments", "raises", "unpicklable"])
def test_an_exception_that_cannot_travel_is_told_in_words(runner: ProcessRunner, kind: str) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            raise _awkward(kind)
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(10))
        futures.wait(WAIT)
        assert futures.failed() == [3]
        error = futures[3].exception()
        told = f"{type(error).__name__} {error} {getattr(error, '__notes__', '')}"
        assert "Awkward" in told
        assert "salt and pepper" in told
        assert "raise _awkward(kind)" in told
        if isinstance(error, RemoteError):
            assert error.type_name.endswith("Awkward")
            assert error.message == "salt and pepper"
            assert "raise _awkward(kind)" in error.traceback
        assert "Awkward" in futures.states[3].message or "salt and pepper" in futures.states[3].message
        assert_works(runner)

    main()


def test_an_exception_without_a_text_hangs_nothing(runner: ProcessRunner) -> None:
    @task
    def work() -> None:
        raise _awkward("str")

    @flow(runner=runner)
    def main() -> None:
        error = work.submit().exception(WAIT)
        assert isinstance(error, Exception)
        assert "Awkward" in f"{type(error).__name__} {getattr(error, 'type_name', '')}"
        assert_works(runner)

    main()


# -- items that are stopped ----------------------------------------------------------------------------


def test_a_time_out_kills_only_its_item(runner: ProcessRunner, gate: str) -> None:
    @task(timeout_seconds=0.4)
    def work(x: int) -> int:
        if x == 7:
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(40))
        futures.wait(WAIT)
        assert futures.failed() == [7]
        assert futures.states[7].name == "TimedOut"
        assert [futures[i].result() for i in range(40) if i != 7] == [i for i in range(40) if i != 7]
        assert later(futures) == []
        with pytest.raises(TaskTimeoutError, match=r"0\.4"):
            futures[7].result()
        assert_works(runner)

    main()


def test_a_time_out_is_retried(runner: ProcessRunner, gate: str, tmp_path: Path) -> None:
    first = str(tmp_path / "first")

    @task(timeout_seconds=0.4, retries=1)
    def work(x: int) -> int:
        if x == 2 and not os.path.exists(first):
            open(first, "w").close()
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> tuple[list[int], list[int]]:
        futures = work.map(range(5))
        return futures.result(WAIT), later(futures)

    assert main() == ([0, 1, 2, 3, 4], [2])


def test_a_running_item_is_cancelled(runner: ProcessRunner, here: str, gate: str) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(20), chunk=10)
        pid = read_pid(here)
        assert futures[3].cancel()
        until(lambda: not running(pid))
        states = futures.wait(WAIT)
        assert futures.failed() == [3]
        assert states[3].is_cancelled()
        assert [futures[i].result() for i in range(20) if i != 3] == [i for i in range(20) if i != 3]
        assert later(futures) == []
        assert futures[3].exception() is not None
        assert_works(runner)

    main()


def test_sys_exit_fails_its_task_and_no_other(runner: ProcessRunner) -> None:
    @task
    def work(x: int) -> int:
        if x == 3:
            sys.exit(4)
        return x

    @flow(runner=runner)
    def main() -> None:
        futures = work.map(range(20))
        futures.wait(WAIT)
        pids = {w.process.pid for w in runner._workers}
        assert futures.failed() == [3]
        state = futures.states[3]
        assert state.is_failed() or state.is_crashed()
        assert "system exit: 4" in state.message
        assert [futures[i].result() for i in range(20) if i != 3] == [i for i in range(20) if i != 3]
        assert later(futures) == []
        futures[3].wait()
        assert futures[3].exception() is not None
        assert_works(runner)
        assert {w.process.pid for w in runner._workers} == pids

    main()


# -- big values ----------------------------------------------------------------------------------------


@needs_shm
def test_big_arrays_are_mapped_not_copied(runner: ProcessRunner) -> None:
    numpy = pytest.importorskip("numpy")
    constant = numpy.arange(20 * 2**20 // 8, dtype="i8")

    @task
    def look(x: int, shared: Any) -> tuple[int, bool, bool]:
        return int(shared[x]), bool(shared.flags.writeable), bool(shared.flags.owndata)

    @task
    def make(x: int) -> Any:
        return numpy.full(2**20, x, "f8")

    @task
    def total(array: Any) -> float:
        return float(array.sum())

    @flow(runner=runner)
    def main() -> None:
        assert look.map(range(10), unmapped(constant)).result(WAIT) == [(x, False, False) for x in range(10)]
        sizes = [p.stat().st_size for p in runner._folder.iterdir() if p.stat().st_size >= 2**20]
        assert len(sizes) == 1, "the constant lies in shared memory once"
        made = make.submit(3)
        assert total.submit(made).result(WAIT) == 3.0 * 2**20
        array = made.result()
        assert array.shape == (2**20,)
        assert (array == 3).all()
        assert not array.flags.owndata

    main()


# -- a driver that dies --------------------------------------------------------------------------------

DRIVER = """
    import os, signal
    from anabranch import ProcessRunner, flow, task

    runner = ProcessRunner(max_workers=2)

    @task
    def hang(x):
        with open({here!r}, "w") as file:
            file.write(str(os.getpid()))
        open({gate!r}).close()

    @task
    def big(x):
        return bytes(2**20)

    @flow(runner=runner)
    def main():
        kept = big.map(range(4))
        kept.wait()
        hanging = hang.submit(1)
        with open({here!r}) as file:
            file.read()
        print(runner._folder, *(w.process.pid for w in runner._workers), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    main()
"""


@needs_shm
def test_a_killed_driver_leaves_nothing(here: str, gate: str, tmp_path: Path) -> None:
    script = textwrap.dedent(DRIVER.format(here=here, gate=gate))
    environ = {**os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder, *pids = done.stdout.split()
    assert len(pids) == 2
    until(lambda: not any(running(int(pid)) for pid in pids))
    assert Path(folder).is_dir(), "a killed driver cannot clean up: the test would prove nothing"
    driver = Path(folder).name.split("-")[1]

    @flow(runner=ProcessRunner(max_workers=1))
    def next_one() -> None:
        pass

    next_one()
    assert list(SHM.glob(f"anabranch-{driver}-*")) == []


def test_a_later_stage_has_crash_retries_and_time_outs_of_its_own(runner: ProcessRunner, tmp_path: Path) -> None:
    folder = str(tmp_path)

    @task
    def double(x: int) -> int:
        return 2 * x

    @task(crash_retries=3, retries=1, timeout_seconds=0.3)
    def trips(x: int) -> int:
        path = f"{folder}/{x}"
        if x in (6, 8) and not os.path.exists(path):
            open(path, "w").close()
            if x == 6:
                os._exit(1)
            time.sleep(60)
        return x + 1

    @flow(runner=runner)
    def main() -> None:
        last = trips.map(double.map(range(10)))
        last.wait(WAIT)
        assert [f.result() for f in last] == [2 * x + 1 for x in range(10)]
        assert [last.states[n].attempt for n in (2, 3, 4)] == [1, 2, 2]

    main()
