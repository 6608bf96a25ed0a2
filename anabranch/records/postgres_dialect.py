"""The translation of the .sql files to PostgreSQL.

The files use the common part of SQLite's and PostgreSQL's dialects. Where these differ they use SQLite's words; each
is a line in `_WORDS`. A statement that needs more than other words stands in postgres.sql under its name.

PostgreSQL stores no NUL in a text, so NUL is written as SUB and "0" there, and SUB as SUB and "1".
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.records import statements
from anabranch.records.statements import QUERIES, Migration, migrations, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.records.statements import Statement

_WORDS = [
    (r"%", "%%"),
    (r"\?", "%s"),
    (r"(?<!:):([a-z_]+)", r"%(\1)s"),
    (r"\bmax\((?=[^()]*,)", "greatest("),
    (r"\bchar\(", "chr("),
    (r"\browid\b", "ctid"),
]
# Text is compared byte by byte, as in SQLite, not by the database's own order.
_TYPES = [
    (r"INTEGER PRIMARY KEY AUTOINCREMENT", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r"\bid INTEGER PRIMARY KEY\b", "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "bigint"),
    (r"\bREAL\b", "double precision"),
    (r"\bBLOB\b", "bytea"),
    (r"\bTEXT\b", 'text COLLATE "C"'),
]
# Lists of states or ids come as JSON. In PostgreSQL they become arrays: its planner takes a function's rows for a
# hundred, joins them, and then reads a whole table where an index would find each.
_LIST = re.compile(r"(\S+) (NOT )?IN \(SELECT value FROM json_each\((\S+?)\)\)")
_NUL = {"\0": "\x1a0", "\x1a": "\x1a1"}


def translated(sql: str) -> str:
    """Return a query of queries.sql in PostgreSQL's dialect, for psycopg."""
    sql = _LIST.sub(_array, sql)
    for pattern, words in _WORDS:
        sql = re.sub(pattern, words, sql)
    return sql.rstrip(";")


def _array(found: re.Match[str]) -> str:
    column, negated, values = found.groups()
    value = "CAST(value AS bigint)" if column.rpartition(".")[2] == "state" else "value"
    chosen = "<> ALL" if negated else "= ANY"
    listed = f"SELECT {value} FROM json_array_elements_text(CAST({values} AS json)) AS t (value)"
    return f"{column} {chosen} (ARRAY({listed}))"


def schema() -> list[Migration]:
    """Return all steps of the schema, first to last."""
    return [Migration(step.version, tuple(map(_typed, step.statements))) for step in migrations()]


def _typed(statement: str) -> str:
    statement = re.sub(r"--.*", "", statement)
    for pattern, words in _TYPES:
        statement = re.sub(pattern, words, statement)
    return statement


def without_nul(text: str) -> str:
    """Return a text that PostgreSQL can store; `with_nul` is the inverse."""
    if "\0" in text or "\x1a" in text:
        return re.sub(r"[\0\x1a]", lambda found: _NUL[found[0]], text)
    return text


def with_nul(text: str) -> str:
    """Return the text that `without_nul` was called with."""
    if "\x1a" in text:
        return text.replace("\x1a0", "\0").replace("\x1a1", "\x1a")
    return text


def _queries(folder: Path, queries: Mapping[str, Statement]) -> dict[str, str]:
    file = folder / "postgres.sql"
    own = parse(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: translated((own.get(name) or statement).sql) for name, statement in queries.items()}


@cache
def of_folder(folder: Path) -> dict[str, str]:
    """Return the queries of a folder's .sql files in PostgreSQL's dialect; those in postgres.sql stand there."""
    return _queries(folder, statements.of_folder(folder))


SQL = _queries(Path(__file__).parent, QUERIES)
