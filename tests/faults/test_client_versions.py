"""Clients older and newer than their server, and servers of two versions on one record (faults 9 and 10).

Nothing older than this version was ever released, so there is no old wheel to run: a version is put into the header
that others would send, and so are fields into the requests.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgpack
import pytest

from anabranch.core.errors import RecordsError, ServiceError
from anabranch.core.orders import Agent, Pool
from anabranch.core.runs import LogRow
from anabranch.records.frames import FORM
from anabranch.records.http import MSGPACK, HttpServer
from anabranch.records.remote import RemoteRecords
from anabranch.records.service.remote import RemoteService
from tests.faults import hurried
from tests.faults.ordering import SOON, Orders
from tests.faults.serving import Server
from tests.integration.homes import Home
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(400), pytest.mark.sampled(3, "each has a server of its own")]
OURS, TWO_OLDER, TOO_OLD, NEWER = "1.5.0", "1.3.7", "1.2.9", "2.0.0"
TOLD = "this server has version 1.5.0 and serves clients that are at most two minors older"


@pytest.fixture(autouse=True)
def our_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program is of the server's version, where a test does not say otherwise."""
    monkeypatch.setattr("anabranch.__version__", OURS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server", hurry={**SOON, "version": OURS})
    made.start()
    yield made
    made.home.end()


@pytest.mark.parametrize("version", [TWO_OLDER, NEWER])
def test_a_client_two_minors_older_and_a_newer_one_are_served_10(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("anabranch.__version__", version)
    with closing(RemoteService(server.address)) as service:
        service.pools.put(Pool("gpu"))
        assert "gpu" in {pool.name for pool in service.pools.all()}
        agent = service.claims.join(Agent("", "ada", "gpu"))
        assert service.claims.claim(agent.id, 1) == []
    with RemoteRecords(server.address, tmp_path / "home") as records:
        records.append([LogRow(1.0, 20, "ada", "a line", "run-1")])
        assert records.publish(WAIT)
        assert records.flow_runs() == []


def test_a_client_three_minors_older_is_told_both_versions_and_its_rows_wait_10(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.__version__", TOO_OLD)
    with closing(RemoteService(server.address)) as service, pytest.raises(ServiceError, match=TOLD):
        service.pools.all()
    records = RemoteRecords(server.address, tmp_path / "home")
    with pytest.raises(RecordsError, match=TOLD):
        records.flow_runs()
    records.append([LogRow(1.0, 20, "ada", "a line", "run-1")])
    assert not records.publish(0.5)
    records.close()
    monkeypatch.setattr("anabranch.__version__", OURS)  # as after an upgrade
    with RemoteRecords(server.address, tmp_path / "home") as upgraded:
        upgraded.append([LogRow(2.0, 20, "ada", "a line", "run-2")])
        until(lambda: upgraded.logs("run-1"))


def test_what_a_newer_client_sends_besides_is_ignored_with_a_warning_10(server: Server) -> None:
    door = HttpServer(server.address)
    answer = door.ask("PUT", "/pools", b'{"name": "gpu", "colour": "red"}')
    door.close()
    assert answer.good
    assert answer.headers["warning"] == '299 anabranch "ignored, since this server does not know it: colour"'


def test_a_frame_of_a_newer_form_is_refused_with_both_versions_10(server: Server) -> None:
    door = HttpServer(server.address)
    body = msgpack.packb({"form": FORM + 1, "anabranch": NEWER, "writer": "w", "seq": 1})
    answer = door.ask("POST", "/ingest", body, kind=MSGPACK)
    door.close()
    assert answer.status == 426
    told = msgpack.unpackb(answer.body)["detail"]
    assert f"is of anabranch {NEWER} (form {FORM + 1})" in told
    assert f"the server is anabranch {OURS}" in told
    assert "upgrade the server" in told


@pytest.mark.postgres
@pytest.mark.nightly("two servers, each with an agent, and ticks a quarter of a minute apart")
def test_two_versions_of_servers_on_one_postgres_9(postgres_address: str, tmp_path: Path) -> None:
    """Orders come by the older and an agent asks the newer, which is killed then; each tick has one run."""
    servers, made = list[Server](), list[Orders]()
    try:
        for version in ("1.5.0", "1.7.0"):
            server = Server(tmp_path / f"server-{version}", postgres_address, {**SOON, "version": version})
            servers.append(server)
            server.start()  # its port is free for others until then
            (folder := tmp_path / f"by-{version}").mkdir()
            limits = {**SOON, "version": OURS}
            made.append(Orders(folder, where=server.address, hurried=limits, job_variables=hurried.job(limits)))
        older, newer = made
        newer.every(15.0, "counts", 1000)
        newer.agent()
        by_older = [older.order(key=f"by the older {number}") for number in range(2)]
        assert [older.done(run).state_name for run in by_older] == ["Completed"] * 2
        older.agent()
        servers[1].kill()  # the older goes on with what the newer had
        before = newer.effects().count("effect 1000")
        # A lease of the services' steps has to end, and a tick to come and its driver to start.
        until(lambda: newer.effects().count("effect 1000") > before, older.service.orders.all, seconds=200)
        older.no_more("counts")
        until(lambda: not older.service.orders.all(), older.service.orders.all)
        servers[1].start()
        assert newer.ticks_of("counts", 1000)
    finally:
        for orders in made:
            orders.close()
        for server in servers:
            server.home.end()


@pytest.mark.postgres
def test_an_older_server_does_not_start_on_what_a_newer_one_has_brought_up_to_date_9(
    postgres_address: str, tmp_path: Path
) -> None:
    from anabranch.records.postgres import PostgresRecords

    with closing(PostgresRecords(postgres_address)) as records, records.database.opened() as db:
        known = db.execute("SELECT version FROM schema_version").fetchone()[0]
        db.execute("UPDATE schema_version SET version = 999")
    said = Home(tmp_path / "older", hurried.MODULE, ANABRANCH_RECORDS=postgres_address).run("server", "start")
    assert said.returncode == 1
    assert "999" in said.stderr
    assert str(known) in said.stderr
