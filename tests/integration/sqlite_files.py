"""Looks at the file of a record: whether it is sound, how many rows a table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.records.sqlite_file import opened

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30.0


def sound(path: Path) -> bool:
    with opened(path) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def count(path: Path, table: str) -> int:
    with opened(path) as db:
        number: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return number
