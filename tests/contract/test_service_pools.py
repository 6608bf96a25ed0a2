"""What any service does with pools, queues and projects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch.core.deployments import DeploymentRow, ProjectRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import NewOrder, Pool, Queue
from tests.contract.ordering import agent
from tests.contract.services import place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["place", "service"]


def test_a_new_service_has_the_pools_that_nobody_needs_to_make(service: Service) -> None:
    assert [pool.name for pool in service.pools.all()] == ["default", "served"]
    assert service.pools.queues("default") == [Queue("default")]


def test_a_pool_is_what_was_put_last(service: Service) -> None:
    pool = Pool("gpu", "slurm", {"partition": "long", "gpus": [0, 1]}, 4, False, "the big ones")
    service.pools.put(pool)
    assert pool in service.pools.all()
    service.pools.put(replace(pool, paused=True, slots=None))
    assert [one for one in service.pools.all() if one.name == "gpu"] == [replace(pool, paused=True, slots=None)]
    assert service.pools.queues("gpu") == [Queue("gpu")]


def test_queues_stand_in_the_order_in_which_they_are_served(service: Service) -> None:
    rows = [Queue("default", "b", 2, 3, True), Queue("default", "a", 2), Queue("default", "urgent", 0)]
    for queue in rows:
        service.pools.put_queue(queue)
    assert [queue.name for queue in service.pools.queues("default")] == ["urgent", "default", "a", "b"]
    assert rows[0] in service.pools.queues("default")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda service: service.pools.put_queue(Queue("defalt", "a")), "no pool 'defalt'; did you mean 'default'"),
        (lambda service: service.pools.put(Pool(" ")), "a pool needs a name"),
        (lambda service: service.pools.put(Pool("a", slots=-1)), "slots of the pool 'a'"),
        (lambda service: service.pools.delete("default"), "always there"),
        (lambda service: service.pools.delete_queue("default", "default"), "always there"),
        (lambda service: service.deployments.put_project(ProjectRow("")), "a project needs a name"),
    ],
)
def test_a_refusal_says_what_is_wrong(service: Service, what: object, said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        what(service)  # type: ignore[operator]


def test_a_pool_that_nothing_uses_goes_with_its_queues(service: Service) -> None:
    service.pools.put(Pool("gpu"))
    service.pools.put_queue(Queue("gpu", "a"))
    assert service.pools.delete("gpu")
    assert not service.pools.delete("gpu")
    assert service.pools.queues("gpu") == []
    assert "gpu" not in [pool.name for pool in service.pools.all()]


def test_a_pool_or_queue_that_a_deployment_names_stays(service: Service) -> None:
    service.pools.put(Pool("gpu"))
    service.deployments.apply(DeploymentRow("", "etl", "daily", pool="gpu", queue="late"))
    for delete in (lambda: service.pools.delete("gpu"), lambda: service.pools.delete_queue("gpu", "late")):
        with pytest.raises(ServiceError, match="1 deployment names it"):
            delete()
    service.deployments.delete("etl/daily")
    assert service.pools.delete_queue("gpu", "late")
    assert service.pools.delete("gpu")


def test_a_pool_with_work_stays(service: Service) -> None:
    """The deployment has moved, and an agent of the old pool has its order."""
    service.pools.put(Pool("gpu"))
    service.deployments.apply(DeploymentRow("", "etl", "daily", pool="gpu"))
    run = service.orders.add([NewOrder("etl/daily")])[0].run
    agent(service, pool="gpu")
    assert [claim.order.run for claim in service.claims.claim("one", 1)] == [run]
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    with pytest.raises(ServiceError, match="1 of its runs is not done"):
        service.pools.delete("gpu")
    assert service.orders.cancel(run)
    assert service.pools.delete("gpu")


def test_projects(service: Service) -> None:
    service.deployments.put_project(ProjectRow("research", "papers"))
    service.deployments.put_project(ProjectRow("research", "more papers"))
    (project,) = service.deployments.projects()
    assert (project.name, project.description) == ("research", "more papers")
    assert project.created
    service.deployments.apply(DeploymentRow("", "etl", "daily", project="research"))
    with pytest.raises(ServiceError, match="no project 'reserch'; did you mean 'research'"):
        service.deployments.apply(DeploymentRow("", "etl", "daily", project="reserch"))
    with pytest.raises(ServiceError, match="'research' has 1 deployment;"):
        service.deployments.delete_project("research")
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    assert service.deployments.delete_project("research")
    assert not service.deployments.delete_project("research")
