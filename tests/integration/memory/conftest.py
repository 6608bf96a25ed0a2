"""A session with the garbage collector off: a value lives as long as somebody can read it, and no longer."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from anabranch import ThreadRunner
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings
from tests.integration.memory.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    mine = Session(Settings(home=tmp_path, progress=False, log_level="CRITICAL"), records=MemoryRecords())
    before = sessions.use(mine)
    gc.collect()
    gc.disable()
    yield mine
    gc.enable()
    mine.close()
    sessions.use(before)


@pytest.fixture
def runner() -> ThreadRunner:
    return ThreadRunner(max_workers=2)


@pytest.fixture
def watch() -> Watch:
    return Watch()
