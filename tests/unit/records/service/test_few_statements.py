"""How often the database is asked: a statement is a way there and back where it is on another host."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, NewOrder, Queue
from anabranch.core.states import CANCELLED
from anabranch.records.service.choosing import Wish
from anabranch.records.service.direct import DirectService
from anabranch.records.service.ledger import Ledger
from anabranch.records.service.memory import MemoryFile
from anabranch.scheduling import Interval, rows
from anabranch.services.schedule import TOGETHER, ScheduleStep
from anabranch.testing import ManualClock
from tests.waiting import until

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from anabranch.records.database import Asked

NOW = 1_800_000_000.0
LONG = 60.0  # seconds that a test waits for what comes at once


class Counted(MemoryFile):
    """A database that counts its statements by their first word, and the trips of those that travel together."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.trips = 0
        self.gate: threading.Event | None = None  # closed: a trip waits, as on a slow way
        self.held = threading.Event()  # a trip does
        super().__init__()

    def patient(self) -> sqlite3.Connection:
        connection = super().patient()
        connection.set_trace_callback(self._note)
        return connection

    def together(self, connection: Any, statements: Sequence[Asked]) -> list[list[Any]]:
        self.trips += 1
        if self.gate is not None:
            self.held.set()
            assert self.gate.wait(LONG)
        return super().together(connection, statements)

    def _note(self, statement: str) -> None:
        words = statement.split(None, 1)
        if words and not words[0].startswith("--"):
            self.words[words[0]] += 1


@pytest.fixture
def database() -> Counted:
    return Counted()


@pytest.fixture
def service(database: Counted) -> DirectService:
    return DirectService(database, clock=ManualClock(NOW))


def deployed(service: DirectService, count: int, **details: Any) -> list[DeploymentRow]:
    made = [DeploymentRow("", f"flow{n}", "d", document={"entrypoint": "f.py:f"}, **details) for n in range(count)]
    return [service.deployments.apply(one) for one in made]


def test_a_claim_is_two_trips(service: DirectService, database: Counted) -> None:
    service.pools.put_queue(Queue("default", "urgent", 0))
    for row in deployed(service, 10):
        service.orders.add([NewOrder(row.id) for _ in range(50)])
    service.claims.join(Agent("one", "one", capacity=100))
    assert len(service.claims.claim("one", 4)) == 4
    database.trips = 0
    database.words.clear()
    assert len(service.claims.claim("one", 4)) == 4
    assert database.trips == 2
    assert sum(database.words.values()) <= 13


def test_agents_that_ask_meanwhile_share_the_next_transaction(service: DirectService, database: Counted) -> None:
    [row] = deployed(service, 1)
    service.orders.add([NewOrder(row.id) for _ in range(100)])
    names = [f"agent-{n}" for n in range(8)]
    for name in names:
        service.claims.join(Agent(name, name, capacity=100))
        assert len(service.claims.claim(name, 1)) == 1
    database.trips, database.gate = 0, threading.Event()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(service.claims.claim, names[0], 4)
        assert database.held.wait(LONG)
        others = [threads.submit(service.claims.claim, name, 4) for name in names[1:]]
        joining = service._claims._rounds["default"]
        until(lambda: len(joining._waiting) >= 7)
        database.gate.set()
        claims = [claim for one in (first, *others) for claim in one.result(LONG)]
    assert len({claim.order.run for claim in claims}) == len(claims) == 32
    assert database.trips == 4


def test_an_agent_that_is_not_known_stops_none_of_those_that_ask_with_it(service: DirectService) -> None:
    [row] = deployed(service, 1)
    service.orders.add([NewOrder(row.id) for _ in range(2)])
    service.claims.join(Agent("one", "one"))
    service.claims.join(Agent("gone", "gone"))
    assert len(service.claims.claim("gone", 1)) == 1
    service.claims.leave("gone")
    gone: Any = service._claims._rounds["default"]._answer([Wish("gone", 1), Wish("one", 1)])
    assert gone[0] is None
    assert [claim.order.agent for claim in gone[1]] == ["one"]


def test_due_schedules_of_many_deployments_are_few_looks(service: DirectService, database: Counted) -> None:
    every = rows([Interval(600, anchor_date="2027-01-15T08:00", slug="s")], NOW)
    for row in deployed(service, 200):
        service.schedules.put(replace(every[0], deployment=row.id))
    database.words.clear()
    ScheduleStep(service)(NOW + 600)
    assert len(service.orders.all()) == 200
    transactions = 200 / TOGETHER
    assert database.words["SELECT"] <= 1 + 8 * transactions


# -- rows --------------------------------------------------------------------------------------------


def test_reaping_does_not_look_at_each_order_that_waits(service: DirectService, database: Counted) -> None:
    """Children that go on are looked at alone: neither other orders, nor children that ended long ago."""
    [row] = deployed(service, 1)
    [parent] = [one.run for one in service.orders.add([NewOrder(row.id)])]
    service.orders.add([NewOrder(row.id, parent_run=parent) for _ in range(5)])
    assert service.orders.cancel(parent)
    assert len(service.upkeep.reap().cancelled) == 5
    service.orders.add([NewOrder(row.id) for _ in range(2000)])
    left = {"cancelled": CANCELLED, "limit": 500}
    assert steps(database, "left_by_parents", left) < 2000, "one of each order is more"


def test_a_later_page_of_open_orders_begins_at_its_place(service: DirectService, database: Counted) -> None:
    [row] = deployed(service, 1)
    orders = [NewOrder(row.id, due=NOW + n) for n in range(2000)]
    service.orders.add(orders)
    where = {"deployment": "", "schedule": "", "pool": "", "run": "r", "due": NOW + 1990, "limit": 5}
    assert steps(database, "open_orders", where) < 2000, "one of each order is more"


def steps(database: Counted, query: str, where: dict[str, Any]) -> int:
    """Count the steps of SQLite's machine for a query."""
    sql, count = Ledger(database).sql[query], 0

    def step() -> None:
        nonlocal count
        count += 1

    with database.opened() as db:
        db.set_progress_handler(step, 1)
        db.execute(sql, where).fetchall()
    return count
