"""Traps of Prefect that anabranch does not have: slots of runners, time-outs, cancelling, ends of runs.

Each docstring names the trap and where it was noted; see `test_prefect_traps.py`.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import as_completed, flow, state, task, wait
from anabranch import session as sessions
from anabranch.core.errors import CancelledRun, RunnerError
from tests.acceptance.gates import SOON, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Marks
    from tests.acceptance.gates import Gate

MANY = 8  # more than any of these runners has slots


@task
def same(x: Any) -> Any:
    return x


# -- slots -------------------------------------------------------------------------------------------


def test_submits_nested_deeper_than_there_are_slots(runner: str) -> None:
    """#17060, #14194: tasks that wait for their own submits hold all slots of the pool."""

    @task
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down.submit(n - 1).result()

    depth = 4 if runner == "thread" else 2  # as many as there are slots wait, and one more has to run
    assert flow(name="main")(lambda: down.submit(depth))() == depth


def test_many_that_wait_for_inputs_hold_no_slot(beside: str, gates: Callable[[str], Gate]) -> None:
    """Section 2.2: inputs were waited for inside a worker's thread (and `wait_for` on Ray)."""
    gate = gates("gate")

    @flow
    def main() -> Any:
        opened = task(gate.pass_through).submit()
        late = [same.submit(n, wait_for=[opened]) for n in range(MANY)]
        got = same.submit(2).result(timeout=SOON)  # while nobody has opened: the others wait, and one slot is used
        gate.open()
        return got, late

    assert main() == (2, list(range(MANY)))


def test_many_that_wait_for_a_retry_hold_no_slot(beside: str) -> None:
    """Row 40: the delay before a retry was slept through in the worker's thread."""

    @task(retries=1, retry_delay_seconds=3600)
    def fails() -> None:
        raise ValueError

    @flow(on_exit="cancel")
    def main() -> Any:
        failing = [fails.submit() for _ in range(MANY)]
        until(lambda: all(future.state.name == "AwaitingRetry" for future in failing), "the first end of each")
        assert same.submit(1).result(timeout=SOON) == 1
        assert all(future.cancel() for future in failing)
        return [future.wait().name for future in failing]

    assert main() == ["Cancelled"] * MANY


def test_a_flow_uses_the_runner_object_that_it_was_given(runner: str) -> None:
    """Section 2.4: the runner was duplicated at each run, and lost its cluster on the way."""
    mine: Any = sessions.current().settings.runner

    @flow(runner=mine)
    def main() -> Any:
        return same.submit(1), same.map([2, 3])

    assert main() == (1, [2, 3])
    assert main() == (1, [2, 3])  # a second start would be refused
    with pytest.raises(RunnerError, match="starts only once"):
        mine.start(print)


# -- time-outs ---------------------------------------------------------------------------------------


def test_a_blocking_task_is_timed_out_at_its_time(beside: str, gates: Callable[[str], Gate], marks: Marks) -> None:
    """Row 43: on worker threads a blocking call was not interrupted, and its run went on."""
    gate, left = gates("gate"), gates("left")

    @task(timeout_seconds=0.1)
    def blocks() -> None:
        marks.add(os.getpid())
        gate.pass_through()
        left.open()

    future = blocks.submit()
    assert isinstance(future.wait(SOON), state.TimedOut)
    assert not left.is_open
    if beside == "thread":  # nothing can stop it there
        gate.open()
        assert left.wait()
    else:
        until(lambda: not any(map(_alive, marks.read())), "the end of the process that it blocked")
        gate.open()
    assert same.submit(1).result(timeout=SOON) == 1
    assert left.is_open == (beside == "thread")
    assert isinstance(future.state, state.TimedOut)  # what the written-off thread says is not heard


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_flow_out_of_time_takes_its_tasks_along(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 43: when a flow timed out, what it had submitted went on."""
    gate = gates("gate")
    submitted: list[Any] = []

    @flow(timeout_seconds=0.5)
    def main() -> None:
        submitted.append(task(gate.pass_through).submit())
        submitted.append(same.submit(1, wait_for=submitted[:1]))
        submitted[0].result()

    same.submit(1).wait()  # the runner is there before the flow's time begins
    assert main(return_state=True).name == "TimedOut"
    assert submitted[0].wait(SOON).is_cancelled()
    assert not submitted[1].wait(SOON).is_completed()


# -- ends --------------------------------------------------------------------------------------------


def test_a_flow_waits_for_what_it_submitted(beside: str, gates: Callable[[str], Gate]) -> None:
    """#17517, #14018: futures that nobody waited for were lost, with "please call .wait()" in the log."""
    begun, gate, done = gates("begun"), gates("gate"), gates("done")

    @task
    def slow() -> None:
        begun.open()
        gate.pass_through()
        done.open()

    @flow
    def main() -> str:
        slow.submit()
        assert begun.wait()
        threading.Timer(0.05, gate.open).start()
        return "data"

    assert main() == "data"
    assert done.is_open


def test_a_flow_may_cancel_what_it_submitted(beside: str, gates: Callable[[str], Gate]) -> None:
    """#17867: no policy could be given for what still runs at a flow's end."""
    gate = gates("gate")
    submitted: list[Any] = []

    @flow(on_exit="cancel")
    def main() -> str:
        opened = task(gate.pass_through).submit()
        submitted.extend([opened, same.submit(1, wait_for=[opened])])
        return "data"

    assert main() == "data"
    assert submitted[0].state.is_cancelled()
    assert not submitted[1].state.is_completed()


def test_all_that_a_flow_cancels_is_cancelled(beside: str, gates: Callable[[str], Gate]) -> None:
    """#17867: what was given up says so; it did not fail."""
    gate = gates("gate")
    submitted: list[Any] = []

    @flow(on_exit="cancel")
    def main() -> str:
        submitted.append(same.submit(1, wait_for=[task(gate.pass_through).submit()]))
        return "data"

    assert main() == "data"
    assert submitted[0].state.is_cancelled()


def test_single_runs_and_parts_of_maps_can_be_cancelled(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 52: no future could be cancelled."""
    gate = gates("gate")
    opened = task(lambda x: gate.pass_through()).map(range(5))
    single = same.submit(1, wait_for=[opened])
    several = same.map(opened)
    assert single.cancel()
    assert several[2].cancel()
    gate.open()
    with pytest.raises(CancelledRun):
        single.result()
    assert [s.name for s in several.wait()] == ["Completed", "Completed", "Cancelled", "Completed", "Completed"]


def test_a_cancelled_item_of_a_map_that_waits_stays_cancelled(beside: str, gates: Callable[[str], Gate]) -> None:
    """Row 52: what was cancelled before it could start never runs; a terminal state does not change."""
    gate = gates("gate")
    several = same.map(range(5), wait_for=[task(gate.pass_through).submit()])
    assert several[2].cancel()
    gate.open()
    several.wait()
    assert several[2].state.is_cancelled()


def test_wait_tells_what_became_of_each(beside: str, gates: Callable[[str], Gate]) -> None:
    """Rows 15 and 16: `wait()` returned None and had no `return_when`; `done()` and `exception()` were missing."""
    gate = gates("gate")
    slow, quick = task(gate.pass_through).submit(), task(lambda: 1 / 0).submit()
    done, not_done = wait([slow, quick, quick], return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({quick}, {slow})
    assert isinstance(quick.exception(), ZeroDivisionError)
    assert not slow.done()
    assert not slow.wait(timeout=0).is_final()
    gate.open()
    assert set(as_completed([slow, quick, slow])) == {slow, quick}
    assert slow.exception() is None
