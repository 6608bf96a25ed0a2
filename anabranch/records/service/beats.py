"""What an agent's beat changes, and what it is told: both sides have the same orders afterwards."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.launching import Phase
from anabranch.core.orders import LEASE, Heard, Kill, OrderState, Reaped
from anabranch.core.picking import RECENT, fits
from anabranch.core.recovery import SILENCE
from anabranch.records.service import deaths, moves, orders
from anabranch.records.service.choosing import claims_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Agent, Claim, Hold
    from anabranch.records.database import Connection
    from anabranch.records.service.ledger import Ledger

_OVER = (Phase.ENDED.value, Phase.GONE.value)
ENDING = 30.0  # seconds from a run's end to that of its driver's process
ON_HOST = ("process", "docker")  # kinds with jobs that an agent on another host cannot see


class _Mine(NamedTuple):
    """An order that an agent has, by the record."""

    run: str
    token: int
    state: int
    cancel_by: float | None
    phase: str
    lent: int


def hear(ledger: Ledger, db: Connection, agent: Agent, holds: Sequence[Hold]) -> tuple[Heard, bool]:
    """Hear an agent's beat in a transaction that holds its pool; returns its answer, and whether slots were freed.

    Two agents may tell of one job, where one was taken for gone and is not: both are heard, and the job goes on.
    """
    sql, now, done = ledger.sql, ledger.now(), Reaped()
    held = json.dumps([f"{hold.run}/{hold.token}" for hold in holds])
    times = {"now": now, "lease": LEASE, "until": now + LEASE}
    db.execute(sql["renew_claims"], {"agent": agent.id, "held": held, **times})
    heard = Heard()
    for hold in holds:
        grace = _take_word(ledger, db, agent, hold, done)
        if grace is not None:
            heard.drop.append(Kill(hold.run, hold.token, grace))
    named = {(hold.run, hold.token) for hold in holds}
    mine = [_Mine(*row) for row in db.execute(sql["orders_of_agent"], (agent.id,))]
    lost = [one for one in mine if (one.run, one.token) not in named]
    heard.launch = _launched(ledger, db, [one.run for one in lost if one.state == OrderState.CLAIMED], done)
    heard.kill = [Kill(one.run, one.token) for one in mine if one.cancel_by is not None and one.cancel_by <= now]
    forgotten = [one.run for one in lost if one.state == OrderState.BEGUN and one.phase != Phase.ENDED.value]
    heard.adopt = orders.of_runs(ledger, db, [*forgotten, *_adopted(ledger, db, agent)])
    heard.lent = [one.run for one in mine if one.lent]
    freed = bool(done.returned or done.recovered or done.crashed or done.cancelled)
    if freed:
        ledger.lock_pool(db, agent.pool)  # its turn goes up
    return heard, freed


def _take_word(ledger: Ledger, db: Connection, agent: Agent, hold: Hold, done: Reaped) -> float | None:
    """Take what an agent tells of one order; of orders in other pools it has no say.

    Returns:
        None, or the grace of its job in seconds, where the order is not under way with this token any more.
    """
    order = moves.locked(ledger, db, hold.run)
    if order is None or order.token != hold.token or order.state is OrderState.WAITING:
        return 0.0
    if order.state is OrderState.DONE:  # perhaps by its driver, which is about to end then
        left = ENDING if order.cancel_by is None else order.cancel_by - ledger.now()
        return max(0.0, left) if order.begun else 0.0
    if order.pool != agent.pool:
        return None
    if order.phase == Phase.ENDED.value:  # it ended well, and may have told the record so in rows under way
        return None
    claimed = order.state is OrderState.CLAIMED
    if hold.phase in _OVER or _lost(ledger, order, hold) or (claimed and hold.overdue):
        if claimed:
            deaths.bury(ledger, db, order, done, hold)
        else:
            deaths.mend(ledger, db, order, done, hold.phase, hold)
        if order.run in (*done.returned, *done.crashed, *done.recovered, *done.cancelled):
            return 0.0
    # A cancelled order keeps the reason of its cancel.
    reason = order.reason if order.cancel_by is not None else hold.reason
    word = {"run": hold.run, "token": hold.token, "phase": hold.phase, "handle": hold.handle, "reason": reason}
    db.execute(ledger.sql["hear_of_order"], word)
    return None


def _lost(ledger: Ledger, order: moves.Locked, hold: Hold) -> bool:
    """Return whether a job of which nobody can tell has had its time to begin: its driver cannot any more then."""
    unclear = hold.phase == Phase.UNKNOWN.value and order.state is OrderState.CLAIMED
    return unclear and ledger.now() - order.claimed > SILENCE


def _launched(ledger: Ledger, db: Connection, runs: list[str], done: Reaped) -> list[Claim]:
    """Return claims that the agent did not hear of; those of deleted deployments end: they would keep their slots."""
    found = claims_of(ledger, partial(ledger.database.together, db), runs)
    for run in set(runs) - {claim.order.run for claim in found}:
        order = moves.locked(ledger, db, run)
        if order is None or order.state is not OrderState.CLAIMED or order.recover is not None:
            continue
        if moves.back(ledger, db, order, "its deployment was deleted"):
            done.cancelled.append(run)
    return found


def _adopted(ledger: Ledger, db: Connection, agent: Agent) -> list[str]:
    """Give an agent the begun orders that agents of its pool have left, if it can see their jobs."""
    sql, since = ledger.sql, ledger.now() - RECENT
    where = {"pool": agent.pool, "agent": agent.id, "since": since}
    taken = []
    for run, queue, deployment, labels, kind, host in db.execute(sql["orphans"], where).fetchall():
        seen = kind == agent.kind and (kind not in ON_HOST or host == agent.host)
        if not seen or not fits(agent, json.loads(labels), queue, deployment):
            continue
        if db.execute(sql["adopt"], {"run": run, "agent": agent.id, "since": since}).rowcount > 0:
            taken.append(run)
    return taken
