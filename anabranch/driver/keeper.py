"""The keeper: one thread that keeps the runs of a program alive in the record, and reads cancel requests.

    once a second:   cancel requests, runs that another driver took over, idle runners
    every 5 seconds: heartbeats, limits of the record
    once:            runs of dead drivers are marked Crashed
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anabranch import logs
from anabranch.core.errors import RecordsError
from anabranch.core.runs import HeartbeatRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.driver.runner_pool import RunnerPool

HEARTBEAT_SECONDS = 5.0


class Refreshed(Protocol):
    """The program's view of the limits in the record."""

    def refresh(self) -> None: ...


class Process(NamedTuple):
    """The process of a driver, as the record knows it."""

    pid: int
    started: float
    host: str
    incarnation: str = ""  # of the job that it is in, see `core.incarnations`

    def sign(self, row: FlowRunRow) -> None:
        """Enter this process as the driver in a run's row."""
        row.pid, row.pid_started, row.host, row.incarnation = self


class Keeper:
    """See the module's head; one per session, and no thread before `start`.

    Args:
        process: this one.
        limits: refreshed from time to time.
        runners: closed when they are idle for longer than `idle` seconds.
    """

    def __init__(
        self, records: Records, clock: Clock, process: Process, limits: Refreshed, runners: RunnerPool, idle: float
    ) -> None:
        self._records = records
        self._clock = clock
        self._process = process
        self._limits = limits
        self._runners = runners
        self._idle = idle
        self._running: set[str] = set()
        self._cancels: dict[str, Callable[[], object]] = {}  # by flow run, for runs that are not cancelled yet
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def begin(self, row: FlowRunRow, cancel: Callable[[], object]) -> None:
        """Keep a flow run of this driver alive in the record until `end`."""
        self._process.sign(row)
        row.heartbeat = self._clock.time()
        with self._lock:
            self._running.add(row.id)
            self._cancels[row.id] = cancel
        self.start()

    def end(self, run_id: str) -> None:
        """Stop keeping a flow run, which has ended."""
        with self._lock:
            self._running.discard(run_id)
            self._cancels.pop(run_id, None)

    def busy(self) -> bool:
        """Return whether flow runs are under way."""
        return bool(self._running)

    def cancel(self, run_id: str) -> None:
        """Cancel a flow run of this driver, as a cancel request does."""
        cancel = self._cancels.pop(run_id, None)
        if cancel is not None:
            cancel()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="anabranch-keeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after its present turn."""
        self._stopped.set()

    def _main(self) -> None:
        beat = looked = time.monotonic()
        self._mark_dead()
        while not self._stopped.wait(1.0):
            if time.monotonic() - looked >= HEARTBEAT_SECONDS:
                looked = time.monotonic()
                with contextlib.suppress(RecordsError):  # the next turn tries again
                    self._limits.refresh()
            with self._lock:
                running = list(self._running)
            if running and time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                now = self._clock.time()
                self._records.append([HeartbeatRow(run, now) for run in running])
            if running:
                self._look_for_cancels(running)
            self._runners.close_idle(self._idle)

    def _mark_dead(self) -> None:
        try:
            for run in self._records.mark_dead():
                logs.warn(f"flow run {run} was still marked as running, but its driver is gone: marked Crashed")
        except RecordsError as error:
            logs.warn(f"runs whose driver is gone were not looked for: {error}")

    def _look_for_cancels(self, running: list[str]) -> None:
        requested: set[str] = set()
        with contextlib.suppress(RecordsError):  # out of reach for now: rows wait in memory, requests in the record
            requested = self._records.cancel_requested(running)
        for run in requested:
            self.cancel(run)
        for run in self._records.taken_over(running):
            logs.warn(f"flow run {run} was taken over by another driver: it is given up here")
            self.cancel(run)
