"""The session: composition root of a driver. Settings become a runner, a record, a result store.

One session a program, made when first needed, closed at exit. It is one of the two places (the
other is `worker`) that choose implementations, and it imports them when chosen.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import platform
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch import settings as settings_module
from anabranch.core import context, forks, own_code, own_runners, secrets, strays
from anabranch.core.clock import SYSTEM
from anabranch.core.context import TaskRun
from anabranch.core.errors import ConfigurationError, RecordsError, StoreError
from anabranch.core.ids import Ids
from anabranch.core.limits import Holder
from anabranch.core.log_lines import masked
from anabranch.core.machine import usable_memory
from anabranch.core.processes import host_name, process_started
from anabranch.core.runners_in_use import InUse, RunnersInUse
from anabranch.core.runs import HeartbeatRow, LogRow
from anabranch.driver import interrupts
from anabranch.driver.callbacks import Callbacks
from anabranch.driver.limited_maps import LimitedMaps
from anabranch.driver.pump import Pump
from anabranch.driver.scope import LOGGED_RUNS, Scope
from anabranch.driver.sent_tasks import SentTasks
from anabranch.driver.values import upstream_value
from anabranch.engine import caching
from anabranch.limits.shared import SharedLimits
from anabranch.resume.call_values import CallValues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.contracts import LogLine, Runner, WorkerRequest
    from anabranch.core.events import KeepInput
    from anabranch.core.maps import MapRun
    from anabranch.core.options import TaskOptions
    from anabranch.core.own_runners import OwnRunner
    from anabranch.core.runs import FlowRunRow, Records, Row
    from anabranch.core.stores import ResultStore, StoreProbe
    from anabranch.settings import Settings

HEARTBEAT_SECONDS = 5.0


def make_runner(name: str) -> Runner:
    """A runner from its name, as `flow(runner="dask")` and settings spell it."""
    if name in ("thread", "threads"):
        from anabranch.runners.thread.runner import ThreadRunner

        return ThreadRunner()
    if name in ("process", "processes"):
        from anabranch.runners.process.runner import ProcessRunner

        return ProcessRunner()
    if name == "inline":
        from anabranch.runners.inline.runner import InlineRunner

        return InlineRunner()
    if name == "dask":
        from anabranch.runners.dask.runner import DaskRunner

        return DaskRunner()
    if name == "ray":
        from anabranch.runners.ray.runner import RayRunner

        return RayRunner()
    raise ConfigurationError(f"unknown runner {name!r}; known are: thread, process, inline, dask, ray")


def make_store(settings: Settings) -> ResultStore:
    """The result store that the settings name: an address with "://" is fsspec's, except for this machine's files."""
    address = settings.results
    if "://" in address and not address.startswith(("file://", "local://")):
        from anabranch.results.remote import RemoteStore

        return RemoteStore(address)
    from anabranch.results.disk import DiskStore

    return DiskStore(address.partition("://")[2] if "://" in address else settings.results_path)


def open_records(settings: Settings) -> Records:
    """The record that the settings name; made where there is none."""
    from anabranch import records

    try:
        return records.open_records(
            settings.records_place, shared=settings.records_shared, retention_days=settings.retention_days
        )
    except (RecordsError, OSError) as error:
        why = "" if settings.records else settings_module.home_trouble(settings.home)
        if not why:
            raise
        raise RecordsError(why) from error


def recorded(settings: Settings) -> bool:
    """Whether there may be a record where the settings say."""
    from anabranch import records

    return records.recorded(settings.records_place, shared=settings.records_shared)


def unrecorded(settings: Settings) -> Session:
    """A session whose runs nobody will find in a record."""
    from anabranch.records.memory import MemoryRecords

    return Session(settings, records=MemoryRecords())


class Session:
    """The wiring of one program; see the module's head."""

    def __init__(
        self, settings: Settings | None = None, *, records: Records | None = None, clock: Any = SYSTEM
    ) -> None:
        self.settings = settings or settings_module.load()
        self.clock = clock
        self.ids = Ids()
        self.pid = os.getpid()
        self.pid_started = process_started(self.pid)
        self.host = platform.node()
        own_code.roles.driver = True
        logs.setup_logging(self.settings.log_level)
        logs.deliver_to(self._emit_logs)
        self.records = records if records is not None else open_records(self.settings)
        callbacks = Callbacks(
            logs.warn, keep_input=self._keep_input, request=self._on_request, want_slots=lambda: self.limits.nudge()
        )
        self.pump = Pump(clock, callbacks, self._write_rows, self._emit_logs)
        self.pump.dispatcher.tables.ledger.memory.budget = self.settings.memory_budget or usable_memory() // 4 or math.inf
        self.pump.dispatcher.capacity.timeout = self.settings.capacity_timeout
        holder = Holder(self.ids.new(), host_name(), self.pid, self.pid_started)
        self.limits = SharedLimits(self.records.limits, holder, LimitedMaps(self.pump), clock)
        self.limits.refresh()  # before the first run: it may be under one
        self._requests: Any = None
        self.scopes: dict[str, Scope] = {}
        self.active: dict[str, FlowRunRow] = {}
        self.cancel_hooks: dict[str, Callable[[], object]] = {}
        self.streams: list[Any] = []  # outermost runs of generator flows whose items are being read
        self.sent_tasks = SentTasks(self)
        self._runners = RunnersInUse(self.pump, make_runner, self.sent_tasks.forget)
        self._store: ResultStore | None = None
        self.calls = CallValues(lambda: self.store, self.write)
        self._probe: StoreProbe | None = None
        self._interactive: Scope | None = None
        self._lock = threading.RLock()
        self._keeper: threading.Thread | None = None
        self._stop = threading.Event()
        self.watchers: list[Callable[[Scope, MapRun], None]] = []
        if self.settings.progress:
            from anabranch.display import progress

            self.watchers.append(progress.watch)
        self.closed = False

    @property
    def store(self) -> ResultStore:
        """The result store, made when first needed."""
        if self._store is None:
            why = "" if self.settings.results else settings_module.home_trouble(self.settings.home)
            if why:
                raise StoreError(why)
            self._store = make_store(self.settings)
        return self._store

    # -- runners ---------------------------------------------------------------------------------

    def use_runner(self, wanted: Any) -> InUse:
        """The lane of a runner by name or class (shared, kept warm), or of the user's own object."""
        used = self._runners.use(wanted)
        self._start_keeper()
        return used

    def leave_runner(self, used: InUse) -> None:
        self._runners.leave(used)

    def store_for(self, lane: int) -> tuple[ResultStore, StoreProbe | None]:
        """The result store, and for workers outside this process what tells them whether they see it too."""
        if self.pump.dispatcher.tables.lanes[lane].capabilities.in_process:
            return self.store, None
        if self._probe is None:
            from anabranch.results.probe import Probe

            self._probe = Probe(self.store)
        return self.store, self._probe

    def needs_parameters(self, options: TaskOptions) -> bool:
        return caching.needs_flow_parameters(options.cache_policy)

    # -- scopes ----------------------------------------------------------------------------------

    def scope_here(self) -> Scope:
        """The scope that a submit in this thread belongs to: the flow's around it, or the program's own."""
        flow = context.current_flow.get()
        if flow is not None and flow.scope is not None:
            return flow.scope  # type: ignore[no-any-return]
        task = context.current_task.get()
        if task is not None:
            found = self.scopes.get(task.run.flow_run_id) if task.run.flow_run_id else self.outside(task.run.map_id)
            return found or self.interactive()
        own = own_runners.around()
        if own is not None:
            return self._scope_on(own)
        if self.active and strays.lost():
            logs.strayed(list(self.scopes.values()))
        return self.interactive()

    def outside(self, map_id: str) -> Scope:
        """The scope of a task run outside any flow, where what it submits belongs too."""
        map = self.pump.dispatcher.tables.maps.get(map_id)
        return self.interactive() if map is None else map.scope

    def _scope_on(self, own: OwnRunner) -> Scope:
        """The implicit run of a `with` block of the user's own runner."""
        with self._lock:
            found = self._runners.known.get(id(own))
            if found is not None and found.serves(own) and found.scope is not None:
                return found.scope  # type: ignore[no-any-return]
            used = self.use_runner(own)
            used.scope = Scope(self, used.lane)
            own.on_leaving(functools.partial(self._leave_block, used))
            return used.scope  # type: ignore[no-any-return]

    def _leave_block(self, used: InUse, failed: bool) -> None:
        scope, used.scope = used.scope, None
        try:
            if failed:
                scope.cancel_all(by="flow-end")
            scope.wait_all(self.settings.shutdown_grace if failed else None)
        finally:
            scope.close()
            scope.let_go()
            self.leave_runner(used)

    def interactive(self) -> Scope:
        """The one implicit run outside any flow."""
        interrupts.guard()
        with self._lock:
            if self._interactive is None:
                shared = self.use_runner(self.settings.runner)
                self._interactive = Scope(self, shared.lane)
                self.scopes[""] = self._interactive
            elif self.pump.runners[self._interactive.lane] is None:
                self._interactive = None
                return self.interactive()
            return self._interactive

    # -- what workers and the dispatcher tell ----------------------------------------------------

    def _write_rows(self, rows: list[Row]) -> None:
        if secrets.any_known():
            secrets.mask_rows(rows)
        self.records.append(rows)

    def write(self, rows: list[Row]) -> None:
        """Put rows into the record; never blocks."""
        self._write_rows(rows)

    def _emit_logs(self, lines: Sequence[LogLine], dropped: int) -> None:
        rows: list[Row] = []
        if secrets.any_known():
            lines = [masked(line) for line in lines]
        for line in lines:
            logs.emit(line)
            if not line.name:
                run = (line.flow_run_id, line.map_id, line.item)
                rows.append(LogRow(line.when, line.level, line.logger, line.whole, *run))
        if dropped:
            logs.warn(f"{dropped} log lines were dropped: a worker logged faster than the limit")
        self.records.append(rows)

    def flush_records(self) -> None:
        self.records.flush(timeout=30.0)

    def watch_map(self, scope: Scope, map: MapRun) -> None:
        for watch in self.watchers:
            watch(scope, map)

    def watch_series(self, scope: Scope, map: MapRun) -> None:
        """Log the first single runs of a task as they end; the rest is counted, not listed."""
        left = [LOGGED_RUNS]

        def ended(map: MapRun, items: Sequence[int]) -> None:
            if left[0] <= 0:
                return
            for index in items[: left[0]]:
                left[0] -= 1
                run = TaskRun(map.spec.name, map.id, index, kind="submit", given_name=map.names.get(index, ""))
                self.pump.callback_thread.put(functools.partial(logs.task_finished, map, index, run.name))

        self.pump.dispatch(self.pump.dispatcher.readers.subscribe, map, ended)

    def log_call(self, map: MapRun, run: TaskRun) -> None:
        """Log the first plain calls of a task in a flow run."""
        if run.index < LOGGED_RUNS and map.flow_run_id:
            logs.task_finished(map, run.index, run.name)

    def _on_request(self, lane: int, request: WorkerRequest) -> None:
        """A task on a worker outside the driver submits or waits."""
        if self._requests is None:
            from anabranch.driver.nested_requests import WorkerRequests

            self._requests = WorkerRequests(self)
        self._requests.put(lane, request)

    def _keep_input(self, instruction: KeepInput) -> None:
        from anabranch.resume import failed_inputs

        failed_inputs.keep(instruction, lambda: self.store, self.write, upstream_value)

    # -- flow runs -------------------------------------------------------------------------------

    def begin(self, row: FlowRunRow, cancel: Callable[[], object]) -> None:
        """A flow run of this driver has begun: it is kept alive in the record until `end`."""
        row.pid, row.pid_started, row.host = self.pid, self.pid_started, self.host
        row.heartbeat = self.clock.time()
        with self._lock:
            self.active[row.id] = row
            self.cancel_hooks[row.id] = cancel
        self._start_keeper()

    def end(self, run_id: str) -> None:
        with self._lock:
            self.active.pop(run_id, None)
            self.cancel_hooks.pop(run_id, None)

    def _start_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="anabranch-keeper", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        """Heartbeats, cancel requests from elsewhere, idle runners: once a second, as long as the program lives."""
        beat = time.monotonic()
        try:
            for run in self.records.mark_dead():
                logs.warn(f"flow run {run} was still marked as running, but its driver is gone: marked Crashed")
        except RecordsError as error:
            logs.warn(f"runs whose driver is gone were not looked for: {error}")
        looked = beat
        while not self._stop.wait(1.0):
            if time.monotonic() - looked >= HEARTBEAT_SECONDS:
                looked = time.monotonic()
                with contextlib.suppress(RecordsError):  # the next look will do
                    self.limits.refresh()
            with self._lock:
                running = list(self.active)
            if running and time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                now = self.clock.time()
                self.records.append([HeartbeatRow(run, now) for run in running])
            if running:
                for run in self._cancel_requested(running):
                    self._cancel(run)
                for run in self.records.taken_over(running):
                    logs.warn(f"flow run {run} was taken over by another driver: it is given up here")
                    self._cancel(run)
            self._runners.close_idle(self.settings.runner_idle)

    def _cancel(self, run: str) -> None:
        hook = self.cancel_hooks.pop(run, None)
        if hook is not None:
            hook()

    def _cancel_requested(self, running: list[str]) -> set[str]:
        try:
            return self.records.cancel_requested(running)
        except RecordsError:  # out of reach for now: rows wait in memory meanwhile, and so do requests
            return set()

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what the session started and commit the record. Idempotent."""
        if self.closed or os.getpid() != self.pid:
            return
        self.closed = True
        for run in tuple(self.streams):
            run.left_open(last=True)
        logs.stop_delivering(self._emit_logs)
        self._stop.set()
        for error in self._runners.close():
            logs.warn(str(error))
        self.pump.callback_thread.drain(5.0)
        self.limits.close()
        self.calls.close()
        if self._requests is not None:
            self._requests.close()
        self.pump.close()
        if self._probe is not None:
            self._probe.remove(self.store)
        self.records.close()


_current: Session | None = None
_current_lock = threading.Lock()
_left: Session | None = None


def _begin_anew() -> None:
    """In a forked copy the next use makes a session; that of the other process is not taken down with this one."""
    global _current, _current_lock, _left
    _current, _current_lock, _left = None, threading.Lock(), _current


forks.in_copies(_begin_anew)


def _inherited() -> Settings | None:
    """In a forked copy what the other process's session goes by, but for a runner of its own."""
    if _left is None:
        return None
    return _left.settings if isinstance(_left.settings.runner, str) else replace(_left.settings, runner="thread")


def current() -> Session:
    """The program's session, made when first asked for."""
    global _current
    found = _current
    if found is not None and not found.closed:
        return found
    with _current_lock:
        if _current is None or _current.closed:
            _current = Session(_inherited())
            atexit.register(_current.close)
        return _current


def use(session: Session | None) -> Session | None:
    """Put another session in place (tests, notebooks with other settings); returns the one before."""
    global _current
    with _current_lock:
        before, _current = _current, session
    logs.deliver_to(None if session is None else session._emit_logs)
    return before
