"""A server that is killed under drivers of orders, and away when they end: what they have done is not done again.

The time of a minute in which nobody is heard passes in the database.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import serving
from anabranch.core.orders import NewOrder, OrderState
from anabranch.documents.document import Document
from anabranch.serving import deploying
from anabranch.session import open_records
from anabranch.settings import Settings
from tests.beds import free_ports
from tests.faults.ordering import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.orders import Order
    from anabranch.core.runs import FlowRunRow

pytestmark = [pytest.mark.timeout(240), pytest.mark.sampled(7, "a server, an agent and drivers for each")]
HERE = Path(__file__).parent
HURRIED = [sys.executable, str(HERE / "hurried_driver.py")]


class Away:
    """A server with keys at one port, over one record, that can be killed and started again; an agent of it; orders.

    Attributes:
        home: of the agent and its drivers.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self.folder, self.home = folder, folder / "home"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH_")}
        self.environment |= {"ANABRANCH_LOG_LEVEL": "WARNING", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.port = free_ports(22000, 1)
        self.address = f"http://127.0.0.1:{self.port}"
        settings = Settings(home=folder / "server", records=place)
        self.place = {"ANABRANCH_HOME": str(settings.home), "ANABRANCH_RECORDS": place}
        self.service = serving.opened(settings)
        self.records = open_records(settings)
        keys: Any = self.service
        self.key = keys.keys.make("agent", "agent", pool="default").text
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def deploy(self, flow: str, command: list[str] | None = None) -> None:
        variables = {"command": command} if command else {}
        given = Document(
            "d", flow, entrypoint=f"ordered_flows.py:{flow}", path=str(HERE), work_pool_name="default",
            job_variables=variables,
        )  # fmt: skip
        deploying.apply(given, self.service)

    # -- processes -------------------------------------------------------------------------------

    def start(self, name: str, environment: dict[str, str], *words: str) -> None:
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "anabranch", *words], env={**self.environment, **environment}, cwd=self.folder,
            stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def serve(self) -> None:
        """Start the server, and wait until it answers: an agent starts with none that does not."""
        self.start("server", self.place, "server", "start", "--port", str(self.port))
        until(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def agent(self) -> None:
        environment = {"ANABRANCH_HOME": str(self.home), "ANABRANCH_RECORDS": self.address}
        self.start("agent", {**environment, "ANABRANCH_API_KEY": self.key}, "agent", "start")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(WAIT)

    def pass_time(self) -> None:
        """Let a minute and more pass in which neither agents nor drivers were heard."""
        with self.records.database.opened() as db:  # type: ignore[attr-defined]
            db.execute("UPDATE flow_runs SET heartbeat = heartbeat - 100, created = created - 100")
            db.execute("UPDATE orders SET begun = begun - 100, lease_until = lease_until - 100 WHERE begun > 0")
            db.execute("UPDATE agents SET seen = seen - 100")

    def hasten(self, run: str) -> None:
        with self.records.database.opened() as db:  # type: ignore[attr-defined]
            db.execute(f"UPDATE orders SET due = 1 WHERE run = '{run}'")

    # -- orders ----------------------------------------------------------------------------------

    def order(self, flow: str) -> str:
        return self.service.orders.add([NewOrder(f"{flow}/d", parameters={"folder": str(self.folder)})])[0].run

    def found(self, run: str) -> Order:
        found = self.service.orders.find(run)
        assert found is not None
        return found

    def row(self, run: str) -> FlowRunRow:
        found = self.records.flow_run(run)
        assert found is not None
        return found

    def done(self, run: str) -> FlowRunRow:
        until(lambda: self.found(run).state is OrderState.DONE, lambda: (self.found(run), self.row(run)))
        return self.row(run)

    def job(self, run: str, name: str, token: int = 1) -> Path:
        return self.home / "jobs" / f"{run}-{token}" / name

    def log(self, run: str) -> str:
        return self.job(run, "log").read_text() if self.job(run, "log").exists() else ""

    def outbox(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.home / "outbox").glob("*.frames"))

    # -- what they do ----------------------------------------------------------------------------

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def told(self, line: str, times: int = 1) -> None:
        until(lambda: self.effects().count(line) >= times, self.effects)

    def close(self) -> None:
        for name in [*self.processes]:
            self.kill(name)
        self.gate.unlink(missing_ok=True)
        (self.folder / "second gate").unlink(missing_ok=True)
        for row in self.records.flow_runs(limit=100):
            if row.pid and row.ended is None:
                try:
                    os.kill(row.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.service.close()
        self.records.close()


@pytest.fixture(params=["sqlite", "postgres"])
def away(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Away]:
    here = request.param == "sqlite"
    made = Away(tmp_path, str(tmp_path / "served.db") if here else request.getfixturevalue("postgres_address"))
    yield made
    made.close()


def under_way(away: Away, flow: str, command: list[str] | None = None) -> str:
    """Order a run, wait until it is at its gate, and kill the server."""
    away.deploy(flow, command)
    away.gate.touch()
    away.serve()
    away.agent()
    run = away.order(flow)
    away.told("at the gate 0")
    away.kill("server")
    return run


@pytest.mark.parametrize("flow", ["works", "fails"])
def test_a_driver_stays_until_its_end_is_in_the_record(away: Away, flow: str) -> None:
    run = under_way(away, flow)
    away.pass_time()
    away.gate.unlink()
    until(lambda: "stays up to" in away.log(run), lambda: away.log(run))
    assert not away.job(run, "exit").exists()
    away.serve()
    assert away.done(run).state_name == ("Completed" if flow == "works" else "Failed")
    until(away.job(run, "exit").exists if flow == "fails" else lambda: not away.job(run, "exit").parent.exists())
    assert (away.found(run).token, away.found(run).recoveries) == (1, 0)
    assert away.effects() == ["effect 0", "at the gate 0"]
    assert away.outbox() == b""


@pytest.mark.parametrize("flow", ["works", "fails"])
def test_what_a_driver_left_decides_before_its_agent_tells_its_end(away: Away, flow: str) -> None:
    run = under_way(away, flow, HURRIED)
    away.pass_time()
    away.gate.unlink()
    until(away.job(run, "exit").exists, lambda: away.log(run))
    assert b"put_flow_run" in away.outbox()
    away.serve()
    assert away.done(run).state_name == ("Completed" if flow == "works" else "Failed")
    assert (away.found(run).token, away.found(run).recoveries) == (1, 0)
    assert away.effects() == ["effect 0", "at the gate 0"]
    until(lambda: away.outbox() == b"")


def test_what_a_driver_left_is_sent_by_the_agent_that_adopts_its_job(away: Away) -> None:
    """The key of the run is in the job's folder."""
    run = under_way(away, "fails", HURRIED)
    away.kill("agent")
    away.pass_time()
    away.gate.unlink()
    until(away.job(run, "exit").exists, lambda: away.log(run))
    away.serve()
    away.agent()
    assert away.done(run).state_name == "Failed"
    assert (away.found(run).token, away.found(run).recoveries) == (1, 0)


def test_a_driver_that_is_killed_while_the_server_is_away_has_lost_seconds_alone(away: Away) -> None:
    (away.folder / "second gate").touch()
    run = under_way(away, "twice")
    away.gate.unlink()
    away.told("at the gate 1")
    until(lambda: b"add_stored" in away.outbox())  # the value of what it did meanwhile is on disk
    os.kill(away.row(run).pid, signal.SIGKILL)
    until(away.job(run, "exit").exists)
    away.pass_time()
    away.serve()
    until(lambda: away.found(run).state is OrderState.WAITING, lambda: away.found(run))
    assert "SIGKILL" in away.found(run).reason
    away.hasten(run)
    away.told("at the gate 1", 2)
    (away.folder / "second gate").unlink()
    assert away.done(run).state_name == "Completed"
    assert away.effects().count("effect 1") == 1
    assert away.found(run).recoveries == 1


def test_drivers_under_way_outlive_a_server_that_was_away_for_long(away: Away) -> None:
    """Nobody is silent while nobody can hear."""
    run = under_way(away, "works")
    away.pass_time()
    away.serve()
    began = away.row(run).heartbeat
    until(lambda: away.row(run).heartbeat > began)
    away.gate.unlink()
    assert away.done(run).state_name == "Completed"
    assert (away.found(run).token, away.found(run).recoveries) == (1, 0)
    assert away.effects() == ["effect 0", "at the gate 0"]
