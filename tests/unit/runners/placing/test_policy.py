"""Which worker gets which chunk: two each, taken back where another one is idle or the first one waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.runners.placing.jobs import Job
from anabranch.runners.placing.policy import ChunkScheduler

GPU = (("GPU", 1.0),)


@dataclass(eq=False)
class Worker:
    name: str
    kind: Any = ()
    ready: bool = True
    retiring: bool = False
    waiting: bool = False
    jobs: dict[int, Any] = field(default_factory=dict)
    sent: set[int] = field(default_factory=set)


Scheduler = ChunkScheduler[Job[Worker], Worker]


def job(number: int, **given: Any) -> Job[Worker]:
    return Job(number, given.pop("size", 1), b"", (), **given)


def crew(count: int) -> list[Worker]:
    return [Worker(f"w{n}") for n in range(count)]


def scheduler(*jobs: Job[Worker], **offers: float) -> Scheduler:
    made: Scheduler = ChunkScheduler(dict(offers))
    for one in jobs:
        made.push(one)
    return made


def give(policy: Scheduler, workers: list[Worker], size: int = 99) -> list[tuple[str, int]]:
    return [(worker.name, job.id) for worker, job in policy.give_out(workers, size)]


# -- giving out --------------------------------------------------------------------------------------


def test_idle_workers_come_first_then_each_gets_a_second_chunk() -> None:
    policy, workers = scheduler(*map(job, range(1, 7))), crew(2)
    assert give(policy, workers) == [("w0", 1), ("w1", 2), ("w0", 3), ("w1", 4)]
    policy.end(policy.jobs[1])
    assert give(policy, workers) == [("w0", 5)]


def test_priority_goes_before_order() -> None:
    policy = scheduler(job(1), job(2, priority=5), job(3), job(4, priority=5))
    assert [number for _, number in give(policy, crew(2))] == [2, 4, 1, 3]


def test_no_more_workers_are_busy_than_there_is_room_for() -> None:
    policy, workers = scheduler(*map(job, range(1, 6))), crew(3)
    assert give(policy, workers, size=1) == [("w0", 1), ("w0", 2)]


@pytest.mark.parametrize("unfit", [{"ready": False}, {"retiring": True}, {"waiting": True}])
def test_workers_that_are_not_up_or_leave_or_wait_get_nothing(unfit: dict[str, bool]) -> None:
    policy = scheduler(job(1))
    assert give(policy, [Worker("w0", **unfit)]) == []
    assert give(policy, [Worker("w0", **unfit), Worker("w1")]) == [("w1", 1)]


def test_chunks_with_resources_wait_for_them_and_for_an_idle_worker() -> None:
    policy = scheduler(job(1, resources={"cpus": 2.0}), job(2, resources={"cpus": 2.0}), job(3), cpus=3.0)
    workers = crew(3)
    assert give(policy, workers) == [("w0", 1), ("w1", 3)]
    policy.end(policy.jobs[3])
    assert give(policy, workers) == []
    policy.end(policy.jobs[1])
    assert give(policy, workers) == [("w0", 2)]


def test_more_of_a_resource_lets_a_chunk_go() -> None:
    policy, workers = scheduler(job(1, resources={"cpus": 2.0}), cpus=1.0), crew(1)
    assert give(policy, workers) == []
    policy.grow({"cpus": 1.0})
    assert give(policy, workers) == [("w0", 1)]


def test_workers_that_reserve_something_take_one_chunk_of_their_kind_at_a_time() -> None:
    policy = scheduler(job(1, kind=GPU), job(2, kind=GPU), job(3))
    workers = [Worker("gpu", kind=GPU), Worker("w0")]
    assert sorted(give(policy, workers)) == [("gpu", 1), ("w0", 3)]
    assert give(policy, workers) == []
    policy.end(policy.jobs[1])
    assert give(policy, workers) == [("gpu", 2)]


# -- coming back -------------------------------------------------------------------------------------


def test_second_chunks_of_busy_workers_are_for_idle_ones() -> None:
    policy, workers = scheduler(*map(job, range(1, 5))), crew(4)
    give(policy, workers[:2])
    assert policy.crowded(workers, 4) == workers[:2]
    assert policy.crowded(workers, 3) == workers[:1]
    assert policy.crowded(workers[:2], 4) == []
    workers[3].retiring = True
    assert policy.crowded(workers, 4) == workers[:1]


def test_what_comes_back_keeps_its_place_in_the_queue_and_its_resources() -> None:
    policy, workers = scheduler(*map(job, range(1, 4)), cpus=1.0), crew(2)
    give(policy, workers[:1])
    policy.came_back(policy.jobs[2])
    assert (policy.jobs[2].worker, list(workers[0].jobs)) == (None, [1])
    assert give(policy, workers[1:]) == [("w1", 2), ("w1", 3)]


def test_a_chunk_that_ended_while_it_was_queued_is_not_given_out() -> None:
    policy = scheduler(job(1), job(2))
    assert policy.end(policy.jobs[1]) is None
    assert give(policy, crew(1)) == [("w0", 2)]


# -- what callers ask for ----------------------------------------------------------------------------


def test_shortening_is_news_once() -> None:
    policy = scheduler(job(1, size=10))
    found = policy.shorten(1, 5)
    assert found is not None
    assert not found.nothing_left
    assert policy.shorten(1, 5) is policy.shorten(1, 7) is policy.shorten(2, 0) is None
    found = policy.shorten(1, 0)
    assert found is not None
    assert found.nothing_left


def test_cancelling_adds_up() -> None:
    policy = scheduler(job(1, size=3))
    for positions, left in [((0, 1), True), ((1,), True), ((2,), False)]:
        found = policy.cancel(1, positions)
        assert found is not None
        assert found.nothing_left is not left
    assert policy.cancel(7, None) is None
    everything = scheduler(job(1, size=3)).cancel(1, None)
    assert everything is not None
    assert everything.nothing_left


def test_a_worker_that_waits_lends_its_resources_and_gets_nothing() -> None:
    policy = scheduler(job(1, resources={"cpus": 1.0}), job(2, resources={"cpus": 1.0}), cpus=1.0)
    workers = crew(2)
    assert give(policy, workers) == [("w0", 1)]
    assert policy.blocked(1, 1) is workers[0]
    assert policy.blocked(1, 1) is None  # another item of it: it is one worker all the same
    assert workers[0].waiting
    assert give(policy, workers) == [("w1", 2)]
    assert policy.blocked(1, -1) is None
    assert policy.blocked(1, -1) is workers[0]
    assert not workers[0].waiting
    assert policy.blocked(9, 1) is None


def test_a_waiting_chunk_that_ends_gives_its_resources_back_once() -> None:
    policy = scheduler(job(1, resources={"cpus": 1.0}), *(job(n, resources={"cpus": 1.0}) for n in (2, 3)), cpus=1.0)
    workers = crew(3)
    give(policy, workers)
    policy.blocked(1, 1)
    assert policy.end(policy.jobs[1]) is workers[0]
    assert not workers[0].waiting
    assert give(policy, workers) == [("w0", 2)]


def test_shared_values_are_dropped_with_the_last_chunk_that_names_them() -> None:
    first, second = job(1), job(2)
    first.shared, second.shared = (7, 8), (8,)
    policy = scheduler(first, second)
    policy.dropping |= {7, 8, 9}
    assert policy.drop_unneeded() == {9}
    policy.end(first)
    assert policy.drop_unneeded() == {7}
    policy.end(second)
    assert policy.drop_unneeded() == {8}
    assert policy.dropping == set()


# -- in any order ------------------------------------------------------------------------------------

KINDS = st.sampled_from(["push", "end", "back", "block", "unblock"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 99)), max_size=80)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_whatever_happens_all_chunks_run_and_nothing_is_counted_twice(steps: list[tuple[str, int]], size: int) -> None:
    policy, workers = scheduler(cpus=2.0), crew(4)
    made = 0
    for what, number in steps:
        placed = [one for one in policy.jobs.values() if one.worker is not None]
        one = placed[number % len(placed)] if placed else None
        if what == "push":
            made += 1
            policy.push(job(made, resources={"cpus": 1.0} if number % 3 == 0 else {}, priority=number % 2))
        elif one is not None and one.worker is not None:
            runs = next(iter(one.worker.jobs)) == one.id
            if what == "end":
                policy.end(one)
            elif what == "back" and not runs:
                policy.came_back(one)
            elif what in ("block", "unblock") and runs:
                policy.blocked(one.id, 1 if what == "block" else -1)
        give(policy, workers, size)
        assert all(len(worker.jobs) <= 2 for worker in workers)
    for one in list(policy.jobs.values()):
        while one.waiting:
            policy.blocked(one.id, -1)
    for _ in range(made + 1):
        give(policy, workers, size)
        for one in [one for one in policy.jobs.values() if one.worker is not None]:
            policy.end(one)
    assert policy.jobs == {}
    assert all(not (worker.jobs or worker.waiting) for worker in workers)
    policy.push(job(made + 1, resources={"cpus": 2.0}))  # all of it is free again
    assert len(give(policy, workers, size)) == 1
