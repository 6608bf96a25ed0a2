"""Context variables of who submits, for runs in the same process: each runs in the context it was submitted in.

A series of runs has the context of its first one; of others only what differs from it is noted, until they have
ended. Of ours nothing goes along: a task does not see the flow around it as its own.
"""

from __future__ import annotations

import contextvars
import gc
from typing import TYPE_CHECKING, Any

from anabranch.core import own_runners
from anabranch.core.context import current_flow, current_tags, current_task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.maps import MapRun

_MISSING = object()
PRUNE_FROM = 1024  # items noted, before those that have ended are looked for


class Contexts:
    """What is captured in one scope: a context that holds the same as the last one is that one."""

    def __init__(self) -> None:
        self._last: tuple[Any, contextvars.Context] | None = None

    def here(self) -> tuple[Any, contextvars.Context]:
        """What there is of the context of here, by its identity, and the context itself."""
        now = contextvars.copy_context()
        content = gc.get_referents(now)[0]  # the same object as long as nobody sets a variable
        last = self._last
        if last is not None and last[0] is content:
            return last
        now.run(_without_ours)
        if last is not None and _same(now, last[1]):
            now = last[1]
        self._last = found = (content, now)
        return found

    def clear(self, maps: Iterable[MapRun]) -> None:
        """Let go of what was captured: it holds the flow run around, which holds these maps."""
        self._last = None
        for map in maps:
            map.carried = None


def _without_ours() -> None:
    current_flow.set(None)
    current_task.set(None)
    current_tags.set(())
    own_runners.outside()


def _same(one: contextvars.Context, other: contextvars.Context) -> bool:
    """Whether all variables hold the very same objects; they are not asked whether they are equal."""
    return len(one) == len(other) and all(other.get(name, _MISSING) is value for name, value in one.items())


class Carried:
    """The contexts of a map's items, or of a series of runs.

    Attributes:
        content: what there is of the first one's: who finds the same need not look further.
    """

    __slots__ = ("_base", "_contexts", "_next", "_others", "content")

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.content, self._base = contexts.here()
        self._others: dict[int, contextvars.Context] = {}
        self._next = PRUNE_FROM

    def note(self, index: int, map: MapRun) -> None:
        """An item is about to be submitted, where another content was found."""
        content, context = self._contexts.here()
        if context is self._base:
            self.content = content
            return
        self._others[index] = context
        if len(self._others) > self._next:
            for old in [i for i in list(self._others) if map.is_terminal(i)]:
                self._others.pop(old, None)
            self._next = max(PRUNE_FROM, 2 * len(self._others))

    def at(self, index: int) -> contextvars.Context:
        """A copy of an item's context, to run it in."""
        return self._others.get(index, self._base).copy()

    def of_all(self, items: Any) -> contextvars.Context | None:
        """The one context of these items; None where they have several."""
        if not self._others:
            return self._base
        found = {id(self._others.get(index, self._base)) for index in items}
        return self._others.get(items[0], self._base) if len(found) == 1 else None
