"""A program with a record and a service of its own, in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch import serving
from anabranch import session as sessions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.core.service import Service


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANABRANCH_RECORDS", raising=False)
    monkeypatch.chdir(tmp_path)
    outer, session_before = serving.use(None), sessions.use(None)
    yield serving.current()
    made = serving.use(outer)
    if made is not None:
        made.close()
    session = sessions.use(session_before)
    if session is not None:
        session.close()
