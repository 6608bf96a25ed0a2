"""Ends that the driver decides (not admitted, lost, out of time): handlers, hooks and causes see them as any other."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import State, flow, state, task
from anabranch.runners.dask.runner import DaskRunner
from anabranch.runners.inline.runner import InlineRunner
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.thread.runner import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sampled(3, "the driver alone decides")
RUNNERS: dict[str, Callable[[], Any]] = {
    "inline": InlineRunner,
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
    "dask": lambda: DaskRunner(n_workers=1, threads_per_worker=2),
}


NIGHT = pytest.mark.nightly("the driver alone decides; the other runners try all of it")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.dask, NIGHT] if name == "dask" else []) for name in RUNNERS],
)
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    with RUNNERS[request.param]() as made:
        yield made


@task
def bad(n: int) -> int:
    raise ValueError(f"bad {n}")


@task
def odd(n: int) -> int:
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n


def forgive(obj: Any, old: State, new: State) -> State | None:
    return state.Completed("forgiven", -1) if new.name == "TriggerFailed" else None


@pytest.mark.parametrize("fused", [True, False])
def test_a_handler_replaces_a_run_that_was_not_admitted(runner: Any, fused: bool) -> None:
    """Behind its producer in one chunk, or submitted after it has ended: no difference."""

    @task(state_handlers=[forgive])
    def after(n: int) -> int:
        return 10 * n

    @task
    def later(n: int) -> int:
        return n + 1

    @flow(runner=runner)
    def run() -> tuple[Any, ...]:
        first = bad.submit(1)
        if not fused:
            first.wait()
        second = after.submit(first)
        third = later.submit(second)
        return second.result(), second.get_state().message, third.result()

    assert run() == (-1, "forgiven", 0)


@pytest.mark.parametrize("fused", [True, False])
def test_in_a_map_only_the_items_concerned(runner: Any, fused: bool) -> None:
    @task(state_handlers=[forgive])
    def after(n: int) -> int:
        return 10 * n

    @flow(runner=runner)
    def run() -> list[int]:
        first = odd.map(range(6))
        if not fused:
            first.wait()
        return after.map(first).result()

    assert run(return_state=True).result() == [-1, 10, -1, 30, -1, 50]


def test_hooks_are_called_behind_a_failed_producer(runner: Any) -> None:
    seen: list[tuple[int, str]] = []

    @task(on_failure=[lambda obj, run, new: seen.append((run.index, new.name))])
    def after(n: int) -> int:
        return 10 * n

    @flow(runner=runner)
    def run() -> None:
        after.map(odd.map(range(4))).wait()

    run(return_state=True)
    deadline = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert sorted(seen) == [(0, "TriggerFailed"), (2, "TriggerFailed")]


@pytest.mark.parametrize("fused", [True, False])
def test_who_handles_the_last_of_a_chain_handles_the_cause(runner: Any, fused: bool) -> None:
    @task
    def after(n: int) -> int:
        return 10 * n

    @flow(runner=runner)
    def run() -> None:
        first = bad.submit(1)
        if not fused:
            first.wait()
        last = after.submit(after.submit(first))
        assert "bad 1" in str(last.exception())

    assert run(return_state=True).is_completed()


def test_a_handler_may_answer_with_any_final_state(runner: Any) -> None:
    def answer(obj: Any, old: State, new: State) -> Any:
        return state.Cancelled("not needed", name="Skipped") if new.name == "TriggerFailed" else None

    @task(state_handlers=[answer])
    def after(n: int) -> int:
        return n

    @flow(runner=runner)
    def run() -> tuple[str, bool, str]:
        found = after.submit(bad.submit(1)).wait()
        return found.name, found.is_cancelled(), found.message

    assert run() == ("Skipped", True, "not needed")


def test_what_a_handler_raises_fails_the_run_and_nobody_waits_for_ever(runner: Any) -> None:
    def leave(obj: Any, old: State, new: State) -> None:
        if new.name == "TriggerFailed":
            raise SystemExit(3)

    @task(state_handlers=[leave])
    def after(n: int) -> int:
        return n

    @flow(runner=runner)
    def run() -> str:
        found = after.submit(bad.submit(1)).wait()
        return f"{found.name}: {found.message}"

    assert run().startswith("Failed: Unexpected error while calling state handlers: SystemExit")


def test_no_retry_of_what_was_not_admitted(runner: Any, caplog: pytest.LogCaptureFixture) -> None:
    def again(obj: Any, old: State, new: State) -> Any:
        return state.AwaitingRetry() if new.is_failed() else None

    @task(state_handlers=[again])
    def after(n: int) -> int:
        return n

    @flow(runner=runner)
    def run() -> str:
        return after.submit(bad.submit(1)).wait().name

    with caplog.at_level("WARNING"):
        assert run() == "TriggerFailed"
    assert "no retry after TriggerFailed" in caplog.text


def test_a_lost_run_begins_again_when_its_handler_says_so(tmp_path: Any) -> None:
    """Its worker dies; crash retries are spent; the handler wants one more."""
    marks = tmp_path / "attempts"

    def once_more(obj: Any, old: State, new: State) -> Any:
        return state.AwaitingRetry("once more") if new.is_crashed() else None

    @task(state_handlers=[once_more], crash_retries=1)
    def dies(n: int) -> int:
        with marks.open("a") as file:
            file.write("x")
        if len(marks.read_text()) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    @flow(runner=ProcessRunner(max_workers=1))
    def run() -> int:
        return dies.submit(7).result()

    assert run() == 7
    assert marks.read_text() == "xxx"


def test_a_handler_gives_a_value_for_a_run_out_of_time() -> None:
    def default(obj: Any, old: State, new: State) -> Any:
        return state.Completed("by default", 0) if new.name == "TimedOut" else None

    @task(state_handlers=[default], timeout_seconds=0.2)
    def slow(n: int) -> int:
        time.sleep(n)
        return n

    for made in (ThreadRunner(max_workers=2), ProcessRunner(max_workers=2)):

        @flow(runner=made)
        def run() -> list[int]:
            return slow.map([0, 3]).result()

        assert run() == [0, 0]


def test_a_cancel_stands(caplog: pytest.LogCaptureFixture) -> None:
    @task(state_handlers=[lambda obj, old, new: state.Completed("no") if new.is_cancelled() else None])
    def slow(n: int) -> int:
        time.sleep(5)
        return n

    @flow(runner=ThreadRunner(max_workers=1))
    def run() -> list[str]:
        found = slow.map(range(3))
        found.cancel()
        return [one.name for one in found.wait()]

    with caplog.at_level("WARNING"):
        assert run() == ["Cancelled"] * 3
        deadline = time.monotonic() + 10
        while "a cancel stands" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.005)
    assert "a cancel stands" in caplog.text
