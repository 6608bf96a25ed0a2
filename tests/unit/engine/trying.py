"""One attempt that is driven by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.context import TaskRun
from anabranch.core.options import TaskOptions, make
from anabranch.core.task_spec import TaskSpec
from anabranch.engine import drive
from anabranch.engine.attempt import AttemptResult, AttemptWorld, attempt

if TYPE_CHECKING:
    from collections.abc import Callable


class Try:
    """An attempt of one task run, and what it warned of."""

    def __init__(self, fn: Callable[..., Any], *, store: Any = None, world: Any = None, **options: Any) -> None:
        self.warned: list[str] = []
        chosen = make(TaskOptions, "@task 'work'", {"name": "work", **options})
        self.run = TaskRun("work", "map-1", 3)
        self.world = AttemptWorld(
            TaskSpec("work", fn, chosen, store=store), self.run, dict, warn=self.warned.append,
            tell_failed=self.warned.append, **(world or {}),
        )  # fmt: skip

    def end(self, *args: Any) -> AttemptResult:
        return drive.run(attempt(self.world, args, {}))

    def name(self, *args: Any) -> str:
        return states.NAMES[self.end(*args).code][0]


def fails(*args: Any) -> Any:
    raise ValueError("bad")
