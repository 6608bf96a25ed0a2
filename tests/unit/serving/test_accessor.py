"""The service of a program: opened once, where its record is; another can stand in its place."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import records, serving, session
from anabranch import settings as settings_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Opened:
    """Stands for a service; remembers where it was opened."""

    def __init__(self, place: Any, **given: Any) -> None:
        self.place, self.given = place, given

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    monkeypatch.delenv("ANABRANCH_RECORDS", raising=False)
    monkeypatch.setattr(records, "open_service", Opened, raising=False)
    before, session_before = serving.use(None), session.use(None)
    yield
    serving.use(before)
    made = session.use(session_before)
    if made is not None:
        made.close()


def test_the_service_is_opened_once_where_the_record_is(tmp_path: Path) -> None:
    one: Any = serving.current()
    assert one.place == tmp_path / "records.db"
    assert serving.current() is one


def test_another_stands_in_its_place() -> None:
    first: Any = serving.current()
    other: Any = Opened("elsewhere")
    assert serving.use(other) is first
    assert serving.current() is other


@pytest.mark.parametrize(
    ("records_at", "remote"), [("http://h:4200", True), ("https://h", True), ("postgresql://h/d", False), ("", False)]
)
def test_an_address_of_a_server_is_known(records_at: str, remote: bool) -> None:
    assert serving.over_http(replace(settings_module.load(), records=records_at)) is remote


def test_a_forked_copy_opens_its_own() -> None:
    serving.current()
    read, write = os.pipe()
    if not (pid := os.fork()):
        os.write(write, b"another" if serving.use(None) is None else b"the same")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 100) == b"another"
