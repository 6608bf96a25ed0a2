"""What breaks: a plan of faults from a seed, and how each is done to the processes of a round."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import work
from tests.faults.workers import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KILL_WORKER, STOP_WORKER = "kill -9 worker", "stop worker"
KILL_DRIVER, TERM_DRIVER, STOP_DRIVER = "kill -9 driver", "SIGTERM driver", "stop driver"
LOCK_RECORD = "lock record"
_OF_DRIVERS = {KILL_DRIVER: 3, TERM_DRIVER: 2, STOP_DRIVER: 1, LOCK_RECORD: 2}
_OF_WORKERS = {KILL_WORKER: 5, STOP_WORKER: 3}
ENDING = (KILL_DRIVER, TERM_DRIVER)

# Holds the write lock of a record: argv is its path and the seconds.
_LOCK = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
db.execute("ROLLBACK")
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: so many seconds after the one before it, or after the driver has begun the flow."""

    kind: str
    after: float
    seconds: float = 0.0  # how long something is stopped or locked
    pick: float = 0.0  # which worker, as a fraction of those there are
    early: bool = False  # of a driver's end: counted from the start of its process

    def __str__(self) -> str:
        more = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{more} after {self.after:.2f} s{' of its start' if self.early else ''}"


def plan(seed: int, kind: str) -> list[Fault]:
    """The faults of a round: two to eight of them."""
    rng = random.Random(f"faults {seed} {kind}")
    weights = _OF_DRIVERS if kind == "thread" else {**_OF_DRIVERS, **_OF_WORKERS}
    found = []
    for _ in range(rng.randint(2, 8)):
        what = rng.choices(list(weights), list(weights.values()))[0]
        after = min(1.5, rng.expovariate(4.0))
        seconds = {LOCK_RECORD: rng.uniform(0.5, 3.0)}.get(what, rng.uniform(0.2, 2.0))
        if what in (KILL_WORKER, *ENDING):
            seconds = 0.0
        early = rng.random() < 0.2 and what in ENDING and kind in ("thread", "process")
        found.append(Fault(what, after, seconds, rng.random(), early))
    return found


# -- processes of a round --------------------------------------------------------------------------


def belongs(pid: int, folder: Path) -> bool:
    """Whether a living process is one of the round's: its environment says so, whoever started it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{work.FOLDER}={folder}".encode() in file.read().split(b"\0") and running(pid)
    except OSError:
        return False


def workers(folder: Path, driver: int) -> list[int]:
    """The living processes that have run tasks, without the driver."""
    found = [int(path.name) for path in (folder / "workers").iterdir()]
    return sorted(pid for pid in found if pid != driver and belongs(pid, folder))


def command(pid: int) -> str:
    """Its command line; "" once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def left(folder: Path) -> list[int]:
    """All living processes of the round."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and belongs(int(name), folder)]


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


# -- faults that leave the driver alive ------------------------------------------------------------


def pause(pid: int, seconds: float) -> None:
    signal_all([pid], signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        signal_all([pid], signal.SIGCONT)


def lock_record(path: Path, seconds: float, while_locked: Callable[[], None]) -> bool:
    """Hold the record's write lock; False when the lock was not to be had."""
    command = [sys.executable, "-I", "-S", "-c", _LOCK, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        locked = process.stdout.readline() == "locked\n"
        while_locked()
    return locked and process.returncode == 0
