"""Cache locks of processes that were killed on this host: whoever waits for one goes on, however long it was to hold.

Locks in stores of objects are in tests/unit/results, limits in test_shared_limits.py, drivers in test_driver_deaths.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, flow, settings, task
from anabranch import session as sessions
from tests.faults.pipes import pipe, read_pid
from tests.faults.workers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(2, "two programs and a killed one for each")]

LONG = 3600.0  # seconds that the lock holds while its holder lives
WAIT = 60.0

DRIVER = """
import sys
from anabranch import flow, task
from tests.faults.test_dead_holders import held

here, gate, first = sys.argv[1:]

@flow(runner="thread")
def main():
    return held(here, gate, first).submit(1).result()

main()
"""


def held(here: str, gate: str, first: str) -> Any:
    """A cached task whose first run says its pid and stands at the gate, with the lock of its key."""

    def work(x: int) -> int:
        if not os.path.exists(first):
            open(first, "w").close()
            with open(here, "w") as file:
                file.write(str(os.getpid()))
            open(gate).close()
        return x + 1

    return task(cache_key_fn=lambda *_: "one key", timeout_seconds=LONG, name="held")(work)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANABRANCH_PROGRESS", "false")
    before = sessions.use(sessions.Session(settings.load()))
    yield tmp_path
    made = sessions.use(before)
    assert made is not None
    made.close()


def waits_for_the_lock(future: Any) -> bool:
    return bool(future.state.name == "AwaitingCache")


def test_a_driver_that_was_killed(home: Path) -> None:
    here, gate, first = pipe(home / "here"), pipe(home / "gate"), str(home / "first")
    command = [sys.executable, "-c", DRIVER, here, gate, first]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environ) as driver:
        pid = read_pid(here)

        @flow(runner="thread")
        def main() -> int:
            future = held(here, gate, first).submit(1)
            until(lambda: waits_for_the_lock(future))
            os.kill(pid, signal.SIGKILL)
            return int(future.result(WAIT))

        try:
            assert main() == 2
        finally:
            driver.kill()


def test_a_worker_that_was_killed(home: Path) -> None:
    here, gate, first = pipe(home / "here"), pipe(home / "gate"), str(home / "first")
    work = held(here, gate, first)

    @flow(runner=ProcessRunner(max_workers=2))
    def main() -> list[int]:
        one = work.submit(1)
        pid = read_pid(here)
        other = work.submit(1)
        until(lambda: waits_for_the_lock(other))
        os.kill(pid, signal.SIGKILL)
        return [other.result(WAIT), one.result(WAIT)]

    assert main() == [2, 2]
