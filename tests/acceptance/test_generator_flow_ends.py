"""How generator flows end that are not read to their end: closed, let go of, held, cancelled, read by a task."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import RunnerError
from anabranch.driver.endings import Endings
from tests.acceptance.generator_flows import BEGUN, COMPLETED, SOON, Told, counting, double, last_run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize("how", ["closed", "let go of"])
def test_stopping_early_completes_the_run(runner: str, told: Told, how: str) -> None:
    """What it had submitted ends first; no cycle of references keeps it open."""
    cleaned: list[Any] = []

    @flow(name="count", **told.options())
    def count() -> Iterator[int]:
        futures = [double.submit(x) for x in range(3)]
        try:
            yield from range(1000)
        finally:
            cleaned.append([future.result() for future in futures])

    gc.disable()
    try:
        items = count()
        assert next(items) == 0
        assert told.lines == [BEGUN]
        if how == "closed":
            items.close()
        else:
            del items
    finally:
        gc.enable()
    assert cleaned == [[0, 2, 4]]
    assert told.lines == [BEGUN, COMPLETED]
    assert last_run().state_name == "Completed"


def test_stopping_an_async_one_early_completes_the_run(threads: str, told: Told) -> None:
    count = counting("async", told.options())

    async def main() -> Any:
        items = count(1000)
        first = await anext(items)
        await items.aclose()
        return first

    assert asyncio.run(main()) == 0
    assert told.lines == [BEGUN, COMPLETED]
    assert last_run().state_name == "Completed"


def test_what_is_held_half_read_keeps_no_flow_from_its_end(runner: str) -> None:
    kept: list[Any] = []

    @flow(name="half")
    def half() -> Iterator[int]:
        yield 1
        yield 2
        yield double(3)

    @flow
    def main() -> str:
        kept.append(half())
        next(kept[0])
        return "done"

    assert main() == "done"
    row = last_run("half")
    assert (row.state_name, row.message) == ("Completed", "not all of its items were read")
    assert row.parent_run
    assert next(kept[0]) == 2, "it goes on for whoever holds it"
    with pytest.raises(RunnerError, match="has ended"):
        next(kept[0])
    assert last_run("half").state_name == "Completed"


def test_what_is_held_half_read_keeps_no_program_from_its_end(fresh_session: Any, gates: Any) -> None:
    """Neither does a task of it that has not ended."""
    gate = gates("never")

    @task
    def waits() -> None:
        gate.wait()

    @flow(name="half")
    def half() -> Iterator[int]:
        waits.submit()
        yield 1
        yield 2

    items = half()
    next(items)
    closing = threading.Thread(target=fresh_session.close)
    closing.start()
    closing.join(SOON / 2)
    assert not closing.is_alive()
    (row,) = fresh_session.records.flow_runs()
    assert (row.state_name, row.message) == ("Completed", "not all of its items were read")
    assert next(items) == 2


def test_it_is_cancelled_with_the_flow_around_it(threads: str, told: Told) -> None:
    """It hears of that at its next item."""
    held, over = threading.Event(), threading.Event()

    @flow(name="half", **told.options())
    def half() -> Iterator[int]:
        yield from range(1000)

    @flow
    def inner() -> None:
        items = half()
        next(items)
        held.set()
        assert over.wait(SOON)
        next(items)

    @flow
    def main() -> str:
        future = inner.submit()
        assert held.wait(SOON)
        future.cancel()
        over.set()
        return future.wait().name

    assert main() == "Cancelled"
    assert last_run("half").state_name == "Cancelled"


@pytest.fixture
def at_its_end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a flow's function has returned and the flow begins to wait for its tasks."""
    waits, real = threading.Event(), Endings.wait_all

    def wait_all(endings: Endings, timeout: float | None = None) -> bool:
        waits.set()
        return real(endings, timeout)

    monkeypatch.setattr(Endings, "wait_all", wait_all)
    return waits


def test_a_task_reads_one_while_the_flow_around_waits_for_it(threads: str, at_its_end: threading.Event) -> None:
    """What the task reads is not taken from it."""

    @flow(name="upto")
    def upto(n: int) -> Iterator[int]:
        for x in range(n):
            yield double(x)
            assert at_its_end.wait(SOON)

    @task
    def total(n: int) -> int:
        return sum(upto(n))

    @flow
    def main() -> Any:
        return total.submit(3)

    assert main() == 6
    assert last_run("upto").state_name == "Completed"


def test_one_that_a_task_has_left_open_ends_with_the_flow_around(threads: str) -> None:
    kept: list[Any] = []

    @flow(name="half")
    def half() -> Iterator[int]:
        yield from range(1000)

    @task
    def first() -> int:
        kept.append(half())
        return next(kept[0])

    @flow
    def main() -> Any:
        return first.submit()

    assert main() == 0
    row = last_run("half")
    assert (row.state_name, row.message) == ("Completed", "not all of its items were read")


def test_one_whose_task_is_cancelled_at_the_flows_end_has_an_end(threads: str, told: Told) -> None:
    """Also while the task's thread, which nothing can stop, still reads it."""
    held, over = threading.Event(), threading.Event()

    @flow(name="half", **told.options())
    def half() -> Iterator[int]:
        yield 1
        held.set()
        over.wait(SOON)
        yield 2

    @task
    def total() -> int:
        return sum(half())

    @flow(on_exit="cancel")
    def main() -> str:
        total.submit()
        assert held.wait(SOON)
        return "done"

    assert main() == "done"
    ended = last_run("half").state_name
    over.set()
    assert ended in ("Cancelled", "Completed")
