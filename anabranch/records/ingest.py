"""The frames of drivers go into the record: checked, then each in one transaction with its number.

    request --parse--> Frame --> waiting --> one thread: transaction [ savepoint: number, fence, rows ] --> answers

A frame with a number that the record has is answered and not written again; one that leaves a gap is refused. So a
driver that repeats a frame until it is answered writes it exactly once. What waits while a transaction goes on is
committed together in the next.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.records.frames import FORM, MOST_BYTES, FrameError, NewerError, parse
from anabranch.records.ownership import foreign
from anabranch.records.sealing import Sealer
from anabranch.records.sql_sink import one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.core.contracts import Clock
    from anabranch.records.database import Connection, Database, Values
    from anabranch.records.frames import Frame

    Many = Callable[[Connection, str, Iterable[Values]], None]

logger = logging.getLogger("anabranch.records")

_TOGETHER = 64  # frames in one transaction
_PATIENCE = 60.0  # seconds that a request waits for its frame's commit


class Answer(NamedTuple):
    """The answer to a frame: a status of HTTP, and msgpack."""

    status: int
    body: bytes


class Job:
    """A frame that waits for its commit.

    Attributes:
        new: whether the record did not have it yet.
        wanted: the number that the record wants instead; 0: the frame is in it.
        lost: runs of which nothing was written, for another driver has them.
        error: why nothing was written.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.new = False
        self.wanted = 0
        self.lost: set[str] = set()
        self.error: Exception | None = None
        self.done = threading.Event()


class Ingest:
    """Takes frames, from any thread.

    Args:
        database: the record.
        version: of this anabranch.
        clock: signs of life are stamped by it.
    """

    def __init__(self, database: Database, version: str, clock: Clock = SYSTEM) -> None:
        self._database = database
        self._version = version
        self._clock = clock
        self._waiting: deque[Job] = deque()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._connection: Connection | None = None
        self._sealer = Sealer(database)

    def answer(self, body: bytes, sent: float | None = None, run: str = "", token: int = 0) -> Answer:
        """Return the answer to a request with a frame.

        Args:
            run, token: the only one that the sender may write of, and only while it has this token; "": any.
            sent: the sender's clock when it was sent, in Unix seconds; None: it is the clock of this machine.
        """
        try:
            frame = parse(body, self._version)
        except NewerError as error:
            return self._said(426, detail=str(error))
        except FrameError as error:
            return self._said(413 if len(body) > MOST_BYTES else 422, detail=str(error))
        now = self._clock.time()
        stamped = frame.stamped(0.0 if sent is None else now - sent, now)
        job = Job(stamped.fenced(run, token) if run else stamped)
        try:
            if run and (other := self._foreign(run, frame)):
                return self._said(403, detail=f"the key of run {run} is not for {other}")
            if run and (theirs := frame.token_of(run, token)) > token:
                return self._said(403, detail=f"the key of run {run}, token {token}, is not for token {theirs}")
            self.take(job)
        except RecordsError as error:
            return self._said(503, detail=str(error))
        if job.wanted:
            return self._said(409, wanted=job.wanted, detail=f"frame {frame.seq} came, and {job.wanted} is wanted")
        return self._said(200, lost=sorted(job.lost))

    def _said(self, status: int, **found: object) -> Answer:
        return Answer(status, bytes(msgpack.packb({**found, "anabranch": self._version, "form": FORM})))

    def _foreign(self, run: str, frame: Frame) -> str:
        with self._database.opened() as connection:
            return foreign(self._database, connection, run, frame)

    def take(self, job: Job) -> None:
        """Wait until a frame is in the record, or refused. Raises RecordsError while the record cannot be written."""
        with self._news:
            if self._closing:
                raise RecordsError("the server ends")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="anabranch-ingest", daemon=True)
                self._thread.start()
            self._waiting.append(job)
            self._news.notify()
        if not job.done.wait(_PATIENCE):
            raise RecordsError(f"the record in {self._database.name} did not take a frame within {_PATIENCE:g} s")
        if job.error is not None:
            raise RecordsError(f"the record in {self._database.name} cannot be written: {job.error}") from job.error

    def close(self) -> None:
        """Take what waits, and end the thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread is None:
            self._disconnect()
        else:
            self._thread.join()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing)
                jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER))]
            if not jobs:
                break
            self.write(jobs)
            for job in jobs:
                job.done.set()
            self._seal()
        self._disconnect()

    def write(self, jobs: list[Job]) -> None:
        """Commit frames together, each or nothing of it; for one thread at a time."""
        try:
            connection = self._connected()
            with self._database.transaction(connection):
                self._begin(connection, jobs)
                for job in jobs:
                    self._enter(connection, job)
        except Exception as error:  # any exception: a thread that ended would leave all drivers waiting
            self._disconnect()
            for job in jobs:
                job.error = error
            return
        for job in jobs:
            if job.new:
                self._sealer.wrote(job.frame.blocks, job.frame.ended)

    def _begin(self, connection: Connection, jobs: list[Job]) -> None:
        """Number the frames and end the orders of all: pools and orders are locked before any run, as elsewhere."""
        for job in jobs:
            self._number(connection, job)
        ends = sorted({end for job in jobs if job.new for end in job.frame.ends})
        if ends:
            self._saved(connection, lambda many: self._end(connection, ends, many))

    def _enter(self, connection: Connection, job: Job) -> None:
        """Write a frame; raises what the others of its transaction cannot outlive."""
        self._saved(connection, lambda many: self._fill(connection, job, many))

    def _saved(self, connection: Connection, write: Callable[[Many], None]) -> None:
        """Write rows together, or one by one where there is a bad one."""
        connection.execute("SAVEPOINT frame")
        try:
            write(self._database.many)
        except Exception as error:
            if not self._database.refused(error):
                raise
            connection.execute("ROLLBACK TO SAVEPOINT frame")
            write(self._one_by_one)
        connection.execute("RELEASE SAVEPOINT frame")

    def _number(self, connection: Connection, job: Job) -> None:
        frame, sql = job.frame, self._database.sql
        values = {"writer": frame.writer, "seq": frame.seq, "now": self._clock.time()}
        job.new = connection.execute(sql["advance_writer"], values).rowcount == 1
        if not job.new:
            found = connection.execute(sql["last_of_writer"], (frame.writer,)).fetchone()
            last = found[0] if found else 0
            job.wanted = last + 1 if frame.seq > last else 0

    def _end(self, connection: Connection, ends: list[tuple[str, int]], many: Many) -> None:
        many(connection, self._database.sql["end_turn"], ends)
        many(connection, self._database.sql["end_order"], ends)

    def _fill(self, connection: Connection, job: Job, many: Many) -> None:
        frame, sql = job.frame, self._database.sql
        if frame.tokens:
            tokens = {run: token for run, (token, _) in frame.tokens.items()}
            job.lost = self._database.overtaken(connection, tokens)
        if not job.new:
            return
        if job.lost:
            frame = frame.without(job.lost)
        for name, rows in frame.rows:
            many(connection, sql[name], rows)
        if frame.blocks:
            many(connection, sql["add_block"], [block.values for block in frame.blocks])

    def _one_by_one(self, connection: Connection, sql: str, rows: Iterable[Values]) -> None:
        one_by_one(self._database, connection, sql, rows)

    def _seal(self) -> None:
        try:
            self._sealer.seal(self._connected)
        except Exception as error:
            self._disconnect()
            if not isinstance(error, self._database.errors):
                logger.warning("Items of maps were not sealed: %s: %s", type(error).__name__, error)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*self._database.errors):
                self._connection.close()
            self._connection = None
