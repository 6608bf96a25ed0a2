"""One round of the service: agents run what is ordered and scheduled, while all that carries it is killed.

A server, on a file or (each second seed, where there is a test bed) on PostgreSQL; two agents; their drivers; and a
way to the server that at times swallows what goes by it. The leases and pauses are short, so that lost claims and dead
drivers are over within a round. The schedule ticks as fast as this machine is seen to run its flow, and no longer than
things break: what was ordered has to drain.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anabranch.core import states
from anabranch.core.deployments import DEFAULT
from anabranch.core.errors import RecordsError, UnreachableError
from anabranch.core.orders import NewOrder, Pool
from anabranch.core.recovery import RECOVER_LIMIT
from anabranch.records import open_records
from tests.beds import BEDS, own_postgres_server
from tests.chaos import faults
from tests.chaos.rounds import RoundFailed
from tests.chaos.service_checks import Looks, tick_runs, wrong_ticks
from tests.faults import hurried
from tests.faults.ordering import LEASE, SOON, Orders
from tests.faults.serving import Server
from tests.faults.swallowing import Proxy

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from anabranch.core.runs import FlowRunRow
    from tests.postgres import Postgres

T = TypeVar("T")
RUNS = 12  # that are ordered, besides the ticks of a schedule
DEADLINE = 240.0  # seconds in which no order is done
AWAY = 60.0  # seconds for which a question is asked again
SHORTEST = 3.0  # seconds between two ticks of the schedule
TICKS = 1000  # the number of its runs
LEAST = 8  # things that break, however long they take
QUICK = {**SOON, "answer": LEASE}  # of agents and drivers; an answer that is swallowed is waited for no longer
SLOTS = 3  # of the pool
ENDS = ("Completed", "Crashed", "Cancelled")  # crashed ones: their drivers were killed once too often


class ServiceRound:
    """Plays one seed, in a folder that is kept when it fails.

    Args:
        seconds: for which things break.
        wanted: runs that are ordered.
        least: things that break, however long they take.
    """

    def __init__(self, seed: int, seconds: float = 8.0, wanted: int = RUNS, least: int = LEAST) -> None:
        self.seed, self.seconds, self.wanted, self.least = seed, seconds, wanted, least
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.told: list[str] = []
        self.runs = self.resumes = 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"anabranch-chaos-service-{seed}-"))
        self._agents: list[subprocess.Popen[str]] = []
        self._ordered: list[str] = []
        self._orders: Orders
        self._server: Server
        self._proxy: Proxy
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
            self._begin(stack)
            with Looks(self._place) as looks:
                interval, since = self._schedule()
                self._break()
                until = self._last_tick()
                self._settle()
            self.told.append(f"ticks each {interval:g} s; {looks.looks} looks at slots, at most {dict(looks.most)}")
            found = self._wrong() + looks.too_many(SLOTS) + self._in_the_record(interval, since, until)
            if found:
                raise RoundFailed("; ".join(found))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, stack: ExitStack) -> None:
        """Start the server, and the agents, which ask it by a way that breaks."""
        self._server = Server(self.folder / "server", self._place, SOON)
        stack.callback(self._server.home.end)
        self._server.start()
        self._proxy = Proxy(self._server.port)
        stack.callback(self._proxy.close)
        variables = hurried.job(QUICK)
        self._orders = Orders(self.folder, where=self._proxy.address, hurried=QUICK, job_variables=variables)
        stack.callback(self._orders.close)
        self._orders.service.pools.put(Pool(DEFAULT, slots=SLOTS))
        self._agents = [self._orders.agent(), self._orders.agent()]

    def _schedule(self) -> tuple[float, float]:
        """Begin the schedule; returns its interval, in which this machine has done a run, and the time of its begin."""
        began = time.monotonic()
        self._order()
        self._orders.done(self._ordered[0], DEADLINE)
        interval = max(SHORTEST, float(math.ceil(time.monotonic() - began)))
        self._orders.every(interval, "counts", TICKS, catchup="all")
        return interval, time.time()

    def _last_tick(self) -> float:
        """Let the schedule go on after what broke, and end it; returns the time up to which it must have ticked."""
        until, end = time.time(), time.monotonic() + DEADLINE
        while not any(order.schedule and order.due >= until for order in self._asked(self._orders.service.orders.all)):
            if time.monotonic() > end:
                raise RoundFailed(f"the schedule made no run for {DEADLINE:g} s")
            time.sleep(0.2)
        self._asked(lambda: self._orders.no_more("counts"))
        return until

    # -- what is done to it --------------------------------------------------------------------------

    def _break(self) -> None:
        """Break things for a while, the server first."""
        kinds: list[Callable[[], bool]] = [
            self._kill_agent, self._stop_agent, self._kill_driver, self._order_again, self._kill_server,
            self._stop_server, self._lock_record, self._swallow, self._lose_answers,
            *([self._restart_postgres] if self._postgres else []),
        ]  # fmt: skip
        end = time.monotonic() + self.seconds
        while time.monotonic() < end or self.done.total() < self.least:
            if len(self._ordered) < self.wanted:
                self._order()
            time.sleep(self.rng.uniform(0.0, 0.6))
            fault = self.rng.choice(kinds) if self.done else self._kill_server
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
        try:
            os.kill(self.rng.choice(rows).pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended meanwhile: nothing was broken
            return False
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

    def _lock_record(self) -> bool:
        """Hold the lock that all writers wait for, as a person's program may that writes to the record."""
        seconds = self.rng.uniform(1.0, 6.0)
        if self._postgres is None:
            return faults.lock_record(Path(self._place), seconds, lambda: None)
        import psycopg

        with psycopg.connect(self._place) as db:
            db.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
            time.sleep(seconds)
        return True

    def _swallow(self) -> bool:
        return self._without(self._proxy.swallow)

    def _lose_answers(self) -> bool:
        return self._without(self._proxy.lose_answers)

    def _without(self, begin: Callable[[], None]) -> bool:
        """Swallow for a while; False where nobody has asked anything meanwhile."""
        before = self._proxy.swallowed
        begin()
        time.sleep(self.rng.uniform(0.3, 6.0))
        self._proxy.pass_on()
        return self._proxy.swallowed > before

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
            time.sleep(0.2)

    def _wrong(self) -> list[str]:
        """Return what is wrong with the runs that were ordered, and with what they did."""
        rows, effects = self._rows(), Counter(self._orders.effects())
        self.runs = len(rows)
        found = [f"{row.name} is {row.state_name}" for row in rows if row.state_name not in ENDS]
        found += [f"{row.name} is open" for row in rows if not states.is_final(row.state)]
        found += [line for line in effects if line.startswith("overlap")]
        for number, run in enumerate(self._ordered):
            row = self._orders.row(run)
            killed = self._orders.found(run).recoveries
            times = effects[f"effect {number}"]
            if row.state_name == "Completed" and not 1 <= times <= 1 + killed:
                found.append(f"run {number} had its effect {times} times, with {killed} killed drivers")
            if row.state_name == "Crashed" and killed < RECOVER_LIMIT:
                found.append(f"run {number} crashed after {killed} recoveries: {row.message}")
        return found

    def _in_the_record(self, interval: float, since: float, until: float) -> list[str]:
        """Return what is wrong with ticks, their effects and the file, as the database itself says."""
        with closing(open_records(self._place)) as records, records.database.opened() as db:  # type: ignore[union-attr]
            ticks = tick_runs(db)
            open, self.resumes = db.execute(
                "SELECT sum(CASE WHEN state <> 3 THEN 1 ELSE 0 END), sum(recoveries) FROM orders"
            ).fetchone()
            damage = records.database.damage()  # type: ignore[union-attr]
        found = wrong_ticks(ticks, interval, since, until)
        times = Counter(self._orders.effects())[f"effect {TICKS}"]
        completed = sum(run.state == "Completed" for run in ticks)
        if not completed <= times <= len(ticks) + sum(run.recoveries for run in ticks):
            found.append(f"{len(ticks)} ticks, of which {completed} completed, had their effect {times} times")
        found += [f"integrity: {words}" for words in damage]
        return found + ([f"{open} orders are not done"] if open else [])
