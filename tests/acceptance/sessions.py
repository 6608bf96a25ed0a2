"""What fixtures are made of whose module chooses its runners for itself: kinds of them, sessions, their place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import session as sessions
from anabranch import settings
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MARKS: dict[str, list[Any]] = {"dask": [pytest.mark.dask], "ray": [pytest.mark.ray, pytest.mark.timeout(180)]}


def over(*kinds: str, marks: Sequence[Any] = ()) -> list[Any]:
    """The parameters of a fixture that runs over these kinds of runner."""
    return [pytest.param(kind, marks=[*MARKS.get(kind, ()), *marks]) for kind in kinds]


@contextmanager
def placed(session: sessions.Session) -> Iterator[sessions.Session]:
    """The session that code uses meanwhile."""
    before = sessions.use(session)
    try:
        yield session
    finally:
        sessions.use(before)


@contextmanager
def made(runner: Any, home: Path) -> Iterator[sessions.Session]:
    """A session of its own on this runner, closed at the end."""
    session = sessions.Session(settings.load({}, home=home, runner=runner, progress=False), records=MemoryRecords())
    try:
        yield session
    finally:
        session.close()
