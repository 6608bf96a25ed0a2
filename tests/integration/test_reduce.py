"""Values of a map combined on the workers, as a tree: in order, whatever the length, and none of them kept."""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import MapError, UpstreamError
from anabranch.runners.process.runner import ProcessRunner
from anabranch.runners.thread.runner import ThreadRunner

if TYPE_CHECKING:
    from collections.abc import Iterator


@task
def letters(n: int) -> str:
    return f"{n},"


@task
def refuse_seven(n: int) -> int:
    if n == 7:
        raise ValueError("seven")
    return n


@pytest.fixture(scope="module", params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    with {"thread": ThreadRunner, "process": ProcessRunner}[request.param](max_workers=2) as made:
        yield made


@pytest.mark.parametrize(("length", "fan_in"), [(1, 64), (2, 2), (9, 2), (64, 64), (65, 64), (130, 3), (5000, 64)])
def test_in_order_whatever_the_length(runner: Any, length: int, fan_in: int) -> None:
    @flow(runner=runner)
    def run() -> str:
        return letters.map(range(length)).reduce(operator.add, fan_in=fan_in).result()

    assert run() == "".join(f"{n}," for n in range(length))


def test_values_go_as_they_are_combined(runner: Any) -> None:
    @flow(runner=runner)
    def run() -> tuple[int, int]:
        made = letters.map(range(2000))
        map = made._map
        total = made.reduce(operator.add)
        del made
        length = len(total.result())
        deadline = time.monotonic() + 10
        while map.footprint.held and time.monotonic() < deadline:
            time.sleep(0.005)
        return length, map.footprint.held

    assert run() == (sum(len(f"{n},") for n in range(2000)), 0)


def test_one_failure_is_the_end_of_it(runner: Any) -> None:
    @flow(runner=runner)
    def run() -> str:
        total = refuse_seven.map(range(200)).reduce(operator.add, fan_in=8)
        error = total.exception()
        assert isinstance(error, UpstreamError)
        return str(error)

    assert "refuse_seven[7]" in run(return_state=True).result()


def test_of_nothing_and_by_nothing() -> None:
    @flow(runner="thread")
    def run() -> None:
        with pytest.raises(ValueError, match="empty map of 'letters'"):
            letters.map([]).reduce(operator.add)
        with pytest.raises(MapError, match="fan_in must be 2 or more, got 1"):
            letters.map(range(3)).reduce(operator.add, fan_in=1)

    run()
