"""Claims: what agents and drivers ask."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from anabranch.core.errors import ServiceError
from anabranch.core.orders import Agent, OrderState
from anabranch.core.states import FAILED
from anabranch.records.service import begins, moves
from anabranch.records.service.beats import hear
from anabranch.records.service.choosing import Wish, choose
from anabranch.records.service.joining import Joining
from anabranch.records.service.lookups import lock_known_pool
from anabranch.records.service.rounds import Rounds
from anabranch.records.service.rows import made, values
from anabranch.records.service.standing import REMEMBERED, agents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Begun, Claim, DriverProcess, Heard, Hold
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

_LOOK = 0.1  # seconds between looks at orders that other processes have made, and at slots that they have freed

_MOST_AGENTS = 10_000  # agents


class DirectClaims:
    """`Claims` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pools: dict[str, str] = {}  # of agents, as they were last seen
        self._rounds: dict[str, Joining[Wish, list[Claim] | None]] = {}  # by pool

    def join(self, agent: Agent) -> Agent:
        ledger = self._ledger
        agent = replace(agent, id=agent.id or ledger.ids.new(), seen=ledger.now())
        with ledger.write() as db:
            lock_known_pool(ledger, db, agent.pool)
            db.execute(ledger.sql["put_agent"], values(agent, "held"))
            db.execute(ledger.sql["drop_old_agents"], (ledger.now() - REMEMBERED,))
        return agent

    def leave(self, agent: str) -> None:
        ledger = self._ledger
        with ledger.write() as db:
            found = db.execute(ledger.sql["agent"], (agent,)).fetchone()
            if found is None:
                return
            row = made(Agent, found)
            ledger.lock_pool(db, row.pool)
            for run, _, state, *_ in db.execute(ledger.sql["orders_of_agent"], (agent,)).fetchall():
                order = moves.locked(ledger, db, run) if state == OrderState.CLAIMED else None
                if order is not None and order.state is OrderState.CLAIMED and order.agent == agent:
                    moves.back(ledger, db, order, f"agent {row.name} left before its driver began")
            db.execute(ledger.sql["drop_agent"], (agent,))
        ledger.bell.ring()

    def agents(self, pool: str = "") -> list[Agent]:
        with self._ledger.read() as db:
            return agents(self._ledger, db, pool)

    def claim(self, agent: str, places: int, *, wait: float = 0.0) -> list[Claim]:
        ledger, until = self._ledger, time.monotonic() + wait
        while True:
            rung = ledger.bell.rung
            found = self._claim(agent, places) if places > 0 else []
            while not found:
                left = until - time.monotonic()
                if left <= 0:
                    return []
                if ledger.bell.wait(rung, min(left, _LOOK)):
                    break
                if self._would(agent, places):
                    break
            if found:
                return found

    def beat(self, agent: str, holds: Sequence[Hold]) -> Heard:
        ledger = self._ledger
        with ledger.write() as db:
            row = self._known(db, agent)
            db.execute(ledger.sql["hold_pool"], (row.pool,)).fetchone()
            db.execute(ledger.sql["hear_agent"], (ledger.now(), agent))
            heard, freed = hear(ledger, db, row, holds)
        if freed:
            ledger.bell.ring()
        return heard

    def begin(self, run: str, token: int, process: DriverProcess) -> Begun:
        with self._ledger.write() as db:
            return begins.begin(self._ledger, db, run, token, process)

    def lend(self, run: str, token: int, lent: bool) -> bool:
        ledger = self._ledger
        with ledger.write() as db:
            if moves.lock(ledger, db, run, turn=lent) is None:
                return False
            what = {"run": run, "token": token, "lent": int(lent)}
            done = db.execute(ledger.sql["lend_order"], what).rowcount > 0
        if lent:
            ledger.bell.ring()
        return done

    def could_not_begin(self, run: str, token: int, message: str) -> bool:
        ledger = self._ledger
        with ledger.write() as db:
            order = moves.lock(ledger, db, run)
            if order is None or order.token != token or order.state is not OrderState.BEGUN or order.ended:
                return False
            moves.end(ledger, db, order, FAILED, message)
        ledger.bell.ring()
        return True

    def pool_of(self, agent: str) -> str:
        """Return the pool of an agent (id) when it claimed last; "" where it did not."""
        return self._pools.get(agent, "")

    def _claim(self, agent: str, places: int) -> list[Claim]:
        """Claim up to so many orders now, together with what other threads claim of the pool."""
        pool = self._pools.get(agent) or self._pool_of(agent)
        if pool not in self._rounds:
            self._rounds.setdefault(pool, Joining(Rounds(self._ledger, pool)))
        found = self._rounds[pool].ask(Wish(agent, places))
        if found is None:  # it has joined another pool since
            self._pools.pop(agent, None)
            return self._claim(agent, places)
        return found

    def _pool_of(self, agent: str) -> str:
        with self._ledger.read() as db:
            pool = self._known(db, agent).pool
        if len(self._pools) >= _MOST_AGENTS:
            self._pools.clear()
        self._pools[agent] = pool
        return pool

    def _would(self, agent: str, places: int) -> bool:
        """Look, without a lock, whether a claim would find any."""
        ledger = self._ledger
        with ledger.read() as db:
            row = self._known(db, agent)
            if db.execute(ledger.sql["any_waiting"], (row.pool, ledger.now())).fetchone() is None:
                return False
            ask = partial(ledger.database.together, db)
            return any(choose(ledger, ask, row.pool, [Wish(agent, places)], places, hold=False).runs)

    def _known(self, db: Connection, agent: str) -> Agent:
        found = db.execute(self._ledger.sql["agent"], (agent,)).fetchone()
        if found is None:
            raise ServiceError(f"agent {agent} is not known: it joins again")
        return made(Agent, found)
