"""What a server stands on is full, locked, or restarted: agents and drivers go on, and each run is made once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import RecordsError
from anabranch.records import open_records
from tests.faults.disks import fill, sound
from tests.faults.serving import served_orders
from tests.faults.test_locked_records import HOLDER
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.ordering import Orders
    from tests.postgres import Postgres

pytestmark = [pytest.mark.timeout(400), pytest.mark.sampled(7, "a server and agents for each")]
LOCKED = 10.0  # seconds
EFFECTS = ["effect 0", "at the gate 0"]


def test_a_full_disk_at_the_server_5(small: Path, tmp_path: Path) -> None:
    """Orders are refused with its reason, the driver's rows wait with the driver, and with room all goes on."""
    record = small / "records.db"
    telling = {"env": {"ANABRANCH_LOG_LEVEL": "WARNING"}}  # of drivers
    with (
        served_orders(tmp_path, str(record), job_variables=telling) as (server, orders),
        closing(sqlite3.connect(record)) as reader,
    ):
        reader.execute("SELECT count(*) FROM orders").fetchone()  # SQLite frees the log of a file that nobody has open
        orders.gate.touch()
        run = orders.order()
        orders.agent()
        orders.at_gate()
        fill(small / "ballast")

        def refused() -> str:
            try:
                orders.order(key="once", parameters={"text": "x" * 100_000})
            except RecordsError as error:
                return str(error)
            return ""

        assert "disk is full" in until(refused)
        assert server.home.answers(server.address)
        orders.gate.unlink()  # the driver ends its flow, and what it tells finds no room
        until(lambda: "stays up to" in orders.said(run), lambda: orders.said(run))
        (small / "ballast").unlink()
        assert orders.done(run).state_name == "Completed"
        assert orders.done(orders.order(key="once")).state_name == "Completed"
        assert orders.effects() == EFFECTS * 2
        assert orders.found(run).recoveries == 0
        with closing(open_records(record)) as records:
            assert len(records.flow_runs()) == 2
    assert sound(record)


def test_a_locked_database_under_a_server_6(tmp_path: Path) -> None:
    """Another program has the write lock for ten seconds: nobody fails, and nothing is made twice."""
    with served_orders(tmp_path) as (server, orders):
        record = server.home.folder / "records.db"
        orders.gate.touch()
        before = orders.order()
        orders.agent()
        orders.at_gate()
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(record)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == "locked\n"
            ordered: list[str] = []
            waiting = threading.Thread(target=lambda: ordered.append(orders.order(key="meanwhile")))
            waiting.start()
            orders.gate.unlink()
            waiting.join(LOCKED)
            assert not ordered, "the lock holds nothing up"
            holder.stdin.close()
            waiting.join(WAIT)
        for run in (before, *ordered):
            assert orders.done(run).state_name == "Completed"
        assert len(ordered) == 1
        assert [orders.found(run).recoveries for run in (before, *ordered)] == [0, 0], orders.shown(before)
        assert orders.effects() == EFFECTS * 2
    assert sound(record)


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
def test_postgres_is_restarted_under_a_server_and_its_agents_7(
    own_postgres: Postgres, tmp_path: Path, how: signal.Signals
) -> None:
    """It is away while a driver ends its flow and an order is made: both are told again, and done once."""
    with served_orders(tmp_path, own_postgres.address) as (server, orders):
        orders.every(10.0, "counts", 1000)
        orders.gate.touch()
        run = orders.order()
        orders.agent()
        orders.at_gate()
        own_postgres.end(how)
        orders.gate.unlink()
        with pytest.raises(RecordsError, match="cannot be used"):
            orders.order(key="meanwhile")
        assert server.home.answers(server.address)
        own_postgres.start()
        second = until(lambda: ordered(orders, "meanwhile"))
        for each in (run, second):
            assert orders.done(each).state_name == "Completed"
        orders.no_more("counts")
        until(lambda: not orders.service.orders.all(), orders.service.orders.all)
        assert [orders.effects().count(line) for line in EFFECTS] == [2, 2]
        assert orders.ticks_of("counts", 1000)


def ordered(orders: Orders, key: str) -> str:
    """Order; "": it could not be done now."""
    try:
        return orders.order(key=key)
    except RecordsError:
        return ""
