"""What the service does on PostgreSQL while others are in the middle of a transaction."""

from __future__ import annotations

import importlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import NewOrder, Pool
from anabranch.records import open_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.service import Service

pytestmark = pytest.mark.postgres
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
POOL = "UPDATE work_pools SET turn = turn + 1 WHERE name = 'default'"


@pytest.fixture
def service(postgres_address: str) -> Iterator[Service]:
    opened = open_service(postgres_address)
    yield opened
    opened.close()


@pytest.fixture
def other(service: Service, postgres_address: str) -> Iterator[Any]:
    """A connection of somebody else."""
    server = importlib.import_module("anabranch.records.postgres").Server(postgres_address)
    connection = server.connect()
    yield connection
    connection.close()


def meanwhile(other: Any, change: str, act: Callable[[], object]) -> object:
    """Let somebody act who must wait for the lock; change something and commit; return what came of the act."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(act())
        except ServiceError as error:
            outcome.append(error)

    before = other.execute(WAITING).fetchone()[0]
    thread = threading.Thread(target=run)
    thread.start()
    while other.execute(WAITING).fetchone()[0] <= before:
        assert thread.is_alive(), "it did not wait"
        time.sleep(0.01)
    other.execute(change)
    other.execute("COMMIT")
    thread.join()
    return outcome[0]


def test_a_deployment_that_is_deleted_meanwhile_gets_no_order(service: Service, other: Any) -> None:
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    other.execute("BEGIN")
    other.execute(POOL)
    found = meanwhile(other, "DELETE FROM deployments", lambda: service.orders.add([NewOrder("etl/daily")]))
    assert "no deployment 'etl/daily'" in str(found)
    assert service.orders.all() == []


def test_a_schedule_that_is_paused_meanwhile_does_not_tick(service: Service, other: Any) -> None:
    service.deployments.apply(
        DeploymentRow("", "etl", "daily"), [ScheduleRow("", "", "a", {"interval": 60}, next_tick=1.0)]
    )
    (read,) = service.schedules.due(1.0)
    other.execute("BEGIN")
    other.execute(POOL)
    orders = [NewOrder(read.deployment, "tick")]
    assert (
        meanwhile(other, "UPDATE deployments SET paused = 1", lambda: service.schedules.tick(read, 1.0, 2.0, orders))
        is False
    )
    assert service.orders.all() == []
    assert service.schedules.all()[0].next_tick == 1.0


def test_a_pool_that_is_deleted_meanwhile_gets_no_deployment(service: Service, other: Any) -> None:
    service.pools.put(Pool("gpu"))
    other.execute("BEGIN")
    other.execute("DELETE FROM work_pools WHERE name = 'gpu'")
    found = meanwhile(
        other, "SELECT 1", lambda: service.deployments.apply(DeploymentRow("", "etl", "daily", pool="gpu"))
    )
    assert "no pool 'gpu'" in str(found)
    assert service.deployments.all() == []
