"""Tasks on workers of our own find the environment, the folder and the path that their driver has as they are sent."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, Secret, flow, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.gates import Gate

NAME = "AB_SURROUNDINGS"


def found() -> tuple[str | None, str]:
    return os.environ.get(NAME), os.path.realpath(os.getcwd())


@task
def here(n: int) -> tuple[str | None, str]:
    return found()


@task(timeout_seconds=60)
def timed(n: int) -> tuple[str | None, str]:
    return found()


@task
def nested() -> Any:
    return here.submit(1).result()


@task
def text_of(secret: Secret) -> int:
    return len(secret.get())


@task
def imported(name: str) -> Any:
    return importlib.import_module(name).V


WAYS: dict[str, Callable[[], set[Any]]] = {
    "map": lambda: set(here.map(range(8)).result()),
    "submit": lambda: {here.submit(1).result()},
    "timed": lambda: {timed.submit(1).result()},
    "nested": lambda: {nested.submit().result()},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_driver_changes_between_runs_and_within_one(
    runner: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = flow(name="ask")(WAYS[way])
    start = os.path.realpath(os.getcwd())
    monkeypatch.setenv(NAME, "one")
    assert ask() == {("one", start)}
    monkeypatch.setenv(NAME, "two")
    assert ask() == {("two", start)}

    @flow
    def inside() -> Any:
        os.environ[NAME] = "three"
        return WAYS[way]()

    assert inside() == {("three", start)}
    monkeypatch.chdir(tmp_path)
    assert ask() == {("three", os.path.realpath(tmp_path))}
    monkeypatch.delenv(NAME)
    assert ask() == {(None, os.path.realpath(tmp_path))}
    monkeypatch.chdir(start)
    assert ask() == {(None, start)}


def test_a_secret_is_read_where_it_is_asked_for(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow
    def main() -> int:
        found: int = text_of.submit(Secret(NAME)).result()
        return found

    for text in ("first-text", "another-longer-text"):
        monkeypatch.setenv(NAME, text)
        assert main() == len(text)


def test_a_folder_that_was_added_to_the_path(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"added_{runner}_module"
    (tmp_path / f"{name}.py").write_text("V = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    @flow
    def main() -> Any:
        return imported.submit(name).result()

    assert main() == 5
    sys.modules.pop(name, None)


def test_a_map_keeps_what_it_was_mapped_with_and_a_worker_that_begins_later_knows(
    processes: str, gates: Callable[[str], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gates("open")

    @task
    def waits(n: int) -> str | None:
        if n == 0:
            gate.pass_through()
        return os.environ.get(NAME)

    @task
    def ends() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with ProcessRunner(max_workers=1):
        first = waits.map(range(40), chunk=1)
        monkeypatch.setenv(NAME, "later")
        second = waits.map(range(1, 41), chunk=1)
        monkeypatch.setenv(NAME, "last")
        gate.open()
        assert [*first.result(), *second.result()] == [None] * 40 + ["later"] * 40
        ends.submit().exception()
        assert here.submit(1).result()[0] == "last"
        monkeypatch.delenv(NAME)
        assert here.submit(1).result()[0] is None


def test_a_change_between_two_cells(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("one", "two"):
        monkeypatch.setenv(NAME, text)
        assert here.submit(1).result()[0] == text
        assert {name for name, _ in here.map(range(2)).result()} == {text}
