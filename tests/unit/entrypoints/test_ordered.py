"""The driver of an order: it runs the flow as the recorded run, and ends run and order in one commit."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch import serving
from anabranch import session as sessions
from anabranch.cli import cli
from anabranch.cli import drive as drive_module
from anabranch.core import states
from anabranch.core.clock import SystemClock
from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import RecordsError, RunTakenError, UnreachableError
from anabranch.core.launching import Phase
from anabranch.core.orders import Begun, Order
from anabranch.core.recovery import LAUNCH_LIMIT, Again, Over, unbegun
from anabranch.core.runs import FlowRunRow
from anabranch.documents.storage.away import FetchAway
from anabranch.documents.storage.fetch import fetch
from anabranch.entrypoints import ordered
from anabranch.records.sqlite import SqliteRecords
from anabranch.settings import Settings
from anabranch.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.orders import DriverProcess

RUN = "0190-ordered"
FLOWS = """
from datetime import date
from pathlib import Path
from anabranch import flow, task

@task
def double(x):
    with open("calls", "a") as file:
        file.write(f"{x}\\n")
    if x == 2 and not Path("mended").exists():
        raise ValueError("two is bad")
    return 2 * x

@flow(tags=["own"])
def doubled(count: int, day: date, note: str = ""):
    Path("note").write_text(f"{type(day).__name__} {len(note)}")
    return double.map(range(count))

@flow
async def waiting(count: int):
    return [one.result() for one in [double.submit(n) for n in range(count)]]
"""


class FakeClaims:
    """Claims of one order; each `begin` is that of a new driver."""

    def __init__(self, path: Path, order: Order, deployment: DeploymentRow) -> None:
        self.path, self.order, self.deployment = path, order, deployment
        self.refused: list[str] = []
        self.taken = False
        self.away: list[Exception] = []  # raised by the next calls of `begin`, one each

    def begin(self, run: str, token: int, process: DriverProcess) -> Begun:
        if self.away:
            raise self.away.pop(0)
        if self.taken:
            raise RunTakenError(f"run {run} has a driver")
        assert process.pid == os.getpid()
        again, self.order = self.order.token > 0, replace(self.order, token=token)
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("UPDATE flow_runs SET token = ? WHERE id = ?", (token, run))
            db.execute("UPDATE orders SET state = 2, token = ? WHERE run = ?", (token, run))
        return Begun(self.order, self.deployment, "brave-run", ("given",), 0, again)

    def could_not_begin(self, run: str, token: int, message: str) -> bool:
        self.refused.append(message)
        return True


class Desk:
    """A record with an order that was claimed, and its service."""

    def __init__(self, folder: Path, records: SqliteRecords) -> None:
        self.folder, self.records = folder, records
        order = Order(RUN, "d1", parameters={"note": "x" * 20_000})
        document = {"entrypoint": "ordered_flows.py:doubled", "path": str(folder), "parameters": {"count": 3}}
        self.claims = FakeClaims(folder / "r.db", order, DeploymentRow("d1", "doubled", "daily", document=document))
        self.claims.order.parameters["day"] = "2026-03-01"
        waiting = FlowRunRow(RUN, "doubled", "brave-run", states.SCHEDULED, created=5.0, parent_run="outer")
        records.append([waiting])
        records.flush()
        with closing(sqlite3.connect(folder / "r.db")) as db, db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(orders)")]
            values = {"run": RUN, "pool": "default", "state": 1}
            row = [values.get(name, 0) for name in columns]
            db.execute(f"INSERT INTO orders VALUES ({', '.join('?' * len(row))})", row)

    @property
    def service(self) -> Any:
        return SimpleNamespace(claims=self.claims)

    def run(self, token: int) -> Any:
        forget_flows()
        return ordered.start(ordered.prepared(ordered.begun(self.service, RUN, token)))

    def order_state(self) -> tuple[int, int]:
        """The state of the order, and the turn of its pool."""
        with closing(sqlite3.connect(self.folder / "r.db")) as db:
            (state,), (turn,) = (
                db.execute(sql).fetchone()
                for sql in ("SELECT state FROM orders", "SELECT turn FROM work_pools WHERE name = 'default'")
            )
        return state, turn

    def row(self) -> FlowRunRow:
        found = self.records.flow_run(RUN)
        assert found is not None
        return found

    def calls(self) -> list[int]:
        return sorted(int(line) for line in (self.folder / "calls").read_text().split())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "ordered_flows.py").write_text(FLOWS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    records = SqliteRecords(tmp_path / "r.db")
    settings = Settings(home=tmp_path / "home", results=str(tmp_path / "results"), runner="thread")
    with sessions.in_place(sessions.Session(settings, records=records)):
        yield Desk(tmp_path, records)
    forget_flows()


def forget_flows() -> None:
    """Let the next load be that of another program."""
    for name in ("ordered_flows", "broken", "leaving"):
        sys.modules.pop(name, None)


def test_the_recorded_run_is_run_and_its_order_is_done(desk: Desk) -> None:
    (desk.folder / "mended").touch()
    state = desk.run(token=1)
    assert state.is_completed()
    assert state.result() == [0, 2, 4]
    row = desk.row()
    assert (row.name, row.state, row.attempt, row.token, row.created) == ("brave-run", states.COMPLETED, 1, 1, 5.0)
    assert row.parent_run == "outer"
    assert set(row.tags) == {"own", "given"}
    assert desk.order_state() == (3, 1)
    # whole, though the record's own text of them is cut; read by the flow's annotations
    assert (desk.folder / "note").read_text() == "date 20000"


def test_a_secret_travels_by_its_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTE", "from the driver's own environment")
    (desk.folder / "secret_flows.py").write_text(
        "from pathlib import Path\nfrom anabranch import flow\n"
        "@flow\ndef noting(note):\n    Path('note').write_text(note.get())\n"
    )
    desk.claims.deployment.document.update(entrypoint="secret_flows.py", parameters={})
    desk.claims.order.parameters = {"note": {"$secret": "NOTE"}}
    assert desk.run(token=1).is_completed()
    assert (desk.folder / "note").read_text() == "from the driver's own environment"


def test_fetched_code_is_worked_in_and_its_digest_recorded(desk: Desk) -> None:
    pytest.importorskip("fsspec")
    (desk.folder / "far").mkdir()
    (desk.folder / "far" / "fetched_flows.py").write_text(
        "import os\nfrom anabranch import flow\n@flow\ndef where():\n    return os.getcwd()\n"
    )
    storage = {"url": f"file://{desk.folder}/far"}
    desk.claims.deployment.document = {"entrypoint": "fetched_flows.py:where", "storage": storage}
    desk.claims.order.parameters = {}
    state = desk.run(token=1)
    assert state.result().startswith(str(desk.folder / "home" / "code"))
    desk.records.flush()
    assert [row.name.partition(":")[0] for row in desk.records.stored(RUN, ordered.CODE)] == ["sha256"]


def test_a_driver_beats_while_its_code_loads(desk: Desk) -> None:
    loads = "from anabranch import session\nbusy = session.current().keeper.busy()\nassert busy\n"
    (desk.folder / "ordered_flows.py").write_text(loads + FLOWS)
    (desk.folder / "mended").touch()
    assert desk.run(token=1).is_completed()
    assert not sessions.current().keeper.busy()
    (desk.folder / "ordered_flows.py").write_text(loads + "raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        desk.run(token=2)
    assert not sessions.current().keeper.busy()


def test_a_later_driver_repeats_no_finished_item(desk: Desk) -> None:
    assert desk.run(token=1).is_failed()
    assert desk.order_state()[0] == 3
    (desk.folder / "mended").touch()
    state = desk.run(token=2)
    assert state.result() == [0, 2, 4]
    assert desk.calls() == [0, 1, 2, 2]
    assert desk.row().token == 2
    assert [map.counts for map in desk.records.maps(RUN) if not map.superseded] == [{"Completed": 3}]


def test_a_later_driver_begins_anew_where_the_deployment_says_so(desk: Desk) -> None:
    desk.claims.deployment.recover = "restart"
    assert desk.run(token=1).is_failed()
    (desk.folder / "mended").touch()
    assert desk.run(token=2).result() == [0, 2, 4]
    assert desk.calls() == [0, 0, 1, 1, 2, 2]
    assert [map.counts for map in desk.records.maps(RUN) if not map.superseded] == [{"Completed": 3}]
    assert len(desk.records.maps(RUN)) == 2
    assert not desk.row().resumable


def test_a_failed_run_is_resumed_by_hand_once_its_order_is_done(desk: Desk) -> None:
    assert desk.run(token=1).is_failed()
    (desk.folder / "mended").touch()
    flow = ordered.flow_of(str(desk.folder / "ordered_flows.py:doubled"))
    state = flow.with_options(resumable=True).resume(RUN, changed="keep", return_state=True)
    assert state.result() == [0, 2, 4]
    assert desk.calls() == [0, 1, 2, 2]


@pytest.fixture
def drive(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Any:
    before = serving.use(desk.service)

    def drive(token: int = 1) -> Any:
        forget_flows()
        return CliRunner().invoke(cli, ["drive", RUN, "--token", str(token)])

    yield drive
    serving.use(before)


def test_the_command_of_an_async_flow(desk: Desk, drive: Any) -> None:
    desk.claims.deployment.document["entrypoint"] = "ordered_flows:waiting"
    desk.claims.order.parameters.clear()
    done = drive()
    assert done.exit_code == 1
    assert "two is bad" in done.stderr
    (desk.folder / "mended").touch()
    assert drive(2).exit_code == 0
    assert desk.calls() == [0, 1, 2, 2]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    monkeypatch.setattr(drive_module, "SYSTEM", clock)
    return clock


def test_a_service_that_is_away_for_a_while_is_waited_for(desk: Desk, drive: Any, clock: ManualClock) -> None:
    (desk.folder / "mended").touch()
    desk.claims.away = [UnreachableError("no answer"), RecordsError("the record cannot be used"), UnreachableError("-")]
    assert drive().exit_code == 0
    assert desk.row().state == states.COMPLETED


def test_a_service_that_stays_away_leaves_the_run_to_another_driver(desk: Desk, drive: Any, clock: ManualClock) -> None:
    desk.claims.away = [UnreachableError("no answer")] * 100
    (desk.folder / "ordered_flows.py").write_text("open('loaded', 'w')\n")
    done = drive()
    assert f"run {RUN} was not begun: no answer" in done.stderr
    assert ordered.PATIENCE <= clock.monotonic() < 2 * ordered.PATIENCE
    assert not (desk.folder / "loaded").exists()
    ended = (1000.0, Phase.ENDED.value)
    assert isinstance(unbegun(*ended, done.exit_code, "", launches=1), Again)
    assert isinstance(unbegun(*ended, done.exit_code, "", launches=LAUNCH_LIMIT), Over)
    assert isinstance(unbegun(*ended, 1, "", launches=1), Over)


class Sleepless(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept.append(seconds)


@pytest.mark.parametrize("times", [1, 100])
def test_code_that_does_not_come_is_asked_for_again(
    desk: Desk, drive: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (desk.folder / "mended").touch()
    away, clock = [FetchAway("no answer of host")] * times, Sleepless()

    def fetched(*given: Any, **more: Any) -> Any:
        if away:
            raise away.pop()
        return fetch(*given, **more)

    monkeypatch.setattr(ordered, "fetch", fetched)
    monkeypatch.setattr(sessions.current(), "clock", clock)
    done = drive()
    if times == 1:
        assert (done.exit_code, desk.claims.refused, clock.slept) == (0, [], [2.0])
        assert desk.row().state == states.COMPLETED
    else:
        assert (done.exit_code, clock.slept) == (1, [2.0, 4.0, 8.0, 16.0, 30.0])
        assert desk.claims.refused == ["no answer of host; tried 6 times within 60 s or more"]


def test_a_run_with_a_driver_loads_nothing(desk: Desk, drive: Any) -> None:
    desk.claims.taken = True
    (desk.folder / "ordered_flows.py").write_text("open('loaded', 'w')\n")
    done = drive()
    assert done.exit_code == 0
    assert f"run {RUN} has a driver" in done.stderr
    assert not (desk.folder / "loaded").exists()


@pytest.mark.parametrize(
    ("document", "parameters", "sentence"),
    [
        ({"entrypoint": "ordered_flows.py:dubled"}, {}, "there is no flow 'dubled' in 'ordered_flows.py'; did"),
        ({"entrypoint": "broken.py"}, {}, "no such field"),
        ({"entrypoint": "leaving.py"}, {}, "SystemExit: 3"),
        ({"entrypoint": None}, {}, "deployment 'doubled/daily' has no entrypoint"),
        ({"path": "absent"}, {}, "there is no folder"),
        ({}, {"notes": 1}, "doubled: got an unexpected argument 'notes'; it is called as"),
        ({}, {"day": None, "count": None}, ""),
    ],
)
def test_what_cannot_begin_is_told_with_its_cause(
    desk: Desk, drive: Any, document: dict[str, Any], parameters: dict[str, Any], sentence: str
) -> None:
    (desk.folder / "broken.py").write_text("raise ValueError('no such field')\n")
    (desk.folder / "leaving.py").write_text("raise SystemExit(3)\n")
    desk.claims.deployment.document.update(document)
    desk.claims.order.parameters.update(parameters)
    done = drive()
    assert done.exit_code == 1
    if sentence:
        assert [sentence in told for told in desk.claims.refused] == [True]
    else:  # they fit the function and not its annotations: the run has begun, and failed
        assert desk.claims.refused == []
        assert desk.row().state == states.FAILED
        assert desk.order_state()[0] == 3
