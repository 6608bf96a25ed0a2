"""What any service does with deployments and their revisions."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch.core.deployments import DeploymentRow, ScheduleRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Agent, NewOrder, Pool, Queue
from tests.contract.services import NOW, Place, place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["place", "service"]

DAILY = DeploymentRow(
    "", "etl", "daily", labels=("gpu", "x86"), tags=("nightly",), slots=2, collision="cancel_new", recover="restart",
    expire_after=60.5, document={"entrypoint": "flows.py:etl", "parameters": {"size": [1, None, "ü\n"]}},
)  # fmt: skip


def test_a_deployment_comes_back_as_it_was_applied(place: Place, service: Service) -> None:
    made = service.deployments.apply(DAILY)
    assert made.id
    assert made == replace(
        DAILY, id=made.id, revision=1, content_hash=made.content_hash, created=place.clock.time(),
        updated=place.clock.time(),
    )  # fmt: skip
    other = place.opened()
    assert other.deployments.find(made.id) == other.deployments.find("etl/daily") == made
    assert other.deployments.all() == [made]
    assert (service.deployments.find("etl"), service.deployments.find("etl/none")) == (None, None)


def test_the_revision_grows_with_what_the_deployment_says(place: Place, service: Service) -> None:
    first = service.deployments.apply(DAILY, by="ann")
    place.clock.advance(5)
    assert service.deployments.apply(DAILY) == first
    changed = service.deployments.apply(replace(DAILY, document={"entrypoint": "new.py:etl"}), by="bob")
    assert (changed.id, changed.revision, changed.created, changed.updated) == (first.id, 2, NOW, NOW + 5)
    assert service.deployments.apply(replace(DAILY, document=changed.document, labels=())).revision == 3
    assert [(row.revision, row.document, row.by, row.at) for row in service.deployments.revisions("etl/daily")] == [
        (3, changed.document, "", NOW + 5),
        (2, changed.document, "bob", NOW + 5),
        (1, DAILY.document, "ann", NOW),
    ]


def test_with_an_idempotency_key_the_revision_grows_with_the_key_alone(service: Service) -> None:
    first = service.deployments.apply(replace(DAILY, idempotency_key="commit 1"))
    other = replace(DAILY, document={}, idempotency_key="commit 1")
    assert service.deployments.apply(other) == first
    assert service.deployments.apply(replace(DAILY, idempotency_key="commit 2")).revision == 2
    assert service.deployments.apply(replace(DAILY, idempotency_key="commit 2")).revision == 2


def test_a_revision_may_be_asked_for(service: Service) -> None:
    service.deployments.apply(DAILY)
    assert service.deployments.apply(DAILY, always=True).revision == 2
    assert len(service.deployments.revisions("etl/daily")) == 2


def test_two_deployments_of_one_flow_are_two(service: Service) -> None:
    daily = service.deployments.apply(DAILY)
    weekly = service.deployments.apply(replace(DAILY, name="weekly"))
    assert daily.id != weekly.id
    assert weekly.revision == 1


def test_pages_follow_one_another_by_flow_and_name(service: Service) -> None:
    names = [("a", "z"), ("a/b", "a"), ("b", "a"), ("b", "b"), ("b-c", "a")]
    for flow, name in reversed(names):
        service.deployments.apply(DeploymentRow("", flow, name))
    found: list[tuple[str, str]] = []
    while page := service.deployments.all(after="/".join(found[-1]) if found else "", limit=2):
        assert len(page) <= 2
        found += [(row.flow, row.name) for row in page]
    assert found == names
    assert [row.name for row in service.deployments.all(flow="b")] == ["a", "b"]
    found_one = service.deployments.find("a/b/a")
    assert found_one is not None
    assert (found_one.flow, found_one.name) == ("a/b", "a")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(DAILY, pool="defualt"), "no pool 'defualt'; did you mean 'default'.*pool create defualt"),
        (replace(DAILY, project="etl"), "no project 'etl'.*project create etl"),
        (replace(DAILY, name="a/b"), "has a / in its name"),
        (replace(DAILY, name=" "), "needs the name of its deployment"),
        (replace(DAILY, slots=0), "slots of the deployment etl/daily must be 1 or more"),
    ],
)
def test_a_refused_deployment_leaves_nothing(service: Service, wrong: DeploymentRow, said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        service.deployments.apply(wrong, [ScheduleRow("", "", "a", {"cron": "* * * * *"})])
    assert service.deployments.all() == []
    assert service.schedules.all() == []


def test_a_queue_is_made_when_a_deployment_names_it(service: Service) -> None:
    service.pools.put_queue(Queue("default", "slow", 9))
    service.deployments.apply(replace(DAILY, queue="slow"))
    service.deployments.apply(replace(DAILY, name="other", queue="quick"))
    assert service.pools.queues("default")[1:] == [Queue("default", "quick"), Queue("default", "slow", 9)]


def test_what_a_person_has_paused_stays_paused(service: Service) -> None:
    service.deployments.apply(DAILY)
    assert service.deployments.pause("etl/daily", True)
    assert service.deployments.apply(replace(DAILY, tags=())).paused
    assert service.deployments.pause("etl/daily", False)
    found = service.deployments.find("etl/daily")
    assert found is not None
    assert not found.paused
    assert not service.deployments.pause("etl/none", True)


def test_a_deployment_goes_with_its_schedules_and_revisions(service: Service) -> None:
    made = service.deployments.apply(DAILY, [ScheduleRow("", "", "a", {"cron": "* * * * *"}, next_tick=NOW)])
    assert service.deployments.delete("etl/daily")
    assert not service.deployments.delete("etl/daily")
    assert service.deployments.find(made.id) is None
    assert service.schedules.all() == service.schedules.due(NOW + 99) == []
    assert service.deployments.revisions(made.id) == []
    again = service.deployments.apply(DAILY)
    assert again.revision == 1
    assert again.id != made.id


def test_waiting_runs_of_a_deleted_deployment_are_cancelled(place: Place, service: Service) -> None:
    """Those of other deployments, and of the same one in the pool that it had before, as well."""
    service.pools.put(Pool("gpu"))
    service.deployments.apply(replace(DAILY, name="other"))
    service.deployments.apply(DAILY)
    runs = [ordered.run for ordered in service.orders.add([NewOrder("etl/daily"), NewOrder("etl/other")])]
    service.deployments.apply(replace(DAILY, pool="gpu"))
    runs += [ordered.run for ordered in service.orders.add([NewOrder("etl/daily")])]
    service.deployments.delete("etl/daily")
    assert [order.run for order in service.orders.all()] == [runs[1]]
    states = {row.id: row.state_name for row in place.records.flow_runs()}
    assert [states[run] for run in (runs[0], runs[2])] == ["Cancelled"] * 2


def test_many_who_apply_at_once_make_one_deployment_and_a_revision_for_each_change(place: Place) -> None:
    """Six threads with services of their own, two of them with the same document."""
    barrier = threading.Barrier(6)
    failed: list[BaseException] = []

    def apply(service: Service, n: int) -> None:
        try:
            barrier.wait(30)
            service.deployments.apply(replace(DAILY, document={"n": n}))
        except BaseException as error:
            failed.append(error)

    services = [place.opened() for _ in range(6)]
    threads = [threading.Thread(target=apply, args=(each, n // 2)) for n, each in enumerate(services)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    (found,) = services[0].deployments.all()
    revisions = services[0].deployments.revisions(found.id)
    assert [row.revision for row in revisions] == list(range(found.revision, 0, -1))
    assert 3 <= found.revision <= 6
    assert revisions[0].document == found.document
    documents = [row.document["n"] for row in revisions]
    assert all(one != next_one for one, next_one in itertools.pairwise(documents))
    assert set(documents) == {0, 1, 2}


def test_a_revision_that_is_made_always_is_made_once_though_its_answer_is_lost(service: Service) -> None:
    """The request comes again with the revision that its sender had seen."""
    assert service.deployments.apply(DAILY, always=True, after=0).revision == 1
    assert service.deployments.apply(DAILY, always=True, after=0).revision == 1
    assert service.deployments.apply(DAILY, always=True, after=1).revision == 2
    assert service.deployments.apply(DAILY, always=True, after=1).revision == 2
    changed = replace(DAILY, document={"entrypoint": "new.py:etl"})
    assert service.deployments.apply(changed, always=True, after=1).revision == 3  # what was made since is another
    assert service.deployments.apply(changed, always=True).revision == 4
    assert [row.revision for row in service.deployments.revisions("etl/daily")] == [4, 3, 2, 1]


def test_orders_that_wait_go_with_their_deployment_to_another_pool(place: Place, service: Service) -> None:
    for pool in ("small", "big"):
        service.pools.put(Pool(pool))
    service.pools.put_queue(Queue("small", "own"))
    service.pools.put_queue(Queue("small", "lonely"))
    service.pools.put_queue(Queue("big", "own"))
    small = replace(DAILY, pool="small", queue="day", labels=(), slots=1, collision="enqueue")
    service.deployments.apply(small)
    wanted = [NewOrder("etl/daily", queue=queue, priority=9 - n) for n, queue in enumerate(("", "", "own", "lonely"))]
    service.pools.put_queue(Queue("small", "day", priority=1))
    first, *runs = [one.run for one in service.orders.add(wanted)]
    service.claims.join(Agent("old", "old", "small", capacity=9))
    service.claims.join(Agent("new", "new", "big", capacity=9))
    assert [one.order.run for one in service.claims.claim("old", 1)] == [first]
    service.deployments.apply(replace(small, pool="big", queue="night"))
    found = [service.orders.find(run) for run in (first, *runs)]
    assert [(one.pool, one.queue) for one in found if one] == [
        ("small", "day"), ("big", "night"), ("big", "own"), ("big", "night"),
    ]  # fmt: skip
    assert service.claims.claim("old", 9) == []
    assert service.claims.claim("new", 9) == []  # its one slot is held in the pool that it has left
    service.claims.leave("old")  # the claim goes back into the pool that it was in, until the next deployment
    assert service.deployments.apply(replace(small, pool="big", queue="night")).revision == 2
    assert [one.order.run for one in service.claims.claim("new", 9)] == [first]
