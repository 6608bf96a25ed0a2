"""Tasks that eat memory: their end says so and how much it was, and fewer of them run at once then (fault test 14)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, flow, task
from tests.faults.workers import WAIT, assert_works, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.session import Session

pytestmark = pytest.mark.sampled(3, "each lets workers eat memory and die")
MIB = 1 << 20
PEAK = r"peak \d{3} MB"


@pytest.fixture
def capped() -> ProcessRunner:
    return ProcessRunner(max_workers=2, memory_limit="300 MiB")


def test_a_task_that_always_eats_too_much_crashes_alone(capped: ProcessRunner) -> None:
    @task
    def work(x: int) -> int:
        if x == 5:
            eaten = []
            while True:
                eaten.append(bytearray(b"x") * (20 << 20))
                time.sleep(0.01)  # a look at its memory comes in between
        return x

    @flow(runner=capped)
    def main() -> None:
        futures = work.map(range(20))
        futures.wait(WAIT)
        state = futures.states[5]
        assert futures.failed() == [5]
        assert state.is_crashed()
        assert state.message.startswith("out of memory 3 times (out-of-memory: peak ")
        peak = int(state.message.partition("peak ")[2].split()[0])
        assert 300 <= peak <= 2000
        assert "poison" not in state.message
        futures[5].exception()
        assert_works(capped)

    main()


def hungry(folder: str, share: int) -> Callable[[int], int]:
    """Each needs `share` bytes for every one that runs beside it and for itself: two do not fit, one does."""

    def work(x: int) -> int:
        mine = Path(folder, f"runs-{x}-{os.getpid()}")
        mine.touch()
        eaten: list[bytearray] = []
        try:
            end = time.monotonic() + 0.6
            while time.monotonic() < end:
                alive = [f for f in Path(folder).glob("runs-*") if Path("/proc", f.name.rpartition("-")[2]).exists()]
                while len(eaten) * 10 * MIB < len(alive) * share:
                    eaten.append(bytearray(b"x") * (10 * MIB))
                time.sleep(0.01)
        finally:
            mine.unlink()
        return x

    return work


def test_who_did_not_fit_together_fits_alone(capped: ProcessRunner, session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    work = task(hungry(str(folder), 200 * MIB))

    @flow(runner=capped)
    def main() -> tuple[list[int], list[int], str]:
        futures = work.map(range(4), chunk=1)
        values = futures.result(WAIT)
        return values, [state.attempt for state in futures.states], futures._map.id

    values, attempts, map = main()
    assert values == [0, 1, 2, 3]
    assert max(attempts) >= 2, "two at once did fit: the test would prove nothing"
    session.flush_records()
    told = [row.message for row in session.records.items(map) if row.attempt > 1]
    assert told == [""] * len(told), "a run that has completed in the end has no complaint"
    assert sum(attempts) - 4 <= 2, "from the first death on they run alone"


def test_a_memory_error_under_a_limit_of_the_process_is_no_fault_of_the_code(tmp_path: Path) -> None:
    """With `ulimit -v`, Python says MemoryError: fewer at once may fit, and the user's retries are not spent."""
    marks = str(tmp_path / "attempts")

    @task
    def work(x: int) -> int:
        import resource

        with open(marks, "a") as file:
            file.write("x")
        if len(Path(marks).read_text()) < 3:
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 50 * MIB
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return len(bytearray(200 * MIB))
        return x

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> tuple[int, int]:
        future = work.submit(7)
        return future.result(WAIT), future.state.attempt

    assert main() == (7, 3)


def test_without_such_a_limit_it_is_an_exception_as_any_other() -> None:
    @task
    def work(x: int) -> int:
        raise MemoryError("mine")

    @flow(runner=ProcessRunner(max_workers=1))
    def main() -> str:
        future = work.submit(7)
        future.wait()
        future.exception()
        return f"{future.state.name}, attempt {future.state.attempt}"

    assert main() == "Failed, attempt 1"


# -- the system's own limit ---------------------------------------------------------------------------

GROUPS = Path("/sys/fs/cgroup/memory")
IN_A_GROUP = """
    import json, os, sys
    from pathlib import Path
    group, folder = sys.argv[1:3]
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    from anabranch import ProcessRunner, flow, task
    sys.path.insert(0, sys.argv[3])
    from tests.faults.test_memory import hungry, MIB

    work = task(hungry(folder, 150 * MIB))

    @flow(runner=ProcessRunner(max_workers=2))
    def main():
        futures = work.map(range(4), chunk=1)
        futures.wait(60)
        return [(s.name, s.attempt, s.message) for s in futures.states], list(futures._map.budgets.starved.items())

    print(json.dumps(main()))
"""


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A control group of version 1 in which 450 MiB are all there is."""
    made = GROUPS / f"anabranch-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text(str(450 * MIB))
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here (root, version 1): {error}")
    return made


def test_a_kill_by_the_system_is_told_as_such(group: Path, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    environ = {**os.environ, "ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = textwrap.dedent(IN_A_GROUP)
    here = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(group), str(folder), here], env=environ, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    until(lambda: not (group / "cgroup.procs").read_text())
    kills = (group / "memory.oom_control").read_text()
    group.rmdir()
    assert done.returncode == 0, done.stderr
    states, starved = json.loads(done.stdout.splitlines()[-1])
    assert "oom_kill 0" not in kills.splitlines(), "all of it did fit: the test would prove nothing"
    assert [name for name, _, _ in states] == ["Completed"] * 4, states
    assert starved, "the deaths were not told as what they were"
