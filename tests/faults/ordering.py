"""A service, agents of it as processes, and orders; for tests that kill some of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import serving
from anabranch.core.orders import NewOrder, OrderState
from anabranch.documents.document import Document
from anabranch.records import open_records
from anabranch.serving import deploying
from anabranch.settings import Settings
from tests.faults import hurried
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anabranch.agents.loop import AgentLoop
    from anabranch.core.orders import Order, Pool
    from anabranch.core.runs import FlowRunRow

HERE = Path(__file__).parent
LEASE = 5.0  # seconds in which an agent that beats every 0.3 s gets a turn on any machine
SOON: dict[str, object] = {"lease": LEASE, "back_off": 0.3, "reap": 0.5}


class Orders:
    """A home with a deployment `d` of each flow, and what runs there.

    Args:
        where: its record: an address; "": a file in the home.
        hurried: of agents, a driver of which may be hurried too; see `tests/faults/hurried.py`. This process is not.
        fields: of the deployments.

    Attributes:
        mark: of an agent that is held.
    """

    def __init__(
        self, folder: Path, pools: Sequence[Pool] = (), *, where: str = "", hurried: Mapping[str, object] | None = None,
        **fields: Any,
    ) -> None:  # fmt: skip
        self.folder, self.home, self.mark = folder, folder / "home", folder / "mark"
        self.settings = Settings(home=self.home, records=where)
        self.home.mkdir(exist_ok=True)
        self.records = open_records(where or self.home / "records.db", home=self.home)
        self.service = serving.opened(self.settings)
        self._hurried, self._fields = dict(hurried or {}), fields
        for pool in pools:
            self.service.pools.put(pool)
        for flow in ("works", "counts", "obeys", "ignores", "keeps_the_lock"):
            self._deploy(flow)
        self.processes: list[subprocess.Popen[str]] = []
        self._ids: dict[int, str] = {}  # by process

    def _deploy(self, flow: str, **fields: Any) -> None:
        given = {**self._fields, "entrypoint": f"ordered_flows.py:{flow}", "path": str(HERE), **fields}
        deploying.apply(Document("d", flow.replace("_", "-"), **given), self.service)

    def every(self, seconds: float, flow: str, number: int, **fields: Any) -> None:
        """Have a flow run by a schedule, with this number; at intervals in which a busy machine has done it.

        Args:
            fields: further ones of the schedule.
        """
        parameters = {"folder": str(self.folder), "number": number}
        schedule = {"interval": seconds, "parameters": parameters, "slug": "often", **fields}
        self._deploy(flow, schedules=[schedule])

    def no_more(self, flow: str) -> None:
        self.service.schedules.set_active(f"{flow}/d", "often", False)

    # -- agents ----------------------------------------------------------------------------------

    def agent(self, mode: str = "plain") -> subprocess.Popen[str]:
        """Start an agent."""
        environment = {**os.environ, "ANABRANCH_HOME": str(self.home), "ANABRANCH_LOG_LEVEL": "ERROR"}
        environment |= {"ANABRANCH_RECORDS": self.settings.records, hurried.VARIABLE: json.dumps(self._hurried)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "agent_program.py"), mode, str(self.mark)],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdout is not None
        self._ids[process.pid] = process.stdout.readline().strip()
        assert self.id_of(process), "the agent did not start"
        return process

    def id_of(self, agent: subprocess.Popen[str]) -> str:
        """The id that the service knows it by."""
        return self._ids[agent.pid]

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
        assert agent.wait(WAIT) == -signal.SIGKILL

    def returned(self, run: str) -> None:
        """Wait until the claim of a run is over, and it waits for another agent."""
        until(lambda: run in self.service.upkeep.reap().returned, lambda: self.found(run))

    # -- orders ----------------------------------------------------------------------------------

    def order(self, flow: str = "works", **given: Any) -> str:
        parameters = {"folder": str(self.folder), **given.pop("parameters", {})}
        new = NewOrder(f"{flow}/d", parameters=parameters, **given)
        return self.service.orders.add([new])[0].run

    def found(self, run: str) -> Order:
        found = self.service.orders.find(run)
        assert found is not None
        return found

    def row(self, run: str) -> FlowRunRow:
        found = self.records.flow_run(run)
        assert found is not None
        return found

    def done(self, run: str, seconds: float = WAIT) -> FlowRunRow:
        """Wait until an order is done; returns its run."""
        until(lambda: self.found(run).state is OrderState.DONE, lambda: self.shown(run), seconds=seconds)
        return self.row(run)

    def shown(self, run: str) -> str:
        """An order, its run, and the end of what its drivers have said."""
        return f"{self.found(run)}\n{self.row(run)}\n{self.said(run)}"

    def said(self, run: str) -> str:
        """The end of what a run's drivers have said, as far as their jobs are there."""
        return "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in (self.home / "jobs").glob(f"{run}*/log"))

    # -- what they do ----------------------------------------------------------------------------

    @property
    def gate(self) -> Path:
        """The gate at which `works` waits while it is there."""
        return self.folder / "gate"

    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def ticks_of(self, flow: str, number: int) -> int:
        """How many ticks of its schedule a flow completed; sees that each had one run, which had its effect once."""
        orders = [one for one in self.service.orders.all(deployment=f"{flow}/d", open=False) if one.schedule]
        assert len({order.key for order in orders}) == len(orders), "two runs of one tick"
        completed = [order for order in orders if self.row(order.run).state_name == "Completed"]
        effects = self.effects()
        again = {order.key: (order.recoveries, order.reason) for order in orders if order.recoveries}
        assert (effects.count(f"effect {number}"), again) == (len(completed), {})
        assert not [line for line in effects if line.startswith("overlap")]
        return len(completed)

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
        for row in self.records.flow_runs(limit=1000):
            if row.pid and row.ended is None:
                with suppress(ProcessLookupError):
                    os.kill(row.pid, signal.SIGKILL)
        self.service.close()
        self.records.close()


def alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
