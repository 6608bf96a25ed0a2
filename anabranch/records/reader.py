"""Questions to the SQLite file, each on a connection of its own: reading never holds up writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anabranch.core.runs import FlowRunRow, ItemRow, LogRow, MapRow, TransitionRow
from anabranch.records.blocks import decode
from anabranch.records.database import opened
from anabranch.records.statements import SQL
from anabranch.records.views import FAILING, StateFilter, Stored, page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anabranch.core.runs import ItemView


class Reader:
    """Answers from the file at `path`; what is not committed yet is not seen. From any thread or process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        codes = json.dumps(sorted(StateFilter.of([state]).codes) if state else [])
        with opened(self.path) as db:
            values = {"flow": flow, "name": state, "codes": codes, "limit": limit}
            return [_flow_run(row) for row in db.execute(SQL["flow_runs"], values)]

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        if not id_or_name:
            return None
        with opened(self.path) as db:
            found = db.execute(SQL["flow_run_by_id"], (id_or_name,)).fetchall()
            if not found:
                found = db.execute(SQL["flow_run_by_prefix"], {"prefix": id_or_name}).fetchall()
            if len(found) != 1:
                found = db.execute(SQL["flow_run_by_name"], (id_or_name,)).fetchall()
        return _flow_run(found[0]) if found else None

    def maps(self, flow_run: str) -> list[MapRow]:
        with opened(self.path) as db:
            return [_map(row) for row in db.execute(SQL["maps"], (flow_run,))]

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        with opened(self.path) as db:
            db.execute("BEGIN")  # one moment for all pages: a block may be replaced by a sealed one

            def next_index(low: int) -> int | None:
                found: int | None = db.execute(SQL["next_index"], {"map": map, "low": low}).fetchone()[0]
                return found

            def stored(low: int, high: int) -> Stored:
                span = {"map": map, "low": low, "high": high}
                blocks = db.execute(SQL["blocks_of_range"], span).fetchall()
                rows = [ItemRow(*row) for row in db.execute(SQL["items_of_range"], span)]
                return [decode(data) for _, data in blocks], [attempt for attempt, _ in blocks], rows

            return page(first, limit, states, next_index, stored)

    def failures(self, flow_run: str, *, limit: int = 20) -> list[tuple[str, str, str, int, int]]:
        with opened(self.path) as db:
            db.execute("BEGIN")
            later: dict[str, list[tuple[int, Callable[[int], bool]]]] = {}
            for map, attempt, data in db.execute(SQL["retried_blocks"], (flow_run,)):
                later.setdefault(map, []).append((attempt, decode(data).indexes()))

            def overruled(map: str, index: int, attempt: int) -> bool:
                return any(n > attempt and known(index) for n, known in later.get(map, ()))

            db.create_function("overruled", 3, overruled)
            values = {"flow_run": flow_run, "states": json.dumps(FAILING), "limit": limit}
            return db.execute(SQL["failures"], values).fetchall()

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        with opened(self.path) as db:
            return [TransitionRow(*row) for row in db.execute(SQL["transitions"], {"run": run, "idx": index})]

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]:
        with opened(self.path) as db:
            values = {"flow_run": flow_run, "level": level, "limit": limit}
            return [LogRow(*row) for row in db.execute(SQL["logs"], values)]

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        if not flow_runs:
            return set()
        with opened(self.path) as db:
            return {row[0] for row in db.execute(SQL["cancel_requested"], (json.dumps(list(flow_runs)),))}


def _flow_run(row: Sequence[Any]) -> FlowRunRow:
    values = list(row)
    values[13] = tuple(json.loads(values[13]))
    return FlowRunRow(*values)


def _map(row: Sequence[Any]) -> MapRow:
    values = list(row)
    values[7], values[9] = json.loads(values[7]), tuple(json.loads(values[9]))
    return MapRow(*values)
