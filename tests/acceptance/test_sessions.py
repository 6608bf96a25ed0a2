"""Two sessions in one program do not get into each other's way."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from anabranch import InlineRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from pathlib import Path


def made(home: Path) -> sessions.Session:
    chosen = settings.load({}, home=home, runner=InlineRunner(), progress=False)
    return sessions.Session(chosen, records=MemoryRecords())


def test_a_closed_session_leaves_the_others_alone(tmp_path: Path) -> None:
    @flow
    def main() -> Any:
        return task(lambda: 1).submit()

    older, newer = made(tmp_path / "older"), made(tmp_path / "newer")
    before = sessions.use(older)
    try:
        newer.close()
        # In a context of its own: a flow that fails while it begins leaves its context behind (flows.py _entered).
        assert contextvars.copy_context().run(main) == 1
    finally:
        sessions.use(before)
        older.close()
