"""Observers of runs and maps: told once of each begin and end, in the driver. There are none unless a program adds one.

    flow run     run_began, inside (around its function), run_ended
    map          map_began, what it answers goes with the items; map_ended, on the callback thread
    item         nothing: what is on its way with the items is entered once a chunk

The same holds for a series of single submits, which ends with its flow run. An observer's exception is logged.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.chunks import Surroundings
    from anabranch.core.maps import MapRun
    from anabranch.core.states import State

_log = logging.getLogger("anabranch")


class RunSeen(NamedTuple):
    """A flow run as observers see it.

    Attributes:
        parent: the id of the flow run around it, "" for none.
        function: module and qualified name of its function.
    """

    id: str
    name: str
    flow: str
    runner: str
    parent: str
    function: str


class Observer(Protocol):
    """Told of runs and maps; its methods return fast."""

    def run_began(self, run: RunSeen, /) -> None: ...
    def inside(self, run_id: str, /) -> contextlib.AbstractContextManager[Any] | None:
        """Return the context that goes around the flow's function; None for none."""
        ...

    def run_ended(self, run: RunSeen, state: State, /) -> None: ...
    def map_began(self, map: MapRun, runner: str, /) -> Surroundings | None: ...
    def map_ended(self, map: MapRun, /) -> None: ...


observers: tuple[Observer, ...] = ()


def add(observer: Observer) -> None:
    """Tell an observer of all runs and maps that begin from now on."""
    global observers
    observers = (*observers, observer)


def remove(observer: Observer) -> None:
    global observers
    observers = tuple(one for one in observers if one is not observer)


def run_began(run: RunSeen) -> None:
    for one in observers:
        _told(one, "run_began", run)


def run_ended(run: RunSeen, state: State) -> None:
    for one in observers:
        _told(one, "run_ended", run, state)


@contextlib.contextmanager
def inside(run_id: str) -> Iterator[None]:
    """Enter the contexts of all observers around a flow's function."""
    with contextlib.ExitStack() as stack:
        for one in observers:
            found = _told(one, "inside", run_id)
            if found is not None:
                stack.enter_context(found)
        yield


def map_began(map: MapRun, runner: str) -> tuple[Surroundings, ...]:
    """Return what goes around the items of a new map on their worker."""
    found = [_told(one, "map_began", map, runner) for one in observers]
    return tuple(one for one in found if one is not None)


def watch(scope: Any, map: MapRun) -> None:
    """Tell of the end of a map; a watcher of the driver, called once a map."""
    if not observers:
        return
    here = weakref.ref(map)

    def ended() -> None:
        found = here()
        if found is not None:
            for one in observers:
                _told(one, "map_ended", found)

    scope.on_end(map, None, lambda: scope.call_back(ended))  # not under the pump's lock: an observer may take its time


@contextlib.contextmanager
def around(what: tuple[Surroundings, ...]) -> Iterator[None]:
    """Enter what goes around items, on their worker."""
    entered = [(one, one.enter()) for one in what]
    try:
        yield
    finally:
        for one, token in reversed(entered):
            one.leave(token)


def _told(observer: Observer, what: str, *args: Any) -> Any:
    try:
        return getattr(observer, what)(*args)
    except Exception:
        _log.warning("an observer of runs raised an exception, which changes nothing", exc_info=True)
        return None
