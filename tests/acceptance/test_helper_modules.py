"""Tasks of helper modules that hold, at their top, what belongs to a process: a lock, a connection, an open file."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from anabranch.core.errors import SerializationError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import contextvars, os, sqlite3, threading
THING = {thing}
FACTOR = 2
def work(x):
    assert THING is not None
    return x * FACTOR
class Worker:
    thing = THING
    def work(self, x): return work(x)
"""
THINGS = {
    "lock": "threading.Lock()",
    "rlock": "threading.RLock()",
    "event": "threading.Event()",
    "local": "threading.local()",
    "variable": "contextvars.ContextVar('v', default=7)",
    "connection": "sqlite3.connect(':memory:', check_same_thread=False)",
    "file": "open(os.devnull, 'w')",
    "generator": "(n for n in range(3))",
    "inside": "{'locks': [threading.Lock()]}",
}


@pytest.fixture
def helper(apart: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    name = f"helper_{apart}_{request.param}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(thing=THINGS[request.param]))
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module(name)


@pytest.mark.parametrize("helper", THINGS, indirect=True)
def test_what_a_module_holds_at_its_top(helper: Any) -> None:
    named = task(helper.work)

    @task
    def through(x: int) -> Any:
        return helper.work(x), helper.Worker().work(x), helper.THING is not None

    @flow
    def main() -> Any:
        return named.map([1, 2]).result(), through.submit(3).result()

    assert main() == ([2, 4], (6, 6, True))
    helper.FACTOR = 3
    assert main() == ([3, 6], (9, 9, True)), "what it holds besides is the driver's"


def test_what_truly_cannot_travel_is_named_by_its_path(apart: str) -> None:
    locks = {"first": [threading.Lock()]}

    @task
    def work(x: int) -> Any:
        return locks, x

    @flow
    def main() -> None:
        work.submit(1).result()

    with pytest.raises(SerializationError, match=r"work.*__closure__\['locks'\]\['first'\]\[0\].*lock"):
        main()
