"""Context variables of the submitting code, for runs in the same process.

Each run executes in the context it was submitted in. A series keeps the context of its first run, and those of
later runs only where they differ, until these have ended. anabranch's own variables are left out: a task does not see
the flow around it as its own.
"""

from __future__ import annotations

import contextvars
import gc
from typing import TYPE_CHECKING, Any

from anabranch.core import own_runners
from anabranch.core.context import current_flow, current_tags, current_task
from anabranch.core.transactions import block_here

if TYPE_CHECKING:
    from collections.abc import Callable

_MISSING = object()
PRUNE_FROM = 1024  # noted items from which on ended ones are removed


class Contexts:
    """The contexts captured in one scope; equal successive contexts are one object."""

    def __init__(self) -> None:
        self._last: tuple[Any, contextvars.Context] | None = None

    def here(self) -> tuple[Any, contextvars.Context]:
        """Return the identity of the current context's content, and the context."""
        now = contextvars.copy_context()
        content = gc.get_referents(now)[0]  # the same object until a variable is set
        last = self._last
        if last is not None and last[0] is content:
            return last
        now.run(_without_ours)
        if last is not None and _same(now, last[1]):
            now = last[1]
        self._last = found = (content, now)
        return found

    def clear(self) -> None:
        """Drop the captured contexts: they hold the flow run around, which holds the maps that carry them."""
        self._last = None


def _without_ours() -> None:
    current_flow.set(None)
    current_task.set(None)
    current_tags.set(())
    block_here.set(None)
    own_runners.outside()


def _same(one: contextvars.Context, other: contextvars.Context) -> bool:
    """Return whether all variables hold the very same objects; equality would run their code."""
    return len(one) == len(other) and all(other.get(name, _MISSING) is value for name, value in one.items())


class Carried:
    """The contexts of a map's items, or of a series of runs.

    Attributes:
        content: identity of the first run's content; an equal identity means an equal context.
    """

    __slots__ = ("_base", "_contexts", "_next", "_others", "content")

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.content, self._base = contexts.here()
        self._others: dict[int, contextvars.Context] = {}
        self._next = PRUNE_FROM

    def note(self, index: int, is_terminal: Callable[[int], bool]) -> None:
        """Note the context of an item that is about to be submitted, if it is not that of the first."""
        content, context = self._contexts.here()
        if context is self._base:
            self.content = content
            return
        self._others[index] = context
        if len(self._others) > self._next:
            for old in [i for i in list(self._others) if is_terminal(i)]:
                self._others.pop(old, None)
            self._next = max(PRUNE_FROM, 2 * len(self._others))

    def at(self, index: int) -> contextvars.Context:
        """Return a copy of an item's context, to run it in."""
        return self._others.get(index, self._base).copy()

    def of_all(self, items: Any) -> contextvars.Context | None:
        """Return the one context of these items; None where they have several."""
        if not self._others:
            return self._base
        found = {id(self._others.get(index, self._base)) for index in items}
        return self._others.get(items[0], self._base) if len(found) == 1 else None
