"""The driver's side of nested submits: what `worker/nested_scope.py` asks is done here, in one thread.

    runner --WorkerRequest--> pump --> queue --> serve: Scope.submit, values, wait_for ... --reply--> worker

Nothing here waits for a run: a request to wait becomes a waiter of the dispatcher, whose call comes
back through the queue. A task that waits lends its slot out. What a chunk's tasks hold is held here
on their behalf, until they let it go or the chunk has ended.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import pickle
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import context, nested
from anabranch.core.annotations import unwrap_all
from anabranch.core.context import TaskContext, TaskRun
from anabranch.core.errors import ResultReleased, RunnerError
from anabranch.core.futures import Future
from anabranch.core.nested import SLICE, Key, MapNews, RemoteIterator
from anabranch.core.own_code import pickler
from anabranch.core.script import of_the_script
from anabranch.driver.chunk_clients import ChunkClient, Subscription, Turns, Unpickler
from anabranch.driver.nested_news import has_ended, news, news_of
from anabranch.driver.nested_waits import LATER, NestedWaits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.events import WorkerRequest
    from anabranch.core.runnable import Runnable
    from anabranch.driver.pump import Pump
    from anabranch.driver.scope import Scope
    from anabranch.driver.scopes import Scopes
    from anabranch.limits.shared import SharedLimits

_log = logging.getLogger("anabranch")
_ByValue = pickler(cloudpickle.Pickler)
PRUNE_SECONDS = 1.0  # between looks at chunks that have ended


class WorkerRequests:
    """See the module's head; one per session, made at the first request."""

    def __init__(self, pump: Pump, scopes: Scopes, limits: SharedLimits) -> None:
        self.pump = pump
        self.scopes = scopes
        self.limits = limits
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._clients: dict[int, ChunkClient] = {}
        self._tasks: dict[bytes, Runnable] = {}
        self._waits = NestedWaits(pump, self._queue.put)
        self._numbers = itertools.count()  # of tickets
        answers: dict[type[nested.Request[Any]], Callable[[ChunkClient, WorkerRequest, Any], Any]] = {
            nested.Submit: self._submit,
            nested.SubmitMap: self._submit_map,
            nested.Reduce: self._reduce,
            nested.Cancel: self._cancel,
            nested.GiveElements: self._give_elements,
            nested.AwaitFed: self._await_fed,
            nested.Look: self._look,
            nested.ReadValues: self._read_values,
            nested.ReadScript: self._read_script,
            nested.ReadSeed: self._read_seed,
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
        self._answers = {kind.__name__: (kind, answer) for kind, answer in answers.items()}
        self._thread = threading.Thread(target=self._serve, name="anabranch-requests", daemon=True)
        self._thread.start()

    def put(self, lane: int, request: WorkerRequest) -> None:
        """Take a request; does not block and may be called under any lock."""
        self._queue.put(functools.partial(self._take, lane, request))

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)

    # -- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        prune_at = 0.0
        while True:
            now = time.monotonic()
            self._waits.finish_due(now)
            if self._clients and now >= prune_at:
                prune_at = now + PRUNE_SECONDS
                self._prune()
            due = self._waits.next_due()
            if self._clients and (due is None or prune_at < due):
                due = prune_at
            try:
                work = self._queue.get(timeout=None if due is None else max(0.0, due - now))
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
        client = self._clients.get(request.chunk)
        if client is None:
            client = self._clients[request.chunk] = ChunkClient(lane, request.chunk)
        rest = io.BytesIO(request.payload)
        scope, turn, notes = pickle.load(rest)
        left = turn > 0 and scope not in client.turns and self._has_ended(request.chunk)
        if turn == nested.AT_ONCE or left:  # `left`: by a thread that its task left; the turns went with the chunk
            self._take_turn(client, request, notes, rest)
            return
        for sent in client.turns.setdefault(scope, Turns()).come(turn, request, notes, rest):
            self._take_turn(client, *sent)

    def _has_ended(self, chunk: int) -> bool:
        ended: bool = self.pump.inspect(lambda: chunk not in self.pump.dispatcher.tables.sent)
        return ended

    def _take_turn(
        self, client: ChunkClient, request: WorkerRequest, notes: list[nested.Note], rest: io.BytesIO
    ) -> None:
        try:
            for note in notes:
                self._note(client, *note)
            name, *fields = Unpickler(rest, client).load()
            kind, call = self._answers[name]
            answer = call(client, request, kind(*fields))
        except BaseException as error:
            request.reply(False, error)
            return
        if answer is not LATER:
            request.reply(True, answer)

    def _prune(self) -> None:
        """Let go of what ended chunks held."""
        sent = self.pump.dispatcher.tables.sent
        for chunk in self.pump.inspect(lambda: [c for c in self._clients if c not in sent]):
            client = self._clients.pop(chunk)
            self._waits.drop(client)
            for told in client.subscriptions.values():
                self.pump.dispatch(self.pump.dispatcher.readers.unsubscribe, told.map, told.hear)
            for ticket in client.tickets.values():
                ticket.give_back()
            for request in [one for turns in client.turns.values() for one in turns.waiting()]:
                request.reply(False, RunnerError("the task run that asks has ended, or was lost with its worker"))
            for feed in client.feeds.values():
                feed.fail("the task run that gave this iterator has ended, or was lost with its worker")

    # -- what is asked ---------------------------------------------------------------------------

    def _note(self, client: ChunkClient, word: str, map_id: str, index: int | None) -> None:
        if word == nested.DROPPED:
            held = client.futures.get((map_id, index))
            if held:
                held.pop()
                if not held:
                    del client.futures[map_id, index]
            return
        with contextlib.suppress(ResultReleased):
            map = client.map(map_id)
            if word == nested.HANDLED:
                map.mark_handled(index or 0)
            else:
                map.scope.take_handle(map, index or 0)
                client.add(Future(map, index or 0))

    def _submit(self, client: ChunkClient, request: WorkerRequest, asked: nested.Submit) -> tuple[str, int] | None:
        task = self._task(asked)
        if task is None:
            return None
        with self._inside(asked) as scope:
            future = scope.submit(task, asked.args, asked.kwargs, asked.wait_for)
        client.add(future)
        return future._map.id, future._index

    def _submit_map(
        self, client: ChunkClient, request: WorkerRequest, asked: nested.SubmitMap
    ) -> tuple[str, MapNews] | None:
        task = self._task(asked)
        if task is None:
            return None
        given = map(unwrap_all, (*asked.args, *asked.kwargs.values()))
        numbers = [a.number for a in given if type(a) is RemoteIterator]
        args = tuple(client.opened(a) for a in asked.args)
        kwargs = {name: client.opened(a) for name, a in asked.kwargs.items()}
        with self._inside(asked) as scope:
            futures = scope.map(task, args, kwargs, asked.options, asked.wait_for)
        for number in numbers:
            client.feeds[number].map = futures._map
        client.add(futures)
        return futures._map.id, news(self.pump, futures._map, 0, 0)

    def _reduce(self, client: ChunkClient, request: WorkerRequest, asked: nested.Reduce) -> tuple[str, int, Any, Any]:
        map = client.map(asked.map_id)
        future = map.scope.reduce(map, asked.fn, asked.fan_in)
        client.add(future)
        return future._map.id, future._index, future._map.spec, future._map.options

    def _look(self, client: ChunkClient, request: WorkerRequest, asked: nested.Look) -> MapNews:
        return news_of(self.pump, client.map(asked.map_id), asked.index)

    def _read_values(self, client: ChunkClient, request: WorkerRequest, asked: nested.ReadValues) -> list[Any]:
        map = client.map(asked.map_id)
        found: list[Any] = map.scope.values(map, asked.lo, asked.hi)
        return found

    def _read_script(self, client: ChunkClient, request: WorkerRequest, asked: nested.ReadScript) -> bytes | None:
        found = of_the_script(asked.name)
        return None if found is None else _ByValue.dumps(found)

    def _read_seed(self, client: ChunkClient, request: WorkerRequest, asked: nested.ReadSeed) -> int:
        return self._scope_of(asked.flow_run_id, asked.map_id).draws.seed()

    def _cancel(self, client: ChunkClient, request: WorkerRequest, asked: nested.Cancel) -> None:
        map = client.map(asked.map_id)
        map.scope.cancel(map, asked.indices)

    def _move_stream(self, client: ChunkClient, request: WorkerRequest, asked: nested.MoveStream) -> None:
        map = client.map(asked.map_id)
        map.scope.stream(map, asked.move, *asked.args)

    def _close_stream(self, client: ChunkClient, request: WorkerRequest, asked: nested.CloseStream) -> None:
        map = client.map(asked.map_id)
        map.scope.stream_closed(map, asked.finished)

    def _give_elements(self, client: ChunkClient, request: WorkerRequest, asked: nested.GiveElements) -> Any:
        feed = client.feeds.get(asked.number)
        taken = feed is not None and feed.take(request, asked.items, asked.ended, asked.error)
        return LATER if taken else 0

    def _await_fed(self, client: ChunkClient, request: WorkerRequest, asked: nested.AwaitFed) -> Any:
        feed = client.feeds.get(asked.number)
        if feed is None or feed.map is None:
            return None

        def end() -> None:
            self._waits.lend(client, request, False)
            request.reply(True, None)

        self._waits.lend(client, request, True)
        if not feed.when_ended(lambda: self._queue.put(end)):
            self._waits.lend(client, request, False)
            return None
        self.pump.dispatch(self.pump.dispatcher.windows.seal, feed.map)  # nobody but this task could read it
        return LATER

    def _await_end(self, client: ChunkClient, request: WorkerRequest, asked: nested.AwaitEnd) -> Any:
        map, index = client.map(asked.map_id), asked.index

        def answer() -> tuple[bool, MapNews]:
            return has_ended(map, index), news_of(self.pump, map, index)

        return self._waits.until_ended(client, request, [(map, index)], answer, timeout=asked.timeout)

    def _await_any(self, client: ChunkClient, request: WorkerRequest, asked: nested.AwaitAny) -> Any:
        found = [(client.map(key[0]), key[1]) for key in asked.keys]

        def answer() -> list[tuple[Key, MapNews]]:
            return [((map.id, index), news_of(self.pump, map, index)) for map, index in found if has_ended(map, index)]

        return self._waits.until_ended(client, request, found, answer, watches=True)

    def _await_items(self, client: ChunkClient, request: WorkerRequest, asked: nested.AwaitItems) -> Any:
        subscription = client.subscriptions.get(asked.map_id)
        if subscription is None:
            map = client.map(asked.map_id)
            poke = functools.partial(self._queue.put, functools.partial(self._waits.again, client))
            subscription = client.subscriptions[asked.map_id] = Subscription(map, poke)
            self.pump.dispatch(self.pump.dispatcher.readers.subscribe, map, subscription.hear)
        found, told = subscription, asked.told

        def answer() -> tuple[list[int], MapNews]:
            items = found.ended[told : told + SLICE]
            lo, hi = (min(items), max(items) + 1) if items else (0, 0)
            return items, news(self.pump, found.map, lo, hi)

        if len(found.ended) > told or has_ended(found.map, None):
            return answer()
        return self._waits.until_ended(client, request, [(found.map, None)], answer, watches=True)

    def _ask_again(self, client: ChunkClient, request: WorkerRequest, asked: nested.AskAgain) -> None:
        self._waits.again(client)

    def _queue_up(self, client: ChunkClient, request: WorkerRequest, asked: nested.QueueUp) -> tuple[bool, int | None]:
        limits, number = self.limits, next(self._numbers)
        ready = functools.partial(self._queue.put, functools.partial(self._waits.admitted, client, number))
        ticket = limits.ticket({asked.name: asked.count}, hold=asked.hold, on_ready=ready)
        if ticket is None:
            return limits.known(asked.name), None
        client.tickets[number] = ticket
        return True, number

    def _await_slots(self, client: ChunkClient, request: WorkerRequest, asked: nested.AwaitSlots) -> Any:
        return self._waits.until_admitted(client, request, client.tickets[asked.number], asked.timeout)

    def _give_slots_back(self, client: ChunkClient, request: WorkerRequest, asked: nested.GiveSlotsBack) -> None:
        client.tickets[asked.number].give_back()
        self._waits.admitted(client, asked.number)  # a thread beside a coroutine may still wait
        del client.tickets[asked.number]

    # -- what it takes ---------------------------------------------------------------------------

    def _task(self, asked: nested.Submission[Any]) -> Runnable | None:
        """A worker's task by its digest; None: unknown here, its pickle has to be sent."""
        found = self._tasks.get(asked.digest)
        if found is None and asked.data is not None:
            found = self._tasks[asked.digest] = pickle.loads(asked.data)
        return found

    def _scope_of(self, flow_run_id: str, map_id: str, name: str = "") -> Scope:
        scope = self.scopes.known.get(flow_run_id) if flow_run_id else self.scopes.outside(map_id)
        if scope is None:
            raise RunnerError(f"flow run {name or flow_run_id!r} has ended: nothing can be asked in it any more")
        return scope

    @contextlib.contextmanager
    def _inside(self, asked: nested.Submission[Any]) -> Iterator[Scope]:
        """The flow run's scope, with the submitting task run around."""
        run = TaskRun(*asked.parent)
        scope = self._scope_of(run.flow_run_id, run.map_id, run.flow_run_name)
        task_token = context.current_task.set(TaskContext(run))
        tags_token = context.current_tags.set(asked.tags)
        try:
            yield scope
        finally:
            context.current_tags.reset(tags_token)
            context.current_task.reset(task_token)
