"""The record of one driver on its node's disk, with a copy in the folder that all machines see.

    driver --commits--> <node's disk>/anabranch-record-.../HOST-PID-TIME.db
                           |  every few seconds, where it has changed; at the end; when it is asked for
                           v
                        FOLDER/HOST-PID-TIME.copy.db      replaced in one step, never written to: it needs no locks

Notes about runs (records/folder.py) lie in the folder at once: cancels and claims do not wait for a copy.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core import forks
from anabranch.core.errors import RecordsError
from anabranch.core.node_folders import node_folders
from anabranch.records.folder import DriverFile
from anabranch.records.sqlite_file import SqliteFile, opened, prepare
from anabranch.records.statements import migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.records.database import Connection, Database
    from anabranch.records.writer import Tidying

logger = logging.getLogger("anabranch.records")

COPY = ".copy.db"
EVERY_SECONDS = 5.0  # between copies; a copy that takes long comes more seldom, and often enough to tell of life
_MOST_SECONDS = 30.0
_PART = 20  # of the time may go into copies: one in so many
_NOTHING_DUE = 3600.0


class NodeFile(DriverFile):
    """The `Database` of one driver on its node; the file is made with the first write.

    Attributes:
        copy: the path of its copy in the folder.

    Raises:
        RecordsError: this node has no folder for it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.copy = self.path.with_name(f"{self.path.stem}{COPY}")
        self.path = _place_here() / f"anabranch-record-{self.path.stem}" / self.path.name
        self.name = str(self.path)
        self._made: tuple[int, ...] = ()

    def connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            again = bool(self._made)
            self._have_folder()
            if again:
                self._begin_with_copy()
        return super().connect()

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        if not self.path.exists():  # SQLite would write to the deleted file, and say nothing
            raise sqlite3.OperationalError(f"{self.path} was deleted")
        with super().transaction(connection):
            yield

    def _have_folder(self) -> None:
        """Make the folder, unless it is there still: another of its name is not ours, since /tmp is everybody's."""
        if self._made and _identity(self.path.parent) == self._made:
            return
        try:
            self.path.parent.mkdir(mode=0o700)
        except FileExistsError:
            free = tempfile.mkdtemp(prefix=f"{self.path.parent.name}-", dir=self.path.parent.parent)
            self.path = Path(free) / self.path.name
            self.name = str(self.path)
        self._made = _identity(self.path.parent)

    def _begin_with_copy(self) -> None:
        """Take the copy in place of a record that was deleted here, as by a cleaner of /tmp.

        A new record would replace the copy, and with it all that was there.
        """
        new = self.path.with_suffix(".new")
        try:
            shutil.copy(self.copy, new)  # with its mode
        except (FileNotFoundError, NotADirectoryError):  # nothing was copied yet
            return
        new.replace(self.path)
        logger.warning(
            "The record on this node, %s, was deleted. It goes on from its copy in %s: what came after that is missing",
            self.path, self.copy.parent,
        )  # fmt: skip

    def carry(self) -> None:
        """Put a copy of the record as it is now into the folder. Raises RecordsError where it cannot."""
        here, there = self.path.with_suffix(".copying"), self.copy.with_suffix(".new")
        try:
            self._back_up(here)
            self.copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(there, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(here, "rb") as source, open(descriptor, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            there.replace(self.copy)
        except OSError as error:
            with suppress(OSError):
                there.unlink()  # a part of it would take space where there is none
            raise RecordsError(f"the copy of the record in {self.copy.parent} cannot be written: {error}") from error
        finally:
            here.unlink(missing_ok=True)

    def _back_up(self, target: Path) -> None:
        """By SQLite itself: to read the bytes would let go of the locks that this process has on the file."""
        target.unlink(missing_ok=True)
        with opened(self.path) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)

    def leave(self) -> None:
        """Remove it from the node, where its copy is complete."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _identity(folder: Path) -> tuple[int, ...]:
    """Return what tells a folder from another one of its name; () where there is none."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_uid


def _place_here() -> Path:
    places = list(node_folders())
    for place in places:
        if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise RecordsError(f"this node has no folder for its record: {', '.join(places)} cannot be written; set TMPDIR")


class Carrying:
    """The work of the writer's thread: it takes a changed record home, and then does what else there is.

    Args:
        file: of this driver.
        rest: other work for the pauses.
    """

    def __init__(self, file: NodeFile, rest: Tidying | None) -> None:
        self._file = file
        self._rest = rest
        self._lock = threading.Lock()
        self._due = 0.0
        self._carried: tuple[int, int] | None = None
        self._complained = False
        self._said = False

    def pause(self) -> float:
        """Return the seconds until the next step."""
        mine = _NOTHING_DUE if self._stamp() == self._carried else max(0.0, self._due - time.monotonic())
        return mine if self._rest is None else min(mine, self._rest.pause())

    def step(self, database: Database, connected: Callable[[], Connection]) -> None:
        """Copy the record, if it is time; then the other work."""
        if self._stamp() != self._carried and self._due <= time.monotonic():
            self.carry()
        if self._rest is not None:
            self._rest.step(database, connected)

    def carry(self) -> bool:
        """Take the record home now, whatever has changed; False, with a warning, where that cannot be done."""
        if not self._file.path.exists():
            return True
        with self._lock:
            self._say()
            began, stamp = time.monotonic(), self._stamp()
            try:
                self._file.carry()
            except RecordsError as error:
                if not self._complained:
                    logger.warning("%s; it is tried again. Until then the record is on this node alone", error)
                self._complained, self._due = True, began + EVERY_SECONDS
                return False
            if self._complained:
                logger.warning("The record is copied to %s again", self._file.copy.parent)
            self._complained, self._carried = False, stamp
            now = time.monotonic()
            self._due = now + min(_MOST_SECONDS, max(EVERY_SECONDS, _PART * (now - began)))
            return True

    def close(self) -> None:
        """Take the record home, and leave nothing on the node; one that cannot go home stays."""
        if self.carry():
            self._file.leave()

    def _say(self) -> None:
        if not self._said:
            self._said = True
            logger.info(
                "The record lies on this node, and is copied to %s every few seconds and at the end: where the node "
                "fails, what came after the last copy is missing",
                self._file.copy.parent,
            )

    def _stamp(self) -> tuple[int, int] | None:
        """Return what changes with the file; None where there is none yet, and there is nothing to copy."""
        try:
            found = self._file.path.stat()
        except OSError:
            return self._carried
        return found.st_size, found.st_mtime_ns


class CopiedFile(SqliteFile):
    """The `Database` in a copy, for readers: it is replaced and never changed, so it is read without locks."""

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", isolation_level=None, uri=True)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with forks.steady(), closing(self.connect()) as connection:
                connection.execute("PRAGMA temp_store = MEMORY")
                yield connection
        except sqlite3.Error as error:
            raise RecordsError(f"the records in {self.path} cannot be used: {error}") from error


def file_at(path: Path) -> SqliteFile:
    """Return the database of a driver's file in the folder, its schema up to date; raises RecordsError."""
    if path.name.endswith(COPY):
        copied = CopiedFile(path)
        with copied.opened() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == len(migrations()):
            return copied
    prepare(path, wal=False, make=False)  # a file of an older anabranch lacks columns that queries need
    return CopiedFile(path) if path.name.endswith(COPY) else SqliteFile(path)
