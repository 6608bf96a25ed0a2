"""What the driver changes of its environment, folder and path, and what a worker makes of it."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from anabranch.core.surroundings import Driver, Surroundings, Worker, folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("AB_KEPT", "kept")
    monkeypatch.setenv("AB_OLD", "old")
    monkeypatch.delenv("AB_NEW", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.pop("AB_NEW", None)


def test_nothing_is_new_while_nothing_changes() -> None:
    driver = Driver()
    assert driver.look() is driver.look()
    assert driver.look() == Surroundings()


def test_each_change_has_a_number_and_says_what_it_is(tmp_path: Path) -> None:
    driver = Driver()
    os.environ["AB_NEW"] = "one"
    del os.environ["AB_OLD"]
    first = driver.look()
    assert (first.number, dict(first.changes)) == (1, {"AB_NEW": "one", "AB_OLD": None})
    (tmp_path / "sub").mkdir()
    os.chdir(tmp_path / "sub")
    sys.path.insert(0, "/added")
    second = driver.look()
    assert (second.number, second.folder, second.path) == (2, str(tmp_path / "sub"), ("/added",))
    del os.environ["AB_NEW"]
    os.environ["AB_OLD"] = "old"
    os.chdir(tmp_path)
    sys.path.remove("/added")
    assert driver.look() == Surroundings(3)


def test_a_folder_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    driver = Driver()
    (tmp_path / "sub").mkdir()
    os.chdir(tmp_path / "sub")
    (tmp_path / "sub").rmdir()
    assert folder() is None
    assert driver.look().folder is None


def test_a_worker_is_as_the_driver_and_again_as_it_was_itself(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    before = list(sys.path)
    worker = Worker()
    worker.enter(Surroundings(1, (("AB_NEW", "one"), ("AB_OLD", None)), str(tmp_path / "there"), ("/added",)))
    assert (os.environ.get("AB_NEW"), os.environ.get("AB_OLD")) == ("one", None)
    assert (os.getcwd(), sys.path[0]) == (str(tmp_path / "there"), "/added")
    os.environ["AB_KEPT"] = "by a task"
    worker.enter(Surroundings(1))
    assert os.environ["AB_NEW"] == "one", "the same number: nothing is done"
    worker.enter(Surroundings(2, (("AB_OLD", "new"),)))
    assert (os.environ.get("AB_NEW"), os.environ["AB_OLD"]) == (None, "new")
    worker.enter(None)
    assert (os.environ["AB_OLD"], os.environ["AB_KEPT"]) == ("old", "by a task")
    assert (os.getcwd(), sys.path) == (str(tmp_path), before)


def test_a_folder_that_is_not_there_is_let_be(tmp_path: Path) -> None:
    Worker().enter(Surroundings(1, (), str(tmp_path / "nowhere")))
    assert os.getcwd() == str(tmp_path)


def test_of_a_lent_cluster_it_is_said_once_and_without_contents(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    os.environ["AB_NEW"] = "a secret text"
    driver.look()
    with caplog.at_level(logging.WARNING, "anabranch.runners"):
        driver.not_ours("Dask")
        driver.not_ours("Dask")
    (record,) = caplog.records
    assert "AB_NEW" in record.getMessage()
    assert "secret" not in caplog.text


def test_where_workers_do_not_begin_with_the_path_it_is_given_at_once() -> None:
    sys.path.insert(0, "/of/the/script")
    assert Driver().look() == Surroundings()
    found = Driver(path=False).look()
    assert found.number == 1
    assert found.path[0] == "/of/the/script"
    assert not [place for place in found.path if "site-packages" in place]
