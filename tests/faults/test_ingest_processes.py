"""Servers that are killed, restarted and away under drivers: each row is in the record once (faults 1 to 4, 18)."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.runs import LogRow
from anabranch.records import open_records
from anabranch.records.remote import RemoteRecords
from tests.beds import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(5, "each kills servers under drivers")]
WAIT = 120.0
SCRIPT = Path(__file__).with_name("served_record.py")
PUSH = [sys.executable, "-m", "anabranch", "records", "push"]


class Served:
    """A server at one port, which can be killed and started again.

    Args:
        place: of its record; "": a file in the folder.
    """

    def __init__(self, folder: Path, place: str = "") -> None:
        self.folder = folder
        self.place = place or str(folder / "served.db")
        # Below those that the system gives to clients: one of these may have it while the server is dead.
        self.port = free_ports(21000, 1)
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, SCRIPT, self.place, str(self.port), self.folder])
        until(self._answers, seconds=WAIT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server did not start"
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            assert self._process.wait(WAIT) == -signal.SIGKILL
            self._process = None

    def asked(self, sql: str) -> list[Any]:
        """The rows of a query."""
        with closing(open_records(self.place)) as records, records.database.opened() as db:  # type: ignore[union-attr]
            return db.execute(sql).fetchall()

    def lines(self) -> list[tuple[str, int]]:
        """The driver and the number of each line in the record, in the order in which they were written."""
        return [(name, int(at)) for name, at in self.asked("SELECT logger, at FROM logs ORDER BY id")]


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Of a record in a file, or where a test says so in PostgreSQL."""
    postgres = getattr(request, "param", "sqlite") == "postgres"
    made = Served(tmp_path, str(request.getfixturevalue("postgres_address")) if postgres else "")
    yield made
    made.kill()


EVERYWHERE = pytest.mark.parametrize(
    "server", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def line(name: str, number: int) -> LogRow:
    return LogRow(float(number), 20, name, "a line", "run-1")


@EVERYWHERE
@pytest.mark.parametrize("what", ["commit", "answer"])
def test_a_server_killed_in_a_commit_or_before_its_answer_has_each_row_once_1_2(server: Served, what: str) -> None:
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


@EVERYWHERE
@pytest.mark.parametrize(
    ("restarts", "drivers"), [(4, 4), pytest.param(20, 10, marks=pytest.mark.nightly("twenty starts of a server"))]
)
def test_a_server_that_is_killed_again_and_again_under_drivers_has_each_row_once_and_in_order_4(
    server: Served, restarts: int, drivers: int
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    stop = threading.Event()
    told = dict.fromkeys((f"driver {number}" for number in range(drivers)), 0)

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
    for _ in range(restarts):
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


def outbox_of_a_run(server: Served) -> tuple[dict[str, str], Path]:
    """Run a program while its server is away; returns the environment of the next, and the file that it left."""
    home = server.folder / "home"
    environment = {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_RECORDS": server.address}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "anabranch records push" in done.stderr
    [left] = (home / "outbox").iterdir()
    return environment, left


def is_whole(server: Served) -> None:
    """The run of `PROGRAM` is in the record, once."""
    assert server.asked("SELECT state_name FROM flow_runs") == [("Completed",)]
    [(counts,)] = server.asked("SELECT counts FROM maps")
    assert "20000" in str(counts)
    assert server.asked("SELECT count(*) FROM logs WHERE message = 'a line of it'") == [(1,)]


def test_a_run_whose_server_is_away_all_the_time_ends_well_and_is_sent_by_a_command_3(server: Served) -> None:
    environment, left = outbox_of_a_run(server)
    early = subprocess.run(PUSH, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert early.returncode == 1
    assert server.address in early.stderr + early.stdout
    assert left.exists()
    server.start()
    late = subprocess.run(PUSH, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert late.returncode == 0, late.stderr
    assert not left.exists()
    is_whole(server)


def test_two_programs_send_one_outbox_and_the_first_is_killed_meanwhile_18(server: Served) -> None:
    """The first is held in the middle, with a frame in the record that nobody has answered; the second takes over."""
    environment, left = outbox_of_a_run(server)
    (server.folder / "hold-answer").touch()
    server.start()
    with subprocess.Popen(PUSH, env=environment) as first:
        until((server.folder / "held-answer").exists)
        second = subprocess.run(PUSH, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
        assert left.exists(), f"another program sends it: {second.stderr}"
        assert first.poll() is None
        first.kill()
    assert first.returncode == -signal.SIGKILL
    server.kill()
    (server.folder / "hold-answer").unlink()
    server.start()
    programs = [subprocess.Popen(PUSH, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [program.communicate(timeout=WAIT)[1] for program in programs]
    assert 0 in [program.returncode for program in programs], told
    assert all(not one.returncode or "by another program" in said for one, said in zip(programs, told, strict=True))
    assert not left.exists()
    is_whole(server)
