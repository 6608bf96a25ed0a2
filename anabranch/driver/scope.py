"""A scope: the runs of one flow run (or of the program outside any flow), and what futures ask.

It turns calls, submits and maps into `MapRun`s for the dispatcher. Values, waiting and the end are those of its parts.
"""

from __future__ import annotations

import functools
import threading
from contextvars import copy_context
from gc import get_referents
from typing import TYPE_CHECKING, Any

from anabranch.core import context, secrets
from anabranch.core.chunks import Binding
from anabranch.core.errors import CancelledRun, RunnerError
from anabranch.core.frozen import as_given, taken
from anabranch.core.future_lists import FutureList, is_future
from anabranch.core.futures import FUTURES, Future
from anabranch.core.layout import calls_of
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.search import Hole
from anabranch.core.states import State
from anabranch.core.walk import needs_walk, waited_for
from anabranch.driver import ended_runs, run_logs
from anabranch.driver.draws import Draws
from anabranch.driver.endings import Endings
from anabranch.driver.map_calls import item_call, map_call, planned
from anabranch.driver.map_maker import MapMaker
from anabranch.driver.reduce import reduce_tree
from anabranch.driver.values import ValueReader
from anabranch.driver.waiting import Waiting
from anabranch.engine.dispatch import STREAM_MOVES
from anabranch.engine.fusing import PIPE
from anabranch.resume.keys import Resume, item_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.context import FlowContext
    from anabranch.core.item_columns import ItemColumns
    from anabranch.core.options import MapOptions
    from anabranch.core.runnable import Runnable
    from anabranch.core.task_spec import TaskSpec
    from anabranch.core.waiter import Waiter
    from anabranch.driver.program import Program


class Scope:
    """The face of a flow run towards tasks and futures. A `core.scopes.DriverPort`.

    Attributes:
        endings: the runs that belong here, and how they end.
        waiting: how a thread or a coroutine waits for them.
        maker: makes their maps.
        given_up: the reason for which its flow run was cancelled: nothing begins here any more.
        session_runner: what `runner=` said, for subflows.
        resume: of a resumable flow run.
        flow: the context of the flow run; None: of the program.
        draws: the seed of its random numbers.
        told_lost: whether it was said that threads submit outside of this flow run.
    """

    def __init__(
        self, program: Program, lane: int, *, flow_run_id: str = "", flow_run_name: str = "",
        parameters: dict[str, Any] | None = None, log_prints: bool = False, draws: Draws | None = None,
    ) -> None:  # fmt: skip
        self.program = program
        self.pump = program.pump
        self.lane = lane
        self.flow_run_id = flow_run_id
        self.flow_run_name = flow_run_name
        self.parameters = parameters if parameters is not None else {}
        self.log_prints = log_prints
        self.waiting = Waiting(self.pump)
        self.endings = Endings(self.pump, self.waiting, flow_run_id, program.tell_end)
        self.maker = MapMaker(program, lane, flow_run_id, flow_run_name, self.parameters, log_prints)
        reader = ValueReader(self.pump, program.stores.store, self.endings.wait)
        # No call between: these are asked for every future.
        self.wait, self.value, self.values = self.endings.wait, reader.value, reader.values
        self.drop_handle_soon = self.pump.drop_handle_soon
        self.given_up = ""
        self.reference_tasks: tuple[str, ...] = ()
        self.session_runner: Any = None
        self.resume: Resume | None = None
        self.flow: FlowContext | None = None
        self.draws: Draws = draws or Draws()
        self.told_lost = False
        self.closed = False
        self._open: dict[tuple[int, tuple[str, ...], str, str, int], MapRun] = {}
        self._lock = threading.Lock()

    # -- submission ------------------------------------------------------------------------------

    def submit(self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None) -> Future:
        """Submit one run of a task and return its future."""
        args, kwargs = task.binder.bind(args, kwargs)
        map = self.series(task, "submit")
        if len(args) == 1 and type(args[0]) in FUTURES and not kwargs and wait_for is None:
            future = self._link(map, args[0])
            if self.given_up:
                self._take_back(map, (future._index,))
            return future
        upstreams: tuple[Upstream, ...] = ()
        item: Any = (args, kwargs)
        loose = needs_walk(args, kwargs)
        if loose or wait_for is not None:
            secrets.remember(*args, *kwargs.values())
            item, upstreams, _kept = item_call(item, waited_for(wait_for, is_future), self.upstream)
        index = next(map.inputs.append_index)
        future = Future(map, index)
        carried = map.header.carried
        if carried is not None and get_referents(copy_context())[0] is not carried.content:
            carried.note(index, map.is_terminal)
        if self.resume is not None:
            self.resume.single(map, index, None if item is PIPE else item, upstreams)
        if loose and self.maker.apart and item is not PIPE:
            item = taken(item)
        self.pump.enqueue(self.pump.dispatcher.intake.append_item, map, index, item, upstreams)
        if self.given_up:
            self._take_back(map, (index,))
        # While it waits for another run nothing follows from it, and that run's end takes it along. Looked at
        # after it was enqueued: an upstream that ends later finds it in the inbox.
        for up in upstreams:
            if not up.ended:
                return future
        self.pump.step()
        return future

    def _link(self, map: MapRun, before: Future) -> Future:
        """One run that takes the value of another one: a link of a chain, the common case, made short."""
        ups = (self.upstream(before, False),) if self.resume is not None or before._map is not map else ()
        index = next(map.inputs.append_index)
        future = Future(map, index)
        carried = map.header.carried
        if carried is not None and get_referents(copy_context())[0] is not carried.content:
            carried.note(index, map.is_terminal)
        if self.resume is not None:
            self.resume.single(map, index, None, ups)
        if before._map is not map:
            self.pump.enqueue(self.pump.dispatcher.intake.append_item, map, index, PIPE, ups)
        else:
            map.inputs.links.append((index, before._index))
            if not map.inputs.links_told:  # one event for as many as have come when its turn is
                map.inputs.links_told = True
                self.pump.enqueue(self.pump.dispatcher.intake.append_links, map)
        if before.done():  # looked at after it was enqueued, as in `submit`
            self.pump.step()
        return future

    def upstream(self, future: Any, allow_failure: bool) -> Upstream:
        """What a future or a State stands for; raises RunnerError where it is on another runner."""
        found = self.upstream_anywhere(future, allow_failure)
        if found.map.sending.lane != self.lane:
            raise RunnerError(
                f"{future!r} belongs to another runner than this flow's: values cross runners where flows begin and "
                "end; pass `.result()` of it, or pass it as an argument of the flow"
            )
        return found

    def upstream_anywhere(self, future: Any, allow_failure: bool) -> Upstream:
        """What a future or a State stands for, on whatever runner it is."""
        if isinstance(future, State):
            return Upstream(*ended_runs.run_of(self, future), allow_failure)
        return Upstream(future._map, getattr(future, "_index", None), allow_failure)

    def check_goes_on(self) -> None:
        """Raise CancelledRun in a flow run that was cancelled: nothing new begins in it."""
        if self.given_up:
            raise CancelledRun(f"flow run {self.flow_run_name!r} was cancelled: nothing new begins in it")

    def _take_back(self, map: MapRun, items: Sequence[int]) -> None:
        """Cancel items that came while the flow run was: either that cancel saw them in `maps`, or it is seen here."""
        cancel_items = self.pump.dispatcher.cancelling.cancel_items
        self.pump.dispatch(functools.partial(cancel_items, map, items, by=self.given_up))

    def series(self, task: Runnable, kind: str) -> MapRun:
        """The open series of single runs of this task under the present tags."""
        if self.given_up:
            self.check_goes_on()
        current = context.current_task.get()
        parent, attempt = (current.run.id, current.run.attempt) if current is not None else ("", 1)
        key = (task.serial, context.current_tags.get(), kind, parent, attempt)
        found = self._open.get(key)
        if found is None or (self.maker.apart and kind == "submit" and task.computation.moved()):
            with self._lock:
                known, found = found, self._open.get(key)
                if found is known or found is None:
                    found = self._open[key] = self.new_series(task, kind, parent, found)
        return found

    def new_series(self, task: Runnable, kind: str, parent: str, before: MapRun | None = None) -> MapRun:
        map = self._new_map(task, kind, parent, before)
        if self.resume is not None:
            self.resume.begin_series(map, self.parent_key(parent))
        self.endings.maps.append(map)
        if kind in ("call", "flow"):
            self.pump.dispatch(self.pump.dispatcher.calls.open, map)
            return map
        self.maker.open_series(map)
        if not (task.quiet or task.unshown):
            run_logs.watch_series(self.pump, map)
        return map

    def _new_map(
        self, task: Runnable, kind: str, parent: str, before: MapRun | None = None, seed: int | None = None,
        **details: Any,
    ) -> MapRun:
        self.check_goes_on()
        if self.closed:
            raise RunnerError(f"flow run {self.flow_run_name!r} has ended: nothing can be submitted in it any more")
        map = self.maker.make(self, task, kind, parent, **details)
        map.header.draws = self.draws.of_map(map, before, self._known_map, seed)
        return map

    def _known_map(self, id: str) -> MapRun | None:
        return self.pump.inspect(self.pump.dispatcher.tables.maps.get, id)  # type: ignore[no-any-return]

    def parent_key(self, parent: str) -> str:
        """The key of the task run that submits."""
        map_id, _, index = parent.rpartition("/")
        found = self._known_map(map_id) if parent else None
        return item_key(found, int(index)) if found is not None else ""

    def map(
        self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], options: MapOptions, wait_for: Any = None
    ) -> FutureList:
        """Submit a map: one object, however many items."""
        if options.run_key is not None:
            return self.program.keyed_maps.find(self, self.lane, task, args, kwargs, options, wait_for)
        plan, each = planned(task, args, kwargs)
        if each:
            return self._map_each(task, plan, options, wait_for)
        call = map_call(plan, wait_for, self.upstream, apart=self.maker.apart)
        current = context.current_task.get()
        parent = current.run.id if current is not None else ""
        map = self._new_map(
            task, "map", parent, seed=options.seed, keep=options.keep == "values", feeds=call.feeds, source=call.source,
        )
        map.header.log_items, map.header.detached = options.log_items, options.detach
        map.inputs.layout = call.layout.order
        map.sending.chunk_option = options.chunk if isinstance(options.chunk, int) else None
        map.sending.window = options.window if isinstance(options.window, int) else None
        map.consumers.list_refs = int(map.keep)
        hashed = None
        if self.resume is not None:
            self.resume.begin_map(map, self.parent_key(parent), call.layout, call.constants, call.gates)
            hashed = call.layout.own_columns
        self.endings.maps.append(map)
        constants = call.constants
        if call.values:
            map.inputs.constants_ready = False
            copied = as_given(taken(constants)) if self.maker.apart else constants
            self.pump.callbacks.constants[map.id] = (copied, call.values)
            constants = None
        ref = self.pump.dispatcher.tables.new_ref() if call.layout.constants else None
        stage = self.maker.stage(map, call.layout.binding, ref, hashed)
        futures = FutureList(map)
        move = functools.partial(self.pump.dispatcher.intake.open_map, gates=call.gates, length=call.length)
        self._begin(map, move, map, stage, constants)
        return futures

    def _map_each(self, task: Runnable, plan: Any, options: MapOptions, wait_for: Any) -> FutureList:
        """A map over lists that hold futures: every item waits for its own."""
        map = self._new_map(task, "map", "", seed=options.seed, keep=options.keep == "values")
        map.sending.chunk_option = options.chunk if isinstance(options.chunk, int) else None
        map.header.log_items, map.header.detached = options.log_items, options.detach
        map.consumers.list_refs = 1
        map.inputs.starred = True
        futures = FutureList(map)
        waited = waited_for(wait_for, is_future)
        lifted = [item_call(call, waited, self.upstream) for call in calls_of(plan)]
        if self.resume is not None:
            self.resume.begin_listed(map, "", [(None if item is PIPE else item, ups) for item, ups, _ in lifted])
        self.endings.maps.append(map)
        stage = self.maker.stage(map, Binding(star=True), None)
        items = [(((Hole(0),), {}) if item is PIPE else item, ups) for item, ups, _ in lifted]
        if self.maker.apart:
            items = [(taken(item), ups) for item, ups in items]
        self._begin(map, self.pump.dispatcher.intake.open_listed, map, stage, items)
        return futures

    def _begin(self, map: MapRun, move: Callable[..., None], *args: Any) -> None:
        """Tell the dispatcher of a map; after a Ctrl-C meanwhile no caller gets the list, and its items do not run."""
        try:
            self.pump.dispatch(move, *args)
            self.pump.flush()
            if self.given_up:
                self.cancel(map, None)
            for watch in () if map.header.unshown else self.program.watchers:
                watch(self, map)
        except KeyboardInterrupt:
            self.endings.interrupted(((map, None),), held=False)
            raise

    def late_constants(self, map: MapRun) -> tuple[Any, tuple[Upstream, ...]] | None:
        """What a map's constants read and have not got yet."""
        return self.pump.callbacks.constants.get(map.id)

    # -- what futures ask ------------------------------------------------------------------------

    def hold_on(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait to be woken; a task that waits lends its slot out meanwhile."""
        return self.waiting.hold_on(waiter, timeout)

    async def pause(self, map: MapRun, index: int | None) -> None:
        """Wait without holding the event loop."""
        await self.waiting.pause(map, index, lambda: self.endings.interrupted(((map, index),)))

    def interrupted(self, what: Iterable[tuple[MapRun, int | None]]) -> None:
        """Ctrl-C came during a wait for these."""
        self.endings.interrupted(what)

    def on_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.wait_for, map, index, call, False)

    def off_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.forget_waiter, map, index, call)

    def cancel(self, map: MapRun, indices: Sequence[int] | None) -> None:
        self.endings.cancel(map, indices)

    def moment(self, map: MapRun) -> ItemColumns:
        return self.pump.inspect(map.moment)  # type: ignore[no-any-return]

    def take_handle(self, map: MapRun, index: int) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.handle_taken, map, index)

    def take_handles(self, map: MapRun, items: Sequence[int]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.handles_taken, map, items)

    def drop_handle(self, map: MapRun, index: int) -> None:
        self.pump.post(self.pump.dispatcher.readers.handle_gone, map, index)

    def drop_list(self, map: MapRun) -> None:
        self.pump.post(self.pump.dispatcher.readers.list_gone, map)
        if not map.finished:
            self.program.list_gone(map)

    def stream(self, map: MapRun, move: str, *args: Any) -> None:
        """Make a move of those in `STREAM_MOVES`."""
        self.pump.dispatch(STREAM_MOVES[move](self.pump.dispatcher), map, *args)

    def stream_closed(self, map: MapRun, finished: bool) -> None:
        self.pump.dispatch(self._close_stream, map, finished)
        self.program.tell_end(map)

    def _close_stream(self, map: MapRun, finished: bool) -> None:
        self.pump.dispatcher.readers.stream_closed(map, finished=finished)

    def subscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.subscribe, map, call)

    def unsubscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.unsubscribe, map, call)

    def call_back(self, work: Callable[[], object]) -> None:
        self.pump.callback_thread.put(work)

    def barrier(self, map: MapRun) -> None:
        """Wait until what has ended is in the record; the map's row will say for how long."""
        map.header.recording += self.program.flush_records()

    def reduce(self, map: MapRun, fn: Callable[[Any, Any], Any], fan_in: int) -> Future:
        return reduce_tree(self, map, fn, fan_in)

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """No more runs here; finished maps are forgotten by the dispatcher."""
        self.closed = True
        self.flow = None
        if self.maker.contexts is not None:
            self.maker.contexts.clear()
            for map in self.endings.maps:
                map.header.carried = None
        self.pump.dispatch(self.pump.dispatcher.forget_maps, list(self.endings.maps))
        self.pump.flush()  # what it tells the record of them comes before the run's own end there

    def begin_again(self) -> None:
        """The flow's function is called once more: runs of its last attempt are over and done with."""
        self.pump.dispatch(self.pump.dispatcher.forget_maps, list(self.endings.maps))
        self.draws.begin_again()
        self.let_go()

    def leave_ended(self, state: State, spec: TaskSpec, cause: tuple[MapRun, int] | None = None) -> None:
        """Remember what was called and did not complete: its caller got a state, and may read it before the end."""
        self.endings.left.append(ended_runs.left(self, state, spec, cause))

    def let_go(self) -> None:
        """Forget the runs, once the scope is not asked for them any more: they, it and its runner would be a ring."""
        with self._lock:
            self.endings.forget()
            self._open = {}


def scope_of(what: FlowContext | MapRun) -> Scope:
    """The scope of a flow run or a map of this process; a forked copy's flow run has none."""
    assert isinstance(what.scope, Scope)
    return what.scope
