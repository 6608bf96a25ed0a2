"""The newest runs of a record, for a shell that completes their names: quickly, and without writing anything.

Opening records for all else imports their writer and makes what is missing, which takes longer than a person waits.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anabranch.records import FILE, folder_of, kind_of

if TYPE_CHECKING:
    import os

_QUERY = "SELECT name, id, flow, state_name, created FROM flow_runs ORDER BY created DESC, id DESC LIMIT ?"


class Named(NamedTuple):
    """A run, as a shell shows it."""

    name: str
    id: str
    flow: str
    state: str
    created: float


def newest(where: str | os.PathLike[str], *, shared: str, limit: int) -> list[Named]:
    """Return the newest runs of the record at a path, newest first; none of one at an address, or out of reach."""
    if "://" in str(where):
        return []
    path = Path(where).expanduser().absolute()
    files = [path] if kind_of(path, shared) == FILE else sorted(folder_of(path).glob("*.db"))
    found = [run for file in files for run in _in_file(file, limit)]
    return sorted(found, key=lambda run: (run.created, run.id), reverse=True)[:limit]


def _in_file(path: Path, limit: int) -> list[Named]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0.1, uri=True)) as db:
        return [Named(*row) for row in db.execute(_QUERY, (limit,))]
    return []
