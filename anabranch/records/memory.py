"""Records that live as long as their object: for tests and for runs that nobody wants to keep."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.core.runs import FlowRunRow, HeartbeatRow, ItemBlock, ItemRow, LogRow, MapRow, TransitionRow
from anabranch.core.states import CRASHED
from anabranch.records.blocks import Pack, times_of
from anabranch.records.drivers import Driver
from anabranch.records.views import FAILING, OPEN, StateFilter, Stored, page, state_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import ItemView, Row

logger = logging.getLogger("anabranch.records")


class MemoryRecords:
    """`Records` in memory: what was appended is seen at once, and gone with the object."""

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._pid = os.getpid()
        self._closed = False
        self._inbox: deque[Row] = deque()
        self._lock = threading.RLock()
        self._flow_runs: dict[str, FlowRunRow] = {}
        self._maps: dict[str, MapRow] = {}
        self._packs: dict[str, dict[tuple[int, int], Pack]] = {}  # by map; by attempt, times
        self._items: dict[str, dict[tuple[int, int], ItemRow]] = {}  # by map; by index, attempt
        self._transitions: list[TransitionRow] = []
        self._logs: list[LogRow] = []
        self._cancelled: set[str] = set()

    # -- writing ---------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Take rows. Raises RecordsError in a forked child, or after `close`."""
        if self._closed or os.getpid() != self._pid:
            raise RecordsError("the records are closed, or belong to the process that forked this one")
        self._inbox.extend(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """True: there is nothing to wait for."""
        if os.getpid() != self._pid:
            raise RecordsError("the records belong to the process that forked this one")
        return True

    def close(self, timeout: float | None = None) -> None:
        """Take no more rows; what is there can still be read."""
        self._closed = True

    def _settle(self) -> None:
        """Put rows that were appended where queries find them; with the lock held."""
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
        """Newest first."""
        wanted = StateFilter.of([state]) if state else None
        with self._lock:
            self._settle()
            found = [
                replace(run)
                for run in sorted(self._flow_runs.values(), key=lambda r: (r.created, r.id), reverse=True)
                if (flow is None or run.flow == flow) and (wanted is None or wanted.matches(run.state, run.state_name))
            ]
        return found[:limit]

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        """By id, unique prefix of an id, or (newest of that) name."""
        with self._lock:
            self._settle()
            if id_or_name in self._flow_runs:
                return replace(self._flow_runs[id_or_name])
            found = [run for run in self._flow_runs.values() if id_or_name and run.id.startswith(id_or_name)]
            if len(found) != 1:
                found = [run for run in self._flow_runs.values() if id_or_name and run.name == id_or_name]
            return replace(max(found, key=lambda run: (run.created, run.id))) if found else None

    def maps(self, flow_run: str) -> list[MapRow]:
        """In the order they were begun."""
        with self._lock:
            self._settle()
            found = [replace(map, counts=dict(map.counts)) for map in self._maps.values() if map.flow_run == flow_run]
        return sorted(found, key=lambda map: map.created)

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        """As they stand, by index."""
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

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        """Grouped: (task, error type, message, count, index of the first), most frequent first."""
        with self._lock:
            self._settle()
            counts: Counter[tuple[str, str, str]] = Counter()
            firsts: dict[tuple[str, str, str], int] = {}
            for map in self._maps.values():
                if map.flow_run == flow_run:
                    for row in self._failed(map.id):
                        group = (map.task, row.error_type, row.message)
                        counts[group] += 1
                        firsts[group] = min(row.index, firsts.get(group, row.index))
        groups = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [(*group, count, firsts[group]) for group, count in groups[:limit]]

    def _failed(self, map: str) -> Iterable[ItemRow]:
        """Rows of failed attempts that no later attempt has overruled."""
        rows = self._items.get(map, {})
        last: dict[int, int] = {}
        for index, attempt in rows:
            last[index] = max(attempt, last.get(index, 0))
        blocks = [(attempt, pack.indexes()) for (attempt, _), pack in self._packs.get(map, {}).items() if attempt > 1]
        for (index, attempt), row in rows.items():
            overruled = attempt < last[index] or any(n > attempt and known(index) for n, known in blocks)
            if row.state in FAILING and not overruled:
                yield row

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        """In the order they were written."""
        with self._lock:
            self._settle()
            return [replace(t) for t in self._transitions if t.run == run and index in (None, t.index)]

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]:
        """The last lines of a flow run from a level on, oldest first."""
        with self._lock:
            self._settle()
            found = [replace(line) for line in self._logs if line.flow_run == flow_run and line.level >= level]
        return sorted(found, key=lambda line: line.when)[-limit:] if limit > 0 else []

    # -- the lives of runs -----------------------------------------------------------------------

    def request_cancel(self, flow_run: str) -> bool:
        """Note that a run is to be cancelled; False when there is none of this id or it has ended."""
        with self._lock:
            self._settle()
            run = self._flow_runs.get(flow_run)
            if run is None or run.state not in OPEN:
                return False
            self._cancelled.add(flow_run)
            return True

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        """Which of these runs are to be cancelled."""
        return self._cancelled.intersection(flow_runs)

    def mark_dead(self) -> list[str]:
        """Mark runs whose driver is gone Crashed; their ids."""
        now, marked = self._clock.time(), []
        with self._lock:
            self._settle()
            for run in self._flow_runs.values():
                seen = max(run.heartbeat, run.created, run.started or 0.0)
                driver = Driver(run.id, run.attempt, run.pid, run.pid_started, run.host, seen)
                if run.state in OPEN and driver.gone(now):
                    name = state_name(CRASHED)
                    run.state, run.state_name, run.message, run.ended = CRASHED, name, driver.message, now
                    self._transitions.append(TransitionRow(run.id, -1, run.attempt, CRASHED, name, run.message, now))
                    marked.append(run.id)
        return marked
