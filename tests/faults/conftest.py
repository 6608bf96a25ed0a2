"""A session for each test, a process runner, and the pipes to meet its tasks."""

from __future__ import annotations

import os
import subprocess
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


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a tiny disk can only be mounted by root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tiny disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
