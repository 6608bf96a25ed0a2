"""Servers that are killed, restarted and away under drivers: each row is in the record once (faults 1 to 4)."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anabranch.core.runs import LogRow
from anabranch.records.remote import RemoteRecords
from tests.beds import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 120.0
SCRIPT = Path(__file__).with_name("served_record.py")


def until(check: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    pause, end = threading.Event(), time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        pause.wait(0.01)


class Served:
    """A server at one port, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "served.db"
        # Below those that the system gives to clients: one of these may have it while the server is dead.
        self.port = free_ports(21000, 1)
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, SCRIPT, self.path, str(self.port), self.folder])
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server did not start"
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(WAIT)
            self._process = None

    def lines(self) -> list[tuple[str, int]]:
        """The driver and the number of each line in the record, in the order in which they were written."""
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(self.path)) as db:
            return [(name, int(at)) for name, at in db.execute("SELECT logger, at FROM logs ORDER BY id")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.kill()


def line(name: str, number: int) -> LogRow:
    return LogRow(float(number), 20, name, "a line", "run-1")


@pytest.mark.parametrize("what", ["commit", "answer"])
def test_a_server_killed_in_a_commit_or_before_its_answer_has_each_row_once(server: Served, what: str) -> None:
    server.start()
    records = RemoteRecords(server.address, server.folder / "home")
    records.append([line("one", 0)])
    assert records.publish(WAIT)
    (server.folder / f"hold-{what}").touch()
    records.append([line("one", 1)])
    until((server.folder / f"held-{what}").exists)
    records.append([line("one", 2)])
    server.kill()
    assert server.lines() == [("one", n) for n in range(1 + (what == "answer"))]
    (server.folder / f"hold-{what}").unlink()
    server.start()
    assert records.publish(WAIT)
    records.close()
    assert server.lines() == [("one", 0), ("one", 1), ("one", 2)]


def test_a_server_that_is_killed_again_and_again_under_drivers_has_each_row_once_and_in_order(server: Served) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    stop = threading.Event()
    told = dict.fromkeys(("a", "b", "c", "d"), 0)

    def drive(name: str) -> None:
        records = RemoteRecords(server.address, server.folder / name, commit_interval=0.001)
        while not stop.is_set():
            records.append([line(name, told[name])])
            told[name] += 1
            records.flush(0.05)
            stop.wait(0.002)
        assert records.publish(WAIT)
        records.close()

    threads = [threading.Thread(target=drive, args=(name,)) for name in told]
    for thread in threads:
        thread.start()
    for _ in range(4):
        server.start()
        wanted = len(server.lines()) + rng.randrange(1, 60)
        until(lambda wanted=wanted: len(server.lines()) >= wanted)  # type: ignore[misc]
        server.kill()
    server.start()
    stop.set()
    for thread in threads:
        thread.join(WAIT)
    found = server.lines()
    for name, number in told.items():
        assert [at for by, at in found if by == name] == list(range(number)), name


PROGRAM = """
from anabranch import flow, get_run_logger, task

@task
def inc(x):
    return x + 1

@flow
def away():
    get_run_logger().warning("a line of it")
    assert sum(inc.map(range(20_000)).result()) == 20_000 * 20_001 // 2
    return "done"

assert away() == "done"
"""


def test_a_run_whose_server_is_away_all_the_time_ends_well_and_is_sent_by_a_command(server: Served) -> None:
    home = server.folder / "home"
    environment = {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_RECORDS": server.address}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "anabranch records push" in done.stderr
    [left] = (home / "outbox").iterdir()
    push = [sys.executable, "-m", "anabranch", "records", "push"]
    early = subprocess.run(push, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert early.returncode == 1
    assert server.address in early.stderr + early.stdout
    assert left.exists()
    server.start()
    late = subprocess.run(push, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert late.returncode == 0, late.stderr
    assert not left.exists()
    with closing(sqlite3.connect(server.path)) as db:
        [(state,)] = db.execute("SELECT state_name FROM flow_runs").fetchall()
        [(counts,)] = db.execute("SELECT counts FROM maps").fetchall()
    assert state == "Completed"
    assert "20000" in counts
    assert [name for name, _ in server.lines()]
