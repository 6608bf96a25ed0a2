"""Deletion of old databases in the folder: a file goes, with the notes, once all its runs are old."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anabranch.core.errors import RecordsError
from anabranch.records.folder import CANCEL, CLAIM, CRASH, Notes, place
from anabranch.records.retention import DAY, EVERY, FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import FlowRunRow
    from anabranch.records.database import Connection, Database
    from anabranch.records.reader import Reader


class Union(Protocol):
    """The part of `UnionRecords` that retention needs."""

    path: Path

    def readers(self) -> list[Reader]: ...

    def flow_run(self, id_or_name: str) -> FlowRunRow | None: ...


def sweep_folder(union: Union, before: float) -> Iterator[int]:
    """Delete old files, one a step; yields the number of runs in each."""
    for reader in union.readers():
        yield _delete(union, reader, before)
    kept = {row[0] for reader in union.readers() for row in reader.ask("run_ids")}
    for run, kinds in Notes(union.path).runs.items():
        if run not in kept:
            for kind in (CANCEL, CLAIM, CRASH):
                for token in kinds.get(kind, ()):
                    place(union.path, run, kind, token).unlink(missing_ok=True)


def _delete(union: Union, reader: Reader, before: float) -> int:
    runs = old_in(union, reader, before)
    if runs is None:
        return 0
    Path(reader.database.name).unlink(missing_ok=True)
    return len(runs)


def old_in(union: Union, reader: Reader, before: float) -> list[str] | None:
    """Return the runs in a file, if all ended before `before`; None if one lives, or ended later in another file."""
    path = Path(reader.database.name)
    if not path.exists() or path.stat().st_mtime >= before:
        return None
    ids = [row[0] for row in reader.ask("run_ids")]
    runs = [union.flow_run(id) for id in ids]
    return None if any(run is not None and (run.ended is None or run.ended >= before) for run in runs) else ids


class FolderRetention:
    """The schedule of the deletion by the writer's thread: at most once an hour for each folder.

    Args:
        union: the records.
        days: runs that ended longer ago are deleted.
        clock: for their age.
    """

    def __init__(self, union: Union, days: float, clock: Clock) -> None:
        self._union = union
        self._days = days
        self._clock = clock
        self._due = time.monotonic() + FIRST
        self._steps: Iterator[int] | None = None

    def pause(self) -> float:
        """Return the seconds until the next step."""
        return max(0.0, self._due - time.monotonic())

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Delete one old file, if it is time and there is one."""
        if self.pause() > 0:
            return
        began = time.monotonic()
        self._due = began + EVERY
        try:
            if self._steps is None and not self._taken():
                return
            self._steps = self._steps or sweep_folder(self._union, self._clock.time() - self._days * DAY)
            if next(self._steps, None) is None:
                self._steps = None
            else:
                self._due = 2 * time.monotonic() - began
        except (OSError, RecordsError):
            self._steps = None  # begins again at the next step

    def _taken(self) -> bool:
        """Take the hourly turn; False when another process had it lately. A file's time is that of the last turn."""
        mark = self._union.path / "looked-after"
        try:
            if 0 <= time.time() - mark.stat().st_mtime < EVERY:
                return False
        except FileNotFoundError:
            pass
        mark.touch(mode=0o600)
        return True
