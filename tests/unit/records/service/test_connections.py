"""Connections that are kept: who gets which, and what becomes of bad ones."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import RecordsError, ServiceError
from anabranch.records.service.connections import Connections
from anabranch.records.sqlite_file import SqliteFile, prepare

if TYPE_CHECKING:
    from pathlib import Path

ONE = "SELECT count(*) FROM projects"


class Counted(SqliteFile):
    """A file that counts the connections made to it."""

    made = 0

    def patient(self) -> sqlite3.Connection:
        self.made += 1
        return super().patient()


@pytest.fixture
def file(tmp_path: Path) -> Counted:
    prepare(tmp_path / "runs.db")
    return Counted(tmp_path / "runs.db")


def test_a_connection_is_made_once_and_lent_again_to_any_thread(file: Counted) -> None:
    connections = Connections(file)
    found: list[Any] = []

    def look() -> None:
        with connections.lent() as db:
            found.append(db)

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert (found[0] is found[1], file.made) == (True, 1)
    with connections.lent() as one, connections.lent() as other:
        assert one is not other
    assert file.made == 2
    connections.close()


def test_a_connection_that_is_gone_is_made_anew(file: Counted) -> None:
    connections = Connections(file)
    with connections.lent() as db:
        db.close()
    with connections.lent() as db:
        assert db.execute(ONE).fetchone() == (0,)
    assert file.made == 2
    connections.close()


def test_a_refusal_keeps_the_connection_and_a_fault_does_not(file: Counted) -> None:
    connections = Connections(file)
    with pytest.raises(ServiceError), connections.lent():
        raise ServiceError("no such pool")
    with pytest.raises(RecordsError, match=r"runs\.db cannot be used: no such table: none"), connections.lent() as db:
        db.execute("SELECT * FROM none")
    assert file.made == 1
    with connections.lent():
        assert file.made == 2
    connections.close()


def test_what_is_lent_at_the_end_closes_when_it_comes_back(file: Counted) -> None:
    connections = Connections(file)
    with connections.lent() as db:
        connections.close()
        assert db.execute(ONE).fetchone() == (0,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute(ONE)


def test_a_forked_copy_makes_its_own_while_the_parent_goes_on(file: Counted) -> None:
    """The copy is forked with a kept connection, and while another thread holds the turn to write."""
    connections = Connections(file)
    with connections.lent() as kept:
        pass
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with connections._turn:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with connections.lent(writes=True) as db:
                db.execute("INSERT INTO projects VALUES ('child', '', 0)")
            code = int(db is kept)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    leave.set()
    thread.join()
    with connections.lent() as db:
        assert db is kept
        assert db.execute(ONE).fetchone() == (1,)
    connections.close()
