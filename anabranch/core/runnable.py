"""Runnable, the part of a task that a scope needs, and the combining step of a reduce."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, ClassVar

from anabranch.core.computation import Computation
from anabranch.core.decorated import Decorated
from anabranch.core.owners import Owner
from anabranch.core.params import Binder
from anabranch.core.task_spec import TaskSpec
from anabranch.core.user_code import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.options import TaskOptions


class Runnable(Decorated):
    """The part of a task that a scope needs: its function, its options, and the binding of its arguments.

    Args:
        make: makes the Task that hooks get on a worker.
    """

    serials: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(
        self, fn: Callable[..., Any], name: str, chosen: TaskOptions, source: str | None = None,
        make: Callable[[TaskSpec], Any] | None = None,
    ) -> None:  # fmt: skip
        self._hold(fn)
        self.name: str = name
        self.options: TaskOptions = chosen
        self.binder: Binder = Binder(fn, name)
        self.serial: int = next(self.serials)
        self.quiet = False  # no log lines for its single runs
        self.unshown = False  # nothing of its runs is shown: their callers hear of each end
        self.computation: Computation = Computation(fn, chosen)
        self.spec: TaskSpec = TaskSpec(name, fn, chosen, source, isasync=is_async(fn), computed=self.computation)
        if make is not None and chosen.watched:
            self.spec.owner = Owner(self, make)


def name_of(fn: Any) -> str:
    """Return a function's name, looking through partials."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)


class Combine:
    """One step of a reduce: several values into one, from left to right."""

    def __init__(self, fn: Callable[[Any, Any], Any]) -> None:
        self.fn = fn
        self.__name__ = f"reduce({name_of(fn)})"

    def __call__(self, *values: Any) -> Any:
        return functools.reduce(self.fn, values)
