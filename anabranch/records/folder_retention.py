"""Files of the folder of which every run is old are deleted, and what was noted of such runs."""

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
    """What it needs of `UnionRecords`."""

    path: Path

    def readers(self) -> list[Reader]: ...

    def flow_run(self, id_or_name: str) -> FlowRunRow | None: ...


def sweep_folder(union: Union, before: float) -> Iterator[int]:
    """Delete what is old, one file a step; yields how many runs went with it."""
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
    """The runs in a file that nobody has written to since `before`; None if one lives, or ended later elsewhere."""
    path = Path(reader.database.name)
    if not path.exists() or path.stat().st_mtime >= before:
        return None
    ids = [row[0] for row in reader.ask("run_ids")]
    runs = [union.flow_run(id) for id in ids]
    return None if any(run is not None and (run.ended is None or run.ended >= before) for run in runs) else ids


class FolderRetention:
    """When the writer's thread looks: at most once an hour for each folder.

    Args:
        union: the records.
        days: runs that ended so long ago are deleted.
        clock: tells their age.
    """

    def __init__(self, union: Union, days: float, clock: Clock) -> None:
        self._union = union
        self._days = days
        self._clock = clock
        self._due = time.monotonic() + FIRST
        self._steps: Iterator[int] | None = None

    def pause(self) -> float:
        """Seconds until the next step."""
        return max(0.0, self._due - time.monotonic())

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Delete a file, if it is time and there is one."""
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
            self._steps = None  # with the next look

    def _taken(self) -> bool:
        """Whether nobody else has looked lately; the time of a file says when somebody did."""
        mark = self._union.path / "looked-after"
        try:
            if 0 <= time.time() - mark.stat().st_mtime < EVERY:
                return False
        except FileNotFoundError:
            pass
        mark.touch(mode=0o600)
        return True
