"""Generator flows, async ones too: a call gives the items as they are made, a submitted one the list of them.

A call is one flow run, which begins with its first item and ends with its last one, or where its reader stops.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import context, flow, get_run_logger, task
from anabranch import session as sessions
from anabranch.core.errors import FailedRun, MissingContextError
from anabranch.core.states import Failed
from tests.acceptance.generator_flows import (
    BEGUN,
    COMPLETED,
    FAILED,
    KINDS,
    SOON,
    Told,
    counting,
    double,
    last_run,
    runs_of,
)
from tests.acceptance.generator_runs import LIMIT, collected, read_slowly, stuck_at_last

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told() -> Told:
    return Told()


@task
def belongs_to(x: int) -> str:
    return context.task_run().flow_run_id


@KINDS
def test_a_called_one_is_a_flow_run(runner: str, told: Told, kind: str) -> None:
    """Its tasks belong to it, on any runner; hooks hear of it as of any other run; it begins with its first item."""

    @flow(name="owner", **told.options())
    def owner() -> Iterator[Any]:
        yield context.flow_run().id
        yield belongs_to(1)
        yield belongs_to.submit(2)
        yield {"deep": [belongs_to.map([3])]}

    @flow(name="owner", **told.options())
    async def owner_async() -> Any:
        yield context.flow_run().id
        yield belongs_to(1)
        yield belongs_to.submit(2)
        yield {"deep": [belongs_to.map([3])]}

    before = runs_of("owner")
    items = (owner if kind == "sync" else owner_async)()
    assert (runs_of("owner"), told.lines) == (before, [])
    found = collected(items)
    row = last_run("owner")
    assert found == [row.id, row.id, row.id, {"deep": [[row.id]]}]
    assert (row.state_name, told.lines) == ("Completed", [BEGUN, COMPLETED])


@KINDS
def test_a_submitted_one_gives_the_list_of_its_items(runner: str, kind: str) -> None:
    made = counting(kind, {})

    @flow
    def several() -> Iterator[Any]:
        yield double.submit(4)
        yield double.map([1, 2])

    @flow
    def main() -> Any:
        return made.submit(3), made.submit(2, return_state=True).result(), several.submit(), several(return_state=True)

    assert main() == ([0, 1, 2], [0, 1], [8, [2, 4]], [8, [2, 4]])


@KINDS
def test_one_that_raises_has_failed(threads: str, told: Told, kind: str) -> None:
    """After it has given items there is no other attempt: they cannot be taken back."""
    count = counting(kind, told.options(retries=3), end=ValueError("after two"))
    found: list[Any] = []

    async def read() -> None:
        async for item in count(2):
            found.append(item)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ValueError, match="after two"):
        found.extend(count(2)) if kind == "sync" else asyncio.run(read())
    assert found == [0, 1] if kind == "async" else True
    row = last_run()
    assert (row.state_name, row.message) == ("Failed", "Flow run encountered an exception: ValueError: after two")
    assert told.lines == [BEGUN, FAILED]


@KINDS
def test_one_that_has_given_nothing_is_tried_again(threads: str, told: Told, kind: str) -> None:
    count = counting(kind, told.options(retries=1), first=ValueError("once"))
    assert collected(count(2)) == [0, 1]
    assert told.lines == [BEGUN, "on_retry AwaitingRetry 1", "on_running Retrying 2", "on_completion Completed 2"]


def test_values_sent_thrown_and_returned(threads: str) -> None:
    """A called one is a generator as Python's own are."""

    @flow(name="talk")
    def talk() -> Any:
        heard = []
        while len(heard) < 3:
            try:
                heard.append((yield len(heard)))
            except KeyError as error:
                heard.append(repr(error))
        return [*heard, double.submit(4)]

    talking = talk()
    assert next(talking) == 0
    assert talking.send("a") == 1
    assert talking.throw(KeyError("b")) == 2
    with pytest.raises(StopIteration) as ended:
        talking.send("c")
    assert ended.value.value == ["a", "KeyError('b')", "c", 8]
    assert last_run("talk").state_name == "Completed"


def test_a_failed_run_among_its_items_is_raised_at_its_yield(runner: str) -> None:
    @task
    def bad() -> int:
        raise ValueError("bad")

    @flow(name="catches")
    def catches() -> Iterator[Any]:
        try:
            yield bad.submit()
        except ValueError as error:
            yield str(error)

    @flow(name="lets")
    def lets() -> Iterator[Any]:
        yield [bad.submit()]

    assert list(catches()) == ["bad"]
    with pytest.raises(ValueError, match="bad"):
        next(lets())
    assert last_run("lets").state_name == "Failed"


def test_a_failure_that_nobody_saw_fails_it_at_its_end(runner: str) -> None:
    @task
    def bad() -> int:
        raise ValueError("bad")

    @flow(name="unseen")
    def unseen() -> Iterator[int]:
        bad.submit()
        yield 1

    items = unseen()
    assert next(items) == 1
    with pytest.raises(ValueError, match="bad"):
        next(items)
    assert last_run("unseen").state_name == "Failed"
    items = unseen()
    next(items)
    items.close()
    assert last_run("unseen").state_name == "Completed", "its reader does not wait for the end"


@KINDS
def test_its_time_is_that_of_its_own_code(threads: str, told: Told, kind: str) -> None:
    """What the reader does between two items does not count."""
    gate = threading.Event()
    read_slowly(stuck_at_last(kind, flow(name="slow", timeout_seconds=LIMIT), gate)())
    gate.set()
    assert last_run("slow").state_name == "TimedOut"


@KINDS
def test_its_code_knows_its_run_and_its_reader_does_not(threads: str, kind: str) -> None:
    def here() -> str | None:
        try:
            return context.flow_run().name
        except MissingContextError:
            return None

    seen: list[Any] = []

    @flow(name="count", flow_run_name="reads-{n}", log_prints=True)
    def count(n: int) -> Iterator[int]:
        for item in range(n):
            seen.append(here())
            print(f"item {item}")
            get_run_logger().info("logged %s", item)
            yield item

    @flow(name="count", flow_run_name="reads-{n}", log_prints=True)
    async def count_async(n: int) -> Any:
        for item in range(n):
            seen.append(here())
            print(f"item {item}")
            get_run_logger().info("logged %s", item)
            await asyncio.sleep(0)
            yield item

    async def read() -> None:
        async for _ in count_async(2):
            seen.append(here())  # noqa: PERF401 - in the order in which it comes

    if kind == "async":
        asyncio.run(read())
    else:
        for _ in count(2):
            seen.append(here())  # noqa: PERF401 - in the order in which it comes
    assert seen == ["reads-2", None] * 2
    row = last_run()
    sessions.current().records.flush(SOON)
    lines = [line.message for line in sessions.current().records.logs(row.id)]
    own = [line for line in lines if line.startswith(("item", "logged"))]
    assert own == ["item 0", "logged 0", "item 1", "logged 1"]


def test_a_handlers_answer_takes_the_place_of_its_end(threads: str) -> None:
    @flow(name="count", state_handlers=[lambda flow, old, new: Failed("not so") if new.is_completed() else None])
    def count() -> Iterator[int]:
        yield 1

    items = count()
    assert next(items) == 1
    with pytest.raises(FailedRun, match="not so"):
        next(items)
    assert last_run().state_name == "Failed"


def test_called_in_a_task(runner: str) -> None:
    @flow
    def upto(n: int) -> Iterator[int]:
        for x in range(n):
            yield double(x)

    @task
    def total(n: int) -> int:
        return sum(upto(n))

    @flow
    def main() -> Any:
        return total.submit(4), total(3)

    assert main() == (12, 6)


def test_bad_arguments_raise_at_the_call(threads: str) -> None:
    with pytest.raises(TypeError, match="missing 'n'"):
        counting("sync", {})()


@KINDS
def test_a_limit_on_the_flow_holds_from_its_first_item_to_its_end(threads: str, kind: str) -> None:
    count = counting(kind, {"concurrency_limit": 1})
    if kind == "async":
        assert collected(count(2)) == [0, 1]
        return
    first = count(2)
    next(first)
    second = count.submit(2)
    assert not second.done()
    assert list(first) == [1]
    assert second.result(SOON) == [0, 1]
