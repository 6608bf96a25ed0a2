"""The part that tasks and flows have alike: each is an object in the place of a function of the user's."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from anabranch.core.reachable import reachable
from anabranch.core.showing import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.type_variables import F


class Decorated(Shown):
    """An object in the place of its function."""

    plain_fn: Callable[..., Any]
    isasync: bool
    isgenerator: bool

    def _hold(self, fn: Callable[..., Any]) -> None:
        """Take the function, and note its kind."""
        self.plain_fn = fn
        streams = inspect.isasyncgenfunction(fn)
        self.isasync = streams or inspect.iscoroutinefunction(fn)
        self.isgenerator = streams or inspect.isgeneratorfunction(fn)

    @property
    def fn(self) -> Any:
        """The plain function, under a name by which pickle finds it where this object stands in its module."""
        return reachable(self, self.plain_fn)

    @fn.setter
    def fn(self, fn: Any) -> None:
        self.plain_fn = fn


class AnyFlow(Decorated):
    """A flow, to the rooms below `flows`."""

    name: str


class Hooked:
    """Decorators that add hooks."""

    def on_completion(self, hook: F) -> F:
        """Add a hook `(task or flow, run, state)` for runs that complete; usable as a decorator."""
        return self._hook("on_completion", hook)

    def on_failure(self, hook: F) -> F:
        """Add a hook for runs that fail for good."""
        return self._hook("on_failure", hook)

    def on_running(self, hook: F) -> F:
        """Add a hook for each attempt that starts."""
        return self._hook("on_running", hook)

    def _hook(self, name: str, hook: F) -> F:
        raise NotImplementedError
