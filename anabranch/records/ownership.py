"""What the key of one run may write: rows of that run, of its subflows, and of their maps.

The record tells the owner of each, and the frame where the record knows nothing: no frame makes another run its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.records.database import Connection, Database
    from anabranch.records.frames import Frame

_DEEPEST = 100  # subflows in subflows
_COLUMNS = {"put_map": 1, "put_flow_run": 10}  # with the run that a map is of, or that a run is a subflow of


def foreign(database: Database, connection: Connection, run: str, frame: Frame) -> str:
    """Return the id of a run or a map in a frame that is not this run's; "" where all is."""
    said = _said(frame)
    owners = frame.owners.union(*(_written(row, name, run) for name, rows in frame.rows for row in rows))
    known: dict[str, bool] = {run: True, "": True}  # lines and maps outside of runs are nobody's
    return next((id for id in owners if not _of(database, connection, id, said, known)), "")


def is_of(database: Database, connection: Connection, run: str, id: str) -> bool:
    """Return whether a recorded run is this one, or a subflow of it."""
    return _of(database, connection, id, {}, {run: True})


def line_of(database: Database, connection: Connection, id: str) -> list[str]:
    """Return the runs that a recorded run, map or task run is of, from the innermost out; [] where none is recorded."""
    line: list[str] = []
    while id not in line and len(line) < _DEEPEST:
        found = connection.execute(database.sql["owner_of"], (id, id)).fetchone()
        if found is None:
            return line
        line.append(id)
        if not found[0]:
            return line
        id = found[0].partition("/")[0]
    return line


def _said(frame: Frame) -> dict[str, str]:
    """Return what a frame says of its runs and maps: the run that each is of."""
    return {row[0]: row[_COLUMNS[name]] for name, rows in frame.rows if name in _COLUMNS for row in rows}


def _written(row: tuple[Any, ...], name: str, run: str) -> set[str]:
    """Return the run that a row puts a map or a run under; its own row only tells of the one above."""
    if name not in _COLUMNS or (name == "put_flow_run" and row[0] == run):
        return set()
    return {row[_COLUMNS[name]].partition("/")[0]}


def _of(
    database: Database, connection: Connection, id: str, said: Mapping[str, str], known: dict[str, bool]
) -> bool:  # fmt: skip
    way: list[str] = []
    while id not in known and len(way) < _DEEPEST:
        way.append(id)
        found = connection.execute(database.sql["driven_by"], (id, id)).fetchone()
        parent = found[0] if found is not None else said.get(id)
        if not parent:  # outermost: of itself, of a driver of its own, or of nobody
            known[id] = False
        else:
            id = parent.partition("/")[0]  # a task run calls subflows as "map/index"
    answer = known.get(id, False)
    known.update(dict.fromkeys(way, answer))
    return answer
