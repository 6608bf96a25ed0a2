"""Maps of the driver as a worker knows them: as of the last answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from anabranch.core import nested
from anabranch.core.maps import MapRun
from anabranch.core.scopes import ScopePort

if TYPE_CHECKING:
    from collections import deque

    from anabranch.core import states


class Asking(ScopePort, Protocol):
    """The contract of the scope, which asks the driver."""

    notes: deque[nested.Note]

    def look(self, map: MapRun, index: int | None) -> None: ...


class RemoteMapRun(MapRun):
    """A map of the driver, as of the last answer."""

    __slots__ = ()
    scope: Asking

    def is_terminal(self, index: int) -> bool:
        if not super().is_terminal(index):
            self.scope.look(self, index)
        return super().is_terminal(index)

    def state(self, index: int) -> states.State:
        self.is_terminal(index)
        return super().state(index)

    @property
    def finished(self) -> bool:
        if not (self.closed and self.done >= len(self.codes)):
            self.scope.look(self, None)
        return self.closed and self.done >= len(self.codes)

    def mark_handled(self, index: int) -> None:
        if index not in self.handled:
            self.handled.add(index)
            self.scope.notes.append((nested.HANDLED, self.id, index))


def learn(map: MapRun, news: nested.MapNews) -> None:
    """Take in how the driver's map stands."""
    if news.length > len(map.codes):
        map.codes.extend(bytes(news.length - len(map.codes)))
    map.codes[news.lo : news.lo + len(news.codes)] = news.codes
    map.done, map.closed, map.error = news.done, news.closed, news.error
    map.errors.update(news.errors)
    map.messages.update(news.messages)
    map.state_names.update(news.names)
    map.attempts.update(news.attempts)


def begun(index: int) -> nested.MapNews:
    """Return the news of a map with this item and nothing else known."""
    return nested.MapNews(index + 1, 0, False, index, b"", {}, {}, {}, {}, None)
