"""Generator tasks, async ones too: a call gives the items as they are made, a submitted one the list of them.

A call is one task run, which begins with its first item and ends with its last one, or where its reader stops.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import OptionError, TaskTimeoutError
from tests.acceptance.generator_runs import BEGUN, COMPLETED, FAILED, KINDS, Told, calls_of, collected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Marks


@pytest.fixture
def told() -> Told:
    return Told()


def counting(
    kind: str, more: dict[str, Any], end: BaseException | None = None, first: BaseException | None = None
) -> Any:
    """A task that gives 0, 1, ... and then raises `end`; or `first`, before it has given anything, once."""
    tries = [first] if first is not None else []

    def step() -> None:
        if tries:
            raise tries.pop()

    @task(**more)
    def count(n: int) -> Iterator[int]:
        step()
        yield from range(n)
        if end is not None:
            raise end

    @task(**more)
    async def count_async(n: int) -> Any:
        await asyncio.sleep(0)
        step()
        for item in range(n):
            yield item
        if end is not None:
            raise end

    return count if kind == "sync" else count_async


# -- submitted -----------------------------------------------------------------------------------


@task
def upto(n: int) -> Iterator[int]:
    yield from range(n)


@task
async def upto_async(n: int) -> Any:
    for item in range(n):
        await asyncio.sleep(0)
        yield item


@KINDS
def test_a_submitted_one_gives_the_list_of_its_items(runner: str, kind: str) -> None:
    made = upto if kind == "sync" else upto_async

    @flow
    def main() -> Any:
        first = made.submit(3)
        return first, made.map([0, 1, 2]), upto_async.submit(2, return_state=True).result()

    assert main() == ([0, 1, 2], [[], [0], [0, 1]], [0, 1])


def test_a_submitted_async_one_fails_retries_and_is_stopped_at_its_time(runner: str, marks: Marks) -> None:
    @task(retries=1)
    async def again(x: int) -> Any:
        yield x
        marks.add(x)
        if len(marks.read()) < 2:
            raise ValueError("once")

    @task(timeout_seconds=0.2)
    async def slow() -> Any:
        yield 1
        await asyncio.sleep(600)

    @flow
    def main() -> Any:
        late = slow.submit()
        return again.submit(5).result(), late.exception(), late.state.name

    value, error, name = main()
    assert (value, name) == ([5], "TimedOut")
    assert isinstance(error, TaskTimeoutError)
    assert marks.read() == ["5", "5"]


# -- called --------------------------------------------------------------------------------------


@KINDS
def test_a_called_one_is_a_task_run(threads: str, told: Told, kind: str) -> None:
    """Read to its end; hooks and handlers hear of it as of any other run."""
    count = counting(kind, told.options())
    found: list[Any] = []

    @flow
    def main() -> Any:
        found.extend(collected(count(3)))

    state = main(return_state=True)
    assert found == [0, 1, 2]
    assert told.lines == [*BEGUN, *COMPLETED]
    (map,) = calls_of(state.run_id)
    assert map.counts == {"Completed": 1}


@KINDS
def test_one_that_raises_has_failed(threads: str, told: Told, kind: str) -> None:
    """After it has given items there is no other attempt: they cannot be taken back."""
    count = counting(kind, told.options(retries=3), end=ValueError("after two"))
    found: list[Any] = []

    async def read() -> None:
        async for item in count(2):
            found.append(item)  # noqa: PERF401 - what came before the error counts

    @flow
    def main() -> Any:
        with pytest.raises(ValueError, match="after two"):
            found.extend(count(2)) if kind == "sync" else asyncio.run(read())
        return "caught"

    state = main(return_state=True)
    assert (found, state.name) == ([0, 1], "Completed"), "the failure reached the flow's code"
    assert told.lines == [*BEGUN, *FAILED]
    assert calls_of(state.run_id)[0].counts == {"Failed": 1}


@KINDS
def test_one_that_has_given_nothing_is_tried_again(threads: str, told: Told, kind: str) -> None:
    count = counting(kind, told.options(retries=1), first=ValueError("once"))

    @flow
    def main() -> Any:
        return collected(count(2))

    state = main(return_state=True)
    assert state.result() == [0, 1]
    assert told.lines == [
        *BEGUN, "Running-AwaitingRetry", "on_retry AwaitingRetry 1", "Pending-Retrying", "on_running Retrying 2",
        "Retrying-Completed", "on_completion Completed 2",
    ]  # fmt: skip


def test_closing_early_completes_the_run(threads: str, told: Told) -> None:
    cleaned: list[str] = []

    @task(**told.options())
    def count() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            cleaned.append("up")

    @flow
    def main() -> Any:
        items = count()
        first = next(items)
        assert told.lines == BEGUN
        items.close()
        return first

    state = main(return_state=True)
    assert (state.result(), cleaned) == (0, ["up"])
    assert told.lines == [*BEGUN, *COMPLETED]
    assert calls_of(state.run_id)[0].counts == {"Completed": 1}


def test_closing_an_async_one_early_completes_the_run(threads: str, told: Told) -> None:
    count = counting("async", told.options())

    @flow
    async def main() -> Any:
        items = count(1000)
        first = await anext(items)
        await items.aclose()
        return first

    assert asyncio.run(main()) == 0
    assert told.lines == [*BEGUN, *COMPLETED]


@pytest.mark.parametrize("held", ["begun", "not begun", "coroutine"])
def test_what_is_held_and_not_read_keeps_no_flow_from_its_end(threads: str, held: str) -> None:
    """A generator that its reader has not closed, one that was never asked, a coroutine that was never awaited."""
    kept: list[Any] = []

    @task
    async def one() -> int:
        return 1

    @flow
    async def main() -> Any:
        items: Any = one() if held == "coroutine" else upto(5)
        kept.append(items)
        if held == "begun":
            next(items)
        return list(upto(2)), await one()

    state = asyncio.run(main(return_state=True))
    assert state.result() == ([0, 1], 1)
    maps = {map.task: map.counts for map in calls_of(state.run_id)}
    assert maps == {"upto": {"Completed": 2 if held == "begun" else 1}, "one": {"Completed": 1}}
    if held == "begun":
        assert list(kept[0]) == [1, 2, 3, 4], "it goes on for whoever holds it"
    else:
        kept[0].close()


def test_values_sent_thrown_and_returned(threads: str) -> None:
    """A called one is a generator as Python's own are."""

    @task
    def talk() -> Any:
        heard = []
        while len(heard) < 3:
            try:
                heard.append((yield len(heard)))
            except KeyError as error:
                heard.append(repr(error))
        return heard

    @flow
    def main() -> Any:
        talking = talk()
        assert next(talking) == 0
        assert talking.send("a") == 1
        assert talking.throw(KeyError("b")) == 2
        try:
            talking.send("c")
        except StopIteration as end:
            return end.value

    assert main() == ["a", "KeyError('b')", "c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)], ids=repr)
def test_one_that_is_interrupted_has_ended(threads: str, error: BaseException) -> None:
    @task
    def count() -> Iterator[int]:
        yield 1
        raise error

    ends: list[Any] = []

    @flow
    def main() -> Any:
        items = count()
        next(items)
        with pytest.raises(type(error)):
            next(items)
        ends.append("caught")

    state = main(return_state=True)
    assert ends == ["caught"]
    assert calls_of(state.run_id)[0].counts == {"Crashed": 1}


def test_a_call_has_no_state_to_return(threads: str) -> None:
    with pytest.raises(OptionError, match=r"use \.submit\("):
        upto(3, return_state=True)
    with pytest.raises(OptionError, match=r"use \.submit\("):
        upto_async(3, return_state=True)


def test_called_in_a_task(runner: str) -> None:
    """It is part of that task, wherever that runs."""

    @task
    def total(n: int) -> int:
        return sum(upto(n)) + sum(collected(upto_async(n)))

    @flow
    def main() -> Any:
        return total.submit(4), total(3)

    assert main() == (12, 6)
