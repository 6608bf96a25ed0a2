"""Our side: tasks with default options in a flow; its record is a file beside the user's own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch import flow, task
from anabranch import session as sessions
from anabranch import settings as settings_module
from anabranch.bench.work import Side, inc, nap
from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
UP_SECONDS = 60.0


@contextlib.contextmanager
def own_record() -> Iterator[None]:
    """Put a session in place with its record in a folder of its own, on the file system of the user's record."""
    home = settings_module.load().home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = tempfile.mkdtemp(prefix="bench-", dir=home)
    except OSError:  # no place there: the system's folder for such things
        folder = tempfile.mkdtemp(prefix="anabranch-bench-")
    chosen = settings_module.load({"ANABRANCH_HOME": folder}, progress=False, log_level="WARNING")
    try:
        with sessions.in_place(sessions.Session(chosen)):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def turn(runner: Any, body: Callable[[Side], T]) -> T:
    """Start a runner, call `body` with a warm side inside a flow on it, and close the runner."""
    found: list[T] = []

    @flow(name="bench", runner=runner)
    def bench() -> None:
        side = Side(_map, _submit_all, _call)
        list(side.map(inc, 64))
        _all_up(runner)
        list(side.map(inc, 1000)), list(side.submit_all(64))
        found.append(body(side))

    with runner:
        bench()
    return found[0]


_inc, _nap = task(inc), task(nap)


def _map(fn: Callable[[int], int], n: int) -> list[int]:
    values: list[int] = (_nap if fn is nap else _inc).map(range(n)).result()
    sessions.current().flush_records()
    return values


def _submit_all(n: int) -> list[int]:
    values = [future.result() for future in [_inc.submit(number) for number in range(n)]]
    sessions.current().flush_records()
    return values


def _call(number: int) -> int:
    return _inc.submit(number).result()


def _all_up(runner: Any) -> None:
    """Wait until the runner has as many slots as it is to have: its start is not what is measured."""
    end = time.monotonic() + UP_SECONDS
    while runner.slots().now < (runner.slots().maximum or 1):
        if time.monotonic() > end:
            raise RunnerError(f"{runner!r} has {runner.slots().now} of its workers after {UP_SECONDS:g} s")
        time.sleep(0.01)
