"""Nested submits on a worker of another process: futures of runs that the driver dispatches.

    task's code --submit, map--> WorkerScope --port.request--> driver: nested_requests --> Scope --> dispatcher
    futures ----wait, result-->      |     <---- how the runs stand, values --------------+

There is one dispatcher, one ledger and one record: the driver's. A `RemoteMapRun` here has the state of a map there as
of the last answer. Released handles travel with the next request, because a finalizer must not wait; the rest ends with
the chunk.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import pickle
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core import context, nested
from anabranch.core.annotations import Annotation, allow_failure, unmapped
from anabranch.core.asking import is_a
from anabranch.core.errors import MapError, RunnerError
from anabranch.core.future_lists import FutureList, is_future
from anabranch.core.futures import FUTURES, Future
from anabranch.core.item_columns import ENDED
from anabranch.core.waiter import aside
from anabranch.core.walk import waited_for
from anabranch.limits.tickets import Ticket
from anabranch.worker.nested_feed import IteratorFeed
from anabranch.worker.nested_pickles import NestedPickler, pickle_of
from anabranch.worker.remote_maps import RemoteMapRun, begun, learn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.context import TaskContext
    from anabranch.core.item_columns import ItemColumns
    from anabranch.core.maps import MapRun
    from anabranch.core.options import MapOptions
    from anabranch.core.runnable import Runnable
    from anabranch.core.waiter import Waiter

A = TypeVar("A")


class WorkerScope:
    """See the module's head. A `core.scopes.NestedPort` for one chunk's tasks."""

    def __init__(self, task: TaskContext) -> None:
        assert task.port is not None
        self.task = task
        self.port = task.port
        self.chunk = task.chunk
        self.id = os.urandom(8).hex()
        self.maps: dict[str, RemoteMapRun] = {}
        self.notes: deque[nested.Note] = deque()  # handles taken and released, in order
        self.feeds: set[IteratorFeed] = set()  # iterators that are still pulled
        self._ends: dict[tuple[str, int | None], list[Callable[[], None]]] = {}
        self._watching = False
        self._turns = itertools.count()
        self._in_turn = threading.Lock()
        self._asking: set[int] = set()  # threads with a request under way
        self._lock = threading.Lock()  # no request within it: a finalizer may ask there

    def ask(self, request: nested.Request[A], gave: dict[int, list[Any]] | None = None) -> A:
        """Send one request to the driver and return its answer; raises the exception of the answer.

        A task that waits here on an event loop blocks; the loop's other tasks, which it may wait for, go on.

        Args:
            gave: filled with the elements that iterators in the request have given, by the id of the iterator.
        """
        asked = io.BytesIO()
        gave = {} if gave is None else gave  # kept until the answer: the request names futures that are in here alone
        NestedPickler(asked, gave).dump(request.parts())
        answer: A
        thread = threading.get_ident()
        if thread in self._asking:  # a finalizer: the request around it goes on once this one has ended
            answer = self._send(request.kind, (self.id, nested.AT_ONCE, []), asked)
            return answer
        self._asking.add(thread)
        try:
            with self._in_turn:
                notes: list[nested.Note] = []
                turn = next(self._turns)
                while self.notes:
                    notes.append(self.notes.popleft())
            answer = self._send(request.kind, (self.id, turn, notes), asked)
            return answer
        finally:
            self._asking.discard(thread)

    def _send(self, kind: str, head: tuple[str, int, list[nested.Note]], asked: io.BytesIO) -> Any:
        """Send a request behind its scope, turn and notes, and return the answer."""
        # The driver reads notes first: the request may name a handle in them.
        data = pickle.dumps(head) + asked.getvalue()
        with aside():
            return self.port.request(self.chunk, self.task.position, kind, data)

    # -- submission ------------------------------------------------------------------------------

    def submit(self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None) -> Future:
        args, kwargs = task.binder.bind(args, kwargs)
        digest, data = pickle_of(task)
        tags = context.current_tags.get()
        request = nested.Submit(digest, None, self._parent(), tags, args, kwargs, _waited(wait_for))
        map_id, index = self._start(request, data)
        map = self._known(map_id, task, "submit")
        learn(map, begun(index))
        return Future(map, index)

    def map(
        self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], options: MapOptions, wait_for: Any = None
    ) -> FutureList:
        """Map as in the driver; an iterator stays here and is pulled as far as the map there asks."""
        args, kwargs = task.binder.bind(args, kwargs)
        feeds: list[IteratorFeed] = []
        args = tuple(self._mapped(a, feeds) for a in args)
        kwargs = {name: self._mapped(a, feeds) for name, a in kwargs.items()}
        digest, data = pickle_of(task)
        tags = context.current_tags.get()
        request = nested.SubmitMap(digest, None, self._parent(), tags, args, kwargs, _waited(wait_for), options)
        map_id, news = self._start(request, data)
        self.feeds.update(feeds)
        for feed in feeds:
            feed.start()
        map = self._known(map_id, task, "map")
        map.keep = options.keep == "values"
        learn(map, news)
        return FutureList(map)

    def _mapped(self, value: Any, feeds: list[IteratorFeed]) -> Any:
        """Return an argument to map over in the form that travels, with a feed in place of an iterator."""
        kind = type(value)
        if kind in FUTURES:
            value = value.result()
        elif issubclass(kind, allow_failure) and type(value.value) in FUTURES:
            return allow_failure(value.value.result(raise_on_failure=False))
        elif issubclass(kind, Annotation) and not issubclass(kind, unmapped):
            return kind(self._mapped(value.value, feeds))
        if not is_a(value, Iterator):
            return value
        feeds.append(IteratorFeed(value, self.ask, self.feeds.discard))
        return feeds[-1].mark

    def finish(self) -> None:
        """Wait until iterators that the tasks left behind are not pulled any more; the slot is lent meanwhile."""
        for feed in list(self.feeds):
            with contextlib.suppress(RunnerError):
                self.ask(nested.AwaitFed(feed.mark.number))

    def _start(self, request: nested.Submission[A | None], data: bytes) -> A:
        """Submit; if the driver does not know the task by its digest, send the task with a second request."""
        gave: dict[int, list[Any]] = {}
        found = self.ask(request, gave)
        if found is None:
            request.data = data
            found = self.ask(request, gave)
            assert found is not None
        return found

    def _parent(self) -> tuple[Any, ...]:
        run = self.task.run
        return run.task_name, run.map_id, run.index, run.attempt, run.flow_run_id, run.flow_run_name

    def _known(self, map_id: str, task: Any, kind: str) -> RemoteMapRun:
        with self._lock:
            found = self.maps.get(map_id)
            if found is None:
                found = RemoteMapRun(map_id, task.spec, task.options, kind=kind, lane=-1, scope=self)
                self.maps[map_id] = found
            return found

    # -- what futures ask ------------------------------------------------------------------------

    def look(self, map: MapRun, index: int | None) -> None:
        learn(map, self.ask(nested.Look(map.id, index)))

    def wait(self, map: MapRun, index: int | None, timeout: float | None) -> bool:
        ended, news = self.ask(nested.AwaitEnd(map.id, index, timeout))
        learn(map, news)
        return ended

    def hold_on(self, waiter: Waiter, timeout: float | None) -> bool:
        return waiter.wait(timeout)  # the thread that watches for ends lends the slot

    def interrupted(self, what: object) -> None: ...  # the attempt of the task handles it

    async def pause(self, map: MapRun, index: int | None) -> None:
        import asyncio

        await asyncio.to_thread(self.wait, map, index, None)

    def value(self, map: MapRun, index: int) -> Any:
        return self.values(map, index, index + 1)[0]

    def values(self, map: MapRun, lo: int, hi: int) -> list[Any]:
        return self.ask(nested.ReadValues(map.id, lo, hi))

    def cancel(self, map: MapRun, indices: Sequence[int] | None) -> None:
        self.ask(nested.Cancel(map.id, None if indices is None else tuple(indices)))

    def moment(self, map: MapRun) -> ItemColumns:
        for lo in range(0, len(map.codes), nested.SLICE):
            if map.codes[lo : lo + nested.SLICE].translate(None, ENDED):
                self.look(map, lo)
        return map.moment()

    def take_handles(self, map: MapRun, items: Sequence[int]) -> None:
        self.notes.extend((nested.TAKEN, map.id, index) for index in items)

    def take_handle(self, map: MapRun, index: int) -> None:
        self.notes.append((nested.TAKEN, map.id, index))

    def drop_handle(self, map: MapRun, index: int) -> None:
        self.notes.append((nested.DROPPED, map.id, index))

    drop_handle_soon = drop_handle

    def drop_list(self, map: MapRun) -> None:
        self.notes.append((nested.DROPPED, map.id, None))

    def stream(self, map: MapRun, move: str, *args: Any) -> None:
        self.ask(nested.MoveStream(map.id, move, args))

    def stream_closed(self, map: MapRun, finished: bool) -> None:
        self.ask(nested.CloseStream(map.id, finished))

    def barrier(self, map: MapRun) -> None:
        """Do nothing: the flow in the driver waits for the record."""

    def reduce(self, map: MapRun, fn: Callable[[Any, Any], Any], fan_in: int) -> Future:
        if fan_in < 2:
            raise MapError(f"fan_in must be 2 or more, got {fan_in}")
        if not map.closed:
            self.wait(map, None, None)
        map_id, index, spec, options = self.ask(nested.Reduce(map.id, getattr(fn, "fn", fn), fan_in))
        with self._lock:
            new = self.maps.get(map_id) or RemoteMapRun(map_id, spec, options, kind="submit", lane=-1, scope=self)
            self.maps[map_id] = new
        learn(new, begun(index))
        return Future(new, index)

    # -- limits ----------------------------------------------------------------------------------

    def queue_up(
        self, name: str, count: int, hold: bool, on_ready: Callable[[], None] | None
    ) -> tuple[bool, FarTicket | None]:
        """Ask whether the driver's record has this limit, and return a ticket where it holds."""
        known, number = self.ask(nested.QueueUp(name, count, hold))
        return known, None if number is None else FarTicket(self, number, name, count, on_ready)

    # -- being told ------------------------------------------------------------------------------

    def on_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        with self._lock:
            self._ends.setdefault((map.id, index), []).append(call)
            start, self._watching = not self._watching, True
        if start:
            threading.Thread(target=self._watch, name="anabranch-ends", daemon=True).start()
        else:
            self.ask(nested.AskAgain())  # the watching thread asks again, for this one too

    def off_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        with self._lock:
            calls = self._ends.get((map.id, index), [])
            if call in calls:
                calls.remove(call)
            if not calls:
                self._ends.pop((map.id, index), None)
            nobody = not self._ends and self._watching
        if nobody:
            self.ask(nested.AskAgain())

    def _watch(self) -> None:
        """Ask for the next ends while there are waiters; the task's slot is lent meanwhile."""
        while True:
            with self._lock:
                keys = list(self._ends)
                if not keys:
                    self._watching = False
                    return
            ended = self.ask(nested.AwaitAny(keys))
            for key, news in ended:
                learn(self.maps[key[0]], news)
                with self._lock:
                    calls = self._ends.pop(key, [])
                for call in calls:
                    call()

    def subscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        """Call `call` for items as they end, first for those that have ended."""
        map.consumers.subscribers.append(call)
        threading.Thread(target=self._follow, args=(map, call), name="anabranch-follow", daemon=True).start()

    def _follow(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        told = 0
        while call in map.consumers.subscribers:
            items, news = self.ask(nested.AwaitItems(map.id, told))
            learn(map, news)
            told += len(items)
            if items:
                call(map, items)
            if map.closed and told >= len(map.codes):
                return

    def unsubscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        if call in map.consumers.subscribers:
            map.consumers.subscribers.remove(call)
            self.ask(nested.AskAgain())

    def call_back(self, work: Callable[[], object]) -> None:
        work()


def _waited(wait_for: Any) -> list[Any] | None:
    """Return the futures to wait for in a form that travels, which not every iterable does."""
    return [allow_failure(f) if allow else f for f, allow in waited_for(wait_for, is_future)] or None


class FarTicket(Ticket):
    """A ticket for slots that the driver holds for a task here."""

    def __init__(
        self, scope: WorkerScope, number: int, name: str, count: int, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__({name: count}, {}, functools.partial(scope.ask, nested.GiveSlotsBack(number)), on_ready)
        self._scope = scope
        self._number = number
        if on_ready is not None:  # a coroutine waits, and its loop must go on meanwhile
            threading.Thread(target=self._watch, name="anabranch-slots", daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(RunnerError):
            if self._scope.ask(nested.AwaitSlots(self._number, None)):
                self.grant()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout == 0:
            return super().wait(0)
        try:
            return self._scope.ask(nested.AwaitSlots(self._number, timeout))
        except BaseException:
            self.give_back()
            raise
