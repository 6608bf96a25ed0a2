"""Caches and resumed runs tell tasks apart by what they compute with; what cannot be told apart is not cached."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import cache_policies as policies
from anabranch import flow, task
from anabranch import session as sessions
from anabranch.core.errors import CodeChanged
from anabranch.core.policies import task_input_hash
from tests.acceptance.resuming import Ledger, fails

if TYPE_CHECKING:
    from pathlib import Path

POLICIES: dict[str, dict[str, Any]] = {
    "INPUTS": {"cache_policy": policies.INPUTS},
    "INPUTS + TASK_SOURCE": {"cache_policy": policies.INPUTS + policies.TASK_SOURCE},
    "DEFAULT": {"cache_policy": policies.DEFAULT},
    "TASK_SOURCE": {"cache_policy": policies.TASK_SOURCE},
    "RUN_ID": {"cache_policy": policies.RUN_ID},
    "task_input_hash": {"cache_key_fn": task_input_hash},
}
RATE = 2


class Model:
    def __init__(self, k: int) -> None:
        self.k = k

    def predict(self, x: int) -> int:
        return x * self.k

    def __call__(self, x: int) -> int:
        return x * self.k


class Shop:
    rate = 2

    @classmethod
    def price(cls, x: int) -> int:
        return x * cls.rate


class Dear(Shop):
    rate = 3


def times(k: int, x: int) -> int:
    return k * x


def closure(k: int) -> Any:
    def work(x: int) -> int:
        return x * k

    return work


def default(k: int) -> Any:
    def work(x: int, times: int = k) -> int:
        return x * times

    return work


def wrapped(k: int) -> Any:
    def inner(x: int) -> int:
        return x

    @functools.wraps(inner)
    def work(x: int) -> int:
        return inner(x) * k

    return work


def by_global(k: int) -> Any:
    space = {"k": k}
    exec("def work(x): return x * k", space)
    return space["work"]


PAIRS: dict[str, Any] = {
    "methods": lambda: [Model(k).predict for k in (2, 3)],
    "class methods": lambda: [Shop.price, Dear.price],
    "callable objects": lambda: [Model(k) for k in (2, 3)],
    "partials": lambda: [functools.partial(times, k) for k in (2, 3)],
    "closures": lambda: [closure(k) for k in (2, 3)],
    "defaults": lambda: [default(k) for k in (2, 3)],
    "wrappers": lambda: [wrapped(k) for k in (2, 3)],
    "globals": lambda: [by_global(k) for k in (2, 3)],
    "code": lambda: [lambda x: x * 2, lambda x: x * 3],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", PAIRS)
def test_two_of_one_name(concurrent: str, kind: str, policy: str) -> None:
    two, three = (task(name=f"{concurrent} {kind} {policy}", **POLICIES[policy])(fn) for fn in PAIRS[kind]())

    @flow
    def main() -> Any:
        return [
            [work.submit(5).result() for work in (two, three)],
            [work.map([6]).result() for work in (two, three)],
            [work(7) for work in (two, three)],
            two.submit(5, return_state=True).name,
        ]

    blind = policy in ("TASK_SOURCE", "RUN_ID")  # the arguments do not count
    expected = [[10, 15], [[10], [15]], [10, 15]] if blind else [[10, 15], [[12], [18]], [14, 21]]
    assert main() == [*expected, "Cached"]


def test_two_tasks_on_workers_elsewhere(apart: str) -> None:
    """What the driver and the workers take a task for is the same: a hit wherever it was computed."""
    for kind in PAIRS:
        two, three = (task(name=f"{apart} {kind}", cache_policy=policies.INPUTS)(fn) for fn in PAIRS[kind]())
        assert (two(5), three(5)) == (10, 15)

        @flow
        def main(*works: Any) -> Any:
            states = [[w.submit(5, return_state=True), *w.map([5], return_state=True)] for w in works]
            return [(state.name, state.result()) for both in states for state in both]

        assert main(two, three) == [("Cached", 10)] * 2 + [("Cached", 15)] * 2, kind


class Box:
    def __init__(self, k: int) -> None:
        self.k = k

    def helps(self) -> int:
        return self.k

    @task(cache_policy=policies.INPUTS)
    def tells(self, x: int) -> int:
        return x * self.helps()


def test_methods_that_are_tasks(concurrent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`self` counts, with what its class does."""

    @flow
    def main() -> Any:
        return [found for k in (2, 3) for found in (Box(k).tells(5), Box(k).tells.submit(5).result())]

    assert main() == [10, 10, 15, 15]
    monkeypatch.setattr(Box, "helps", lambda self: 100)
    assert main() == [500] * 4


@task(cache_policy=policies.INPUTS)
def apply(fn: Any, x: int) -> Any:
    return fn(x)


def rated(x: int) -> int:
    return x * RATE


def test_functions_as_arguments(concurrent: str) -> None:
    cell: dict[str, Any] = {}
    exec("def rated(x): return x * rate", cell)

    @flow
    def main() -> Any:
        found = [apply.submit(fn, 5).result() for kind in PAIRS for fn in PAIRS[kind]()]
        for cell["rate"] in (2, 3):
            found.append(apply.submit(cell["rated"], 5).result())
        return found

    assert main() == [10, 15] * (len(PAIRS) + 1)


def test_changed_globals(concurrent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = task(name=f"changed {concurrent}", cache_policy=policies.INPUTS)(rated)

    @flow
    def main() -> Any:
        found = []
        for rate in (2, 3, 2):
            monkeypatch.setitem(globals(), "RATE", rate)
            state = work.submit(5).wait()
            found.append((state.name, state.result()))
        return found

    assert main() == [("Completed", 10), ("Completed", 15), ("Cached", 10)]


def test_logs_and_locks_are_no_part_of_a_task(threads: str) -> None:
    runs: list[int] = []
    lock, told = threading.Lock(), threading.Event()

    @task(cache_policy=policies.INPUTS)
    def work(x: int) -> int:
        told.set()
        with lock:
            runs.append(x)
            return x

    assert [work.submit(5, return_state=True).name for _ in range(3)] == ["Completed", "Cached", "Cached"]
    assert runs == [5]


@pytest.mark.parametrize("how", ["submit", "map", "call"])
def test_what_cannot_be_told_apart_is_not_cached(
    threads: str, how: str, marks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    held = (n for n in range(10))

    @task(cache_policy=policies.INPUTS, name=f"holds a generator {how}")
    def work(x: int) -> int:
        marks.add(x)
        return x + 0 * next(held)

    ways = {"submit": lambda: work.submit(5).result(), "map": lambda: work.map([5]).result(), "call": lambda: work(5)}
    flow(name="main")(lambda: [ways[how]() for _ in range(3)] and None)()
    assert marks.read() == ["5"] * 3
    told = [record.getMessage() for record in caplog.records if "not cached" in record.getMessage()]
    assert len(told) == 1
    assert "work.__closure__['held']" in told[0]
    assert "cache_key_fn" in told[0]


# -- resumed runs ----------------------------------------------------------------------------------


@pytest.fixture
def helpers(tmp_path: Path) -> dict[str, Any]:
    """A module like a notebook's, whose cells are run again."""
    return {"__name__": "cell", "ran": Ledger(tmp_path)}


CELL = """
n = {n}
class Kind:
    def helps(self, x): return x * {helps}
    def tells(self, x):
        ran.note("tells")
        return self.helps(x) + n
def work(x):
    ran.note("work")
    return Kind().helps(x) + n
"""


@pytest.mark.parametrize("how", ["submit", "map"])
@pytest.mark.parametrize("name", ["work", "Kind.tells"])
def test_changed_helpers_are_asked_about(threads: str, ran: Ledger, helpers: Any, name: str, how: str) -> None:
    @flow(resumable=True)
    def main() -> Any:
        fn = helpers["work"] if name == "work" else helpers["Kind"]().tells
        made = task(name="made")(fn)
        found = made.map([5]).result() if how == "map" else [made.submit(5).result()]
        if not ran.mended:
            raise ValueError("not yet")
        return found

    exec(CELL.format(n=1, helps=1), helpers)
    run = fails(main)
    ran.take()
    ran.mend()
    exec(CELL.format(n=1, helps=2), helpers)
    with pytest.raises(CodeChanged, match="task 'made' has changed"):
        main.resume(run)
    assert ran.take() == []
    assert main.resume(run, changed="rerun") == [11]
    assert len(ran.take()) == 1


@pytest.mark.parametrize("how", ["submit", "map"])
def test_other_values_in_what_it_reads_are_asked_about(threads: str, ran: Ledger, helpers: Any, how: str) -> None:
    @flow(resumable=True)
    def main() -> Any:
        made = task(name="made")(helpers["work"])
        found = made.map([5]).result() if how == "map" else [made.submit(5).result()]
        if not ran.mended:
            raise ValueError("not yet")
        return found

    exec(CELL.format(n=1, helps=1), helpers)
    same, kept, rerun = fails(main), fails(main), fails(main)
    ran.take()
    ran.mend()
    assert main.resume(same) == [6]
    exec(CELL.format(n=2, helps=1), helpers)
    with pytest.raises(CodeChanged, match=r"what task 'made' reads .* has changed"):
        main.resume(kept)
    assert main.resume(kept, changed="keep") == [6]
    assert ran.take() == []
    assert main.resume(rerun, changed="rerun") == [7]
    assert ran.take() == ["work"]


def test_what_cannot_be_told_apart_runs_again(threads: str, ran: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    held = (n for n in range(10))

    @task
    def work(x: int) -> int:
        ran.note(x)
        return x + 0 * next(held)

    @flow(resumable=True)
    def main() -> Any:
        found = work.map([1, 2]).result()
        if not ran.mended:
            raise ValueError("not yet")
        return found

    run = fails(main)
    assert ran.take() == ["1", "2"]
    ran.mend()
    assert main.resume(run) == [1, 2]
    assert ran.take() == ["1", "2"]
    told = [record.getMessage() for record in caplog.records]
    assert any("runs again if the flow is resumed" in text and "held" in text for text in told)
    assert sessions.current().records.flow_run(run) is not None
