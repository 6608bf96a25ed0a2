"""A service in a file, agents of it as processes, and orders; for tests that kill some of them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import serving
from anabranch.core.orders import NewOrder, OrderState
from anabranch.documents.document import Document
from anabranch.records.sqlite import SqliteRecords
from anabranch.serving import deploying
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.agents.loop import AgentLoop
    from anabranch.core.orders import Order, Pool
    from anabranch.core.runs import FlowRunRow

HERE = Path(__file__).parent
WAIT = 60.0


class Orders:
    """A home with a deployment `d` of each flow, and what runs there.

    Attributes:
        mark: of an agent that is held.
    """

    def __init__(self, folder: Path, pools: Sequence[Pool] = (), **fields: Any) -> None:
        self.folder, self.home, self.mark = folder, folder / "home", folder / "mark"
        self.settings = Settings(home=self.home)
        self.home.mkdir()
        self.records = SqliteRecords(self.home / "records.db")
        self.service = serving.opened(self.settings)
        for pool in pools:
            self.service.pools.put(pool)
        for flow in ("works", "counts", "obeys", "ignores"):
            self._deploy(flow, fields)
        self.processes: list[subprocess.Popen[str]] = []

    def _deploy(self, flow: str, fields: dict[str, Any]) -> None:
        given = Document("d", flow, entrypoint=f"ordered_flows.py:{flow}", path=str(HERE), **fields)
        deploying.apply(given, self.service)

    def every_second(self, flow: str, number: int) -> None:
        """Have a flow run every second, with this number."""
        parameters = {"folder": str(self.folder), "number": number}
        self._deploy(flow, {"schedules": [{"interval": 1.0, "parameters": parameters, "slug": "second"}]})

    def no_more(self, flow: str) -> None:
        self.service.schedules.set_active(f"{flow}/d", "second", False)

    # -- agents ----------------------------------------------------------------------------------

    def agent(self, mode: str = "plain") -> subprocess.Popen[str]:
        """Start an agent; its id is `agent.args[-1]`."""
        environment = {**os.environ, "ANABRANCH_HOME": str(self.home), "ANABRANCH_LOG_LEVEL": "ERROR"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE.parents[1])]))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "agent_program.py"), mode, str(self.mark)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdout is not None
        process.args = [process.stdout.readline().strip()]
        return process

    @contextmanager
    def running(self, loop: AgentLoop) -> Iterator[None]:
        """Have an agent run in a thread of this process during a block."""
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield
        finally:
            loop.stop()
            thread.join(WAIT)
            assert not thread.is_alive()

    def kill_driver(self, run: str) -> None:
        os.kill(self.row(run).pid, signal.SIGKILL)

    def kill(self, agent: subprocess.Popen[str]) -> None:
        agent.kill()
        agent.wait(WAIT)

    def lose(self, agent: subprocess.Popen[str]) -> None:
        """Let the time pass in which an agent that says nothing is taken for lost, and with it its claims."""
        with closing(sqlite3.connect(self.home / "records.db", timeout=30.0)) as db, db:
            db.execute("UPDATE agents SET seen = seen - 100 WHERE id = ?", (agent.args[-1],))
            db.execute("UPDATE orders SET lease_until = lease_until - 100 WHERE agent = ?", (agent.args[-1],))

    # -- orders ----------------------------------------------------------------------------------

    def order(self, flow: str = "works", **given: Any) -> str:
        new = NewOrder(f"{flow}/d", parameters={"folder": str(self.folder)}, **given)
        return self.service.orders.add([new])[0].run

    def found(self, run: str) -> Order:
        found = self.service.orders.find(run)
        assert found is not None
        return found

    def row(self, run: str) -> FlowRunRow:
        found = self.records.flow_run(run)
        assert found is not None
        return found

    def done(self, run: str) -> FlowRunRow:
        """Wait until an order is done; returns its run."""
        until(lambda: self.found(run).state is OrderState.DONE, lambda: (self.found(run), self.row(run)))
        return self.row(run)

    def hasten(self, run: str) -> None:
        """Let the time pass that a recovered order waits."""
        with closing(sqlite3.connect(self.home / "records.db", timeout=30.0)) as db, db:
            db.execute("UPDATE orders SET due = 1 WHERE run = ?", (run,))

    # -- what they do ----------------------------------------------------------------------------

    @property
    def gate(self) -> Path:
        """The gate at which `works` waits while it is there."""
        return self.folder / "gate"

    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def at_gate(self, times: int = 1) -> None:
        until(lambda: sum(line.startswith("at the gate") for line in self.effects()) >= times, self.effects)

    def recorded(self, run: str) -> None:
        """Wait until the value of the run's effect is in the record: a driver that goes on does not repeat it."""
        until(lambda: any(row.items for map in self.records.maps(run) for row in self.records.stored(map.id)))

    def held(self) -> None:
        """Wait until an agent is held."""
        until(self.mark.exists)

    def close(self) -> None:
        self.gate.unlink(missing_ok=True)
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(WAIT)
            assert process.stdout is not None
            process.stdout.close()
        for row in self.records.flow_runs(limit=100):
            if row.pid and row.ended is None:
                try:
                    os.kill(row.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.service.close()
        self.records.close()


def until(condition: Callable[[], object], told: Callable[[], object] = lambda: None) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.02)
