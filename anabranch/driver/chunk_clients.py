"""What the tasks of one chunk on a worker have asked of the driver, and hold there until the chunk has ended."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import Annotation
from anabranch.core.errors import ResultReleased
from anabranch.core.nested import Key, Note, RemoteIterator
from anabranch.driver.nested_items import RemoteItems

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.events import WorkerRequest
    from anabranch.core.future_lists import FutureList
    from anabranch.core.futures import Future
    from anabranch.core.maps import MapRun
    from anabranch.limits.tickets import Ticket


@dataclass(eq=False, slots=True)
class Wait:
    """A request that is answered when something has ended, or its time is over."""

    request: WorkerRequest
    keys: list[tuple[MapRun, int | None]]
    answer: Callable[[], Any]
    call: Callable[[], None]
    watches: bool  # a thread beside the task asked: it may be told to ask again
    done: bool = False
    ticket: Ticket | None = None  # waits for slots of a limit; the task keeps its own slot, or more tasks would queue


@dataclass(eq=False, slots=True)
class Turns:
    """The requests of one scope on a worker, in the order in which it made them.

    Several threads of a task ask at once, and on the way here requests overtake each other. Their notes must not: a
    handle that one of them takes may be named by the next one, and keep a value that the next one lets go.
    """

    _next: int = 0
    _early: dict[int, tuple[WorkerRequest, list[Note], io.BytesIO]] = field(default_factory=dict)

    def come(
        self, turn: int, request: WorkerRequest, notes: list[Note], rest: io.BytesIO
    ) -> Iterator[tuple[WorkerRequest, list[Note], io.BytesIO]]:
        """Take a request, and yield all that have their turn now; a repeated one has had it."""
        if turn >= self._next:
            self._early[turn] = request, notes, rest
        while self._next in self._early:
            self._next += 1
            yield self._early.pop(self._next - 1)

    def waiting(self) -> list[WorkerRequest]:
        """Return the requests that have not had their turn."""
        return [request for request, _, _ in self._early.values()]


@dataclass(eq=False, slots=True)
class ChunkClient:
    """What the tasks of one chunk have submitted and still hold."""

    lane: int
    chunk: int
    futures: dict[Key, list[Any]] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    feeds: dict[int, RemoteItems] = field(default_factory=dict)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    turns: dict[str, Turns] = field(default_factory=dict)  # by scope: a chunk may run again, or in children

    def opened(self, argument: Any) -> Any:
        """A map's argument as the driver takes it: an iterator of the worker's is fed from there."""
        if issubclass(type(argument), Annotation):
            return type(argument)(self.opened(argument.value))
        if type(argument) is not RemoteIterator:
            return argument
        items = self.feeds[argument.number] = RemoteItems()
        return items.iterator()

    def add(self, future: Future | FutureList) -> None:
        """Hold one future more."""
        self.futures.setdefault((future._map.id, getattr(future, "_index", None)), []).append(future)

    def find(self, key: Key) -> Any:
        """The future that stands for the worker's."""
        held = self.futures.get(key)
        if not held:
            raise ResultReleased("these futures are not this task run's, or it has let them go")
        return held[0]

    def map(self, map_id: str) -> MapRun:
        """A map that the chunk's tasks hold futures of."""
        for (known, _), held in self.futures.items():
            if known == map_id and held:
                map: MapRun = held[0]._map
                return map
        raise ResultReleased("these futures are not this task run's, or it has let them go")


@dataclass(eq=False, slots=True)
class Subscription:
    """A map whose items a worker hears of in the order of their ends."""

    map: MapRun
    poke: Callable[[], None]
    ended: list[int] = field(default_factory=list)

    def hear(self, map: MapRun, items: Sequence[int]) -> None:
        """Items have ended."""
        self.ended.extend(items)
        self.poke()


class Unpickler(pickle.Unpickler):
    """Puts the driver's futures in the place of the worker's."""

    def __init__(self, file: io.BytesIO, client: ChunkClient) -> None:
        super().__init__(file)
        self._client = client

    def persistent_load(self, key: Any) -> Any:
        return self._client.find(key)
