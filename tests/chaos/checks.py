"""What has to hold of the record when a round is over."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any

from anabranch.core.states import COMPLETED, NAMES, TERMINAL
from anabranch.records.blocks import decode
from anabranch.records.sqlite import SqliteRecords
from tests.chaos import graphs
from tests.chaos.driver import FLOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OPEN = [name for name, kind in NAMES if kind not in TERMINAL]
# Engines that lose values with their workers: an item may be made again, as another attempt.
LOSING = ("dask", "ray")


def integrity(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path, timeout=30)) as db:
        (found,) = db.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        yield f"the record fails its integrity check: {found}"


def answered(path: Path, expected: dict[str, list[int]], nodes: list[graphs.Node]) -> Iterator[str]:
    if not path.exists():
        yield "the flow has completed and left no answer"
        return
    found = json.loads(path.read_text())
    for at in sorted(expected.keys() | found.keys(), key=int):
        wrong = _differing(found.get(at, []), expected.get(at, []))
        if wrong:
            yield f"node {at} has other values than it should, (item, found, expected): {wrong}; {nodes[int(at)]}"


def _differing(found: list[int], expected: list[int]) -> list[Any]:
    if len(found) != len(expected):
        return [("length", len(found), len(expected))]
    return [(n, a, b) for n, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b][:5]


def ended_in_order(home: Path) -> Iterator[str]:
    """No run is left open by a driver that ended itself."""
    with SqliteRecords(home / "records.db") as records:
        for row in records.flow_runs(limit=1000):
            if row.state_name in _OPEN:
                yield f"flow run {row.name} is left {row.state_name}"


def runs_ended(records: SqliteRecords) -> Iterator[str]:
    dead = records.mark_dead()
    if dead:
        yield f"runs were left without a driver: {dead}"
    rows = records.flow_runs(limit=1000)
    for row in rows:
        if row.state_name in _OPEN:
            yield f"flow run {row.name} is left {row.state_name}"
    top = [row for row in rows if row.flow == FLOW]
    if [row.state_name for row in top] != ["Completed"]:
        yield f"the runs of the flow are {[(row.name, row.state_name, row.message) for row in top]}"


def items_fit(records: SqliteRecords, nodes: list[graphs.Node], values: list[Any]) -> Iterator[str]:
    """Each node has one map or single run in the record, and its items the states of the reference."""
    expected = {n.name(at): graphs.states(values[at]) for at, n in enumerate(nodes) if n.kind != "reduce"}
    found: dict[str, Counter[str]] = {name: Counter() for name in expected}
    for run in records.flow_runs(limit=1000):
        for map in records.maps(run.id):
            if map.superseded:
                continue
            views = records.items(map.id, limit=1 << 40)
            counts = Counter(view.state for view in views)
            if map.task in found:
                found[map.task] += counts
            if set(counts) & set(_OPEN):
                yield f"{map.task} ({map.id}) has items left open: {dict(counts)}"
            if map.length is not None and map.length != len(views):
                yield f"{map.task} ({map.id}) is {map.length} long, the record has {len(views)} items"
            told = {name: count for name, count in map.counts.items() if count}
            # What a task submitted is not asked for again once the task has completed: its counts may be those that
            # the driver had written before its death.
            if told != dict(counts) and not (map.parent and run.attempt > 1):
                yield f"{map.task} ({map.id}) is said to have {told}, its items are {dict(counts)}"
    for name, counts in expected.items():
        if found[name] != counts:
            yield f"the record has {dict(found[name])} of {name}, not {dict(counts)}"


def accepted_once(path: Path, kind: str, anew: set[str]) -> Iterator[str]:
    """No attempt is accepted twice, and where no values are lost no item; but those of tasks that are made `anew`."""
    attempts: dict[tuple[str, int], list[int]] = defaultdict(list)
    query = (
        "SELECT map, attempt, data FROM item_blocks JOIN maps ON maps.id = map "
        "WHERE maps.superseded = '' AND maps.parent = ''"
    )
    with closing(sqlite3.connect(path, timeout=30)) as db:
        tasks = dict(db.execute("SELECT id, task FROM maps"))
        for map, attempt, data in db.execute(query):
            for index in _completed(decode(data)):
                attempts[map, index].append(attempt)
    for (map, index), found in attempts.items():
        if tasks[map] not in anew and len(found) > 1 and (kind not in LOSING or len(set(found)) < len(found)):
            yield f"item {index} of {tasks[map]} ({map}) was accepted in attempts {found}"


def _completed(pack: Any) -> Iterator[int]:
    at = 0
    for first, count in zip(pack.firsts, pack.counts, strict=True):
        for n in range(count):
            if pack.codes is None or pack.codes[at + n] == COMPLETED:
                yield first + n
        at += count


def all_of(home: Path, kind: str, nodes: list[graphs.Node], values: list[Any], answer: Path) -> list[str]:
    """Everything that is wrong at the end of a round, one line each."""
    path = home / "records.db"
    found = [*integrity(path), *answered(answer, graphs.answer(nodes, values), nodes)]
    with SqliteRecords(path) as records:
        found += [*runs_ended(records), *items_fit(records, nodes, values)]
    return [*found, *accepted_once(path, kind, graphs.of_failures(nodes))]


def task_runs(home: Path) -> int:
    """How many task runs the record has as completed."""
    with SqliteRecords(home / "records.db") as records:
        maps = [map for run in records.flow_runs(limit=1000) for map in records.maps(run.id)]
    return sum(map.counts.get("Completed", 0) for map in maps if not map.superseded)
