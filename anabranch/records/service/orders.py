"""Orders: how they are made, found and cancelled."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core.errors import ServiceError
from anabranch.core.orders import LONGEST_PARAMETERS, Order, Ordered, OrderState
from anabranch.core.runs import FlowRunRow, json_parameters
from anabranch.core.service import MOST
from anabranch.core.states import CANCELLED, SCHEDULED
from anabranch.records.batch import flow_run_values
from anabranch.records.service import cancelling, collisions, moves
from anabranch.records.service.fitting import Faults, fault_of, parameter_faults
from anabranch.records.service.lookups import known_deployment, known_deployments, lock_known_pool
from anabranch.records.service.rows import made, values
from anabranch.records.service.standing import standing
from anabranch.records.views import state_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import NewOrder, Standing
    from anabranch.records.database import Connection, Values
    from anabranch.records.service.ledger import Ledger

_FIRST_DUE = 1.0  # claims look for orders that are due after 0
_NOT_CHECKED: Faults = {}
_KEY = 3  # the column of an order's key: NULL where it has none


class DirectOrders:
    """`Orders` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, orders: Sequence[NewOrder]) -> list[Ordered]:
        """Order flow runs; where a deployment has no free slot its rule may cancel some at once."""
        faults = parameter_faults(self._ledger, orders)
        with self._ledger.write() as db:
            found = insert(self._ledger, db, orders, faults)
        self._ledger.bell.ring()
        return found

    def find(self, run: str) -> Order | None:
        with self._ledger.read() as db:
            id = self._id(db, run)
            found = of_runs(self._ledger, db, [id]) if id else []
        return found[0] if found else None

    def all(
        self, *, deployment: str = "", schedule: str = "", pool: str = "", open: bool = True, after: str = "",
        limit: int = MOST,
    ) -> list[Order]:  # fmt: skip
        due, run = _place(after)
        page = {"schedule": schedule, "pool": pool, "due": due, "run": run, "limit": min(limit, MOST)}
        with self._ledger.read() as db:
            id = known_deployment(self._ledger, db, deployment).id if deployment else ""
            query = self._ledger.sql["open_orders" if open else "orders"]
            rows = db.execute(query, {"deployment": id, **page}).fetchall()
            return of_runs(self._ledger, db, [row[0] for row in rows])

    def standing(self, run: str) -> Standing | None:
        with self._ledger.read() as db:
            id = self._id(db, run)
            found = of_runs(self._ledger, db, [id]) if id else []
            return standing(self._ledger, db, found[0]) if found else None

    def cancel(self, run: str, *, by: str = "", grace: float | None = None) -> bool:
        """Cancel in any state. The pool of a claimed order has its slot back at once: no code of the run can begin."""
        ledger = self._ledger
        with ledger.write() as db:
            id = self._id(db, run)
            order = moves.lock(ledger, db, id) if id else None
            if order is None or order.state is OrderState.DONE or order.ended:
                return False
            cancelling.cancel(ledger, db, order, f"cancelled by {by}" if by else "cancelled", grace)
        ledger.bell.ring()
        return True

    def _id(self, db: Connection, run: str) -> str:
        """Return the id of the run with an order that is meant: an id, the start of one, or a name."""
        sql = self._ledger.sql
        if not run:
            return ""
        rows = db.execute(sql["orders_by_prefix"], {"prefix": run}).fetchall()
        if len(rows) == 1 or (rows and rows[0][0] == run):
            return str(rows[0][0])
        named = db.execute(sql["order_by_name"], (run,)).fetchone()
        if named is None and rows:
            raise ServiceError(f"several runs begin with {run!r}: give more of the id")
        return str(named[0]) if named else ""


def _place(after: str) -> tuple[float, str]:
    """Return due and run of the order that a page begins behind."""
    due, _, run = after.partition("/")
    try:
        return (float(due), run) if after else (0.0, "")
    except ValueError:
        raise ServiceError(f"{after!r} is no place in a list of orders: it is the `place` of the last one") from None


def of_runs(ledger: Ledger, db: Connection, runs: Sequence[str]) -> list[Order]:
    """Return the orders of these runs, in their order."""
    if not runs:
        return []
    rows = {row[0]: made(Order, row) for row in db.execute(ledger.sql["orders_of_runs"], (json.dumps(runs),))}
    return [rows[run] for run in runs if run in rows]


# -- made --------------------------------------------------------------------------------------------


def insert(
    ledger: Ledger, db: Connection, orders: Sequence[NewOrder], faults: Faults = _NOT_CHECKED
) -> list[Ordered]:  # fmt: skip
    """Order flow runs within a transaction that locks their pools; the caller rings the bell after its commit.

    Args:
        faults: what was found of their parameters before the transaction; others are checked within it.

    Raises:
        ParametersRefused: as of `Orders.add`.
        ServiceError: there is no such deployment; or parameters are too large, or no JSON.
    """
    return insert_known(ledger, db, orders, _known(ledger, db, {order.deployment for order in orders}), faults)


def insert_known(
    ledger: Ledger, db: Connection, orders: Sequence[NewOrder], known: Mapping[str, DeploymentRow],
    faults: Faults = _NOT_CHECKED,
) -> list[Ordered]:  # fmt: skip
    """Do the same with deployments that were read, by what orders call them, since their pools were locked."""
    for pool, queue in sorted(
        {(row.pool, one.queue or row.queue) for one in orders for row in [known[one.deployment]]}
    ):
        db.execute(ledger.sql["enter_queue"], (pool, queue))
    answers, new = _sorted_out(ledger, db, orders, known)
    now = ledger.now()
    rows = [_rows(one, known[one.deployment], now, faults) for one in new]
    for query, place in (("enter_run", 0), ("enter_order", 1), ("add_state", 2)):
        ledger.database.many(db, ledger.sql[query], [row[place] for row in rows])
    for id in {known[one.deployment].id: None for one in new if known[one.deployment].collision != "enqueue"}:
        collisions.settle(ledger, db, id)
    return answers


def _known(ledger: Ledger, db: Connection, names: Iterable[str]) -> dict[str, DeploymentRow]:
    """Return deployments by the names that orders have for them; their pools are locked, so that they stay."""
    names, held = set(names), set[str]()
    found = known_deployments(ledger, db, names)
    while more := {row.pool for row in found.values()} - held:
        for pool in sorted(more):
            lock_known_pool(ledger, db, pool)
        held |= more
        found = known_deployments(ledger, db, names)  # another may have moved or deleted one before the lock
    return found


def _sorted_out(
    ledger: Ledger, db: Connection, orders: Sequence[NewOrder], known: Mapping[str, DeploymentRow]
) -> tuple[list[Ordered], list[NewOrder]]:
    """Return the answer to each order, and those that are new, each with an id and a name."""
    given = [one.run for one in orders if one.run]
    there = {row[0] for row in db.execute(ledger.sql["known_orders"], (json.dumps(given),))} if given else set()
    _check_free(ledger, db, [id for id in given if id not in there])
    by_key = _by_key(ledger, db, [(known[one.deployment].id, one.key) for one in orders if one.key])
    answers, new = [], []
    for one in orders:
        key = (known[one.deployment].id, one.key)
        earlier = one.run if one.run in there else by_key.get(key, "")
        if earlier:
            answers.append(Ordered(earlier, False))
            continue
        one = replace(one, run=one.run or ledger.ids.new(), name=one.name or ledger.ids.name())
        there.add(one.run)
        if one.key:
            by_key[key] = one.run
        new.append(one)
        answers.append(Ordered(one.run, True))
    return answers, new


def _check_free(ledger: Ledger, db: Connection, ids: Sequence[str]) -> None:
    """See that ids for new runs are of nothing else: a run with the id of a map would own that map."""
    taken = db.execute(ledger.sql["taken_ids"], {"ids": json.dumps(ids)}).fetchone() if ids else None
    if taken is not None:
        raise ServiceError(f"no run is ordered: {taken[0]!r} is the id of another run or map; leave the id out")


def _by_key(ledger: Ledger, db: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the runs that have these keys, by deployment (id) and key."""
    if not keys:
        return {}
    sought = {
        "deployments": json.dumps(list({id for id, _ in keys})), "keys": json.dumps(list({key for _, key in keys}))
    }  # fmt: skip
    return {(id, key): run for id, key, run in db.execute(ledger.sql["runs_of_keys"], sought).fetchall()}


def _rows(one: NewOrder, row: DeploymentRow, now: float, faults: Faults) -> tuple[Values, Values, Values]:
    """The rows of a run, its order, and its first state."""
    parameters = {**(row.document.get("parameters") or {}), **one.parameters}
    _check_size(_json(parameters, "parameters", row), row)
    if (fault := fault_of(one, row, faults)) is not None:
        raise fault
    _json(one.job, "job variables", row)
    if one.due is not None and not math.isfinite(one.due):
        raise ServiceError(f"a run of {row.full_name} cannot be due at {one.due}: it is a time in Unix seconds")
    due = now if one.due is None else max(one.due, _FIRST_DUE)
    run = FlowRunRow(
        one.run, row.flow, one.name, SCHEDULED, message=f"ordered by {one.by}" if one.by else "", created=now,
        parent_run=one.parent_run, tags=tuple(dict.fromkeys((*row.tags, *one.tags))),
        parameters=json_parameters(parameters), resumable=row.recover == "resume",
    )  # fmt: skip
    order = Order(
        one.run, row.id, row.revision, one.key, row.pool, one.queue or row.queue, one.priority, due, row.labels,
        parameters, one.job, one.schedule, one.by, created=now,
    )  # fmt: skip
    columns = list(values(order))
    columns[_KEY] = one.key or None
    return (
        flow_run_values(run),
        (*columns, None, "", ""),
        (one.run, -1, 0, SCHEDULED, state_name(SCHEDULED), run.message, now),
    )


def _check_size(parameters: str, row: DeploymentRow) -> None:
    size = len(parameters.encode())
    if size > LONGEST_PARAMETERS:
        raise ServiceError(
            f"parameters of a run of {row.full_name} are {size:,} bytes of JSON, and at most {LONGEST_PARAMETERS:,} "
            "are kept: store large values in a file, and pass its path"
        )


def _json(found: dict[str, object], what: str, row: DeploymentRow) -> str:
    try:
        return _to_json(found)
    except (TypeError, ValueError):
        bad = [name for name, value in found.items() if not _is_json(value)]
        raise ServiceError(
            f"{what} of a run of {row.full_name} must be JSON, and these are not: {', '.join(map(str, bad))}"
        ) from None


def _is_json(value: object) -> bool:
    try:
        _to_json(value)
    except (TypeError, ValueError):
        return False
    return True


def _to_json(value: object) -> str:
    """Return JSON; raises ValueError for numbers that are not finite, which it cannot have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def cancel_waiting(ledger: Ledger, db: Connection, deployment: str, reason: str) -> list[str]:
    """Cancel the waiting orders of a deployment (id) in a transaction that locks their pools; returns their runs."""
    rows: Iterable[tuple[str]] = db.execute(ledger.sql["waiting_of_deployment"], (deployment,)).fetchall()
    found = [order for (run,) in rows if (order := moves.locked(ledger, db, run)) is not None]
    for order in found:
        moves.end(ledger, db, order, CANCELLED, reason)
    return [order.run for order in found]
