"""What the service does on PostgreSQL while others are in the middle of a transaction."""

from __future__ import annotations

import importlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import parameter_schema
from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import NewOrder, Pool
from anabranch.records import open_service
from anabranch.records.service.direct import DirectService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.service import Service

pytestmark = pytest.mark.postgres
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
SCHEMA = {"properties": {"size": {"type": "integer"}}}
DEFAULT = "SELECT name FROM work_pools WHERE name = 'default'"
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


def test_an_order_of_a_deployment_that_moves_meanwhile_locks_the_pool_that_it_waits_in(
    service: Service, other: Any
) -> None:
    service.pools.put(Pool("gpu"))
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    turn = "SELECT turn FROM work_pools WHERE name = 'gpu'"
    before = other.execute(turn).fetchone()[0]
    other.execute("BEGIN")
    other.execute(POOL)
    meanwhile(other, "UPDATE deployments SET pool = 'gpu'", lambda: service.orders.add([NewOrder("etl/daily")]))
    assert [order.pool for order in service.orders.all()] == ["gpu"]
    assert other.execute(turn).fetchone()[0] > before


def test_parameters_are_checked_while_no_pool_is_locked(
    service: Service, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check may take long, and nobody can claim of a pool that is locked."""
    free: list[object] = []

    def check(*_given: object, **_more: object) -> None:
        free.append(other.execute(f"{DEFAULT} FOR UPDATE SKIP LOCKED").fetchall())

    service.deployments.apply(DeploymentRow("", "etl", "daily", document={"parameter_schema": SCHEMA}))
    monkeypatch.setattr(parameter_schema, "check", check)
    service.orders.add([NewOrder("etl/daily", parameters={"size": 3})])
    assert free == [[("default",)]]


def test_parameters_are_checked_again_where_the_deployment_changes_meanwhile(service: Service, other: Any) -> None:
    service.deployments.apply(DeploymentRow("", "etl", "daily", document={"parameter_schema": SCHEMA}))
    other.execute("BEGIN")
    other.execute(POOL)
    changed = {"parameter_schema": {"properties": {"size": {"type": "integer", "maximum": 2}}}}
    change = f"UPDATE deployments SET revision = 2, document = '{json.dumps(changed)}'"
    order = NewOrder("etl/daily", parameters={"size": 3})
    assert "less than or equal to 2" in str(meanwhile(other, change, lambda: service.orders.add([order])))
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


def test_a_service_asks_the_time_on_a_connection_that_it_keeps_and_closes(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = importlib.import_module("anabranch.records.postgres").Server(postgres_address)
    made, connect = [], server.connect

    def noted() -> Any:
        made.append(connect())
        return made[-1]

    monkeypatch.setattr(server, "connect", noted)
    server.prepare()
    for _ in range(2):
        service = DirectService(server)
        service.upkeep.now()
        assert len(made) == 1
    service.close()
    assert made[0].closed
