"""The SQL of the records, read from the .sql files beside this one."""

from __future__ import annotations

import json
import re
import sqlite3
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.records.database import Connection

_HERE = Path(__file__).parent


class Statement(NamedTuple):
    """A named query and the sentence on its purpose."""

    name: str
    purpose: str
    sql: str


class Migration(NamedTuple):
    """One step of the schema: the version after it, and its statements."""

    version: int
    statements: tuple[str, ...]


def parse(text: str) -> dict[str, Statement]:
    """Return the queries of a file by name; raises RecordsError for one without a sentence or with a taken name."""
    found: dict[str, Statement] = {}
    for part in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        purpose, _, sql = rest.partition("\n")
        name, sql = name.strip(), sql.strip()
        if name in found or not purpose.startswith("-- ") or not sqlite3.complete_statement(sql):
            raise RecordsError(f"the query {name!r} is doubled, has no sentence or does not end")
        found[name] = Statement(name, purpose.removeprefix("-- "), sql)
    return found


def split(script: str) -> tuple[str, ...]:
    """Return the statements of a script."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part.strip())
            part = ""
    return tuple(found)


def migrations(folder: Path = _HERE / "schema") -> list[Migration]:
    """Return all steps of the schema, first to last."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    steps = [Migration(int(file.name[:4]), split(file.read_text(encoding="utf-8"))) for file in files]
    if [step.version for step in steps] != list(range(1, len(steps) + 1)):
        raise RecordsError(f"the schema's steps in {folder} are not numbered from 1 on without a gap")
    return steps


def newer(name: str, version: int, known: int) -> str:
    """Return the error for records of a newer anabranch, which are not touched."""
    return (
        f"the records in {name} have schema version {version}; this anabranch knows versions up to {known}: "
        f"use one that knows version {version}, or another file"
    )


def overtaken(connection: Connection, sql: str, tokens: Mapping[str, int]) -> set[str]:
    """Return the runs with a higher token in the database, by the query `sql`, than the given one."""
    found = connection.execute(sql, (json.dumps(list(tokens)),))
    return {run for run, token in found if token > tokens[run]}


@cache
def of_folder(folder: Path) -> dict[str, Statement]:
    """Return the queries of a folder's .sql files by name; postgres.sql has other forms of some and is left out."""
    files = sorted(file for file in folder.glob("*.sql") if file.name != "postgres.sql")
    return parse("\n".join(file.read_text(encoding="utf-8") for file in files))


@cache
def wide(sql: str, rows: int) -> str:
    """Return an insertion of several rows, made of one of a single row."""
    found = re.search(r"VALUES (\([?, ]+\))", sql)
    if found is None:
        raise RecordsError(f"not an insertion of values: {sql}")
    return sql.replace(found[0], f"VALUES {', '.join([found[1]] * rows)}")


QUERIES = parse((_HERE / "queries.sql").read_text(encoding="utf-8"))
SQL = {name: statement.sql for name, statement in QUERIES.items()}
