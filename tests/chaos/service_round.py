"""One round of the service: agents run what is ordered and scheduled, while all that carries it is killed.

A server, on a file or (each second seed, where there is a test bed) on PostgreSQL; two agents; their drivers. The
server's leases and pauses are short, so that lost claims and dead drivers are over within a round.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anabranch.core import states
from anabranch.core.deployments import DEFAULT
from anabranch.core.errors import RecordsError, UnreachableError
from anabranch.core.orders import NewOrder, OrderState, Pool
from anabranch.records import open_records
from tests.beds import BEDS, own_postgres_server
from tests.chaos.rounds import RoundFailed
from tests.faults.ordering import LEASE, SOON
from tests.faults.serving import served_orders

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from anabranch.core.runs import FlowRunRow
    from tests.faults.ordering import Orders
    from tests.faults.serving import Server
    from tests.postgres import Postgres

T = TypeVar("T")
RUNS = 12  # that are ordered, besides the ticks of a schedule
DEADLINE = 240.0  # seconds in which no order is done
AWAY = 60.0  # seconds for which a question is asked again
SLOTS = 3  # of the pool
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
        self._agents: list[subprocess.Popen[str]] = []
        self._ordered: list[str] = []
        self._orders: Orders
        self._server: Server
        self._postgres: Postgres | None = None

    def play(self) -> None:
        """Run it to its end.

        Raises:
            RoundFailed: what went wrong; the folder is left then.
        """
        with ExitStack() as stack:
            if self.seed % 2 and (BEDS / "postgres").is_dir():
                self._postgres = stack.enter_context(own_postgres_server())
                self.told.append("on PostgreSQL")
            self._place = self._postgres.address if self._postgres else str(self.folder / "records.db")
            served = served_orders(self.folder, self._place, hurry=SOON, agents=SOON)
            self._server, self._orders = stack.enter_context(served)
            self._orders.service.pools.put(Pool(DEFAULT, slots=SLOTS))
            self._orders.every(3.0, "counts", 1000)
            self._agents = [self._orders.agent(), self._orders.agent()]
            self._break()
            self._asked(lambda: self._orders.no_more("counts"))
            self._settle()
            self._check()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what is done to it --------------------------------------------------------------------------

    def _break(self) -> None:
        faults: list[Callable[[], bool]] = [
            self._kill_agent, self._stop_agent, self._kill_driver, self._order_again, self._kill_server,
            self._stop_server, *([self._restart_postgres] if self._postgres else []),
        ]  # fmt: skip
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

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask, again and again while server or database are away."""
        end = time.monotonic() + AWAY
        while True:
            try:
                return ask()
            except (RecordsError, UnreachableError) as error:
                if time.monotonic() > end:
                    raise RoundFailed(f"no answer within {AWAY:g} s: {error}") from error
            time.sleep(0.2)

    def _order(self) -> None:
        number = len(self._ordered)
        new = NewOrder("counts/d", f"run {number}", parameters={"folder": str(self.folder), "number": number})
        self._ordered.append(self._asked(lambda: self._orders.service.orders.add([new]))[0].run)

    def _order_again(self) -> bool:
        """Order once more what was ordered, as somebody would that got no answer."""
        number = self.rng.randrange(len(self._ordered))
        again = self._asked(lambda: self._orders.service.orders.add([NewOrder("counts/d", f"run {number}")]))[0]
        if again.new or again.run != self._ordered[number]:
            raise RoundFailed(f"an order with the key of run {number} made another run")
        return True

    def _kill_agent(self) -> bool:
        place = self.rng.randrange(len(self._agents))
        self._orders.kill(self._agents[place])
        self._agents[place] = self._orders.agent()
        return True

    def _stop_agent(self) -> bool:
        agent = self.rng.choice(self._agents)
        agent.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.choice([self.rng.uniform(0.0, 0.8), LEASE + 1.0]))
        agent.send_signal(signal.SIGCONT)
        return True

    def _kill_driver(self) -> bool:
        rows = [row for row in self._rows() if row.pid and row.state_name == "Running"]
        if not rows:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(rows).pid, signal.SIGKILL)
        return True

    def _kill_server(self) -> bool:
        self._server.kill()
        time.sleep(self.rng.uniform(0.0, 1.0))
        self._server.start()
        return True

    def _stop_server(self) -> bool:
        process = self._server.home.server
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.0, 1.5))
        process.send_signal(signal.SIGCONT)
        return True

    def _restart_postgres(self) -> bool:
        assert self._postgres is not None
        self._postgres.end(self.rng.choice([signal.SIGQUIT, signal.SIGINT]))
        time.sleep(self.rng.uniform(0.0, 1.0))
        self._postgres.start()
        return True

    # -- the end -------------------------------------------------------------------------------------

    def _rows(self) -> list[FlowRunRow]:
        return self._asked(lambda: self._orders.records.flow_runs(limit=1000))

    def _settle(self) -> None:
        end, least = time.monotonic() + DEADLINE, 1 << 30
        while open := self._asked(self._orders.service.orders.all):
            if len(open) < least:
                end, least = time.monotonic() + DEADLINE, len(open)
            if time.monotonic() > end:
                raise RoundFailed(f"orders stay open: {open}")
            if (held := sum(order.state is not OrderState.WAITING for order in open)) > SLOTS:
                raise RoundFailed(f"{held} orders are claimed or begun in a pool of {SLOTS} slots: {open}")
            time.sleep(0.2)

    def _check(self) -> None:
        rows, effects = self._rows(), Counter(self._orders.effects())
        orders = {order.run: order for order in self._asked(lambda: self._orders.service.orders.all(open=False))}
        self.runs = len(rows)
        self.resumes = sum(order.recoveries for order in orders.values())
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
        found += self._in_the_record()
        if found:
            raise RoundFailed("; ".join(found))

    def _in_the_record(self) -> list[str]:
        """What is wrong with ticks, slots and items, as the database itself says."""
        with closing(open_records(self._place)) as records, records.database.opened() as db:  # type: ignore[union-attr]
            twice = "SELECT order_key FROM orders WHERE order_key IS NOT NULL GROUP BY deployment, order_key"
            found = [f"two runs of {key}" for (key,) in db.execute(f"{twice} HAVING count(*) > 1").fetchall()]
            found += [f"integrity: {words}" for words in records.database.damage()]  # type: ignore[union-attr]
            held = db.execute("SELECT count(*) FROM orders WHERE state <> 3").fetchone()[0]
            found += [f"{held} orders are not done"] if held else []
        return found
