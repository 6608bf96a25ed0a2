"""Traps of Prefect that anabranch does not have: threads, workers, time-outs, cancelling, memory, async code.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, as_completed, cache_policies, flow, state, task, wait
from anabranch.core.errors import CancelledRun, CrashedRun, RunnerError

if TYPE_CHECKING:
    from anabranch.session import Session

SOON = 10.0  # seconds that an event may take on a busy machine


@task
def same(x: Any) -> Any:
    return x


# -- threads and slots ---------------------------------------------------------------------------


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
    with pytest.raises(RunnerError, match="started before"):
        mine.start(print)


def test_a_blocking_task_is_timed_out_at_its_time(threads: str) -> None:
    """Row 43: on worker threads a blocking call was not interrupted, and its run went on."""
    gate, left = threading.Event(), threading.Event()

    @task(timeout_seconds=0.1)
    def blocks() -> None:
        gate.wait(SOON)
        left.set()

    future = blocks.submit()
    assert isinstance(future.wait(SOON), state.TimedOut)
    assert not left.is_set()
    gate.set()
    assert left.wait(SOON)
    assert isinstance(future.state, state.TimedOut)  # what the written-off thread says is not heard


def test_a_flow_out_of_time_takes_its_tasks_along(threads: str) -> None:
    """Row 43: when a flow timed out, what it had submitted went on."""
    gate = threading.Event()
    submitted: list[Any] = []

    @flow(timeout_seconds=0.1)
    def main() -> None:
        opened = task(gate.wait).submit(SOON)
        submitted.extend([opened, same.submit(1, wait_for=[opened])])
        opened.result()

    try:
        assert main(return_state=True).name == "TimedOut"
        assert submitted[0].wait(SOON).is_cancelled()
        assert not submitted[1].wait(SOON).is_completed()
    finally:
        gate.set()


# -- ends ----------------------------------------------------------------------------------------


def test_a_flow_waits_for_what_it_submitted(threads: str) -> None:
    """#17517, #14018: futures that nobody waited for were lost, with "please call .wait()" in the log."""
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    @task
    def slow() -> None:
        begun.set()
        gate.wait(SOON)
        done.set()

    @flow
    def main() -> str:
        slow.submit()
        begun.wait(SOON)
        threading.Timer(0.05, gate.set).start()
        return "data"

    assert main() == "data"
    assert done.is_set()


def test_a_flow_may_cancel_what_it_submitted(threads: str) -> None:
    """#17867: no policy could be given for what still runs at a flow's end."""
    gate = threading.Event()

    submitted: list[Any] = []

    @flow(on_exit="cancel")
    def main() -> str:
        opened = task(gate.wait).submit(SOON)
        submitted.extend([opened, same.submit(1, wait_for=[opened])])
        return "data"

    try:
        assert main() == "data"
        assert submitted[0].state.is_cancelled()
        assert not submitted[1].state.is_completed()
    finally:
        gate.set()


def test_all_that_a_flow_cancels_is_cancelled(threads: str) -> None:
    """#17867: what was given up says so; it did not fail."""
    gate = threading.Event()
    submitted: list[Any] = []

    @flow(on_exit="cancel")
    def main() -> str:
        submitted.append(same.submit(1, wait_for=[task(gate.wait).submit(SOON)]))
        return "data"

    try:
        main()
        assert submitted[0].state.is_cancelled()
    finally:
        gate.set()


def test_single_runs_and_parts_of_maps_can_be_cancelled(threads: str) -> None:
    """Row 52: no future could be cancelled."""
    gate = threading.Event()
    opened = task(lambda x: gate.wait(SOON)).map(range(5))
    single = same.submit(1, wait_for=[opened])
    several = same.map(opened)
    assert single.cancel()
    assert several[2].cancel()
    gate.set()
    with pytest.raises(CancelledRun):
        single.result()
    assert [s.name for s in several.wait()] == ["Completed", "Completed", "Cancelled", "Completed", "Completed"]


def test_a_cancelled_item_of_a_map_that_waits_stays_cancelled(threads: str) -> None:
    """Row 52: what was cancelled before it could start never runs; a terminal state does not change."""
    gate = threading.Event()
    several = same.map(range(5), wait_for=[task(gate.wait).submit(SOON)])
    assert several[2].cancel()
    gate.set()
    several.wait()
    assert several[2].state.is_cancelled()


def test_wait_tells_what_became_of_each(threads: str) -> None:
    """Rows 15 and 16: `wait()` returned None and had no `return_when`; `done()` and `exception()` were missing."""
    gate = threading.Event()
    slow, quick = task(gate.wait).submit(SOON), task(lambda: 1 / 0).submit()
    done, not_done = wait([slow, quick, quick], return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({quick}, {slow})
    assert isinstance(quick.exception(), ZeroDivisionError)
    assert not slow.done()
    assert not slow.wait(timeout=0).is_final()
    gate.set()
    assert set(as_completed([slow, quick, slow])) == {slow, quick}
    assert slow.exception() is None


def test_a_dead_worker_is_a_state(processes: str) -> None:
    """#21638, #12968: `wait` swallowed the loss of a worker, and the run's state stayed Running for ever."""
    lost = task(crash_retries=0)(lambda: os._exit(1)).submit()
    ended = lost.wait(timeout=30)
    assert ended.is_crashed()
    with pytest.raises(CrashedRun):
        lost.result()
    assert same.submit(1).result() == 1  # section 2.3: a killed child broke the whole pool


def test_completed_work_is_not_done_again(processes: str, marks: Any) -> None:
    """#15442, #12970: when a worker died, tasks that had completed ran again."""

    @task
    def told(x: int) -> int:
        marks.add(x)
        return x

    done = told.map(range(20))
    done.wait()
    task(crash_retries=0)(lambda: os._exit(1)).submit().wait(timeout=30)
    assert done.result() == list(range(20))
    assert len(marks.read()) == 20


class Unpicklable:
    """Pickles, and cannot be unpickled again."""

    def __reduce__(self) -> Any:
        return (_fails_to_load, ())


def _fails_to_load() -> None:
    raise RuntimeError("cannot be rebuilt")


def test_a_value_that_cannot_be_unpickled_is_an_error(processes: str) -> None:
    """#21610: the runner hung when a result could not be unpickled."""
    future = task(lambda: Unpicklable()).submit()
    with pytest.raises(Exception, match="cannot be rebuilt"):
        future.result(timeout=SOON)


def test_flow_parameters_do_not_travel(processes: str) -> None:
    """Section 2.4: each task carried its flow's parameters along; here they need not even be picklable."""

    @flow(validate_parameters=False)
    def main(lock: Any) -> Any:
        return same.map([1, 2, 3]), same.submit(4)

    assert main(threading.Lock()) == ([1, 2, 3], 4)


def test_futures_in_wait_for_reach_other_processes(processes: str, marks: Any) -> None:
    """#19113: futures in `wait_for` could not be pickled."""
    told = task(marks.add)
    first = told.submit("first")
    assert told.submit("second", wait_for={"any": [first]}).wait().is_completed()
    assert marks.read() == ["first", "second"]


def test_inputs_that_cannot_be_hashed_do_not_stop_a_cached_task(threads: str, caplog: pytest.LogCaptureFixture) -> None:
    """Row 44: the run goes on without a cache, and says so."""
    cached = task(cache_policy=cache_policies.INPUTS)(lambda lock: "ran")
    assert flow(name="main")(lambda: cached.submit(threading.Lock()).wait().name)() == "Completed"
    assert "not cached" in caplog.text  # a flow ends after the lines of its tasks


# -- memory --------------------------------------------------------------------------------------


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


# -- async code and generators -------------------------------------------------------------------


def test_async_items_share_a_loop(threads: str) -> None:
    """Row 27: each async task had an event loop of its own, so that connection pools could not be shared."""

    @task
    async def where(x: int) -> int:
        await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    assert len(set(where.map(range(20), chunk=20).result())) == 1


def test_async_items_run_together(threads: str) -> None:
    """Row 27: items that wait for each other need not a thread each."""

    @task
    async def meet(x: int) -> int:
        arrived.append((asyncio.get_running_loop().create_future(), x))
        if len(arrived) == 8:
            for ended, _ in arrived:
                ended.set_result(None)
        await next(ended for ended, y in arrived if y == x)
        return x

    arrived: list[Any] = []
    assert meet.map(range(8), chunk=8).result(timeout=SOON) == list(range(8))


def test_async_tasks_are_submitted_from_plain_flows(threads: str) -> None:
    """Row 27, #5533: whether to await depended on who called; `submit` is the same runner."""

    @task
    async def add_one(x: int) -> int:
        return x + 1

    @flow
    def plain() -> Any:
        return add_one.submit(1), add_one.map([1, 2])

    @flow
    async def awaiting() -> Any:
        return await add_one.submit(1), await add_one(2), same(3)

    assert plain() == (2, [2, 3])
    assert asyncio.run(awaiting()) == (2, 3, 3)


def test_a_plain_flow_works_under_a_running_loop(threads: str) -> None:
    """#6318: a sync flow in a notebook, where a loop runs already."""

    @flow
    def main() -> Any:
        return same.submit(1).result() + sum(same.map([1, 2]).result())

    async def cell() -> Any:
        return main()

    assert asyncio.run(cell()) == 4


def test_generator_tasks_can_be_submitted(threads: str) -> None:
    """Row 26: a generator task could not be sent to a pool, and a closed one left its run open."""
    ended: list[str] = []

    @task(on_completion=lambda t, r, s: ended.append(s.name))
    def count(n: int) -> Any:
        yield from range(n)

    assert count.submit(3).result() == [0, 1, 2]
    assert count.map([1, 2]).result() == [[0], [0, 1]]
    assert ended == ["Completed"] * 3
    ended.clear()
    early = count(3)
    assert next(early) == 0
    assert not ended
    early.close()
    assert ended == ["Completed"]
    assert list(count(2)) == [0, 1]
    assert ended == ["Completed"] * 2
