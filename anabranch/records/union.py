"""Records on a network file system: each driver writes a SQLite file of its own, readers take the union.

SQLite's write-ahead log needs memory that all users of a file share, which machines do not. records/folder.py
describes the files in the folder.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.core.runs import Ended, TransitionRow
from anabranch.records import folder as notes
from anabranch.records.drivers import Driver, taken
from anabranch.records.folder import CANCEL, CLAIM, CRASH, Claimant, Crash, DriverFile, Notes
from anabranch.records.folder_retention import FolderRetention, old_in, sweep_folder
from anabranch.records.memory_limits import NoLimits
from anabranch.records.node_file import Carrying, NodeFile, file_at
from anabranch.records.reader import Failed, Failures, Parts, Reader, grouped
from anabranch.records.recorder import OPEN_JSON, Recorder
from anabranch.records.upkeep import Problem, Sizes, check, places
from anabranch.records.views import OPEN, StateFilter, Stored, counted, page, state_name, summed

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from anabranch.core.contracts import Clock
    from anabranch.core.runs import FlowRunRow, ItemRow, ItemView, LogRow, MapRow, ReasonCount, Row, StoredRow
    from anabranch.records.writer import Tidying

_FAILING = ("FAILED", "CRASHED")


def _files(folder: Path, own: object) -> list[Path]:
    """Return the files of all drivers: of this one (`own`) that on its node, and not the copy."""
    found = sorted(folder.glob("*.db"))
    if isinstance(own, NodeFile) and own.path.exists():
        return [*(path for path in found if path != own.copy), own.path]
    return found


class UnionRecords:
    """`Records` in a folder that several machines may share.

    Opening makes nothing; the file of this process is made with its first row. It is as safe as a single file, with one
    exception: a superseded driver may write on while the file system shows it an old view of the folder. Rows of the
    later driver then overrule its rows.

    Args:
        path: the folder.
        node: whether this driver's file lies on its node's disk, with a copy in the folder (records/node_file.py).
        clock, commit_interval, retention_days: as of `Recorder`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, node: bool = False, clock: Clock = SYSTEM, commit_interval: float = 0.05,
        retention_days: float = 0.0,
    ) -> None:  # fmt: skip
        self.path = Path(path).expanduser().absolute()
        self._clock = clock
        self._readers: dict[Path, Reader] = {}
        self.limits = NoLimits(clock)
        tidying: Tidying | None = FolderRetention(self, retention_days, clock) if retention_days else None
        self._file = NodeFile(self.path) if node else DriverFile(self.path)
        self._carrying = Carrying(self._file, tidying) if isinstance(self._file, NodeFile) else None
        self._copied = forks.mark()
        self._own = Recorder(
            self._file, clock=clock, commit_interval=commit_interval, tidying=self._carrying or tidying
        )

    # -- this driver's own file ------------------------------------------------------------------

    @property
    def writer_seconds(self) -> float:
        """CPU time that the writing thread has used up to its last commit."""
        return self._own.writer_seconds

    def append(self, rows: Iterable[Row]) -> None:
        """As of `Recorder`."""
        self._own.append(rows)

    def flush(self, timeout: float | None = None) -> bool:
        """As of `Recorder`."""
        return self._own.flush(timeout)

    def publish(self, timeout: float | None = None) -> bool:
        """As of `Recorder`."""
        return self._own.flush(timeout) and (self._carrying is None or self._carrying.carry())

    def close(self, timeout: float | None = None) -> None:
        """As of `Recorder`; a record on this node is taken home, and stays where it is if that fails."""
        self._own.close(timeout)
        if self._carrying is not None and not self._copied:
            self._carrying.close()

    def taken_over(self, flow_runs: Sequence[str]) -> set[str]:
        """Return those of this driver's runs that another driver has taken over."""
        return self._own.taken_over(flow_runs)

    # -- all files -------------------------------------------------------------------------------

    def readers(self) -> list[Reader]:
        """Return a reader of each driver's file, by name. Raises RecordsError for a file of a newer anabranch."""
        found = []
        for path in _files(self.path, self._file):
            if path not in self._readers:
                try:
                    database = file_at(path)
                except RecordsError:
                    if path.exists():
                        raise
                    continue  # another process has just deleted it
                self._readers[path] = Reader(database)
            found.append(self._readers[path])
        return found

    def _ask(self, query: str, *values: Any) -> list[tuple[Reader, Any]]:
        """Yield the first row of each file for a query, with its reader."""
        found = []
        for reader in self.readers():
            found += [(reader, row) for row in reader.ask(query, values)[:1]]
        return found

    def _by_token(self, run_or_map: str) -> list[Reader]:
        """Return all readers, later drivers of a run (or of a map's run) last."""
        tokens = {reader: row[0] for reader, row in self._ask("token_of", run_or_map, run_or_map)}
        return sorted(tokens, key=lambda reader: tokens[reader])

    def _exact(self, run: str, found: Notes | None = None) -> FlowRunRow | None:
        rows = [row for reader in self.readers() for row in reader.runs("flow_run_by_id", (run,))]
        if not rows:
            return None
        last = max(rows, key=lambda row: (row.token, row.attempt, Driver.of(row).seen))
        return (found or Notes(self.path)).applied(last)

    # -- flow runs -------------------------------------------------------------------------------

    def flow_runs(self, *, limit: int = 50, state: str | None = None, flow: str | None = None) -> list[FlowRunRow]:
        """Return flow runs, newest first."""
        found = Notes(self.path)
        wanted = StateFilter.of([state]) if state else None
        rows = []
        for reader in self.readers():
            mine = reader.flow_runs(limit=limit + len(found.runs), state=state, flow=flow)
            rows += [row for row in mine if row.id not in found.runs]
        for run in found.runs:
            row = self._exact(run, found)
            if row and flow in (None, row.flow) and (wanted is None or wanted.matches(row.state, row.state_name)):
                rows.append(row)
        return sorted(rows, key=lambda row: (row.created, row.id), reverse=True)[:limit]

    def count_flow_runs(self, *, state: str | None = None, flow: str | None = None) -> int:
        """Return how many `flow_runs` would return without a limit."""
        return len(self.flow_runs(limit=1 << 62, state=state, flow=flow))

    def flow_run(self, id_or_name: str) -> FlowRunRow | None:
        """Return a flow run by id, unique prefix of an id, or name (the newest)."""
        if not id_or_name:
            return None
        if (row := self._exact(id_or_name)) is not None:
            return row
        begun = {row.id for r in self.readers() for row in r.runs("flow_run_by_prefix", {"prefix": id_or_name})}
        if len(begun) == 1:
            return self._exact(begun.pop())
        return self._newest("flow_run_by_name", id_or_name)

    def subflow(self, parent: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run that a flow run made by the call of this key."""
        return self._newest("subflow", parent, run_key)

    def subflows(self, parent: str, *, limit: int = 1000) -> list[FlowRunRow]:
        """Return the runs that a flow run made, the first ones first."""
        ids = {row.id for reader in self.readers() for row in reader.subflows(parent, limit=limit)}
        rows = [row for id in ids if (row := self._exact(id)) is not None]
        return sorted(rows, key=lambda row: (row.created, row.id))[:limit]

    def keyed_run(self, flow: str, run_key: str) -> FlowRunRow | None:
        """Return the newest run of a flow with the user's key."""
        return self._newest("keyed_run", flow, run_key)

    def _newest(self, query: str, *values: str) -> FlowRunRow | None:
        rows = [row for reader in self.readers() for row in reader.runs(query, values)]
        newest = max(rows, key=lambda row: (row.created, row.id), default=None)
        return None if newest is None else self._exact(newest.id)

    # -- what is in them -------------------------------------------------------------------------

    def maps(self, flow_run: str) -> list[MapRow]:
        """Return the maps of a flow run, in the order they were begun."""
        found: dict[str, MapRow] = {}
        for reader in self._by_token(flow_run):
            found |= {map.id: map for map in reader.maps(flow_run)}
        return sorted(found.values(), key=lambda map: map.created)

    def stored(self, map: str, kind: str = "value") -> list[StoredRow]:
        """Return the stored rows of a map (or of a flow run), in the order they were written."""
        return [row for reader in self._by_token(map) for row in reader.stored(map, kind)]

    def items(
        self, map: str, *, first: int = 0, limit: int = 1000, states: Sequence[str] | None = None
    ) -> list[ItemView]:
        """Return the items of a map, by index."""
        begins = {"map": map, "low": 0}
        readers = [reader for reader in self._by_token(map) if reader.ask("next_index", begins)[0][0] is not None]
        if len(readers) == 1:
            return readers[0].items(map, first=first, limit=limit, states=states)
        with self._parts(readers, map) as parts:

            def next_index(low: int) -> int | None:
                return min((n for part in parts if (n := part.next_index(low)) is not None), default=None)

            def stored(low: int, high: int) -> Stored:
                found = [part.stored(low, high) for part in parts]
                packs = [pair for some, attempts, _ in found for pair in zip(some, attempts, strict=True)]
                packs.sort(key=lambda pair: pair[1])  # within one attempt, a later driver's pack counts more
                rows = sorted((row for *_, some in found for row in some), key=lambda row: row.attempt)
                return [pack for pack, _ in packs], [attempt for _, attempt in packs], rows

            return page(first, limit, states, next_index, stored)

    def ended(self, map: str, mark: object = None) -> Ended:
        """Return the items of a map that have ended since an earlier look."""
        marks = mark if isinstance(mark, dict) else {}
        found = {reader: reader.ended(map, marks.get(reader)) for reader in self._by_token(map)}
        left: list[tuple[int, int, int]] | None = None
        if any(some.left is not None for some in found.values()):  # what has not changed is needed beside what has
            left = sorted(row[:3] for reader in found for row in reader.ask("left", (map,)))
        blocks = [block for some in found.values() for block in some.blocks]
        return Ended(blocks, left, {reader: some.mark for reader, some in found.items()})

    def attempts(self, map: str, index: int) -> list[ItemRow]:
        """Return the rows of one item that left the happy path, first attempt to last."""
        rows = {row.attempt: row for reader in self._by_token(map) for row in reader.attempts(map, index)}
        return [rows[attempt] for attempt in sorted(rows)]

    def reasons(self, maps: Sequence[str]) -> list[ReasonCount]:
        """Return why items of these maps left the happy path, in groups, most frequent first."""
        found: list[ReasonCount] = []
        for map in maps:
            with self._parts(self._by_token(map), map) as parts:
                # By attempt, and within one attempt in the order of drivers: the last driver's row counts.
                left = sorted((row for part in parts for row in part.left()), key=itemgetter(1))
                found += counted(map, left, [blob for part in parts for blob in part.later()])
        return sorted(found, key=lambda group: (-group.times, *group[:4]))

    @contextmanager
    def _parts(self, readers: Sequence[Reader], map: str) -> Iterator[list[Parts]]:
        """Lend the parts of a map in some files, each as of one moment."""
        with ExitStack() as stack:
            parts = []
            for reader in readers:
                db = stack.enter_context(reader.database.opened())
                reader.database.moment(db)
                parts.append(Parts(reader.database, db, map))
            yield parts

    def failures(self, flow_run: str, *, limit: int = 20) -> Failures:
        """Return failures in groups: (task, error type, message, count, index of the first), most frequent first."""
        readers = [reader for reader, _ in self._ask("any_map", flow_run)]
        if len(readers) <= 1:
            return readers[0].failures(flow_run, limit=limit) if readers else []
        everything = 1 << 62
        failed = (
            (map.task, view.error_type, view.message, view.index)
            for map in self.maps(flow_run)
            if not map.superseded
            for view in self.items(map.id, limit=everything, states=_FAILING)
            if view.error_type or view.message
        )
        return grouped(failed, limit)

    def failed(self, flow_run: str) -> Failed:
        """Return all failures, however many messages there are: (task, error type, count, index of the first)."""
        readers = [reader for reader, _ in self._ask("any_map", flow_run)]
        if len(readers) == 1:
            return readers[0].failed(flow_run)
        return summed(self.failures(flow_run, limit=1 << 62))

    def transitions(self, run: str, index: int | None = None) -> list[TransitionRow]:
        """Return state changes, in the order they were written."""
        rows: list[TransitionRow] = []
        seen = Notes(self.path)
        for reader in self._by_token(run):
            rows += reader.transitions(run, index)
            if index in (None, -1):
                for row in reader.runs("flow_run_by_id", (run,)):
                    if (crash := seen.crash(run, row.token)) is not None:
                        name = state_name(crash.state)
                        rows.append(TransitionRow(run, -1, crash.attempt, crash.state, name, crash.message, crash.when))
        return rows

    def logs(self, flow_run: str, *, limit: int = 1000, level: int = 0) -> list[LogRow]:
        """Return the last lines of a flow run from a level on, oldest first."""
        rows = [row for r in self._by_token(flow_run) for row in r.logs(flow_run, limit=limit, level=level)]
        return sorted(rows, key=lambda row: row.when)[-limit:] if limit > 0 else []

    def count_logs(self, flow_run: str, *, level: int = 0) -> int:
        """Return how many `logs` would return without a limit."""
        return sum(reader.count_logs(flow_run, level=level) for reader in self.readers())

    # -- the lives of runs -----------------------------------------------------------------------

    def claim(self, driver: FlowRunRow) -> int:
        """Make this process the driver of a run after its earlier one is gone. Raises RunTakenError."""
        self.flush(30.0)
        run = self._exact(driver.id)
        earlier = None if run is None else Driver.of(run)
        if run is None or earlier is None or not earlier.let(driver, self._clock.time()):
            raise taken(driver.id, earlier, driver)
        me = Claimant(driver.pid, driver.pid_started, driver.host, driver.heartbeat, driver.incarnation)
        try:
            notes.write(self.path, run.id, CLAIM, me._asdict(), run.token + 1)
        except FileExistsError:
            raise taken(driver.id, earlier, driver) from None
        notes.place(self.path, run.id, CANCEL).unlink(missing_ok=True)  # the request was meant for the earlier driver
        return run.token + 1

    def request_cancel(self, flow_run: str) -> bool:
        """Request that a run be cancelled; False when there is none of this id or it has ended."""
        run = self._exact(flow_run)
        if run is None or run.state not in OPEN:
            return False
        notes.write(self.path, flow_run, CANCEL, {"when": self._clock.time()})
        return True

    def cancel_requested(self, flow_runs: Sequence[str]) -> set[str]:
        """Return those of these runs that are to be cancelled."""
        return {run for run in flow_runs if notes.place(self.path, run, CANCEL).exists()}

    def mark_dead(self) -> list[str]:
        """Mark runs of dead drivers Crashed; returns their ids."""
        now, seen = self._clock.time(), Notes(self.path)
        begun = [row[0] for reader in self.readers() for row in reader.ask("open_runs", (OPEN_JSON,))]
        marked = []
        for id in dict.fromkeys(begun):
            run = self._exact(id, seen)
            driver = None if run is None or run.state not in OPEN else Driver.of(run)
            if run is not None and driver is not None and driver.gone(now):
                crash = Crash(run.attempt, driver.seen, now, driver.message)
                notes.write(self.path, id, CRASH, crash._asdict(), run.token)
                marked.append(id)
        return marked

    def end(self, run: FlowRunRow, state: int, message: str) -> bool:
        """End a run that nobody drives; False where it has changed since it was read."""
        driver, now = Driver.of(run), self._exact(run.id)
        if now is None or now.token != run.token or Driver.of(now) != driver or driver.ended:
            return False
        crash = Crash(run.attempt, driver.seen, self._clock.time(), message, state)
        notes.write(self.path, run.id, CRASH, crash._asdict(), run.token)
        return True

    # -- upkeep ----------------------------------------------------------------------------------

    def check(self) -> list[Problem]:
        """Check all files."""
        return [problem for reader in self.readers() for problem in check(reader)]

    def old_places(self, before: float) -> list[str]:
        """Return the places in the result store of blocks of the runs that `compact` would delete."""
        return [place for reader in self.readers() for place in places(reader, old_in(self, reader, before) or ())]

    def compact(self, before: float | None) -> Sizes:
        """Delete files in which every run ended before a time (None: none); a living driver's file stays."""
        size = sum(reader.database.size() for reader in self.readers())
        runs = 0 if before is None else sum(sweep_folder(self, before))
        return Sizes(size, sum(reader.database.size() for reader in self.readers()), runs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
