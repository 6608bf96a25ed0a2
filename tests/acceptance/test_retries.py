"""Attempts that follow a failed one, on every runner: how long after it, how often, and what is free meanwhile."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import exponential_backoff, flow, task
from anabranch.engine import drive
from tests.acceptance.gates import SOON, until
from tests.acceptance.generator_runs import calls_of

if TYPE_CHECKING:
    from anabranch.session import Session

CROWD = 8  # more than any runner here has slots
HOW = {
    "submit": lambda work, name: work.submit(name, return_state=True),
    "call": lambda work, name: work(name, return_state=True),
    "map": lambda work, name: work.map([name], return_state=True)[0],
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [([0.02, 0.06], [0.02, 0.06, 0.06]), (exponential_backoff(0.02), [0.02, 0.04, 0.08])],
    ids=["list", "backoff"],
)
def test_attempts_are_as_far_apart_as_was_asked_for(runner: str, marks: Any, given: Any, expected: list[float]) -> None:
    @task(retries=3, retry_delay_seconds=given)
    def work(name: str) -> None:
        marks.add(f"{name} {time.monotonic()}")  # one clock for all processes of a host
        raise ValueError(name)

    for how, run in HOW.items():
        ended = run(work, how)
        assert (ended.name, ended.attempt) == ("Failed", 4)
        began = [float(mark.split()[1]) for mark in marks.read() if mark.startswith(how)]
        apart = [after - before for before, after in pairwise(began)]
        assert len(apart) == 3
        assert all(found >= asked for found, asked in zip(apart, expected, strict=True)), (how, apart)


def test_retries_that_failed_together_come_apart(runner: str, marks: Any) -> None:
    """Jitter is drawn anew for each item, in whatever process: none but lengthens the delay."""

    def note(obj: Any, old: Any, new: Any) -> None:
        if new.name == "AwaitingRetry":
            marks.add(new.start_time - new.timestamp)

    @task(retries=1, retry_delay_seconds=0.001, retry_jitter_factor=100, state_handlers=[note])
    def work(n: int) -> None:
        raise ValueError(n)

    work.map(range(8), chunk=1).wait()
    dues = [float(mark) for mark in marks.read()]
    assert len(dues) == 8
    assert all(0.0009 < due < 0.102 for due in dues), dues
    assert len(set(dues)) >= 7, "two of them may be the same by chance"


def test_what_is_tried_again_is_decided_where_it_failed(runner: str, marks: Any) -> None:
    def only_once(obj: Any, run: Any, ended: Any) -> bool:
        return bool(run.attempt == 1)

    def broken(obj: Any, run: Any, ended: Any) -> bool:
        raise RuntimeError("the condition is broken")

    def work(name: str) -> None:
        marks.add(name)
        raise ValueError(name)

    options: dict[str, dict[str, Any]] = {
        "another kind": {"retry_on": KeyError},
        "this kind": {"retry_on": (KeyError, ValueError)},
        "once more": {"retry_condition_fn": only_once},
        "broken": {"retry_condition_fn": broken},
    }

    @flow
    def main() -> str:
        for run in [task(work, retries=2, **given).submit(name) for name, given in options.items()]:
            assert run.wait().is_failed()
        return "data"

    assert main() == "data"
    counts = {name: marks.read().count(name) for name in options}
    assert counts == {"another kind": 1, "this kind": 3, "once more": 2, "broken": 1}


def test_who_waits_for_a_retry_holds_no_slot(beside: str, marks: Any) -> None:
    @task(retries=1, retry_delay_seconds=3600)
    def fails(n: int) -> None:
        marks.add(n)
        raise ValueError(n)

    @task
    def same(n: int) -> int:
        return n

    @flow
    def main() -> list[str]:
        failing = [*fails.map(range(CROWD), chunk=1), fails.submit(CROWD)]
        until(lambda: all(future.state.name == "AwaitingRetry" for future in failing), "AwaitingRetry")
        assert same.map(range(CROWD), chunk=1).result(timeout=SOON) == list(range(CROWD))
        for future in failing:
            future.cancel()
        return [future.wait(timeout=SOON).name for future in failing]

    assert main() == ["Cancelled"] * (CROWD + 1)
    assert sorted(marks.read()) == sorted(str(n) for n in range(CROWD + 1))


def test_a_driver_that_waits_for_a_retry_is_idle(fresh_session: Session) -> None:
    """Nor is it busy once nobody waits any more: the run was cancelled, its time is still to come."""

    @task(retries=1, retry_delay_seconds=3600)
    def fails() -> None:
        raise ValueError

    @flow
    def main() -> tuple[float, float, str]:
        failing = fails.submit()
        until(lambda: failing.state.name == "AwaitingRetry", "AwaitingRetry")
        waiting = busy_share()
        failing.cancel()
        name = failing.wait(timeout=SOON).name
        return waiting, busy_share(), name

    waiting, after, name = main()
    assert name == "Cancelled"
    assert max(waiting, after) < 0.5, (waiting, after)


def busy_share() -> float:
    """How much of a moment this process spends on a processor: what spins has all of one, whatever its speed."""
    spent, began = time.process_time(), time.monotonic()
    threading.Event().wait(0.5)
    return (time.process_time() - spent) / (time.monotonic() - began)


def test_an_interrupt_in_the_delay_before_a_retry_ends_the_run(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain call sleeps in its caller's thread."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(drive.run.__kwdefaults__, "sleep", interrupted)

    @task(retries=1, retry_delay_seconds=600)
    def bad() -> None:
        raise ValueError("bad")

    @flow
    def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            bad()

    state = main(return_state=True)
    assert calls_of(state.run_id)[0].counts == {"Crashed": 1}
