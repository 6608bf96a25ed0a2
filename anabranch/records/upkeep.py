"""Checks, compaction and export of records."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import RecordsError
from anabranch.core.keys import DIGEST_BYTES
from anabranch.records.blocks import decode
from anabranch.records.retention import sweep
from anabranch.records.sealing import seal
from anabranch.records.views import state_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.records.database import Database
    from anabranch.records.reader import Reader

_PAGE = 200  # rows of blobs at once
_MANY = 1 << 62
# Rows that need an owner: (query for the number without one, name of the rows).
_STRAYS = {
    "stray_maps": "maps of no flow run",
    "stray_items": "items of no map",
    "stray_blocks": "blobs of no map",
    "stray_stored": "rows of stored values of no map or flow run",
}


class Problem(NamedTuple):
    """Something wrong with the records."""

    where: str
    what: str


class Sizes(NamedTuple):
    """The effect of compacting."""

    before: int  # bytes
    after: int
    runs: int  # deleted


def check(reader: Reader) -> list[Problem]:
    """Check a database: its pages, rows without an owner, unreadable blobs."""
    database = reader.database
    try:
        found = database.damage()
    except RecordsError as error:
        found = [str(error)]
    if found:  # queries to a damaged database may answer anything
        return [Problem(database.name, what) for what in found]
    problems = []
    for query, what in _STRAYS.items():
        if number := reader.ask(query)[0][0]:
            problems.append(Problem(database.name, f"{number} {what}"))
    for id, map, data in _pages(reader, "all_blocks"):
        try:
            decode(data)
        except RecordsError as error:
            problems.append(Problem(database.name, f"blob {id} of map {map}: {error}"))
    for id, map, first, last, items, slots, digests in _pages(reader, "all_stored"):
        count = len(items) // 8 or last - first + 1
        if len(items) % 8 or len(slots) not in (0, 4 * count) or len(digests) not in (0, DIGEST_BYTES * count):
            problems.append(Problem(database.name, f"row {id} of where values of map {map} lie is damaged"))
    return problems


def _pages(reader: Reader, query: str) -> Iterator[Any]:
    last = 0
    while rows := reader.ask(query, (last, _PAGE)):
        yield from rows
        last = rows[-1][0]


def places(reader: Reader, runs: Iterable[str]) -> list[str]:
    """Return the places of these runs' blocks in the result store: the ids of runs and maps."""
    found = []
    for run in runs:
        found += [run, *(map.id for map in reader.maps(run))]
    return found


def compact(database: Database, before: float | None) -> Sizes:
    """Delete runs that ended before a time (None: none), seal ended maps, return free space."""
    size = database.size()
    runs = 0 if before is None else sweep(database, before)
    with database.opened() as connection:
        loose = [row[0] for row in connection.execute(database.sql["loose_maps"])]
        for map in loose:
            seal(database, connection, map)
    database.compact()
    return Sizes(size, database.size(), runs)


def exported(records: Records, runs: Sequence[FlowRunRow]) -> Iterator[str]:
    """Yield all records of some runs as lines of JSON; values are not in the records."""
    for run in runs:
        yield _line("flow_run", {**asdict(run), "state": state_name(run.state, run.state_name)})
        for transition in records.transitions(run.id):
            yield _line("transition", asdict(transition))
        for stored in records.stored(run.id):
            yield _stored(stored)
        for map in records.maps(run.id):
            yield _line("map", asdict(map))
            first = 0
            while views := records.items(map.id, first=first, limit=10_000):
                for view in views:
                    yield _line("item", {"map": map.id, **asdict(view)})
                first = views[-1].index + 1
            for transition in records.transitions(map.id):
                yield _line("transition", asdict(transition))
            for kind in ("value", "input"):
                for stored in records.stored(map.id, kind):
                    yield _stored(stored)
        for line in records.logs(run.id, limit=_MANY):
            yield _line("log", asdict(line))


def _stored(row: Any) -> str:
    found = {"map": row.map, "name": row.name, "kind": row.kind, "items": list(row.items), "slots": list(row.slots)}
    return _line("stored", {**found, "digests": row.digests.hex()})


def _line(kind: str, values: dict[str, Any]) -> str:
    return json.dumps({"row": kind, **values}, ensure_ascii=False, default=str)
