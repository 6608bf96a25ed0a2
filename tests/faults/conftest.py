"""A session for each test, a process runner, and the pipes to meet its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.faults.pipes import pipe
from tests.faults.workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    mine = Session(Settings(home=tmp_path, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    yield mine
    mine.close()
    sessions.use(before)


@pytest.fixture
def runner() -> ProcessRunner:
    return ProcessRunner(max_workers=WORKERS)  # the session starts and closes it


@pytest.fixture
def here(tmp_path: Path) -> str:
    return pipe(tmp_path / "here")


@pytest.fixture
def gate(tmp_path: Path) -> str:
    return pipe(tmp_path / "gate")
