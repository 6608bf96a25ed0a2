"""Traps of Prefect that anabranch does not have, of threads and of the driver's memory.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`. These count threads, or objects that
are still alive in this process, or need a runner with one slot; the others run on all runners.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, cache_policies, flow, task, wait
from anabranch.core.errors import RunnerError
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from anabranch.session import Session


@task
def same(x: Any) -> Any:
    return x


# -- threads and slots -------------------------------------------------------------------------------


def test_a_map_has_no_thread_per_item(fresh_session: Session) -> None:
    """#18144, section 2.2: a map of N waiting tasks made N threads."""
    gate = threading.Event()
    before = threading.active_count()
    futures = task(lambda x: gate.wait(SOON)).map(range(2000), chunk=1)
    futures.wait(timeout=0)
    singles = [same.submit(futures[0]) for _ in range(500)]
    during = threading.active_count()
    gate.set()
    wait(singles)
    assert futures.wait()[-1].is_completed()
    assert during <= before + 10


@pytest.mark.parametrize("depth", [1, 20])
def test_nested_submits_do_not_deadlock(fresh_session: Session, depth: int) -> None:
    """#17060, #14194: a task that waits for its own submits holds the only thread of the pool."""

    @task
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down.submit(n - 1).result()

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        return down.submit(depth), down.map([depth] * 3)

    assert main() == (depth, [depth] * 3)


def test_waiting_for_inputs_holds_no_slot(fresh_session: Session) -> None:
    """Section 2.2: inputs were waited for inside a worker's thread (and `wait_for` on Ray)."""
    gate = threading.Event()

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        opened = task(gate.wait).submit(SOON)
        late = [same.submit(1, wait_for=[opened]) for _ in range(5)]
        # The one slot is the first task's; were it also the waiting ones', this would run last.
        gate.set()
        return same.submit(2), late[0]

    assert main() == (2, 1)


def test_waiting_for_a_retry_holds_no_slot(fresh_session: Session) -> None:
    """Row 40: the delay before a retry was slept through in the worker's thread."""

    @task(retries=1, retry_delay_seconds=3600)
    def fails() -> None:
        raise ValueError

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> Any:
        failing = fails.submit()
        assert same.submit(1).result(timeout=SOON) == 1
        while failing.state.name != "AwaitingRetry":  # its report may be a moment behind
            same.submit(1).result(timeout=SOON)
        assert failing.cancel()
        return failing.wait().name

    assert main() == "Cancelled"


def test_a_flow_uses_the_runner_that_it_was_given(fresh_session: Session) -> None:
    """Section 2.4: the runner was duplicated at each run, and lost its cluster on the way."""
    mine = ThreadRunner(max_workers=3)
    meet = threading.Barrier(3)

    @flow(runner=mine)
    def main() -> Any:
        met = [task(meet.wait).submit(SOON) for _ in range(3)]
        return sorted(f.result() for f in met)

    assert main() == [0, 1, 2]
    assert main() == [0, 1, 2]  # a second start would be refused
    with pytest.raises(RunnerError, match="starts only once"):
        mine.start(print)


def test_inputs_that_cannot_be_hashed_do_not_stop_a_cached_task(threads: str, caplog: pytest.LogCaptureFixture) -> None:
    """Row 44: the run goes on without a cache, and says so."""
    cached = task(cache_policy=cache_policies.INPUTS)(lambda lock: "ran")
    assert flow(name="main")(lambda: cached.submit(threading.Lock()).wait().name)() == "Completed"
    assert "not cached" in caplog.text  # a flow ends after the lines of its tasks


# -- memory ------------------------------------------------------------------------------------------


class Value:
    pass


def test_values_die_with_their_future(fresh_session: Session) -> None:
    """#10338, #12668, section 2.1: results were held by futures, states and tables until the flow's end."""
    died = threading.Event()

    @task
    def make() -> Value:
        value = Value()
        weakref.finalize(value, died.set)
        return value

    @flow
    def main() -> None:
        future = make.submit()
        future.wait()
        assert not died.is_set()
        del future
        assert died.wait(SOON)  # no garbage collection is needed

    gc.disable()
    try:
        main()
    finally:
        gc.enable()


def test_arguments_die_with_their_run(fresh_session: Session) -> None:
    """#10952, #21031: parameters were kept alive by log lines, context copies and queued events."""
    died = threading.Event()

    @flow
    def main() -> None:
        value = Value()
        weakref.finalize(value, died.set)
        future = task(lambda x: None).submit(value)
        del value
        future.wait()
        assert died.wait(SOON)

    gc.disable()
    try:
        main()
    finally:
        gc.enable()


def test_nothing_is_kept_of_a_flow_run(fresh_session: Session) -> None:
    """Section 2.1: a cancel event and a dictionary's entry were kept for each task, a State for each result."""

    @flow
    def main() -> None:
        for _ in range(50):
            same.submit(1).wait()
        same.map(range(200)).wait()

    main()
    gc.collect()
    before = _alive()
    for _ in range(3):
        main()
    gc.collect()
    assert _alive() - before < 100  # of 750 runs


def _alive() -> int:
    """Objects of anabranch's own, and events, that something still holds; the record's rows are to stay."""
    kinds = [type(one) for one in gc.get_objects()]
    modules = [str(kind.__module__) for kind in kinds]
    ours = sum(name.startswith("anabranch.") and name != "anabranch.core.runs" for name in modules)
    return ours + kinds.count(threading.Event)
