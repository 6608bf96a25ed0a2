"""Generator tasks and what their hooks and the record tell of their runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import session as sessions

if TYPE_CHECKING:
    from collections.abc import Callable

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


def calls_of(run: str) -> list[MapRow]:
    records = sessions.current().records
    records.flush(SOON)
    return [map for map in records.maps(run) if map.kind == "call"]
