"""What the key of a run opens, and until when: keys of several runs at one server, and its whole route table."""

from __future__ import annotations

import importlib
from contextlib import closing
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.access import ADMIN, DELIVERY, ENDED, OPEN, RUN
from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import AccessError, RunTakenError, ServiceError
from anabranch.core.limits import Ask, Holder, Limit
from anabranch.core.orders import NewOrder
from anabranch.core.runs import FlowRunRow, ItemBlock, LogRow, MapRow
from anabranch.display import run_figures
from anabranch.records.calls import METHODS, packed, unpacked
from anabranch.records.http import MSGPACK
from anabranch.records.recorder import Recorder
from anabranch.records.remote import RemoteRecords
from anabranch.records.served import ServedRecord
from anabranch.records.service.direct import DirectService
from anabranch.records.service.remote import RemoteService
from anabranch.records.sqlite_file import SqliteFile, prepare
from anabranch.server import declared
from anabranch.server.app import PREFIX, make_app
from anabranch.server.guard import Guarded
from anabranch.serving.deploying import run_deployment
from anabranch.testing import ManualClock
from tests.begun import PROCESS, again, begun, deployed
from tests.servers import served
from tests.unit.server.asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from anabranch.core.runs import Row

NOW = 1_800_000_000.0
HOLDER = Holder("token-of-others", "elsewhere", 7, 7.0)


@dataclass
class Server:
    """A server that asks for keys, with its record and its clock, both at hand.

    Attributes:
        home: for the outboxes of drivers, one each.
    """

    app: FastAPI
    service: Any
    records: Recorder
    address: str
    clock: ManualClock
    home: Path

    def key(self, run: str, token: int = 1) -> str:
        return str(self.service.keys.of_run(run, token))

    def call(self, key: str, name: str, /, **given: Any) -> tuple[int, Any]:
        """The status and the answer of a call of the record."""
        heard = ask(
            self.address, "POST", f"{PREFIX}/records/{name}", packed(given), Content_Type=MSGPACK,
            Authorization=f"Bearer {key}",
        )  # fmt: skip
        return heard.status, unpacked(heard.text) if heard.status == 200 else heard.json["detail"]

    def remote(self, key: str) -> RemoteService:
        return RemoteService(self.address, key)

    def driver(self, run: str, token: int) -> RemoteRecords:
        """The record as a driver of a run has it."""
        return RemoteRecords(self.address, self.home / run, key=self.key(run, token))

    def forget(self) -> None:
        """Have the server look keys up anew, as it does after 5 seconds."""
        self.app.state.gate.forget()

    def end(self, run: str, token: int = 1) -> None:
        """End a run as its driver would."""
        found = self.records.flow_run(run)
        assert found is not None
        found.state, found.ended, found.token = states.COMPLETED, self.clock.time(), token
        self.write(found)
        self.forget()

    def write(self, *rows: Row) -> None:
        self.records.append(rows)
        assert self.records.flush(30)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    clock = ManualClock(NOW)
    if request.param == "sqlite":
        prepare(tmp_path / "runs.db")
        service, records = DirectService(SqliteFile(tmp_path / "runs.db"), clock=clock), Recorder(
            SqliteFile(tmp_path / "runs.db"), clock=clock
        )
    else:
        address = request.getfixturevalue("postgres_address")
        postgres = importlib.import_module("anabranch.records.postgres")
        records = postgres.PostgresRecords(address, clock=clock)
        service = DirectService(postgres.Server(address), clock=clock)
    record = ServedRecord(records, clock=clock)
    app = make_app(service, keys=service.keys, records=record, here_only=False, clock=clock)
    with served(app) as address:
        yield Server(app, service, records, address, clock, tmp_path / "home")
    record.close()
    service.close()
    records.close()


# -- until when --------------------------------------------------------------------------------------------------------


def test_a_key_is_of_a_driver_while_its_run_is_open_and_delivers_for_a_day_after(server: Server) -> None:
    key = server.key("r", begun(server.service, "r"))
    assert server.service.keys.access(key).role == RUN
    server.end("r")
    for seconds, role in ((0.0, ENDED), (DELIVERY - 1, ENDED)):
        server.clock.advance(seconds)
        assert server.service.keys.access(key).role == role
    server.clock.advance(2)
    with pytest.raises(AccessError, match="ended more than a day ago"):
        server.service.keys.access(key)


def test_a_key_of_a_driver_that_lost_its_run_is_that_of_an_ended_one(server: Server) -> None:
    old = server.key("r", begun(server.service, "r"))
    server.service.orders.cancel("r", grace=0.0)
    server.clock.advance(60)
    server.service.upkeep.reap()
    assert server.service.keys.access(old).role == ENDED


def test_a_key_of_a_run_that_the_record_does_not_have_is_good_for_nothing(server: Server) -> None:
    with pytest.raises(AccessError, match="no order of the run"):
        server.service.keys.access(server.key("never-ordered"))


def test_an_ended_runs_key_opens_what_delivery_needs_on_the_whole_table(server: Server) -> None:
    """Each route of the application is asked, a new one too."""
    token = begun(server.service, "r")
    key = server.key("r", token)
    server.end("r", token)
    opened = set()
    for route in server.app.routes:
        assert isinstance(route, Guarded)
        for method in sorted(route.methods or ()):
            heard = ask(server.address, method, route.path, None, Authorization=f"Bearer {key}")
            roles = (route.openapi_extra or {})[declared.ROLES]
            assert (heard.status in (401, 403)) == (not {ENDED, OPEN} & set(roles)), (method, route.path)
            if ENDED in roles:
                opened.add(f"{method} {route.path.removeprefix(PREFIX)}")
            elif RUN in roles:
                assert "has ended, or has another driver" in heard.json["detail"]
    reads = {f"POST /records/{name}" for name, method in METHODS.items() if method.after and not method.writes}
    assert opened == reads | {
        "POST /ingest", "POST /begin", "POST /begin/failed", "GET /access/me", "POST /records/limits.leave",
        "POST /records/limits.release",
        # A driver takes its slots back, hears that there is no order, and asks no more.
        "POST /begin/lent",
    }  # fmt: skip


def test_an_ended_run_delivers_its_last_rows_and_no_others(server: Server) -> None:
    token = begun(server.service, "r")
    begun(server.service, "other")
    server.end("r", token)
    with server.driver("r", token) as mine:
        mine.append([LogRow(NOW, 20, "log", "the last word", "r")])
        assert mine.publish(30)
        mine.append([LogRow(NOW, 20, "log", "not mine", "other")])
        mine.flush(1)
    assert [line.message for line in server.records.logs("r")] == ["the last word"]
    assert server.records.logs("other") == []


def test_an_ended_run_orders_claims_and_takes_nothing(server: Server) -> None:
    token = begun(server.service, "r")
    server.end("r", token)
    with closing(server.remote(server.key("r", token))) as remote:
        with pytest.raises(AccessError, match="has ended"):
            remote.orders.add([NewOrder("etl/daily")])
        with pytest.raises(RunTakenError, match="has ended"):
            remote.claims.begin("r", token, PROCESS)
    for name, given in (
        ("limits.acquire", {"holder": HOLDER, "asks": [Ask({"gpu": 1})]}), ("limits.start", {"name": "x", "count": 1})
    ):
        assert server.call(server.key("r", token), name, **given)[0] == 403


# -- what is read ------------------------------------------------------------------------------------------------------


READS: dict[str, dict[str, Any]] = {
    "flow_run": {"id_or_name": "{run}"},
    "subflow": {"parent": "{run}", "run_key": "k"},
    "subflows": {"parent": "{run}", "limit": 9},
    "keyed_run": {"flow": "etl", "run_key": "key of {run}"},
    "maps": {"flow_run": "{run}"},
    "stored": {"map": "{map}", "kind": "value"},
    "items": {"map": "{map}", "first": 0, "limit": 9, "states": None},
    "ended": {"map": "{map}", "mark": None},
    "attempts": {"map": "{map}", "index": 0},
    "reasons": {"maps": ["{map}"]},
    "failures": {"flow_run": "{run}", "limit": 9},
    "failed": {"flow_run": "{run}"},
    "transitions": {"run": "{run}", "index": None},
    "logs": {"flow_run": "{run}", "limit": 9, "level": 0},
    "count_logs": {"flow_run": "{run}", "level": 0},
    "cancel_requested": {"flow_runs": ["{run}"]},
}


def about(given: dict[str, Any], run: str) -> dict[str, Any]:
    """The arguments of a call, about this run."""

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(one) for one in value]
        return value.format(run=run, map=f"map of {run}") if isinstance(value, str) else value

    return {name: filled(value) for name, value in given.items()}


def ordered_runs(server: Server) -> int:
    """Have a run r, one of its deployment, one that it ordered elsewhere, and a stranger's; all with rows."""
    token = begun(server.service, "r")
    begun(server.service, "fellow")
    begun(server.service, "child", "elsewhere", by="run r")
    begun(server.service, "stranger", "strange")
    for run in ("r", "fellow", "child", "stranger"):
        found = server.records.flow_run(run)
        assert found is not None
        found.run_key = f"key of {run}"
        map = MapRow(f"map of {run}", run, "inc", "map", 3, created=NOW)
        server.write(found, map, ItemBlock(map.id, 0, 3), LogRow(NOW, 20, "log", "x", run))
    return token


def test_every_call_of_the_record_that_a_driver_may_make_is_asked_here(server: Server) -> None:
    assert set(READS) == {name for name, method in METHODS.items() if method.driver and not method.writes} - {
        "limits.limits", "limits.standing",
    }  # fmt: skip


@pytest.mark.sampled(5, "a server for each call; by day all that write")
@pytest.mark.parametrize("name", READS)
def test_a_runs_key_reads_its_run_and_those_near_it_and_no_others(server: Server, name: str) -> None:
    key = server.key("r", ordered_runs(server))
    for run in ("r", "fellow", "child", "unknown"):
        status, found = server.call(key, name, **about(READS[name], run))
        assert status == 200, (run, found)
    status, found = server.call(key, name, **about(READS[name], "stranger"))
    if name == "subflow":
        assert (status, "stranger" in found) == (403, True)
    else:
        assert status == 403, found
        assert "the key of run r does not read" in found


def test_a_runs_key_lists_no_runs_and_sees_no_holders(server: Server) -> None:
    key = server.key("r", ordered_runs(server))
    for name, given in (("flow_runs", {"limit": 9}), ("count_flow_runs", {}), ("limits.leases", {"name": "gpu"})):
        assert server.call(key, name, **given)[0] == 403


def test_a_runs_key_reads_orders_near_it(server: Server) -> None:
    with closing(server.remote(server.key("r", ordered_runs(server)))) as remote:
        for run in ("r", "fellow", "child"):
            assert remote.orders.find(run) is not None
            assert remote.orders.standing(run) is not None
        for ask_of in (remote.orders.find, remote.orders.standing):
            with pytest.raises(AccessError, match="does not read run stranger"):
                ask_of("stranger")


def test_a_driver_reports_on_its_run_and_the_runs_below_it(server: Server) -> None:
    key = server.key("r", ordered_runs(server))
    with RemoteRecords(server.address, server.home, key=key) as records:
        row = records.flow_run("r")
        assert row is not None
        server.write(replace(row, id="below", name="calm-elk", flow="child", parent_run="r", run_key="k"))
        figures = run_figures.gather(records, row, NOW)
    assert [map.row.task for map in figures.maps] == ["inc"]
    assert figures.notes == []
    assert figures.subflows == ["calm-elk (child)"]


def test_a_driver_reads_the_nearest_name_of_a_misspelt_deployment(server: Server) -> None:
    key = server.key("r", begun(server.service, "r"))
    with closing(server.remote(key)) as remote, pytest.raises(ServiceError, match="'etl/dayly'; did you mean 'etl"):
        run_deployment("etl/dayly", timeout=0, service=remote)


def test_a_driver_does_not_wait_for_a_run_that_another_ordered_first(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = server.key("r", begun(server.service, "r"))
    load = server.service.deployments.apply(DeploymentRow("", "other", "load"))
    [first] = server.service.orders.add([NewOrder(load.id, key="2026", by="ann")])
    with RemoteRecords(server.address, server.home, key=key) as records, closing(server.remote(key)) as remote:
        monkeypatch.setattr("anabranch.serving.ordered_runs.sessions.current", lambda: SimpleNamespace(records=records))
        with pytest.raises(AccessError, match=f"refuses flow_run: .* does not read what is of {first.run}"):
            run_deployment("other/load", idempotency_key="2026", timeout=2, service=remote)


def test_a_runs_key_writes_no_run_that_it_ordered(server: Server) -> None:
    """The run that it ordered has a driver of its own, and is written by that one."""
    token = begun(server.service, "r")
    row = deployed(server.service, "elsewhere")
    server.service.orders.add([NewOrder(row.id, run="child", parent_run="r", by="run r")])
    with server.driver("r", token) as mine:
        mine.append([LogRow(NOW, 20, "log", "not by its driver", "child")])
        mine.flush(1)
    assert server.records.logs("child") == []
    with server.driver("child", again(server.service, "child")) as its:
        its.append([LogRow(NOW, 20, "log", "by its driver", "child")])
        assert its.publish(30)
    assert [line.message for line in server.records.logs("child")] == ["by its driver"]


def test_an_order_takes_no_id_of_a_map_or_of_a_run(server: Server) -> None:
    """An order with the id of a map made that map its own: its run's key read the map, and wrote over it."""
    token = begun(server.service, "r")
    begun(server.service, "stranger", "strange")
    theirs = MapRow("their map", "stranger", "inc", "map", 3, created=NOW)
    server.write(theirs, FlowRunRow("their run", "etl", "by-hand", states.COMPLETED, created=NOW))
    key = server.key("r", token)
    with closing(server.remote(key)) as remote:
        for id in ("their map", "their run"):
            with pytest.raises(ServiceError, match=f"'{id}' is the id of another"):
                remote.orders.add([NewOrder("etl/daily", run=id)])
    assert server.call(key, "reasons", maps=["their map"])[0] == 403


def test_a_run_with_the_id_of_a_map_is_not_its_owner(server: Server) -> None:
    """Where such an order is in the record already, made before the map or by an older server."""
    token = begun(server.service, "r")
    begun(server.service, "stranger", "strange")
    twin = begun(server.service, "twin", by="run r")
    server.write(MapRow("twin", "stranger", "inc", "map", 3, created=NOW))
    assert server.call(server.key("r", token), "reasons", maps=["twin"])[0] == 403
    with server.driver("twin", twin) as its:
        its.append([MapRow("twin", "stranger", "overwritten", "map", 3, created=NOW)])
        its.flush(1)
    assert [map.task for map in server.records.maps("stranger")] == ["inc"]


# -- slots of limits ---------------------------------------------------------------------------------------------------


def test_a_runs_key_takes_no_slots_away_from_others(server: Server) -> None:
    limits = server.records.limits
    limits.set(Limit("gpu", slots=3))
    assert limits.acquire(HOLDER, [Ask({"gpu": 2})]) == [1]
    key = server.key("r", begun(server.service, "r"))
    own = Holder("token-of-r", PROCESS.host, PROCESS.pid, PROCESS.pid_started)
    assert server.call(key, "limits.acquire", holder=own, asks=[Ask({"gpu": 1})]) == (200, [1])
    mine_by_their_token = own._replace(token=HOLDER.token)
    for name, given in (("limits.release", {"slots": {"gpu": 2}}), ("limits.leave", {}), ("limits.renew", {})):
        status, why = server.call(key, name, holder=mine_by_their_token, **given)
        assert (status, "another holder of slots" in why) == (403, True)
    for name in ("limits.free", "limits.delete", "limits.set", "limits.leases"):
        assert server.call(key, name)[0] == 403
    assert server.call(key, "limits.release", holder=own, slots={"gpu": 1})[0] == 200
    assert [(lease.holder, lease.slots) for lease in limits.leases("gpu")] == [(HOLDER, 2)]


# -- how it is given ---------------------------------------------------------------------------------------------------


def test_a_key_that_is_remembered_counts_as_a_bearers_alone(server: Server) -> None:
    key = server.service.keys.make("ann", ADMIN).text
    tried = (("Bearer", 200), ("bearer", 200), ("Basic", 401), ("Token", 401), ("", 401), ("Bearer", 200))
    for scheme, status in tried:
        heard = ask(server.address, "GET", f"{PREFIX}/access/me", None, Authorization=f"{scheme} {key}".strip())
        assert heard.status == status, scheme
