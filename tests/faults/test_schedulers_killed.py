"""Two schedulers on one record, one of them killed at a tick: the run of the tick is ordered once, by one of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.orders import NewOrder
from anabranch.records import open_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.service import Service

pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(5, "a server for each, which is killed and started again")]

# A scheduler that stops at a place and says so: with the schedule read, its order inserted, or all committed.
SCHEDULER = """
import sys
from anabranch.core.orders import NewOrder
from anabranch.records import open_service
from anabranch.records.service import schedules

def stop():
    print("there", flush=True)
    sys.stdin.read()

def insert_and_stop(*given):
    insert(*given)
    stop()

where, place = sys.argv[1:]
service = open_service(where)
(row,) = service.schedules.due(100.0)
insert = schedules.inner_orders.insert
if place == "read":
    stop()
elif place == "inserted":
    schedules.inner_orders.insert = insert_and_stop
service.schedules.tick(row, 10.0, 20.0, [NewOrder(row.deployment, f"tick:{row.id}:10", due=10.0)])
stop()
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_address"))
    return str(tmp_path / "runs.db")


@pytest.fixture
def service(where: str) -> Iterator[Service]:
    opened = open_service(where)
    yield opened
    opened.close()


def order_all(service: Service) -> None:
    """Do what a scheduler does, tick for tick, up to the instant 40."""
    while due := service.schedules.due(40.0):
        (row,) = due
        at = row.next_tick
        assert at is not None
        service.schedules.tick(row, at, at + 10.0, [NewOrder(row.deployment, f"tick:{row.id}:{at:g}", due=at)])


@pytest.mark.parametrize("place", ["read", "inserted", "committed"])
def test_a_scheduler_killed_at_a_tick(where: str, service: Service, place: str) -> None:
    """The other begins while the first is in the middle of it: it waits where it must, and ends what is left."""
    schedule = ScheduleRow("", "", "a", {"interval": 10}, next_tick=10.0)
    service.deployments.apply(DeploymentRow("", "etl", "daily"), [schedule])
    command = [sys.executable, "-c", SCHEDULER, where, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        try:
            assert killed.stdout is not None
            assert killed.stdout.readline() == "there\n"
            other = threading.Thread(target=order_all, args=(service,))
            other.start()
        finally:
            killed.kill()
    assert killed.returncode == -signal.SIGKILL
    other.join()
    assert [order.due for order in service.orders.all(deployment="etl/daily")] == [10.0, 20.0, 30.0, 40.0]
    assert service.schedules.due(40.0) == []
