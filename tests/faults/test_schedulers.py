"""Fault 19: two schedulers at the same ticks, and one is killed in the middle: each tick has one run."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from anabranch.core.deployments import DeploymentRow
from anabranch.records.service.direct import DirectService
from anabranch.records.sqlite_file import SqliteFile, prepare
from anabranch.scheduling import Interval, rows
from anabranch.testing import ManualClock

NOW = 1_800_000_000.0
SCHEDULES, MISSED = 150, 4
HELD = 50  # schedules, after which the one that is killed goes no further
WAIT = 60.0
pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(3, "two servers, one of which is killed")]
PROGRAM = Path(__file__).with_name("scheduler_program.py")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record with schedules that have ticks to make up for."""
    prepare(tmp_path / "runs.db")
    service = DirectService(SqliteFile(tmp_path / "runs.db"), clock=ManualClock(NOW))
    deployment = DeploymentRow("", "etl", "daily", document={"entrypoint": "flows.py:etl"})
    every = (Interval(60, "2027-01-15T08:00", catchup="all", slug=f"s{number}") for number in range(SCHEDULES))
    service.deployments.apply(deployment, rows(every, NOW))
    service.close()
    return tmp_path / "runs.db"


def counts(record: Path) -> tuple[int, int]:
    """How many orders there are, and how many schedules are through."""
    with closing(sqlite3.connect(record, timeout=WAIT)) as db:
        orders = db.execute("SELECT count(*) FROM orders").fetchone()[0]
        return orders, db.execute("SELECT count(*) FROM schedules WHERE next_tick > ?", (NOW + 270,)).fetchone()[0]


def test_two_schedulers_one_killed(record: Path) -> None:
    gate, now = record.with_name("gate"), NOW + MISSED * 60 + 5
    command = [sys.executable, str(PROGRAM), str(record), str(now), str(gate)]
    programs = [
        subprocess.Popen([*command, *held], stdout=subprocess.PIPE, text=True) for held in ([str(HELD)], list[str]())
    ]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        gate.touch()
        assert programs[0].stdout is not None
        assert programs[0].stdout.readline() == "held\n"
        assert counts(record)[0] >= HELD * MISSED, "it has ordered the ticks that it was to order, or the other has"
        programs[0].kill()
        assert programs[0].wait(WAIT) == -signal.SIGKILL
        assert programs[1].wait(WAIT) == 0
    finally:
        for program in programs:
            program.kill()
            program.communicate()
    assert counts(record) == (SCHEDULES * MISSED, SCHEDULES)
    with closing(sqlite3.connect(record)) as db:
        twice = "SELECT order_key FROM orders GROUP BY order_key HAVING count(*) > 1"
        assert db.execute(twice).fetchall() == []
        runs = db.execute("SELECT count(*) FROM orders AS o JOIN flow_runs AS f ON f.id = o.run").fetchone()
        assert runs == (SCHEDULES * MISSED,)
