"""Traps of Prefect that anabranch does not have, of workers: what travels to them, and what of those that die.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import cache_policies, flow, task
from anabranch.core.errors import AnabranchError, CrashedRun
from tests.acceptance.gates import SOON

if TYPE_CHECKING:

    from tests.acceptance.conftest import Marks

@task
def same(x: Any) -> Any:
    return x


# -- dead workers ------------------------------------------------------------------------------------


def test_a_dead_worker_is_a_state(apart: str) -> None:
    """#21638, #12968: `wait` swallowed the loss of a worker, and the run's state stayed Running for ever."""
    lost = task(crash_retries=0)(lambda: os._exit(1)).submit()
    ended = lost.wait(timeout=SOON)
    assert ended.is_crashed()
    with pytest.raises(CrashedRun):
        lost.result()
    assert same.submit(1).result() == 1  # section 2.3: a killed child broke the whole pool


def test_completed_work_is_not_done_again(apart: str, marks: Marks) -> None:
    """#15442, #12970: when a worker died, tasks that had completed ran again."""

    @task
    def told(x: int) -> int:
        marks.add(x)
        return x

    done = told.map(range(20))
    done.wait()
    assert task(crash_retries=0)(lambda: os._exit(1)).submit().wait(timeout=SOON).is_crashed()
    assert same.submit(1).result() == 1  # whatever would be made again could have been by now
    assert done.result() == list(range(20))
    assert len(marks.read()) == 20


# -- what travels ------------------------------------------------------------------------------------


class Unpicklable:
    """Pickles, and cannot be unpickled again."""

    def __reduce__(self) -> Any:
        return (_fails_to_load, ())


def _fails_to_load() -> None:
    raise RuntimeError("cannot be rebuilt")


def test_a_value_that_cannot_be_unpickled_is_an_error(apart: str) -> None:
    """#21610: the runner hung when a result could not be unpickled."""
    future = task(lambda: Unpicklable()).submit()
    with pytest.raises(Exception, match="cannot be rebuilt"):
        future.result(timeout=SOON)


def test_a_generator_that_cannot_travel_is_left_alone(apart: str) -> None:
    """Row 23: an error says that it cannot be sent; what it holds is still there."""
    given = (x for x in range(4))
    with pytest.raises(AnabranchError, match="generator"):
        task(sum).submit(given).result(timeout=SOON)
    assert list(given) == [0, 1, 2, 3]


def test_flow_parameters_do_not_travel(apart: str) -> None:
    """Section 2.4: each task carried its flow's parameters along; here they need not even be picklable."""

    @flow(validate_parameters=False)
    def main(lock: Any) -> Any:
        return same.map([1, 2, 3]), same.submit(4)

    assert main(threading.Lock()) == ([1, 2, 3], 4)


def test_futures_in_wait_for_reach_other_processes(apart: str, marks: Marks) -> None:
    """#19113: futures in `wait_for` could not be pickled."""
    told = task(marks.add)
    first = told.submit("first")
    assert told.submit("second", wait_for={"any": [first]}).wait().is_completed()
    assert marks.read() == ["first", "second"]


class Lock:
    """Travels, and arrives as a lock, which nobody can pickle or hash."""

    def __reduce__(self) -> Any:
        return threading.Lock, ()


def test_what_cannot_be_hashed_where_it_arrives(apart: str, caplog: pytest.LogCaptureFixture) -> None:
    """Row 44: the run goes on without a cache, and says so."""
    cached = task(cache_policy=cache_policies.INPUTS)(lambda lock: type(lock).__name__)
    assert flow(name="main")(lambda: cached.submit(Lock()))() == "lock"
    assert "not cached" in caplog.text  # a flow ends after the lines of its tasks
