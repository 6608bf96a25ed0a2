"""Generator tasks and what their hooks and the record tell of their runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import session as sessions
from anabranch.core.errors import TaskTimeoutError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from anabranch.core.runs import MapRow


SOON = 30.0
BEGUN = ["Pending-Running", "on_running Running 1"]
COMPLETED = ["Running-Completed", "on_completion Completed 1"]
FAILED = ["Running-Failed", "on_failure Failed 1"]
KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


class Told:
    """What hooks and handlers of a task were told, in its order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def options(self, **more: Any) -> dict[str, Any]:
        def noting(which: str) -> Callable[..., None]:
            return lambda task, run, state: self.lines.append(f"{which} {state.name} {run.attempt}")

        def handler(task: Any, old: Any, new: Any) -> None:
            self.lines.append(f"{old.name}-{new.name}")

        hooks = ("on_running", "on_completion", "on_failure", "on_retry")
        return {"state_handlers": [handler], **{which: [noting(which)] for which in hooks}, **more}


def collected(items: Any) -> list[Any]:
    """All items of a generator, async or not."""
    if not hasattr(items, "__aiter__"):
        return list(items)

    async def all_of() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(all_of())


LIMIT = 1.0  # seconds that the code of `stuck_at_last` may take


def stuck_at_last(kind: str, mark: Callable[[Any], Any], gate: threading.Event) -> Any:
    """A generator task or flow that gives two items, and does not come to its end; async, or held by the gate."""

    def slow() -> Iterator[int]:
        yield 1
        yield 2
        gate.wait(SOON)

    async def slow_async() -> Any:
        yield 1
        yield 2
        await asyncio.sleep(600)

    return mark(slow if kind == "sync" else slow_async)


def read_slowly(items: Any) -> None:
    """Read what `stuck_at_last` gives, with more than its time between the items; its own code then takes too long."""
    if not hasattr(items, "__aiter__"):
        assert next(items) == 1
        time.sleep(LIMIT * 1.1)
        assert next(items) == 2
        with pytest.raises(TaskTimeoutError):
            next(items)
        return

    async def read() -> None:
        assert await anext(items) == 1
        await asyncio.sleep(LIMIT * 1.1)
        assert await anext(items) == 2
        with pytest.raises(TaskTimeoutError):
            await anext(items)

    asyncio.run(read())


def calls_of(run: str) -> list[MapRow]:
    records = sessions.current().records
    records.flush(SOON)
    return [map for map in records.maps(run) if map.kind == "call"]
