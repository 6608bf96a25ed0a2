"""Constants of cached maps: hashed once on each worker, by the keys of plain calls, and let go."""

from __future__ import annotations

import gc
import os
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import cache_policies, flow, task, task_input_hash, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Place

pytestmark = pytest.mark.sampled(4, "pools of each runner")
WAIT = 30.0


class Counted:
    """Notes in which process it is pickled, which is what hashing it does."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def __reduce__(self) -> tuple[Any, ...]:
        with self.notes.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        return (Counted, (self.notes,))


@task(cache_policy=cache_policies.INPUTS)
def by_policy(x: int, table: Any) -> tuple[int, int]:
    return x, os.getpid()


@task(cache_key_fn=task_input_hash)
def by_function(x: int, table: Any) -> tuple[int, int]:
    return x, os.getpid()


@task(cache_policy=cache_policies.INPUTS)
async def by_coroutine(x: int, table: Any) -> tuple[int, int]:
    return x, os.getpid()


@pytest.mark.parametrize("work", [by_policy, by_function, by_coroutine], ids=lambda work: work.name)
def test_a_constant_is_hashed_once_on_each_worker(both: Place, work: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    futures = work.map(range(40), table=unmapped(Counted(notes)), chunk=5)
    workers = {pid for _, pid in futures.result(WAIT)}
    pickled = Counter(map(int, notes.read_text(encoding="utf-8").split()))
    hashed = {pid: count for pid, count in pickled.items() if pid in workers}  # the driver's is for the way there
    assert hashed == dict.fromkeys(workers, 1)


@pytest.mark.parametrize("work", [by_policy, by_function], ids=lambda work: work.name)
def test_a_map_and_a_plain_call_have_the_same_keys(both: Place, work: Any, tmp_path: Path) -> None:
    table = {"notes": Counted(tmp_path / "notes"), "rows": [1, 2]}
    work = work.with_options()  # a task's store is that of the session it was first used in
    mapped = work.map([1, 2], unmapped(table))
    values = mapped.result(WAIT)
    again = [work(x, table, return_state=True) for x in (1, 2)]
    assert [state.name for state in again] == ["Cached", "Cached"]
    assert [state.result() for state in again] == values
    first = work(3, {"rows": [], **table})
    assert work.map([3], unmapped({"rows": [], **table})).result(WAIT) == [first]


def test_a_new_map_hashes_anew(threads: Place) -> None:
    """A constant that was changed between two maps is another input."""
    runs: list[int] = []

    @task(cache_policy=cache_policies.INPUTS)
    def count(x: int, table: list[int]) -> int:
        runs.append(x)
        return len(table)

    table = [1]
    assert count.map([0], unmapped(table)).result(WAIT) == [1]
    table.append(2)
    assert count.map([0], unmapped(table)).result(WAIT) == [2]


def test_flow_parameters_are_hashed_once(threads: Place, tmp_path: Path) -> None:
    @task(cache_policy=cache_policies.FLOW_PARAMETERS + cache_policies.INPUTS)
    def work(x: int) -> int:
        return x

    @flow
    def main(table: Any) -> list[int]:
        found: list[int] = work.map(range(10), chunk=2).result(WAIT)
        return found

    notes = tmp_path / "notes"
    assert main(Counted(notes)) == list(range(10))
    assert len(notes.read_text(encoding="utf-8").split()) == 1


class Weighty:
    """Can be looked at weakly, which a list cannot."""


def gone(dead: Callable[[], object], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while dead() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.02)
    return dead() is None


def test_a_hashed_constant_goes_with_what_workers_know_of_its_map(threads: Place) -> None:
    @flow
    def main() -> weakref.ref[Weighty]:
        constant = Weighty()
        assert len(by_policy.map(range(4), unmapped([constant])).result(WAIT)) == 4
        return weakref.ref(constant)

    assert gone(main())
