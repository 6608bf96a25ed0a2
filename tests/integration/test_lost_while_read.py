"""Values that are lost between the end of a wait and their reading: they are made again, and nothing else is given."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import session as sessions
from anabranch import task
from anabranch.driver.waiting import Waiting
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings
from anabranch.testing import FakeRemoteRunner
from tests.acceptance.gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch import FutureList

ITEMS, SIZE = 12, 100_000


@task
def made(n: int, first: Gate, again: Gate, bad: int) -> bytes:
    """The first time it runs at once, then not before somebody waits for it."""
    if first.is_open:
        again.pass_through()
        if n == bad:
            raise ValueError("not again")
    return bytes([n]) * SIZE


@pytest.fixture
def runner(tmp_path: Any) -> Iterator[FakeRemoteRunner]:
    fake = FakeRemoteRunner(workers=2)
    session = Session(Settings(home=tmp_path, runner=fake, progress=False), records=MemoryRecords())
    before = sessions.use(session)
    yield fake
    sessions.use(before)
    session.close()
    fake.close(cancel=True)


READS: dict[str, Callable[[FutureList], list[Any]]] = {
    "result": lambda futures: futures.result(),
    "result and failures": lambda futures: futures.result(raise_on_failure=False),
    "results": lambda futures: list(futures.results()),
    "results and failures": lambda futures: list(futures.results(raise_on_failure=False)),
    "each": lambda futures: [future.result(raise_on_failure=False) for future in futures],
}


@pytest.fixture
def read(runner: FakeRemoteRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, int], list[Any]]:
    """Reads a map whose values are all lost once its wait is over; item `bad` fails as it is made again."""
    return functools.partial(_read, runner, monkeypatch, tmp_path)


def _read(runner: FakeRemoteRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, bad: int) -> list[Any]:
    first, again = Gate(tmp_path / "first"), Gate(tmp_path / "again")
    futures = made.map(range(ITEMS), first, again, bad, chunk=3)
    futures.wait()
    first.open()
    map, scope = futures._map, futures._map.scope
    lost: list[Any] = []

    def behind(move: Callable[..., Any]) -> Callable[..., Any]:
        """All blocks are lost before it once, and the driver has heard of it."""

        def moved(*args: Any) -> Any:
            if not lost:
                lost.extend(runner.alive_blocks)
                runner.lose_values(*lost)
                until(lambda: not any(map.is_terminal(index) for index in range(ITEMS)), "the news of the loss")
            return move(*args)

        return moved

    def wait(*args: Any) -> bool:
        if lost:
            again.open()
        return waits(*args)

    waits = Waiting.wait
    monkeypatch.setattr(Waiting, "wait", wait)
    monkeypatch.setattr(scope, "barrier", behind(scope.barrier))
    monkeypatch.setattr(scope, "values", behind(scope.values))
    monkeypatch.setattr(scope, "value", behind(scope.value))
    found = READS[how](futures)
    assert lost
    return found


@pytest.mark.parametrize("how", READS)
def test_they_are_made_again(read: Callable[[str, int], list[Any]], how: str) -> None:
    assert read(how, -1) == [bytes([n]) * SIZE for n in range(ITEMS)]


@pytest.mark.parametrize("how", ["result", "results"])
def test_one_that_fails_then_is_a_failure(read: Callable[[str, int], list[Any]], how: str) -> None:
    with pytest.raises(ValueError, match="not again"):
        read(how, 4)
