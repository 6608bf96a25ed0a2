"""Queries to a database, each on a connection of its own: reading never delays writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anabranch.core.runs import Ended, FlowRunRow, ItemRow, LogRow, MapRow, ReasonCount, StoredRow, TransitionRow
from anabranch.core.states import COMPLETED, FAILING
from anabranch.records.batch import stored_row
from anabranch.records.blocks import decode, segments
from anabranch.records.views import StateFilter, Stored, counted, overruled, page, summed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anabranch.core.runs import ItemView
    from anabranch.records.database import Connection, Database
    from anabranch.records.views import Later, Left

Failures = list[tuple[str, str, str, int, int]]
Failed = list[tuple[str, str, int, int]]


class Reader:
    """Queries committed rows of a database, from any thread or process."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ask(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Return the rows that a query of queries.sql finds."""
        with self.database.opened() as db:
            return db.execute(self.database.sql[query], values).fetchall()

    def runs(self, query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[FlowRunRow]:
        """Return the flow runs that a query finds."""
        return [_flow_run(row) for row in self.ask(query, values)]

    def flow_runs(
        self, *, limit: int = 50, state: str | None = None, flow: str | None = None,
        until: float | None = None, skip: int = 0,
    ) -> list[FlowRunRow]:  # fmt: skip
        """Return flow runs, newest first, of those made up to a time, and without the first `skip` of these."""
        codes = json.dumps(sorted(StateFilter.of([state]).codes) if state else [])
        part = {"limit": limit, "until": until, "skip": skip}
        return self.runs("flow_runs", {"flow": flow, "name": state, "codes": codes, **part})

    def count_flow_runs(self, *, state: str | None = None, flow: str | None = None) -> int:
        codes = json.dumps(sorted(StateFilter.of([state]).codes) if state else [])
        found: int = self.ask("count_flow_runs", {"flow": flow, "name": state, "codes": codes})[0][0]
        return found

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        if not id_or_name:
            return None
        found = self.runs("flow_run_by_id", (id_or_name,))
        if not found:
            found = self.runs("flow_run_by_prefix", {"prefix": id_or_name})
        if len(found) != 1:
            found = self.runs("flow_run_by_name", (id_or_name,))
        return found[0] if found else None

    def subflow(self, parent: str, run_key: str) -> FlowRunRow | None:
        return next(iter(self.runs("subflow", (parent, run_key))), None)

    def subflows(self, parent: str, *, limit: int = 1000) -> list[FlowRunRow]:
        return self.runs("subflows", (parent, limit))

    def keyed_run(self, flow: str, run_key: str) -> FlowRunRow | None:
        return next(iter(self.runs("keyed_run", (flow, run_key))), None)

    def stored(self, map: str, kind: str = "value") -> list[StoredRow]:
        return [stored_row(row) for row in self.ask("stored", (map, kind))]

    def maps(self, flow_run: str) -> list[MapRow]:
        return [_map(row) for row in self.ask("maps", (flow_run,))]

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        with self.database.opened() as db:
            self.database.moment(db)  # one moment for all pages: a sealed block may replace others meanwhile
            parts = Parts(self.database, db, map)
            return page(first, limit, states, parts.next_index, parts.stored)

    def ended(self, map: str, mark: object = None) -> Ended:
        """Return the items of a map that have ended since an earlier look."""
        last, stamp = mark if isinstance(mark, tuple) else (0, None)
        sql = self.database.sql
        with self.database.opened() as db:
            self.database.moment(db)
            blobs = db.execute(sql["blocks_after"], (map, last)).fetchall()
            now = tuple(db.execute(sql["left_stamp"], (map,)).fetchone())
            left = None if now == stamp else [row[:3] for row in db.execute(sql["left"], (map,))]
        blocks = [block for _, attempt, data in blobs for block in segments(decode(data), map, attempt)]
        return Ended(blocks, left, (blobs[-1][0] if blobs else last, now))

    def attempts(self, map: str, index: int) -> list[ItemRow]:
        return [ItemRow(*row) for row in self.ask("items_of_range", {"map": map, "low": index, "high": index + 1})]

    def reasons(self, maps: Sequence[str]) -> list[ReasonCount]:
        found: list[ReasonCount] = []
        sql = self.database.sql
        with self.database.opened() as db:
            self.database.moment(db)
            for map in maps:
                parts = Parts(self.database, db, map)
                later = parts.later()
                [last] = db.execute(sql["last_attempt"], (map,)).fetchone()
                if later or (last or 0) > 1:
                    found += counted(map, parts.left(), later)
                else:
                    once = db.execute(sql["left_once"], (map, COMPLETED))
                    found += [ReasonCount(of, why, state, bool(n), *rest) for of, why, state, n, *rest in once]
        return sorted(found, key=lambda group: (-group.times, *group[:4]))

    def failures(self, flow_run: str, *, limit: int = 20) -> Failures:
        with self.database.opened() as db:
            left = self._last_failures(db, flow_run)
            if left is not None:
                return grouped(left, limit)
            found = db.execute(self.database.sql["failures"], {**_failing(flow_run), "limit": limit})
            return [(task, kind, message, times, first) for task, kind, message, times, first in found]

    def failed(self, flow_run: str) -> Failed:
        with self.database.opened() as db:
            left = self._last_failures(db, flow_run)
            if left is not None:
                return summed(grouped(left, 1 << 62))
            return [(*row,) for row in db.execute(self.database.sql["failed"], _failing(flow_run))]

    def _last_failures(self, db: Connection, flow_run: str) -> list[tuple[str, str, str, int]] | None:
        """Return failed items as (task, error type, message, index); None where no blob can overrule their rows."""
        sql = self.database.sql
        self.database.moment(db)
        later: dict[str, list[Later]] = {}
        for map, attempt, data in db.execute(sql["retried_blocks"], (flow_run,)):
            later.setdefault(map, []).append((attempt, decode(data)))
        if not later:
            return None
        rows = db.execute(sql["failed_items"], _failing(flow_run)).fetchall()
        gone = set(_overruled(rows, later))
        return [row[3:] for row in rows if row[:3] not in gone]

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        return [TransitionRow(*row) for row in self.ask("transitions", {"run": run, "idx": index})]

    def logs(
        self, flow_run: str, *, limit: int = 1000, level: int = 0, until: float | None = None, skip: int = 0
    ) -> list[LogRow]:
        """Return the last lines, oldest first, of those up to a time, and without the last `skip` of these."""
        part = {"limit": limit, "until": until, "skip": skip}
        return [LogRow(*row) for row in self.ask("logs", {"flow_run": flow_run, "level": level, **part})]

    def count_logs(self, flow_run: str, *, level: int = 0) -> int:
        found: int = self.ask("count_logs", {"flow_run": flow_run, "level": level})[0][0]
        return found

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        if not flow_runs:
            return set()
        return {row[0] for row in self.ask("cancel_requested", (json.dumps(list(flow_runs)),))}


class Parts:
    """The blobs and rows of one map's items in a database, for `page`."""

    def __init__(self, database: Database, connection: Connection, map: str) -> None:
        self._sql = database.sql
        self._connection = connection
        self._map = map

    def next_index(self, low: int) -> int | None:
        """Return the index at which the next blob or row begins, from an index on."""
        values = {"map": self._map, "low": low}
        found: int | None = self._connection.execute(self._sql["next_index"], values).fetchone()[0]
        return found

    def stored(self, low: int, high: int) -> Stored:
        """Return the blobs and rows of [low, high)."""
        span = {"map": self._map, "low": low, "high": high}
        blocks = self._connection.execute(self._sql["blocks_of_range"], span).fetchall()
        rows = [ItemRow(*row) for row in self._connection.execute(self._sql["items_of_range"], span)]
        return [decode(data) for _, data in blocks], [attempt for attempt, _ in blocks], rows

    def left(self) -> list[Left]:
        """Return each attempt that left the happy path, and why; by attempt."""
        return self._connection.execute(self._sql["left"], (self._map,)).fetchall()

    def later(self) -> list[Later]:
        """Return the blobs of attempts after the first."""
        found = self._connection.execute(self._sql["retried_blocks_of"], (self._map,))
        return [(attempt, decode(data)) for attempt, data in found]


def grouped(failed: Iterable[tuple[str, str, str, int]], limit: int) -> Failures:
    """Group failed items (task, error type, message, index), each group with its number and lowest index."""
    groups: dict[tuple[str, str, str], tuple[int, int]] = {}
    for task, kind, message, index in failed:
        times, first = groups.get((task, kind, message), (0, index))
        groups[task, kind, message] = (times + 1, min(first, index))
    found = sorted(groups.items(), key=lambda entry: (-entry[1][0], entry[0]))
    return [(*group, *counted) for group, counted in found[:limit]]


def _failing(flow_run: str) -> dict[str, str]:
    return {"flow_run": flow_run, "states": json.dumps(FAILING)}


def _overruled(rows: Iterable[Any], later: Mapping[str, Sequence[Later]]) -> Iterator[tuple[str, int, int]]:
    """Return failed attempts (map, index, attempt) that a later attempt in a blob overrules."""
    groups: dict[tuple[str, int], list[int]] = {}
    for map, index, attempt, *_ in rows:
        groups.setdefault((map, attempt), []).append(index)
    for (map, attempt), indexes in groups.items():
        indexes.sort()
        yield from ((map, index, attempt) for index in overruled(indexes, attempt, later.get(map, ())))


def _flow_run(row: Sequence[Any]) -> FlowRunRow:
    values = list(row)
    values[13] = tuple(json.loads(values[13]))
    values[19] = bool(values[19])
    return FlowRunRow(*values)


def _map(row: Sequence[Any]) -> MapRow:
    values = list(row)
    values[7], values[9] = json.loads(values[7]), tuple(json.loads(values[9]))
    values[13], values[15] = tuple(json.loads(values[13])), json.loads(values[15])
    return MapRow(*values)
