"""Names in a record, for a shell that completes them: quickly, and without writing anything.

Opening records for all else imports their writer and makes what is missing, which takes longer than a person waits.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.records import FILE, folder_of, kind_of

if TYPE_CHECKING:
    import os

_RUNS = "SELECT name, id, flow, state_name, created FROM flow_runs ORDER BY created DESC, id DESC LIMIT ?"
_SERVICE = {  # each name with one more fact
    "deployments": "SELECT flow || '/' || name, pool FROM deployments ORDER BY 1",
    "pools": "SELECT name, kind FROM work_pools ORDER BY 1",
    "queues": "SELECT name, pool FROM work_queues ORDER BY 1",
}


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
    found = [Named(*row) for file in files for row in _in_file(file, _RUNS, limit)]
    return sorted(found, key=lambda run: (run.created, run.id), reverse=True)[:limit]


def of_service(kind: str, where: str | os.PathLike[str], *, shared: str) -> list[tuple[str, str]]:
    """Return deployments with their pools, pools with their kinds, or queues with their pools, from a record's file."""
    if "://" in str(where):
        return []
    path = Path(where).expanduser().absolute()
    return _in_file(path, _SERVICE[kind]) if kind_of(path, shared) == FILE else []


def _in_file(path: Path, query: str, *values: int) -> list[Any]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0.1, uri=True)) as db:
        return db.execute(query, values).fetchall()
    return []
