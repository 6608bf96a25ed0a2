"""Sessions on threads and on processes that a whole file shares, and what they have recorded."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch import ProcessRunner, ThreadRunner, logs
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.integration import arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Threads(ThreadRunner):
    """Counts what it is given to run."""

    chunks = 0

    def submit(self, chunks: Sequence[Any]) -> None:
        self.chunks += len(chunks)
        super().submit(chunks)


@pytest.fixture
def storing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Session]]:
    """Makes the program's session, with the result store at a folder or an address; one a call, the last one counts."""
    made: list[Session] = []
    before = sessions.use(None)

    def make(results: str) -> Session:
        made.append(Session(Settings(home=tmp_path / "home", results=results, progress=False), records=MemoryRecords()))
        sessions.use(made[-1])
        return made[-1]

    cloudpickle.register_pickle_by_value(request.module)  # workers need not import the tests
    yield make
    cloudpickle.unregister_pickle_by_value(request.module)
    sessions.use(before)
    for one in made:
        one.close()


def _runner(kind: str) -> Any:
    return Threads(max_workers=2) if kind == "thread" else ProcessRunner(max_workers=2)


class Place:
    """A session on one kind of runner, and what it has recorded."""

    def __init__(self, home: Path, kind: str) -> None:
        self.runner = _runner(kind)
        self.records = MemoryRecords()
        self.session = Session(Settings(home=home, runner=self.runner, progress=False), records=self.records)

    def traces(self) -> tuple[int, int, int]:
        """Flow runs, maps and chunks so far."""
        return len(self.records.flow_runs(limit=10**6)), len(self.records.maps("")), getattr(self.runner, "chunks", 0)


@pytest.fixture(scope="module")
def places(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Place]]:
    @functools.cache
    def place(kind: str) -> Place:
        made.append(Place(tmp_path_factory.mktemp(kind), kind))
        return made[-1]

    made: list[Place] = []
    for module in (arithmetic, request.module):  # workers need not import the tests
        cloudpickle.register_pickle_by_value(module)
    yield place
    for module in (arithmetic, request.module):
        cloudpickle.unregister_pickle_by_value(module)
    for one in made:
        one.session.close()


def _placed(place: Place) -> Iterator[Place]:
    before = sessions.use(place.session)
    logs.deliver_to(place.session.emit_logs)  # else lines go to the session made last
    logging.getLogger("anabranch").setLevel(logging.INFO)
    yield place
    sessions.use(before)


@pytest.fixture
def threads(places: Callable[[str], Place]) -> Iterator[Place]:
    yield from _placed(places("thread"))


@pytest.fixture
def processes(places: Callable[[str], Place]) -> Iterator[Place]:
    yield from _placed(places("process"))


@pytest.fixture(params=["thread", "process"])
def both(places: Callable[[str], Place], request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from _placed(places(request.param))


@pytest.fixture
def untouched(threads: Place) -> Iterator[Place]:
    """The mistake is found before there is a run: nothing recorded, nothing sent."""
    before = threads.traces()
    yield threads
    threads.session.flush_records()
    assert threads.traces() == before
