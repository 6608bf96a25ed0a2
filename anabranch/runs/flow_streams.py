"""Calls of generator flows: a generator of their items, and a run that begins with the first item.

for item in flow(x):     the flow's code runs inside its run, the reader's code between two items does not
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.engine import drive
from anabranch.runs.flow_begin import begin_stream

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Generator

    from anabranch.engine.steps import Step
    from anabranch.runs.definition import FlowDefinition
    from anabranch.runs.flow_execution import FlowExecution
    from anabranch.runs.resumed import Recorded


def generator_of(
    flow: FlowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Recorded | None = None
) -> Any:
    """Return a generator of the call's items, as the function makes them; async for an async function."""
    made: list[FlowExecution] = []  # filled when the first item is asked for, which may never happen

    def policy() -> Generator[Step, Any, Any]:
        return (yield from made[0].stream(args, kwargs))

    def inside() -> contextlib.AbstractContextManager[None]:
        if not made:
            made.append(begin_stream(flow, args, kwargs, recorded))
        return made[0].inside()

    return (drive.stream_async if flow.isasync else drive.stream)(policy(), inside)
