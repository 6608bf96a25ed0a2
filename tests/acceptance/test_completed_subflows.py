"""A subflow that has completed is not run again when the flow around it is: its value stands, as a task's does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions
from tests.acceptance.resuming import fails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.resuming import Ledger


def children(ran: Ledger) -> dict[str, Callable[[int], Any]]:
    """Ways to have a child run, each noting that it did."""

    @task
    def leaf(x: int) -> int:
        ran.note(f"leaf {x}")
        return x

    @flow
    def child(x: int) -> int:
        ran.note(f"child {x}")
        return leaf.submit(x).result() * 10

    @flow
    async def slow(x: int) -> int:
        ran.note(f"child {x}")
        return leaf.submit(x).result() * 10

    @flow
    def items(x: int) -> Iterator[int]:
        ran.note(f"child {x}")
        yield leaf.submit(x).result() * 10

    @flow
    def outer(x: int) -> int:
        return child(x)

    @task
    def calls(x: int) -> int:
        return child(x)

    return {
        "call": child,
        "state": lambda x: child(x, return_state=True).result(),
        "submit": lambda x: child.submit(x).result(),
        "async": lambda x: asyncio.run(slow(x)),
        "two levels": outer,
        "items": lambda x: items.submit(x).result()[0],
        "in a called task": calls,
        "in a submitted task": lambda x: calls.submit(x).result(),
    }


WAYS = list(children(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_it_does_not_run_again_on_the_retry_of_the_flow_around_it(runner: Any, ran: Ledger, way: str) -> None:
    run_child = children(ran)[way]

    @flow(retries=1)
    def main() -> list[int]:
        ran.note("main")
        found = [run_child(1), run_child(1), run_child(2)]
        if not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return found

    before = {row.id for row in sessions.current().records.flow_runs(limit=1000)}
    assert main() == [10, 10, 20]
    assert ran.take() == ["child 1", "child 1", "child 2", "leaf 1", "leaf 1", "leaf 2", "main", "main"]
    assert stored(before) == []


def stored(before: set[str]) -> list[str]:
    """Values that are still stored of new runs, though the flow around them has completed."""
    session = sessions.current()
    rows = [row for row in session.records.flow_runs(limit=1000) if row.id not in before]
    files: Any = session.store.blocks.files  # type: ignore[union-attr]
    assert rows
    found = [place for row in rows for place in session.records.stored(row.id)]
    return [place.name for place in found if files.get(place.name, 0, 1)]


def test_one_that_failed_runs_again(runner: Any, ran: Ledger) -> None:
    @task
    def leaf(x: int) -> int:
        ran.note(f"leaf {x}")
        return x

    @flow
    def child(x: int) -> int:
        ran.note(f"child {x}")
        found = leaf(x)
        if x == 2 and not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return found

    @flow(retries=1)
    def main() -> list[int]:
        return [child(1), child(2)]

    assert main() == [1, 2]
    assert ran.take() == ["child 1", "child 2", "child 2", "leaf 1", "leaf 2"]


def test_it_is_there_for_a_task_that_runs_again_in_the_driver(threads: Any, ran: Ledger) -> None:
    """On threads a flow that a task calls is a subflow of the flow run; elsewhere it is a part of that task."""

    @flow
    def child(x: int) -> int:
        ran.note(f"child {x}")
        return x

    @task
    def calls(x: int) -> int:
        found = child(5)
        if x == 1 and not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return found + x

    @flow(retries=1)
    def main() -> list[int]:
        found: list[int] = [calls.submit(x).result() for x in (0, 1)]
        return found

    assert main() == [5, 6]
    assert ran.take() == ["child 5", "child 5"]


def test_what_reads_it_does_not_run_again(runner: Any, ran: Ledger) -> None:
    """A future of a submitted one, and States of whatever was called, are what they were."""

    @task
    def reads(x: int) -> int:
        ran.note(f"reads {x}")
        return x + 1

    @task
    def made(x: int) -> int:
        return x

    @flow
    def child(x: int) -> int:
        return x

    @flow(retries=1)
    def main() -> list[int]:
        future = child.submit(1)
        behind = child.submit(future)
        found = [
            reads.submit(future), reads.submit(behind), reads.submit(child(2, return_state=True)),
            reads.submit(made(3, return_state=True)), reads.submit(made.submit(4).wait()),
        ]  # fmt: skip
        values = [f.result() for f in found]
        if not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return values

    assert main() == [2, 2, 3, 4, 5]
    assert ran.take() == ["reads 1", "reads 1", "reads 2", "reads 3", "reads 4"]


def test_a_value_that_cannot_be_stored_is_made_again(threads: Any, ran: Ledger) -> None:
    @flow
    def child() -> Any:
        ran.note("child")
        return (x for x in range(3))

    @flow(retries=1)
    def main() -> list[int]:
        found = list(child())
        if not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return found

    assert main() == [0, 1, 2]
    assert ran.take() == ["child", "child"]


def test_a_later_driver_asks_its_tasks_or_is_told_to_keep_it(runner: Any, ran: Ledger) -> None:
    """Whose code may have changed since: only a run that keeps what was made, whatever its code, keeps it whole."""

    @task
    def leaf(x: int) -> int:
        ran.note(f"leaf {x}")
        return x

    @task
    def reads(x: int) -> int:
        ran.note(f"reads {x}")
        return x

    @flow
    def child(x: int) -> int:
        ran.note(f"child {x}")
        return leaf(x)

    @flow(resumable=True)
    def main() -> int:
        found: int = reads.submit(child.submit(1)).result() + child(2)
        if not ran.mended:
            raise ValueError("not yet")
        return found

    run = fails(main)
    assert ran.take() == ["child 1", "child 2", "leaf 1", "leaf 2", "reads 1"]
    with pytest.raises(ValueError, match="not yet"):
        main.resume(run)
    assert ran.take() == ["child 1", "child 2"]
    ran.mend()
    assert main.resume(run, changed="keep") == 3
    assert ran.take() == []


def test_a_subflow_that_retries_keeps_what_its_tasks_made(runner: Any, ran: Ledger) -> None:
    """Though nobody could go on with the flow around it."""

    @task
    def leaf(x: int) -> int:
        ran.note(f"leaf {x}")
        return x

    @flow
    def inner() -> int:
        ran.note("inner")
        return leaf.submit(1).result()

    @flow(retries=1)
    def child() -> int:
        ran.note("child")
        found = inner() + sum(leaf.map([2, 3]).result())
        if not ran.mended:
            ran.mend()
            raise ValueError("not yet")
        return found

    @flow
    def main() -> int:
        return child()

    assert main() == 6
    assert ran.take() == ["child", "child", "inner", "leaf 1", "leaf 2", "leaf 3"]


def test_more_tasks_than_slots_may_call_flows_that_wait(runner: Any) -> None:
    """A task lends its slot out while a flow that it has called waits."""

    @task
    def leaf(x: int) -> int:
        return x

    @flow
    def child(x: int) -> int:
        return sum(leaf.map([x, x]).result()) + leaf.submit(x).result()

    @task
    def calls(x: int) -> int:
        return child(x)

    @flow
    def main() -> list[int]:
        found: list[int] = calls.map(range(12)).result()
        return found

    assert main() == [3 * x for x in range(12)]
