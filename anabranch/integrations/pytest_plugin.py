"""Fixtures for tests of flows: a session of the test's own, its runner, and delays that pass at once.

It is loaded in every run of pytest where anabranch is installed: so it imports pytest alone, and fixtures import the
rest.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.session import Session
    from anabranch.testing import ManualClock

END_SECONDS = 10.0  # for the threads of a session to end with it


@pytest.fixture
def anabranch_runner() -> Any:
    """The runner of `anabranch_session`, by name: "inline". Define a fixture of this name for another one."""
    return "inline"


@pytest.fixture
def anabranch_session(anabranch_runner: Any, tmp_path: Path) -> Iterator[Session]:
    """A session of the test's own: its record is in memory, its result store in `tmp_path`, and both end with the test.

    Flows and tasks that name no runner of their own run on `anabranch_runner`. `.records` is what was recorded. The
    user's settings, file and environment, are not read.
    """
    from anabranch import session as sessions
    from anabranch import settings
    from anabranch.records.memory import MemoryRecords

    older = set(threading.enumerate())
    environ = {"ANABRANCH_HOME": str(tmp_path / "anabranch")}
    chosen = settings.load(environ, runner=anabranch_runner, progress=False)
    try:
        with sessions.in_place(sessions.Session(chosen, records=MemoryRecords())) as session:
            yield session
    finally:
        for thread in set(threading.enumerate()) - older:
            if thread.name.startswith("anabranch-"):
                thread.join(END_SECONDS)


@pytest.fixture
def anabranch_clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock on which delays before retries pass at once: the test does not wait, and `monotonic()` is their sum.

    For tasks and flows in the test's own process (inline, thread). Time limits, and `time.sleep` of the code itself,
    are not moved.
    """
    from anabranch.engine import retries, timeouts
    from anabranch.testing import ManualClock

    clock, decide = ManualClock(), retries.decide

    def at_once(*args: Any, **kwargs: Any) -> float | None:
        delay = decide(*args, **kwargs)
        if delay is None:
            return None
        clock.advance(delay)
        return 0.0

    for module in (retries, timeouts):
        monkeypatch.setattr(module, "decide", at_once)
    return clock
