"""The process runner when workers die, or the driver does: it costs what they held, poison crashes alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from anabranch import ProcessRunner, flow, task
from anabranch.core.errors import CrashedRun
from tests.faults.pipes import read_pid, squares_met_at
from tests.faults.workers import SHM, WAIT, assert_works, full, later, needs_shm, running, until

pytestmark = pytest.mark.sampled(3, "each kills workers")


def test_a_killed_worker_costs_the_item_it_held(runner: ProcessRunner, here: str, gate: str, tmp_path: Path) -> None:
    work = task(squares_met_at(50, here, gate, str(tmp_path / "first")))

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
