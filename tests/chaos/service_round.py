"""One round of the service: two agents run what is ordered and scheduled, while they and their drivers are killed.

Time is helped along: the leases of a killed agent are over at once, and a recovered order does not wait.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.orders import NewOrder, OrderState
from anabranch.services.loop import Services
from tests.chaos.rounds import RoundFailed
from tests.faults.ordering import Orders

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from anabranch.core.runs import FlowRunRow

RUNS = 12  # that are ordered, besides the ticks of a schedule
DEADLINE = 150.0  # seconds
ENDS = ("Completed", "Crashed", "Cancelled")  # crashed ones: their drivers were killed once too often


class ServiceRound:
    """Plays one seed, in a folder that is kept when it fails.

    Args:
        seconds: for which things break.
        wanted: runs that are ordered.
    """

    def __init__(self, seed: int, seconds: float = 8.0, wanted: int = RUNS) -> None:
        self.seed, self.seconds, self.wanted = seed, seconds, wanted
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.told: list[str] = []
        self.runs = self.resumes = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"anabranch-chaos-service-{seed}-"))
        self._orders = Orders(self.folder)
        self._agents: list[subprocess.Popen[str]] = []
        self._ordered: list[str] = []

    def play(self) -> None:
        """Run it to its end.

        Raises:
            RoundFailed: what went wrong; the folder is left then.
        """
        orders = self._orders
        services = Services(orders.service)
        services.start()
        try:
            orders.every_second("counts", 1000)
            self._agents = [orders.agent(), orders.agent()]
            self._break()
            orders.no_more("counts")
            self._settle()
            self._check()
        finally:
            services.stop()
            orders.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what is done to it --------------------------------------------------------------------------

    def _break(self) -> None:
        faults: list[Callable[[], bool]] = [self._kill_agent, self._stop_agent, self._kill_driver, self._order_again]
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            if len(self._ordered) < self.wanted:
                self._order()
            time.sleep(self.rng.uniform(0.0, 0.6))
            fault = self.rng.choice(faults)
            if fault():
                self.done[fault.__name__.removeprefix("_")] += 1
                self.told.append(fault.__name__.removeprefix("_").replace("_", " "))
        while len(self._ordered) < self.wanted:
            self._order()

    def _order(self) -> None:
        number = len(self._ordered)
        new = NewOrder("counts/d", f"run {number}", parameters={"folder": str(self.folder), "number": number})
        self._ordered.append(self._orders.service.orders.add([new])[0].run)

    def _order_again(self) -> bool:
        """Order once more what was ordered, as somebody would that got no answer."""
        number = self.rng.randrange(len(self._ordered))
        again = self._orders.service.orders.add([NewOrder("counts/d", f"run {number}")])[0]
        if again.new or again.run != self._ordered[number]:
            raise RoundFailed(f"an order with the key of run {number} made another run")
        return True

    def _kill_agent(self) -> bool:
        place = self.rng.randrange(len(self._agents))
        self._orders.kill(self._agents[place])
        if self.rng.random() < 0.7:
            self._orders.lose(self._agents[place])
        self._agents[place] = self._orders.agent()
        return True

    def _stop_agent(self) -> bool:
        agent = self.rng.choice(self._agents)
        agent.send_signal(signal.SIGSTOP)
        if self.rng.random() < 0.5:
            self._orders.lose(agent)
        time.sleep(self.rng.uniform(0.0, 0.8))
        agent.send_signal(signal.SIGCONT)
        return True

    def _kill_driver(self) -> bool:
        rows = [row for row in self._rows() if row.pid and row.state_name == "Running"]
        if not rows:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(rows).pid, signal.SIGKILL)
        return True

    # -- the end -------------------------------------------------------------------------------------

    def _rows(self) -> list[FlowRunRow]:
        return self._orders.records.flow_runs(limit=1000)

    def _settle(self) -> None:
        end = time.monotonic() + DEADLINE
        while open := self._orders.service.orders.all():
            if time.monotonic() > end:
                raise RoundFailed(f"orders stay open: {open}")
            for order in open:
                if order.state is OrderState.WAITING:
                    self._orders.hasten(order.run)
            time.sleep(0.1)

    def _check(self) -> None:
        rows, effects = self._rows(), Counter(self._orders.effects())
        self.runs = len(rows)
        self.resumes = sum(order.recoveries for order in self._orders.service.orders.all(open=False))
        found = [f"{row.name} is {row.state_name}" for row in rows if row.state_name not in ENDS]
        found += [f"{row.name} is open" for row in rows if not states.is_final(row.state)]
        found += [line for line in effects if line.startswith("overlap")]
        for number, run in enumerate(self._ordered):
            row = self._orders.row(run)
            killed = self._orders.found(run).recoveries
            times = effects[f"effect {number}"]
            if row.state_name == "Completed" and not 1 <= times <= 1 + killed:
                found.append(f"run {number} had its effect {times} times, with {killed} killed drivers")
            if row.state_name == "Crashed" and killed < 3:
                found.append(f"run {number} crashed after {killed} recoveries: {row.message}")
        with closing(sqlite3.connect(self._orders.home / "records.db")) as db:
            twice = db.execute("SELECT order_key FROM orders GROUP BY deployment, order_key HAVING count(*) > 1")
            found += [f"two runs of {key}" for (key,) in twice if key is not None]
            found += [f"integrity: {words}" for (words,) in db.execute("PRAGMA integrity_check") if words != "ok"]
        if found:
            raise RoundFailed("; ".join(found))
