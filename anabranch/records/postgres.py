"""Records in PostgreSQL, through psycopg: for several machines, or many drivers at once.

Each query takes a spare connection, or makes one; the writer has its own. While the server is away rows wait in
memory, as they do for a locked file. If a commit is not answered, its outcome is looked up by its number before
anything is written again, so no row is written twice.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import MissingExtraError, RecordsError
from anabranch.records.postgres_dialect import SQL, of_folder, schema, with_nul, without_nul
from anabranch.records.recorder import Recorder
from anabranch.records.server_clock import ServerClock
from anabranch.records.statements import newer, overtaken

try:
    import psycopg
    import psycopg.sql
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.types.string import StrDumperUnknown, TextLoader
except ImportError as error:
    raise MissingExtraError(
        "records in PostgreSQL need the package psycopg: pip install 'anabranch[postgres]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from anabranch.core.contracts import Clock
    from anabranch.records.database import Asked, Values

_SCHEMA = "anabranch"
_MIGRATING = 0x616E6162  # the advisory lock on changes of the schema
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
# Time-outs for a connection to a silent server; libpq's own defaults are minutes and hours.
_DEFAULTS = {
    "application_name": "anabranch", "client_encoding": "utf8",
    "connect_timeout": "5", "keepalives_idle": "10", "keepalives_interval": "5", "tcp_user_timeout": "15000",
}  # fmt: skip
_MOST_IDLE = 15_000  # milliseconds without a statement, after which the server ends a transaction that writes
_READ_ONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"


def _dump(self: Any, text: str) -> Any:
    return StrDumperUnknown.dump(self, without_nul(text))


def _load(self: Any, data: Any) -> Any:
    text = TextLoader.load(self, data)
    return with_nul(text) if isinstance(text, str) else text


# Made by `type()`, not by `class`, because their base has no known type where psycopg is not installed.
_DUMPER = type("Dumper", (StrDumperUnknown,), {"dump": _dump})
_LOADER = type("Loader", (TextLoader,), {"load": _load})


class Server:
    """A `Database` at a PostgreSQL address.

    Args:
        address: "postgresql://user@host/database", with further libpq options after a "?". Missing parts come from
                libpq's own variables and files (PGPASSWORD, ~/.pgpass).

    The tables lie in the schema `anabranch`, which is made; `?options=-csearch_path%3DNAME` chooses another.

    Raises:
        RecordsError: libpq does not understand the address.
    """

    sql = SQL
    errors = (psycopg.Error,)
    one_writer = False

    def __init__(self, address: str) -> None:
        self.name = secrets.without_login(address)
        self._spare: tuple[int, Any] | None = None  # a connection, and the id of its process
        self._lock = threading.Lock()
        self._bound = threading.local()  # its `seconds`: the longest statement, in this thread
        try:
            given = conninfo_to_dict(address)
        except psycopg.Error as error:
            told = secrets.mask(str(error).replace(address, self.name)).strip()
            raise RecordsError(f"{self.name} is not an address of a PostgreSQL database: {told}") from None
        secrets.note(str(given.get("password") or ""))
        if "search_path" not in str(given.get("options") or ""):
            given["options"] = f"{given.get('options') or ''} -c search_path={_SCHEMA}".strip()
        self._address = make_conninfo("", **{**_DEFAULTS, **given})

    # -- connections -----------------------------------------------------------------------------

    def connect(self) -> Any:
        connection = psycopg.connect(self._address, autocommit=True, cursor_factory=psycopg.ClientCursor)
        connection.adapters.register_dumper(str, _DUMPER)
        connection.adapters.register_loader("text", _LOADER)
        return connection

    def patient(self) -> Any:
        return self.connect()

    def clock(self) -> Clock:
        return ServerClock(self._time)

    def _time(self) -> float:
        with self.opened() as db:
            return float(db.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()[0])

    def answers(self, connection: Any) -> bool:
        """Ask the server only where there is something to read: it says so when it goes away."""
        try:
            looked = select.poll()
            looked.register(connection.fileno(), select.POLLIN)
            if looked.poll(0):
                connection.execute("")
        except (psycopg.Error, ValueError):
            return False
        return True

    def together(self, connection: Any, statements: Sequence[Asked]) -> list[list[Any]]:
        with psycopg.ClientCursor(connection) as cursor:
            text = ";".join(cursor.mogrify(sql, values) if values else sql for sql, values in statements)
            cursor.execute(text.encode())
            found = []
            for _ in statements:
                found.append(cursor.fetchall() if cursor.description else [])
                cursor.nextset()
            return found

    def statements(self, folder: Path) -> Mapping[str, str]:
        return of_folder(folder)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        connection = self._taken()
        try:
            if connection is None:
                connection = self.connect()
                if self._seconds():
                    connection.execute(self._time_out())
            try:
                yield connection
                if connection.info.transaction_status:  # left open by `moment`
                    connection.execute("ROLLBACK")
            except BaseException:
                connection.close()
                raise
        except errors.QueryCanceled as error:
            told = f"a query was ended after {self._seconds():g} s" if self._seconds() else secrets.mask(str(error))
            raise RecordsError(f"the records in {self.name}: {told}; ask for less, or when less goes on") from error
        except psycopg.Error as error:
            raise RecordsError(f"the records in {self.name} cannot be used: {secrets.mask(str(error))}") from error
        self._give(connection)

    @contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        self._bound.seconds = seconds
        try:
            yield
        finally:
            self._bound.seconds = 0.0

    def _seconds(self) -> float:
        found: float = getattr(self._bound, "seconds", 0.0)
        return found

    def _time_out(self) -> str:
        """Return the statement that bounds the next ones; connections go from thread to thread, so each use sets it."""
        seconds = self._seconds()
        return f"SET statement_timeout = {round(seconds * 1000)}" if seconds else "RESET statement_timeout"

    def _taken(self) -> Any:
        """Return the last query's connection, if it belongs to this process and is still good."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None or spare[0] != os.getpid():
            return None
        try:
            spare[1].execute(self._time_out())
        except psycopg.Error:
            spare[1].close()
            return None
        return spare[1]

    def _give(self, connection: Any) -> None:
        with self._lock:
            spare, self._spare = self._spare, (os.getpid(), connection)
        if spare is not None and spare[0] == os.getpid():
            spare[1].close()

    def close(self) -> None:
        """Close the spare connection."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None and spare[0] == os.getpid():
            spare[1].close()

    # -- statements ------------------------------------------------------------------------------

    @property
    def begin(self) -> tuple[str, ...]:
        # A process that is stopped in a transaction, or loses its host, would keep its locks for ever.
        return "BEGIN", f"SET LOCAL idle_in_transaction_session_timeout = {_MOST_IDLE}"

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[None]:
        connection.execute("; ".join(self.begin))
        try:
            yield
            number = connection.execute("SELECT txid_current()").fetchone()
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except psycopg.Error:
            if number is None or not connection.broken or not self._committed(number[0]):
                raise

    def _committed(self, number: int) -> bool:
        """Return whether an unanswered commit succeeded; waits while the server is away."""
        while True:
            try:
                with closing(self.connect()) as asking:
                    found = asking.execute("SELECT txid_status(%s)", (number,)).fetchone()
            except psycopg.Error:
                time.sleep(0.25)
                continue
            if found is None or found[0] != "in progress":
                return found is not None and found[0] == "committed"
            time.sleep(0.25)

    def moment(self, connection: Any) -> None:
        connection.execute(_READ_ONLY)

    def many(self, connection: Any, sql: str, rows: Iterable[Values]) -> None:
        with psycopg.Cursor(connection) as cursor:  # sends values apart from the text, many at once
            cursor.executemany(sql, list(rows))

    def single(self, connection: Any, sql: str, row: Values) -> None:
        with connection.transaction(), psycopg.Cursor(connection) as cursor:
            cursor.execute(sql, row)

    def refused(self, error: Exception) -> bool:
        if isinstance(error, psycopg.Error):
            if isinstance(error, (errors.DatatypeMismatch, errors.CannotCoerce, errors.ProgramLimitExceeded)):
                return True
            kinds = (psycopg.DataError, psycopg.IntegrityError)
            return isinstance(error, kinds) or (isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None)
        return isinstance(error, (AttributeError, OverflowError, RecordsError, TypeError, ValueError))

    def overtaken(self, connection: Any, tokens: Mapping[str, int]) -> set[str]:
        return overtaken(connection, self.sql["tokens"], tokens)

    # -- the whole -------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the tables where there are none, and bring them up to date; safe from many processes at once.

        Raises:
            RecordsError: the server cannot be reached, or its tables are those of a newer anabranch.
        """
        steps = schema()
        with self.opened() as db:
            if _version(db, self.name, len(steps)) == len(steps):
                return
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
                _make_schema(db)
                db.execute("CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL)")
                for step in steps[_version(db, self.name, len(steps)) :]:
                    for statement in step.statements:
                        db.execute(statement)
                db.execute("DELETE FROM schema_version")
                db.execute("INSERT INTO schema_version VALUES (%s)", (len(steps),))

    def compact(self) -> None:
        with self.opened() as db:
            for (table,) in db.execute(_TABLES).fetchall():
                db.execute(psycopg.sql.SQL("VACUUM (FULL, ANALYZE) {}").format(psycopg.sql.Identifier(table)))

    def size(self) -> int:
        sizes = f"SELECT sum(pg_total_relation_size(quote_ident(tablename)::regclass)) FROM ({_TABLES}) AS t"
        with self.opened() as db:
            return int(db.execute(sizes).fetchone()[0])

    def damage(self) -> list[str]:
        """Return nothing: the server checks its pages itself."""
        return []


def _make_schema(db: Any) -> None:
    path, current = db.execute("SELECT current_setting('search_path'), current_schema()").fetchone()
    if current is None:
        name = path.partition(",")[0].strip().strip('"')
        db.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(name)))


def _version(db: Any, name: str, known: int) -> int:
    if db.execute("SELECT to_regclass('schema_version')").fetchone()[0] is None:
        return 0
    row = db.execute("SELECT version FROM schema_version").fetchone()
    version = int(row[0]) if row else 0
    if version > known:
        raise RecordsError(newer(name, version, known))
    return version


class PostgresRecords(Recorder):
    """`Records` in the PostgreSQL database at `address`.

    Opening makes the tables or brings them up to date. When the server goes away afterwards, rows wait in memory.

    Args:
        address: as of `Server`.
        clock, commit_interval, retention_days: as of `Recorder`.

    Raises:
        RecordsError: the server cannot be reached, or its tables are those of a newer anabranch.
    """

    database: Server

    def __init__(
        self, address: str, *, clock: Clock = SYSTEM, commit_interval: float = 0.05, retention_days: float = 0.0
    ) -> None:
        server = Server(address)
        server.prepare()
        super().__init__(server, clock=clock, commit_interval=commit_interval, retention_days=retention_days)

    def close(self, timeout: float | None = None) -> None:
        super().close(timeout)
        self.database.close()
