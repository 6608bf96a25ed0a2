"""The folder of records on a network file system: one database a driver, and notes about runs of other drivers.

A driver writes to its own database alone: locks on such file systems are not reliable, and two writers with the same
lock would damage the file. A note about another driver's run is a small file of its own, made in one step:

HOST-PID-TIME.db      the record of one driver, written by that driver alone
RUN.claim-TOKEN       the process that took the run over as driver number TOKEN: the first to make the file has it
RUN.crashed-TOKEN     the end of the run, by a process that found driver number TOKEN gone
RUN.cancel            the run is to be cancelled
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from anabranch.core.errors import RecordsError
from anabranch.core.processes import host_name
from anabranch.core.states import CRASHED
from anabranch.records.drivers import Driver
from anabranch.records.sqlite_file import SqliteFile, prepare
from anabranch.records.views import OPEN, state_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow

CANCEL, CLAIM, CRASH = "cancel", "claim", "crashed"


class Crash(NamedTuple):
    """The end of a run that nobody drove any more; void when a driver shows a later sign of life."""

    attempt: int
    seen: float  # the last sign of life at that moment
    when: float
    message: str
    state: int = CRASHED

    def of(self, run: FlowRunRow) -> bool:
        """Return whether the note still holds for this run."""
        return run.state in OPEN and (self.attempt, self.seen) == (run.attempt, Driver.of(run).seen)


class Claimant(NamedTuple):
    """The process that took a run over."""

    pid: int
    pid_started: float
    host: str
    heartbeat: float
    incarnation: str = ""


class Notes:
    """The notes about runs, as one listing of the folder found them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runs: dict[str, dict[str, list[int]]] = {}  # by run: kinds of notes, each with its tokens
        for name in sorted(os.listdir(folder)) if folder.exists() else ():
            run, _, rest = name.rpartition(".")
            kind, _, token = rest.partition("-")
            if run and kind in (CANCEL, CLAIM, CRASH) and (token or "0").isdecimal():
                self.runs.setdefault(unquote(run), {}).setdefault(kind, []).append(int(token or 0))

    def crash(self, run: str, token: int) -> Crash | None:
        """Return the crash noted for a run under its driver number `token`."""
        if token not in self.runs.get(run, {}).get(CRASH, ()):
            return None
        found = read(self._folder, run, CRASH, token)
        return Crash(**found) if found else None

    def applied(self, run: FlowRunRow) -> FlowRunRow:
        """Return a run with its notes applied: perhaps claimed by another driver, or crashed."""
        token = max(self.runs.get(run.id, {}).get(CLAIM, ()), default=0)
        if token > run.token:
            found = read(self._folder, run.id, CLAIM, token) or _nameless(self._folder, run, token)
            run = replace(run, token=token, **found)
        crash = self.crash(run.id, run.token)
        if crash is not None and crash.of(run):
            run = replace(
                run, state=crash.state, state_name=state_name(crash.state), message=crash.message, ended=crash.when
            )
        return run


def _nameless(folder: Path, run: FlowRunRow, token: int) -> dict[str, Any]:
    """Return a claim that is not written yet: without a name, as old as its file."""
    try:
        made = place(folder, run.id, CLAIM, token).stat().st_mtime
    except OSError:
        made = run.heartbeat
    return {"pid": 0, "host": "unknown", "heartbeat": made}


def place(folder: Path, run: str, kind: str, token: int = 0) -> Path:
    """Return the path of a note about a run."""
    return folder / f"{quote(run, safe='')}.{kind}{f'-{token}' if token or kind != CANCEL else ''}"


def read(folder: Path, run: str, kind: str, token: int = 0) -> dict[str, Any] | None:
    """Return the content of a note; None when it is gone, or is being written."""
    try:
        found = json.loads(place(folder, run, kind, token).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(folder: Path, run: str, kind: str, values: Mapping[str, Any], token: int = 0) -> None:
    """Write a note; raises FileExistsError when the claim exists, RecordsError when it cannot be written."""
    path = place(folder, run, kind, token)
    data = json.dumps(values).encode()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a record on its node may not have made it yet
        if kind == CLAIM:
            _make(path, data)
            return
        new = path.with_name(f"{path.name}.{host_name()}-{os.getpid()}.new")
        new.unlink(missing_ok=True)
        _make(new, data)
        new.replace(path)
    except FileExistsError:
        raise
    except OSError as error:
        raise RecordsError(f"the records in {folder} cannot be used: {error}") from error


def _make(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class DriverFile(SqliteFile):
    """The `Database` of one driver in the folder; the file is made with the first write."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / f"{quote(host_name(), safe='')}-{os.getpid()}-{time.time_ns() // 1000}.db")
        self._folder = folder

    def connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            new = self.path.with_suffix(".new")
            prepare(new, wal=False)
            new.replace(self.path)  # so that a reader that finds the file finds its tables
        return super().connect()

    def overtaken(self, connection: Any, tokens: Mapping[str, int]) -> set[str]:
        return {run for run, token in tokens.items() if place(self._folder, run, CLAIM, token + 1).exists()}
