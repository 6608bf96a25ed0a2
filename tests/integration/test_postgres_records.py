"""PostgreSQL among processes and faults: away, cut off in the middle, of another version, started together."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.errors import ConfigurationError, RecordsError
from anabranch.core.processes import host_name, process_started
from anabranch.core.runs import FlowRunRow, HeartbeatRow, ItemBlock, ItemRow, LogRow, MapRow, StoredRow, TransitionRow
from anabranch.records import open_records, served
from anabranch.records.blocks import decode
from anabranch.records.calls import packed, unpacked
from anabranch.records.statements import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

psycopg = pytest.importorskip("psycopg", reason="there is no psycopg: pip install 'anabranch[postgres]'")

from anabranch.records.postgres import PostgresRecords, Server  # noqa: E402

pytestmark = pytest.mark.postgres

WAIT = 30.0
RUN = FlowRunRow("run-1", "etl", "newt", states.RUNNING, created=1.0)


# -- faults ----------------------------------------------------------------------------------------


class Cut:
    """A connection that is cut off at the n-th call of all, before it is carried out or just after."""

    calls = 0

    def __init__(self, connection: Any, n: int, after: bool) -> None:
        self._connection, self._n, self._after = connection, n, after

    def execute(self, sql: str, *values: Any) -> Any:
        Cut.calls += 1
        cut = Cut.calls == self._n
        if cut and not self._after:
            self._connection.pgconn.finish()
        found = self._connection.execute(sql, *values)
        if cut:
            self._connection.pgconn.finish()
            raise psycopg.OperationalError("the connection is lost")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def check_parts(records: PostgresRecords, parts: int) -> None:
    for part in range(parts):
        first = part * 10
        ended = 2.0 if part % 3 == 2 else None  # then blobs are merged
        records.append([replace(RUN, heartbeat=float(part)), MapRow("m", "run-1", "t", "map", 1800, 1.0, ended)])
        records.append(ItemRow("m", i, 1, states.FAILED) for i in range(first, first + 5))
        records.append([ItemBlock("m", first + 5, 5), LogRow(part, 20, "l", str(part), "run-1")])
        assert records.flush(WAIT)
    assert [view.index for view in records.items("m", limit=10_000)] == list(range(10 * parts))
    assert [line.message for line in records.logs("run-1")] == [str(part) for part in range(parts)]
    with records.database.opened() as db:  # what was written twice would be seen here
        blobs = db.execute("SELECT data FROM item_blocks").fetchall()
    assert sum(decode(data).count for (data,) in blobs) == 5 * parts
    assert len(blobs) < parts


@pytest.mark.sampled(5, "80 faults in 12 commits each")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("first", range(1, 6))
def test_each_call_is_cut_off_once(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch, first: int, after: bool
) -> None:
    connect = Server.connect
    for n in range(first, 41, 5):
        address = f"{postgres_server}?options=-csearch_path%3Dcut{n}{after:d}"
        with PostgresRecords(address, commit_interval=0.0) as records, monkeypatch.context() as patch:
            patch.setattr(Cut, "calls", 0)
            mine = threading.current_thread()

            def cut(server: Server, n: int = n, mine: threading.Thread = mine) -> Any:
                found = connect(server)
                return found if threading.current_thread() is mine else Cut(found, n, after)

            patch.setattr(Server, "connect", cut)
            check_parts(records, 12)
            assert Cut.calls > max(n, 40)


@pytest.fixture
def own_database(postgres_server: str) -> Iterator[tuple[str, Any]]:
    """A database of one test, and a connection to another one, from which it can be shut."""
    name = f"shut_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_server.rpartition('/')[0]}/{name}", admin
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_while_the_server_is_away_rows_wait(
    own_database: tuple[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.records.writer._COMPLAIN", 0.5)
    address, admin = own_database
    name = address.rpartition("/")[2]
    with PostgresRecords(address) as records:
        records.append([RUN, LogRow(0.0, 20, "l", "before", "run-1")])
        assert records.flush(WAIT)
        admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        for n in range(1000):
            records.append([LogRow(n, 20, "l", str(n), "run-1"), ItemBlock("m", n * 10, 10)])
        assert not records.flush(1.5)
        with pytest.raises(RecordsError, match="cannot be used"):
            records.flow_runs()
        admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        assert records.flush(WAIT)
        assert [line.message for line in records.logs("run-1", limit=2000)] == ["before", *map(str, range(1000))]
        assert len(records.items("m", limit=20_000)) == 10_000
    told = [line.message for line in caplog.records]
    assert "Rows are kept in memory" in told[0]
    assert "again" in told[-1]


# -- versions, starts ------------------------------------------------------------------------------


def test_a_newer_schema_is_refused(postgres_address: str) -> None:
    with PostgresRecords(postgres_address) as records, records.database.opened() as db:
        db.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(RecordsError, match=f"version 99; this anabranch knows versions up to {len(migrations())}:"):
        PostgresRecords(postgres_address)


def test_an_older_schema_is_brought_up_to_date(postgres_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from anabranch.records import postgres

    steps = postgres.schema()
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "schema", lambda: steps[:1])
        server = Server(postgres_address)
        server.prepare()
        with server.opened() as db:
            db.execute("INSERT INTO cancel_requests VALUES ('old', 1.0)")
        server.close()
    for _ in range(2):
        with PostgresRecords(postgres_address) as records:
            assert records.cancel_requested(["old"]) == {"old"}
            assert records.flow_runs() == []


def test_many_start_at_once(postgres_address: str) -> None:
    begin, faults = threading.Barrier(4), []

    def start(name: str) -> None:
        try:
            begin.wait(WAIT)
            with PostgresRecords(postgres_address) as records:
                records.append([replace(RUN, id=name), *(LogRow(n, 20, "l", str(n), name) for n in range(2000))])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start, args=(f"r{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert faults == []
    with PostgresRecords(postgres_address) as records:
        assert {row.id for row in records.flow_runs()} == {"r0", "r1", "r2", "r3"}
        assert all(len(records.logs(f"r{k}", limit=9999)) == 2000 for k in range(4))


def test_rows_that_cannot_be_stored_are_left_out(postgres_address: str, caplog: pytest.LogCaptureFixture) -> None:
    bad: list[Any] = [
        LogRow(1.0, 20, "l", object(), "r"),  # type: ignore[arg-type]
        LogRow(1.0, 2**70, "l", "huge", "r"),
        LogRow(1.0, 20, "l", None, "r"),  # type: ignore[arg-type]
        LogRow("noon", 20, "l", "when?", "r"),  # type: ignore[arg-type]
        MapRow("bad", "r", "t", "map", 1, counts={"x": object()}),  # type: ignore[dict-item]
        FlowRunRow("long", os.urandom(5000).hex(), "n", states.RUNNING),  # more than an index holds
    ]
    good = [LogRow(n, 20, "l", str(n), "r") for n in range(50)]
    with PostgresRecords(postgres_address) as records:
        records.append([*good[:20], *bad, *good[20:], MapRow("ok", "r", "t", "map", 1)])
        assert records.flush(WAIT)
        assert records.logs("r") == good
        assert [map.id for map in records.maps("r")] == ["ok"]
    assert len(caplog.records) == len(bad)


# -- addresses -------------------------------------------------------------------------------------


def test_a_login_is_never_shown(postgres_server: str, caplog: pytest.LogCaptureFixture) -> None:
    wrong = [
        "postgresql://me:open-sesame@127.0.0.1:1/db",
        "postgresql://me@127.0.0.1:1/db?password=open-sesame",
        "postgresql://me:open%2Dsesame@127.0.0.1:1/db?nonsense=1",
        "postgresql://me:open-sesame@[::1/db",
        postgres_server.replace("postgres@", "nobody-here:open-sesame@"),
    ]
    for address in wrong:
        with pytest.raises(RecordsError) as caught:
            open_records(address)
        told = f"{caught.value} {caplog.text}"
        assert "sesame" not in told
        assert "me:" not in told
    with pytest.raises(ConfigurationError, match=r"mysql://host/db.*give a path") as refused:
        open_records("mysql://me:open-sesame@host/db")
    assert "sesame" not in str(refused.value)


# -- two drivers -----------------------------------------------------------------------------------


def test_a_driver_that_lost_its_run_writes_nothing_more_of_it(postgres_address: str) -> None:
    run = replace(RUN, host="elsewhere", heartbeat=1.0, resumable=True)
    here = replace(run, pid=os.getpid(), pid_started=process_started(os.getpid()), host=host_name(), heartbeat=2.0)
    with PostgresRecords(postgres_address) as first, PostgresRecords(postgres_address) as second:
        first.append([run, MapRow("map-1", "run-1", "t", "map", 4), ItemBlock("map-1", 0, 1)])
        assert first.flush(WAIT)
        assert second.claim(here) == 1
        second.append([replace(here, token=1, attempt=2), ItemBlock("map-1", 1, 1)])
        assert second.flush(WAIT)
        first.append([
            replace(run, state=states.FAILED), MapRow("map-1", "run-1", "late", "map", 4), ItemBlock("map-1", 2, 1),
            TransitionRow("run-1", -1, 1, states.FAILED, "Failed", "", 3.0), HeartbeatRow("run-1", 9.0),
            StoredRow("map-1", "blocks/x", [2], [0]), LogRow(3.0, 20, "x", "late", "run-1"),
        ])  # fmt: skip
        assert first.flush(WAIT)
        assert first.taken_over(["run-1"]) == {"run-1"}
        found = second.flow_run("run-1")
        assert found is not None
        assert (found.state, found.attempt, found.token, found.heartbeat) == (states.RUNNING, 2, 1, 2.0)
        assert [view.index for view in second.items("map-1")] == [0, 1]
        assert second.stored("map-1") == second.logs("run-1") == second.transitions("run-1") == []


def test_a_claim_waits_for_a_commit_that_has_begun(postgres_address: str) -> None:
    run = replace(RUN, host="elsewhere", heartbeat=1.0, resumable=True)
    here = replace(run, pid=os.getpid(), pid_started=process_started(os.getpid()), host=host_name(), heartbeat=2.0)
    with PostgresRecords(postgres_address) as records, records.database.opened() as db:
        records.append([run])
        assert records.flush(WAIT)
        with records.database.transaction(db):
            assert records.database.overtaken(db, {"run-1": 0}) == set()
            claiming = threading.Thread(target=records.claim, args=(here,))
            claiming.start()
            claiming.join(0.3)
            assert claiming.is_alive()
        claiming.join(WAIT)
        assert not claiming.is_alive()
        assert records.flow_run("run-1").token == 1  # type: ignore[union-attr]


def test_two_find_a_driver_dead(postgres_address: str) -> None:
    with PostgresRecords(postgres_address) as records:
        records.append(replace(RUN, id=f"run-{n}", host="elsewhere") for n in range(50))
        assert records.flush(WAIT)
        found: list[list[str]] = []
        threads = [threading.Thread(target=lambda: found.append(records.mark_dead())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert sorted(id for some in found for id in some) == sorted(f"run-{n}" for n in range(50))
        assert all(len(records.transitions(f"run-{n}")) == 1 for n in range(50))


def test_a_read_of_a_server_that_takes_long_is_ended_and_told(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "READING", 0.2)
    with PostgresRecords(postgres_address) as records:
        record = served.ServedRecord(records)
        asked = packed({"limit": 5})
        assert unpacked(record.call("flow_runs", asked)) == []
        with records.database.connect() as other, other.transaction():
            other.execute("LOCK TABLE flow_runs IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(RecordsError, match=r"a query was ended after 0\.2 s"):
                record.call("flow_runs", asked)
        assert unpacked(record.call("flow_runs", asked)) == []
        with records.database.opened() as db:  # the next use of the same connection is not bounded
            assert db.execute("SHOW statement_timeout").fetchone() == ("0",)
        record.close()
