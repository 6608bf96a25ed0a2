"""The session: the wiring of a driver. Settings become a runner, a record, a result store.

One session a program, made when first needed, closed at exit. It is one of the two places (the
other is `worker`) that choose implementations, and it imports them when chosen.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch import settings as settings_module
from anabranch.core import forks, login_nodes, observing, own_code, secrets, tracebacks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import ConfigurationError, RecordsError, StoreError
from anabranch.core.ids import Ids
from anabranch.core.incarnations import Incarnation
from anabranch.core.limits import Holder
from anabranch.core.log_lines import masked
from anabranch.core.machine import usable_memory
from anabranch.core.processes import host_id, process_started
from anabranch.core.runs import LogRow
from anabranch.driver.callbacks import Callbacks, upstream_value
from anabranch.driver.dropped_lists import DroppedLists
from anabranch.driver.item_lines import ItemLines
from anabranch.driver.keeper import Keeper, Process
from anabranch.driver.keyed_maps import KeyedMaps
from anabranch.driver.limited_maps import LimitedMaps
from anabranch.driver.program import Program
from anabranch.driver.pump import Pump
from anabranch.driver.runner_pool import RunnerPool
from anabranch.driver.scopes import Scopes
from anabranch.driver.sent_tasks import SentTasks
from anabranch.driver.stores import Stores
from anabranch.engine import walltime
from anabranch.limits.shared import SharedLimits
from anabranch.resume.call_values import CallValues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.contracts import Runner
    from anabranch.core.events import WorkerRequest
    from anabranch.core.instructions import KeepInput
    from anabranch.core.log_lines import LogLine
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import Records, Row
    from anabranch.core.stores import ResultStore, StoreProbe
    from anabranch.settings import Settings


def make_runner(name: str) -> Runner:
    """Return a runner by its name, as in `flow(runner="dask")` and in settings."""
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
    """Return the result store of the settings: an address with "://" is fsspec's, except for this machine's files."""
    address = settings.results
    if "://" in address and not address.startswith(("file://", "local://")):
        from anabranch.results.remote import RemoteStore

        return RemoteStore(address)
    from anabranch.results.disk import DiskStore

    return DiskStore(address.partition("://")[2] if "://" in address else settings.results_path)


def _store_of(settings: Settings) -> ResultStore:
    """Do as `make_store`; raises StoreError where there is no place for one."""
    why = "" if settings.results else settings_module.home_trouble(settings.home)
    if why:
        raise StoreError(why)
    return make_store(settings)


def _probe_of(store: ResultStore) -> StoreProbe:
    from anabranch.results.probe import Probe

    return Probe(store)


def open_records(settings: Settings) -> Records:
    """Open the record of the settings; made where there is none."""
    from anabranch import records

    try:
        return records.open_records(
            settings.records_place, shared=settings.records_shared, retention_days=settings.retention_days,
            home=settings.home, api_key=settings.api_key,
        )  # fmt: skip
    except (RecordsError, OSError) as error:
        why = "" if settings.records else settings_module.home_trouble(settings.home)
        if not why:
            raise
        raise RecordsError(why) from error


def _notebook() -> Any:
    """Return what `display` has for notebooks; None outside of IPython."""
    if "IPython" not in sys.modules:
        return None
    from anabranch.display import notebook

    return notebook


def _in_cell(work: Callable[[], None]) -> Callable[[], None]:
    """Return `work` so that its output is shown where that of the present code is."""
    return work if (here := _notebook()) is None else here.in_its_cell(work)


def recorded(settings: Settings) -> bool:
    """Return whether there may be a record at the settings' place."""
    from anabranch import records

    return records.recorded(settings.records_place, shared=settings.records_shared)


def unrecorded(settings: Settings) -> Session:
    """Return a session that keeps no record."""
    from anabranch.records.memory import MemoryRecords

    return Session(settings, records=MemoryRecords())


class Session:
    """The wiring of one program; see the module's head.

    Attributes:
        process: this process, as the record has it.
        runners: the runners in use.
        scopes: those of its flow runs, and those outside of flows.
        keeper: keeps flow runs alive in the record.
        limits: the shared limits of the record.
        item_lines: which lines about task runs are shown.
        calls: values of plain calls in resumable runs.
        streams: outermost runs of generator flows that are being read.
        near_end: why flow runs are to end, once the known end of the allocation is near; "" before.
        on_near_end: called then, perhaps under the pump's lock: it must not block.
        ended_by_person: returns whether a person meant a SIGTERM, where a batch system sends it for other ends too.
    """

    def __init__(
        self, settings: Settings | None = None, *, records: Records | None = None, clock: Any = SYSTEM
    ) -> None:
        self.settings = settings or settings_module.load()
        self.clock = clock
        self.ids = Ids()
        started, incarnation = process_started(os.getpid()), str(Incarnation.of(os.environ))
        self.process = Process(os.getpid(), started, host_id(), incarnation)
        own_code.roles.driver = True
        login_nodes.told.said = self.settings.login_node
        tracebacks.shown.full = self.settings.full_tracebacks
        tracebacks.shown.cell_of = getattr(_notebook(), "cell_of", None)
        logs.setup_logging(self.settings.log_level)
        logs.deliver_to(self.emit_logs)
        self.records = records if records is not None else open_records(self.settings)
        self.near_end, self._end = "", math.inf
        self.on_near_end: list[Callable[[], object]] = []
        self.ended_by_person: Callable[[], bool] | None = None
        self.pump = self._make_pump()
        holder = Holder(self.ids.new(), self.process.host, self.process.pid, self.process.started)
        self.limits = SharedLimits(self.records.limits, holder, LimitedMaps(self.pump), clock)
        self.limits.refresh()  # before the first run: it may be under one
        self.stores = Stores(functools.partial(_store_of, self.settings), _probe_of, self._in_process)
        self.calls = CallValues(self.stores.store, self.write)
        tasks = SentTasks(self.pump, self.stores)
        self.runners = RunnerPool(self.pump, make_runner, tasks.forget)
        self.item_lines = self._make_item_lines()
        dropped = DroppedLists(logs.warn, _in_cell, functools.partial(self.pump.post, self.pump.callback_thread.put))
        self.program = Program(
            self.pump, tasks, self.stores, self.ids, clock, self.flush_records, self.item_lines.tell_end, dropped.gone,
            KeyedMaps(logs.tell, self._show_here), [self.item_lines.watch, observing.watch, dropped.watch],
        )  # fmt: skip
        self.keeper = Keeper(self.records, clock, self.process, self.limits, self.runners, self.settings.runner_idle)
        self.scopes = Scopes(
            self.program, self.runners, self.keeper, self.settings.runner, self.settings.shutdown_grace
        )
        self.streams: list[Any] = []
        self._requests: Any = None
        if self.settings.progress:
            from anabranch.display import progress

            self.program.watchers.append(progress.watch)
        self.closed = False

    def _make_pump(self) -> Pump:
        callbacks = Callbacks(
            logs.warn,
            keep_input=self._keep_input,
            request=self._on_request,
            want_slots=lambda: self.limits.nudge(),
            near_end=self.end_near,
        )
        pump = Pump(self.clock, callbacks, self.write, self.emit_logs)
        pump.dispatcher.tables.ledger.memory.budget = self.settings.memory_budget or usable_memory() // 4 or math.inf
        pump.dispatcher.capacity.timeout = self.settings.capacity_timeout
        if self.settings.walltime_end:
            left = self.settings.walltime_end - self.clock.time()
            pump.dispatcher.know_end(walltime.span_of(self.clock.monotonic(), left, self.settings.walltime_margin))
        return pump

    def _make_item_lines(self) -> ItemLines:
        def grouped(map: MapRun, limit: int) -> list[str]:
            from anabranch.display import summary

            return summary.failure_lines(summary.of_map(map), limit)

        return ItemLines(
            self.pump.dispatcher.tables.maps, grouped, _in_cell, self.pump.callback_thread.put, self.emit_logs
        )

    def _show_here(self, map: MapRun) -> None:
        self.item_lines.show_here(map)
        if self.settings.progress:
            from anabranch.display import progress

            progress.watch(map.scope, map)

    def _in_process(self, lane: int) -> bool:
        return self.pump.dispatcher.tables.lanes[lane].capabilities.in_process

    @property
    def store(self) -> ResultStore:
        """The result store, made when first needed."""
        return self.stores.store()

    # -- the record ------------------------------------------------------------------------------

    def write(self, rows: list[Row]) -> None:
        """Put rows into the record; never blocks."""
        if secrets.any_known():
            secrets.mask_rows(rows)
        self.records.append(rows)

    def emit_logs(self, lines: Sequence[LogLine], dropped: int) -> None:
        """Give lines of runs to the program's logging, and to the record."""
        rows: list[Row] = []
        if secrets.any_known():
            lines = [masked(line) for line in lines]
        for line in lines:
            if not line.about or self.item_lines.shows(line):
                logs.emit(line)
            if not line.name:
                run = (line.flow_run_id, line.map_id, line.item)
                rows.append(LogRow(line.when, line.level, line.logger, line.whole, *run))
        if dropped:
            logs.warn(f"{dropped} log lines were dropped: a worker logged faster than the limit")
        self.records.append(rows)

    def flush_records(self) -> float:
        """Wait until all ended runs are in the record; returns for how many seconds."""
        begun = self.clock.monotonic()
        self.records.flush(timeout=30.0)
        seconds: float = self.clock.monotonic() - begun
        return seconds

    # -- what workers and the dispatcher ask ------------------------------------------------------

    def _on_request(self, lane: int, request: WorkerRequest) -> None:
        """Handle a request of a task on a worker outside the driver."""
        if self._requests is None:
            from anabranch.driver.nested_requests import WorkerRequests

            self._requests = WorkerRequests(self.pump, self.scopes, self.limits)
        self._requests.put(lane, request)

    def end_near(self, why: str, seconds: float = math.inf) -> None:
        self.near_end, self._end = why, self.clock.monotonic() + seconds
        for call in tuple(self.on_near_end):
            call()

    @property
    def end_of_work(self) -> float:
        """The monotonic second by which all work is to have ended; infinite where no end is known."""
        walltime = self.pump.dispatcher.tables.walltime
        return self._end if walltime is None else min(self._end, walltime.span.end)

    @property
    def progressed(self) -> bool:
        """Whether anything has ended in this program, as far as that is counted: where no end is known it is not."""
        walltime = self.pump.dispatcher.tables.walltime
        return walltime is None or walltime.ended > 0

    def _keep_input(self, asked: KeepInput) -> None:
        from anabranch.resume import failed_inputs

        failed_inputs.keep(asked, self.stores.store, self.write, upstream_value)

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what the session started and commit the record. Idempotent."""
        if self.closed or os.getpid() != self.process.pid:
            return
        self.closed = True
        for run in tuple(self.streams):
            run.left_open(last=True)
        logs.stop_delivering(self.emit_logs)
        self.keeper.stop()
        for error in self.runners.close():
            logs.warn(str(error))
        self.pump.callback_thread.drain(5.0)
        self.limits.close()
        self.calls.close()
        if self._requests is not None:
            self._requests.close()
        self.pump.close()
        self.stores.close()
        self.records.close()


_current: Session | None = None
_chosen: dict[str, Any] = {}
_current_lock = threading.Lock()
_left: Session | None = None


def _begin_anew() -> None:
    """Reset in a forked copy: the next use makes a session, and the other process's session is left alone."""
    global _current, _current_lock, _left
    _current, _current_lock, _left = None, threading.Lock(), _current


forks.in_copies(_begin_anew)


def current() -> Session:
    """Return the program's session, made at the first call."""
    global _current
    found = _current
    if found is not None and not found.closed:
        return found
    with _current_lock:
        if _current is None or _current.closed:
            _current = Session(chosen())
            atexit.register(_current.close)
        return _current


def chosen() -> Settings:
    """Return the settings of the program's session, without making it; a forked copy has those of the other process."""
    known = _left if _current is None or _current.closed else _current
    if known is None:
        return settings_module.load(**_chosen)
    return known.settings if isinstance(known.settings.runner, str) else replace(known.settings, runner="thread")


def choose(**given: Any) -> None:
    """Set settings of the session that this program is yet to make; they win over file and environment."""
    _chosen.update(given)


def use(session: Session | None) -> Session | None:
    """Put another session in place (tests, notebooks with other settings); returns the one before."""
    global _current
    with _current_lock:
        before, _current = _current, session
    logs.deliver_to(None if session is None else session.emit_logs)
    return before


@contextlib.contextmanager
def in_place(session: Session) -> Iterator[Session]:
    """Put a session in place for a block, and close it at the block's end."""
    before = use(session)
    try:
        yield session
    finally:
        use(before)
        session.close()
