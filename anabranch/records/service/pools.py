"""Work pools and their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.deployments import DEFAULT, SERVED
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Pool, Queue
from anabranch.records.service.lookups import lock_known_pool
from anabranch.records.service.rows import all_made, values

if TYPE_CHECKING:
    from anabranch.records.service.ledger import Ledger


class DirectPools:
    """`Pools` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def put(self, pool: Pool) -> None:
        _check("pool", pool.name, pool.slots)
        with self._ledger.write() as db:
            db.execute(self._ledger.sql["put_pool"], values(pool))
            db.execute(self._ledger.sql["enter_queue"], (pool.name, DEFAULT))
        self._ledger.bell.ring()

    def all(self) -> list[Pool]:
        with self._ledger.read() as db:
            return all_made(Pool, db.execute(self._ledger.sql["pools"]))

    def delete(self, name: str) -> bool:
        if name in (DEFAULT, SERVED):
            raise ServiceError(f"the pool {name!r} is always there: `anabranch pool pause {name}` stops it")
        sql = self._ledger.sql
        with self._ledger.write() as db:
            if not self._ledger.lock_pool(db, name):
                return False
            _refuse_used(f"the pool {name!r}", *db.execute(sql["pool_users"], {"pool": name}).fetchone())
            db.execute(sql["drop_pool_queues"], (name,))
            db.execute(sql["drop_pool_agents"], (name,))
            db.execute(sql["drop_pool"], (name,))
        self._ledger.bell.ring()
        return True

    def put_queue(self, queue: Queue) -> None:
        _check("queue", queue.name, queue.slots)
        with self._ledger.write() as db:
            lock_known_pool(self._ledger, db, queue.pool)
            db.execute(self._ledger.sql["put_queue"], values(queue))
        self._ledger.bell.ring()

    def queues(self, pool: str) -> list[Queue]:
        with self._ledger.read() as db:
            return all_made(Queue, db.execute(self._ledger.sql["queues"], (pool,)))

    def delete_queue(self, pool: str, name: str) -> bool:
        said = f"the queue {name!r} of the pool {pool!r}"
        if name == DEFAULT:
            raise ServiceError(f"{said} is always there: `anabranch queue pause {pool} {name}` stops it")
        sql = self._ledger.sql
        with self._ledger.write() as db:
            self._ledger.lock_pool(db, pool)
            _refuse_used(said, *db.execute(sql["queue_users"], {"pool": pool, "queue": name}).fetchone())
            return db.execute(sql["drop_queue"], (pool, name)).rowcount > 0


def _check(kind: str, name: str, slots: int | None) -> None:
    if not name.strip():
        raise ServiceError(f"a {kind} needs a name")
    if slots is not None and slots < 0:
        raise ServiceError(f"slots of the {kind} {name!r} must be 0 or more, or none, got {slots}")


def _refuse_used(said: str, deployments: int, orders: int) -> None:
    if deployments:
        names = "deployment names" if deployments == 1 else "deployments name"
        raise ServiceError(f"{said} is in use: {deployments} {names} it; move or delete them first")
    if orders:
        are = "is" if orders == 1 else "are"
        raise ServiceError(f"{said} is in use: {orders} of its runs {are} not done; cancel them first, or wait")
