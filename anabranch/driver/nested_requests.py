"""The driver's side of nested submits: what `worker/nested_scope.py` asks is done here, in one thread.

    runner --WorkerRequest--> pump --> queue --> serve: Scope.submit, values, wait_for ... --reply--> worker

Nothing here waits for a run: a request to wait becomes a waiter of the dispatcher, whose call comes
back through the queue. A task that waits lends its slot out. What a chunk's tasks hold is held here
on their behalf, until they let it go or the chunk has ended.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import io
import itertools
import logging
import pickle
import threading
import time
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import context, nested
from anabranch.core.annotations import Annotation, unwrap_all
from anabranch.core.context import TaskContext, TaskRun
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.futures import Future, FutureList
from anabranch.core.nested import SLICE, FarIterator, Key, News
from anabranch.core.own_code import pickler
from anabranch.core.script import of_the_script
from anabranch.driver.nested_items import FarItems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.contracts import ErrorInfo, WorkerRequest
    from anabranch.core.maps import MapRun
    from anabranch.core.runnable import Runnable
    from anabranch.driver.pump import Pump
    from anabranch.driver.scope import Scope
    from anabranch.driver.scopes import Scopes
    from anabranch.limits.shared import SharedLimits
    from anabranch.limits.tickets import Ticket

_log = logging.getLogger("anabranch")
_ByValue = pickler(cloudpickle.Pickler)
PRUNE_SECONDS = 1.0  # between looks at whose chunk has ended


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
class Guest:
    """What the tasks of one chunk have submitted and still hold."""

    lane: int
    chunk: int
    futures: dict[Key, list[Any]] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    follows: dict[str, Follow] = field(default_factory=dict)
    feeds: dict[int, FarItems] = field(default_factory=dict)
    tickets: dict[int, Ticket] = field(default_factory=dict)

    def opened(self, argument: Any) -> Any:
        """A map's argument as the driver takes it: an iterator of the worker's is fed from there."""
        if issubclass(type(argument), Annotation):
            return type(argument)(self.opened(argument.value))
        if type(argument) is not FarIterator:
            return argument
        items = self.feeds[argument.number] = FarItems()
        return items.iterator()

    def add(self, future: Future | FutureList) -> None:
        self.futures.setdefault((future._map.id, getattr(future, "_index", None)), []).append(future)

    def find(self, key: Key) -> Any:
        """The future that stands for the worker's."""
        held = self.futures.get(key)
        if not held:
            raise ResultReleased("these futures are not this task run's, or it has let them go")
        return held[0]

    def map(self, map_id: str) -> MapRun:
        for (known, _), held in self.futures.items():
            if known == map_id and held:
                map: MapRun = held[0]._map
                return map
        raise ResultReleased("these futures are not this task run's, or it has let them go")


@dataclass(eq=False, slots=True)
class Follow:
    """A map whose items a worker hears of in the order of their ends."""

    map: MapRun
    poke: Callable[[], None]
    ended: list[int] = field(default_factory=list)

    def hear(self, map: MapRun, items: Sequence[int]) -> None:
        self.ended.extend(items)
        self.poke()


_LATER = object()


class WorkerRequests:
    """See the module's head; one per session, made at the first request."""

    def __init__(self, pump: Pump, scopes: Scopes, limits: SharedLimits) -> None:
        self.pump = pump
        self.scopes = scopes
        self.limits = limits
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._guests: dict[int, Guest] = {}
        self._tasks: dict[bytes, Runnable] = {}
        self._due: list[tuple[float, int, Guest, Wait]] = []
        self._ticket = itertools.count()
        self._answers: dict[type, Callable[[Guest, WorkerRequest, Any], Any]] = {
            nested.Submit: self._submit,
            nested.SubmitMap: self._submit_map,
            nested.Reduce: self._reduce,
            nested.Cancel: self._cancel,
            nested.GiveElements: self._give_elements,
            nested.AwaitFed: self._await_fed,
            nested.Look: self._look,
            nested.ReadValues: self._read_values,
            nested.ReadScript: self._read_script,
            nested.MoveStream: self._move_stream,
            nested.CloseStream: self._close_stream,
            nested.AwaitEnd: self._await_end,
            nested.AwaitAny: self._await_any,
            nested.AwaitItems: self._await_items,
            nested.AskAgain: self._ask_again,
            nested.QueueUp: self._queue_up,
            nested.AwaitSlots: self._await_slots,
            nested.GiveSlotsBack: self._give_slots_back,
        }
        self._thread = threading.Thread(target=self._serve, name="anabranch-requests", daemon=True)
        self._thread.start()

    def put(self, lane: int, request: WorkerRequest) -> None:
        """Take a request; does not block and may be called under any lock."""
        self._queue.put(functools.partial(self._take, lane, request))

    def close(self) -> None:
        self._queue.put(None)

    # -- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        prune_at = 0.0
        while True:
            now = time.monotonic()
            while self._due and (self._due[0][0] <= now or self._due[0][3].done):
                _, _, guest, wait = heapq.heappop(self._due)
                self._finish(guest, wait)
            if self._guests and now >= prune_at:
                prune_at = now + PRUNE_SECONDS
                self._prune()
            limit = min([d[0] for d in self._due[:1]] + [prune_at] * bool(self._guests), default=None)
            try:
                work = self._queue.get(timeout=None if limit is None else max(0.0, limit - now))
            except Empty:
                continue
            if work is None:
                return
            try:
                work()
            except Exception:  # one answer goes wrong, the others are given
                _log.exception("an answer to a worker's request failed")
            del work

    def _take(self, lane: int, request: WorkerRequest) -> None:
        guest = self._guests.get(request.chunk)
        if guest is None:
            guest = self._guests[request.chunk] = Guest(lane, request.chunk)
        try:
            file = io.BytesIO(request.payload)
            for note in pickle.load(file):
                self._note(guest, *note)
            asked = _Unpickler(file, guest).load()
            answer = self._answers[type(asked)](guest, request, asked)
        except BaseException as error:
            request.reply(False, error)
            return
        if answer is not _LATER:
            request.reply(True, answer)

    def _prune(self) -> None:
        """Let go of what ended chunks held."""
        sent = self.pump.dispatcher.tables.sent
        for chunk in self.pump.inspect(lambda: [c for c in self._guests if c not in sent]):
            guest = self._guests.pop(chunk)
            for wait in guest.waits:
                wait.done = True
                self._forget(wait)
            for follow in guest.follows.values():
                self.pump.dispatch(self.pump.dispatcher.readers.unsubscribe, follow.map, follow.hear)
            for ticket in guest.tickets.values():
                ticket.give_back()
            for feed in guest.feeds.values():
                feed.fail("the task run that gave this iterator has ended, or was lost with its worker")

    # -- what is asked ---------------------------------------------------------------------------

    def _note(self, guest: Guest, word: str, map_id: str, index: int | None) -> None:
        if word == nested.DROPPED:
            held = guest.futures.get((map_id, index))
            if held:
                held.pop()
                if not held:
                    del guest.futures[map_id, index]
            return
        with contextlib.suppress(ResultReleased):
            map = guest.map(map_id)
            if word == nested.HANDLED:
                map.handle(index or 0)
            else:
                map.scope.take_handle(map, index or 0)
                guest.add(Future(map, index or 0))

    def _submit(self, guest: Guest, request: WorkerRequest, asked: nested.Submit) -> tuple[str, int] | None:
        task = self._task(asked)
        if task is None:
            return None
        with self._inside(asked) as scope:
            future = scope.submit(task, asked.args, asked.kwargs, asked.wait_for)
        guest.add(future)
        return future._map.id, future._index

    def _submit_map(self, guest: Guest, request: WorkerRequest, asked: nested.SubmitMap) -> tuple[str, News] | None:
        task = self._task(asked)
        if task is None:
            return None
        given = map(unwrap_all, (*asked.args, *asked.kwargs.values()))
        numbers = [a.number for a in given if type(a) is FarIterator]
        args = tuple(guest.opened(a) for a in asked.args)
        kwargs = {name: guest.opened(a) for name, a in asked.kwargs.items()}
        with self._inside(asked) as scope:
            futures = scope.map(task, args, kwargs, asked.options, asked.wait_for)
        for number in numbers:
            guest.feeds[number].map = futures._map
        guest.add(futures)
        return futures._map.id, self._news(futures._map, 0, 0)

    def _reduce(self, guest: Guest, request: WorkerRequest, asked: nested.Reduce) -> tuple[str, int, Any, Any]:
        map = guest.map(asked.map_id)
        future = map.scope.reduce(map, asked.fn, asked.fan_in)
        guest.add(future)
        return future._map.id, future._index, future._map.spec, future._map.options

    def _look(self, guest: Guest, request: WorkerRequest, asked: nested.Look) -> News:
        return self._news_of(guest.map(asked.map_id), asked.index)

    def _read_values(self, guest: Guest, request: WorkerRequest, asked: nested.ReadValues) -> list[Any]:
        map = guest.map(asked.map_id)
        found: list[Any] = map.scope.values(map, asked.lo, asked.hi)
        return found

    def _read_script(self, guest: Guest, request: WorkerRequest, asked: nested.ReadScript) -> bytes | None:
        found = of_the_script(asked.name)
        return None if found is None else _ByValue.dumps(found)

    def _cancel(self, guest: Guest, request: WorkerRequest, asked: nested.Cancel) -> None:
        map = guest.map(asked.map_id)
        map.scope.cancel(map, asked.indices)

    def _move_stream(self, guest: Guest, request: WorkerRequest, asked: nested.MoveStream) -> None:
        map = guest.map(asked.map_id)
        map.scope.stream(map, asked.move, *asked.args)

    def _close_stream(self, guest: Guest, request: WorkerRequest, asked: nested.CloseStream) -> None:
        map = guest.map(asked.map_id)
        map.scope.stream_closed(map, asked.finished)

    def _give_elements(self, guest: Guest, request: WorkerRequest, asked: nested.GiveElements) -> Any:
        feed = guest.feeds.get(asked.number)
        taken = feed is not None and feed.take(request, asked.items, asked.ended, asked.error)
        return _LATER if taken else 0

    def _await_fed(self, guest: Guest, request: WorkerRequest, asked: nested.AwaitFed) -> Any:
        feed = guest.feeds.get(asked.number)
        if feed is None or feed.map is None:
            return None

        def end() -> None:
            self._lend(guest, request, False)
            request.reply(True, None)

        self._lend(guest, request, True)
        if not feed.when_ended(lambda: self._queue.put(end)):
            self._lend(guest, request, False)
            return None
        self.pump.dispatch(self.pump.dispatcher.windows.seal, feed.map)  # nobody but this task could read it
        return _LATER

    def _await_end(self, guest: Guest, request: WorkerRequest, asked: nested.AwaitEnd) -> Any:
        map, index = guest.map(asked.map_id), asked.index

        def answer() -> tuple[bool, News]:
            return _ended(map, index), self._news_of(map, index)

        return self._later(guest, request, [(map, index)], answer, timeout=asked.timeout)

    def _await_any(self, guest: Guest, request: WorkerRequest, asked: nested.AwaitAny) -> Any:
        found = [(guest.map(key[0]), key[1]) for key in asked.keys]

        def answer() -> list[tuple[Key, News]]:
            return [((map.id, index), self._news_of(map, index)) for map, index in found if _ended(map, index)]

        return self._later(guest, request, found, answer, watches=True)

    def _await_items(self, guest: Guest, request: WorkerRequest, asked: nested.AwaitItems) -> Any:
        follow = guest.follows.get(asked.map_id)
        if follow is None:
            map = guest.map(asked.map_id)
            poke = functools.partial(self._queue.put, functools.partial(self._again, guest))
            follow = guest.follows[asked.map_id] = Follow(map, poke)
            self.pump.dispatch(self.pump.dispatcher.readers.subscribe, map, follow.hear)
        found, told = follow, asked.told

        def answer() -> tuple[list[int], News]:
            items = found.ended[told : told + SLICE]
            lo, hi = (min(items), max(items) + 1) if items else (0, 0)
            return items, self._news(found.map, lo, hi)

        if len(found.ended) > told or _ended(found.map, None):
            return answer()
        return self._later(guest, request, [(found.map, None)], answer, watches=True)

    def _ask_again(self, guest: Guest, request: WorkerRequest, asked: nested.AskAgain) -> None:
        self._again(guest)

    def _again(self, guest: Guest) -> None:
        """What watches is answered with what there is, and asks again."""
        for wait in [w for w in guest.waits if w.watches]:
            self._finish(guest, wait)

    def _queue_up(self, guest: Guest, request: WorkerRequest, asked: nested.QueueUp) -> tuple[bool, int | None]:
        limits, number = self.limits, next(self._ticket)
        ready = functools.partial(self._queue.put, functools.partial(self._slots_ready, guest, number))
        ticket = limits.ticket({asked.name: asked.count}, hold=asked.hold, on_ready=ready)
        if ticket is None:
            return limits.known(asked.name), None
        guest.tickets[number] = ticket
        return True, number

    def _await_slots(self, guest: Guest, request: WorkerRequest, asked: nested.AwaitSlots) -> Any:
        ticket = guest.tickets[asked.number]
        if ticket.wait(0):
            return True
        wait = Wait(request, [], lambda: ticket.wait(0), lambda: None, False, ticket=ticket)
        guest.waits.append(wait)
        if asked.timeout is not None:
            heapq.heappush(self._due, (time.monotonic() + asked.timeout, next(self._ticket), guest, wait))
        return _LATER

    def _slots_ready(self, guest: Guest, number: int) -> None:
        for wait in [w for w in guest.waits if w.ticket is not None and w.ticket is guest.tickets.get(number)]:
            self._finish(guest, wait)

    def _give_slots_back(self, guest: Guest, request: WorkerRequest, asked: nested.GiveSlotsBack) -> None:
        guest.tickets[asked.number].give_back()
        self._slots_ready(guest, asked.number)  # a thread beside a coroutine may still wait
        del guest.tickets[asked.number]

    # -- waiting ---------------------------------------------------------------------------------

    def _later(
        self, guest: Guest, request: WorkerRequest, keys: list[tuple[MapRun, int | None]], answer: Callable[[], Any],
        *, timeout: float | None = None, watches: bool = False,
    ) -> Any:  # fmt: skip
        """Answer when one of the keys has ended; meanwhile the task's slot is somebody else's."""
        if any(_ended(map, index) for map, index in keys):
            return answer()
        wait = Wait(request, keys, answer, lambda: self._queue.put(lambda: self._finish(guest, wait)), watches)
        guest.waits.append(wait)
        self._lend(guest, request, True)
        for map, index in keys:
            self.pump.dispatch(self.pump.dispatcher.readers.wait_for, map, index, wait.call)
        if timeout is not None:
            heapq.heappush(self._due, (time.monotonic() + timeout, next(self._ticket), guest, wait))
        return _LATER

    def _finish(self, guest: Guest, wait: Wait) -> None:
        if wait.done:
            return
        wait.done = True
        guest.waits.remove(wait)
        self._forget(wait)
        if wait.ticket is None:
            self._lend(guest, wait.request, False)
        try:
            answer = wait.answer()
        except Exception as error:
            wait.request.reply(False, error)
        else:
            wait.request.reply(True, answer)

    def _forget(self, wait: Wait) -> None:
        for map, index in wait.keys:
            if not _ended(map, index):
                self.pump.dispatch(self.pump.dispatcher.readers.forget_waiter, map, index, wait.call)

    def _lend(self, guest: Guest, request: WorkerRequest, waits: bool) -> None:
        runner = self.pump.runners[guest.lane]
        if runner is not None and waits:
            runner.blocked(request.chunk, True)
        self.pump.dispatch(self.pump.dispatcher.reports.chunk_waits, request.chunk, request.position, waits)
        if runner is not None and not waits:
            runner.blocked(request.chunk, False)

    # -- what it takes ---------------------------------------------------------------------------

    def _task(self, asked: nested.Submission[Any]) -> Runnable | None:
        """A worker's task by its digest; None: unknown here, its pickle has to be sent."""
        found = self._tasks.get(asked.digest)
        if found is None and asked.data is not None:
            found = self._tasks[asked.digest] = pickle.loads(asked.data)
        return found

    @contextlib.contextmanager
    def _inside(self, asked: nested.Submission[Any]) -> Iterator[Scope]:
        """The flow run's scope, with the submitting task run around."""
        run = TaskRun(*asked.parent)
        scope = self.scopes.known.get(run.flow_run_id) if run.flow_run_id else self.scopes.outside(run.map_id)
        if scope is None:
            raise RunnerError(f"flow run {run.flow_run_name!r} has ended: nothing can be submitted in it any more")
        task_token = context.current_task.set(TaskContext(run))
        tags_token = context.current_tags.set(asked.tags)
        try:
            yield scope
        finally:
            context.current_tags.reset(tags_token)
            context.current_task.reset(task_token)

    def _news_of(self, map: MapRun, index: int | None) -> News:
        return self._news(map, 0, len(map.codes)) if index is None else self._news(map, index, index + SLICE)

    def _news(self, map: MapRun, lo: int, hi: int) -> News:
        found: News = self.pump.inspect(_look, map, lo, hi)
        return found


class _Unpickler(pickle.Unpickler):
    """Puts the driver's futures in the place of the worker's."""

    def __init__(self, file: io.BytesIO, guest: Guest) -> None:
        super().__init__(file)
        self._guest = guest

    def persistent_load(self, key: Any) -> Any:
        return self._guest.find(key)


def _ended(map: MapRun, index: int | None) -> bool:
    return map.finished if index is None else map.is_terminal(index) or (map.closed and index >= len(map.codes))


def _look(map: MapRun, lo: int, hi: int) -> News:
    hi = min(hi, len(map.codes))

    def part(found: dict[int, Any]) -> dict[int, Any]:
        if len(found) < hi - lo:
            return {i: one for i, one in found.items() if lo <= i < hi}
        return {i: found[i] for i in range(lo, hi) if i in found}

    errors = {i: _portable(info) for i, info in part(map.errors).items()}
    return News(
        len(map.codes), map.done, map.closed, lo, bytes(map.codes[lo:hi]), errors, part(map.messages),
        part(map.state_names), part(map.attempts), map.error,
    )  # fmt: skip


def _portable(info: ErrorInfo) -> ErrorInfo:
    """The object that `rebuild` made of it may be one that does not pickle."""
    return info if info.pickled is None else replace(info, exception=None)
