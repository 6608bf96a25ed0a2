"""Fault 11: records are restored from a backup while agents and drivers go on; a run ends once, and keeps no slot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import anabranch.records
from anabranch.agents.state import AgentState
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    End,
    Join,
    Joined,
    Look,
    Seen,
    Send,
    Sent,
    Start,
    Started,
    Tick,
    Told,
)
from anabranch.core.errors import RunTakenError
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.core.orders import LEASE, OrderState, Pool
from anabranch.records.recorder import Recorder
from anabranch.records.sqlite_file import SqliteFile
from tests.contract.ordering import agent, begin, deploy, hold, order, row_of, states, write
from tests.contract.services import Place, place, service

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.agents.words import Event, Instruction, Key
    from anabranch.core.service import Service

pytestmark = pytest.mark.sampled(4, "a service is saved and restored for each")
__all__ = ["place", "service"]

_SCHEMA = Path(anabranch.records.__file__).parent / "schema"
_TURN = 5.0  # seconds


def backup(place: Place) -> Callable[[], None]:
    """Copy the record; returns what puts the copy in its place."""
    assert isinstance(place.records, Recorder)
    database = place.records.database
    made = "".join(file.read_text() for file in sorted(_SCHEMA.glob("*.sql")))
    tables = re.findall(r"CREATE TABLE (\w+)", made)
    numbers = "" if isinstance(database, SqliteFile) else "OVERRIDING SYSTEM VALUE"
    with database.opened() as db:
        for table in tables:
            db.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")

    def restore() -> None:
        with database.opened() as db, database.transaction(db):
            for table in tables:
                db.execute(f"DELETE FROM {table}")
                db.execute(f"INSERT INTO {table} {numbers} SELECT * FROM kept_{table}")

    return restore


def state(service: Service, run: str) -> OrderState:
    found = service.orders.find(run)
    assert found is not None
    return found.state


class Life:
    """The agent "one" and its jobs. A driver begins as its job starts, and its flow ends when the test says so.

    Args:
        moment: called with the state of an order as the service has it: "waiting", "claimed", "begun".

    Attributes:
        running: the jobs that run.
        ends: of flows, as their drivers wrote them.
    """

    def __init__(self, service: Service, place: Place, moment: Callable[[str], None]) -> None:
        self._service, self._place, self._moment = service, place, moment
        self._state = AgentState(2)
        self._codes: dict[Reference, int | None] = {}
        self.running: dict[Reference, Key] = {}
        self.ends: list[Key] = []
        moment("waiting")

    def turn(self) -> None:
        """Let time pass, with what the agent does meanwhile."""
        self._place.clock.advance(_TURN)
        now = self._place.clock.monotonic()
        left = self._state.handle(Tick(), now)
        while left:
            event = self._answer(left.pop(0))
            if event is not None:
                left += self._state.handle(event, now)
        self._service.upkeep.reap()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def finish(self) -> None:
        """Let all flows end, and tell the record so."""
        for job, (run, token) in self.running.items():
            write(self._place, run, token)
            self._codes[job] = 0
        self.ends += self.running.values()
        self.running.clear()

    def _answer(self, what: Instruction) -> Event | None:
        match what:
            case Join():
                return Joined()
            case Ask(places):
                return Claimed(self._service.claims.claim("one", places))
            case Beat(holds):
                return Told(holds, self._service.claims.beat("one", holds))
            case Start(key, claim):
                job = Reference("process", f"here:{len(self._codes)}", "job", "/jobs")
                self._moment("claimed")
                try:
                    begin(self._service, claim, len(self._codes) + 1)
                    self._moment("begun")
                    self.running[job], self._codes[job] = key, None
                except RunTakenError:
                    self._codes[job] = 1
                return Started(key, job)
            case Look(jobs):
                return Seen({job: self._sight(job) for job in jobs})
            case Send(key):
                return Sent(key)
            case End(job):
                if self.running.pop(job, None):
                    self._codes[job] = -9
        return None

    def _sight(self, job: Reference) -> Sight:
        code = self._codes[job]
        return Sight(Phase.RUNNING) if code is None else Sight(Phase.ENDED, "", code)


def ended_claim(service: Service, place: Place) -> str:
    """Order a run that by the record is claimed and has ended: the agent "one" has not heard of the claim."""
    deploy(service)
    [run] = order(service, "f/daily")
    agent(service)
    restore = backup(place)
    [claim] = service.claims.claim("one", 1)
    begin(service, claim)
    restore()
    write(place, run, claim.order.token)
    service.claims.claim("one", 1)
    return run


@pytest.mark.parametrize("over", [False, True], ids=["the driver is at work", "its run is over"])
@pytest.mark.parametrize("at", ["waiting", "claimed", "begun"])
def test_each_run_ends_once_after_a_restore(service: Service, place: Place, at: str, over: bool) -> None:
    service.pools.put(Pool("p", slots=1))
    deploy(service, pool="p")
    [run] = order(service, "f/daily")
    agent(service, pool="p")
    kept: list[Callable[[], None]] = []

    def moment(name: str) -> None:
        if name == at and not kept:
            kept.append(backup(place))

    life = Life(service, place, moment)
    life.turn()
    assert list(life.running.values()) == [(run, 1)]
    if over:
        life.finish()
        life.turns(4)
        assert state(service, run) is OrderState.DONE
    before = len(life.ends)
    [restore] = kept
    restore()
    assert state(service, run) is OrderState[at.upper()]
    life.turns(10)
    for _ in range(60):
        life.finish()
        life.turn()
    assert state(service, run) is OrderState.DONE
    assert (row_of(place, run).state_name, len(life.ends) - before) == ("Completed", 1)
    assert "Crashed" not in states(place, run)
    [other] = order(service, "f/daily")  # the slot is free
    life.turn()
    assert [key[0] for key in life.running.values()] == [other]


def test_a_run_that_ended_while_its_order_waits_by_the_record_stands(service: Service, place: Place) -> None:
    """The driver began after the backup, and ends before its agent hears of the restore."""
    deploy(service)
    [run] = order(service, "f/daily")
    agent(service)
    restore = backup(place)
    [claim] = service.claims.claim("one", 1)
    begin(service, claim)
    restore()
    write(place, run, claim.order.token)
    [again] = service.claims.claim("one", 1)
    with pytest.raises(RunTakenError, match="has ended"):
        begin(service, again)
    service.claims.beat("one", [hold(again, "ended", code=1)])
    assert (state(service, run), row_of(place, run).state_name) == (OrderState.DONE, "Completed")


def test_a_lost_claim_of_a_run_that_has_ended_does_not_wait_again(service: Service, place: Place) -> None:
    run = ended_claim(service, place)
    place.clock.advance(LEASE + 1)
    assert service.upkeep.reap().returned == []
    assert (state(service, run), row_of(place, run).state_name) == (OrderState.DONE, "Completed")


def test_a_claim_that_an_agent_leaves_does_not_wait_again_where_its_run_has_ended(
    service: Service, place: Place
) -> None:
    run = ended_claim(service, place)
    service.claims.leave("one")
    assert (state(service, run), row_of(place, run).state_name) == (OrderState.DONE, "Completed")


def test_a_recorded_end_stands_where_an_agent_has_no_word_of_a_claim_of_a_deleted_deployment(
    service: Service, place: Place
) -> None:
    run = ended_claim(service, place)
    service.deployments.delete("f/daily")
    assert service.claims.beat("one", []).launch == []
    assert (state(service, run), row_of(place, run).state_name) == (OrderState.DONE, "Completed")
