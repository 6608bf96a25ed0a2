"""Limits within a program, resources that cannot be had, and flows that are submitted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, flow, set_tag_limit, settings, tags, task
from anabranch import session as sessions
from anabranch.core.errors import OptionError, ResourceError
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[sessions.Session]:
    chosen = settings.load({}, home=tmp_path, runner=ThreadRunner(max_workers=4), progress=False)
    made = sessions.Session(chosen, records=MemoryRecords())
    before = sessions.use(made)
    yield made
    sessions.use(before)
    made.close()


class Crowd:
    """How many are in a place at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0

    def visit(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.02)
        with self.lock:
            self.now -= 1


def test_a_tag_limit_holds_for_several_tasks() -> None:
    crowd = Crowd()
    set_tag_limit("db", 2)

    @task(tags=["db"])
    def one(x: int) -> int:
        crowd.visit()
        return x

    @task
    def other(x: int) -> int:
        crowd.visit()
        return x

    @flow
    def main() -> Any:
        with tags("db"):
            futures = [other.submit(n) for n in range(8)]
        return one.map(range(8), chunk=1).result(), [f.result() for f in futures]

    assert main() == (list(range(8)), list(range(8)))
    assert crowd.most == 2


def test_a_raised_limit_wakes_those_who_waited() -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)
    set_tag_limit("one", 1)

    @task(tags=["one"])
    def work(x: int) -> int:
        begun.release()
        gate.wait(10)
        return x

    @flow
    def main() -> Any:
        futures = work.map(range(3), chunk=1)
        assert begun.acquire(timeout=10)
        assert not begun.acquire(timeout=0.05)
        set_tag_limit("one", None)
        assert begun.acquire(timeout=10)
        gate.set()
        return futures.result()

    assert main() == [0, 1, 2]


def test_a_limit_counts_from_one() -> None:
    with pytest.raises(OptionError, match="must be greater than 0, got"):
        set_tag_limit("db", 0)


def test_a_flows_own_limit() -> None:
    crowd = Crowd()

    @flow(concurrency_limit=2)
    def child(x: int) -> int:
        crowd.visit()
        return x

    @flow
    def main() -> Any:
        return [child.submit(n) for n in range(6)]

    assert main() == list(range(6))
    assert crowd.most == 2


@pytest.mark.parametrize(("asked", "named"), [({"gpus": 1}, "gpus=1"), ({"cpus": 10_000}, "cpus=10000")])
def test_resources_that_can_never_be_had_are_an_error_at_submit(asked: dict[str, Any], named: str) -> None:
    greedy = task(lambda: 1).with_options(name="greedy", **asked)
    with pytest.raises(ResourceError, match=f"greedy.*{named}"):
        greedy.submit()
    with pytest.raises(ResourceError, match=f"greedy.*{named}"):
        task(lambda x: x).with_options(name="greedy", **asked).map([1])


def test_submitted_flows_are_futures() -> None:
    @task
    def inc(x: int) -> int:
        return x + 1

    @flow
    def child(x: int, bad: bool = False) -> int:
        if bad:
            raise ValueError("no")
        return int(inc.submit(x).result())

    @flow
    async def later(x: int) -> int:
        return int(await inc.submit(x))

    @flow
    def main() -> Any:
        first = child.submit(1)
        behind = inc.submit(first)
        bad = child.submit(1, bad=True)
        assert isinstance(bad.exception(), ValueError)
        return first, behind, later.submit(inc.submit(5)), child.submit(9, return_state=True).result()

    assert main() == (2, 3, 7, 10)


def test_a_flow_waits_for_the_flows_it_submitted_and_counts_their_failure() -> None:
    gate = threading.Event()

    @flow
    def child() -> None:
        gate.wait(10)
        raise ValueError("late")

    @flow
    def main() -> None:
        child.submit()
        threading.Timer(0.05, gate.set).start()

    with pytest.raises(ValueError, match="late"):
        main()


def test_a_cancelled_flow_takes_its_subflows_along() -> None:
    begun = threading.Event()
    never = threading.Event()

    @task
    def stuck() -> None:
        never.wait(10)

    @task
    def after(x: Any) -> None:
        """Never comes to run."""

    @flow
    def child() -> None:
        waiting = after.submit(stuck.submit())
        begun.set()
        states.append(waiting.wait(10))

    states: list[Any] = []

    @flow(on_exit="cancel")
    def main() -> str:
        child.submit()
        assert begun.wait(10)
        return "done"

    assert main() == "done"
    never.set()
    for thread in [t for t in threading.enumerate() if t.name == "anabranch-flow-child"]:
        thread.join(10)
    assert [s.name for s in states] == ["Cancelled"]
