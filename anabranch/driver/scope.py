"""A scope: the runs of one flow run (or of the program outside any flow), and what futures ask.

It turns calls, submits and maps into `MapRun`s for the dispatcher, reads values back, and knows
at the end which failures nobody handled.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from contextvars import copy_context
from gc import get_referents
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import context, secrets, strays
from anabranch.core.carried import Carried, Contexts
from anabranch.core.columns import Source
from anabranch.core.contracts import Binding, Stage
from anabranch.core.errors import CancelledRun, ResourceError, RunnerError
from anabranch.core.frozen import as_given, taken, taken_list
from anabranch.core.futures import Future, FutureList, is_future, is_future_list
from anabranch.core.layout import Layout, calls_of, resolved_late, settled
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.pulled import now_list
from anabranch.core.states import State
from anabranch.core.waiter import Waiter
from anabranch.core.waiting import wake_loop
from anabranch.core.walk import Hole, lift, needs_walk
from anabranch.driver import ended_runs, run_logs
from anabranch.driver.endings import Ends
from anabranch.driver.reduce import reduce_tree
from anabranch.driver.values import Values
from anabranch.engine import caching
from anabranch.engine.fusing import PIPE
from anabranch.engine.capacity import shortfall
from anabranch.engine.fusing import PIPE
from anabranch.resume.keys import Resume, item_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.context import FlowContext
    from anabranch.core.contracts import TaskSpec
    from anabranch.core.item_columns import ItemColumns
    from anabranch.core.options import MapOptions
    from anabranch.core.runnable import Runnable
    from anabranch.driver.program import Program



class Scope(Ends, Values):
    """See the module's head. Implements `core.futures.Port`."""

    def __init__(self, program: Program, lane: int, *, flow_run_id: str = "", flow_run_name: str = "") -> None:
        self.program = program
        self.pump = program.pump
        self.drop_handle_soon = program.pump.drop_handle_soon  # no call between: it is asked at every future's end
        self.lane = lane
        self.apart = not program.pump.dispatcher.tables.lanes[lane].capabilities.in_process
        self.flow_run_id = flow_run_id
        self.flow_run_name = flow_run_name
        self.parameters: dict[str, Any] = {}
        self.children: list[Any] = []  # flow runs that began in this one and have not ended
        self.submitted: dict[tuple[str, int], Any] = {}  # `subflows.Submitted` of series and item, until they are over
        self.streams: list[Any] = []  # calls of generator tasks that have begun and not ended
        self.given_up = ""  # by whom its flow run was cancelled: nothing begins here any more
        self.maps: list[MapRun] = []
        self.left: list[MapRun] = []  # what ended without a place in the record, and did not raise
        self.called_flows = 0  # flow runs that were called in this one, and counted in no map
        self.reference_tasks: tuple[str, ...] = ()
        self.log_prints = False
        self.session_runner: Any = None  # what `runner=` said, for subflows
        self.resume: Resume | None = None  # of a resumable flow run
        self.flow: FlowContext | None = None  # None: of the program
        self.told_lost = False  # of threads that submit outside of it
        self.contexts = Contexts() if self.pump.dispatcher.tables.lanes[lane].capabilities.in_process else None
        self._open: dict[tuple[int, tuple[str, ...], str, str], MapRun] = {}
        self._lock = threading.Lock()
        self.closed = False

    # -- submission ------------------------------------------------------------------------------

    def submit(self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any = None) -> Future:
        """Bring one run of a task into the world and return its future."""
        args, kwargs = task.binder.bind(args, kwargs)
        map = self._series(task, "submit")
        if len(args) == 1 and type(args[0]) is Future and not kwargs and wait_for is None:
            future = self._link(map, args[0])
            if self.given_up:
                self._take_back(map, (future._index,))
            return future
        upstreams: tuple[Upstream, ...] = ()
        item: Any = (args, kwargs)
        loose = needs_walk(args, kwargs)
        if loose or wait_for is not None:
            secrets.remember(*args, *kwargs.values())
            item, upstreams = self._lift(item, wait_for)
        index = next(map.append_index)
        future = Future(map, index)
        if map.carried is not None and get_referents(copy_context())[0] is not map.carried.content:
            map.carried.note(index, map)
        if self.resume is not None:
            self.resume.single(map, index, None if item is PIPE else item, upstreams)
        if loose and self.apart and item is not PIPE:
            item = taken(item)
        self.pump.enqueue(self.pump.dispatcher.intake.append_item, map, index, item, upstreams)
        if self.given_up:
            self._take_back(map, (index,))
        # While it waits for another run nothing follows from it, and that run's end takes it along. Looked at
        # after it was left: who ended before did so before it was looked at.
        for up in upstreams:
            if not up.ended:
                return future
        self.pump.step()
        return future

    def _link(self, map: MapRun, before: Future) -> Future:
        """One run that takes the value of another one: a link of a chain, the common case, made short."""
        ups = (self._upstream(before, False),) if self.resume is not None or before._map is not map else ()
        index = next(map.append_index)
        future = Future(map, index)
        if map.carried is not None and get_referents(copy_context())[0] is not map.carried.content:
            map.carried.note(index, map)
        if self.resume is not None:
            self.resume.single(map, index, None, ups)
        if before._map is not map:
            self.pump.enqueue(self.pump.dispatcher.intake.append_item, map, index, PIPE, ups)
        else:
            map.links.append((index, before._index))
            if not map.links_told:  # one event for as many as have come when its turn is
                map.links_told = True
                self.pump.enqueue(self.pump.dispatcher.intake.append_links, map)
        if before.done():  # looked at after it was left, as in `submit`
            self.pump.step()
        return future

    def _lift(self, item: Any, wait_for: Any) -> tuple[Any, tuple[Upstream, ...]]:
        item, found = lift(item, is_future)
        ups = [self._upstream(f, allow) for f, allow in found]
        pipe = len(ups) == 1 and ups[0].item is not None and not ups[0].allow_failure and wait_for is None
        (args, kwargs) = item
        if pipe and not kwargs and len(args) == 1 and type(args[0]) is Hole:
            item = PIPE
        if wait_for is not None:
            _, waited = lift(wait_for, is_future)
            ups += [self._upstream(f, allow)._replace(value=False) for f, allow in waited]
        return item, tuple(ups)

    def _upstream(self, future: Any, allow_failure: bool) -> Upstream:
        found = self.upstream_anywhere(future, allow_failure)
        if found.map.lane != self.lane:
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
        """The flow run was cancelled while this came: who cancels it has seen it in `maps`, or is seen here."""
        self.pump.dispatch(functools.partial(self.pump.dispatcher.board.cancel_items, map, items, by=self.given_up))

    def _series(self, task: Runnable, kind: str) -> MapRun:
        """The open series of single runs of this task under the present tags."""
        if self.given_up:
            self.check_goes_on()
        current = context.current_task.get()
        parent = current.run.id if current is not None else ""
        key = (task.serial, context.current_tags.get(), kind, parent)
        found = self._open.get(key)
        if found is None or (self.apart and kind == "submit" and task.computation.moved()):
            with self._lock:
                known, found = found, self._open.get(key)
                if found is known or found is None:
                    found = self._open[key] = self._new_series(task, kind, parent)
        return found

    def _new_series(self, task: Runnable, kind: str, parent: str) -> MapRun:
        map = self._new_map(task, kind, parent)
        if self.resume is not None:
            self.resume.begin_series(map, self._parent_key(parent))
        self.maps.append(map)
        if kind in ("call", "flow"):
            self.pump.dispatch(self.pump.dispatcher.calls.open, map)
            return map
        stage = self._stage(map, Binding(star=True), None)
        pipe = self._stage(map, Binding(args=(("item", 0),)), None)
        map.pipe_ref = self.pump.dispatcher.tables.new_ref()
        self.pump.dispatch(self.pump.dispatcher.intake.open_series, map, stage, pipe)
        if not task.quiet:
            run_logs.watch_series(self.pump, map)
        return map

    def _new_map(self, task: Runnable, kind: str, parent: str, **details: Any) -> MapRun:
        self.check_goes_on()
        if self.closed:
            raise RunnerError(f"flow run {self.flow_run_name!r} has ended: nothing can be submitted in it any more")
        tags = tuple(dict.fromkeys((*task.options.tags, *context.current_tags.get())))
        map = MapRun(
            self.program.ids.new(), task.spec, task.options, kind=kind, lane=self.lane, parent_id=parent,
            flow_run_id=self.flow_run_id, tags=tags, scope=self, **details,
        )  # fmt: skip
        map.created = self.program.clock.time()
        if self.contexts is not None:
            map.carried = Carried(self.contexts)
        if kind not in ("call", "flow"):  # those run here
            map.spec_ref = self.program.tasks.ref(self.lane, task, self.flow_run_id)
            self._check_resources(map)
        map.stage_ref = self.pump.dispatcher.tables.new_ref()
        if task.options.concurrency_limit:
            self.pump.dispatch(self.pump.dispatcher.set_limit, f"task:{task.name}", task.options.concurrency_limit)
        return map

    def _check_resources(self, map: MapRun) -> None:
        """What can never be had is an error now; raises ResourceError."""
        offers = self.pump.dispatcher.tables.lanes[self.lane].capabilities
        if not map.resources or offers.resources_elastic:
            return
        missing = shortfall(map.resources, dict(offers.resources))
        if missing:
            offered = ", ".join(f"{name}={amount:g}" for name, amount in offers.resources) or "nothing"
            raise ResourceError(
                f"task {map.spec.name!r} asks for {missing}, and the {offers.name} runner has {offered}: ask for "
                "less, or declare more where the runner is made (resources={...})"
            )

    def _parent_key(self, parent: str) -> str:
        """The key of the task run that submits."""
        map_id, _, index = parent.rpartition("/")
        found = self.pump.inspect(self.pump.dispatcher.tables.maps.get, map_id) if parent else None
        return item_key(found, int(index)) if found is not None else ""

    def _stage(
        self, map: MapRun, binding: Binding, constants: int | None, hashed: tuple[int, ...] | None = None
    ) -> Stage:
        options = map.options
        name = options.task_run_name if isinstance(options.task_run_name, str) else ""
        stage = Stage(
            map.spec_ref, constants, binding, map.id, self.flow_run_id, self.flow_run_name, map.parent_id, map.tags,
            name, self.parameters if options.cached and caching.needs_flow_parameters(options.cache_policy) else None,
            self.log_prints, map.kind, logs.level(), hashed=hashed, bare=not map.keep,
            wanted=logs.wanted() if self.contexts is None else None, carried=map.carried,
        )  # fmt: skip
        if map.resumable:
            stage.store, stage.probe = self.program.stores.for_lane(map.lane)
        return stage

    def map(
        self, task: Runnable, args: tuple[Any, ...], kwargs: dict[str, Any], options: MapOptions, wait_for: Any = None
    ) -> FutureList:
        """Bring a map into the world: one object, however many items."""
        plan = plan_map(task.binder, args, kwargs, is_future_list, is_future)
        if plan.late:
            args, kwargs = resolved_late(plan, args, kwargs)
            plan = plan_map(task.binder, args, kwargs, is_future_list, is_future)
        plan, each = settled(plan)
        if each:
            return self._map_each(task, plan, options, wait_for)
        if self.apart:
            plan = plan.as_now(taken_list if plan.length is not None else now_list)
        layout = Layout(plan)
        feeds = tuple(self._feed(f, allow) for f, allow in layout.feeds)
        current = context.current_task.get()
        parent = current.run.id if current is not None else ""
        map = self._new_map(
            task, "map", parent, keep=options.keep == "values", feeds=feeds,
            source=Source(layout.source_plan) if layout.source_plan is not None else None,
        )  # fmt: skip
        secrets.remember(layout.constants)
        map.layout = layout.order
        map.chunk_option = options.chunk if isinstance(options.chunk, int) else None
        map.window = options.window if isinstance(options.window, int) else None
        map.list_handles = int(map.keep)
        constants: Any = tuple(layout.constants) or None
        constants, found = lift(constants, is_future) if constants is not None else (None, [])
        values = tuple(self._upstream(f, allow) for f, allow in found)
        waited = lift(wait_for, is_future)[1] if wait_for is not None else []
        gates = (*values, *(self._upstream(f, allow)._replace(value=False) for f, allow in waited))
        hashed = None
        if self.resume is not None:
            self.resume.begin_map(map, self._parent_key(parent), layout, constants, gates)
            hashed = layout.own_columns
        self.maps.append(map)
        if values:
            map.constants_ready = False
            self.pump.callbacks.constants[map.id] = (as_given(taken(constants)) if self.apart else constants, values)
            constants = None
        ref = self.pump.dispatcher.tables.new_ref() if layout.constants else None
        stage = self._stage(map, layout.binding, ref, hashed)
        futures = FutureList(map)
        length = plan.length if not feeds or layout.source_plan is not None else None
        if map.source is not None and not map.source.random_access:
            length = None
        self._begin(map, self._open_map, map, stage, constants, gates, length)
        return futures

    def _map_each(self, task: Runnable, plan: Any, options: MapOptions, wait_for: Any) -> FutureList:
        """A map over lists that hold futures: every item waits for its own."""
        map = self._new_map(task, "map", "", keep=options.keep == "values")
        map.chunk_option = options.chunk if isinstance(options.chunk, int) else None
        map.list_handles = 1
        map.starred = True
        futures = FutureList(map)
        calls = calls_of(plan)
        lifted = [self._lift((args, kwargs), wait_for) for args, kwargs in calls]
        if self.resume is not None:
            self.resume.begin_listed(map, "", [(None if item is PIPE else item, ups) for item, ups in lifted])
        self.maps.append(map)
        stage = self._stage(map, Binding(star=True), None)
        items = [(((Hole(0),), {}) if item is PIPE else item, ups) for item, ups in lifted]
        if self.apart:
            items = [(taken(item), ups) for item, ups in items]
        self._begin(map, self.pump.dispatcher.intake.open_listed, map, stage, items)
        return futures

    def _begin(self, map: MapRun, move: Callable[..., None], *args: Any) -> None:
        """Tell the dispatcher of a map; interrupted meanwhile, nobody gets the list, and its items do not run."""
        try:
            self.pump.dispatch(move, *args)
            self.pump.flush()
            if self.given_up:
                self.cancel(map, None)
            for watch in self.program.watchers:
                watch(self, map)
        except KeyboardInterrupt:
            self.interrupted(((map, None),))
            raise

    def late_constants(self, map: MapRun) -> tuple[Any, tuple[Upstream, ...]] | None:
        """What a map's constants read and have not got yet."""
        return self.pump.callbacks.constants.get(map.id)

    def _open_map(self, map: MapRun, stage: Stage, constants: Any, gates: tuple[Upstream, ...], length: Any) -> None:
        self.pump.dispatcher.intake.open_map(map, stage, constants, gates=gates, length=length)

    def _feed(self, future: Any, allow_failure: bool) -> Upstream:
        return self._upstream(future, allow_failure)

    # -- what futures ask ------------------------------------------------------------------------

    def wait(self, map: MapRun, index: int | None, timeout: float | None) -> bool:
        """Wait for an item or a whole map; a worker that waits lends its slot out meanwhile."""
        waiter = Waiter()
        dispatcher = self.pump.dispatcher
        if index is None or map.source is not None:  # something may have to be pulled first
            self.pump.dispatch(dispatcher.readers.wait_for, map, index, waiter.set)
        else:
            self.pump.enqueue(dispatcher.readers.wait_for, map, index, waiter.set)
            if map.is_terminal(index):  # who ended it may have looked for waiters before
                return True
        try:
            ended = self.hold_on(waiter, timeout)
        except KeyboardInterrupt:
            self.interrupted(((map, index),))
            raise
        if not ended:
            self.pump.dispatch(dispatcher.readers.forget_waiter, map, index, waiter.set)
        return ended

    def hold_on(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait to be woken; a task that waits lends its slot out meanwhile."""
        if self.pump.elsewhere:
            raise RunnerError(self.pump.elsewhere)
        if context.task_around() is None and strays.here() is None:
            return waiter.wait(timeout)
        if waiter.wait(0):
            return True
        with self._lent_slot():
            return waiter.wait(timeout)

    @contextlib.contextmanager
    def _lent_slot(self) -> Iterator[None]:
        current = context.task_around()
        if current is None and (origin := strays.here()) is not None:
            current = origin.task
        # A flow that the task has called may have another runner than the task.
        sent = None if current is None or current.port is None else self.pump.dispatcher.tables.sent.get(current.chunk)
        runner = None if sent is None else self.pump.runners[sent.lane.index]
        if runner is None or current is None:
            yield
            return
        waits = self.pump.dispatcher.reports.chunk_waits
        runner.blocked(current.chunk, True)
        self.pump.dispatch(waits, current.chunk, current.position, True)
        try:
            yield
        finally:
            self.pump.flush()  # what stood behind it in its chunk is taken back: known before the chunk goes on
            self.pump.dispatch(waits, current.chunk, current.position, False)
            runner.blocked(current.chunk, False)

    async def pause(self, map: MapRun, index: int) -> None:
        """Wait without holding the event loop."""
        import asyncio

        if self.pump.elsewhere:
            raise RunnerError(self.pump.elsewhere)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        wake = functools.partial(wake_loop, loop, ended)
        self.pump.dispatch(self.pump.dispatcher.readers.wait_for, map, index, wake)
        try:
            with self._lent_slot():
                await ended
        finally:
            self.pump.dispatch(self.pump.dispatcher.readers.forget_waiter, map, index, wake)

    def on_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.wait_for, map, index, call, False)

    def off_end(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.forget_waiter, map, index, call)

    def cancel(self, map: MapRun, indices: Sequence[int] | None) -> None:
        if map.kind == "flow":
            chosen = range(len(map.codes)) if indices is None else indices
            flows = [(i, self.submitted.get((map.id, i))) for i in chosen]
            # First the flow runs: one that has decided how it ends is not cancelled, and so says its future.
            given_up = [i for i, flow in flows if flow is not None and flow.cancel("request")]
            self.pump.dispatch(self.pump.dispatcher.board.cancel_items, map, given_up)
        elif indices is None:
            self.pump.dispatch(self.pump.dispatcher.board.cancel_map, map)
        else:
            self.pump.dispatch(self.pump.dispatcher.board.cancel_items, map, indices)
        self.pump.flush()

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

    def stream(self, map: MapRun, move: str, *args: Any) -> None:
        self.pump.dispatch(getattr(self.pump.dispatcher, move), map, *args)

    def stream_closed(self, map: MapRun, finished: bool) -> None:
        self.pump.dispatch(self._close_stream, map, finished)

    def _close_stream(self, map: MapRun, finished: bool) -> None:
        self.pump.dispatcher.readers.stream_closed(map, finished=finished)

    def subscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.subscribe, map, call)

    def unsubscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        self.pump.dispatch(self.pump.dispatcher.readers.unsubscribe, map, call)

    def call_back(self, work: Callable[[], None]) -> None:
        self.pump.callback_thread.put(work)

    def barrier(self) -> None:
        """Wait until what has ended is in the record."""
        self.program.flush_records()

    def reduce(self, map: MapRun, fn: Callable[[Any, Any], Any], fan_in: int) -> Future:
        return reduce_tree(self, map, fn, fan_in)

    # -- the end ---------------------------------------------------------------------------------

    def begin_again(self) -> None:
        """The flow's function is called once more: runs of its last attempt are over and done with."""
        self.pump.dispatch(self.pump.dispatcher.forget_maps, list(self.maps))
        with self._lock:
            self.maps = []
            self.left = []
            self.called_flows = 0
            self._open = {}

    def leave_ended(self, state: State, spec: TaskSpec, cause: tuple[MapRun, int] | None = None) -> None:
        """Something called here did not complete, and its caller got a state: is it looked at before the end?"""
        self.left.append(ended_runs.left(self, state, spec, cause))

    def let_go(self) -> None:
        """Nobody asks this scope for its runs any more: they, it and its runner would hold each other in a ring."""
        with self._lock:
            self.maps, self.left, self._open = [], [], {}
