"""Generator flows to call, what their hooks were told, and what the record has of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch import session as sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.runs import FlowRunRow

SOON = 30.0
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


class Told:
    """What hooks of a flow were told, in its order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def options(self, **more: Any) -> dict[str, Any]:
        def noting(which: str) -> Callable[..., None]:
            return lambda flow, run, state: self.lines.append(f"{which} {state.name} {run.attempt}")

        hooks = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_retry")
        return {**{which: [noting(which)] for which in hooks}, **more}


BEGUN, COMPLETED, FAILED = "on_running Running 1", "on_completion Completed 1", "on_failure Failed 1"


@task
def double(x: int) -> int:
    return 2 * x


def counting(
    kind: str, more: dict[str, Any], end: BaseException | None = None, first: BaseException | None = None
) -> Any:
    """A flow that gives 0, 1, ... and then raises `end`; or `first`, before it has given anything, once."""
    tries = [first] if first is not None else []

    def step() -> None:
        if tries:
            raise tries.pop()

    @flow(name="count", **more)
    def count(n: int) -> Iterator[int]:
        step()
        yield from range(n)
        if end is not None:
            raise end

    @flow(name="count", **more)
    async def count_async(n: int) -> Any:
        await asyncio.sleep(0)
        step()
        for item in range(n):
            yield item
        if end is not None:
            raise end

    return count if kind == "sync" else count_async


def last_run(name: str = "count") -> FlowRunRow:
    records = sessions.current().records
    records.flush(SOON)
    return max((row for row in records.flow_runs() if row.flow == name), key=lambda row: row.created)


def runs_of(name: str) -> int:
    records = sessions.current().records
    records.flush(SOON)
    return sum(row.flow == name for row in records.flow_runs())
