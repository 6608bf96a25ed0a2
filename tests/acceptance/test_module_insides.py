"""Tasks whose code reads what no pickle takes along: it stays in its module, and each worker has its own."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How it is made at the top of a module, and what says there that it is alive.
THINGS: dict[str, tuple[str, str]] = {
    "lock": ("threading.Lock()", "not THING.locked()"),
    "rlock": ("threading.RLock()", "THING.acquire() and THING.release() is None"),
    "event": ("threading.Event()", "not THING.is_set()"),
    "local": ("threading.local()", "vars(THING) == {}"),
    "variable": ("contextvars.ContextVar('v', default=7)", "THING.get() == 7"),
    "file": ("open(os.devnull, 'w')", "THING.write('x') == 1"),
    "socket": ("socket.socket()", "THING.fileno() >= 0"),
    "connection": (
        "sqlite3.connect(':memory:', check_same_thread=False)",
        "THING.execute('select 1').fetchone() == (1,)",
    ),
    "generator": ("(n for n in ())", "THING.gi_frame is not None"),
    "object that holds a lock": ("Client()", "isinstance(THING, Client) and THING.lock is not None"),
    "locks by name": ("{'a': threading.Lock()}", "list(THING) == ['a']"),
}
SOURCE = """
import contextvars, os, socket, sqlite3, threading
from anabranch import task
class Client:
    def __init__(self): self.lock = threading.Lock()
THING, FACTOR = {made}, 1
def helper(x): return x * FACTOR if {alive} else None
def through(fn):
    def inner(x): return fn(x)
    return inner
@task
def work(x): return x * FACTOR if {alive} else None
@task
@through
def decorated(x): return x * FACTOR if {alive} else None
class Job:
    thing = THING
    @task
    def scaled(self, x): return helper(x) if self.thing is THING else None
    @task
    @classmethod
    def of_all(cls, x): return helper(x) if cls.thing is THING else None
TABLE = {{"a": lambda x: helper(x) if {alive} else None}}
class Row:
    def __init__(self, x): self.x = x
def give(x): return Row(helper(x))
def take(row): return type(row) is Row and row.x
"""
module: Any = None  # the one of the test


@task
def calls_helper(x: int) -> Any:
    return module.helper(x)


@task
def calls_task(x: int) -> Any:
    return module.work(x)


PLACES: dict[str, Any] = {
    "helper of another module": lambda: calls_helper,
    "task of another module, called": lambda: calls_task,
    "function": lambda: task(module.helper),
    "task": lambda: module.work,
    "decorated task": lambda: module.decorated,
    "method": lambda: module.Job().scaled,
    "classmethod": lambda: module.Job.of_all,
    "lambda": lambda: task(module.TABLE["a"]),
}


@flow
def results(work: Any) -> Any:
    return work.map([1, 2]).result()


def everywhere() -> dict[str, Any]:
    return {place: results(work()) for place, work in PLACES.items()}


@pytest.fixture
def insides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a module that has such a thing, which this process finds under `name`."""
    names = []

    def made(thing: str, name: str) -> Any:
        names.append(name)
        text = SOURCE.format(made=THINGS[thing][0], alive=THINGS[thing][1])
        (tmp_path / f"{name}.py").write_text(text)
        found = importlib.import_module(name)
        monkeypatch.setitem(globals(), "module", found)
        return found

    monkeypatch.syspath_prepend(str(tmp_path))
    yield made
    for name in names:
        getattr(sys.modules.pop(name).THING, "close", int)()


@pytest.mark.parametrize("thing", THINGS)
def test_in_each_place(beside: str, thing: str, insides: Any) -> None:
    insides(thing, f"insides_{beside}_{list(THINGS).index(thing)}")
    assert everywhere() == {place: [1, 2] for place in PLACES}


def test_what_was_changed_goes_along(apart: str, insides: Any) -> None:
    found = insides("lock", f"changed_{apart}")
    for factor in (1, 10, 100):
        found.FACTOR = factor
        assert everywhere() == {place: [factor, 2 * factor] for place in PLACES}


def test_objects_of_its_classes_are_its_own(apart: str, insides: Any) -> None:
    found = insides("lock", f"classes_{apart}")

    @flow
    def main() -> Any:
        rows = task(found.give).map([1, 2])
        return rows.result(), task(found.take).map(rows).result(), task(found.take).map([found.Row(7)]).result()

    rows, taken, given = main()
    assert [type(row) for row in rows] == [found.Row] * 2
    assert (taken, given) == ([1, 2], [7])


def test_an_object_of_nobodys_module_is_named(apart: str) -> None:
    lock = threading.Lock()

    @task
    def held(x: int) -> int:
        with lock:
            return x

    with pytest.raises(SerializationError, match=r"held\.fn\.__closure__\['lock'\] \(_thread\.lock\)"):
        results(held)


def test_a_scripts_own_is_named_with_the_way_out(apart: str) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "LOCK": threading.Lock()}
    exec("def held(x):\n    with LOCK: return x", space)
    with pytest.raises(SerializationError, match=r"held\.fn\.__globals__\['LOCK'\].*make it inside the task, or move"):
        results(task(space["held"]))
