"""The code of a generator task: its time, its context, and the answers of handlers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, get_run_logger, task
from anabranch import session as sessions
from anabranch.core.context import current_task
from anabranch.core.errors import FailedRun
from anabranch.core.states import Failed
from tests.acceptance.generator_runs import (
    BEGUN,
    KINDS,
    LIMIT,
    SOON,
    Told,
    calls_of,
    read_slowly,
    stuck_at_last,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told() -> Told:
    return Told()


@KINDS
def test_its_time_is_that_of_its_own_code(threads: str, told: Told, kind: str) -> None:
    """What the reader does between two items does not count."""
    gate = threading.Event()
    slow = stuck_at_last(kind, task(name="slow", timeout_seconds=LIMIT, **told.options()), gate)

    @flow
    def main() -> None:
        read_slowly(slow())

    state = main(return_state=True)
    gate.set()
    assert told.lines == [*BEGUN, "Running-TimedOut", "on_failure TimedOut 1"]
    assert calls_of(state.run_id)[0].counts == {"TimedOut": 1}


@KINDS
def test_its_code_knows_its_run_and_its_reader_does_not(threads: str, kind: str, caplog: Any) -> None:
    seen: list[Any] = []

    def look() -> None:
        here = current_task.get()
        seen.append(here.run.name if here is not None else None)

    @task(task_run_name="reads-{n}", log_prints=True)
    def count(n: int) -> Iterator[int]:
        for item in range(n):
            look()
            print(f"item {item}")
            get_run_logger().info("logged %s", item)
            yield item

    @task(task_run_name="reads-{n}", log_prints=True)
    async def count_async(n: int) -> Any:
        for item in range(n):
            look()
            print(f"item {item}")
            get_run_logger().info("logged %s", item)
            await asyncio.sleep(0)
            yield item

    async def read() -> None:
        async for _ in count_async(2):
            look()

    @flow
    def main() -> Any:
        if kind == "async":
            return asyncio.run(read())
        for _ in count(2):
            look()
        return None

    state = main(return_state=True)
    assert seen == ["reads-2", None] * 2
    sessions.current().records.flush(SOON)
    lines = [row.message for row in sessions.current().records.logs(state.run_id) if "reads-2" in row.logger]
    assert lines[:4] == ["item 0", "logged 0", "item 1", "logged 1"]


def test_a_handlers_answer_takes_the_place_of_its_end(threads: str) -> None:
    @task(state_handlers=[lambda task, old, new: Failed("not like this") if new.is_completed() else None])
    def count() -> Iterator[int]:
        yield 1

    @flow
    def main() -> Any:
        items = count()
        assert next(items) == 1
        with pytest.raises(FailedRun, match="not like this"):
            next(items)

    state = main(return_state=True)
    assert calls_of(state.run_id)[0].counts == {"Failed": 1}
