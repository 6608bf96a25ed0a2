"""How long it takes until the work goes on, after `kill -9` of a server, an agent, a driver, a PostgreSQL.

Each is killed at a moment where it holds something: a run that a driver is in, an order that is claimed. What has been
killed is started again at once where its own supervisor would do that (server, PostgreSQL); another agent is there.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from benchmarks.rows import Bar, Figures, Row
from benchmarks.service import Home, home, kill, postgres, until

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.orders import Order
    from anabranch.core.service import Service

FLOWS = """
import os, time
from anabranch import flow, task

@task
def effect(folder, what):
    with open(f"{folder}/effects-{what}", "a") as file:
        file.write("x")
    return what

@flow(resumable=True)
def waits(folder, what):
    effect.submit(folder, what).result()
    with open(f"{folder}/drivers-{what}", "a") as file:
        file.write(f"{os.getpid()}\\n")
    while os.path.exists(f"{folder}/gate"):
        time.sleep(0.01)
"""
HELD = """
import time
from anabranch.launch.process import ProcessLauncher
from anabranch.cli import main

def start(self, job):
    print("held", flush=True)
    time.sleep(1000)

ProcessLauncher.start = start
main(["agent", "start"])
"""


class Runs:
    """Orders of a flow that waits at a gate, and what its drivers have told."""

    def __init__(self, place: Home, service: Service) -> None:
        from anabranch.documents.document import Document
        from anabranch.serving import deploying

        self._folder, self._service = place.folder, service
        (self._folder / "flows.py").write_text(FLOWS)
        self.gate = self._folder / "gate"
        self.gate.touch()
        deploying.apply(Document("d", "waits", entrypoint="flows.py:waits", path=str(self._folder)), service)

    def order(self, what: str) -> str:
        from anabranch.core.orders import NewOrder

        new = NewOrder("waits/d", parameters={"folder": str(self._folder), "what": what})
        return self._service.orders.add([new])[0].run

    def found(self, run: str) -> Order:
        found = self._service.orders.find(run)
        if found is None:
            raise AssertionError(f"the order {run} is lost")
        return found

    def drivers(self, what: str) -> list[int]:
        """Processes that have come to the gate in this run, in order."""
        path: Path = self._folder / f"drivers-{what}"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def came(self, what: str, count: int = 1) -> float:
        return until(lambda: len(self.drivers(what)) >= count)

    def recorded(self, run: str) -> None:
        """Wait until the value of the run's effect is in the server's file: no driver repeats it from then on."""
        from anabranch.records.sqlite import SqliteRecords

        with SqliteRecords(self._folder / "home" / "records.db") as records:
            until(lambda: any(row.items for map in records.maps(run) for row in records.stored(map.id)))

    def ended(self, *runs: str) -> float:
        """Open the gate, and wait until all have ended; returns how many effects there are beyond one a run."""
        from anabranch.core.orders import OrderState

        self.gate.unlink()
        for run in runs:
            until(lambda run=run: self.found(run).state is OrderState.DONE)  # type: ignore[misc]
        made = sum(path.stat().st_size for path in self._folder.glob("effects-*"))
        return float(made - len(runs))


def server_killed(quick: bool) -> Figures:
    """The server is killed under an agent and a driver, and started again at once."""
    with home() as place:
        server = place.server()
        place.up()
        with place.service() as service:
            runs = Runs(place, service)
            place.agent("--limit", "4")
            first = runs.order("first")
            runs.came("first")
            killed = kill(server)
            place.server()
            up = place.up() - killed
            second = runs.order("second")
            begun = runs.came("second") - killed
            return {"up_s": up, "begun_s": begun, "twice": runs.ended(first, second)}


def postgres_killed(quick: bool) -> Figures:
    """The database is killed under a server, an agent and a driver, and started again at once."""
    with postgres() as database, home(database.address) as place:
        place.server()
        place.up()
        with place.service() as service:
            runs = Runs(place, service)
            place.agent("--limit", "4")
            first = runs.order("first")
            runs.came("first")
            killed = database.kill()
            database.start()
            ready = database.up() - killed
            second = patient(runs, "second")
            up = time.monotonic() - killed
            begun = runs.came("second") - killed
            return {"up_s": up, "database_s": ready, "begun_s": begun, "twice": runs.ended(first, second)}


def patient(runs: Runs, what: str) -> str:
    """Order a run as soon as the server takes it."""
    from anabranch.core.errors import AnabranchError

    while True:
        try:
            return runs.order(what)
        except AnabranchError:
            time.sleep(0.05)


def agent_killed(quick: bool) -> Figures:
    """An agent is killed that has claimed an order and launched nothing; another agent waits for work."""
    with home() as place:
        place.server()
        place.up()
        with place.service() as service:
            runs = Runs(place, service)
            held = place.start(["-c", HELD])
            run = runs.order("first")
            if held.stdout is None or "held" not in held.stdout.readline():
                raise AssertionError("the agent did not come to its launch")
            place.agent("--limit", "4")
            until(lambda: len(service.claims.agents()) == 2)
            killed = kill(held)
            again = until(lambda: runs.found(run).token == 2) - killed
            begun = runs.came("first") - killed
            return {"again_s": again, "begun_s": begun, "twice": runs.ended(run)}


def driver_killed(quick: bool) -> Figures:
    """A driver is killed whose agent lives."""
    from anabranch.core.orders import OrderState

    with home() as place:
        place.server()
        place.up()
        with place.service() as service:
            runs = Runs(place, service)
            place.agent("--limit", "4")
            run = runs.order("first")
            runs.came("first")
            runs.recorded(run)
            os.kill(runs.drivers("first")[0], signal.SIGKILL)
            killed = time.monotonic()
            known = until(lambda: runs.found(run).state is not OrderState.BEGUN) - killed
            begun = runs.came("first", 2) - killed
            return {"known_s": known, "begun_s": begun, "twice": runs.ended(run)}


def alone(quick: bool) -> Figures:
    """A driver is killed together with its agent, and no other agent is there."""
    from anabranch.core.orders import OrderState

    with home() as place:
        place.server()
        place.up()
        with place.service() as service:
            runs = Runs(place, service)
            agent = place.agent("--limit", "4")
            run = runs.order("first")
            runs.came("first")
            runs.recorded(run)
            kill(agent)
            os.kill(runs.drivers("first")[0], signal.SIGKILL)
            killed = time.monotonic()
            known = until(lambda: runs.found(run).state is not OrderState.BEGUN) - killed
            place.agent("--limit", "4")
            runs.came("first", 2)
            return {"known_s": known, "twice": runs.ended(run)}


_ONCE = Bar("twice", "effects too many", at_most=0)
_BEGUN = Bar("begun_s", "s until a driver begins")
_LIMIT = 400.0  # seconds of a sample
ROWS = (
    Row(
        "recovery_server", "kill -9 of the server, started again at once, under an agent and a driver", server_killed,
        (Bar("up_s", "s until it answers", at_most=5.0), _BEGUN, _ONCE), most=3, seconds=_LIMIT,
    ),
    Row(
        "recovery_agent", "kill -9 of an agent between claim and launch, another one waits", agent_killed,
        (Bar("again_s", "s until it is claimed again", at_most=35.0), _BEGUN, _ONCE), most=3, seconds=_LIMIT,
    ),
    Row(
        "recovery_driver", "kill -9 of a driver whose agent lives", driver_killed,
        (Bar("known_s", "s until it is known", at_most=2.0), _BEGUN, _ONCE), most=3, seconds=_LIMIT,
    ),
    Row(
        "recovery_alone", "kill -9 of a driver and its agent, no other one is there", alone,
        (Bar("known_s", "s until it is known", at_most=65.0), _ONCE), most=3, seconds=_LIMIT,
    ),
    Row(
        "recovery_postgres", "kill -9 of PostgreSQL, started again at once, under a server, an agent and a driver",
        postgres_killed,
        (
            Bar("up_s", "s until a run can be ordered", at_most=10.0),
            Bar("database_s", "s until PostgreSQL takes connections"), _BEGUN, _ONCE,
        ),
        most=3, seconds=_LIMIT,
    ),
)  # fmt: skip
