"""Hooks and state handlers of tasks: which are called, in which order, and that it is the same on all runners."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import InlineRunner, State, ThreadRunner, flow, state, task, task_input_hash

if TYPE_CHECKING:
    from collections.abc import Callable

HOOKS = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed", "on_retry")
STARTS = ["Pending-Running", "on_running Running"]
AGAIN = ["Running-AwaitingRetry", "on_retry AwaitingRetry", "Pending-Retrying", "on_running Retrying"]
# What a run goes through, by what its function does; retries=1, but only a failure is tried again.
SEQUENCES: dict[str, list[str]] = {
    "completes": [*STARTS, "Running-Completed", "on_completion Completed"],
    "fails": [*STARTS, *AGAIN, "Retrying-Failed", "on_failure Failed"],
    "recovers": [*STARTS, *AGAIN, "Retrying-Completed", "on_completion Completed"],
    "returns Crashed": [*STARTS, "Running-Crashed", "on_crashed Crashed"],
    "returns Cancelled": [*STARTS, "Running-Cancelled", "on_cancellation Cancelled"],
    "exits": [*STARTS, "Running-Crashed", "on_crashed Crashed"],
}


def noting(marks: Any, **more: Any) -> dict[str, Any]:
    """Options with a hook of each kind and a handler, all of which write down that they were called."""

    def hook(which: str) -> Callable[..., None]:
        return lambda obj, run, new: marks.add(f"{which} {new.name}")

    def handler(obj: Any, old: State, new: State) -> State:
        marks.add(f"{old.name}-{new.name}")
        return new

    return {"state_handlers": [handler], **{which: [hook(which)] for which in HOOKS}, **more}


def acting(marks: Any) -> Any:
    @task(**noting(marks, retries=1, crash_retries=0))
    def work(how: str) -> Any:
        if how == "fails" or (how == "recovers" and "on_retry AwaitingRetry" not in marks.read()):
            raise ValueError("no good")
        if how == "exits":
            sys.exit(3)
        return getattr(state, how.removeprefix("returns "))("by hand") if "returns" in how else how

    return work


@pytest.mark.parametrize("how", list(SEQUENCES))
def test_the_same_hooks_on_all_runners(runner: str, how: str, marks: Any) -> None:
    work = acting(marks)

    @flow
    def main() -> str:
        work.submit(how).wait()
        return "data"

    assert main() == "data"  # when a flow has ended, all hooks of its task runs have been called
    assert marks.read() == SEQUENCES[how]


@pytest.mark.parametrize("how", list(SEQUENCES))
def test_the_same_hooks_for_an_item_of_a_map(runner: str, how: str, marks: Any) -> None:
    work = acting(marks)

    @flow
    def main() -> str:
        work.map([how]).wait()
        return "data"

    assert main() == "data"
    assert marks.read() == SEQUENCES[how]


@pytest.mark.parametrize("how", list(SEQUENCES))
def test_the_same_hooks_for_a_call(runner: str, how: str, marks: Any) -> None:
    work = acting(marks)

    @flow
    def main() -> str:
        with contextlib.suppress(SystemExit):  # which a call lets through, whatever it returns
            work(how, return_state=True)
        return "data"

    assert main() == "data"
    assert marks.read() == SEQUENCES[how]


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_an_item_that_ends_after_its_time_has_one_end(kind: str, fresh_session: Any) -> None:
    """Nothing can stop it: on threads the driver tells of its end at its time, and what it does later is unheard."""
    seen: list[str] = []
    ran: list[threading.Thread] = []
    go = threading.Event()

    @task(timeout_seconds=0.05, **{hook: [lambda t, r, s: seen.append(s.name)] for hook in HOOKS})
    def late() -> None:
        ran.append(threading.current_thread())
        go.wait(0.2 if kind == "inline" else 60.0)

    made = InlineRunner() if kind == "inline" else ThreadRunner(max_workers=1)

    @flow(runner=made)
    def main() -> str:
        late.submit().wait()
        return "data"

    assert main() == "data"
    go.set()
    made.close()
    if kind == "thread":
        ran[0].join(60.0)  # it has nothing more to do
        assert not ran[0].is_alive()
    assert seen == ["Running", "TimedOut"]


def test_an_item_that_is_stopped_at_its_time_has_one_end(beside: str, marks: Any, gates: Any) -> None:
    """Where its process is killed, whoever tells of that end is another than who told of its beginning."""
    never = gates("never")

    @task(timeout_seconds=0.5, **noting(marks))
    def late() -> None:
        never.pass_through()

    @flow
    def main() -> str:
        late.submit().wait()
        return "data"

    assert main() == "data"
    assert marks.read() == [*STARTS, "Running-TimedOut", "on_failure TimedOut"]


def test_hooks_of_runs_that_never_start(runner: str, marks: Any, gates: Any) -> None:
    """Skipped by its trigger, or cancelled while it waits: its hooks are called all the same."""

    @task
    def bad() -> None:
        raise ValueError("no good")

    @task(**noting(marks))
    def work() -> None: ...

    gate = gates("before")
    passed = task(gate.pass_through)

    def skipped() -> State:
        return work.submit(wait_for=[bad.submit()]).wait()

    def cancelled() -> State:
        before = passed.submit()
        future = work.submit(wait_for=[before])
        future.cancel()
        gate.open()
        before.wait()
        return future.wait()

    assert flow(name="main")(lambda: [skipped().name])() == ["TriggerFailed"]
    assert marks.read() == ["Pending-TriggerFailed", "on_failure TriggerFailed"]
    if runner == "inline":  # there a submit runs at once: nothing waits that could be cancelled
        return
    assert flow(name="main")(lambda: [cancelled().name])() == ["Cancelled"]
    assert marks.read()[2:] == ["Pending-Cancelled", "on_cancellation Cancelled"]


def test_a_worker_that_dies_is_a_crash(apart: str, marks: Any) -> None:
    """Nobody on the worker can call the hook any more: the driver does, once for the end that stands."""

    @task(**noting(marks, crash_retries=2))
    def dies() -> None:
        os._exit(1)

    @flow
    def main() -> str:
        dies.submit().wait()
        return "data"

    assert main() == "data"
    again = ["Pending-Retrying", "on_running Retrying"]
    assert marks.read() == [*STARTS, *again, "Retrying-Crashed", "on_crashed Crashed"]


def test_a_cached_run_has_completed(runner: str, marks: Any) -> None:
    @task(**noting(marks, cache_key_fn=task_input_hash))
    def work(key: str) -> int:
        return 1

    for _ in range(2):
        assert flow(name="main")(lambda: work.submit(marks.path))() == 1
    assert marks.read()[-2:] == ["Running-Cached", "on_completion Cached"]


def test_what_a_hook_is_given(runner: str, marks: Any) -> None:
    def note(obj: Any, run: Any, ended: State) -> None:
        marks.add(f"{obj.name} {run.task_name} {run.name} {run.tags} {run.attempt}")
        marks.add(f"{ended.name} {ended.message} {ended.run_id == run.id} {run.id}")

    @task(name="load", tags=["nightly"], task_run_name="load-{n}", on_crashed=note)
    def work(n: int) -> Any:
        return state.Crashed("by hand")

    ended = work.submit(5).wait()
    assert ended.is_crashed()
    assert marks.read() == ["load load load-5 ('nightly',) 1", f"Crashed by hand True {ended.run_id}"]


def test_hooks_are_called_in_their_order_with_those_added_later(runner: str, marks: Any) -> None:
    @task(on_running=[lambda *_: marks.add("first"), lambda *_: marks.add("second")])
    def work() -> int:
        return 1

    @work.on_running
    def third(task: Any, run: Any, new: State) -> None:
        marks.add("third")

    assert work.submit().result() == 1
    assert marks.read() == ["first", "second", "third"]
