"""Flows with their record at a server: runs, cancels from elsewhere, limits, resuming, keys; and while it is away."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, get_run_logger, task
from anabranch import session as sessions
from anabranch.core import states
from anabranch.core.errors import CancelledRun, ConfigurationError, RecordsError
from anabranch.core.limits import Limit
from anabranch.core.runs import FlowRunRow
from anabranch.records import open_records, place_said
from anabranch.records.remote import RemoteRecords
from anabranch.records.served import ServedRecord
from anabranch.records.service.memory import memory_service
from anabranch.records.sqlite import SqliteRecords
from anabranch.server.app import make_app
from anabranch.session import Session
from anabranch.settings import Settings
from tests.acceptance.resuming import Ledger, fails
from tests.beds import free_ports
from tests.servers import served, served_records
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.runs import Records

pytestmark = pytest.mark.timeout(250)


@contextmanager
def program(address: str, home: Path, **more: Any) -> Iterator[Session]:
    """A program's session with its record at a server."""
    mine = Session(Settings(home=home, records=address, progress=False, log_level="WARNING", **more))
    before = sessions.use(mine)
    try:
        yield mine
    finally:
        sessions.use(before)
        mine.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served_records(tmp_path / "served.db") as found:
        yield found


def runs_of(place: Path) -> list[FlowRunRow]:
    with SqliteRecords(place) as records:
        return records.flow_runs()


def test_a_flow_is_recorded_by_the_server(address: str, tmp_path: Path) -> None:
    @task
    def half(x: int) -> float:
        return 1 / (x - 3)

    @flow
    def halves() -> int:
        get_run_logger().warning("so it begins")
        return len(half.map(range(100)).wait())

    with program(address, tmp_path / "home") as mine:
        assert halves() == 100
        mine.records.publish(WAIT)
    with SqliteRecords(tmp_path / "served.db") as records:
        [run] = records.flow_runs()
        [map] = records.maps(run.id)
        assert map.counts == {"Completed": 99, "Failed": 1}
        assert [view.index for view in records.items(map.id, states=["Failed"])] == [3]
        assert records.logs(run.id, level=logging.WARNING)[0].message == "so it begins"
        assert records.failures(run.id)[0][1] == "ZeroDivisionError"


def test_a_run_is_cancelled_from_elsewhere(address: str, tmp_path: Path) -> None:
    begun, let_go = threading.Event(), threading.Event()

    @task
    def waits() -> None:
        begun.set()
        let_go.wait(WAIT)

    @flow
    def long() -> None:
        waits.submit().result()

    def cancel() -> None:
        assert begun.wait(WAIT)
        with open_records(address, home=tmp_path / "other") as others:
            until(others.flow_runs)
            [run] = others.flow_runs()
            assert others.request_cancel(run.id)

    other = threading.Thread(target=cancel)
    with program(address, tmp_path / "home", shutdown_grace=0.1):
        other.start()
        with pytest.raises(CancelledRun):
            long()
        let_go.set()
        other.join(WAIT)
    [run] = runs_of(tmp_path / "served.db")
    assert run.state_name == "Cancelled"


def test_programs_share_the_limits_of_the_servers_record(address: str, tmp_path: Path) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    @task(tags=["db"])
    def ask(x: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0)
        with lock:
            inside -= 1
        return x

    @flow
    def asks() -> int:
        return sum(ask.map(range(40)).result())

    with open_records(address, home=tmp_path / "other") as others:
        others.limits.set(Limit("tag:db", slots=1))
    with program(address, tmp_path / "home"):
        assert asks() == 780
    assert most == 1


def test_a_resumable_run_goes_on_where_it_stood(address: str, tmp_path: Path) -> None:
    ran = Ledger(tmp_path)

    @task
    def step(x: int) -> int:
        ran.note(x)
        if x == 2 and not ran.mended:
            raise ValueError("not yet")
        return x

    @flow(resumable=True)
    def steps() -> list[int]:
        return [step(x) for x in range(4)]

    with program(address, tmp_path / "home"):
        run = fails(steps)
    ran.mend()
    with program(address, tmp_path / "home"):
        assert steps.resume(run) == [0, 1, 2, 3]
    assert ran.take() == ["0", "1", "2", "2", "3"]


def test_a_server_that_is_away_fails_no_run_and_nobody_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_ports(22000, 1)  # below those that the system gives to clients

    @task
    def inc(x: int) -> int:
        return x + 1

    @flow
    def adds() -> int:
        return sum(inc.map(range(1000)).result())

    with program(f"http://127.0.0.1:{port}", tmp_path / "home") as mine:
        before = time.monotonic()
        for _ in range(5):
            assert adds() == 500_500
        assert time.monotonic() - before < 30, "each end of a flow waited for the server"
        with SqliteRecords(tmp_path / "served.db") as records:
            record = ServedRecord(records)
            listening = socket.create_server(("127.0.0.1", port))
            with served(make_app(memory_service(), records=record), listening):
                assert mine.records.publish(WAIT)
                assert [run.state for run in mine.records.flow_runs()] == [states.COMPLETED] * 5
            record.close()
    assert any("Limits of the record are not known" in line.getMessage() for line in caplog.records)


def test_what_refuses_says_why_and_never_the_key(address: str, tmp_path: Path) -> None:
    records: Records = RemoteRecords("http://127.0.0.1:1", tmp_path, key="ab_12345678_open-sesame")
    with pytest.raises(RecordsError, match="cannot be reached") as caught:
        records.flow_runs()
    assert "sesame" not in str(caught.value)
    records.close()
    with RemoteRecords(f"{address}/elsewhere", tmp_path) as wrong, pytest.raises(RecordsError, match="no anabranch"):
        wrong.flow_runs()
    with pytest.raises(ConfigurationError, match="api_key") as refused:
        open_records("http://me:open-sesame@host", home=tmp_path)
    assert "sesame" not in str(refused.value)
    assert "sesame" not in place_said("http://me:open-sesame@host")
    with RemoteRecords(address, tmp_path) as remote, pytest.raises(RecordsError, match="machine of the server"):
        remote.check()


def test_a_driver_of_this_machine_that_is_gone_is_marked_though_the_server_sees_no_process_of_it(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anabranch.records import drivers, remote

    with RemoteRecords(address, tmp_path) as records:
        monkeypatch.setattr(drivers, "is_here", lambda host: threading.current_thread() is threading.main_thread())
        monkeypatch.setattr(remote, "is_here", lambda host: True)
        now = time.time()
        gone = FlowRunRow("gone", "etl", "n", states.RUNNING, created=now, heartbeat=now, pid=1 << 22, host="here")
        alive = FlowRunRow(
            "alive", "etl", "n", states.RUNNING, created=now, heartbeat=now, pid=os.getpid(), host="here"
        )
        records.append([gone, alive])
        assert records.publish(WAIT)
        assert records.mark_dead() == ["gone"]
        assert {run.id: run.state_name for run in records.flow_runs()} == {"gone": "Crashed", "alive": "Running"}
