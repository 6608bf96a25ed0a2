"""When a failed attempt is followed by another: the decision itself, and the same one for flows. Nothing waits here."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import exponential_backoff, flow, task
from anabranch.core.errors import OptionError
from anabranch.engine import drive, retries
from anabranch.engine.final_state import Runs
from anabranch.engine.flow_run import FlowAttempt, FlowResult, flow_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.states import State

KINDS: dict[str, Callable[..., Any]] = {
    "task": lambda **given: task(**given)(lambda: None).options,
    "flow": lambda **given: flow(name="main", **given)(lambda: None).options,
}


class Chance(random.Random):
    """Gives the numbers that it was told to, and no others."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


@pytest.fixture(params=list(KINDS))
def options(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes options of a task, or those of a flow: the decision is the same for both."""
    return KINDS[request.param]


def delays(options: Any, *chance: float, error: Exception | None = None) -> list[float | None]:
    """What is decided after each attempt, up to the first "no more"."""
    rng, found = Chance(*chance), []
    for attempt in range(1, 100):
        found.append(retries.decide(options, attempt, error, rng))
        if found[-1] is None:
            break
    assert not rng.numbers, "chance that nobody asked for"
    return found


def doubled(count: int) -> list[int]:
    return [2 * n for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0.0, 0.0, 0.0, None]),
        (1.5, [1.5, 1.5, 1.5, None]),
        ([1, 2, 3], [1.0, 2.0, 3.0, None]),
        ([1, 5], [1.0, 5.0, 5.0, None]),  # the last of a list repeats
        ([1, 2, 3, 4, 5], [1.0, 2.0, 3.0, None]),
        ([], [0.0, 0.0, 0.0, None]),
        (doubled, [2.0, 4.0, 6.0, None]),  # is asked with the number of retries
        (lambda count: count + 0.5, [3.5, 3.5, 3.5, None]),
        (exponential_backoff(10), [10.0, 20.0, 40.0, None]),
        (exponential_backoff(0.25), [0.25, 0.5, 1.0, None]),
    ],
)
def test_delays(options: Callable[..., Any], given: Any, expected: list[float | None]) -> None:
    assert delays(options(retries=3, retry_delay_seconds=given)) == expected


def test_without_retries_there_is_no_second_attempt(options: Callable[..., Any]) -> None:
    assert delays(options(retry_delay_seconds=5)) == [None]


def test_jitter_lengthens_a_delay_by_chance(options: Callable[..., Any]) -> None:
    """It lies between the delay and (1 + factor) times it."""
    jittery = options(retries=3, retry_delay_seconds=[10, 20, 40], retry_jitter_factor=0.5)
    assert delays(jittery, 0.0, 0.5, 1.0) == [10.0, 25.0, 60.0, None]


def test_jitter_of_no_delay_is_none(options: Callable[..., Any]) -> None:
    assert delays(options(retries=2, retry_jitter_factor=3)) == [0.0, 0.0, None]


def test_only_errors_of_the_kinds_asked_for_are_tried_again(options: Callable[..., Any]) -> None:
    chosen = options(retries=1, retry_on=(KeyError, OSError), retry_delay_seconds=2)
    assert delays(chosen, error=ValueError("no")) == [None]
    assert delays(chosen, error=ConnectionError("one of OSError")) == [2.0, None]
    assert delays(chosen, error=None) == [2.0, None], "a failed state that was returned has no error to look at"


def test_delays_that_cannot_be(options: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match="at most 50 delays"):
        options(retry_delay_seconds=[1] * 51)
    with pytest.raises(OptionError, match="must be 0 or more, got"):
        options(retry_delay_seconds=[1, -1])
    with pytest.raises(ValueError, match="must be 0 or more, got"):
        exponential_backoff(-1)


class World:
    """The program around a flow run, as far as one that submits nothing needs it."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.warnings: list[str] = []

    def validate(self, args: Any, kwargs: Any) -> Any:
        return args, kwargs

    def changed(self, state: State, attempt: int) -> None:
        self.states.append(f"{attempt} {state.name}")

    def settle(self, raised: bool = False) -> None: ...
    def begin_again(self) -> None: ...
    def resolve(self, value: Any) -> Any:
        return value, value

    def runs(self) -> Runs:
        return Runs()

    def reference(self) -> None: ...
    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class Run:
    """A flow run, as hooks see it."""

    attempt: int = 0


def driven(failures: int, *chance: float, **given: Any) -> tuple[World, list[float], FlowResult]:
    """Run a flow that fails so many times before it gives 5; says what it slept, and sleeps nothing."""
    left = [failures]

    def main() -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise ValueError("not yet")
        return 5

    world, run, slept = World(), Run(), list[float]()
    made: Any = flow(name="main", **given)(main)
    policy = flow_run(FlowAttempt(made, run, main, made.options, world, Chance(*chance)), (), {})  # type: ignore[arg-type]
    return world, slept, drive.run(policy, sleep=slept.append)


@pytest.mark.parametrize(
    ("given", "chance", "expected"),
    [
        ([1, 5], (), [1.0, 5.0, 5.0]),
        (exponential_backoff(10), (), [10.0, 20.0, 40.0]),
        (doubled, (), [2.0, 4.0, 6.0]),
        (10, (0.0, 0.5, 1.0), [10.0, 15.0, 20.0]),
    ],
)
def test_a_flow_sleeps_as_long_as_was_decided(given: Any, chance: tuple[float, ...], expected: list[float]) -> None:
    jitter = 1.0 if chance else 0.0
    world, slept, result = driven(3, *chance, retries=3, retry_delay_seconds=given, retry_jitter_factor=jitter)
    assert slept == expected
    assert result.value == 5
    again = [state for n in (1, 2, 3) for state in (f"{n} AwaitingRetry", f"{n + 1} Retrying")]
    assert world.states == ["1 Running", *again, "4 Completed"]


def test_a_flow_gives_up_when_its_retries_are_used_up() -> None:
    world, slept, result = driven(9, retries=2, retry_delay_seconds=[7, 8])
    assert slept == [7.0, 8.0]
    assert world.states[-1] == "3 Failed"
    assert isinstance(result.error, ValueError)


def test_a_flows_condition_decides_last() -> None:
    asked: list[int] = []

    def once(flow: Any, run: Run, state: State) -> bool:
        asked.append(run.attempt)
        return len(asked) == 1

    def broken(flow: Any, run: Run, state: State) -> bool:
        raise KeyError("condition")

    world, slept, _ = driven(9, retries=5, retry_delay_seconds=3, retry_condition_fn=once)
    assert (slept, asked, world.states[-1]) == ([3.0], [1, 2], "2 Failed")
    world, slept, _ = driven(9, retries=5, retry_delay_seconds=3, retry_condition_fn=broken)
    assert (slept, world.states[-1]) == ([], "1 Failed")
    assert world.warnings == ["retry_condition_fn raised KeyError('condition'): no retry"]


def test_no_delay_is_no_sleep() -> None:
    world, slept, _ = driven(1, retries=1)
    assert slept == []
    assert world.states == ["1 Running", "1 AwaitingRetry", "2 Retrying", "2 Completed"]


def test_both_states_of_a_flows_retry_know_its_time() -> None:
    """For handlers that tell somebody when it will be, or was, tried again."""
    told: list[tuple[str, float]] = []

    def tell(flow: Any, old: State, new: State) -> None:
        if new.is_retrying():
            told.append((new.name, round((new.start_time or 0.0) - new.timestamp, 3)))

    driven(1, retries=1, retry_delay_seconds=5, state_handlers=[tell])
    assert told == [("AwaitingRetry", 5.0), ("Retrying", 0.0)]
