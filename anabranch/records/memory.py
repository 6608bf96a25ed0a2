"""Records that live as long as their object: for tests and for runs that need no record."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

from anabranch.core import forks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.core.runs import (
    Ended,
    FlowRunRow,
    HeartbeatRow,
    ItemBlock,
    ItemRow,
    LogRow,
    MapRow,
    ReasonCount,
    StoredRow,
    TransitionRow,
)
from anabranch.core.states import CRASHED, FAILING
from anabranch.records.blocks import Pack, segments, times_of
from anabranch.records.drivers import Driver, taken
from anabranch.records.memory_limits import MemoryLimits
from anabranch.records.views import OPEN, StateFilter, Stored, counted, last_left, page, state_name, summed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import ItemView, Row
    from anabranch.records.views import Later, Left

logger = logging.getLogger("anabranch.records")


class MemoryRecords:
    """`Records` in memory: rows are visible at once, and gone with the object."""

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._copied = forks.mark()
        self._closed = False
        self._inbox: deque[Row] = deque()
        self._lock = threading.RLock()
        self._flow_runs: dict[str, FlowRunRow] = {}
        self._maps: dict[str, MapRow] = {}
        self._packs: dict[str, dict[tuple[int, int], Pack]] = {}  # by map; by attempt, times
        self._items: dict[str, dict[tuple[int, int], ItemRow]] = {}  # by map; by index, attempt
        self._stored: dict[str, list[StoredRow]] = {}
        self._transitions: list[TransitionRow] = []
        self._logs: list[LogRow] = []
        self._cancelled: set[str] = set()
        self.limits = MemoryLimits(clock)

    # -- writing ---------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows. Raises RecordsError in a forked child, or after `close`."""
        if self._closed or self._copied:
            raise RecordsError("the records are closed, or belong to the process that forked this one")
        self._inbox.extend(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """Return True: there is nothing to wait for."""
        if self._copied:
            raise RecordsError("the records belong to the process that forked this one")
        return True

    def publish(self, timeout: float | None = None) -> bool:
        """Return True: no other program can see it."""
        return self.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Take no more rows; the present ones can still be read."""
        self._closed = True

    def _settle(self) -> None:
        """Move appended rows into the tables that queries read; the caller holds the lock."""
        for _ in range(len(self._inbox)):
            row = self._inbox.popleft()
            try:
                self._put(row)
            except RecordsError as error:
                logger.warning("A row of the records was left out: %s", error)

    def _put(self, row: Row) -> None:
        if isinstance(row, ItemBlock):
            times = times_of(row)
            packs = self._packs.setdefault(row.map, {})
            if row.count:
                packs.setdefault((row.attempt, times), Pack(row.base, times)).add(row)
        elif isinstance(row, ItemRow):
            self._items.setdefault(row.map, {})[row.index, row.attempt] = row
        elif isinstance(row, StoredRow):
            if len(row.items):
                self._stored.setdefault(row.map, []).append(row)
        elif isinstance(row, FlowRunRow):
            old = self._flow_runs.get(row.id)
            beat = max(row.heartbeat, old.heartbeat if old else 0.0)
            self._flow_runs[row.id] = replace(
                row, state_name=state_name(row.state, row.state_name), heartbeat=beat, tags=tuple(row.tags)
            )
        elif isinstance(row, MapRow):
            self._maps[row.id] = row
        elif isinstance(row, TransitionRow):
            self._transitions.append(replace(row, state_name=state_name(row.state, row.state_name)))
        elif isinstance(row, LogRow):
            self._logs.append(row)
        elif isinstance(row, HeartbeatRow) and row.flow_run in self._flow_runs:
            run = self._flow_runs[row.flow_run]
            run.heartbeat = max(run.heartbeat, row.when)

    # -- reading ---------------------------------------------------------------------------------

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        """Return flow runs, newest first."""
        wanted = StateFilter.of([state]) if state else None
        with self._lock:
            self._settle()
            found = [
                replace(run)
                for run in sorted(self._flow_runs.values(), key=lambda r: (r.created, r.id), reverse=True)
                if (flow is None or run.flow == flow) and (wanted is None or wanted.matches(run.state, run.state_name))
            ]
        return found[:limit]

    def count_flow_runs(self, *, state: str | None = None, flow: str | None = None) -> int:
        """Return how many `flow_runs` would return without a limit."""
        return len(self.flow_runs(limit=1 << 62, state=state, flow=flow))

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        """Return a flow run by id, unique prefix of an id, or name (the newest)."""
        with self._lock:
            self._settle()
            if id_or_name in self._flow_runs:
                return replace(self._flow_runs[id_or_name])
            found = [run for run in self._flow_runs.values() if id_or_name and run.id.startswith(id_or_name)]
            if len(found) != 1:
                found = [run for run in self._flow_runs.values() if id_or_name and run.name == id_or_name]
            return replace(max(found, key=lambda run: (run.created, run.id))) if found else None

    def subflow(self, parent: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run that a flow run made by the call of this key."""
        return self._newest(lambda run: run.parent_run == parent and run.run_key == run_key)

    def subflows(self, parent: str, *, limit: int = 1000) -> list[FlowRunRow]:
        """Return the runs that a flow run made, the first ones first."""
        with self._lock:
            self._settle()
            found = [replace(run) for run in self._flow_runs.values() if run.parent_run == parent]
        return sorted(found, key=lambda run: (run.created, run.id))[:limit]

    def keyed_run(self, flow: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run of a flow with the user's key."""
        return self._newest(lambda run: run.flow == flow and run.run_key == run_key and not run.parent_run)

    def _newest(self, fits: Callable[[FlowRunRow], bool]) -> FlowRunRow | None:
        with self._lock:
            self._settle()
            found = [run for run in self._flow_runs.values() if fits(run)]
            return replace(max(found, key=lambda run: (run.created, run.id))) if found else None

    def stored(self, map: str, kind: str = "value") -> list[StoredRow]:
        """Return the stored rows of a map, in the order they were written."""
        with self._lock:
            self._settle()
            return [row for row in self._stored.get(map, ()) if row.kind == kind]

    def maps(self, flow_run: str) -> list[MapRow]:
        """Return the maps of a flow run, in the order they were begun."""
        with self._lock:
            self._settle()
            found = [replace(map, counts=dict(map.counts)) for map in self._maps.values() if map.flow_run == flow_run]
        return sorted(found, key=lambda map: map.created)

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        """Return the items of a map, by index."""
        with self._lock:
            self._settle()
            packs = sorted(self._packs.get(map, {}).items(), key=lambda entry: entry[0][0])
            rows = self._items.get(map, {})
            spans = [(pack.first, pack.last) for _, pack in packs]

            def next_index(low: int) -> int | None:
                blocks = [first for first, _ in spans if first >= low]
                return min([*blocks, *(index for index, _ in rows if index >= low)], default=None)

            def stored(low: int, high: int) -> Stored:
                chosen = [packs[n] for n, (first, last) in enumerate(spans) if first < high and last >= low]
                special = sorted((row for (i, _), row in rows.items() if low <= i < high), key=lambda r: r.attempt)
                return [pack for _, pack in chosen], [attempt for (attempt, _), _ in chosen], special

            return page(first, limit, states, next_index, stored)

    def ended(self, map: str, mark: object = None) -> Ended:
        """Return all items of a map that have ended, whenever an earlier look was."""
        with self._lock:
            self._settle()
            packs = self._packs.get(map, {})
            blocks = [block for (attempt, _), pack in packs.items() for block in segments(pack, map, attempt)]
            return Ended(blocks, [row[:3] for row in self._left(map)], None)

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        """Return failures in groups: (task, error type, message, count, index of the first), most frequent first."""
        with self._lock:
            self._settle()
            counts: Counter[tuple[str, str, str]] = Counter()
            firsts: dict[tuple[str, str, str], int] = {}
            for map in self._maps.values():
                if map.flow_run == flow_run and not map.superseded:
                    for row in self._failed(map.id):
                        group = (map.task, row.error_type, row.message)
                        counts[group] += 1
                        firsts[group] = min(row.index, firsts.get(group, row.index))
        groups = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [(*group, count, firsts[group]) for group, count in groups[:limit]]

    def failed(self, flow_run: str) -> list[tuple[str, str, int, int]]:
        """Return all failures, however many messages there are: (task, error type, count, index of the first)."""
        return summed(self.failures(flow_run, limit=1 << 62))

    def attempts(self, map: str, index: int) -> list[ItemRow]:
        """Return the rows of one item that left the happy path, first attempt to last."""
        with self._lock:
            self._settle()
            found = [replace(row) for (at, _), row in self._items.get(map, {}).items() if at == index]
        return sorted(found, key=lambda row: row.attempt)

    def reasons(self, maps: Sequence[str]) -> list[ReasonCount]:
        """Return why items of these maps left the happy path, in groups, most frequent first."""
        with self._lock:
            self._settle()
            found = [group for map in maps for group in counted(map, self._left(map), self._later(map))]
        return sorted(found, key=lambda group: (-group.times, *group[:4]))

    def _left(self, map: str) -> list[Left]:
        rows = sorted(self._items.get(map, {}).items(), key=itemgetter(0))
        return [(index, attempt, row.state, row.reason) for (index, attempt), row in rows]

    def _later(self, map: str) -> list[Later]:
        return [(attempt, pack) for (attempt, _), pack in self._packs.get(map, {}).items() if attempt > 1]

    def _failed(self, map: str) -> Iterable[ItemRow]:
        """Yield rows of failed attempts that no later attempt has overruled."""
        rows = self._items.get(map, {})
        last = {index: row for (index, _), row in sorted(rows.items(), key=itemgetter(0))}
        for state, _, indexes, overcome in last_left(self._left(map), self._later(map)):
            if state in FAILING:
                yield from (last[index] for index in indexes if index not in overcome)

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        """Return state changes, in the order they were written."""
        with self._lock:
            self._settle()
            return [replace(t) for t in self._transitions if t.run == run and index in (None, t.index)]

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]:
        """Return the last lines of a flow run from a level on, oldest first."""
        with self._lock:
            self._settle()
            found = [replace(line) for line in self._logs if line.flow_run == flow_run and line.level >= level]
        return sorted(found, key=lambda line: line.when)[-limit:] if limit > 0 else []

    def count_logs(self, flow_run: str, *, level: int = 0) -> int:
        """Return how many `logs` would return without a limit."""
        return len(self.logs(flow_run, limit=1 << 62, level=level))

    # -- the lives of runs -----------------------------------------------------------------------

    def claim(self, driver: FlowRunRow) -> int:
        """Make this process the driver of a run after its earlier one is gone. Raises RunTakenError."""
        with self._lock:
            self._settle()
            run = self._flow_runs.get(driver.id)
            earlier = None if run is None else Driver.of(run)
            if run is None or earlier is None or not earlier.let(driver, self._clock.time()):
                raise taken(driver.id, earlier, driver)
            run.token += 1
            run.pid, run.pid_started, run.host = driver.pid, driver.pid_started, driver.host
            run.heartbeat, run.incarnation = driver.heartbeat, driver.incarnation
            self._cancelled.discard(run.id)  # the request was meant for the earlier driver
            return run.token

    def request_cancel(self, flow_run: str) -> bool:
        """Request that a run be cancelled; False when there is none of this id or it has ended."""
        with self._lock:
            self._settle()
            run = self._flow_runs.get(flow_run)
            if run is None or run.state not in OPEN:
                return False
            self._cancelled.add(flow_run)
            return True

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        """Return those of these runs that are to be cancelled."""
        return self._cancelled.intersection(flow_runs)

    def taken_over(self, flow_runs: Sequence[str]) -> set[str]:
        """Return nothing: no other process sees these records."""
        return set()

    def mark_dead(self) -> list[str]:
        """Mark runs of dead drivers Crashed; returns their ids."""
        now, marked = self._clock.time(), []
        with self._lock:
            self._settle()
            for run in self._flow_runs.values():
                driver = Driver.of(run)
                if run.state in OPEN and driver.gone(now):
                    self._end(run, CRASHED, driver.message, now)
                    marked.append(run.id)
        return marked

    def end(self, run: FlowRunRow, state: int, message: str) -> bool:
        """End a run that nobody drives; False where it has changed since it was read."""
        with self._lock:
            self._settle()
            now, driver = self._flow_runs.get(run.id), Driver.of(run)
            if now is None or driver.ended or Driver.of(now) != driver:
                return False
            self._end(now, state, message, self._clock.time())
        return True

    def _end(self, run: FlowRunRow, state: int, message: str, now: float) -> None:
        run.state, run.state_name, run.message, run.ended = state, state_name(state), message, now
        row = TransitionRow(run.id, -1, run.attempt, state, run.state_name, message, now)
        self._transitions.append(row)
