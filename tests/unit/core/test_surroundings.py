"""What the driver changes of its environment, folder and path, and what a worker makes of it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.chunks import Binding, Stage
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
    os.environ.pop("RAY_SOMETHING", None)


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


def test_a_folder_that_is_not_there_is_let_be_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    with caplog.at_level(logging.WARNING, "anabranch.runners"):
        for number in (1, 2):
            worker.enter(Surroundings(number, (("AB_NEW", str(number)),), str(tmp_path / "nowhere")))
            assert (os.getcwd(), os.environ["AB_NEW"]) == (str(tmp_path), str(number))
    (record,) = caplog.records
    assert "nowhere" in record.getMessage()


def test_a_folder_that_was_removed_under_the_driver_is_still_the_one(tmp_path: Path) -> None:
    driver = Driver()
    (tmp_path / "sub").mkdir()
    os.chdir(tmp_path / "sub")
    there = driver.look().folder
    (tmp_path / "sub").rmdir()
    assert driver.look().folder == there == str(tmp_path / "sub")


def test_what_a_task_has_set_stays_until_the_drivers_own_changes() -> None:
    worker = Worker()
    worker.enter(Surroundings(1, (("AB_NEW", "one"),)))
    os.environ["AB_NEW"] = "by a task"
    worker.enter(Surroundings(2, (("AB_NEW", "one"), ("AB_OLD", "new"))))
    assert (os.environ["AB_NEW"], os.environ["AB_OLD"]) == ("by a task", "new")
    worker.enter(Surroundings(3, (("AB_NEW", "two"), ("AB_OLD", "new"))))
    assert os.environ["AB_NEW"] == "two"


def test_entries_of_the_path_keep_their_side_of_the_others() -> None:
    before = list(sys.path)
    driver = Driver()
    sys.path.insert(0, "/ahead")
    sys.path.append("/behind")
    found = driver.look()
    assert (found.path, found.behind) == (("/ahead",), ("/behind",))
    sys.path[:] = before
    worker = Worker()
    worker.enter(found)
    assert sys.path == ["/ahead", *before, "/behind"]
    worker.enter(None)
    assert sys.path == before


def test_a_map_keeps_those_it_was_mapped_with() -> None:
    def stage(kind: str) -> Stage:
        return Stage(0, None, Binding(), "m", kind=kind)

    driver = Driver()
    driver.put(1, stage("map"))
    driver.put(2, stage("submit"))
    os.environ["AB_NEW"] = "one"
    driver.put(3, stage("map"))
    os.environ["AB_NEW"] = "two"
    now = driver.look()
    assert [driver.of(stages, now).number for stages in ((1,), (2,), (3,), (1, 3), (2, 1))] == [0, 2, 1, 1, 0]
    driver.drop((1, 2, 3))
    assert driver.of((1,), now) is now


def test_workers_that_began_earlier_are_told_all_since() -> None:
    first = Driver()
    os.environ["AB_NEW"] = "one"
    assert dict(Driver(first).look().changes) == {"AB_NEW": "one"}


def test_nobody_begins_before_all_is_as_it_is_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of one worker begin chunks of one map: the second waits for the first to be done with it."""
    worker, reached, go = Worker(), threading.Event(), threading.Event()
    go_to = worker._go_to

    def stopped(wanted: str | None) -> None:
        reached.set()
        assert go.wait(30)
        go_to(wanted)

    monkeypatch.setattr(worker, "_go_to", stopped)
    given = Surroundings(1, (("AB_NEW", "one"),))
    threads = [threading.Thread(target=worker.enter, args=(given,)) for _ in range(2)]
    threads[0].start()
    assert reached.wait(30)
    assert worker.number == 0
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert (worker.number, os.environ["AB_NEW"]) == (1, "one")


def test_contents_are_in_no_text() -> None:
    given = Surroundings(1, (("AB_KEY", "a secret text"),))
    assert "secret" not in f"{given!r} {given} {given.told()}"


def test_of_a_lent_cluster_it_is_said_once_and_without_contents(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    os.environ["RAY_SOMETHING"] = "of an engine's own"
    driver.look()
    driver.not_ours("Dask")
    assert not caplog.records, "nobody misses it"
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
