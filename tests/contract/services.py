"""The services that the contract suites run over, each with a clock that the test moves.

A test speaks the protocol of `core/service.py` alone, so that another kind needs a line in `KINDS` and a maker here.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.records.recorder import Recorder
from anabranch.records.service.direct import DirectService
from anabranch.records.service.memory import memory_service
from anabranch.records.service.remote import RemoteService
from anabranch.records.sqlite_file import SqliteFile, prepare
from anabranch.server.app import make_app
from anabranch.testing import ManualClock
from tests.servers import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabranch.core.runs import Records
    from anabranch.core.service import Service

NOW = 1_800_000_000.0
BOTH = pytest.mark.sampled(5, "each of the two alone tries all of it by day")
KINDS: list[Any] = [
    "memory",
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    "http",
    pytest.param("http over postgres", marks=[pytest.mark.postgres, BOTH]),
]


class WallClock(ManualClock):
    """A clock that somebody may set back; the monotonic time goes on."""

    def set_back(self, seconds: float) -> None:
        with self._lock:
            self._start -= seconds


@dataclass
class Place:
    """Where a service lies.

    Attributes:
        clock: of the service.
        opened: makes one more service in the same place, as another program has it.
        records: of the same place, with the flow runs of its orders.
    """

    clock: WallClock
    opened: Callable[[], Service]
    records: Records


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    clock = WallClock(NOW)
    over_http = request.param.startswith("http")
    maker = {"memory": _memory, "sqlite": _sqlite, "http": _sqlite}.get(request.param, _postgres)
    opened, records = maker(request, tmp_path, clock)
    made: list[Service] = []
    serving = ExitStack()
    if over_http:
        made.append(opened())
        address = serving.enter_context(served(make_app(made[0])))
        opened = partial(RemoteService, address)

    def one_more() -> Service:
        made.append(opened())
        return made[-1]

    yield Place(clock, one_more, records)
    serving.close()
    for service in made:
        service.close()
    records.close()


@pytest.fixture
def service(place: Place) -> Service:
    return place.opened()


def _memory(request: Any, folder: Path, clock: ManualClock) -> tuple[Callable[[], Service], Recorder]:
    first = memory_service(clock=clock)
    return lambda: DirectService(first.database, clock=clock), Recorder(first.database, clock=clock)


def _sqlite(request: Any, folder: Path, clock: ManualClock) -> tuple[Callable[[], Service], Recorder]:
    prepare(folder / "runs.db")
    file = SqliteFile(folder / "runs.db")
    return lambda: DirectService(SqliteFile(file.path), clock=clock), Recorder(file, clock=clock)


def _postgres(request: Any, folder: Path, clock: ManualClock) -> tuple[Callable[[], Service], Recorder]:
    address = request.getfixturevalue("postgres_address")
    postgres = importlib.import_module("anabranch.records.postgres")
    records = postgres.PostgresRecords(address, clock=clock)
    return lambda: DirectService(postgres.Server(address), clock=clock), records
